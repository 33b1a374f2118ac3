use super::args::ConfigCommand;
use super::prune::plural;
use super::session::Session;
use super::ui;
use crate::config::schema;
use crate::error::Error;
use crate::exit::Exit;
use crate::value;

pub(super) fn config(session: &Session, command: &ConfigCommand) -> Result<Exit, Error> {
    match command {
        ConfigCommand::Schema => ui::document(schema()),
        ConfigCommand::Env => env(session.global.json),
        ConfigCommand::Check => check(session)?,
        ConfigCommand::Show => {
            let loaded = session.load()?;
            let shown = loaded.config.redacted();
            if session.global.json {
                ui::document(&shown);
            } else {
                let yaml = serde_yaml::to_string(&shown)
                    .map_err(|error| Error::failed("configuration", error.to_string()))?;
                if let Some(drop_in) = &loaded.drop_in {
                    ui::line(drop_in.comment());
                }
                ui::line(yaml.trim_end());
            }
        }
    }
    Ok(Exit::Ok)
}

fn env(json: bool) {
    let variables = value::variables(schema());
    if json {
        let document = |(name, description): &(String, String)| serde_json::json!({ "name": name, "description": description });
        let all: Vec<_> = variables.iter().map(document).collect();
        return ui::document(&serde_json::json!({ "variables": all }));
    }
    for (variable, what) in variables {
        ui::line(format!("{variable}  {what}").trim_end());
    }
}

fn check(session: &Session) -> Result<(), Error> {
    let loaded = session.load()?;
    let file = loaded.file.map_or_else(
        || "the environment alone".to_owned(),
        |file| file.display().to_string(),
    );
    let program = loaded.drop_in.as_ref().map(|drop_in| drop_in.program);
    let (jobs, destinations) = (loaded.config.jobs.len(), loaded.config.destinations.len());
    if session.global.json {
        let mut document = serde_json::json!({
            "file": file,
            "jobs": jobs,
            "destinations": destinations,
        });
        if let Some(program) = program {
            document["settings_of"] = program.into();
        }
        ui::document(&document);
    } else {
        let file = match program {
            Some(program) => format!("{file}, as settings of {program}"),
            None => file,
        };
        let (jobs, destinations) = (plural(jobs, "job"), plural(destinations, "destination"));
        ui::line(format!(
            "{}  {file}, {jobs}, {destinations}",
            ui::good("ok")
        ));
    }
    Ok(())
}
