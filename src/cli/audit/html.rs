//! The report as one file for a browser: it loads nothing, and its only script searches and sorts the table.
use std::fmt::{self, Display, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{Report, Reset, reach::Reach};
use crate::{
    core::{
        record::State,
        text::{MESSAGE, printable},
    },
    html::Escaped,
};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// Who made the report, and of what.
pub(super) struct Made<'a> {
    /// User name of the caller at the API server.
    pub(super) by: &'a str,
    /// When.
    pub(super) at: Timestamp,
    /// Address of the API server.
    pub(super) cluster: &'a str,
    /// The operator's namespace.
    pub(super) namespace: &'a str,
    /// What the report leaves out, by what it shows: `user annette.c@zylker.biz`. Empty: it shows every reset of its time.
    pub(super) only: &'a [String],
}

/// The page.
pub(super) fn page(report: &Report, reach: &Reach, made: &Made) -> String {
    let mut html = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut html, report, reach, made);
    html
}

/// A text from outside: control characters and HTML are escaped, and its direction of writing does not change what stands around it.
struct Shown<'a>(&'a str);

impl Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<bdi>{}</bdi>", Escaped(printable(self.0, MESSAGE)))
    }
}

/// The source that a Content-Security-Policy allows, by its hash.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

fn write_page(html: &mut String, report: &Report, reach: &Reach, made: &Made) -> fmt::Result {
    let summary = report.summary();
    write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src {}; script-src {}; img-src data:; \
         base-uri 'none'; form-action 'none'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\">\
         <title>Resets: {summary}</title><style>{STYLE}</style></head><body>\
         <header><h1>Who reset whom: {summary}</h1>\
         <p>Made by {} at {:.0}, from the records in namespace {} of the cluster {}, with credreset {}. Times are UTC.</p>",
        hash(STYLE),
        hash(SCRIPT),
        Shown(made.by),
        made.at,
        Shown(made.namespace),
        Shown(made.cluster),
        env!("CARGO_PKG_VERSION"),
    )?;
    if !made.only.is_empty() {
        write!(html, "<p>Only: {}.</p>", Shown(&made.only.join(", ")))?;
    }
    let is_short = reach.since().is_none_or(|since| report.since < since);
    write!(
        html,
        "</header><p class=\"note{}\">{}</p>",
        if is_short { " bad" } else { "" },
        Escaped(printable(&reach.sentence(report.since), MESSAGE))
    )?;
    // What is unknown needs a reader first.
    let (unknown, rest): (Vec<&Reset>, Vec<&Reset>) = report.resets.iter().partition(|r| r.state == State::Unknown);
    if !unknown.is_empty() {
        let count = match unknown.len() {
            1 => "The outcome of 1 reset is unknown; it comes".to_owned(),
            n => format!("The outcome of {n} resets is unknown; they come"),
        };
        write!(html, "<p class=\"note bad\">{count} first. Someone has to find out which password works.</p>")?;
    }
    if report.resets.is_empty() {
        html.push_str("<p>No resets.</p></body></html>\n");
        return Ok(());
    }
    html.push_str(
        "<form hidden><label>Search <input type=\"search\" placeholder=\"name, ticket, state, time\" autocomplete=\"off\"></label>\
         <output></output></form><table><thead><tr>",
    );
    for column in COLUMNS {
        write!(html, "<th scope=\"col\">{column}</th>")?;
    }
    html.push_str("</tr></thead><tbody>\n");
    for reset in unknown.into_iter().chain(rest) {
        write_row(html, reset)?;
    }
    writeln!(html, "</tbody></table><script>{SCRIPT}</script></body></html>")
}

const COLUMNS: [&str; 9] =
    ["Started", "User", "What", "State", "Asked by", "Why", "Approved by", "Password to", "Request"];

fn write_row(html: &mut String, reset: &Reset) -> fmt::Result {
    let class = match reset.state {
        State::Unknown => "unknown",
        State::Applied => "applied",
        _ => "other",
    };
    let state = format!("{:?}", reset.state);
    let because = [Some(reset.because()), reset.code.clone(), reset.settled_by.as_ref().map(|by| format!("says {by}"))];
    let because: Vec<String> = because.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    let request = format!("{}/{}", reset.namespace, reset.request);
    let cells = [
        format!("{:.0}", reset.started_at).split('T').map(str::to_owned).collect(),
        vec![reset.user.clone(), reset.user_id.clone()],
        vec![reset.mode.clone(), reset.directory.clone()],
        vec![state, because.join(", ")],
        vec![reset.asked_by().unwrap_or_default().to_owned(), reset.who_says_so.clone().unwrap_or_default()],
        vec![reset.why.clone().unwrap_or_default()],
        vec![reset.approved_by.join(", ")],
        vec![reset.password_to.clone().unwrap_or_default()],
        vec![request],
    ];
    write!(html, "<tr class=\"{class}\">")?;
    for (column, mut lines) in COLUMNS.into_iter().zip(cells) {
        let kind = match column {
            "Started" => " class=\"time\"",
            "What" => " class=\"short\"",
            "State" => " class=\"state short\"",
            _ => "",
        };
        lines.retain(|line| !line.is_empty());
        write!(html, "<td data-label=\"{column}\"{kind}>")?;
        for (number, line) in lines.iter().enumerate() {
            if number == 0 {
                write!(html, "{}", Shown(line))?;
            } else {
                // The blank separates the two for the script.
                write!(html, " <small>{}</small>", Shown(line))?;
            }
        }
        html.push_str("</td>");
    }
    html.push_str("</tr>\n");
    Ok(())
}
