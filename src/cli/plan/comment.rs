//! Renders a plan as Markdown for a comment on a pull request: who, what, why, asked by whom, and where the password goes.
use std::{cmp::Reverse, collections::BTreeMap, fmt::Write};

use super::{
    Planned, Report,
    groups::{Group, groups},
    text::{FEW, not_looked_up, sums},
};
use crate::{
    cli::markdown::{Bounded, code, prose, size},
    core::{
        forecast::Verdict,
        text::{NAME, printable},
    },
};

/// Requests that stand for the others where there are many.
const EXAMPLES: usize = 10;
/// Groups whose steps are shown where there are many requests.
const MAX_GROUPS: usize = 20;
/// Bytes of a text by people, where there are many requests.
const SHORT: usize = 200;
/// Bytes for what is left out, and for the link to it.
const END: usize = 700;
const HEAD: [&str; 6] = ["", "who", "what", "why", "asked by", "password goes to"];

/// Parses the address of the whole plan: one of http or https, without what ends a link in Markdown.
pub(super) fn link(text: &str) -> Result<String, &'static str> {
    let fine = |c: char| c.is_ascii_graphic() && !"<>()[]\\`|\"".contains(c);
    let is_web = ["https://", "http://"].iter().any(|scheme| text.starts_with(scheme));
    if is_web && text.len() <= NAME && text.chars().all(fine) {
        Ok(text.to_owned())
    } else {
        Err("not an address such as https://ci.example/jobs/7")
    }
}

/// The comment with every request, of any size.
pub(super) fn whole(report: &Report) -> String {
    let mut out = Bounded::new(usize::MAX, 0);
    each(&mut out, report);
    out.end("")
}

/// The comment with at most `max_bytes`. What it leaves out is counted, and is at `link`.
pub(super) fn bounded(report: &Report, max_bytes: usize, link: Option<&str>) -> String {
    let mut out = Bounded::new(max_bytes, END);
    let shown = if report.requests.len() <= FEW { each(&mut out, report) } else { sample(&mut out, report) };
    let place = match link {
        Some(link) => format!("[the whole plan]({link}) has all"),
        None => "`credreset plan` without `--output markdown` shows all".to_owned(),
    };
    match report.requests.len() - shown {
        0 => out.end(""),
        1 => out.end(&format!("\n**1 request is left out here**: {place}.\n")),
        n => out.end(&format!("\n**{n} requests are left out here**: {place}.\n")),
    }
}

fn head(out: &mut Bounded, report: &Report) {
    out.add(&format!("### Resets: {}\n", sums(&report.requests.iter())));
    if let Some(blind) = not_looked_up(report) {
        out.add(&format!("\n{blind}\n"));
    }
    for queue in report.queues.iter().filter(|queue| queue.matters()) {
        out.add(&format!("\nLimit of {}: {}\n", code(queue.directory()), prose(&queue.sentence())));
    }
}

/// Every request in one table, then why some are not allowed, and what the operator would do. Returns how many the table has.
fn each(out: &mut Bounded, report: &Report) -> usize {
    head(out, report);
    let rows: Vec<Vec<String>> = report.requests.iter().map(|planned| row(planned, usize::MAX)).collect();
    let why = why_not(report);
    // What is refused is not explained at the cost of what is not shown at all.
    let shown = out.table("", &HEAD, &rows, size(&why).min(out.room() / 2));
    explain(out, &why, 0);
    for group in groups(report) {
        out.add(&details(&group, report.requests.len() <= FEW));
    }
    shown
}

/// Sums, what is refused or unclear, and a few that are allowed. Returns how many requests it shows.
fn sample(out: &mut Bounded, report: &Report) -> usize {
    head(out, report);
    let kinds = kinds(report);
    let summed =
        out.table("", &["requests", "what", "why", "asked by", "password goes to"], &kinds, out.room() / 3 * 2);
    more(out, kinds.len() - summed, "kinds of requests");
    let allowed = report.requests.iter().filter(|planned| planned.verdict == Verdict::Allowed);
    let examples: Vec<Vec<String>> = allowed.take(EXAMPLES).map(|planned| row(planned, SHORT)).collect();
    let details: String = groups(report).iter().take(MAX_GROUPS).map(|group| details(group, false)).collect();
    let why = why_not(report);
    // The examples and the steps take half of the room at most.
    let explained = explain(out, &why, (size(&examples) + details.len()).min(out.room() / 2));
    more(out, why.len() - explained, "that are refused or unclear");
    let intro = format!("\nThe first {} that are allowed:\n", examples.len());
    let shown = out.table(&intro, &HEAD, &examples, 0);
    out.add(&details);
    explained + shown
}

fn more(out: &mut Bounded, count: usize, what: &str) {
    if count > 0 {
        out.add(&format!("\nand {count} more {what}.\n"));
    }
}

