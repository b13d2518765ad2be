//! `credreset list`: lists requests, grouped by what is to be done with them; the most urgent first.
use std::fmt::Write;

use anyhow::Context;
use jiff::Timestamp;
use kube::{Api, ResourceExt, api::ListParams};
use serde::Serialize;

use super::{
    cluster::{Access, api_error, connect},
    explain::next_step,
    terminal::{self, Tone, paint, symbol, with_progress},
};
use crate::{
    api::CredentialReset,
    core::{
        Mode,
        reason::{Outcome, Reason, Truth},
        text::{MESSAGE, NAME, printable},
    },
    k8s,
};

/// Requests of a group that ended, as text: the newest.
const SHOWN_OF_ENDED: usize = 10;

/// Flags of `credreset list`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  credreset list -n helpdesk
  credreset list --unknown -A
  credreset list --open -l incident=inc-88 -n helpdesk -o json")]
pub struct Args {
    /// Only requests that have not ended
    #[arg(long, conflicts_with = "unknown")]
    open: bool,
    /// Only requests whose outcome is unknown
    #[arg(long)]
    unknown: bool,
    /// Only requests with these labels, such as incident=inc-88
    #[arg(long, short = 'l', value_name = "LABELS")]
    selector: Option<String>,
    /// Namespace of the requests; defaults to that of the kubeconfig's context
    #[arg(short, long)]
    namespace: Option<String>,
    /// The requests of all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Format of the list; wide has every request, with Directory, deadline and message
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    access: Access,
}

/// Formats of the list.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Text,
    Wide,
    Json,
}

/// What is to be done, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Group {
    /// A person must find out whether the reset is in force.
    Unknown,
    /// Open, and it continues only when a person has fixed something.
    Stuck,
    /// It waits for approvals.
    AwaitingApproval,
    /// It continues by itself.
    UnderWay,
    /// It ended without a reset, and a person must look.
    NotDone,
    /// It ended, and nothing is left to be done but to hand over a delivered password.
    Done,
}

impl Group {
    const ALL: [Self; 6] =
        [Self::Unknown, Self::Stuck, Self::AwaitingApproval, Self::UnderWay, Self::NotDone, Self::Done];

    fn of(object: &CredentialReset) -> Self {
        let summary = object.status_summary();
        let ready = summary.reason.unwrap_or(Reason::Pending).conditions().0;
        match (summary.outcome, ready) {
            (Some(Outcome::Unknown), _) => Self::Unknown,
            (Some(_), Truth::False) => Self::NotDone,
            (Some(_), _) => Self::Done,
            (None, Truth::False) => Self::Stuck,
            (None, _) if summary.reason == Some(Reason::AwaitingApproval) => Self::AwaitingApproval,
            (None, _) => Self::UnderWay,
        }
    }

    /// Its colour, its name, and what to do.
    fn heading(self) -> (Tone, &'static str, &'static str) {
        match self {
            Self::Unknown => {
                (Tone::Bad, "outcome unknown", "find out whether it is in force (credreset explain NAME says how)")
            }
            Self::Stuck => (Tone::Bad, "stuck", "somebody must fix something (credreset explain NAME says what)"),
            Self::AwaitingApproval => (Tone::Waiting, "to be approved", "credreset approve NAME"),
            Self::UnderWay => (Tone::Waiting, "under way", "wait"),
            Self::NotDone => (Tone::Bad, "not done", "credreset explain NAME says why"),
            Self::Done => (Tone::Good, "done", "credreset password NAME shows a delivered password"),
        }
    }

    fn has_ended(self) -> bool {
        matches!(self, Self::NotDone | Self::Done)
    }
}

