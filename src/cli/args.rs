use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use jiff::Timestamp;

use crate::value::HumanDuration;

/// Backs up Redis, Valkey and SQLite, proves each backup, and brings it back.
#[derive(Debug, Parser)]
#[command(
    name = "lifeboat",
    version,
    max_term_width = 100,
    propagate_version = true
)]
#[command(
    after_help = "Exit codes: 0 completed or skipped, 1 failed, 2 usage or configuration, \
3 some jobs or destinations failed, 4 no usable backup, 5 damage found, 130 interrupted.\n\n\
New here? `lifeboat demo` shows the whole way on a scratch database."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub global: Global,
    /// Without a command: back up once and exit, as `backup` does
    #[arg(long)]
    pub once: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// Configuration file [default: ./config.yaml, then /etc/lifeboat/config.yaml]; without a
    /// command, run the daemon with it
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Only this destination: a name, or a URL such as file:///backups, s3://bucket/prefix or gs://bucket/prefix
    #[arg(long, global = true, value_name = "NAME|URL")]
    pub destination: Vec<String>,
    /// One JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say less
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon: every job on its schedule
    Run(RunArgs),
    /// Back up now: all jobs, or the ones named
    Backup(BackupArgs),
    /// List backups, newest first
    List(ListArgs),
    /// Print a backup's manifest
    Show(ShowArgs),
    /// Read backups again from their destination and prove them
    Verify(VerifyArgs),
    /// Bring a backup back
    Restore(RestoreArgs),
    /// Show what retention would remove, with reasons; --apply removes it
    Prune(PruneArgs),
    /// Prove configuration, connections, rights and clock
    Check,
    /// Say how old the newest backups are; exit 4 when one is not fresh
    Status,
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// See it work: back up, damage, catch and restore a scratch database
    Demo,
    /// Print a shell's completion script
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {}

#[derive(Debug, Default, Args)]
pub(super) struct BackupArgs {
    /// Jobs to run [default: all]
    pub jobs: Vec<String>,
    /// Back up this source without any configuration: sqlite:///path/to.db or
    /// redis://host:port?data_dir=/data
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "jobs",
        requires = "destination"
    )]
    pub source: Option<String>,
    /// Series for --source [default: the file's stem, or the engine's name]
    #[arg(long, value_name = "SERIES", requires = "source")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Job, or series in a destination given as URL [default: all]
    pub job: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Job or series
    pub job: String,
    /// Backup id, or `latest`
    #[arg(default_value = "latest")]
    pub id: String,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Job or series, or plain data that anybody made, a file or the URL of an object: a snapshot,
    /// a dump, a database [default: all jobs]
    pub job: Option<String>,
    /// Backup id, or `latest`
    #[arg(default_value = "latest", conflicts_with = "all")]
    pub id: String,
    /// Every backup, not only the latest
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Job or series
    pub job: String,
    /// Backup id, or `latest`
    #[arg(default_value = "latest")]
    pub id: String,
    /// The newest backup at or before this time: 2026-11-21T02:00Z or "2026-11-21 02:00"
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "id")]
    pub at: Option<Timestamp>,
    /// File to restore to; one that is in the way is moved aside
    #[arg(long, value_name = "PATH", required_unless_present = "into_source",
          conflicts_with = "into_source", value_hint = ValueHint::FilePath)]
    pub to: Option<PathBuf>,
    /// Restore to where the job's source keeps its data
    #[arg(long)]
    pub into_source: bool,
    /// Fetch and prove, but change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also when the target is in use
    #[arg(long)]
    pub force: bool,
    /// Do nothing when there is data at the target already
    #[arg(long)]
    pub if_empty: bool,
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Job, or series in a destination given as URL [default: all jobs]
    pub job: Option<String>,
    /// Remove what the plan says
    #[arg(long)]
    pub apply: bool,
    #[command(flatten)]
    pub rules: Rules,
}

/// Retention rules on the command line, instead of the job's.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rules (instead of the job's)")]
pub(super) struct Rules {
    /// The newest N
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Those no older than this before the newest
    #[arg(long, value_name = "DURATION")]
    pub keep_within: Option<HumanDuration>,
    /// The newest of each of the last N days
    #[arg(long, value_name = "N")]
    pub daily: Option<u32>,
    /// The newest of each of the last N weeks
    #[arg(long, value_name = "N")]
    pub weekly: Option<u32>,
    /// The newest of each of the last N months
    #[arg(long, value_name = "N")]
    pub monthly: Option<u32>,
    /// The newest of each of the last N years
    #[arg(long, value_name = "N")]
    pub yearly: Option<u32>,
    /// A floor of verified backups under all rules
    #[arg(long, value_name = "N")]
    pub keep_min: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Find mistakes, without connecting to anything
    Check,
    /// Print the configuration in effect, without secrets
    Show,
    /// Print the JSON Schema of the configuration
    Schema,
    /// Print the environment variables that set each key
    Env,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// RFC 3339, or a local date and time.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let zone = jiff::tz::TimeZone::system();
    text.parse::<jiff::civil::DateTime>()
        .and_then(|civil| civil.to_zoned(zone))
        .map(|zoned| zoned.timestamp())
        .map_err(|_| {
            format!("`{text}` is not a time; write 2026-11-21T02:00:00Z or \"2026-11-21 02:00\"")
        })
}
