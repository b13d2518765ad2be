//! What people write into objects, and what stands in them when they are read back: any of it is refused in one sentence or
//! taken for what it is. No address at the API server leads elsewhere, nothing panics.
use std::collections::BTreeMap;

use credreset::{
    api::{self, CredentialReset, CredentialResetRecord, Directory},
    core::{
        Reason, View,
        record::State,
        request::{Action, PasswordSource, UserRef},
        text::{MESSAGE, NAME, NOTE, OBJECT_NAME, is_object_name, is_word, printable},
        user::UserId,
        view,
    },
    directory::{Credentials, Provider},
    http,
};
use proptest::{collection::vec, prelude::*, sample::select};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    directory,
    support::{
        merge,
        texts::{hostile, unseen},
    },
};

/// One sentence for people; `most` bytes at the longest.
fn check_printable(shown: &str, most: usize) {
    assert_eq!(unseen(shown), None, "{shown:?}");
    assert!(shown.len() <= most, "{} bytes: {shown:?}", shown.len());
}

/// Places of a JSON object that hold a value.
fn places(value: &Value) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, v)| places(v).into_iter().map(move |at| format!("/{}{at}", key.replace('/', "~1"))))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(i, v)| places(v).into_iter().map(move |at| format!("/{i}{at}")))
            .collect(),
        _ => vec![String::new()],
    }
}

/// `object` with other values in some of its places.
fn spoilt(object: &Value) -> impl Strategy<Value = Value> + use<> {
    let object = object.clone();
    let other = prop_oneof![
        4 => hostile().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => select(&["-009999-01-01T00:00:00Z", "9999-12-30T22:00:00Z", "2026-06-30T23:59:60Z", "99999999999h", "0s", "-1h", "PT1S", "1y"][..]).prop_map(Value::from),
    ];
    vec((select(places(&object)), other), 1..4).prop_map(move |changes| {
        let mut object = object.clone();
        for (at, value) in changes {
            *object.pointer_mut(&at).unwrap() = value;
        }
        object
    })
}

fn reset() -> Value {
    json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset",
        "metadata": {"name": "annette", "namespace": "helpdesk", "uid": "u-1", "creationTimestamp": "2026-11-24T09:00:00Z", "generation": 1},
        "spec": {
            "directory": "zylker", "user": {"email": "annette.c@zylker.biz"}, "mode": "Password",
            "password": {"fromSecret": {"name": "chosen", "key": "password"}, "emailToUser": true},
            "requestedAt": "2026-11-24T09:00:00Z", "validFor": "24h", "reason": "Locked out, HELP-4711", "requestedBy": "hana",
        },
    })
}

fn record() -> Value {
    json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetRecord",
        "metadata": {"name": "r-1", "namespace": "credreset-system", "labels": {"credreset.dev/hour": "2026112409"}},
        "spec": {
            "directory": "zylker", "directoryIdentity": "zoho:x/1", "user": {"id": "7", "name": "annette.c@zylker.biz"}, "mode": "Password",
            "requestedAt": "2026-11-24T09:00:00Z", "expiresAt": "2026-11-25T09:00:00Z", "keepUntil": "2026-11-26T09:00:00Z",
            "request": {"namespace": "helpdesk", "name": "annette", "uid": "u-1", "key": "k", "digest": "d"},
            "finish": {"deliverTo": "annette-password", "mailTo": "annette.c@zylker.biz"},
            "attempt": {
                "id": "a1", "number": 1, "holder": "op/1", "startedAt": "2026-11-24T09:00:01Z", "deadline": "2026-11-24T09:00:26Z",
                "secret": "credreset-a1", "baseline": "never",
            },
            "state": "NotApplied", "refusal": {"reason": "Rejected", "code": "PASSWORD_POLICY"}, "evidence": null,
            "retryAt": "2026-11-24T09:01:00Z", "note": "A note.", "settledAt": "2026-11-24T09:00:02Z",
        },
    })
}

fn credentials() -> Credentials {
    ["client-id", "client-secret", "refresh-token", "admin-password"]
        .map(|key| (key.to_owned(), SecretString::from("x")))
        .into_iter()
        .collect::<BTreeMap<_, _>>()
}

