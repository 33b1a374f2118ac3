//! What can be configured. The doc comments of these types are the reference: `config schema`
//! prints them, and unknown keys, bad values and contradictions are found by them.

mod drop_in;
mod load;
mod plan;
mod problems;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use drop_in::DropIn;
pub use load::{Loaded, destination_from_url, is_drop_in, load, schema, source_from_url};
pub use plan::{job, scratch_dir};
pub(crate) use problems::sound_name;

use crate::destination::DestinationConfig;
use crate::pipeline::RunOn;
use crate::retention::Policy;
use crate::seal::SealConfig;
use crate::source::SourceConfig;
use crate::value::HumanDuration;

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Places that hold backups, by name: a URL (`file:///backups`, `s3://bucket/prefix`,
    /// `gs://bucket/prefix`) or a block with a `type`.
    #[serde(default)]
    pub destinations: BTreeMap<String, DestinationEntry>,
    /// Data stores to back up, by name. The name is the job's identity.
    #[serde(default)]
    pub jobs: BTreeMap<String, JobConfig>,
    /// How Lifeboat logs.
    #[serde(default)]
    pub log: LogConfig,
    /// Where plain copies are made for the time of a run, in a private folder of their own; the
    /// system's temporary folder unless set.
    #[serde(default)]
    pub scratch_dir: Option<PathBuf>,
    /// How long the daemon may take to finish or abort its runs after SIGTERM or SIGINT.
    #[serde(default = "default_grace")]
    pub grace: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            destinations: BTreeMap::new(),
            jobs: BTreeMap::new(),
            log: LogConfig::default(),
            scratch_dir: None,
            grace: default_grace(),
        }
    }
}

fn default_grace() -> HumanDuration {
    HumanDuration(Duration::from_secs(25))
}

/// A destination as URL or block.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DestinationEntry {
    /// The short form; further settings stand in its query.
    Url(String),
    /// The long form.
    Block(DestinationConfig),
}

/// One source with its schedule, destinations and retention.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobConfig {
    /// What is backed up.
    pub source: SourceConfig,
    /// When.
    #[serde(default)]
    pub schedule: ScheduleConfig,
    /// In which role the source is saved: `primary` (a node on its own counts as one), `replica`,
    /// `any`, or `prefer_replica`, which saves a primary only while no replica of it is online.
    #[serde(default)]
    pub run_on: RunOn,
    /// Names of the destinations to save to; all of them unless set.
    #[serde(default)]
    pub destinations: Option<Vec<String>>,
    /// Where the backups are filed; the job's name unless set. `{hostname}` stands for this
    /// machine's name and makes one series for each node.
    #[serde(default)]
    #[schemars(extend("format" = "series"))]
    pub series: Option<String>,
    /// How backups are sealed.
    #[serde(default)]
    pub seal: SealConfig,
    /// Which backups stay; a backup stays if any rule keeps it. Without this block all do.
    #[serde(default)]
    pub retention: Option<RetentionConfig>,
    /// The age at which the newest backup is no longer fresh, for `status`; two periods unless set.
    #[serde(default)]
    pub max_age: Option<HumanDuration>,
    /// The time limit of one run.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
    /// `false` keeps the job in the file and out of everything.
    #[serde(default = "yes")]
    pub enabled: bool,
}

impl JobConfig {
    /// A job that saves `source` with every default.
    pub fn of(source: SourceConfig) -> Self {
        Self {
            source,
            schedule: ScheduleConfig::default(),
            run_on: RunOn::default(),
            destinations: None,
            series: None,
            seal: SealConfig::default(),
            retention: None,
            max_age: None,
            timeout: default_timeout(),
            enabled: true,
        }
    }
}

fn default_timeout() -> HumanDuration {
    HumanDuration(Duration::from_hours(6))
}

fn yes() -> bool {
    true
}

/// When a job runs. The next run follows from the newest backup in each destination, so that a
/// restart changes nothing and a missed run is caught up.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Time from one backup to the next; `1h` unless this or `cron` is set.
    #[serde(default)]
    pub every: Option<HumanDuration>,
    /// A crontab pattern, such as `0 2 * * *`, instead of `every`.
    #[serde(default)]
    pub cron: Option<String>,
    /// The IANA time zone of `cron` and of the days, weeks, months and years of retention.
    #[serde(default = "utc")]
    pub timezone: String,
    /// Each run is put off by a part of this that is the same on every node, so that many jobs do
    /// not start at once.
    #[serde(default)]
    pub jitter: HumanDuration,
    /// The daemon's wait before its first run.
    #[serde(default)]
    pub initial_delay: HumanDuration,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            every: None,
            cron: None,
            timezone: utc(),
            jitter: HumanDuration::default(),
            initial_delay: HumanDuration::default(),
        }
    }
}

fn utc() -> String {
    "UTC".into()
}

/// Which backups stay.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// The newest so many backups.
    #[serde(default)]
    pub keep_last: Option<u32>,
    /// Those no older than this before the newest backup of the series.
    #[serde(default)]
    pub keep_within: Option<HumanDuration>,
    /// The newest of each of the last so many days that have a backup.
    #[serde(default)]
    pub daily: Option<u32>,
    /// The newest of each of the last so many ISO weeks that have a backup.
    #[serde(default)]
    pub weekly: Option<u32>,
    /// The newest of each of the last so many months that have a backup.
    #[serde(default)]
    pub monthly: Option<u32>,
    /// The newest of each of the last so many years that have a backup.
    #[serde(default)]
    pub yearly: Option<u32>,
    /// A floor of verified backups under all rules; 2, or `keep_last` where that is smaller.
    #[serde(default)]
    pub keep_min: Option<u32>,
}

impl From<&RetentionConfig> for Policy {
    fn from(config: &RetentionConfig) -> Self {
        Self {
            keep_last: config.keep_last,
            keep_within: config.keep_within.map(|within| within.0),
            daily: config.daily,
            weekly: config.weekly,
            monthly: config.monthly,
            yearly: config.yearly,
            keep_min: config.keep_min,
        }
    }
}

/// How Lifeboat logs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`; `LOG_FORMAT` in the environment goes before it.
    #[serde(default)]
    pub format: LogFormat,
    /// The least level that is logged; `RUST_LOG` in the environment goes before it.
    #[serde(default)]
    pub level: LogLevel,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, one object a line.
    Json,
}

/// The least level that is logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures only.
    Error,
    /// And what needs a look.
    Warn,
    /// And one line a run.
    #[default]
    Info,
    /// And the steps of a run.
    Debug,
    /// Everything.
    Trace,
}
