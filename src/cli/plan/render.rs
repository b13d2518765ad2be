//! Renders a plan as text for a terminal and as Markdown for a comment on a pull request. Texts from manifests and servers are escaped.
use std::fmt::Write;

use super::{NOT_PLANNED, Planned, Report};
use crate::core::{
    forecast::Verdict,
    text::{MESSAGE, NAME, printable},
};

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Nothing => "nothing",
        Verdict::Allowed => "allowed",
        Verdict::Unclear => "unclear",
        Verdict::Refused => "refused",
    }
}

fn summary(report: &Report) -> String {
    let count = |verdict: Verdict| report.requests.iter().filter(|p| p.verdict == verdict).count();
    let counts: Vec<String> = [Verdict::Allowed, Verdict::Refused, Verdict::Unclear, Verdict::Nothing]
        .into_iter()
        .filter_map(|verdict| match (count(verdict), verdict) {
            (0, _) => None,
            (n, Verdict::Nothing) => Some(format!("{n} with nothing to do")),
            (n, verdict) => Some(format!("{n} {}", word(verdict))),
        })
        .collect();
    if counts.is_empty() { "no request".to_owned() } else { counts.join(", ") }
}

impl Planned {
    fn title(&self) -> String {
        if self.is_request() { format!("{}/{}", self.namespace, self.name) } else { self.file.clone() }
    }

    fn what(&self) -> String {
        if self.is_request() {
            format!("{} of {} in {}", self.mode, self.user, self.directory)
        } else {
            "not planned".to_owned()
        }
    }

    fn is_request(&self) -> bool {
        self.reason.as_deref() != Some(NOT_PLANNED)
    }

    /// Reason and message: why it is refused, or what it waits for.
    fn why(&self) -> Option<String> {
        let message = self.message.as_deref()?;
        Some(self.reason.as_ref().map_or_else(|| message.to_owned(), |reason| format!("{reason}: {message}")))
    }

    /// Further facts, each with its label.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let approvals = self
            .approvals
            .map_or_else(String::new, |n| format!(", with {n} approval{}", if n == 1 { "" } else { "s" }));
        let mut facts = Vec::new();
        facts.extend(self.is_request().then(|| ("reason", self.request_reason.clone())));
        facts.extend(self.requested_by.clone().map(|by| ("requester", by)));
        facts.extend(self.found.as_ref().map(|user| ("user", format!("{} ({})", user.name, user.id))));
        facts.extend(self.rule.as_ref().map(|rule| ("rule", format!("{rule}{approvals}"))));
        facts.extend((!self.impact.is_empty()).then(|| ("the user", self.impact.join("; "))));
        facts.extend((!self.assumed.is_empty()).then(|| ("assumed", self.assumed.join("; "))));
        facts.extend(self.digest.clone().map(|digest| ("digest", digest)));
        facts
    }
}

/// The plan for a terminal.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    for planned in &report.requests {
        let Planned { file, verdict, steps, .. } = planned;
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(out, "  {name:<9} {}", printable(value, MESSAGE));
        };
        line(&word(*verdict).to_uppercase(), &format!("{}: {}", planned.title(), planned.what()));
        if let Some(why) = planned.why() {
            line(if *verdict == Verdict::Allowed { "waits" } else { "why" }, &why);
        }
        for (name, value) in planned.facts() {
            line(name, &value);
        }
        for (number, step) in steps.iter().enumerate() {
            line(if number == 0 { "steps" } else { "" }, &format!("{}. {step}", number + 1));
        }
        line("file", file);
        out.push('\n');
    }
    let _ = writeln!(out, "{}", summary(report));
    out
}

/// The plan for a comment on a pull request.
pub(super) fn markdown(report: &Report) -> String {
    let sign = |verdict| match verdict {
        Verdict::Nothing => "⚪ nothing",
        Verdict::Allowed => "✅ allowed",
        Verdict::Unclear => "❔ unclear",
        Verdict::Refused => "❌ refused",
    };
    let mut out = format!("### Resets: {}\n", summary(report));
    if report.requests.is_empty() {
        return out;
    }
    out.push_str("\n| | request | what | |\n|---|---|---|---|\n");
    for planned in &report.requests {
        let why = planned
            .why()
            .unwrap_or_else(|| planned.impact.first().map(|c| format!("The user {c}.")).unwrap_or_default());
        let name = code(&planned.title());
        let _ = writeln!(out, "| {} | {name} | {} | {} |", sign(planned.verdict), code(&planned.what()), prose(&why));
    }
    for planned in report.requests.iter().filter(|p| p.verdict == Verdict::Allowed) {
        let name = code(&planned.title());
        let _ = writeln!(out, "\n<details><summary>{name}: what the operator will do, once</summary>\n");
        for (number, step) in planned.steps.iter().enumerate() {
            let _ = writeln!(out, "{}. {}", number + 1, prose(step));
        }
        out.push('\n');
        for (name, value) in planned.facts() {
            let value = if name == "digest" { code(&value) } else { prose(&value) };
            let _ = writeln!(out, "* {name}: {value}");
        }
        out.push_str("\n</details>\n");
    }
    out
}

/// Escapes a text for Markdown and HTML, so that it mentions no user by `@` and no address or number becomes a link. Code hosts search the
/// rendered text for these, so escaping their characters is not enough: a zero-width space breaks them.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text, MESSAGE).chars() {
        match c {
            '@' | '#' => {
                out.push(c);
                out.push_str(ZERO_WIDTH_SPACE);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    break_links(&out)
}

/// Escapes a text as code, also in a table. Markdown is active within the tags, so its characters are escaped.
fn code(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text, NAME * 2).chars() {
        match c {
            '&' | '<' | '>' | '|' | '@' | '#' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '!' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    format!("<code>{}</code>", break_links(&out))
}

/// A zero-width space.
const ZERO_WIDTH_SPACE: &str = "&#8203;";

/// Breaks addresses that would become links.
fn break_links(text: &str) -> String {
    let mut out = text.replace("://", &format!(":{ZERO_WIDTH_SPACE}//"));
    let lower_case = out.to_ascii_lowercase();
    let found: Vec<usize> = lower_case.match_indices("www.").map(|(at, _)| at + 3).collect();
    for at in found.into_iter().rev() {
        out.insert_str(at, ZERO_WIDTH_SPACE);
    }
    out
}
