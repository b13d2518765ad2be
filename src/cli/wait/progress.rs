//! Displays the progress of requests on standard error.
use std::{collections::BTreeMap, io::Write, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Phase, Waited};

/// A progress bar on a terminal, else a line for each change.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        if bar.is_hidden() {
            return Self { bar: None };
        }
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {elapsed} {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar: Some(bar) }
    }

    /// A request has changed.
    pub(super) fn change(&self, request: &Waited) {
        if self.bar.is_none() {
            // Standard error may be closed; the report goes to standard output.
            let _ = writeln!(std::io::stderr(), "{}: {}", request.full_name(), request.why());
        }
    }

    /// Shows all requests.
    pub(super) fn show(&self, all: &BTreeMap<(String, String), Waited>) {
        let Some(bar) = &self.bar else { return };
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
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
