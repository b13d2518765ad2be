//! The provider against small servers that answer as each test says; the real Keycloak is in tests/directories.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;

use super::*;
use crate::{
    core::{
        ledger::{Evidence, Record},
        plan::CleanUp,
        request::{Factor, Mode, UserRef},
        world::{Found as FoundUser, Proof, Seen},
    },
    directory::tests::{Answered, SET, Server, fenced, ok, record},
};

fn refused(status: u16, body: &Value) -> Answered {
    (status, Vec::new(), body.to_string())
}

fn token() -> Answered {
    ok(&json!({"access_token": "the-token", "expires_in": 300}))
}

fn ann() -> Value {
    json!({
        "id": "7", "username": "ann", "email": "ann@acme.example", "emailVerified": true, "enabled": true, "requiredActions": ["UPDATE_PROFILE"],
        "access": {"manage": true},
    })
}

/// What the realm answers beside what `special` answers.
fn realm(special: impl Fn(&str, &str) -> Option<Answered> + Send + Sync + 'static) -> impl Fn(&str, &str) -> Answered {
    move |method, path| {
        if path.ends_with("/token") {
            return special(method, path).unwrap_or_else(token);
        }
        let rest = path.strip_prefix("/auth/admin/realms/acme").unwrap_or_else(|| panic!("{path}"));
        if let Some(answered) = special(method, rest) {
            return answered;
        }
        let bare = rest.split('?').next().unwrap_or_default();
        match (method, bare) {
            ("GET", "") => ok(&json!({"realm": "acme", "bruteForceProtected": true})),
            ("GET", "/clients") => ok(&json!([{"id": "rm", "clientId": "realm-management"}])),
            ("GET", "/users") if rest.contains("service-account-") => {
                ok(&json!([{"id": "me", "username": "service-account-credreset", "access": {"manage": true}}]))
            }
            ("GET", "/users") => ok(&json!([ann()])),
            ("GET", "/users/7") => ok(&ann()),
            ("GET", "/users/7/credentials") => {
                ok(&json!([{"id": "c1", "type": "password", "createdDate": 1_700_000_000_000_i64}]))
            }
            ("GET", "/groups") => ok(&json!([{"id": "g", "path": "/Staff"}])),
            ("GET", path) if path.starts_with("/group-by-path/") => ok(&json!({"id": "g"})),
            ("GET", "/users/7/groups") => ok(&json!([{"path": "/Staff/Desk/North~/South"}])),
            ("GET", _) => ok(&json!([])),
            ("DELETE", path) if path.starts_with("/sessions/") => refused(404, &json!({"error": "Sesssion not found"})),
            _ => (204, Vec::new(), String::new()),
        }
    }
}

fn usual() -> impl Fn(&str, &str) -> Answered {
    realm(|_, _| None)
}

fn spec(url: &str, patch: &Value) -> DirectorySpec {
    let mut keycloak =
        json!({"url": format!("{url}/auth"), "realm": "acme", "credentials": {"secret": "acme-keycloak"}});
    if let (Value::Object(all), Value::Object(new)) = (&mut keycloak, patch) {
        all.extend(new.clone());
    }
    serde_json::from_value(json!({"provider": {"keycloak": keycloak}, "limits": {"requestTimeout": "2s"}})).unwrap()
}

fn credentials() -> Credentials {
    [("client-id", "Credreset"), ("client-secret", "the-client-secret")]
        .map(|(key, value)| (key.to_owned(), SecretString::from(value)))
        .into()
}

fn connect(spec: &DirectorySpec, credentials: &Credentials) -> Result<Keycloak, NotReady> {
    let directory::Provider::Keycloak(keycloak) = &spec.provider else { panic!("{:?}", spec.provider) };
    Keycloak::connect(spec, keycloak, credentials)
}

async fn checked(spec: &DirectorySpec) -> Keycloak {
    let keycloak = connect(spec, &credentials()).unwrap();
    keycloak.check().await.unwrap();
    keycloak
}

async fn keycloak(url: &str) -> Keycloak {
    checked(&spec(url, &json!({}))).await
}

