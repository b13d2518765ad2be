//! Renders the report for a terminal and for a comment on a pull request. Texts of requests and servers are escaped.
use std::{cmp::Reverse, fmt::Write};

use super::{Phase, Report, Waited};
use crate::{
    cli::{
        markdown::{Bounded, MAX_BYTES, code, prose},
        terminal,
    },
    core::text::{NAME, printable},
};

/// Maximal length of a message in the table of a terminal.
const MAX_MESSAGE: usize = 80;
/// Requests that a terminal shows.
const MAX_ROWS: usize = 20;
/// Open requests that it shows with all that they wait for.
const MAX_OPEN: usize = 5;
/// Bytes for the sentence about what is left out.
const END: usize = 200;

impl Report {
    /// The requests, those that a person must look at first.
    fn worst_first(&self) -> Vec<&Waited> {
        let mut all: Vec<&Waited> = self.requests.iter().collect();
        all.sort_by_key(|request| Reverse(request.phase));
        all
    }

    fn sums(&self) -> String {
        let sums = sums(&self.requests.iter());
        if self.timed_out { format!("timed out: {sums}") } else { sums }
    }
}

/// How many of the requests are in which phase.
pub(super) fn sums<'a>(requests: &(impl Iterator<Item = &'a Waited> + Clone)) -> String {
    let parts = [
        (Phase::Done, "done"),
        (Phase::Open, "open"),
        (Phase::NeedsAttention, "need attention"),
        (Phase::Unknown, "unknown"),
    ];
    let count = |phase| requests.clone().filter(|request| request.phase == phase).count();
    let parts = parts.into_iter().map(|(phase, word)| (count(phase), word)).filter(|(n, _)| *n > 0);
    parts.map(|(n, word)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}

pub(super) fn text(report: &Report) -> String {
    let all = report.worst_first();
    let rows = all.iter().take(MAX_ROWS).map(|request| {
        [
            request.full_name(),
            printable(request.user.as_deref().unwrap_or("-"), NAME),
            request.outcome.map_or_else(|| "-".to_owned(), |outcome| format!("{outcome:?}")),
            request.reason.map_or_else(|| "-".to_owned(), |reason| reason.to_string()),
            printable(&request.message, MAX_MESSAGE),
        ]
    });
    let mut out = terminal::table(["REQUEST", "USER", "OUTCOME", "REASON", "MESSAGE"], rows);
    if all.len() > MAX_ROWS {
        let _ = writeln!(out, "and {} more (-o json has all)", all.len() - MAX_ROWS);
    }
    out.push('\n');
    let open: Vec<&&Waited> = all.iter().filter(|request| request.phase == Phase::Open).collect();
    for request in open.iter().take(MAX_OPEN) {
        let until = request.deadline.map_or_else(String::new, |at| format!(" (at most until {at:.0})"));
        let _ = writeln!(out, "{} waits{until}: {}", request.full_name(), request.why());
    }
    if open.len() > MAX_OPEN {
        let _ = writeln!(out, "and {} more wait (-o json has all)", open.len() - MAX_OPEN);
    }
    out += &report.sums();
    out.push('\n');
    out
}

/// The report for a comment on a pull request, within the size that code hosts take.
pub(super) fn markdown(report: &Report) -> String {
    let all = report.worst_first();
    let sign = |phase| match phase {
        Phase::Done => "✅ done",
        Phase::Open => "⏳ open",
        Phase::NeedsAttention => "❌ needs attention",
        Phase::Unknown => "❔ unknown",
    };
    let row = |request: &&Waited| {
        let user = request.user.as_deref().map_or_else(|| "–".to_owned(), prose);
        vec![sign(request.phase).to_owned(), user, code(&request.full_name()), prose(&request.why())]
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let mut out = Bounded::new(MAX_BYTES, END);
    out.add(&format!("### Resets: {}\n", report.sums()));
    let shown = out.table("", &["", "who", "request", "what happened"], &rows, 0);
    let left_out =
        format!("\n**{} more are left out here**: `credreset wait` with `-o json` has all.\n", rows.len() - shown);
    out.end(if shown < rows.len() { &left_out } else { "" })
}