/// A request in the main table. `most`: bytes of a text by people.
fn row(planned: &Planned, most: usize) -> Vec<String> {
    let text = |text: &str| if text.is_empty() { "–".to_owned() } else { prose(&printable(text, most)) };
    let sign = sign(planned.verdict).to_owned();
    if !planned.is_request() {
        return vec![
            sign,
            code(&planned.title()),
            "not planned".to_owned(),
            "–".to_owned(),
            "–".to_owned(),
            "–".to_owned(),
        ];
    }
    let name = planned.found.as_ref().map_or(planned.user.as_str(), |user| user.name.as_str());
    let called = planned.display_name.as_ref().map(|name| format!("<br>{}", text(name))).unwrap_or_default();
    let begins = planned.starts_at.map(|at| format!("<br>at about {at:.0}")).unwrap_or_default();
    vec![
        sign,
        format!("{}{called}<br>{}", text(name), code(&planned.title())),
        format!("{}{begins}", text(&format!("{} in {}", planned.mode, planned.directory))),
        text(&planned.request_reason),
        text(planned.requested_by.as_deref().unwrap_or_default()),
        text(planned.password_to.as_deref().unwrap_or_default()),
    ]
}

fn sign(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Nothing => "⚪ nothing",
        Verdict::Allowed => "✅ allowed",
        Verdict::Unclear => "❔ unclear",
        Verdict::Refused => "❌ refused",
    }
}

/// Rows for the requests with a message: what keeps them from being carried out at once, the refused ones first.
fn why_not(report: &Report) -> Vec<Vec<String>> {
    let few = report.requests.len() <= FEW;
    let stopped = |planned: &&Planned| matches!(planned.verdict, Verdict::Refused | Verdict::Unclear) || few;
    let mut all: Vec<&Planned> = report.requests.iter().filter(stopped).collect();
    all.sort_by_key(|planned| Reverse(planned.verdict));
    let row = |planned: &Planned| {
        Some(vec![sign(planned.verdict).to_owned(), code(&planned.title()), prose(&planned.why()?)])
    };
    all.into_iter().filter_map(row).collect()
}

fn explain(out: &mut Bounded, rows: &[Vec<String>], reserved: usize) -> usize {
    out.table("", &["", "request", "because"], rows, reserved)
}

/// Sums of the requests that ask for the same with the same words.
fn kinds(report: &Report) -> Vec<Vec<String>> {
    let mut found: BTreeMap<[String; 4], Vec<&Planned>> = BTreeMap::new();
    for planned in report.requests.iter().filter(|planned| planned.is_request()) {
        let to = planned.password_to.as_deref().unwrap_or_default();
        let to =
            if to.starts_with("Secret ") { format!("a Secret each in {}", planned.namespace) } else { to.to_owned() };
        let what = format!("{} in {}", planned.mode, planned.directory);
        let by = planned.requested_by.clone().unwrap_or_default();
        found.entry([what, planned.request_reason.clone(), by, to]).or_default().push(planned);
    }
    let mut kinds: Vec<_> = found.into_iter().collect();
    kinds.sort_by_key(|(_, requests)| Reverse(requests.len()));
    let cell = |text: String| if text.is_empty() { "–".to_owned() } else { prose(&printable(&text, SHORT)) };
    kinds
        .into_iter()
        .map(|(kind, requests)| {
            let mut row = vec![sums(&requests.into_iter())];
            row.extend(kind.map(cell));
            row
        })
        .collect()
}

/// What the operator would do for a group, folded. `named`: with the users and digests of its requests.
fn details(group: &Group<'_>, named: bool) -> String {
    let Some(first) = group.requests.first() else { return String::new() };
    let count = group.requests.len();
    let which =
        if count == 1 { code(&first.title()) } else { format!("each of {count}, such as {}", code(&first.title())) };
    let mut out = format!("\n<details><summary>What the operator will do, once, for {which}</summary>\n\n");
    for (number, step) in group.steps.iter().enumerate() {
        let _ = writeln!(out, "{}. {}", number + 1, prose(step));
    }
    out.push('\n');
    for (name, value) in group.facts() {
        let _ = writeln!(out, "* {name}: {}", prose(&value));
    }
    for planned in group.requests.iter().filter(|_| named) {
        let user = planned.found.as_ref().map(|user| format!("{} ({})", prose(&user.name), prose(&user.id)));
        let digest = planned.digest.as_ref().map(|digest| format!("digest {}", code(digest)));
        let about: Vec<String> = user.into_iter().chain(digest).collect();
        let _ = writeln!(out, "* {}: {}", code(&planned.title()), about.join(", "));
    }
    out.push_str("\n</details>\n");
    out
}