async fn look_up(keycloak: &Keycloak, mode: Mode) -> User {
    match keycloak.look_up(&UserRef::Username("Ann".to_owned()), mode).await {
        Ok(Some(FoundUser::One(user))) => *user,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_directory_is_named() {
    for (patch, says) in [
        (json!({"url": "http://sso.acme.example"}), "use https"),
        (json!({"url": "sso"}), "spec.provider.keycloak.url"),
        (json!({"realm": ".."}), "spec.provider.keycloak.realm"),
        (json!({"realm": "master"}), "a realm of their own"),
        (json!({"caBundle": "no pem"}), "caBundle"),
    ] {
        let error = connect(&spec("https://x", &patch), &credentials()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}\nshould say: {says}");
        assert_eq!(error.reason(), "InvalidConfiguration");
    }
    for key in ["client-id", "client-secret"] {
        let mut without = credentials();
        without.insert(key.to_owned(), SecretString::from(" \n"));
        let error = connect(&spec("https://x", &json!({})), &without).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    let mut bare = spec("https://x", &json!({}));
    bare.protect.groups = vec!["Board".to_owned()];
    let error = connect(&bare, &credentials()).unwrap_err();
    assert!(error.to_string().contains("full path"), "{error}");
    let shown = format!("{:?}", connect(&spec("https://x", &json!({})), &credentials()).unwrap());
    assert!(!shown.contains("the-client-secret"), "{shown}");
}

#[tokio::test]
async fn one_token_serves_until_it_is_refused() {
    let (asked, stale) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, refuse) = (Arc::clone(&asked), Arc::clone(&stale));
    let server = Server::start(realm(move |_, path| {
        if path.ends_with("/token") {
            count.fetch_add(1, Ordering::SeqCst);
            return Some(token());
        }
        let once = refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        once.then(|| refused(401, &json!({"error": "HTTP 401 Unauthorized"})))
    }))
    .await;
    let keycloak = keycloak(&server.url).await;
    let found = tokio::join!(look_up(&keycloak, Mode::Password), look_up(&keycloak, Mode::MFA));
    assert_eq!(found.0.id.id, found.1.id.id);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "one for all");
    stale.store(1, Ordering::SeqCst);
    look_up(&keycloak, Mode::Password).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2, "renewed once");
    // The one call is not sent a second time, whatever it was answered.
    let user = look_up(&keycloak, Mode::Password).await;
    stale.store(1, Ordering::SeqCst);
    let password = SecretString::from("New-pass");
    let denied = Reply::Denied { code: "HTTP_401".to_owned() };
    assert_eq!(keycloak.perform(fenced(true), &SET, &user, Some(&password)).await, denied);
    let sent = server.seen("/auth/admin/realms/acme/users/7/reset-password");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].2, r#"Bearer the-token {"temporary":false,"type":"password","value":"New-pass"}"#);
    assert_eq!(keycloak.perform(fenced(false), &SET, &user, Some(&password)).await, Reply::NotSent);
    assert_eq!(server.seen("/auth/admin/realms/acme/users/7/reset-password").len(), 1);
}

#[tokio::test]
async fn no_token() {
    for (status, body, reason, says) in [
        (401, json!({"error": "unauthorized_client"}), "CredentialsRefused", "client-secret"),
        (401, json!({"error": "invalid_client"}), "CredentialsRefused", "no such client-id"),
        (
            401,
            json!({"error": "unauthorized_client", "error_description": "Client not enabled to retrieve service account"}),
            "CredentialsRefused",
            "serviceAccountsEnabled",
        ),
        (
            401,
            json!({"error": "invalid_request", "error_description": "User 'x' disabled"}),
            "CredentialsRefused",
            "disabled",
        ),
        (
            403,
            json!({"error": "access_denied", "error_description": "Realm not enabled"}),
            "CredentialsRefused",
            "disabled",
        ),
        (404, json!({"error": "Realm does not exist"}), "InvalidConfiguration", "no such realm"),
        (404, Value::Null, "InvalidConfiguration", "the path missing"),
        (500, json!({"error": "unknown_error"}), "Unreachable", "500"),
        (200, json!({"token_type": "Bearer"}), "Unreachable", "without a token"),
    ] {
        let answer = refused(status, &body);
        let server = Server::start(move |_, _| answer.clone()).await;
        let keycloak = connect(&spec(&server.url, &json!({})), &credentials()).unwrap();
        let error = keycloak.check().await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        assert!(error.to_string().contains(says), "{error}\nshould say: {says}");
    }
}

