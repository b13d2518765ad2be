//! The crash matrix: every durable write of a reset, lost, refused, or with the operator killed before or after it. Each row is
//! a request for a user of its own; all rows share one API server, one directory and one crash.
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Instant,
};

use age::x25519::Identity;
use credreset::core::{record::record_name, request::Mode};
use http::Method;
use serde_json::{Value, json};

use crate::{
    figures::figures,
    proxy::{Action, Armed, Proxy, Rule},
    support::{
        RESETS, SYSTEM, Setup, Site, TEAM, all_ended, condition, merge, mfa_reset, password_reset, time, wait_for,
    },
};

const ORGANIZATION: &str = "700012345";
const RECORDS: &str = "/apis/credreset.dev/v1alpha1/namespaces/credreset-system/credentialresetrecords";

/// The private key that opens sealed passwords.
static PRIVATE_KEY: LazyLock<Identity> = LazyLock::new(Identity::generate);

/// The Directory without templates; it leads to the same directory.
const PLAIN: &str = "plain";

/// The Directory of the rows with sealed passwords; it leads to the same directory. A held call keeps a slot of its Directory.
const SEALING: &str = "sealing";

/// What the directory lets the operator know of a call whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guarantee {
    /// Nothing.
    AtMostOnce,
    /// When credentials were last changed.
    Provable,
    /// That, and a call that is carried out only if that is still so: it is sent again.
    ExactlyOnce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Generated,
    /// Generated, and delivered for one recipient alone.
    Sealed,
    Entered,
    Mfa,
    /// By the documented call, which turns MFA off: the look-up shows that it was on and is off.
    MfaOff,
}

impl Kind {
    fn is_mfa(self) -> bool {
        matches!(self, Self::Mfa | Self::MfaOff)
    }

    fn is_generated(self) -> bool {
        matches!(self, Self::Generated | Self::Sealed)
    }
}

/// A durable write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    StorePassword,
    OpenRecord,
    Directory,
    /// After the directory has answered that it did nothing.
    ReleaseRecord,
    TakeOverRecord,
    Deliver,
    /// After a delivery that failed.
    RecordChanged,
    RecordApplied,
    /// After a refusal.
    RecordNotApplied,
    /// After a call that was lost.
    RecordUnknown,
    DropPassword,
    Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Killed before the call, which never arrives.
    KilledBefore,
    /// Killed, and then the call arrives.
    KilledMeanwhile,
    /// Killed when the call has been carried out.
    KilledAfter,
    Fault(Action),
}

const KILLS: [What; 3] = [What::KilledBefore, What::KilledMeanwhile, What::KilledAfter];
const FAULTS: [What; 6] = [
    What::Fault(Action::DropRequest),
    What::Fault(Action::DropReply),
    What::Fault(Action::CutReply(20)),
    What::Fault(Action::Answer(500)),
    What::Fault(Action::Answer(409)),
    What::Fault(Action::Answer(429)),
];

/// Which kinds of request make the call.
const CALLS: [(Call, &[Kind]); 12] = [
    (Call::StorePassword, &[Kind::Generated, Kind::Entered]),
    (Call::OpenRecord, &[Kind::Generated, Kind::Entered, Kind::Mfa, Kind::MfaOff]),
    (Call::Directory, &[Kind::Generated, Kind::Entered, Kind::Mfa, Kind::MfaOff]),
    (Call::ReleaseRecord, &[Kind::Generated]),
    (Call::TakeOverRecord, &[Kind::Generated]),
    (Call::Deliver, &[Kind::Generated, Kind::Sealed]),
    (Call::RecordChanged, &[Kind::Generated]),
    (Call::RecordApplied, &[Kind::Generated, Kind::Sealed, Kind::Entered, Kind::Mfa, Kind::MfaOff]),
    (Call::RecordNotApplied, &[Kind::Entered]),
    (Call::RecordUnknown, &[Kind::Mfa, Kind::MfaOff]),
    (Call::DropPassword, &[Kind::Generated, Kind::Entered]),
    (Call::Status, &[Kind::Generated, Kind::Entered, Kind::Mfa]),
];

struct Row {
    number: usize,
    call: Call,
    kind: Kind,
    what: What,
    requested_at: String,
}