/// A request.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// What is to be done with it.
    group: Group,
    /// Namespace of the request.
    namespace: String,
    /// Name of the request.
    name: String,
    /// Name of the Directory.
    directory: String,
    /// Password or MFA.
    mode: String,
    /// The user, as in the directory; before the look-up, as in the request.
    user: String,
    /// The outcome, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    /// The reason of its conditions.
    reason: Reason,
    /// The message of its conditions.
    message: String,
    /// When the requester asked for it.
    #[schemars(with = "String", extend("format" = "date-time"))]
    requested_at: Timestamp,
    /// The operator does not start the reset after this. Absent if the request is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    deadline: Option<Timestamp>,
    /// Since when it has had this reason, or an earlier one with the same condition.
    #[schemars(with = "String", extend("format" = "date-time"))]
    since: Timestamp,
    /// What a person should do now.
    next_step: String,
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Report {
    /// The requests, the most urgent group first; within a group, those that ended by the newest, others by the oldest.
    requests: Vec<Listed>,
}

impl Listed {
    /// In a few words, beside its name.
    pub(super) fn brief(&self) -> String {
        format!("{}, {}", printable(&self.user, NAME), self.reason.words())
    }

    pub(super) fn of(object: &CredentialReset) -> Self {
        let summary = object.status_summary();
        let reason = summary.reason.unwrap_or(Reason::Pending);
        let request = object.request();
        let spec = &object.spec;
        let typed = [&spec.user.email, &spec.user.username, &spec.user.id].into_iter().flatten().next().cloned();
        let found = object.status.as_ref().and_then(|status| status.user.as_ref()).map(|user| user.name.clone());
        let ready = object.status.iter().flat_map(|status| &status.conditions).find(|c| c.type_ == "Ready");
        let since = ready.map(|ready| ready.last_transition_time.0);
        let created = object.creation_timestamp().map(|at| at.0);
        Self {
            group: Group::of(object),
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
            directory: spec.directory.clone(),
            mode: Mode::from(spec.mode).to_string(),
            user: found.or(typed).unwrap_or_default(),
            outcome: summary.outcome,
            reason,
            message: summary.message.unwrap_or_default(),
            requested_at: spec.requested_at,
            deadline: request.as_ref().ok().map(crate::core::Request::deadline),
            since: since.or(created).unwrap_or(spec.requested_at),
            next_step: request.map_or_else(|wrong| wrong, |request| next_step(reason, object, &request, None)),
        }
    }
}

/// Prints the requests.
///
/// # Errors
/// If they cannot be listed.
pub fn run(args: Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(list(args))
}

async fn list(args: Args) -> anyhow::Result<()> {
    let Args { open, unknown, selector, namespace, all_namespaces, output, access } = args;
    let client = connect(&access).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let (api, place): (Api<CredentialReset>, String) = if all_namespaces {
        (Api::all(client), "the cluster".to_owned())
    } else {
        (Api::namespaced(client, &namespace), format!("namespace {namespace}"))
    };
    let wanted = ListParams {
        label_selector: selector,
        field_selector: match (open, unknown) {
            (true, _) => Some("status.outcome=".to_owned()),
            (_, true) => Some("status.outcome=Unknown".to_owned()),
            _ => None,
        },
        ..ListParams::default()
    };
    let mut requests = Vec::new();
    let read = k8s::for_each_page(&api, wanted, |object| requests.push(Listed::of(&object)));
    let listed = with_progress("listing requests", read).await.map_err(api_error);
    listed.with_context(|| format!("the requests of {place} could not be listed"))?;
    requests.sort_by(|a, b| {
        let by_age = if a.group.has_ended() { b.since.cmp(&a.since) } else { a.since.cmp(&b.since) };
        a.group.cmp(&b.group).then(by_age).then_with(|| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)))
    });
    let report = Report { requests };
    if output == Output::Json {
        return terminal::print(&terminal::json(&report)?);
    }
    if report.requests.is_empty() {
        let which = if open {
            "open request"
        } else if unknown {
            "request with an unknown outcome"
        } else {
            "request"
        };
        let more = if all_namespaces { "" } else { " (-A looks into all namespaces)" };
        return terminal::print(&format!("no {which} in {place}{more}\n"));
    }
    terminal::print(&text(&report, all_namespaces, output == Output::Wide))
}

