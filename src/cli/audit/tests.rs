use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// Names that mean harm to a terminal, a spreadsheet, a page or Markdown.
const MEAN: &str =
    "<script>alert(1)</script>\"'&|`[x](http://evil.example) @team #1 \u{202e}\u{1b}[2J\u{200f} Jürgen Müller אבג";

fn object(number: u32, patch: &Value) -> CredentialResetRecord {
    let mut object = json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecord", "metadata": {"name": format!("r-{number}")},
        "spec": {
            "directory": "zylker", "directoryIdentity": "z", "user": {"id": "7", "name": "annette.c@zylker.biz"}, "mode": "Password",
            "requestedAt": "2026-11-26T09:00:00Z", "expiresAt": "2026-11-27T09:00:00Z", "keepUntil": "2026-11-28T09:00:00Z",
            "request": {"namespace": "helpdesk", "name": "annette", "uid": "u", "key": "k", "digest": "d"},
            "call": {"setPassword": {"forceChangeOnLogin": true, "clearMobileSessionsAndApiTokens": false, "emailToUser": false}},
            "finish": {"deliverTo": "annette-password"}, "state": "Applied",
            "attempt": {"id": "a", "number": 1, "holder": "op", "startedAt": "2026-11-26T09:00:01Z", "deadline": "2026-11-26T09:00:26Z"},
        },
    });
    for (key, value) in patch.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn reset(patch: &Value) -> Reset {
    Reset::of(object(1, patch).record())
}

fn report(resets: Vec<Reset>) -> Report {
    Report {
        since: "2026-11-01T00:00:00Z".parse().unwrap(),
        until: None,
        records_since: Some("2026-10-01T00:00:00Z".parse().unwrap()),
        resets,
    }
}

fn reach() -> Reach {
    Reach::Since { since: "2026-10-01T00:00:00Z".parse().unwrap(), days: 90 }
}

fn made(only: &[String]) -> html::Made<'_> {
    html::Made {
        by: "ada <ada@zylker.biz>",
        at: "2026-12-01T08:00:00Z".parse().unwrap(),
        cluster: "https://127.0.0.1:6443/",
        namespace: "credreset-system",
        only,
    }
}

/// A reset in which every text that a person or a server wrote means harm.
fn mean() -> Reset {
    reset(&json!({
        "user": {"id": MEAN, "name": MEAN}, "directory": MEAN, "settledBy": MEAN, "state": "Unknown",
        "refusal": {"reason": "Rejected", "code": MEAN}, "finish": {"mailTo": MEAN},
        "request": {"namespace": "helpdesk", "name": "a", "uid": "u", "key": "k", "digest": "d", "requestedBy": MEAN, "filedBy": MEAN, "reason": MEAN},
        "attempt": {"id": "a", "number": 1, "holder": MEAN, "startedAt": "2026-11-26T09:00:02Z", "deadline": "2026-11-26T09:00:26Z", "approvedBy": [MEAN]},
    }))
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
            "items": [object(number, &json!({}))],
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
        "request": {"namespace": "helpdesk", "name": "a", "uid": "u", "key": "k", "digest": "d", "requestedBy": "+1\r\n=2", "reason": "=1+1"},
    });
    let csv = render::csv(&report(vec![reset(&evil)]), Zone::Utc).unwrap();
    assert_eq!(csv.lines().count(), 2, "{csv}");
    for cell in ["'-7", "'-hana", "'=HYPERLINK(", "'@SUM(1)", r"'+1\u{d}\u{a}=2", "'=1+1"] {
        assert!(csv.contains(cell), "{cell} is not in {csv}");
    }
    // Every field has a column.
    let columns: BTreeSet<&str> = csv.lines().next().unwrap().split(',').collect();
    let object = schemars::schema_for!(Reset);
    let fields = object.get("properties").unwrap().as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(columns, fields);
}

#[test]
fn a_spreadsheet_takes_times_for_times() {
    let attempt = json!({"id": "a", "number": 1, "holder": "op", "startedAt": "2026-11-26T09:00:01.987654321Z", "deadline": "2026-11-26T09:00:26Z"});
    let one = report(vec![reset(&json!({"attempt": attempt, "settledAt": "2026-11-26T09:00:02.5Z"}))]);
    let csv = render::csv(&one, Zone::Utc).unwrap();
    assert!(csv.contains("2026-11-26T09:00:00Z,2026-11-26T09:00:01Z,2026-11-26T09:00:02Z,"), "{csv}");
}

