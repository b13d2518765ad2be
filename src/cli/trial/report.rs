//! The report of findings, to be filed as an issue. It has no names of users and servers, and no secrets.
use std::{collections::BTreeSet, fmt::Write as _};

use serde::Serialize;

use super::{mask::Mask, person::Exchange};
use crate::{
    core::text::{MESSAGE, printable},
    directory::watch::names,
};

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of this program.
    pub version: String,
    /// Product name of the directory.
    pub directory: String,
    /// No finding is other than expected.
    pub as_expected: bool,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its name.
    pub name: String,
    /// The comparisons.
    pub findings: Vec<Finding>,
    /// The calls.
    pub calls: Vec<Sent>,
}

/// One expectation of this program, and what was found.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The expectation.
    pub expected: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// What was observed, or why it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// The observer: this program, or the person.
    pub by: By,
}

/// Whether an expectation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "a text on a variant would turn the schema's enum into oneOf")]
pub enum Verdict {
    AsExpected,
    NotAsExpected,
    NotTried,
}

/// The observer of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "a text on a variant would turn the schema's enum into oneOf")]
pub enum By {
    Program,
    Person,
}

/// A call.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Sent {
    /// Method and address, or the operation.
    call: String,
    /// Names of the fields sent with it.
    fields: Vec<String>,
    /// Status or result code.
    answer: String,
    /// Names of the fields in the answer.
    shows: Vec<String>,
}

impl From<Exchange> for Sent {
    fn from(Exchange { call, answer }: Exchange) -> Self {
        // Entries and filters of LDAP are left out: they name users.
        let target = if call.target.contains("://") { format!(" {}", call.target) } else { String::new() };
        Self {
            call: format!("{}{target}", call.verb),
            fields: call.fields,
            shows: names(&answer.form),
            answer: answer.summary,
        }
    }
}

impl Sent {
    fn lines(&self) -> String {
        let Self { call, fields, answer, shows } = self;
        let with = if fields.is_empty() { String::new() } else { format!("\n  with {}", fields.join(", ")) };
        let shows = if shows.is_empty() { String::new() } else { format!(": {}", shows.join(", ")) };
        format!("{call}{with}\n  {answer}{shows}\n")
    }
}

impl Finding {
    /// A finding by this program: as expected unless `seen` is an error.
    pub(super) fn new(expected: impl Into<String>, seen: Result<Option<String>, String>) -> Self {
        let (verdict, seen) = match seen {
            Ok(seen) => (Verdict::AsExpected, seen),
            Err(seen) => (Verdict::NotAsExpected, Some(seen)),
        };
        Self { expected: expected.into(), verdict, seen, by: By::Program }
    }

    pub(super) fn not_tried(expected: impl Into<String>, why: impl Into<String>) -> Self {
        Self { expected: expected.into(), verdict: Verdict::NotTried, seen: Some(why.into()), by: By::Program }
    }

    /// The verdict as text.
    pub(super) fn verdict(&self) -> &'static str {
        match self.verdict {
            Verdict::AsExpected => "as expected",
            Verdict::NotAsExpected => "NOT AS EXPECTED",
            Verdict::NotTried => "not tried",
        }
    }
}

impl Report {
    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.steps.iter().flat_map(|step| &step.findings)
    }

    /// Number of findings with this verdict.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.findings().filter(|finding| finding.verdict == verdict).count()
    }

    /// The report without names, ids and addresses.
    pub(super) fn masked(mut self, mask: &Mask) -> Self {
        let hide = |text: &mut String| *text = mask.hide(&printable(text, MESSAGE));
        self.stopped.iter_mut().for_each(hide);
        for step in &mut self.steps {
            for Finding { expected, seen, .. } in &mut step.findings {
                [Some(expected), seen.as_mut()].into_iter().flatten().for_each(hide);
            }
            for Sent { call, fields, answer, shows } in &mut step.calls {
                [call, answer].into_iter().chain(fields).chain(shows).for_each(hide);
            }
        }
        self
    }

    fn summary(&self) -> String {
        let [right, wrong, open] =
            [Verdict::AsExpected, Verdict::NotAsExpected, Verdict::NotTried].map(|verdict| self.count(verdict));
        let end = self.stopped.as_ref().map_or_else(String::new, |why| format!(" Ended early: {why}"));
        format!("{right} as expected, {wrong} not as expected, {open} not tried.{end}")
    }

    /// The report for a terminal.
    pub(super) fn text(&self, colours: bool) -> String {
        let mut out = format!("\n{} with credreset {}\n", self.directory, self.version);
        for Step { name, findings, .. } in &self.steps {
            let _ = writeln!(out, "\n{name}");
            for finding in findings {
                let verdict = format!("{:<15}", finding.verdict());
                let code = match finding.verdict {
                    Verdict::AsExpected => "32",
                    Verdict::NotAsExpected => "1;31",
                    Verdict::NotTried => "33",
                };
                let verdict = if colours { format!("\u{1b}[{code}m{verdict}\u{1b}[0m") } else { verdict };
                let _ = writeln!(out, "  {verdict}  {}", finding.expected);
                if let Some(seen) = &finding.seen {
                    let _ = writeln!(out, "{:19}{}{seen}", "", observer(finding));
                }
            }
        }
        let _ = writeln!(out, "\n{}", self.summary());
        out
    }

    /// The report for an issue.
    pub(super) fn markdown(&self) -> String {
        let mut out = format!(
            "# {}: {} not as expected\n\nWritten by `credreset try` of credreset {}. Names, ids and addresses are left out, and calls that \
             were answered like an earlier one.\n\n{}\n",
            self.directory,
            self.count(Verdict::NotAsExpected),
            self.version,
            self.summary()
        );
        let mut reported = BTreeSet::new();
        for Step { name, findings, calls } in &self.steps {
            let _ = write!(out, "\n## {name}\n\n| expected | | observed |\n|---|---|---|\n");
            for finding in findings {
                let verdict = match finding.verdict {
                    Verdict::NotAsExpected => "**not as expected**",
                    _ => finding.verdict(),
                };
                let seen =
                    finding.seen.as_ref().map_or_else(String::new, |seen| format!("{}{seen}", observer(finding)));
                let _ = writeln!(out, "| {} | {verdict} | {} |", cell(&finding.expected), cell(&seen));
            }
            let new: String = calls.iter().map(Sent::lines).filter(|lines| reported.insert(lines.clone())).collect();
            if !new.is_empty() {
                let _ = write!(out, "\n```text\n{new}```\n");
            }
        }
        out
    }
}

fn observer(finding: &Finding) -> &'static str {
    if finding.by == By::Person { "you answered: " } else { "" }
}

fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}
