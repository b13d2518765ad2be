//! The decision: a world in, a decision out. Each file of tests/cases is one; a bug report is such a file.
//!
//! A case names a base (tests/cases/base), says what is different in its world (a merge patch, RFC 7386), and what of the
//! decision must be so. `conditions` is checked with what people would see.
#![cfg(test)]
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Mutex,
};

use credreset::core::{
    Decision, World, decide,
    reason::{Extra, Reason, Truth},
    record::State,
    seen::Seen,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "../support/mod.rs"]
mod support;
use support::{merge, texts};
mod arbitrary;
mod forecast;
mod history;
mod messages;
mod queue;
mod simulation;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// One sentence: what this shows.
    why: String,
    /// A file of tests/cases/base, without its ending; none: the world is whole, as `credreset explain --dump` writes it.
    #[serde(default)]
    base: Option<String>,
    /// What is different in the world.
    #[serde(default)]
    world: Value,
    /// What must be in the decision.
    decision: Value,
    /// What must not be in the view's message, and what must.
    #[serde(default)]
    says: Vec<String>,
    /// `Ready, Succeeded` or `Ready, Succeeded, Extra`.
    #[serde(default)]
    conditions: Option<String>,
    /// The outcome that goes with it; `open` for none.
    #[serde(default)]
    outcome: Option<String>,
}

impl Case {
    fn world(&self) -> World {
        match &self.base {
            Some(name) => base(name, self.world.clone()),
            None => serde_json::from_value(self.world.clone()).unwrap_or_else(|e| panic!("{}: {e}", self.why)),
        }
    }
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// An enum's variant is replaced whole: a patch that names another one must not leave both.
fn make_room(fields: &mut Value, patch: &Value) {
    let variant =
        |v: &Value| v.as_object().and_then(|o| o.keys().next().cloned()).or_else(|| v.as_str().map(str::to_owned));
    for (field, value) in patch.as_object().into_iter().flatten() {
        if variant(&fields[field]) != variant(value) && !value.is_null() {
            fields[field] = Value::Null;
        }
    }
}

fn base(name: &str, patch: Value) -> World {
    static READ: Mutex<BTreeMap<String, Value>> = Mutex::new(BTreeMap::new());
    let read = |name: &String| yaml(&folder().join(format!("base/{name}.yaml")));
    let mut world = READ.lock().unwrap().entry(name.to_owned()).or_insert_with_key(read).clone();
    for group in ["facts", "ledger", "own", "evidence"] {
        if let Some(fields) = world.get_mut(group) {
            make_room(fields, &patch[group]);
        }
    }
    if let Some(subject) = patch.get("subject") {
        make_room(&mut world, &json!({ "subject": subject }));
    }
    if !patch.is_null() {
        merge(&mut world, patch);
    }
    let mut world: World =
        serde_json::from_value(world.clone()).unwrap_or_else(|e| panic!("base {name}: {e}\n{world:#}"));
    // A case that changes what is asked for says so of the record, too, without having to know the hash.
    if let (Seen::Known(record), Some(request)) = (&mut world.ledger.record, world.subject.request())
        && record.request.digest == "own"
    {
        record.request.digest = request.digest();
    }
    world
}

/// `wanted` is in `found`: objects by their fields, everything else as it is.
fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(name, value)| {
            if value.is_null() { !found.contains_key(name) } else { found.get(name).is_some_and(|f| holds(f, value)) }
        }),
        (found, wanted) => found == wanted,
    }
}

