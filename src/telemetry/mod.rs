//! What the daemon says: one event for each run, on standard error.

mod json;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::config::{LogConfig, LogFormat, LogLevel};
use crate::pipeline::{DestinationOutcome, Outcome, RunReport};
use crate::value::Env;

/// The SDK of the S3 stores prints the access key's id with its traces, which is a secret here.
const QUIET: &str = "aws=info";

/// Starts logging. `RUST_LOG` and `LOG_FORMAT` go before the configuration; `verbosity` is the
/// number of `-v` less that of `-q`, and goes before both where it is not 0.
pub fn start(config: &LogConfig, env: &Env, verbosity: i8) {
    let level = match (verbosity, config.level) {
        (i8::MIN..=-1, _) | (0, LogLevel::Error) => "error",
        (0, LogLevel::Warn) => "warn",
        (0, LogLevel::Info) => "lifeboat=info,warn",
        (1, _) | (0, LogLevel::Debug) => "lifeboat=debug,info",
        (2.., _) | (0, LogLevel::Trace) => "trace",
    };
    let directives = match env.get("RUST_LOG") {
        Some(directives) if verbosity == 0 && !directives.is_empty() => directives,
        _ => level,
    };
    let quiet: Directive = QUIET.parse().expect("a target and a level");
    let filter = EnvFilter::builder()
        .parse_lossy(directives)
        .add_directive(quiet);
    let format = match env.get("LOG_FORMAT") {
        Some("json") => LogFormat::Json,
        Some("text") => LogFormat::Text,
        _ => config.format,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter);
    // A second start, as in tests, keeps the first one's settings.
    let _ = match format {
        LogFormat::Text => builder
            .with_target(false)
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_timer(Utc)
            .try_init(),
        LogFormat::Json => builder.event_format(json::Json).try_init(),
    };
    if let Some(other) = env.get("LOG_FORMAT")
        && !matches!(other, "json" | "text" | "")
    {
        tracing::warn!("LOG_FORMAT must be `text` or `json`, not `{other}`; it is not used");
    }
}

/// Times as everywhere else in Lifeboat: UTC, to the millisecond.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", crate::clock::now())
    }
}

/// The one event of a run.
pub fn run_ended(report: &RunReport) {
    let destinations = serde_json::to_string(&report.destinations)
        .expect("a struct of strings and numbers is JSON");
    let pruned: usize = report.destinations.iter().map(|d| d.pruned).sum();
    macro_rules! event {
        ($level:ident, $message:expr) => {
            tracing::$level!(
                job = %report.job,
                series = %report.series,
                engine = report.engine,
                outcome = report.outcome.as_str(),
                reason = report.reason.as_deref(),
                role = report.role.as_str(),
                id = report.id.as_ref().map(tracing::field::display),
                plain_bytes = report.plain_bytes,
                stored_bytes = report.stored_bytes,
                seconds = (report.seconds * 1000.0).round() / 1000.0,
                destinations = %destinations,
                pruned,
                "{}",
                $message
            )
        };
    }
    let partly = report
        .destinations
        .iter()
        .any(|d| d.outcome == DestinationOutcome::Failed);
    match &report.outcome {
        Outcome::Completed if partly => event!(warn, "backup partly completed"),
        Outcome::Completed => event!(info, "backup completed"),
        // Standbys sleep in silence.
        Outcome::Skipped(_) => event!(debug, "backup skipped"),
        Outcome::Failed(error) => match &error.hint {
            Some(hint) => event!(error, format!("backup failed; hint: {hint}")),
            None => event!(error, "backup failed"),
        },
    }
    for warning in report.warnings.iter().chain(
        report
            .destinations
            .iter()
            .flat_map(|destination| &destination.warnings),
    ) {
        tracing::warn!(job = %report.job, series = %report.series, "{warning}");
    }
}
