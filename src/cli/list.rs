use std::collections::BTreeMap;

use serde_json::json;

use super::args::ListArgs;
use super::session::Session;
use super::{table, ui};
use crate::catalog::Summary;
use crate::clock;
use crate::error::Error;
use crate::exit::Exit;
use crate::manifest::Id;
use crate::value::{format_age, format_bytes};

struct Row {
    destination: String,
    series: String,
    backup: Summary,
}

pub(super) async fn list(session: &Session, args: ListArgs) -> Result<Exit, Error> {
    let found = session.places(args.job.as_deref()).await?;
    let mut rows = Vec::new();
    let (mut failures, mut answered) = (Vec::new(), false);
    for place in &found.places {
        match place.shelves().await {
            Ok((shelves, failed)) => {
                answered = true;
                failures.extend(failed);
                for shelf in shelves {
                    rows.extend(shelf.catalog.backups.into_iter().map(|backup| Row {
                        destination: shelf.destination.name().to_owned(),
                        series: place.series.clone(),
                        backup,
                    }));
                }
            }
            Err(error) if found.places.len() == 1 => return Err(error),
            Err(error) => {
                ui::warn(&error);
                failures.push(error);
            }
        }
    }
    if let (false, Some(error)) = (answered, failures.first()) {
        return Err(error.clone());
    }
    rows.sort_by(|a, b| {
        (b.backup.captured_at, &b.backup.id).cmp(&(a.backup.captured_at, &a.backup.id))
    });
    if session.global.json {
        let backups: Vec<_> = rows.iter().map(document).collect();
        ui::document(&json!({ "backups": backups }));
    } else {
        print(&rows);
    }
    // A list that came back short is never taken for a whole one.
    Ok(if failures.is_empty() {
        Exit::Ok
    } else {
        Exit::Partial
    })
}

fn document(row: &Row) -> serde_json::Value {
    let backup = &row.backup;
    json!({
        "destination": row.destination,
        "series": row.series,
        "job": backup.job,
        "id": backup.id,
        "captured_at": backup.captured_at,
        "engine": backup.engine,
        "role": backup.role,
        "plain_bytes": backup.plain_bytes,
        "stored_bytes": backup.stored_bytes,
        "key": backup.key,
        "seal": backup.seal,
        "verified": backup.verified,
    })
}

fn print(rows: &[Row]) {
    let mut series: Vec<&str> = rows.iter().map(|row| row.series.as_str()).collect();
    series.sort_unstable();
    series.dedup();
    if series.is_empty() {
        ui::line("no backups");
        return;
    }
    for (at, name) in series.iter().enumerate() {
        if series.len() > 1 {
            ui::line(format!("{}{name}", if at > 0 { "\n" } else { "" }));
        }
        print_series(rows.iter().filter(|row| row.series == *name));
    }
}

fn print_series<'a>(rows: impl Iterator<Item = &'a Row>) {
    let mut backups: BTreeMap<&Id, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        backups.entry(&row.backup.id).or_default().push(row);
    }
    let mut ordered: Vec<_> = backups.into_values().collect();
    ordered.sort_by_key(|copies| {
        std::cmp::Reverse((copies[0].backup.captured_at, &copies[0].backup.id))
    });
    let head = ["ID", "CAPTURED", "AGE", "SIZE", "STORED", "ROLE", "WHERE"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    let now = clock::now();
    for copies in ordered {
        let backup = &copies[0].backup;
        let places: Vec<&str> = copies.iter().map(|row| row.destination.as_str()).collect();
        let unchanged = !backup.key.contains(backup.id.as_str());
        let mut remarks = vec![places.join(" ")];
        if unchanged {
            remarks.push("unchanged".into());
        }
        if !backup.verified {
            remarks.push(ui::doubt("not verified"));
        }
        table.push(vec![
            backup.id.to_string(),
            clock::local_minute(backup.captured_at),
            format_age(clock::since(backup.captured_at, now)),
            format_bytes(backup.plain_bytes),
            format_bytes(backup.stored_bytes),
            backup.role.as_str().to_owned(),
            remarks.join("  "),
        ]);
    }
    for line in table::align(&table) {
        ui::line(line);
    }
}