/// What is hidden, and which rights are named then, and which not.
type Case = (&'static str, fn(&str, &str) -> bool, &'static [&'static str], &'static [&'static str]);

#[tokio::test]
async fn every_missing_right_is_named() {
    let forbidden = || Some(refused(403, &json!({"error": "HTTP 403 Forbidden"})));
    let cases: [Case; 6] = [
        ("no role at all", |_, _| true, &["manage-users", "view-clients"], &[]),
        ("sees no client", |_, path| path.starts_with("/clients"), &["view-clients"], &["manage-users"]),
        ("sees no roles", |_, path| path.contains("/role-mappings/"), &["view-clients"], &["manage-users"]),
        ("manages no sessions", |method, _| method == "DELETE", &["manage-users"], &["view-clients"]),
        ("sees no groups", |_, path| path.starts_with("/groups"), &["view for all groups"], &["manage-users"]),
        ("sees not all groups", |_, path| path.starts_with("/group-by-path"), &["view for all groups"], &[]),
    ];
    for (what, hides, says, not) in cases {
        let server =
            Server::start(realm(
                move |method, path| if hides(method, path) && !path.ends_with("/token") { forbidden() } else { None },
            ))
            .await;
        let mut spec = spec(&server.url, &json!({}));
        spec.protect.groups = vec!["/Staff/Desk".to_owned()];
        let error = connect(&spec, &credentials()).unwrap().check().await.unwrap_err();
        assert_eq!(error.reason(), "PermissionMissing", "{what}: {error}");
        let text = error.to_string();
        assert!(says.iter().all(|s| text.contains(s)) && !not.iter().any(|s| text.contains(s)), "{what}: {text}");
    }
    // A group that is not there protects nobody.
    let server = Server::start(realm(|_, path| {
        path.starts_with("/group-by-path").then(|| refused(404, &json!({"error": "Group path does not exist"})))
    }))
    .await;
    let mut spec = spec(&server.url, &json!({}));
    spec.protect.groups = vec!["/Bord".to_owned()];
    let error = connect(&spec, &credentials()).unwrap().check().await.unwrap_err();
    assert!(error.reason() == "InvalidConfiguration" && error.to_string().contains("/Bord"), "{error}");
}

#[tokio::test]
async fn a_user_as_the_guards_see_him() {
    let server = Server::start(usual()).await;
    let mut spec = spec(&server.url, &json!({}));
    spec.protect.groups = vec!["/Board".to_owned()];
    let user = look_up(&checked(&spec).await, Mode::Password).await;
    assert_eq!((user.id.name.as_str(), user.email.as_deref()), ("ann", Some("ann@acme.example")));
    assert!(user.confirmed && user.active && !user.federated && user.operator == Seen::Known(false));
    let groups = ["/Staff", "/Staff/Desk", "/Staff/Desk/North~/South"].map(str::to_owned).to_vec();
    assert_eq!(user.groups, Seen::Known(groups));
    assert_eq!(user.changed_at, Seen::Known("2023-11-14T22:13:20Z".parse().unwrap()));
    // What cannot be read is not taken for nothing.
    for hidden in ["/users/7/credentials", "/users/7/role-mappings", "/users/7/groups"] {
        for answer in
            [refused(403, &json!({})), ok(&json!({})), (200, Vec::new(), "<html>".to_owned()), refused(500, &json!({}))]
        {
            let server = Server::start(realm(move |_, path| path.starts_with(hidden).then(|| answer.clone()))).await;
            let mut spec = spec.clone();
            if let directory::Provider::Keycloak(keycloak) = &mut spec.provider {
                keycloak.url = format!("{}/auth", server.url);
            }
            let found = checked(&spec).await.look_up(&UserRef::Username("ann".to_owned()), Mode::Password).await;
            assert!(found.is_err(), "{hidden}: {found:?}");
        }
    }
}

/// Whoever is in a group is in those above: a path of two megabytes is a terabyte of them.
#[tokio::test]
async fn groups_without_end() {
    let deep = |name: usize, levels| json!({"path": format!("/{name}{}", "/a".repeat(levels))});
    for (groups, says) in [
        (vec![deep(0, 1_000_000)], "a path without end"),
        ((0..11).map(|name| deep(name, 1000)).collect(), "more than 10000 groups"),
    ] {
        let groups = ok(&Value::Array(groups));
        let server =
            Server::start(realm(move |_, path| path.starts_with("/users/7/groups").then(|| groups.clone()))).await;
        let mut spec = spec(&server.url, &json!({}));
        spec.protect.groups = vec!["/Board".to_owned()];
        let found = checked(&spec).await.look_up(&UserRef::Username("ann".to_owned()), Mode::Password).await;
        let said = found.unwrap_err().message;
        assert!(said.contains(says), "{said}");
    }
}

#[tokio::test]
async fn what_an_answer_to_the_call_amounts_to() {
    let policy =
        json!({"error": "invalidPasswordMinLengthMessage", "error_description": "Invalid password: minimum length 8."});
    for (status, body, expected) in [
        (204, json!(null), Reply::Done),
        (200, json!({"error": "odd"}), Reply::Done),
        (400, policy, Reply::PasswordRefused { code: "invalidPasswordMinLengthMessage".to_owned() }),
        (400, json!({"error": "New-pass is too short"}), Reply::Rejected { code: "HTTP_400".to_owned() }),
        (400, json!({"error": "new-PASS"}), Reply::Rejected { code: "HTTP_400".to_owned() }),
        (403, json!({"error": "HTTP 403 Forbidden"}), Reply::Rejected { code: "HTTP_403".to_owned() }),
        (404, json!({"error": "User not found"}), Reply::NoSuchUser),
        (404, json!({"error": "Realm not found."}), Reply::Denied { code: "HTTP_404".to_owned() }),
        (409, json!({"errorMessage": "exists"}), Reply::Rejected { code: "exists".to_owned() }),
        (409, json!({}), Reply::Unsure),
        (429, json!({}), Reply::Throttled { after: None }),
        (302, json!({}), Reply::Unsure),
        (307, json!({"error": "moved"}), Reply::Unsure),
        (303, json!({}), Reply::Unsure),
        (408, json!({}), Reply::Unsure),
        (500, json!({"error": "unknown_error"}), Reply::Unsure),
        (503, json!({}), Reply::Unsure),
    ] {
        let answer = refused(status, &body);
        let server =
            Server::start(realm(move |_, path| path.ends_with("/reset-password").then(|| answer.clone()))).await;
        let keycloak = keycloak(&server.url).await;
        let user = look_up(&keycloak, Mode::Password).await;
        let password = SecretString::from("New-pass");
        let reply = keycloak.perform(fenced(true), &SET, &user, Some(&password)).await;
        assert_eq!(reply, expected, "{status} {body}");
    }
}

/// Fine-grained permissions may exempt somebody.
#[tokio::test]
async fn a_user_whom_the_account_may_not_change_costs_no_call() {
    let server = Server::start(realm(|method, path| {
        let mut exempt = ann();
        exempt["access"]["manage"] = json!(false);
        (method == "GET" && path.starts_with("/users?") && !path.contains("service-account"))
            .then(|| ok(&json!([exempt])))
    }))
    .await;
    let keycloak = keycloak(&server.url).await;
    let user = look_up(&keycloak, Mode::Password).await;
    let reply = keycloak.perform(fenced(true), &SET, &user, Some(&SecretString::from("New-pass"))).await;
    assert_eq!(reply, Reply::Rejected { code: "HTTP_403".to_owned() });
    assert!(server.seen("/auth/admin/realms/acme/users/7/reset-password").is_empty());
}

const BEFORE: i64 = 1_764_000_000_000;

fn factors() -> Value {
    json!([
        {"id": "p", "type": "password", "createdDate": 5},
        {"id": "old-otp", "type": "otp", "createdDate": BEFORE - 1},
        {"id": "new-otp", "type": "otp", "createdDate": BEFORE},
        {"id": "key", "type": "webauthn", "createdDate": BEFORE - 1},
        {"id": "codes", "type": "recovery-authn-codes"},
    ])
}

fn remove(factors: &[Factor]) -> Once {
    Once::RemoveFactors { factors: factors.to_vec(), enrolled_before: Timestamp::from_millisecond(BEFORE).unwrap() }
}

/// The realm with Ann's factors, whose required actions are kept as they are written, but for one that it does not know.
fn with_factors(unknown: &'static str, broken: &'static str) -> impl Fn(&str, &str) -> Answered {
    realm(move |method, path| match (method, path) {
        ("GET", "/users/7/credentials") => Some(ok(&factors())),
        ("DELETE", path) if !broken.is_empty() && path.ends_with(broken) => Some(refused(500, &json!({}))),
        ("GET", "/users/7") => {
            let known = ["UPDATE_PROFILE", "webauthn-register", "CONFIGURE_RECOVERY_AUTHN_CODES"];
            let mut ann = ann();
            ann["requiredActions"] = known.into_iter().filter(|action| *action != unknown).collect();
            Some(ok(&ann))
        }
        _ => None,
    })
}

fn changes(server: &Server) -> Vec<String> {
    let all = server.seen("/auth/admin/realms/acme/users/7");
    let writes = all.iter().filter(|(method, ..)| method != "GET");
    writes
        .map(|(method, path, body)| format!("{method} {} {}", &path[31..], body.trim_start_matches("Bearer the-token")))
        .collect()
}

#[tokio::test]
async fn factors_go_one_by_one_and_new_ones_stay() {
    let server = Server::start(with_factors("", "")).await;
    let keycloak = keycloak(&server.url).await;
    let user = look_up(&keycloak, Mode::MFA).await;
    assert_eq!(user.changed_at, Seen::Absent);
    assert_eq!(keycloak.perform(fenced(true), &remove(&[]), &user, None).await, Reply::Done);
    // Both actions are asked for already, and for one-time passwords there is a new factor.
    assert_eq!(
        changes(&server),
        ["DELETE /credentials/old-otp  ", "DELETE /credentials/key  ", "DELETE /credentials/codes  "]
    );

    let server = Server::start(with_factors("", "")).await;
    let keycloak = checked(&spec(&server.url, &json!({}))).await;
    assert_eq!(keycloak.perform(fenced(true), &remove(&[Factor::WebAuthn]), &user, None).await, Reply::Done);
    assert_eq!(changes(&server), ["DELETE /credentials/key  "]);
    assert_eq!(keycloak.perform(fenced(false), &remove(&[]), &user, None).await, Reply::NotSent);
    assert_eq!(keycloak.repeat(&remove(&[]), &user, || false).await, Reply::NotSent);
    assert_eq!(changes(&server).len(), 1);
}

/// Something was changed and something was not: no success, and no refusal either.
#[tokio::test]
async fn a_removal_that_breaks_off_is_unsure() {
    for (broken, removed, expected) in
        [("/old-otp", 1, Reply::Unsure), ("/key", 2, Reply::Unsure), ("/codes", 3, Reply::Unsure)]
    {
        let server = Server::start(with_factors("", broken)).await;
        let keycloak = keycloak(&server.url).await;
        let user = look_up(&keycloak, Mode::MFA).await;
        assert_eq!(keycloak.perform(fenced(true), &remove(&[]), &user, None).await, expected, "{broken}");
        assert_eq!(changes(&server).len(), removed);
    }
}

#[tokio::test]
async fn a_factor_that_cannot_be_enrolled_anew_is_not_taken_away() {
    let server = Server::start(with_factors("webauthn-register", "")).await;
    let keycloak = keycloak(&server.url).await;
    let user = look_up(&keycloak, Mode::MFA).await;
    let reply = keycloak.perform(fenced(true), &remove(&[Factor::WebAuthn]), &user, None).await;
    assert_eq!(reply, Reply::Rejected { code: "required-action-webauthn-register-is-unknown".to_owned() });
    assert_eq!(
        changes(&server),
        [
            r#"PUT   {"requiredActions":["UPDATE_PROFILE","CONFIGURE_RECOVERY_AUTHN_CODES","webauthn-register"]}"#,
            r#"PUT   {"requiredActions":["UPDATE_PROFILE","CONFIGURE_RECOVERY_AUTHN_CODES"]}"#,
        ]
    );
}

/// What an attempt of 09:00:00 to 09:00:25 sees in a password that was set then.
#[test]
fn a_change_time_is_taken_for_what_it_proves() {
    let at = |text: &str| -> Timestamp { format!("2026-11-24T09:00:{text}Z").parse().unwrap() };
    let judged = |can_sign_in: bool, gave_up: Option<&str>, changed: &str, ahead: i64| {
        let record = Record { gave_up_at: gave_up.map(at), ..record() };
        let ahead = SignedDuration::from_secs(ahead);
        match evidence::judge(&record, &Seen::Known(at(changed)), ahead, can_sign_in, at("50")) {
            Proof::Proven(Evidence::Marker) => "ours",
            Proof::Open(_) => "sign in",
            Proof::Changed(_) => "open",
            other => panic!("{other:?}"),
        }
    };
    for (gave_up, changed, ahead, expected) in [
        // While the connection stood.
        (Some("03"), "02.9", 0, "ours"),
        // After it: late, or somebody else's.
        (Some("03"), "03.1", 0, "open"),
        (Some("03"), "40", 0, "open"),
        // By a clock that is ahead, and by one that is behind.
        (Some("03"), "12.9", 10, "ours"),
        (Some("23"), "14", -10, "open"),
        // Its holder is gone.
        (None, "20", 0, "ours"),
        (None, "26", 0, "open"),
    ] {
        assert_eq!(judged(false, gave_up, changed, ahead), expected, "{gave_up:?} {changed} {ahead}");
        assert_eq!(judged(true, gave_up, changed, ahead), "sign in", "{gave_up:?} {changed} {ahead}");
    }
    let mut unmoved = record();
    unmoved.attempt.baseline = Some(at("00").to_string());
    let proof = evidence::judge(&unmoved, &Seen::Known(at("00")), SignedDuration::ZERO, true, at("50"));
    assert!(matches!(&proof, Proof::Nothing(text) if text.contains("unchanged since")), "{proof:?}");
}

#[tokio::test]
async fn a_sign_in_proves_what_it_proves() {
    for (status, body, proves) in [
        (200, json!({"access_token": "t", "session_state": "s"}), true),
        (400, json!({"error": "invalid_grant", "error_description": "Account is not fully set up"}), true),
        (400, json!({"error": "invalid_grant", "error_description": "Account disabled"}), true),
        (400, json!({"error": "invalid_grant", "error_description": "Invalid user credentials"}), false),
        (401, json!({"error": "invalid_grant", "error_description": "Account disabled"}), false),
        (200, json!({}), false),
        (500, json!({}), false),
    ] {
        let answer = refused(status, &body);
        let signed_in = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&signed_in);
        // The check asks for the first token.
        let server = Server::start(realm(move |_, path| {
            let second = path.ends_with("/token") && count.fetch_add(1, Ordering::SeqCst) > 0;
            second.then(|| answer.clone())
        }))
        .await;
        let keycloak = checked(&spec(&server.url, &json!({"signInClient": "shop"}))).await;
        assert_eq!(keycloak.sign_in(&record(), &SecretString::from("New-pass")).await, Ok(proves), "{status} {body}");
        let asked = server.seen("/auth/realms/acme/protocol/openid-connect/token");
        assert_eq!(asked[1].2.trim(), "client_id=shop&grant_type=password&username=ann&password=New-pass&scope=openid");
        let ended = server.seen("/auth/admin/realms/acme/sessions/s").len();
        assert_eq!(ended, usize::from(status == 200 && proves), "a session that was opened to see is ended");
    }
}

#[tokio::test]
async fn what_a_reset_leaves_is_ended() {
    let over = record().over().as_millisecond();
    let script = move |method: &str, path: &str| match (method, path) {
        ("GET", "/users/7/sessions") => {
            Some(ok(&json!([{"id": "old", "start": over - 90_000}, {"id": "new", "start": over + 1000}])))
        }
        ("GET", "/users/7/consents") => Some(ok(&json!([{"clientId": "shop"}]))),
        _ => None,
    };
    let server = Server::start(realm(script)).await;
    let keycloak = keycloak(&server.url).await;
    let writes = || {
        let all = server.seen.lock().unwrap();
        let writes = all.iter().filter(|(method, path, _)| method != "GET" && path.contains("/admin/"));
        // After those of the check.
        writes.skip(1).map(|(method, path, _)| format!("{method} {}", &path[23..])).collect::<Vec<_>>()
    };
    let web = CleanUp { web_sessions: true, ..CleanUp::default() };
    keycloak.clean_up(&record(), web).await.unwrap();
    assert_eq!(writes(), ["DELETE /sessions/old"]);
    let all = CleanUp { mobile_sessions_and_api_tokens: true, unlock: true, ..web };
    keycloak.clean_up(&record(), all).await.unwrap();
    let expected =
        ["DELETE /attack-detection/brute-force/users/7", "POST /users/7/logout", "DELETE /users/7/consents/shop"];
    assert_eq!(writes()[1..], expected);

    let server = Server::start(realm(|_, path| path.contains("/sessions").then(|| refused(503, &json!({}))))).await;
    let down = connect(&spec(&server.url, &json!({})), &credentials()).unwrap();
    let why = down.clean_up(&record(), web).await.unwrap_err();
    assert!(
        why.message.contains("web sessions of the user are not all ended") && why.message.contains("503"),
        "{why:?}"
    );
}
