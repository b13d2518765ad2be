//! Displays on a terminal how far a plan has come, if it takes longer than two seconds.
use std::{
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::terminal::SLOW;

/// A line on standard error; removed when it is dropped.
pub(super) struct Progress {
    bar: ProgressBar,
    /// Dropped: the line is no longer wanted.
    _wanted: Sender<()>,
}

impl Progress {
    pub(super) fn new(requests: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(requests as u64), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("planned {pos} of {len} requests {elapsed}") {
            bar.set_style(style);
        }
        let (wanted, over) = channel::<()>();
        let shown = bar.clone();
        // A thread of its own: the plan may be computing, or wait for a server.
        std::thread::spawn(move || {
            if over.recv_timeout(SLOW) == Err(RecvTimeoutError::Timeout) && !shown.is_finished() {
                shown.set_draw_target(ProgressDrawTarget::stderr());
                shown.enable_steady_tick(Duration::from_secs(1));
            }
        });
        Self { bar, _wanted: wanted }
    }

    /// One more request is planned.
    pub(super) fn advance(&self) {
        self.bar.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
