//! The command line: one file for each command.
//!
//! A command returns its [`Exit`], or an [`Error`] that is printed here: as `error: what: why` and
//! `hint: next step`, or as a document with `--json`.

mod args;
mod backup;
mod check;
mod completions;
mod config;
mod demo;
mod list;
mod live;
mod places;
mod prune;
mod restore;
mod run;
mod session;
mod show;
mod status;
mod table;
mod ui;
mod verify;

use std::time::Duration;

use clap::{CommandFactory, Parser};

use crate::error::{Error, Kind};
use crate::exit::Exit;
use args::{Arguments, BackupArgs, Command, RunArgs};
use session::Session;

/// How long stores may take to remove uploads that were given up: their parts in flight end first.
const CLEAN_UP: Duration = Duration::from_secs(10);
/// How long blocking work may take to notice that nobody waits for it any more.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Parses the command line and runs the command.
pub fn main() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let json = arguments.global.json;
    let session = Session::new(arguments.global);
    let command = match command(&session, arguments.once, arguments.command) {
        Ok(Some(command)) => command,
        Ok(None) => return usage(&no_command()),
        Err(error) => return ui::fail(&error, json),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // An idle daemon needs none of the threads of its last run.
        .thread_keep_alive(Duration::from_secs(1))
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return ui::fail(&Error::failed("lifeboat", error.to_string()), json),
    };
    let exit = runtime.block_on(async {
        let ended = dispatch(&session, command).await;
        if !crate::destination::settled(CLEAN_UP).await {
            tracing::warn!(
                "an upload that was given up could not be removed from its store in time"
            );
        }
        match ended {
            Ok(exit) => exit,
            Err(error) if session.stop.requested() && error.kind != Kind::Interrupted => {
                let error = Error {
                    kind: Kind::Interrupted,
                    ..error
                };
                ui::fail(&error, json)
            }
            Err(error) => ui::fail(&error, json),
        }
    });
    runtime.shutdown_timeout(LAST_WORDS);
    exit
}

/// The command in effect. Images that Lifeboat replaces are run without one: with a flag of
/// theirs, or with nothing but their environment.
fn command(
    session: &Session,
    once: bool,
    command: Option<Command>,
) -> Result<Option<Command>, Error> {
    match (command, once) {
        (Some(Command::Backup(args)), true) => Ok(Some(Command::Backup(args))),
        (Some(_), true) => {
            let why = "`--once` stands for the command `backup`, and there is another one";
            Err(Error::usage("command line", why).hint("leave one of the two out"))
        }
        (Some(command), false) => Ok(Some(command)),
        (None, true) => Ok(Some(Command::Backup(BackupArgs::default()))),
        (None, false) => {
            let named = session.global.config.as_deref();
            let runs = named.is_some() || crate::config::is_drop_in(named, &session.env);
            Ok(runs.then_some(Command::Run(RunArgs {})))
        }
    }
}

/// What the parser says where a command is missing.
fn no_command() -> clap::Error {
    let strict = Arguments::command()
        .subcommand_required(true)
        .arg_required_else_help(true);
    let kind = clap::error::ErrorKind::MissingSubcommand;
    strict
        .try_get_matches()
        .err()
        .unwrap_or_else(|| Arguments::command().error(kind, "a command is missing"))
}

async fn dispatch(session: &Session, command: Command) -> Result<Exit, Error> {
    match command {
        Command::Run(args) => run::run(session, args).await,
        Command::Backup(args) => backup::backup(session, args).await,
        Command::List(args) => list::list(session, args).await,
        Command::Show(args) => show::show(session, args).await,
        Command::Verify(args) => verify::verify(session, args).await,
        Command::Restore(args) => restore::restore(session, args).await,
        Command::Prune(args) => prune::prune(session, args).await,
        Command::Check => check::check(session).await,
        Command::Status => status::status(session).await,
        Command::Config(command) => config::config(session, &command),
        Command::Demo => demo::demo(session).await,
        Command::Completions(args) => Ok(completions::completions(&args)),
    }
}

fn usage(error: &clap::Error) -> Exit {
    let asked = !error.use_stderr();
    let json = std::env::args_os().any(|argument| argument == "--json");
    if asked || !json {
        // A closed pipe is nobody's problem.
        let _ = error.print();
    } else {
        ui::document(&in_words(&error.render().to_string()).document());
    }
    if asked { Exit::Ok } else { Exit::Usage }
}

/// What the parser prints for people, as an error of ours.
fn in_words(rendered: &str) -> Error {
    let said = rendered.lines().map(str::trim);
    let why: Vec<&str> = said.clone().take_while(|line| !line.is_empty()).collect();
    let why = why.join(" ");
    let tip = said.clone().find_map(|line| line.strip_prefix("tip: "));
    Error::usage("command line", why.trim_start_matches("error: "))
        .hint(tip.unwrap_or("see `lifeboat --help`"))
}