#[test]
fn a_record_without_the_new_fields_is_read() {
    let old = reset(&json!({}));
    assert_eq!((old.why, old.filed_by, old.who_says_so, old.requested_by), (None, None, None, None));
}

#[test]
fn who_says_so() {
    let of = |requested_by: Option<&str>, filed_by: Option<&str>| {
        let mut request = json!({"namespace": "helpdesk", "name": "a", "uid": "u", "key": "k", "digest": "d"});
        request["requestedBy"] = json!(requested_by);
        request["filedBy"] = json!(filed_by);
        reset(&json!({ "request": request })).who_says_so
    };
    assert_eq!(of(Some("hana"), Some("hana")).as_deref(), Some("themselves"));
    assert_eq!(of(Some("hana"), Some("pipeline")).as_deref(), Some("vouched by pipeline"));
    assert_eq!(of(None, Some("pipeline")).as_deref(), Some("filed by pipeline"));
    assert_eq!(of(Some("hana"), None), None, "the API server does not say");
}

#[test]
fn where_the_password_went() {
    let to = |patch: Value| reset(&patch).password_to;
    let set = |mail: bool| json!({"setPassword": {"forceChangeOnLogin": true, "clearMobileSessionsAndApiTokens": false, "emailToUser": mail}});
    assert_eq!(to(json!({})).as_deref(), Some("Secret helpdesk/annette-password"));
    assert_eq!(to(json!({"undelivered": true})).as_deref(), Some("Secret helpdesk/annette-password (not delivered)"));
    assert_eq!(to(json!({"state": "Changed"})).as_deref(), Some("Secret helpdesk/annette-password (not yet)"));
    assert_eq!(to(json!({"state": "Unknown"})).as_deref(), Some("Secret helpdesk/annette-password (outcome unknown)"));
    let both = json!({"finish": {"deliverTo": "s", "mailTo": "a@zylker.biz"}});
    assert_eq!(to(both).as_deref(), Some("Secret helpdesk/s and mail to a@zylker.biz"));
    assert_eq!(to(json!({"finish": {}, "call": set(true)})).as_deref(), Some("mail by the directory"));
    assert_eq!(to(json!({"finish": {}, "call": set(false)})).as_deref(), Some("supplied by the requester"));
    for none in [json!({"state": "NotApplied"}), json!({"mode": "MFA", "call": {"resetMFA": {}}, "finish": {}})] {
        assert_eq!(to(none.clone()), None, "{none}");
    }
}

#[test]
fn a_report_says_how_far_back_it_sees() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    assert_eq!(
        reach().sentence(at("2026-11-01T00:00:00Z")),
        "Records go back to 2026-10-01T00:00:00Z (operator.keepRecords: 90)."
    );
    assert_eq!(
        reach().sentence(at("2026-07-01T00:00:00Z")),
        "Records go back to 2026-10-01T00:00:00Z (operator.keepRecords: 90): what was before is not here."
    );
    let nothing = Reach::NoOperator.has_operator("nope").unwrap_err().to_string();
    assert!(nothing.starts_with("there is no operator in namespace nope, and no record: "), "{nothing}");
    assert!(reach().has_operator("credreset-system").is_ok());
    let with_end = Report { until: Some(at("2026-12-01T00:00:00Z")), ..report(Vec::new()) };
    assert_eq!(with_end.summary(), "0 resets since 2026-11-01T00:00:00Z, until 2026-12-01T00:00:00Z");
    assert_eq!(render::text(&with_end, Zone::Utc), with_end.summary() + "\n");
}

/// What stands between `from` and `to`, each time.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from).skip(1).map(|rest| rest.split(to).next().unwrap()).collect()
}

