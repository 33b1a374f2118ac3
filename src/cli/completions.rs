use clap::CommandFactory;

use super::args::{Arguments, CompletionsArgs};
use crate::exit::Exit;

pub(super) fn completions(args: &CompletionsArgs) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut Arguments::command(),
        "lifeboat",
        &mut script,
    );
    // A closed pipe is nobody's problem.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &script);
    Exit::Ok
}
