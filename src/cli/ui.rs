use std::fmt::Write as _;
use std::future::Future;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::error::Error;
use crate::exit::Exit;
use crate::pipeline::Progress;
use crate::value::format_bytes;

const BAD: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const DOUBT: Style = AnsiColor::Yellow.on_default();

/// How often a bar moves, and how often a line is printed where there is no terminal.
const FRAME: Duration = Duration::from_millis(120);
const LINE: Duration = Duration::from_secs(30);

/// Prints one line on standard output; a closed pipe is no error.
pub(super) fn line(text: impl std::fmt::Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Somebody else's words, such as a server's or a file's: what would move a terminal's cursor or
/// change its title is written out.
pub(super) fn quoted(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Prints one JSON document on standard output.
pub(super) fn document(document: &impl Serialize) {
    let text =
        serde_json::to_string_pretty(document).expect("documents are structs of plain values");
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Prints what people should know although the command goes on.
pub(super) fn warn(text: impl std::fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{DOUBT}warning:{DOUBT:#} {text}");
}

/// Prints an error and gives its exit code.
pub(super) fn fail(error: &Error, json: bool) -> Exit {
    if json {
        document(&error.document());
    } else {
        let mut text = format!("{BAD}error:{BAD:#} {error}");
        if let Some(hint) = &error.hint {
            let _ = write!(text, "\n{GOOD}hint:{GOOD:#} {hint}");
        }
        let _ = writeln!(anstream::stderr(), "{text}");
    }
    error.kind.exit()
}

pub(super) fn good(text: &str) -> String {
    format!("{GOOD}{text}{GOOD:#}")
}

pub(super) fn bad(text: &str) -> String {
    format!("{BAD}{text}{BAD:#}")
}

pub(super) fn doubt(text: &str) -> String {
    format!("{DOUBT}{text}{DOUBT:#}")
}

/// `1.4 s`.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 99.5 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

/// Does `work` while its progress is drawn on a terminal, or told every 30 s elsewhere.
pub(super) async fn with_progress<T>(
    progress: &Progress,
    quiet: bool,
    work: impl Future<Output = T>,
) -> T {
    if quiet {
        return work.await;
    }
    tokio::pin!(work);
    let mut drawing = Drawing::new();
    let mut ticks = tokio::time::interval(if drawing.terminal { FRAME } else { LINE });
    ticks.tick().await;
    loop {
        tokio::select! {
            done = &mut work => {
                drawing.clear();
                return done;
            }
            _ = ticks.tick() => drawing.draw(progress),
        }
    }
}

struct Drawing {
    terminal: bool,
    bars: MultiProgress,
    shown: Vec<(String, ProgressBar)>,
    started: Instant,
}

impl Drawing {
    fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            terminal,
            bars: MultiProgress::with_draw_target(target),
            shown: Vec::new(),
            started: Instant::now(),
        }
    }

    fn draw(&mut self, progress: &Progress) {
        let running = progress.running();
        if !self.terminal {
            for meter in running {
                let _ = writeln!(
                    anstream::stderr(),
                    "{}: {} of {} after {} s",
                    meter.label,
                    format_bytes(meter.done()),
                    format_bytes(meter.total),
                    self.started.elapsed().as_secs()
                );
            }
            return;
        }
        self.shown.retain(|(label, bar)| {
            let stays = running.iter().any(|meter| &meter.label == label);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        for meter in running {
            let at = self
                .shown
                .iter()
                .position(|(label, _)| *label == meter.label);
            let at = at.unwrap_or_else(|| {
                let bar = self.bars.add(ProgressBar::new(meter.total.max(1)));
                bar.set_style(style());
                bar.set_prefix(meter.label.clone());
                self.shown.push((meter.label.clone(), bar));
                self.shown.len() - 1
            });
            let bar = &self.shown[at].1;
            bar.set_length(meter.total.max(meter.done()).max(1));
            bar.set_position(meter.done());
        }
    }

    fn clear(&mut self) {
        for (_, bar) in self.shown.drain(..) {
            bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "  {prefix}  {wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_wrote_moves_no_cursor() {
        assert_eq!(
            quoted("core/\u{1b}[2J\u{9b}31m\n"),
            r"core/\u{1b}[2J\u{9b}31m\n"
        );
        assert_eq!(quoted("clé/✓"), "clé/✓");
    }
}