/// How things stand once the row's call has met its fate.
enum Left {
    /// No attempt is open, or its result is on record.
    Clear,
    /// The attempt is on record, and its call was not carried out.
    Sent,
    /// The call was carried out, and the answer did not arrive.
    Unheard,
    /// The directory has refused.
    Refused,
}

impl Row {
    fn name(&self) -> String {
        format!("row{:03}", self.number)
    }

    fn email(&self) -> String {
        format!("user{:04}@zylker.biz", self.number)
    }

    fn user(&self) -> String {
        (710_000_000 + self.number).to_string()
    }

    fn zuid(&self) -> String {
        (810_000_000 + self.number).to_string()
    }

    fn entered(&self) -> String {
        format!("Correct-horse-{}", self.number)
    }

    fn manifests(&self) -> Vec<Value> {
        let parse = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let mut at = json!({"spec": {"requestedAt": self.requested_at}});
        if self.kind.is_mfa() {
            if self.kind == Kind::MfaOff {
                at["spec"]["directory"] = json!(PLAIN);
            }
            return vec![parse(mfa_reset(&self.name(), &self.email(), at))];
        }
        let mut reset = parse(password_reset(&self.name(), &self.email(), at));
        if self.kind == Kind::Sealed {
            reset["spec"]["directory"] = json!(SEALING);
            reset["spec"]["password"]["deliverTo"]["sealedFor"] = json!([PRIVATE_KEY.to_public().to_string()]);
        }
        if self.kind.is_generated() {
            return vec![reset];
        }
        let chosen = format!("{}-chosen", self.name());
        let from = json!({"generate": null, "deliverTo": null, "fromSecret": {"name": chosen, "key": "password"}});
        merge(&mut reset["spec"]["password"], from);
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": chosen, "namespace": TEAM},
            "stringData": {"password": self.entered()},
        });
        vec![secret, reset]
    }

    fn rule(&self, call: Call, action: Action, directory: &Proxy) -> Rule {
        let mode = if self.kind.is_mfa() { Mode::MFA } else { Mode::Password };
        let identity = format!("zoho:{}/{ORGANIZATION}", directory.url);
        let record = record_name(&identity, &self.user(), mode, self.requested_at.parse().unwrap());
        let replaced = format!("{RECORDS}/*");
        let (method, path, body_has) = match call {
            Call::StorePassword => (Method::POST, format!("/api/v1/namespaces/{SYSTEM}/secrets"), ""),
            Call::OpenRecord => (Method::POST, RECORDS.to_owned(), ""),
            Call::Directory if self.kind == Kind::MfaOff => {
                (Method::PUT, "/api/organization/*/accounts/*".to_owned(), "")
            }
            Call::Directory => {
                let end = if self.kind == Kind::Mfa { "mfa/reset" } else { "password" };
                (Method::POST, format!("/directory/api/v2/orgs/*/users/*/{end}"), "")
            }
            Call::ReleaseRecord => (Method::PUT, replaced, r#""state":"Released""#),
            Call::TakeOverRecord => (Method::PUT, replaced, r#""state":"Sent""#),
            Call::Deliver => (Method::POST, format!("/api/v1/namespaces/{TEAM}/secrets"), ""),
            Call::RecordChanged => (Method::PUT, replaced, r#""state":"Changed""#),
            Call::RecordApplied => (Method::PUT, replaced, r#""state":"Applied""#),
            Call::RecordNotApplied => (Method::PUT, replaced, r#""state":"NotApplied""#),
            Call::RecordUnknown => (Method::PUT, replaced, r#""state":"Unknown""#),
            Call::DropPassword => (Method::DELETE, format!("/api/v1/namespaces/{SYSTEM}/secrets/*"), ""),
            Call::Status => (
                Method::PATCH,
                format!("/apis/credreset.dev/v1alpha1/namespaces/{TEAM}/credentialresets/*/status"),
                r#""outcome":"Applied""#,
            ),
        };
        let about = match call {
            Call::Directory if self.kind == Kind::MfaOff => self.zuid(),
            Call::Directory => self.user(),
            Call::Status => self.name(),
            _ => record,
        };
        Rule { method, path, about, body_has, nth: 1, action }
    }

    /// Sets the rules of this row; returns that of its call.
    fn arm(&self, api: &Proxy, directory: &Proxy) -> Arc<Armed> {
        // What must happen first, so that the call is made at all.
        let first = |at: &Proxy, call, action| drop(at.arm(self.rule(call, action, directory)));
        match self.call {
            Call::ReleaseRecord | Call::TakeOverRecord => first(directory, Call::Directory, Action::Answer(429)),
            Call::RecordChanged => first(api, Call::Deliver, Action::Answer(500)),
            Call::RecordNotApplied => first(directory, Call::Directory, Action::Answer(409)),
            Call::RecordUnknown => first(directory, Call::Directory, Action::DropRequest),
            _ => {}
        }
        let action = match self.what {
            What::KilledBefore | What::KilledMeanwhile => Action::HoldRequest,
            What::KilledAfter => Action::HoldReply,
            What::Fault(action) => action,
        };
        let at = if self.call == Call::Directory { directory } else { api };
        at.arm(self.rule(self.call, action, directory))
    }

    /// Its call is made before the directory has answered, or right then.
    fn is_early(&self) -> bool {
        matches!(
            self.call,
            Call::StorePassword | Call::OpenRecord | Call::Directory | Call::ReleaseRecord | Call::RecordNotApplied
        )
    }

    fn left(&self) -> Left {
        match (self.call, self.what) {
            (Call::OpenRecord | Call::TakeOverRecord, What::KilledMeanwhile | What::KilledAfter)
            | (Call::Directory | Call::ReleaseRecord | Call::RecordNotApplied, What::KilledBefore)
            | (Call::RecordUnknown, _)
            | (Call::Directory, What::Fault(Action::DropRequest | Action::Answer(500))) => Left::Sent,
            (
                Call::Directory,
                What::KilledMeanwhile | What::KilledAfter | What::Fault(Action::DropReply | Action::CutReply(_)),
            )
            | (Call::Deliver | Call::RecordChanged, What::KilledBefore) => Left::Unheard,
            // A delivered password is proof enough.
            (Call::RecordApplied, What::KilledBefore) if !self.kind.is_generated() => Left::Unheard,
            // Another password is generated, once.
            (Call::Directory, What::Fault(Action::Answer(409))) if !self.kind.is_generated() => Left::Refused,
            (Call::RecordNotApplied, _) => Left::Refused,
            _ => Left::Clear,
        }
    }

    /// The outcome, and how often the directory has changed the user.
    fn expected(&self, guarantee: Guarantee) -> (&'static str, u64) {
        let guarantee = if self.kind == Kind::MfaOff { Guarantee::Provable } else { guarantee };
        // Where the call has a condition, 409 says that it did not hold.
        let refused = guarantee == Guarantee::ExactlyOnce
            && (self.call, self.what) == (Call::Directory, What::Fault(Action::Answer(409)));
        match (self.left(), guarantee) {
            _ if refused => ("NotApplied", 0),
            (Left::Clear, _)
            | (Left::Unheard, Guarantee::Provable | Guarantee::ExactlyOnce)
            | (Left::Sent, Guarantee::ExactlyOnce) => ("Applied", 1),
            // Unchanged until now proves nothing: it may arrive yet.
            (Left::Sent, _) => ("Unknown", 0),
            (Left::Unheard, Guarantee::AtMostOnce) => ("Unknown", 1),
            (Left::Refused, _) => ("NotApplied", 0),
        }
    }
}

fn rows(all: &[What], from: usize, guarantee: Guarantee) -> Vec<Row> {
    let calls = CALLS.iter().flat_map(|(call, kinds)| kinds.iter().map(|kind| (*call, *kind)));
    let each = calls.flat_map(|(call, kind)| all.iter().map(move |what| (call, kind, *what)));
    // An outcome is given up more than a minute after the call: too long to hold all the others.
    let each = each.filter(|(call, _, what)| *call != Call::RecordUnknown || matches!(what, What::Fault(_)));
    // The class is the same whatever else the directory shows.
    let each = each.filter(|(_, kind, _)| *kind != Kind::MfaOff || guarantee == Guarantee::AtMostOnce);
    // What can be sent again is never given up.
    let each = each.filter(|(call, ..)| *call != Call::RecordUnknown || guarantee != Guarantee::ExactlyOnce);
    let row = |(i, (call, kind, what))| Row { number: from + i, call, kind, what, requested_at: time(-1) };
    each.enumerate().map(row).collect()
}

fn file<'a>(site: &Site, rows: impl IntoIterator<Item = &'a Row>) {
    let items: Vec<Value> = rows.into_iter().flat_map(Row::manifests).collect();
    site.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
}

fn by_name(objects: &Value) -> BTreeMap<String, Value> {
    let named = |o: &Value| (o["metadata"]["name"].as_str().unwrap().to_owned(), o.clone());
    objects["items"].as_array().unwrap().iter().map(named).collect()
}

/// Each request's object, once all have an outcome.
fn outcomes(site: &Site) -> BTreeMap<String, Value> {
    site.when("every request's outcome", &RESETS, |all| all_ended(all).then(|| all.clone()))
}

fn matrix(guarantee: Guarantee) {
    let began = Instant::now();
    let kills = rows(&KILLS, 1, guarantee);
    let faults = rows(&FAULTS, 1 + kills.len(), guarantee);
    let mut flags = vec!["--users".to_owned(), (kills.len() + faults.len()).to_string()];
    let mut zoho = json!({});
    if guarantee != Guarantee::AtMostOnce {
        flags.push("--change-times".to_owned());
        zoho["lookUp"] = json!({"passwordChangedAt": "password_changed_time", "mfaChangedAt": "mfa_changed_time"});
    }
    if guarantee == Guarantee::ExactlyOnce {
        let condition = json!({"body": {"unchanged_since": "${unchangedSince}"}});
        merge(&mut zoho, json!({"resetPassword": condition, "resetMFA": condition}));
    }
    let site = Site::with(&Setup { sandbox: flags, ..Setup::default() });
    let api = Proxy::before_api_server(site.kubeconfig());
    let directory = Proxy::start(&site.sandbox.url, &[]);
    zoho["urls"] = json!({"accounts": directory.url, "api": directory.url, "mail": directory.url});
    // Long enough for a busy machine: an answer that is merely slow would be another row.
    let limits = json!({"resetsPerHour": 100_000, "requestTimeout": "20s"});
    for name in ["zylker", SEALING] {
        site.directory(name, json!({"provider": {"zoho": zoho}, "limits": limits}));
    }
    if guarantee == Guarantee::AtMostOnce {
        (zoho["resetPassword"], zoho["resetMFA"]) = (Value::Null, Value::Null);
        site.directory(PLAIN, json!({"provider": {"zoho": zoho}, "limits": limits}));
    }

    // Every row of the first part is held at its call; then the operator is killed.
    let held: Vec<Arc<Armed>> = kills.iter().map(|row| row.arm(&api, &directory)).collect();
    let operator = |identity, concurrency| {
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_credreset"));
        let mut command = site.operator_command(binary, identity, "trace", Some(&api.url));
        site.run(command.args(["--concurrency", concurrency]))
    };
    let first = operator("first", "64");
    // An operator gives up what is held after half a minute: the calls that come late in a reset are waited for before those that come early.
    let (early, late): (Vec<_>, Vec<_>) = kills.iter().zip(&held).partition(|(row, _)| row.is_early());
    for part in [late, early] {
        file(&site, part.iter().map(|(row, _)| *row));
        for (row, armed) in part {
            wait_for(&format!("{:?} {:?} {:?}", row.call, row.kind, row.what), || armed.is_hit().then_some(()));
        }
    }
    first.kill();
    for (row, armed) in kills.iter().zip(&held) {
        if row.what == What::KilledMeanwhile {
            armed.release();
            wait_for("a call that was under way", || armed.has_arrived().then_some(()));
        } else {
            armed.lose();
        }
    }

    // The second part's calls meet faults, while the next operator finds out what became of the first.
    let met: Vec<Arc<Armed>> = faults.iter().map(|row| row.arm(&api, &directory)).collect();
    file(&site, &faults);
    let _second = operator("second", "8");
    let objects = outcomes(&site);
    let users = site.sandbox.get("/sandbox/users");
    let users: BTreeMap<&str, &Value> =
        users.as_array().unwrap().iter().map(|u| (u["user_id"].as_str().unwrap(), u)).collect();
    let records = by_name(&site.get(&["crecord", "-n", SYSTEM]));
    let passwords = [TEAM, SYSTEM].map(|namespace| site.passwords(namespace));
    let (mut double, mut lost, mut false_success, mut wrong) = (0, 0, 0, Vec::new());
    println!("{:<16} {:<10} {:<26} {:<11} changes", "call", "mode", "what happens", "outcome");
    for (row, armed) in kills.iter().chain(&faults).zip(held.iter().chain(&met)) {
        let object = &objects[&row.name()];
        let user = users[row.user().as_str()];
        let changes = user[if row.kind.is_mfa() { "mfaResets" } else { "passwordResets" }].as_u64().unwrap();
        let outcome = object["status"]["outcome"].as_str().unwrap_or_default();
        let what = match row.what {
            What::Fault(action) => format!("{action:?}"),
            killed => format!("{killed:?}"),
        };
        let line = format!(
            "{:<16} {:<10} {what:<26} {outcome:<11} {changes}",
            format!("{:?}", row.call),
            format!("{:?}", row.kind)
        );
        println!("{line}");
        double += usize::from(changes > 1);
        lost += usize::from(outcome.is_empty());
        false_success += usize::from(outcome == "Applied" && changes == 0);
        if (outcome, changes) != row.expected(guarantee) {
            wrong.push(format!("{line}, not {:?}: {:#}", row.expected(guarantee), object["status"]));
        }
        if !armed.is_hit() {
            wrong.push(format!("{line}: the call did not come"));
        }
        wrong.extend(
            objections(&site, row, object, changes, &records, &passwords)
                .into_iter()
                .map(|why| format!("{line}: {why}")),
        );
    }
    let count = kills.len() + faults.len();
    figures(&json!({
        "proof": "crash matrix", "guarantee": format!("{guarantee:?}"), "rows": count, "double": double, "lost": lost,
        "falseSuccess": false_success, "seconds": began.elapsed().as_secs(),
    }));
    assert!(wrong.is_empty(), "{} of {count} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!((double, lost, false_success), (0, 0, 0));
}

/// What is wrong with a row's end beyond outcome and count: evidence, record, and the password.
fn objections(
    site: &Site,
    row: &Row,
    object: &Value,
    changes: u64,
    records: &BTreeMap<String, Value>,
    [delivered, stored]: &[BTreeMap<String, String>; 2],
) -> Vec<&'static str> {
    let status = &object["status"];
    let outcome = status["outcome"].as_str().unwrap_or_default();
    let record = status["record"].as_str().and_then(|name| records.get(name)).map(|record| &record["spec"]);
    let Some(record) = record else { return vec!["no record"] };
    let mut all = Vec::new();
    let mut must = |holds: bool, why| all.extend((!holds).then_some(why));
    must(record["state"] == outcome, "the record says something else");
    must(outcome != "Applied" || status["evidence"].is_string(), "success without evidence");
    let succeeded = condition(object, "Succeeded").map(|(status, _)| status).unwrap_or_default();
    must((succeeded == "True") == (outcome == "Applied"), "Succeeded does not fit the outcome");
    if row.kind.is_mfa() {
        return all;
    }
    let kept = record["attempt"]["secret"].as_str().unwrap_or_default();
    let password = match (outcome, row.kind) {
        ("Applied", Kind::Generated) => delivered[&format!("{}-password", row.name())].clone(),
        ("Applied", Kind::Sealed) => {
            let sealed = site.secret(TEAM, &format!("{}-password", row.name()), "password.age");
            let opened = age::decrypt(&*PRIVATE_KEY, sealed.as_bytes()).unwrap();
            String::from_utf8(opened).unwrap()
        }
        ("Applied", _) => row.entered(),
        // It may be in force, so it is kept.
        ("Unknown", _) => stored[kept].clone(),
        _ => return all,
    };
    let expected = if changes == 1 { "must-change" } else { "wrong" };
    must(site.sandbox.sign_in(&row.email(), &password) == expected, "the password is not what opens the account");
    all
}

#[test]
fn crash_matrix_at_most_once() {
    matrix(Guarantee::AtMostOnce);
}

#[test]
fn crash_matrix_provable() {
    matrix(Guarantee::Provable);
}

#[test]
fn crash_matrix_exactly_once() {
    matrix(Guarantee::ExactlyOnce);
}
