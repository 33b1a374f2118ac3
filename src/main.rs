//! The `lifeboat` program; everything is in the library.

/// An idle daemon keeps little of what its last runs needed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> lifeboat::exit::Exit {
    lifeboat::cli::main()
}
