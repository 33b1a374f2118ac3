use std::collections::BTreeMap;

use super::session::{Session, unknown};
use super::ui;
use crate::catalog::{self, Catalog};
use crate::config::{self, Config, scratch_dir};
use crate::destination::Destination;
use crate::error::{Error, Kind};
use crate::manifest::Id;
use crate::pipeline::Job;

/// A series and the destinations that may hold it.
pub(super) struct Place {
    pub series: String,
    pub destinations: Vec<Destination>,
    /// The job that fills it, when the configuration has one.
    pub job: Option<Job>,
}

/// Where a reading command looks, and the configuration it was found by.
pub(super) struct Places {
    pub config: Config,
    pub places: Vec<Place>,
}

impl Places {
    pub fn scratch_dir(&self) -> std::path::PathBuf {
        scratch_dir(&self.config)
    }
}

impl Session {
    /// The places that `wanted` names: a job of the configuration, or a series of the destinations
    /// on the command line; all of them when it is `None`.
    pub async fn places(&self, wanted: Option<&str>) -> Result<Places, Error> {
        let config = if self.only_urls() && self.global.config.is_none() {
            self.nothing()
        } else {
            self.load()?.config
        };
        let destinations = self.destinations(&config).await?;
        if destinations.is_empty() {
            return Err(Error::usage("configuration", "has no destination")
                .hint("give one with --destination URL, or a file with --config"));
        }
        let places = match wanted {
            Some(name) => vec![self.place(&config, name, &destinations).await?],
            None if config.jobs.is_empty() => discover(&destinations).await?,
            None => {
                let mut places = Vec::new();
                for name in config.jobs.keys() {
                    places.push(self.place(&config, name, &destinations).await?);
                }
                places
            }
        };
        Ok(Places { config, places })
    }

    async fn place(
        &self,
        config: &Config,
        name: &str,
        destinations: &BTreeMap<String, Destination>,
    ) -> Result<Place, Error> {
        let all = || destinations.values().cloned().collect::<Vec<_>>();
        if let Some(settings) = config.jobs.get(name) {
            let mut job = config::job(config, name, settings, destinations, &self.env)?;
            if job.destinations.is_empty() || self.only_urls() {
                job.destinations = all();
            }
            return Ok(Place {
                series: job.series.clone(),
                destinations: job.destinations.clone(),
                job: Some(job),
            });
        }
        if !config::sound_name(name) {
            return Err(Error::usage(
                format!("`{name}`"),
                "is not the name of a job or series",
            ));
        }
        let place = Place {
            series: name.to_owned(),
            destinations: all(),
            job: None,
        };
        if !config.jobs.is_empty() && !holds_anything(&place).await {
            return Err(unknown("job", name, config.jobs.keys()));
        }
        Ok(place)
    }
}

async fn holds_anything(place: &Place) -> bool {
    for destination in &place.destinations {
        match catalog::ids(destination, &place.series).await {
            Ok(ids) if ids.found.is_empty() => {}
            // What cannot be listed may hold it; the command itself says what failed.
            _ => return true,
        }
    }
    false
}

async fn discover(destinations: &BTreeMap<String, Destination>) -> Result<Vec<Place>, Error> {
    let mut found: BTreeMap<String, Vec<Destination>> = BTreeMap::new();
    for destination in destinations.values() {
        let series = catalog::series(destination)
            .await
            .map_err(|error| error.at(destination.name()))?;
        for name in series.into_iter().filter(|name| config::sound_name(name)) {
            found.entry(name).or_default().push(destination.clone());
        }
    }
    Ok(found
        .into_iter()
        .map(|(series, destinations)| Place {
            series,
            destinations,
            job: None,
        })
        .collect())
}

/// The catalog of one place in one destination.
pub(super) struct Shelf {
    pub destination: Destination,
    pub catalog: Catalog,
}

impl Place {
    /// Reads every catalog. A destination that fails is warned about while another answers; when
    /// none does, its error is returned.
    pub async fn shelves(&self) -> Result<(Vec<Shelf>, Vec<Error>), Error> {
        let mut shelves = Vec::new();
        let mut failed = Vec::new();
        for destination in &self.destinations {
            match Catalog::load(destination, &self.series).await {
                Ok(catalog) => {
                    warn_of_unreadable(destination, &self.series, &catalog);
                    shelves.push(Shelf {
                        destination: destination.clone(),
                        catalog,
                    });
                }
                Err(error) => failed.push(error.at(destination.name())),
            }
        }
        match failed.first() {
            Some(error) if shelves.is_empty() => Err(error.clone()),
            _ => {
                for error in &failed {
                    ui::warn(error);
                }
                Ok((shelves, failed))
            }
        }
    }
}

fn warn_of_unreadable(destination: &Destination, series: &str, catalog: &Catalog) {
    for unreadable in &catalog.unreadable {
        let name = destination.name();
        ui::warn(format!(
            "{name}: the manifest of {series} {} {}",
            unreadable.id, unreadable.why
        ));
    }
}

/// The id a command line names, or `None` for `latest`.
pub(super) fn wanted_id(text: &str) -> Result<Option<Id>, Error> {
    match text {
        "latest" => Ok(None),
        id => id.parse().map(Some).map_err(|error| {
            Error::new(Kind::Usage, "id", format!("{error}")).hint("`lifeboat list` shows the ids")
        }),
    }
}
