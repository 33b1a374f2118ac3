//! The `lifeboat` program; everything is in the library.

fn main() -> lifeboat::exit::Exit {
    lifeboat::cli::main()
}
