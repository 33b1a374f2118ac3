use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

use super::args::Global;
use crate::config::{self, Config, DestinationEntry, Loaded};
use crate::destination::{self, Destination};
use crate::error::Error;
use crate::pipeline::{Job, Progress};
use crate::source::Stop;
use crate::telemetry;
use crate::value::{Env, closest, one_of};

/// What every command shares.
pub(super) struct Session {
    pub global: Global,
    pub env: Env,
    /// Cancelled by the first SIGINT or SIGTERM.
    pub stop: Stop,
    pub progress: Progress,
    /// Set when people were told what to know of the settings of another program.
    told: AtomicBool,
}

impl Session {
    pub fn new(global: Global) -> Self {
        Self {
            global,
            env: Env::process(),
            stop: Stop::default(),
            progress: Progress::default(),
            told: AtomicBool::new(false),
        }
    }

    /// Reads the configuration and starts logging as it says.
    pub fn load(&self) -> Result<Loaded, Error> {
        let loaded = config::load(self.global.config.as_deref(), &self.env)?;
        self.start_logging(&loaded.config);
        if let Some(drop_in) = &loaded.drop_in
            && !self.told.swap(true, Ordering::Relaxed)
        {
            for warning in &drop_in.warnings {
                tracing::warn!("{warning}");
            }
        }
        Ok(loaded)
    }

    /// A configuration of nothing, for commands that were given everything as URLs.
    pub fn nothing(&self) -> Config {
        let config = Config::default();
        self.start_logging(&config);
        config
    }

    fn start_logging(&self, config: &Config) {
        let verbose = i8::try_from(self.global.verbose).unwrap_or(i8::MAX);
        let verbosity = if self.global.quiet { -1 } else { verbose };
        telemetry::start(&config.log, &self.env, verbosity);
    }

    /// Ends the work at the first SIGINT or SIGTERM.
    pub fn stop_on_signals(&self) -> Result<(), Error> {
        let first = self.stop.0.clone();
        on_signals(first, CancellationToken::new())
    }

    /// Whether every destination on the command line is a URL, so that none of a configuration's
    /// is needed.
    pub fn only_urls(&self) -> bool {
        let named = &self.global.destination;
        !named.is_empty() && named.iter().all(|name| is_url(name))
    }

    /// The destinations that `config` and the command line give, opened, by name.
    pub async fn destinations(
        &self,
        config: &Config,
    ) -> Result<BTreeMap<String, Destination>, Error> {
        let mut opened = BTreeMap::new();
        if self.global.destination.is_empty() {
            for (name, entry) in &config.destinations {
                opened.insert(name.clone(), self.open(name, entry).await?);
            }
        }
        for wanted in &self.global.destination {
            let entry = match config.destinations.get(wanted) {
                Some(entry) => entry.clone(),
                None if is_url(wanted) => DestinationEntry::Url(wanted.clone()),
                None if wanted.starts_with('/') => {
                    let why = "is neither the name of a destination nor a URL";
                    return Err(Error::usage(wanted, why)
                        .hint(format!("a folder is written `file://{wanted}`")));
                }
                None => return Err(unknown("destination", wanted, config.destinations.keys())),
            };
            let name = if is_url(wanted) {
                shown(wanted)
            } else {
                wanted.clone()
            };
            let destination = self.open(&name, &entry).await?;
            opened.insert(name, destination);
        }
        Ok(opened)
    }

    /// Opens one destination.
    pub async fn open(&self, name: &str, entry: &DestinationEntry) -> Result<Destination, Error> {
        match entry {
            DestinationEntry::Block(config) => destination::open(name, config, &self.env).await,
            DestinationEntry::Url(url) => {
                destination::open(name, &config::destination_from_url(url)?, &self.env).await
            }
        }
    }

    /// The enabled jobs of `config` that `names` gives, all of them when it is empty.
    pub async fn jobs(&self, config: &Config, names: &[String]) -> Result<Vec<Job>, Error> {
        for name in names {
            match config.jobs.get(name) {
                None => return Err(unknown("job", name, config.jobs.keys())),
                Some(job) if !job.enabled => {
                    return Err(Error::usage(format!("jobs.{name}"), "is disabled"));
                }
                Some(_) => {}
            }
        }
        let destinations = self.destinations(config).await?;
        let mut jobs = Vec::new();
        for (name, settings) in &config.jobs {
            let wanted = if names.is_empty() {
                settings.enabled
            } else {
                names.contains(name)
            };
            if !wanted {
                continue;
            }
            let mut job = config::job(config, name, settings, &destinations, &self.env)?;
            if self.global.destination.iter().any(|wanted| is_url(wanted)) {
                // URLs stand beside whatever the job's own list says.
                job.destinations = destinations.values().cloned().collect();
            }
            if job.destinations.is_empty() {
                let why = "has none of the destinations that were asked for";
                return Err(Error::usage(format!("jobs.{name}"), why));
            }
            jobs.push(job);
        }
        if jobs.is_empty() {
            return Err(Error::usage("configuration", "has no job to run").hint(
                "write one under `jobs` in config.yaml, or give --source and --destination",
            ));
        }
        Ok(jobs)
    }
}

/// Finds out at the start what runs would lack later.
pub(super) fn ready(jobs: &[Job]) -> Result<(), Error> {
    for job in jobs {
        let ready = job.engine.ready();
        ready.map_err(|(key, why)| Error::usage(format!("jobs.{}.source.{key}", job.name), why))?;
    }
    Ok(())
}

/// Cancels `first` at the first SIGINT or SIGTERM, and `second` at the next one.
pub(super) fn on_signals(first: CancellationToken, second: CancellationToken) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| {
        signal(kind).map_err(|error| Error::failed("signals", crate::error::io_reason(&error)))
    };
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    tokio::spawn(async move {
        for token in [first, second] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(())
}

pub(super) fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// A URL as it may be shown: without query and credentials.
pub(super) fn shown(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) => {
            parsed.set_query(None);
            let _ = parsed.set_password(None);
            let _ = parsed.set_username("");
            parsed.to_string()
        }
        Err(_) => "URL".into(),
    }
}

pub(super) fn unknown<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a String>,
) -> Error {
    let known: Vec<&str> = known.into_iter().map(String::as_str).collect();
    let error = Error::usage(what, format!("none is called `{name}`"));
    match (closest(name, known.iter().copied()), known.len()) {
        (Some(close), _) => error.hint(format!("did you mean `{close}`?")),
        (None, 0) => error.hint("the configuration names none"),
        (None, _) => error.hint(format!("there are {}", one_of(known))),
    }
}
