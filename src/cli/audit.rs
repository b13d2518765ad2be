//! `credreset audit`: lists past resets from the operator's records.
use anyhow::Context;
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use kube::{Api, Client, api::ListParams};
use serde::Serialize;

use super::{
    cluster::{Access, api_error, connect},
    terminal,
};
use crate::{
    api::CredentialResetRecord,
    core::{
        reason::Reason,
        record::{Evidence, Record, Refusal, State},
        text::{MESSAGE, printable},
    },
    k8s,
};

/// Flags of `credreset audit`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "After a request has ended, the operator keeps its record for the number of days in its flag --keep-records (chart value \
                  operator.keepRecords: 90).

Examples:
  credreset audit --since 24h
  credreset audit --since 2026-11-01 --until 2026-12-01 --directory zylker --output csv > november.csv
  credreset audit --user annette.c@zylker.biz --output json"
)]
pub struct Args {
    /// Resets that began at or after this time: a duration before now, a day (UTC) or an RFC 3339 time
    #[arg(long, default_value = "30d", value_parser = moment, value_name = "TIME")]
    since: Timestamp,
    /// Resets that began before this time; defaults to now
    #[arg(long, value_parser = moment, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only resets in this Directory
    #[arg(long, short)]
    directory: Option<String>,
    /// Only resets of this user: the name or id in the directory, in any case
    #[arg(long, short)]
    user: Option<String>,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Format of the report
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    access: Access,
}

/// Formats of the report.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    Text,
    Csv,
    Json,
}

/// Parses `--since` and `--until`.
fn moment(text: &str) -> Result<Timestamp, String> {
    let day = |day: Date| day.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp());
    text.parse::<Timestamp>()
        .ok()
        .or_else(|| text.parse::<Date>().ok().and_then(day))
        .or_else(|| Timestamp::now().checked_sub(terminal::duration(text).ok()?).ok())
        .ok_or_else(|| "neither a duration such as 30d, nor a day such as 2026-11-01, nor an RFC 3339 time".to_owned())
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Report {
    /// Resets that began at or after this time.
    #[schemars(with = "String", extend("format" = "date-time"))]
    since: Timestamp,
    /// Resets that began before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    until: Option<Timestamp>,
    /// The resets, in the order in which they began.
    resets: Vec<Reset>,
}

/// A reset, from its record.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reset {
    /// When the requester asked for it.
    #[schemars(with = "String", extend("format" = "date-time"))]
    requested_at: Timestamp,
    /// When the latest attempt began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    started_at: Timestamp,
    /// When the outcome became known, or the operator gave it up as unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    settled_at: Option<Timestamp>,
    /// User name of the person who settled the outcome, where the operator found no evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_by: Option<String>,
    /// Name of the Directory.
    directory: String,
    /// The directory's own id of the user.
    user_id: String,
    /// The user's name in the directory.
    user: String,
    /// Password or MFA.
    mode: String,
    /// State of the record. Sent, Released and Changed are in progress.
    state: State,
    /// The evidence of success.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
    /// Why the directory was not changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// The directory's own error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// Namespace of the request.
    namespace: String,
    /// Name of the request.
    request: String,
    /// User name of the requester, if the request has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<String>,
    /// User names of the approvers, where a rule requires approvals.
    approved_by: Vec<String>,
    /// The operator process that made the latest attempt.
    holder: String,
    /// Number of attempts. All but the last are known not to have changed anything.
    attempts: u32,
    /// Name of the record.
    record: String,
}

impl Reset {
    fn of(record: Record) -> Self {
        let Record { name, directory, user, mode, requested_at, request, attempt, state, evidence, refusal, .. } =
            record;
        let (reason, code) = refusal.map(|Refusal { reason, code }| (reason, code)).unzip();
        Self {
            requested_at,
            started_at: attempt.started_at,
            settled_at: record.settled_at,
            settled_by: record.settled_by,
            directory,
            user_id: user.id,
            user: user.name,
            mode: mode.to_string(),
            state,
            evidence,
            reason,
            code: code.flatten(),
            namespace: request.namespace,
            request: request.name,
            requested_by: request.requested_by,
            approved_by: attempt.approved_by,
            holder: attempt.holder,
            attempts: attempt.number,
            record: name,
        }
    }
}

