//! Renders a plan as text for a terminal. Texts from manifests and servers are escaped.
use std::fmt::Write;

use super::{
    NOT_PLANNED, Planned, Report,
    groups::{Group, groups},
};
use crate::core::{
    forecast::Verdict,
    text::{MESSAGE, printable},
};

/// Of more requests than this, an allowed one gets a line, and what is the same for many is said once.
pub(super) const FEW: usize = 50;

pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Nothing => "nothing",
        Verdict::Allowed => "allowed",
        Verdict::Unclear => "unclear",
        Verdict::Refused => "refused",
    }
}

/// How many of the requests have which verdict.
pub(super) fn sums<'a>(requests: &(impl Iterator<Item = &'a Planned> + Clone)) -> String {
    let counts: Vec<String> = [Verdict::Allowed, Verdict::Refused, Verdict::Unclear, Verdict::Nothing]
        .into_iter()
        .filter_map(|verdict| match (requests.clone().filter(|p| p.verdict == verdict).count(), verdict) {
            (0, _) => None,
            (n, Verdict::Nothing) => Some(format!("{n} with nothing to do")),
            (n, verdict) => Some(format!("{n} {}", word(verdict))),
        })
        .collect();
    if counts.is_empty() { "no request".to_owned() } else { counts.join(", ") }
}

/// What a reader must know first of requests that are allowed though no user was looked up.
pub(super) fn not_looked_up(report: &Report) -> Option<String> {
    let blind =
        |planned: &&Planned| planned.verdict == Verdict::Allowed && planned.found.is_none() && planned.is_request();
    let users = match (report.requests.iter().filter(blind).count(), report.requests.len()) {
        (0, _) => return None,
        (n, all) if n == all => "No user was looked up".to_owned(),
        (1, _) => "One user was not looked up".to_owned(),
        (n, _) => format!("{n} users were not looked up"),
    };
    Some(format!("{users}: whether they exist, or are protected, is not known here."))
}

impl Planned {
    pub(super) fn title(&self) -> String {
        if self.is_request() { format!("{}/{}", self.namespace, self.name) } else { self.file.clone() }
    }

    fn what(&self) -> String {
        if self.is_request() {
            format!("{} of {} in {}", self.mode, self.user, self.directory)
        } else {
            "not planned".to_owned()
        }
    }

    pub(super) fn is_request(&self) -> bool {
        self.reason.as_deref() != Some(NOT_PLANNED)
    }

    /// Reason and message: why it is refused, or what it waits for.
    pub(super) fn why(&self) -> Option<String> {
        let message = self.message.as_deref()?;
        Some(self.reason.as_ref().map_or_else(|| message.to_owned(), |reason| format!("{reason}: {message}")))
    }

    /// Facts that requests have in common for which the operator would do the same, each with its label.
    pub(super) fn common_facts(&self) -> Vec<(&'static str, String)> {
        let approvals = self
            .approvals
            .map_or_else(String::new, |n| format!(", with {n} approval{}", if n == 1 { "" } else { "s" }));
        let mut facts = Vec::new();
        facts.extend(self.rule.as_ref().map(|rule| ("rule", format!("{rule}{approvals}"))));
        facts.extend((!self.impact.is_empty()).then(|| ("the user", self.impact.join("; "))));
        facts
    }

    /// All facts, each with its label.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        facts.extend(self.is_request().then(|| ("reason", self.request_reason.clone())));
        facts.extend(self.requested_by.clone().map(|by| ("requester", by)));
        let called = self.display_name.as_ref().map(|name| format!(", called {name}")).unwrap_or_default();
        facts.extend(self.found.as_ref().map(|user| ("user", format!("{} ({}){called}", user.name, user.id))));
        facts.extend(self.common_facts());
        facts.extend((!self.assumed.is_empty()).then(|| ("assumed", self.assumed.join("; "))));
        facts.extend(self.digest.clone().map(|digest| ("digest", digest)));
        facts
    }
}

/// Lines of a label and a value.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "  {name:<9} {}", printable(value, MESSAGE));
    }

    fn steps(&mut self, steps: &[String]) {
        for (number, step) in steps.iter().enumerate() {
            self.add(if number == 0 { "steps" } else { "" }, &format!("{}. {step}", number + 1));
        }
    }

    fn planned(&mut self, planned: &Planned, whole: bool) {
        let Planned { file, verdict, steps, .. } = planned;
        self.add(&word(*verdict).to_uppercase(), &format!("{}: {}", planned.title(), planned.what()));
        if let Some(why) = planned.why() {
            self.add(if *verdict == Verdict::Allowed { "waits" } else { "why" }, &why);
        }
        if whole {
            for (name, value) in planned.facts() {
                self.add(name, &value);
            }
            self.steps(steps);
            self.add("file", file);
            self.0.push('\n');
        }
    }

    fn group(&mut self, group: &Group<'_>) {
        let count = group.requests.len();
        let first = group.requests.first().map(|first| first.title()).unwrap_or_default();
        let which = if count == 1 { first } else { format!("each of {count}, such as {first}") };
        self.add("ALLOWED", &which);
        for (name, value) in group.facts() {
            self.add(name, &value);
        }
        self.steps(group.steps);
        self.0.push('\n');
    }
}

/// The plan for a terminal.
pub(super) fn text(report: &Report) -> String {
    let requests = &report.requests;
    let sums = sums(&requests.iter());
    let mut out = Lines(String::new());
    if requests.len() > 1 {
        let _ = writeln!(out.0, "{sums}");
    }
    if let Some(blind) = not_looked_up(report) {
        let _ = writeln!(out.0, "{blind}");
    }
    for queue in report.queues.iter().filter(|queue| queue.matters()) {
        let _ = writeln!(out.0, "{}: {}", printable(queue.directory(), MESSAGE), queue.sentence());
    }
    if !out.0.is_empty() {
        out.0.push('\n');
    }
    let few = requests.len() <= FEW;
    for planned in requests {
        out.planned(planned, few || planned.verdict != Verdict::Allowed);
    }
    if !few {
        out.0.push('\n');
        for group in groups(report) {
            out.group(&group);
        }
    }
    let _ = writeln!(out.0, "{sums}");
    out.0
}
