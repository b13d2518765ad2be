//! The report for a terminal, a spreadsheet and a Markdown page. Texts from outside are escaped.
use std::fmt::Write;

use super::{Report, Reset, reach::Reach};
use crate::{
    cli::{
        markdown::prose,
        terminal::{self, Zone},
    },
    core::text::{MESSAGE, printable},
};

fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// The columns of the table, in the order in which a reader asks: whom, what, how it went, by whom, why.
const HEAD: [&str; 12] = [
    "STARTED",
    "USER",
    "MODE",
    "DIRECTORY",
    "STATE",
    "KNOWN BY",
    "REQUEST",
    "REQUESTED BY",
    "WHO SAYS SO",
    "APPROVED BY",
    "PASSWORD TO",
    "WHY",
];

/// The cells of a row, with control characters escaped.
fn cells(reset: &Reset, zone: Zone) -> [String; 12] {
    [
        zone.time(reset.started_at),
        reset.user.clone(),
        reset.mode.clone(),
        reset.directory.clone(),
        format!("{:?}", reset.state),
        reset.because(),
        format!("{}/{}", reset.namespace, reset.request),
        or_empty(reset.requested_by.as_ref()),
        or_empty(reset.who_says_so.as_ref()),
        reset.approved_by.join(", "),
        or_empty(reset.password_to.as_ref()),
        or_empty(reset.why.as_ref()),
    ]
    .map(|text| printable(&text, MESSAGE))
}

/// The report for a terminal.
pub(super) fn text(report: &Report, zone: Zone) -> String {
    if report.resets.is_empty() {
        return format!("{}\n", report.summary());
    }
    format!("{}\n{}\n", terminal::table(HEAD, report.resets.iter().map(|reset| cells(reset, zone))), report.summary())
}

/// The report as a table in Markdown.
pub(super) fn markdown(report: &Report, reach: &Reach, zone: Zone) -> String {
    let mut out = format!("### {}\n\n{}\n", report.summary(), prose(&reach.sentence(report.since)));
    if report.resets.is_empty() {
        return out;
    }
    let _ = writeln!(out, "\n| {} |\n|{}", HEAD.map(str::to_lowercase).join(" | "), "---|".repeat(HEAD.len()));
    for reset in &report.resets {
        let _ = writeln!(out, "| {} |", cells(reset, zone).map(|cell| prose(&cell)).join(" | "));
    }
    out
}

/// The report for a spreadsheet. The columns have the names of the JSON fields.
pub(super) fn csv(report: &Report, zone: Zone) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "requestedAt",
        "startedAt",
        "settledAt",
        "settledBy",
        "directory",
        "userId",
        "user",
        "mode",
        "state",
        "knownBy",
        "refusedBecause",
        "code",
        "namespace",
        "request",
        "requestedBy",
        "filedBy",
        "whoSaysSo",
        "approvedBy",
        "passwordTo",
        "why",
        "holder",
        "attempts",
        "record",
    ])?;
    for reset in &report.resets {
        let row = [
            zone.cell(reset.requested_at),
            zone.cell(reset.started_at),
            or_empty(reset.settled_at.map(|at| zone.cell(at))),
            or_empty(reset.settled_by.as_ref()),
            reset.directory.clone(),
            reset.user_id.clone(),
            reset.user.clone(),
            reset.mode.clone(),
            format!("{:?}", reset.state),
            reset.known_by.map_or_else(String::new, |evidence| format!("{evidence:?}")),
            or_empty(reset.refused_because),
            or_empty(reset.code.as_ref()),
            reset.namespace.clone(),
            reset.request.clone(),
            or_empty(reset.requested_by.as_ref()),
            or_empty(reset.filed_by.as_ref()),
            or_empty(reset.who_says_so.as_ref()),
            reset.approved_by.join(" "),
            or_empty(reset.password_to.as_ref()),
            or_empty(reset.why.as_ref()),
            reset.holder.clone(),
            reset.attempts.to_string(),
            reset.record.clone(),
        ];
        writer.write_record(row.map(|value| cell(&value)))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// A cell that a spreadsheet takes for text. What begins like a formula is prefixed with an apostrophe, also after a semicolon: in some
/// countries that separates cells.
fn cell(text: &str) -> String {
    let formula = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    let safe = |part: &str| if part.trim_start().starts_with(formula) { format!("'{part}") } else { part.to_owned() };
    printable(text, MESSAGE).split(';').map(safe).collect::<Vec<_>>().join(";")
}