fn cases() -> Vec<(String, Case)> {
    let mut all: Vec<_> = fs::read_dir(folder()).unwrap().flatten().map(|entry| entry.path()).collect();
    all.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    all.sort();
    let read = |path: &std::path::PathBuf| {
        let case = serde_json::from_value(yaml(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path.file_stem().unwrap().to_string_lossy().into_owned(), case)
    };
    all.iter().map(read).collect()
}

#[test]
fn every_case() {
    let all = cases();
    assert!(all.len() > 40, "{} cases", all.len());
    for (name, case) in all {
        assert!(case.why.len() > 20, "{name}: say why");
        let world = case.world();
        let decision = decide(&world);
        let found = serde_json::to_value(&decision).unwrap();
        assert!(holds(&found, &case.decision), "{name}: {}\nfound {found:#}\nwanted {:#}", case.why, case.decision);
        let Decision::Rest { view: Some(view), .. } = decision else {
            assert!(case.conditions.is_none() && case.says.is_empty(), "{name}: there is no view");
            continue;
        };
        for text in &case.says {
            assert!(view.message.contains(text), "{name}: {:?} does not say {text:?}", view.message);
        }
        let (ready, _, extra) = view.reason.conditions();
        let extra = extra.map(|e| format!(", {e:?}")).unwrap_or_default();
        let shown = format!("{ready}, {}{extra}", view.succeeded);
        assert_eq!(case.conditions.as_ref(), Some(&shown), "{name}: conditions");
        let outcome = view.outcome().map_or("open".to_owned(), |o| format!("{o:?}"));
        assert_eq!(case.outcome.as_ref(), Some(&outcome), "{name}: outcome");
    }
}

/// The chain of questions in its order, each with a world in which it is answered by no.
fn gates() -> Vec<(Reason, Value)> {
    let user = |fields: Value| json!({"facts": {"user": {"known": {"one": fields}}}});
    let directory = |fields: Value| json!({"facts": {"directory": {"known": fields}}});
    let rule = |namespace: &str, domain: &str| {
        json!({"allow": [{
            "name": "r", "namespaces": [namespace], "modes": ["Password"], "users": {"emailDomains": [domain]},
        }]})
    };
    let approved = |distinct: bool| {
        json!({
            "name": "r", "namespaces": ["helpdesk"], "modes": ["Password"], "users": {"emailDomains": ["zylker.biz"]},
            "approvals": {"count": 1, "distinctFromRequester": distinct},
        })
    };
    let other = json!({
        "record": "r-other", "directoryIdentity": "zoho:x/1", "user": "7", "mode": "Password", "state": "Sent",
        "startedAt": "2026-11-24T09:04:00Z", "cannotArriveAfter": "2026-11-24T09:05:25Z",
    });
    vec![
        (
            Reason::Expired,
            json!({"now": "2026-11-25T09:01:00Z", "ledger": {"recordLookedUpAt": "2026-11-25T09:01:00Z"}}),
        ),
        (Reason::RestoredFromBackup, json!({"subject": {"object": {"request": {"restored": true}}}})),
        (Reason::NotYetValid, json!({"now": "2026-11-24T08:59:59Z"})),
        (Reason::DirectoryMissing, json!({"facts": {"directory": "absent"}})),
        (Reason::DirectorySuspended, directory(json!({"suspend": true}))),
        (Reason::DirectoryNotReady, directory(json!({"notReady": "down."}))),
        (Reason::NotAllowed, directory(rule("elsewhere", "zylker.biz"))),
        (Reason::UserNotFound, json!({"facts": {"user": "absent"}})),
        (Reason::UserNotConfirmed, user(json!({"confirmed": false}))),
        (Reason::UserInactive, user(json!({"active": false}))),
        (Reason::UserFederated, user(json!({"federated": true}))),
        (Reason::UserProtected, user(json!({"administrator": {"known": true}}))),
        (Reason::NotAllowed, directory(rule("helpdesk", "elsewhere.example"))),
        (Reason::NotSupported, directory(json!({"supports": []}))),
        (Reason::ChangedSinceRequest, user(json!({"changedAt": {"unknown": null, "known": "2026-11-24T09:01:00Z"}}))),
        (Reason::DeliveryConflict, json!({"facts": {"delivery": {"known": "taken"}}})),
        (
            Reason::AwaitingApproval,
            json!({"facts": {"approvals": {"known": []}, "directory": {"known": {"allow": [approved(true)]}}}, "subject": {"object": {"request": {"requestedBy": "hana"}}}}),
        ),
        (Reason::UserBusy, json!({"ledger": {"past": [other]}})),
        (Reason::LimitReached, directory(json!({"limits": {"resetsPerHour": 0}}))),
    ]
}

/// One patch that does what the two would do in turn. A null in it still removes something.
fn both(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut all), Value::Object(second)) => {
            for (name, value) in second {
                let merged = all.remove(&name).map_or(value.clone(), |old| both(old, value));
                all.insert(name, merged);
            }
            Value::Object(all)
        }
        (_, second) => second,
    }
}

