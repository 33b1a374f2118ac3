use serde::Serialize;
use serde_json::json;

use super::session::Session;
use super::{table, ui};
use crate::error::Error;
use crate::exit::Exit;
use crate::pipeline::strangers::strangers;
use crate::pipeline::{Job, check as pipeline};
use crate::source::{Finding, Severity};

#[derive(Serialize)]
struct Row {
    subject: String,
    name: String,
    outcome: &'static str,
    detail: String,
    hint: Option<String>,
}

impl Row {
    fn new(subject: &str, finding: Finding) -> Self {
        let outcome = match finding.problem {
            None => "ok",
            Some(Severity::Warning) => "warning",
            Some(Severity::Failed) => "failed",
        };
        Self {
            subject: subject.to_owned(),
            name: finding.name,
            outcome,
            detail: finding.detail,
            hint: finding.hint,
        }
    }
}

pub(super) async fn check(session: &Session) -> Result<Exit, Error> {
    session.stop_on_signals()?;
    let loaded;
    let config = if session.only_urls() && session.global.config.is_none() {
        session.nothing()
    } else {
        loaded = session.load()?;
        loaded.config.clone()
    };
    let mut rows = Vec::new();
    let destinations = session.destinations(&config).await?;
    rows.push(Row::new(
        "config",
        Finding {
            name: "configuration".into(),
            problem: None,
            detail: format!(
                "{}, {}",
                super::prune::plural(config.jobs.len(), "job"),
                super::prune::plural(destinations.len(), "destination")
            ),
            hint: None,
        },
    ));
    let jobs = if config.jobs.is_empty() {
        Vec::new()
    } else {
        session.jobs(&config, &[]).await?
    };
    for job in &jobs {
        rows.extend(look_at(job).await);
    }
    for (name, destination) in &destinations {
        for finding in pipeline::destination(destination).await {
            rows.push(Row::new(name, finding));
        }
        let fills = |job: &&Job| job.destinations.iter().any(|d| d.name() == name);
        let series: Vec<String> = jobs
            .iter()
            .filter(fills)
            .map(|j| j.series.clone())
            .collect();
        let foreign = strangers(destination, &series).await;
        rows.extend(foreign.map(|finding| Row::new(name, finding)));
    }
    if session.stop.requested() {
        return Err(Error::new(
            crate::error::Kind::Interrupted,
            "check",
            "interrupted",
        ));
    }
    if session.global.json {
        ui::document(&json!({ "checks": rows }));
    } else {
        print(&rows);
    }
    let failed = rows.iter().any(|row| row.outcome == "failed");
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

async fn look_at(job: &Job) -> Vec<Row> {
    let mut rows: Vec<Row> = job
        .engine
        .inspect()
        .await
        .into_iter()
        .map(|f| Row::new(&job.name, f))
        .collect();
    if job.retention.is_none() {
        rows.push(Row::new(
            &job.name,
            Finding {
                name: "retention".into(),
                problem: Some(Severity::Warning),
                detail: "none is configured: every backup stays for ever".into(),
                hint: Some("write `retention: { keep_last: 7, daily: 7, weekly: 4 }`".into()),
            },
        ));
    }
    rows
}

fn print(rows: &[Row]) {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for row in rows {
        let outcome = match row.outcome {
            "ok" => ui::good("ok"),
            "warning" => ui::doubt("warning"),
            _ => ui::bad("failed"),
        };
        lines.push(vec![
            row.subject.clone(),
            outcome,
            format!("{}: {}", row.name, row.detail),
        ]);
        if let Some(hint) = &row.hint {
            lines.push(vec![String::new(), "hint".into(), hint.clone()]);
        }
    }
    for line in table::align(&lines) {
        ui::line(line);
    }
}