#[test]
fn a_page_shows_names_and_runs_none() {
    let resets = vec![reset(&json!({})), mean()];
    let only = ["user <b>".to_owned()];
    let page = html::page(&report(resets), &reach(), &made(&only));
    // The page's own script, and no other; nothing is loaded.
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    for loaded in ["src=", "@import", "url(", "<link rel=\"stylesheet", "<iframe", "<object", "onerror", "javascript:"]
    {
        assert!(!page.contains(loaded), "{loaded}");
    }
    assert_eq!(between(&page, "href=\"", "\""), ["data:,"]);
    // The policy allows exactly what is inline.
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"")[0];
    let digest = |text: &str| {
        use base64::Engine;
        use sha2::Digest;
        base64::prelude::BASE64_STANDARD.encode(sha2::Sha256::digest(text))
    };
    let script = between(&page, "<script>", "</script>")[0];
    let style = between(&page, "<style>", "</style>")[0];
    let expected = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
        digest(style),
        digest(script)
    );
    assert_eq!(policy, expected);
    // Every text from outside is escaped, and cannot turn around what stands beside it.
    let escaped = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;|`[x](http://evil.example) @team #1 \\u{202e}\\u{1b}[2J\\u{200f} Jürgen Müller אבג";
    assert_eq!(page.matches(escaped).count(), 10, "{page}");
    assert!(!page.chars().any(|c| c != '\n' && crate::core::text::is_hidden(c)), "{page:?}");
    assert!(page.contains("Only: <bdi>user &lt;b&gt;</bdi>."));
    // What a reader of the file must know.
    assert!(page.contains(
        "Made by <bdi>ada &lt;ada@zylker.biz&gt;</bdi> at 2026-12-01T08:00:00Z, from the records in namespace <bdi>credreset-system</bdi> of \
         the cluster <bdi>https://127.0.0.1:6443/</bdi>"
    ));
    assert!(page.contains("<p class=\"note\">Records go back to 2026-10-01T00:00:00Z (operator.keepRecords: 90).</p>"));
    // What is unknown comes first, though it began later.
    let rows = between(&page, "<tr class=\"", "\"");
    assert_eq!(rows, ["unknown", "applied"]);
    assert!(page.contains("The outcome of 1 reset is unknown; it comes first."));
    assert_eq!(page.matches("<td ").count(), 2 * page.matches("<th ").count());
}

#[test]
fn a_page_that_cannot_see_far_enough_says_so() {
    let early = Report { since: "2026-07-01T00:00:00Z".parse().unwrap(), ..report(Vec::new()) };
    let page = html::page(&early, &reach(), &made(&[]));
    assert!(page.contains("<p class=\"note bad\">Records go back to 2026-10-01T00:00:00Z"), "{page}");
    assert!(page.contains("<p>No resets.</p>") && !page.contains("<script"), "{page}");
    let unknown = Reach::Unknown("you may not".to_owned());
    assert!(
        html::page(&early, &unknown, &made(&[]))
            .contains("<p class=\"note bad\">How far back the records go is not known")
    );
}

#[test]
fn markdown_shows_names_and_calls_no_one() {
    let page = render::markdown(&report(vec![mean()]), &reach(), Zone::Utc);
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 3, "{page}");
    // Each mark that Markdown would act on has a backslash before it.
    let bare = page.replace("\\|", "").replace("\\`", "").replace("\\[", "").replace("\\]", "");
    assert!(bare.lines().filter(|line| line.starts_with('|')).all(|row| row.matches('|').count() == 13), "{page}");
    for active in ["<", "`", "[", "]", "://", "\u{202e}"] {
        assert!(!bare.contains(active), "{active} is in {page}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("@&#8203;team"), "{page}");
    assert!(page.contains("Jürgen Müller אבג"), "{page}");
    assert!(
        page.starts_with("### 1 reset since 2026-11-01T00:00:00Z\n\nRecords go back to 2026-10-01T00:00:00Z"),
        "{page}"
    );
}

#[test]
fn a_terminal_shows_why_and_where_to() {
    let request = json!({
        "namespace": "helpdesk", "name": "annette", "uid": "u", "key": "k", "digest": "d", "requestedBy": "hana", "filedBy": "pipeline",
        "reason": "Locked out, HELP-4711",
    });
    let text =
        render::text(&report(vec![reset(&json!({ "request": request, "evidence": "Response" })), mean()]), Zone::Utc);
    let heads: Vec<&str> =
        text.lines().next().unwrap().split("  ").map(str::trim).filter(|head| !head.is_empty()).collect();
    let wanted = ["STATE", "KNOWN BY", "REQUEST", "REQUESTED BY", "WHO SAYS SO", "APPROVED BY", "PASSWORD TO", "WHY"];
    assert_eq!(heads[4..], wanted, "{text}");
    let line = text.lines().find(|line| line.contains("HELP-4711")).unwrap();
    for part in ["Applied", "Response", "hana", "vouched by pipeline", "Secret helpdesk/annette-password"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!text.chars().any(|c| c != '\n' && crate::core::text::is_hidden(c)), "{text:?}");
}
