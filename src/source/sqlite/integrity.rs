use std::path::Path;

use rusqlite::Connection;

use super::super::{Check, SourceError};
use super::config::CheckDepth;
use super::connection::failure;

/// Problems named in a message before the rest is counted.
const NAMED: usize = 3;
const NO_COLLATION: &str = "no such collation sequence: ";

/// Proves an open database.
pub(super) fn prove(
    connection: &Connection,
    path: &Path,
    depth: CheckDepth,
) -> Result<Check, SourceError> {
    let pragma = match depth {
        CheckDepth::Full => "integrity_check",
        CheckDepth::Quick => "quick_check",
    };
    match run(connection, pragma, None) {
        Ok(problems) => judge(path, pragma, &problems, ""),
        Err(error) if missing_collation(&error).is_some() => {
            without_collations(connection, path, depth, pragma)
        }
        Err(error) => Err(failure(path, &error)),
    }
}

/// The application's own collations are unknown here, and a check of the indexes that use them
/// would be wrong in any other order: tables with such indexes get the check that does not
/// compare keys.
fn without_collations(
    connection: &Connection,
    path: &Path,
    depth: CheckDepth,
    pragma: &str,
) -> Result<Check, SourceError> {
    let fail = |error: &rusqlite::Error| failure(path, error);
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(|error| fail(&error))?;
    let mut partly = Vec::new();
    if depth == CheckDepth::Full {
        for table in tables {
            match run(connection, "integrity_check", Some(&table)) {
                Ok(problems) => {
                    judge(path, "integrity_check", &problems, "")?;
                }
                Err(error) if missing_collation(&error).is_some() => partly.push(table),
                Err(error) => return Err(fail(&error)),
            }
        }
    }
    loop {
        match run(connection, "quick_check", None) {
            Ok(problems) => {
                let note = if partly.is_empty() {
                    String::new()
                } else {
                    format!(
                        "; quick check of {}: their collation is not known here",
                        partly.join(", ")
                    )
                };
                return judge(path, pragma, &problems, &note);
            }
            Err(error) => {
                let name = missing_collation(&error).ok_or_else(|| fail(&error))?;
                connection
                    .create_collation(name.as_str(), |a: &str, b: &str| a.cmp(b))
                    .map_err(|error| fail(&error))?;
            }
        }
    }
}

pub(super) fn missing_collation(error: &rusqlite::Error) -> Option<String> {
    let text = error.to_string();
    let at = text.find(NO_COLLATION)? + NO_COLLATION.len();
    let name: String = text[at..]
        .chars()
        .take_while(|c| !c.is_whitespace())
        .collect();
    (!name.is_empty()).then_some(name)
}

fn run(
    connection: &Connection,
    pragma: &str,
    table: Option<&str>,
) -> rusqlite::Result<Vec<String>> {
    let sql = match table {
        Some(table) => format!("PRAGMA {pragma}(\"{}\")", table.replace('"', "\"\"")),
        None => format!("PRAGMA {pragma}"),
    };
    connection
        .prepare(&sql)?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn judge(path: &Path, pragma: &str, problems: &[String], note: &str) -> Result<Check, SourceError> {
    if problems.len() == 1 && problems[0] == "ok" {
        return Ok(Check::ok(pragma, format!("ok{note}")));
    }
    let named: Vec<&str> = problems
        .iter()
        .take(NAMED)
        .flat_map(|problem| problem.lines())
        .take(NAMED)
        .collect();
    let more = match problems.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let why = format!(
        "{}: {pragma} found: {}{more}",
        path.display(),
        named.join("; ")
    );
    Err(SourceError::damaged(why)
        .hint("where only indexes are named, REINDEX repairs them; otherwise restore a backup"))
}