/// Reads the records and prints them.
///
/// # Errors
/// If the records cannot be read.
pub fn run(args: Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(audit(args))
}

async fn audit(args: Args) -> anyhow::Result<()> {
    let Args { since, until, directory, user, operator_namespace, output, access } = args;
    let client = connect(&access).await?;
    let user = user.map(|user| user.to_lowercase());
    let wanted = |record: &Record| {
        let began = record.attempt.started_at;
        let names = [&record.user.name, &record.user.id].map(|name| name.to_lowercase());
        began >= since
            && until.is_none_or(|until| began < until)
            && directory.as_ref().is_none_or(|directory| record.directory == *directory)
            && user.as_ref().is_none_or(|user| names.contains(user))
    };
    let mut records = records(client, &operator_namespace)
        .await
        .map_err(api_error)
        .with_context(|| format!("the records in namespace {operator_namespace} could not be read"))?;
    records.retain(wanted);
    records.sort_by(|a, b| (a.attempt.started_at, &a.name).cmp(&(b.attempt.started_at, &b.name)));
    let report = Report { since, until, resets: records.into_iter().map(Reset::of).collect() };
    let text = match output {
        Output::Text => text(&report),
        Output::Csv => csv(&report).context("the audit has no CSV form")?,
        Output::Json => terminal::json(&report)?,
    };
    terminal::print(&text)
}