/// Of two gates that are closed at once the first answers.
#[test]
fn the_first_closed_gate_answers() {
    let gates = gates();
    for (i, (first, closed)) in gates.iter().enumerate() {
        for (second, also) in &gates[i..] {
            let mut patch = both(also.clone(), closed.clone());
            patch["own"]["passwordSecret"] = Value::Null;
            let Decision::Rest { view: Some(view), .. } = decide(&base("password", patch)) else {
                panic!("{first} and {second}: nothing is shown");
            };
            assert_eq!(view.reason, *first, "before {second}");
        }
    }
}

fn reasons() -> Vec<Reason> {
    Reason::ALL.to_vec()
}

/// `Executing` is shown by the adapter while a call takes long; `Pending` is the schema's default.
#[test]
fn every_reason_has_a_case() {
    let shown: BTreeSet<String> = cases()
        .iter()
        .filter_map(|(_, case)| Some(case.decision["rest"]["view"]["reason"].as_str()?.to_owned()))
        .collect();
    for reason in reasons() {
        let name = reason.to_string();
        assert!(shown.contains(&name) || ["Pending", "Executing"].contains(&name.as_str()), "no case shows {name}");
    }
}

/// docs/reasons.md is what the code does. With `CREDRESET_UPDATE` its table is written anew.
#[test]
fn reasons_are_documented_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md");
    let text = fs::read_to_string(&path).unwrap();
    let rows = reasons().into_iter().map(|reason| {
        let (ready, succeeded, extra) = reason.conditions();
        let extra = extra.map_or("-", |e| match e {
            Extra::Reconciling => "Reconciling",
            Extra::Stalled => "Stalled",
        });
        let outcome = reason.outcome().map_or("-".to_owned(), |o| format!("{o:?}"));
        let (meaning, advice) = (reason.meaning(), reason.advice());
        format!("| `{reason}` | {ready} | {succeeded} | {extra} | {outcome} | {meaning} | {advice} |\n")
    });
    let table: String = rows.collect();
    let start = text.find("| `").unwrap();
    let end = start + text[start..].find("\n\n").unwrap() + 1;
    if std::env::var_os("CREDRESET_UPDATE").is_some() {
        fs::write(&path, format!("{}{table}{}", &text[..start], &text[end..])).unwrap();
    } else {
        assert_eq!(text[start..end], table, "run: CREDRESET_UPDATE=1 cargo test --test decide reasons_are");
    }
    for reason in reasons() {
        // To link to, with cause and remedy.
        let paragraphs: Vec<&str> = text.split(&format!("\n### {reason}\n")).skip(1).collect();
        let [paragraph] = paragraphs[..] else { panic!("docs/reasons.md has {} of ### {reason}", paragraphs.len()) };
        let paragraph = paragraph.split("\n#").next().unwrap().trim();
        assert!(paragraph.len() > 100, "### {reason} says little: {paragraph}");
    }
    assert_eq!(text.matches("\n### ").count(), reasons().len(), "a paragraph is of no reason");
}

/// Ready is never True while something may still happen, and success is never claimed without an outcome that says so.
#[test]
fn conditions_are_consistent() {
    for reason in reasons() {
        let (ready, succeeded, extra) = reason.conditions();
        assert_eq!(ready == Truth::False, extra == Some(Extra::Stalled), "{reason}");
        assert!(succeeded != Truth::True || reason.outcome() == Some(credreset::core::Outcome::Applied), "{reason}");
        assert!(ready != Truth::True || reason.outcome().is_some(), "{reason}");
    }
}