/// The list for people: a table, whose groups have headings.
fn text(report: &Report, all_namespaces: bool, wide: bool) -> String {
    let now = Timestamp::now();
    let shown = |group: Group| {
        let of_group = report.requests.iter().filter(move |request| request.group == group);
        of_group.take(if wide || !group.has_ended() { usize::MAX } else { SHOWN_OF_ENDED })
    };
    let row = |request: &Listed| {
        let place = if all_namespaces { format!("{}/", request.namespace) } else { String::new() };
        let deadline = request.deadline.filter(|_| request.outcome.is_none());
        let mut cells = vec![
            format!("  {place}{}", request.name),
            printable(&request.user, NAME),
            request.mode.clone(),
            request.reason.words(),
            age(request.since, now),
        ];
        if wide {
            cells.push(request.directory.clone());
            cells.push(deadline.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}")));
            cells.push(printable(&request.message, MESSAGE));
        }
        cells
    };
    let head = ["  REQUEST", "USER", "RESET", "STATUS", "SINCE", "DIRECTORY", "UNTIL", "MESSAGE"];
    let head: Vec<&str> = head.into_iter().take(if wide { 8 } else { 5 }).collect();
    let rows: Vec<Vec<String>> = Group::ALL.into_iter().flat_map(shown).map(row).collect();
    let table = terminal::table_of(head, rows);
    let mut lines = table.lines();
    let mut out = String::new();
    let _ = writeln!(out, "{}", paint(Tone::Heading, lines.next().unwrap_or_default()));
    let mut sums = Vec::new();
    for group in Group::ALL {
        let all = report.requests.iter().filter(|request| request.group == group).count();
        if all == 0 {
            continue;
        }
        let (tone, name, what) = group.heading();
        let heading = paint(tone, &format!("{}{name}", symbol(tone)));
        let _ = writeln!(out, "\n{heading}: {what}");
        let count = shown(group).count();
        for line in lines.by_ref().take(count) {
            let _ = writeln!(out, "{line}");
        }
        if all > count {
            let _ = writeln!(out, "  and {} more (-o wide shows all)", all - count);
        }
        sums.push(format!("{all} {name}"));
    }
    let _ = writeln!(out, "\n{}", sums.join(", "));
    out
}

/// How long ago, in one unit, as kubectl prints it.
fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(group: Group, number: usize) -> Listed {
        let now = Timestamp::now();
        Listed {
            group,
            namespace: "helpdesk".to_owned(),
            name: format!("r{number}"),
            directory: "zylker".to_owned(),
            mode: "Password".to_owned(),
            user: "an\u{1b}nette".to_owned(),
            outcome: None,
            reason: Reason::OutcomeUnknown,
            message: "It may be in force.".to_owned(),
            requested_at: now,
            deadline: None,
            since: now,
            next_step: String::new(),
        }
    }

    #[test]
    fn what_is_urgent_comes_first() {
        let mut requests = vec![listed(Group::Unknown, 0)];
        requests.extend((1..=12).map(|number| listed(Group::Done, number)));
        let report = Report { requests };
        let short = text(&report, true, false);
        let lines: Vec<&str> = short.lines().collect();
        assert!(lines[2].contains("outcome unknown") && lines[2].contains(": find out"), "{short}");
        assert!(lines[3].starts_with(r"  helpdesk/r0   an\u{1b}nette  Password  outcome unknown  "), "{short}");
        assert!(short.contains("\n  and 2 more (-o wide shows all)\n"), "{short}");
        assert!(short.ends_with("\n1 outcome unknown, 12 done\n"), "{short}");
        let wide = text(&report, false, true);
        assert!(wide.contains("  r12") && wide.contains("It may be in force.") && !wide.contains("more"), "{wide}");
    }

    #[test]
    fn ages() {
        let at = |seconds: i64| Timestamp::from_second(1_000_000 - seconds).unwrap();
        let of = |seconds| age(at(seconds), at(0));
        assert_eq!([of(-5), of(119), of(7199), of(7200), of(172_800)], ["0s", "119s", "119m", "2h", "2d"]);
    }
}