async fn records(client: Client, namespace: &str) -> kube::Result<Vec<Record>> {
    let api: Api<CredentialResetRecord> = Api::namespaced(client, namespace);
    let mut all = Vec::new();
    k8s::for_each_page(&api, ListParams::default(), |object| all.push(object.record())).await?;
    Ok(all)
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn text(report: &Report) -> String {
    let rows = report.resets.iter().map(|reset| {
        let evidence = reset.evidence.map(|evidence| format!("{evidence:?}"));
        [
            format!("{:.0}", reset.started_at),
            printable(&reset.user, MESSAGE),
            reset.mode.clone(),
            printable(&reset.directory, MESSAGE),
            format!("{:?}", reset.state),
            evidence.or_else(|| reset.reason.map(|reason| reason.to_string())).unwrap_or_default(),
            printable(&format!("{}/{}", reset.namespace, reset.request), MESSAGE),
            printable(&or_empty(reset.requested_by.as_ref()), MESSAGE),
            printable(&reset.approved_by.join(", "), MESSAGE),
        ]
    });
    let head = ["STARTED", "USER", "MODE", "DIRECTORY", "STATE", "BY", "REQUEST", "REQUESTED BY", "APPROVED BY"];
    let count = match report.resets.len() {
        1 => "1 reset".to_owned(),
        n => format!("{n} resets"),
    };
    format!("{}\n{count} since {:.0}\n", terminal::table(head, rows), report.since)
}

/// The columns have the names of the JSON fields.
fn csv(report: &Report) -> anyhow::Result<String> {
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
        "evidence",
        "reason",
        "code",
        "namespace",
        "request",
        "requestedBy",
        "approvedBy",
        "holder",
        "attempts",
        "record",
    ])?;
    for reset in &report.resets {
        let row = [
            reset.requested_at.to_string(),
            reset.started_at.to_string(),
            or_empty(reset.settled_at),
            or_empty(reset.settled_by.as_ref()),
            reset.directory.clone(),
            reset.user_id.clone(),
            reset.user.clone(),
            reset.mode.clone(),
            format!("{:?}", reset.state),
            reset.evidence.map_or_else(String::new, |evidence| format!("{evidence:?}")),
            or_empty(reset.reason),
            or_empty(reset.code.as_ref()),
            reset.namespace.clone(),
            reset.request.clone(),
            or_empty(reset.requested_by.as_ref()),
            reset.approved_by.join(" "),
            reset.holder.clone(),
            reset.attempts.to_string(),
            reset.record.clone(),
        ];
        writer.write_record(row.map(|value| cell(&value)))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// A cell that a spreadsheet takes for text: one that begins like a formula is prefixed with an apostrophe.
fn cell(text: &str) -> String {
    let text = printable(text, MESSAGE);
    if text.trim_start().starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use jiff::SignedDuration;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn record(number: u32, patch: &serde_json::Value) -> serde_json::Value {
        let mut object = json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecord", "metadata": {"name": format!("r-{number}")},
            "spec": {
                "directory": "zylker", "directoryIdentity": "z", "user": {"id": "7", "name": "annette.c@zylker.biz"}, "mode": "Password",
                "requestedAt": "2026-11-26T09:00:00Z", "expiresAt": "2026-11-27T09:00:00Z", "keepUntil": "2026-11-28T09:00:00Z",
                "request": {"namespace": "helpdesk", "name": "annette", "uid": "u", "key": "k", "digest": "d"},
                "call": {"resetMFA": {}}, "finish": {}, "state": "Applied",
                "attempt": {"id": "a", "number": 1, "holder": "op", "startedAt": "2026-11-26T09:00:01Z", "deadline": "2026-11-26T09:00:26Z"},
            },
        });
        for (key, value) in patch.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        object
    }

    /// The API server returns the records in three pages.
    #[tokio::test]
    async fn every_page_is_read() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let (number, more) = if query.contains("continue=two") {
                (2, "three")
            } else {
                (u32::from(query.contains("three")) * 2 + 1, "two")
            };
            let more = if number == 3 { "" } else { more };
            log.lock().unwrap().push(query);
            let list = json!({
                "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecordList", "metadata": {"continue": more},
                "items": [record(number, &json!({}))],
            });
            async move { Ok::<_, std::convert::Infallible>(Response::new(Body::from(list.to_string().into_bytes()))) }
        });
        let all = records(Client::new(service, "default"), "system").await.unwrap();
        assert_eq!(all.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["r-1", "r-2", "r-3"]);
        let asked = asked.lock().unwrap();
        assert!(asked.len() == 3 && asked.iter().all(|query| query.contains("limit=500")), "{asked:?}");
    }

    #[test]
    fn a_spreadsheet_takes_no_cell_for_a_formula() {
        let evil = json!({
            "user": {"id": "-7", "name": "=HYPERLINK(\"http://evil.example\")"}, "refusal": {"reason": "Rejected", "code": "@SUM(1)"}, "settledBy": "-hana",
            "request": {"namespace": "helpdesk", "name": "a", "uid": "u", "key": "k", "digest": "d", "requestedBy": "+1\r\n=2"},
        });
        let object: CredentialResetRecord = serde_json::from_value(record(1, &evil)).unwrap();
        let since = Timestamp::UNIX_EPOCH;
        let report = Report { since, until: None, resets: vec![Reset::of(object.record())] };
        let csv = csv(&report).unwrap();
        assert_eq!(csv.lines().count(), 2, "{csv}");
        for cell in ["'-7", "'-hana", "'=HYPERLINK(", "'@SUM(1)", r"'+1\u{d}\u{a}=2"] {
            assert!(csv.contains(cell), "{cell} is not in {csv}");
        }
        // Every field has a column.
        let columns: std::collections::BTreeSet<&str> = csv.lines().next().unwrap().split(',').collect();
        let object = schemars::schema_for!(Reset);
        let fields = object.get("properties").unwrap().as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(columns, fields);
    }

    #[test]
    fn times() {
        assert_eq!(moment("2026-11-01"), Ok("2026-11-01T00:00:00Z".parse().unwrap()));
        assert_eq!(moment("2026-11-01T09:00:00+01:00"), Ok("2026-11-01T08:00:00Z".parse().unwrap()));
        let before = Timestamp::now();
        let ago = moment("30d").unwrap().saturating_add(SignedDuration::from_hours(720)).unwrap();
        assert!((before..=Timestamp::now()).contains(&ago), "{ago}");
        for wrong in ["", "yesterday", "-1h", "1month", "2026-13-01"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