/// Where a record may go, as the rule of its definition in the API says (src/api/record.rs).
fn moves(from: State) -> &'static [State] {
    match from {
        // To itself where another process repeats the call, or where a sign-in is about to be tried.
        State::Sent => {
            &[State::Sent, State::Released, State::Changed, State::Applied, State::NotApplied, State::Unknown]
        }
        State::Released => &[State::Sent, State::NotApplied],
        State::Changed => &[State::Applied],
        State::Unknown => &[State::Unknown, State::Changed, State::Applied, State::NotApplied, State::Superseded],
        State::Applied | State::NotApplied | State::Superseded => &[],
    }
}

// Properties: what must hold in any world that can be put together from the bases and these differences.

fn differences() -> impl Strategy<Value = Vec<Value>> {
    let one = prop_oneof![
        (-90_000i64..2_000_000).prop_map(|s| json!({"now": (("2026-11-24T09:00:00Z".parse::<jiff::Timestamp>().unwrap()) + jiff::SignedDuration::from_secs(s)).to_string()})),
        Just(json!({"facts": {"user": "unread"}})),
        Just(json!({"facts": {"user": "absent"}})),
        Just(json!({"facts": {"user": {"unknown": {"message": "no answer"}}}})),
        Just(json!({"facts": {"user": {"known": {"one": {"confirmed": false}}}}})),
        Just(json!({"facts": {"user": {"known": {"one": {"active": false}}}}})),
        Just(json!({"facts": {"user": {"known": {"one": {"administrator": {"known": true}}}}}})),
        Just(json!({"facts": {"directory": "absent"}})),
        Just(json!({"facts": {"directory": "unread"}})),
        Just(json!({"facts": {"directory": {"known": {"suspend": true}}}})),
        Just(json!({"facts": {"directory": {"known": {"notReady": "down."}}}})),
        Just(json!({"facts": {"directory": {"known": {"allow": []}}}})),
        Just(json!({"ledger": {"record": "unread"}})),
        Just(json!({"ledger": {"recordByName": "unread"}})),
        Just(json!({"facts": {"delivery": "unread"}})),
        Just(json!({"facts": {"delivery": {"known": "taken"}}})),
        Just(json!({"evidence": {"finding": {"known": {"proven": "Marker"}}}})),
        Just(json!({"evidence": {"finding": {"known": {"inconclusive": "x"}}}})),
        Just(json!({"evidence": {"finding": {"unknown": {"message": "x"}}}})),
        Just(json!({"evidence": {"superseded": {"known": true}}})),
        Just(json!({"own": {"passwordSecret": "credreset-a1"}})),
        Just(json!({"own": {"passwordSecret": "credreset-other"}})),
        Just(json!({"own": {"attempt": {"attempt": "a1", "maySend": true}}})),
        Just(json!({"own": {"attempt": {"attempt": "a1", "maySend": false}}})),
        Just(json!({"own": {"attempt": {"attempt": "a1", "maySend": false, "reply": "done"}}})),
        Just(json!({"own": {"attempt": {"attempt": "a1", "maySend": false, "reply": "unsure"}}})),
        Just(json!({"own": {"attempt": {"attempt": "a1", "maySend": false, "reply": "notSent"}}})),
        Just(json!({"own": {"attempt": {"attempt": "a1", "maySend": false, "reply": {"rejected": {"code": "X"}}}}})),
        Just(json!({"own": {"attempt": {"attempt": "a1", "maySend": false, "reply": {"throttled": {"after": 7}}}}})),
        Just(json!({"own": {"attempt": {"attempt": "other", "maySend": true}}})),
        Just(json!({"own": {"progress": {"deliver": "done"}}})),
        Just(json!({"own": {"progress": {"deliver": {"failed": "x"}}}})),
        Just(json!({"subject": "gone"})),
    ];
    proptest::collection::vec(one, 0..6)
}

