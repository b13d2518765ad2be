//! Displays the progress of requests on standard error.
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Phase, Waited, render::sums};

/// Of more requests than this, the log of a pipeline gets sums.
const FEW: usize = 20;
/// The first pause between two sums; each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// A progress bar on a terminal; else a line for each change, or for many requests sums, ever more rarely.
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines {
        /// When sums were written last, and the pause until they are written again.
        sums: Option<(Instant, Duration)>,
    },
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if bar.is_hidden() {
            return Self::Lines { sums: None };
        }
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {elapsed} {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self::Bar(bar)
    }

    /// Shows all requests. `changed`: those that are not as they were shown the last time.
    pub(super) fn show(&mut self, all: &BTreeMap<(String, String), Waited>, changed: &BTreeSet<(String, String)>) {
        let bar = match self {
            Self::Bar(bar) => bar,
            // Standard error may be closed; the report goes to standard output.
            Self::Lines { .. } if all.len() <= FEW => {
                for request in changed.iter().filter_map(|key| all.get(key)) {
                    let _ = writeln!(std::io::stderr(), "{}: {}", request.full_name(), request.why());
                }
                return;
            }
            Self::Lines { sums: written } => {
                let pause = match written {
                    None => FIRST_PAUSE,
                    Some((at, pause)) if at.elapsed() < *pause => return,
                    Some((_, pause)) => *pause * 2,
                };
                *written = Some((Instant::now(), pause));
                let _ = writeln!(std::io::stderr(), "{}", sums(&all.values()));
                return;
            }
        };
        let open: Vec<&Waited> = all.values().filter(|request| request.phase == Phase::Open).collect();
        if bar.length() == Some(0) {
            bar.enable_steady_tick(Duration::from_secs(1));
        }
        bar.set_length(all.len() as u64);
        bar.set_position((all.len() - open.len()) as u64);
        // Names the open request with the earliest deadline.
        let first = open.into_iter().min_by_key(|request| request.deadline);
        bar.set_message(first.map(|request| format!("{}: {}", request.full_name(), request.why())).unwrap_or_default());
    }

    pub(super) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.abandon();
        }
    }
}