/// Where kube goes for a Secret of this name.
fn address(name: &str) -> Option<::http::Uri> {
    let secrets = kube::core::Request::new("/api/v1/namespaces/helpdesk/secrets");
    secrets.get(name, &kube::api::GetParams::default()).ok().map(|request| request.uri().clone())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn what_is_shown_is_seen_and_bounded(text in hostile(), most in select(&[NAME, NOTE, MESSAGE][..])) {
        let once = printable(&text, most);
        check_printable(&once, most);
        prop_assert_eq!(&printable(&once, most), &once, "what was shown stays as it is");
        if text.len() <= most && unseen(&text).is_none() {
            prop_assert_eq!(&once, &text, "harmless texts are left alone");
        }
        let view = View::new(Reason::UserNotFound, format!("{} and {text}", UserRef::Username(text.clone())));
        check_printable(&view.message, MESSAGE);
        check_printable(&UserId::new("7".to_owned(), &text).name, NAME);
        prop_assert!(!is_word(&text) || unseen(&text).is_none());
    }

    #[test]
    fn a_request_is_what_it_says_or_refused(object in spoilt(&reset())) {
        let Ok(object) = serde_json::from_value::<CredentialReset>(object) else { return Ok(()) };
        match object.request() {
            Err(wrong) => check_printable(&View::new(Reason::NotSupported, wrong).message, MESSAGE),
            Ok(request) => {
                let _ = (request.deadline(), request.keep_until());
                prop_assert!([request.key().len(), request.digest().len()] == [40, 64]);
                if let Action::Password { source: PasswordSource::FromSecret { name, .. }, .. } = &request.action {
                    prop_assert_eq!(address(name).unwrap().to_string(), format!("/api/v1/namespaces/helpdesk/secrets/{name}"));
                }
            }
        }
        let _ = object.status_summary();
    }

    /// The operator leaves out an object that it cannot read. (The API server also refuses days and hours that do not exist: see
    /// tests/cluster/request/injection.rs.)
    #[test]
    fn every_time_that_is_admitted_can_be_read(
        at in "20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])",
        valid_for in "(1[0-5]?[0-9]?|[2-9][0-9]?)h([0-9]{1,2}m)?([0-9]{1,2}s)?",
    ) {
        let mut object = reset();
        merge(&mut object, json!({"spec": {"requestedAt": at, "validFor": valid_for}}));
        let request = serde_json::from_value::<CredentialReset>(object).unwrap().request().unwrap();
        prop_assert!(request.deadline() > request.requested_at && request.keep_until() > request.deadline());
    }

    /// The second yes is compared with what was typed, not with how it is shown.
    #[test]
    fn the_second_yes(user in hostile(), again in hostile()) {
        let confirmed = |confirm: &str| {
            let mut object = reset();
            merge(&mut object, json!({"spec": {"mode": "MFA", "password": null, "mfa": {"confirm": confirm}, "user": {"email": user}}}));
            serde_json::from_value::<CredentialReset>(object).unwrap().request()
        };
        prop_assert!(confirmed(&user).is_ok());
        prop_assert!(user == again || confirmed(&again).is_err());
        prop_assert!(unseen(&user).is_none() || confirmed(&printable(&user, MESSAGE)).is_err());
    }

    #[test]
    fn names_are_those_of_objects(name in "[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,9}[a-z0-9])?){0,3}", other in hostile()) {
        prop_assert!(is_object_name(&name));
        prop_assert_eq!(address(&name).unwrap().to_string(), format!("/api/v1/namespaces/helpdesk/secrets/{name}"));
        let odd = other.bytes().any(|b| !b.is_ascii_lowercase() && !b.is_ascii_digit() && b != b'-' && b != b'.');
        prop_assert!(!odd || !is_object_name(&other), "{other:?}");
    }

    #[test]
    fn a_directory_is_usable_or_says_why(object in spoilt(&directory())) {
        let Ok(object) = serde_json::from_value::<Directory>(object) else { return Ok(()) };
        if let Err(wrong) = object.settings() {
            check_printable(&printable(&wrong, MESSAGE), MESSAGE);
        }
    }

    #[test]
    fn a_record_is_read_or_not(object in spoilt(&record())) {
        let Ok(object) = serde_json::from_value::<CredentialResetRecord>(object) else { return Ok(()) };
        let record = object.record();
        let _ = (record.cannot_arrive_after(), record.needs_password());
        for state in [State::Applied, State::NotApplied, State::Unknown, State::Superseded] {
            for own in [true, false] {
                let record = credreset::core::record::Record { state, ..record.clone() };
                let view = view::settled(&record, own);
                check_printable(&view.message, MESSAGE);
                check_printable(&view.user.unwrap().name, NAME);
            }
        }
        prop_assert_eq!(object.with(&record).record(), record);
    }

    #[test]
    fn durations(text in prop_oneof![hostile(), "([0-9]{1,15}h)?([0-9]{1,15}m)?([0-9]{1,15}s)?", "[0-9]{1,30}[a-zµ]{0,3}"]) {
        if let Err(wrong) = api::duration(&text) {
            check_printable(&printable(&wrong, MESSAGE), MESSAGE);
        }
    }

    #[test]
    fn base_addresses(text in prop_oneof![hostile(), hostile().prop_map(|end| format!("https://zoho.example{end}"))]) {
        match http::base("spec.provider.zoho.urls.api", &text) {
            Err(wrong) => check_printable(&printable(&wrong, MESSAGE), MESSAGE),
            Ok(url) => {
                let to = http::join(&url, "/directory/api/v2/orgs/70/users");
                prop_assert!(to.path().ends_with("/directory/api/v2/orgs/70/users") && to.query().is_none() && to.fragment().is_none());
                prop_assert_eq!(to.host_str(), url.host_str());
                prop_assert!(unseen(to.as_str()).is_none());
            }
        }
    }
}