fn worlds() -> impl Strategy<Value = World> {
    let bases = prop_oneof![
        Just("password"),
        Just("mfa"),
        Just("sent"),
        Just("released"),
        Just("changed"),
        Just("unknown"),
        Just("applied")
    ];
    (bases, differences()).prop_map(|(name, differences)| {
        let mut world = serde_json::to_value(base(name, json!({}))).unwrap();
        for difference in differences {
            let mut next = world.clone();
            for (field, value) in difference.as_object().unwrap() {
                // Another variant of an enum takes the place of the old one.
                if value.is_string()
                    || value.get("known").is_none_or(Value::is_string)
                    || next[field].get("known").is_none()
                {
                    next[field] = Value::Null;
                }
            }
            merge(&mut next, difference);
            if serde_json::from_value::<World>(next.clone()).is_ok() {
                world = next;
            }
        }
        serde_json::from_value(world).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_sent_that_must_not_be(world in worlds()) {
        use credreset::core::{Effect, record::State, seen::Seen, user::LookUp, world::Subject};
        match decide(&world) {
            Decision::Do(Effect::Send(_)) => {
                let holding = world.own.attempt.clone().unwrap();
                prop_assert!(holding.may_send && holding.reply.is_none());
                let Seen::Known(record) = &world.ledger.record else { return Err(TestCaseError::fail("no record")) };
                prop_assert!(record.state == State::Sent && record.attempt.id == holding.attempt);
                prop_assert!(world.now < record.expires_at);
            }
            Decision::Do(Effect::Open(_) | Effect::TakeOver(_)) => {
                let request = world.subject.request().unwrap();
                prop_assert!(world.now < request.deadline() && world.now >= request.requested_at);
                let Seen::Known(LookUp::One(user)) = &world.facts.user else { return Err(TestCaseError::fail("no user")) };
                prop_assert!(user.confirmed && user.active && user.administrator == Seen::Known(false));
                let Seen::Known(directory) = &world.facts.directory else { return Err(TestCaseError::fail("no directory")) };
                prop_assert!(!directory.suspend && directory.not_ready.is_none() && !directory.allow.is_empty());
                prop_assert!(!matches!(world.ledger.record, Seen::Unread | Seen::Unknown(_)));
            }
            Decision::Do(Effect::Write(next)) => {
                let Seen::Known(record) = &world.ledger.record else { return Err(TestCaseError::fail("no record")) };
                let allowed: &[State] = match record.state {
                    State::Sent => &[State::Released, State::Changed, State::Applied, State::NotApplied, State::Unknown],
                    State::Released => &[State::NotApplied],
                    State::Changed => &[State::Applied],
                    State::Unknown => &[State::Changed, State::Applied, State::NotApplied, State::Superseded],
                    State::Applied | State::NotApplied | State::Superseded => &[],
                };
                prop_assert!(allowed.contains(&next.state), "{:?} -> {:?}", record.state, next.state);
                prop_assert_eq!(&next.attempt, &record.attempt);
                // Success on evidence only.
                if matches!(next.state, State::Changed | State::Applied) && record.state == State::Sent {
                    let answered = world.own.attempt.as_ref().is_some_and(|h| h.reply == Some(credreset::core::call::Reply::Done));
                    let proven = matches!(world.evidence.finding, Seen::Known(credreset::core::finding::Finding::Proven(_)));
                    prop_assert!(answered || proven);
                }
            }
            // A password that may be in force is not thrown away.
            Decision::Do(Effect::DropPassword { secret }) => {
                if let Seen::Known(record) = &world.ledger.record && record.attempt.secret.as_ref() == Some(&secret) {
                    prop_assert!(!matches!(record.state, State::Sent | State::Changed | State::Unknown), "{:?}", record.state);
                }
            }
            Decision::Rest { next: credreset::core::Next::At(at), .. } => prop_assert!(at >= world.now, "{at} is past"),
            Decision::Rest { view: Some(view), next: credreset::core::Next::Never } => {
                prop_assert!(view.outcome().is_some(), "{} ends without an outcome", view.reason);
            }
            Decision::Rest { view: None, .. } => {
                prop_assert!(matches!(&world.subject, Subject::Gone) || world.subject.request().is_some());
            }
            Decision::Do(_) | Decision::Read(_) => {}
        }
    }
}