fn keycloak() -> Value {
    json!({
        "url": "https://sso.acme.example/auth", "realm": "acme", "credentials": {"secret": "acme-keycloak"}, "signInClient": "shop",
        "caBundle": "-----BEGIN CERTIFICATE-----",
    })
}

proptest! {
    // Each reads the system's certificates.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn a_connection_is_made_or_says_why(
        provider in prop_oneof![
            spoilt(&directory()["spec"]["provider"]["zoho"]).prop_map(|zoho| json!({ "zoho": zoho })),
            spoilt(&keycloak()).prop_map(|keycloak| json!({ "keycloak": keycloak })),
        ],
    ) {
        let mut whole = directory();
        whole["spec"]["provider"] = provider;
        let Ok(object) = serde_json::from_value::<Directory>(whole) else { return Ok(()) };
        if let Err(wrong) = Provider::connect(&object.spec, &credentials()) {
            check_printable(&printable(&wrong.to_string(), MESSAGE), MESSAGE);
        }
    }
}

/// What `OBJECT_NAME` admits and what the code does are the same; and kube puts any other name into the address as it is.
#[test]
fn names_that_lead_elsewhere() {
    assert_eq!(
        address("../../kube-system/secrets/token").unwrap().path(),
        "/api/v1/namespaces/helpdesk/secrets/../../kube-system/secrets/token"
    );
    assert_eq!(address("other?dryRun=All").unwrap().path(), "/api/v1/namespaces/helpdesk/secrets/other");
    for name in [
        "../../kube-system/secrets/token",
        "other?dryRun=All",
        "a/b",
        "a%2fb",
        "a b",
        "A",
        "a_b",
        "-a",
        "a-",
        ".a",
        "a.",
        "a..b",
        "",
        "a\n",
        "a\0",
        "ä",
    ] {
        for spec in [
            json!({"password": {"fromSecret": {"name": name}}}),
            json!({"password": {"fromSecret": null, "generate": {"length": 20}, "deliverTo": {"secret": name}}}),
        ] {
            let mut object = reset();
            merge(&mut object, json!({ "spec": spec }));
            let msg = serde_json::from_value::<CredentialReset>(object).unwrap().request().unwrap_err();
            assert!(msg.contains("must be a valid name of a Secret"), "{name}: {msg}");
        }
        let mut object = directory();
        merge(&mut object, json!({"spec": {"provider": {"zoho": {"credentials": {"secret": name}}}}}));
        assert!(
            serde_json::from_value::<Directory>(object)
                .unwrap()
                .settings()
                .unwrap_err()
                .contains("a valid name of a Secret")
        );
    }
    assert!(is_object_name(&"a".repeat(253)) && !is_object_name(&"a".repeat(254)));
    let crds = serde_json::to_string(&api::definitions()).unwrap();
    assert!(
        crds.matches(&serde_json::to_string(OBJECT_NAME).unwrap()).count() >= 9,
        "every name that becomes part of an address"
    );
}

/// A message that is too long is cut at its end, between whole characters, and an Event's note by the bytes that the API server
/// counts.
#[test]
fn what_is_too_long_is_cut() {
    for text in ["x".repeat(65536), "日".repeat(30000), "\u{202e}".repeat(65536), "\u{1b}".repeat(65536)] {
        for most in [NAME, NOTE, MESSAGE] {
            let cut = printable(&text, most);
            assert!(cut.len() <= most && cut.len() > most - 16 && cut.ends_with('…'), "{} of {most}: {cut}", cut.len());
        }
    }
    assert_eq!(printable("Zoë\r\n\u{1b}[31m\u{202e}", NAME), r"Zoë\u{d}\u{a}\u{1b}[31m\u{202e}");
    assert_eq!(printable(&"x".repeat(NAME), NAME), "x".repeat(NAME));
}
