//! The provider against small servers that answer as each test defines; the real Keycloak is in tests/directories.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::{
    core::{
        call::{AfterReset, Call, Reply},
        finding::Finding,
        record::{Evidence, Record},
        request::{Factor, Mode, UserRef},
        seen::Seen,
        user::{LookUp, User},
    },
    directory::tests::{Answered, Server, fenced, fenced_call, ok, record},
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
            ("GET", "/groups") => ok(&groups(None, rest)),
            ("GET", path) if path.starts_with("/groups/") => {
                let id = path.split('/').nth(2).unwrap();
                let one = GROUPS.iter().find(|(own, ..)| *own == id).map(group);
                if path.ends_with("/children") { ok(&groups(Some(id), rest)) } else { ok(&one.unwrap()) }
            }
            ("GET", "/users/7/groups") => ok(&json!([group(&GROUPS[3])])),
            ("GET", "/authentication/required-actions") => ok(&actions(&[])),
            ("GET", _) => ok(&json!([])),
            ("DELETE", path) if path.starts_with("/sessions/") => refused(404, &json!({"error": "Sesssion not found"})),
            _ => (204, Vec::new(), String::new()),
        }
    }
}

/// Id, what it is below, name and path: one is named as the path of another reads.
const GROUPS: [(&str, Option<&str>, &str, &str); 5] = [
    ("staff", None, "Staff", "/Staff"),
    ("desk", Some("staff"), "Desk", "/Staff/Desk"),
    ("slash", None, "Staff/Desk", "/Staff/Desk"),
    ("north", Some("desk"), "North/South", "/Staff/Desk/North~/South"),
    ("semi", None, "Semi;colon", "/Semi;colon"),
];

fn group((id, above, name, path): &(&str, Option<&str>, &str, &str)) -> Value {
    json!({"id": id, "parentId": above, "name": name, "path": path})
}

/// Those below `above` whose name is searched for, in the whole name.
fn groups(above: Option<&str>, path: &str) -> Value {
    let url = Url::parse(&format!("http://x{path}")).unwrap();
    let name = url.query_pairs().find(|(key, _)| key == "search").map(|(_, name)| name.into_owned());
    GROUPS.iter().filter(|g| g.1 == above && name.as_deref().is_none_or(|name| name == g.2)).map(group).collect()
}

/// The realm's required actions, with these switched off.
fn actions(off: &[&str]) -> Value {
    let all = ["UPDATE_PASSWORD", "CONFIGURE_TOTP", "webauthn-register", "CONFIGURE_RECOVERY_AUTHN_CODES"];
    all.iter().map(|alias| json!({"alias": alias, "enabled": !off.contains(alias)})).collect()
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
    let directory::ProviderSpec::Keycloak(keycloak) = &spec.provider else { panic!("{:?}", spec.provider) };
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
        Ok(Some(LookUp::One(user))) => *user,
        other => panic!("{other:?}"),
    }
}

fn own_identity(audience: &str) -> Value {
    json!({"credentials": null, "workloadIdentity": {"clientID": "credreset", "audience": audience}})
}

#[tokio::test]
async fn what_is_wrong_with_a_directory_is_named() {
    for (patch, says) in [
        (json!({"url": "http://sso.acme.example"}), "use https"),
        (json!({"url": "sso"}), "spec.provider.keycloak.url"),
        (json!({"realm": ".."}), "spec.provider.keycloak.realm"),
        (json!({"realm": "master"}), "a realm of their own"),
        (json!({"caBundle": "no pem"}), "caBundle"),
        (json!({"workloadIdentity": {"clientID": "credreset"}}), "exactly one of credentials and workloadIdentity"),
        (json!({"credentials": null}), "exactly one of credentials and workloadIdentity"),
        (own_identity("https://kubernetes.default.svc"), "workloadIdentity.audience must be the issuer of the realm"),
        (own_identity("https://sso.acme.example/realms/other"), "workloadIdentity.audience must be the issuer"),
        (own_identity("http://sso.acme.example/realms/acme"), "use https"),
        (own_identity("sts.amazonaws.com"), "workloadIdentity.audience"),
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
    // The call itself is not sent a second time, whatever the answer.
    let user = look_up(&keycloak, Mode::Password).await;
    stale.store(1, Ordering::SeqCst);
    let password = SecretString::from("New-pass");
    let denied = Reply::Denied { code: "HTTP_401".to_owned() };
    assert_eq!(keycloak.perform(fenced(true), &user, Some(&password)).await, denied);
    let sent = server.seen("/auth/admin/realms/acme/users/7/reset-password");
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].2, r#"Bearer the-token {"temporary":false,"type":"password","value":"New-pass"}"#);
    assert_eq!(keycloak.perform(fenced(false), &user, Some(&password)).await, Reply::NotSent);
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
    let cases: [Case; 7] = [
        ("no role at all", |_, _| true, &["manage-users", "view-clients"], &[]),
        ("sees no client", |_, path| path.starts_with("/clients"), &["view-clients"], &["manage-users"]),
        ("sees no roles", |_, path| path.contains("/role-mappings/"), &["view-clients"], &["manage-users"]),
        ("manages no sessions", |method, _| method == "DELETE", &["manage-users"], &["view-clients"]),
        ("sees no groups", |_, path| path.starts_with("/groups"), &["view for all groups"], &["manage-users"]),
        ("sees not all groups", |_, path| path.starts_with("/groups/"), &["view for all groups"], &[]),
        ("sees no actions", |_, path| path.ends_with("/required-actions"), &["query-users"], &["manage-users"]),
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
    // A group that does not exist protects no user.
    let server = Server::start(usual()).await;
    let mut spec = spec(&server.url, &json!({}));
    spec.protect.groups = vec!["/Bord".to_owned()];
    let error = connect(&spec, &credentials()).unwrap().check().await.unwrap_err();
    assert!(error.reason() == "InvalidConfiguration" && error.to_string().contains("/Bord"), "{error}");
}

#[tokio::test]
async fn a_user_as_the_guards_see_him() {
    let server = Server::start(usual()).await;
    let mut spec = spec(&server.url, &json!({}));
    spec.protect.groups = vec!["/Staff/Desk".to_owned()];
    let user = look_up(&checked(&spec).await, Mode::Password).await;
    assert_eq!((user.id.name.as_str(), user.email.as_deref()), ("ann", Some("ann@acme.example")));
    assert!(user.confirmed && user.active && !user.federated && user.operator == Seen::Known(false));
    assert_eq!(user.groups, Seen::Known(vec!["/Staff/Desk".to_owned()]));
    assert_eq!(user.changed_at, Seen::Known("2023-11-14T22:13:20Z".parse().unwrap()));
    // What cannot be read is not taken for nothing.
    for hidden in ["/users/7/credentials", "/users/7/role-mappings", "/users/7/groups"] {
        for answer in
            [refused(403, &json!({})), ok(&json!({})), (200, Vec::new(), "<html>".to_owned()), refused(500, &json!({}))]
        {
            let server = Server::start(realm(move |_, path| path.starts_with(hidden).then(|| answer.clone()))).await;
            let mut spec = spec.clone();
            if let directory::ProviderSpec::Keycloak(keycloak) = &mut spec.provider {
                keycloak.url = format!("{}/auth", server.url);
            }
            let found = checked(&spec).await.look_up(&UserRef::Username("ann".to_owned()), Mode::Password).await;
            assert!(found.is_err(), "{hidden}: {found:?}");
        }
    }
}

/// A group is in what is above it, whatever its path reads like.
#[tokio::test]
async fn groups_are_told_apart_by_what_they_are() {
    let in_group = async |named: usize, protect: &[&str], allow: &[&str]| {
        let own = ok(&json!([group(&GROUPS[named])]));
        let server =
            Server::start(realm(move |_, path| path.starts_with("/users/7/groups").then(|| own.clone()))).await;
        let mut spec = spec(&server.url, &json!({}));
        spec.protect.groups = protect.iter().map(ToString::to_string).collect();
        spec.allow = serde_json::from_value(json!([{
            "name": "desk", "namespaces": ["helpdesk"], "modes": ["Password"], "users": {"groups": allow},
        }]))
        .unwrap();
        look_up(&checked(&spec).await, Mode::Password).await.groups
    };
    let known = |all: &[&str]| Seen::Known(all.iter().map(ToString::to_string).collect());
    let paths = ["/Staff", "/Staff/Desk", "/Staff/Desk/North/South", "/Semi;colon"];
    for (named, allowed, protected) in [
        (0, &["/Staff"][..], &["/Staff"][..]),
        (1, &["/Staff", "/Staff/Desk"], &["/Staff", "/Staff/Desk"]),
        // It is not in /Staff. Who protects /Staff/Desk may have meant it; who allows something there has not.
        (2, &[], &["/Staff/Desk"]),
        (
            3,
            &["/Staff", "/Staff/Desk", "/Staff/Desk/North/South"],
            &["/Staff", "/Staff/Desk", "/Staff/Desk/North/South"],
        ),
        (4, &["/Semi;colon"], &["/Semi;colon"]),
    ] {
        assert_eq!(in_group(named, &[], &paths).await, known(allowed), "allowed, {named}");
        let mut sorted = protected.to_vec();
        sorted.sort_unstable();
        assert_eq!(in_group(named, &paths, &[]).await, known(&sorted), "protected, {named}");
    }
    assert_eq!(in_group(2, &[], &["/Staff~/Desk"]).await, known(&["/Staff~/Desk"]), "a slash of the name's own");
    assert_eq!(in_group(1, &["/Staff~/Desk"], &[]).await, known(&[]));
}

/// No user is in a group that does not exist. The check reports such groups of rules.
#[tokio::test]
async fn groups_that_are_not_there() {
    let server = Server::start(usual()).await;
    let mut spec = spec(&server.url, &json!({}));
    spec.allow = serde_json::from_value(json!([{
        "name": "desk", "namespaces": ["helpdesk"], "modes": ["Password"],
        "users": {"groups": ["/Staff/Desk", "/Staff/Nobodies", "/Desk"]},
    }]))
    .unwrap();
    let keycloak = connect(&spec, &credentials()).unwrap();
    assert_eq!(keycloak.check().await.unwrap().unknown_groups, ["/Desk", "/Staff/Nobodies"]);
    assert_eq!(look_up(&keycloak, Mode::Password).await.groups, Seen::Known(vec!["/Staff/Desk".to_owned()]));
}

/// Who is being brought in from a federation just then is shown to the second look.
#[tokio::test]
async fn nobody_is_not_found_by_one_look() {
    for (there, looks) in [(false, 2), (true, 1)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let server = Server::start(realm(move |_, path| {
            let first = path.starts_with("/users?username=Ann&") && count.fetch_add(1, Ordering::SeqCst) == 0;
            (first && !there).then(|| ok(&json!([])))
        }))
        .await;
        look_up(&keycloak_of(&server).await, Mode::Password).await;
        assert_eq!(asked.load(Ordering::SeqCst), looks);
    }
}

/// Keycloak shows an empty list to an account that may search but sees no users: nothing is known of the user then.
#[tokio::test]
async fn users_who_are_hidden_are_not_taken_for_gone() {
    let hidden = Arc::new(AtomicUsize::new(1));
    let still = Arc::clone(&hidden);
    let server = Server::start(realm(move |_, path| match (still.load(Ordering::SeqCst), path) {
        (1, path) if path.starts_with("/users?") && !path.contains("service-account") => Some(ok(&json!([]))),
        (1, "/users/me") => Some(refused(403, &json!({"error": "HTTP 403 Forbidden"}))),
        (2, path) if path.starts_with("/users?") => Some(ok(&json!([]))),
        (_, "/users/me") => Some(ok(&json!({"id": "me"}))),
        _ => None,
    }))
    .await;
    let keycloak = keycloak_of(&server).await;
    for user in [UserRef::Username("Ann".to_owned()), UserRef::Email("ann@acme.example".to_owned())] {
        let why = keycloak.look_up(&user, Mode::Password).await.unwrap_err();
        assert!(why.message.contains("the operator's own account with 403"), "{why:?}");
        hidden.store(2, Ordering::SeqCst);
        assert!(keycloak.look_up(&user, Mode::Password).await.unwrap().is_none());
        hidden.store(1, Ordering::SeqCst);
    }
}

/// A group whose way up has no end.
#[tokio::test]
async fn groups_without_end() {
    let many: Value = (0..10_001).map(|n| json!({"id": n.to_string(), "path": format!("/{n}")})).collect();
    let circle = json!([{"id": "c", "path": "/Staff/c", "parentId": "c"}]);
    for (groups, says) in [(circle, "a path without end"), (many, "more than 10000 groups")] {
        let groups = ok(&groups);
        let server = Server::start(realm(move |_, path| match path {
            "/groups/c" => Some(ok(&json!({"id": "c", "path": "/Staff/c", "parentId": "c"}))),
            _ => path.starts_with("/users/7/groups").then(|| groups.clone()),
        }))
        .await;
        let mut spec = spec(&server.url, &json!({}));
        spec.protect.groups = vec!["/Staff".to_owned()];
        let found = checked(&spec).await.look_up(&UserRef::Username("ann".to_owned()), Mode::Password).await;
        let message = found.unwrap_err().message;
        assert!(message.contains(says), "{message}");
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
        (
            400,
            json!({"field": "site", "errorMessage": "error-user-attribute-required", "params": ["site"]}),
            Reply::Rejected { code: "error-user-attribute-required of site".to_owned() },
        ),
        (
            400,
            json!({"errors": [{"field": "site", "errorMessage": "error-user-attribute-required"}, {"field": "x"}]}),
            Reply::Rejected { code: "error-user-attribute-required of site, the first of 2".to_owned() },
        ),
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
        let reply = keycloak.perform(fenced(true), &user, Some(&password)).await;
        assert_eq!(reply, expected, "{status} {body}");
    }
}

/// Fine-grained permissions may exempt a user.
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
    let reply = keycloak.perform(fenced(true), &user, Some(&SecretString::from("New-pass"))).await;
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

fn remove(factors: &[Factor]) -> Call {
    Call::RemoveFactors { factors: factors.to_vec(), enrolled_before: Timestamp::from_millisecond(BEFORE).unwrap() }
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
    assert_eq!(keycloak.perform(fenced_call(remove(&[]), true), &user, None).await, Reply::Done);
    // Both actions are asked for already, and for one-time passwords there is a new factor.
    assert_eq!(
        changes(&server),
        ["DELETE /credentials/old-otp  ", "DELETE /credentials/key  ", "DELETE /credentials/codes  "]
    );

    let server = Server::start(with_factors("", "")).await;
    let keycloak = checked(&spec(&server.url, &json!({}))).await;
    assert_eq!(keycloak.perform(fenced_call(remove(&[Factor::WebAuthn]), true), &user, None).await, Reply::Done);
    assert_eq!(changes(&server), ["DELETE /credentials/key  "]);
    assert_eq!(keycloak.perform(fenced_call(remove(&[]), false), &user, None).await, Reply::NotSent);
    assert_eq!(keycloak.repeat(&Record { call: remove(&[]), ..record() }, &user, || false).await, Reply::NotSent);
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
        assert_eq!(keycloak.perform(fenced_call(remove(&[]), true), &user, None).await, expected, "{broken}");
        assert_eq!(changes(&server).len(), removed);
    }
}

#[tokio::test]
async fn a_factor_that_cannot_be_enrolled_anew_is_not_taken_away() {
    let server = Server::start(with_factors("webauthn-register", "")).await;
    let keycloak = keycloak(&server.url).await;
    let user = look_up(&keycloak, Mode::MFA).await;
    let reply = keycloak.perform(fenced_call(remove(&[Factor::WebAuthn]), true), &user, None).await;
    assert_eq!(reply, Reply::Rejected { code: "required-action-webauthn-register-is-unknown".to_owned() });
    assert_eq!(
        changes(&server),
        [
            r#"PUT   {"requiredActions":["UPDATE_PROFILE","CONFIGURE_RECOVERY_AUTHN_CODES","webauthn-register"]}"#,
            r#"PUT   {"requiredActions":["UPDATE_PROFILE","CONFIGURE_RECOVERY_AUTHN_CODES"]}"#,
        ]
    );
}

/// The realm with this user, who has these credentials, and with what else `special` answers.
fn with_user(
    different: Value,
    credentials: Value,
    special: impl Fn(&str, &str) -> Option<Answered> + Send + Sync + 'static,
) -> impl Fn(&str, &str) -> Answered {
    let mut user = ann();
    if let (Value::Object(all), Value::Object(new)) = (&mut user, different) {
        all.extend(new);
    }
    realm(move |method, path| {
        special(method, path).or_else(|| match (method, path) {
            ("GET", "/users/7/credentials") => Some(ok(&credentials)),
            ("GET", "/users/7") => Some(ok(&user)),
            ("GET", path) if path.starts_with("/users?") && !path.contains("service-account") => {
                Some(ok(&json!([user])))
            }
            _ => None,
        })
    })
}

/// A federation behind Keycloak shows a password without an id and without a time (26.2 and 26.7).
#[tokio::test]
async fn whoever_comes_from_a_federation_is_found() {
    let elsewhere = json!({"type": "password", "createdDate": -1, "federationLink": "ldap"});
    let linked = || json!({"federationLink": "ldap", "emailVerified": false});
    let server = Server::start(with_user(linked(), json!([elsewhere]), |_, _| None)).await;
    let keycloak = keycloak(&server.url).await;
    for mode in [Mode::Password, Mode::MFA] {
        let user = look_up(&keycloak, mode).await;
        assert!(user.federated && user.confirmed, "{mode}");
    }
    let otp = json!({"id": "o", "type": "otp", "createdDate": BEFORE - 1});
    let server = Server::start(with_user(linked(), json!([otp, elsewhere]), |_, _| None)).await;
    let keycloak = keycloak_of(&server).await;
    assert!(look_up(&keycloak, Mode::Password).await.federated);
    let user = look_up(&keycloak, Mode::MFA).await;
    assert!(!user.federated, "its second factor is kept here");
    assert!(matches!(&user.factors, Seen::Known(factors) if factors.password && factors.enrolled.len() == 1));
    // Nor does what reads the same later need an id.
    let proof = keycloak.verify(&record()).await.unwrap();
    assert!(matches!(proof, Finding::Inconclusive(_)), "{proof:?}");
    keycloak.clean_up(&record(), AfterReset { web_sessions: true, ..AfterReset::default() }).await.unwrap();

    // Whom the federation keeps nothing of.
    let read_only = |method: &str, _: &str| {
        let body =
            json!({"errorMessage": "The user is read-only. Not possible to write 'required action CONFIGURE_TOTP'"});
        (method == "PUT").then(|| refused(400, &body))
    };
    let server = Server::start(with_user(linked(), json!([otp, elsewhere]), read_only)).await;
    let keycloak = keycloak_of(&server).await;
    let user = look_up(&keycloak, Mode::MFA).await;
    let reply = keycloak.perform(fenced_call(remove(&[]), true), &user, None).await;
    assert_eq!(reply, Reply::Rejected { code: "user-is-read-only".to_owned() });
    assert!(changes(&server).iter().all(|call| !call.starts_with("DELETE")));
}

async fn keycloak_of(server: &Server) -> Keycloak {
    keycloak(&server.url).await
}

fn enrolled(user: &User) -> Vec<(&str, Option<Factor>, bool, &str)> {
    let Seen::Known(factors) = &user.factors else { panic!("{user:?}") };
    let shown = |why: &Option<String>| match why.as_deref() {
        None => "",
        Some(why) if why.contains("is off") => "off",
        Some(why) if why.contains("change the user's name") => "renamed",
        Some(why) => panic!("{why}"),
    };
    factors
        .enrolled
        .iter()
        .map(|one| (one.kind.as_str(), one.factor, one.alone, shown(&one.why_not_reenrolled)))
        .collect()
}

#[tokio::test]
async fn what_would_come_of_a_reset_is_known_before() {
    let kinds = ["password", "password-history", "otp", "webauthn", "webauthn-passwordless", "mobile-number"];
    let all: Value = kinds.iter().map(|kind| json!({"id": kind, "type": kind, "createdDate": BEFORE - 1})).collect();
    let usual = [
        ("otp", Some(Factor::TOTP), false, ""),
        ("webauthn", Some(Factor::WebAuthn), false, ""),
        // The stub's realm has no such action at all.
        ("webauthn-passwordless", Some(Factor::WebAuthn), true, "off"),
        ("mobile-number", None, false, ""),
    ];
    let server = Server::start(with_user(json!({}), all.clone(), |_, _| None)).await;
    let user = look_up(&keycloak_of(&server).await, Mode::MFA).await;
    assert_eq!(enrolled(&user), usual);
    assert!(user.lacks.is_empty());

    let off = |_: &str, path: &str| {
        (path == "/authentication/required-actions").then(|| ok(&actions(&["CONFIGURE_TOTP", "UPDATE_PASSWORD"])))
    };
    let server = Server::start(with_user(json!({"requiredActions": ["CONFIGURE_TOTP"]}), all.clone(), off)).await;
    let keycloak = keycloak_of(&server).await;
    let user = look_up(&keycloak, Mode::MFA).await;
    let mut expected = usual;
    expected[0].3 = "off";
    assert_eq!(enrolled(&user), expected, "even if it is asked of the user already");
    let why = &look_up(&keycloak, Mode::Password).await.lacks[&crate::core::directory::Feature::ForceChangeOnLogin];
    assert!(why.contains("UPDATE_PASSWORD") && why.contains("realm acme"), "{why}");
}

/// A realm that takes addresses for names shows the address as the name of everybody, and gives it to whom it writes.
#[tokio::test]
async fn where_addresses_are_names() {
    let otp = json!([{"id": "p", "type": "password"}, {"id": "otp", "type": "otp"}]);
    let shown = |pending: &[&str]| json!({"username": "ann@acme.example", "requiredActions": pending});
    let find = |stored: &'static str| {
        move |_: &str, path: &str| match path {
            "" => Some(ok(&json!({"realm": "acme", "registrationEmailAsUsername": true}))),
            path if path.starts_with("/users?username=") && !path.contains(stored) && !path.contains("service") => {
                Some(ok(&json!([])))
            }
            _ => None,
        }
    };
    for (stored, pending, expected) in
        [("old2", &[][..], "renamed"), ("old2", &["CONFIGURE_TOTP"], ""), ("ann%40acme.example", &[], "")]
    {
        let server = Server::start(with_user(shown(pending), otp.clone(), find(stored))).await;
        let keycloak = keycloak_of(&server).await;
        for typed in [
            UserRef::Email("ann@acme.example".to_owned()),
            UserRef::Username("ANN@acme.example".to_owned()),
            UserRef::Username(stored.replace("%40", "@")),
        ] {
            let found = keycloak.look_up(&typed, Mode::MFA).await.unwrap();
            let Some(LookUp::One(user)) = found else { panic!("{stored} {typed:?}: {found:?}") };
            assert_eq!(enrolled(&user)[0].3, expected, "{stored} {typed:?}");
        }
    }
}

#[tokio::test]
async fn whoever_is_locked_out() {
    let id = UserRef::Id("7".to_owned());
    // For a while: by id 26.2 shows it so.
    let by_id = |_: &str, path: &str| {
        let mut user = ann();
        user["enabled"] = json!(false);
        (path == "/users/7").then(|| ok(&user))
    };
    let server = Server::start(realm(by_id)).await;
    let found = keycloak_of(&server).await.look_up(&id, Mode::Password).await.unwrap();
    assert!(matches!(&found, Some(LookUp::One(user)) if user.active), "{found:?}");
    // For good: Keycloak has switched the user off, and says why.
    for (reason, locked) in [(json!({"disabledReason": ["permanentLockout"]}), true), (json!({}), false)] {
        let server =
            Server::start(with_user(json!({"enabled": false, "attributes": reason}), json!([]), |_, _| None)).await;
        let found = keycloak_of(&server).await.look_up(&id, Mode::Password).await.unwrap();
        let Some(LookUp::One(user)) = found else { panic!("{found:?}") };
        assert!(!user.active);
        assert_eq!(user.why_ineligible.is_some_and(|why| why.contains("for good")), locked);
    }
}

/// What cannot be ended keeps nothing else from being ended, and is named.
#[tokio::test]
async fn one_that_cannot_be_ended() {
    let script = |method: &str, path: &str| match (method, path) {
        ("GET", "/users/7/sessions") => Some(ok(&json!([{"id": "bad"}, {}, {"id": "good"}]))),
        ("GET", "/users/7/consents") => {
            Some(ok(&json!([{"clientId": "broken;client"}, {}, {"clientId": "https://app.example/a;b c%"}])))
        }
        ("DELETE", path) if path.contains("broken") || path.ends_with("/bad") || path.contains("attack") => {
            Some(refused(400, &json!({"error": "invalidCharacter"})))
        }
        _ => None,
    };
    let server = Server::start(realm(script)).await;
    let keycloak = keycloak_of(&server).await;
    let ended = |path: &str| server.seen(&format!("/auth/admin/realms/acme{path}")).len();
    let web = AfterReset { web_sessions: true, unlock: true, ..AfterReset::default() };
    let message = keycloak.clean_up(&record(), web).await.unwrap_err().message;
    for part in
        ["the lock-out", "a session: the directory answered 400", "a session: the directory shows it without an id"]
    {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(ended("/sessions/good"), 1);
    let all = AfterReset { mobile_sessions_and_api_tokens: true, ..AfterReset::default() };
    let message = keycloak.clean_up(&record(), all).await.unwrap_err().message;
    assert!(message.contains("what client broken;client was granted: the directory answered 400"), "{message}");
    assert_eq!(ended("/users/7/consents/https%3A%2F%2Fapp.example%2Fa%3Bb%20c%25"), 1);
}

/// It is there, and refuses what it is asked for: nothing is wrong with the way to it.
#[tokio::test]
async fn a_refusal_is_not_taken_for_an_outage() {
    let odd = |_: &str, path: &str| path.starts_with("/groups?search").then(|| refused(400, &json!({"error": "odd"})));
    let server = Server::start(realm(odd)).await;
    let mut spec = spec(&server.url, &json!({}));
    spec.protect.groups = vec!["/Semi;colon".to_owned()];
    let error = connect(&spec, &credentials()).unwrap().check().await.unwrap_err();
    assert_eq!(error.reason(), "InvalidConfiguration");
    assert!(error.to_string().contains("group /Semi;colon") && error.to_string().contains("odd"), "{error}");
}

/// What an attempt of 09:00:00 to 09:00:25 sees in a password that was set then.
#[test]
fn a_change_time_is_taken_for_what_it_proves() {
    let at = |text: &str| -> Timestamp { format!("2026-11-24T09:00:{text}Z").parse().unwrap() };
    let judged = |can_sign_in: bool, gave_up: Option<&str>, changed: &str, ahead: i64| {
        let record = Record { gave_up_at: gave_up.map(at), ..record() };
        let ahead = SignedDuration::from_secs(ahead);
        match evidence::judge(&record, &Seen::Known(at(changed)), ahead, can_sign_in, at("50")) {
            Finding::Proven(Evidence::Marker) => "ours",
            Finding::NeedsSignIn(_) => "sign in",
            Finding::Changed(_) => "open",
            other => panic!("{other:?}"),
        }
    };
    for (gave_up, changed, ahead, expected) in [
        // While the connection was open.
        (Some("03"), "02.9", 0, "ours"),
        // After it was closed: late, or another change.
        (Some("03"), "03.1", 0, "open"),
        (Some("03"), "40", 0, "open"),
        // By a clock that is ahead, and by one that is behind.
        (Some("03"), "12.9", 10, "ours"),
        (Some("23"), "14", -10, "open"),
        // The process that sent it is gone.
        (None, "20", 0, "ours"),
        (None, "26", 0, "open"),
    ] {
        assert_eq!(judged(false, gave_up, changed, ahead), expected, "{gave_up:?} {changed} {ahead}");
        assert_eq!(judged(true, gave_up, changed, ahead), "sign in", "{gave_up:?} {changed} {ahead}");
    }
    let mut unmoved = record();
    unmoved.attempt.baseline = Some(at("00").to_string());
    let proof = evidence::judge(&unmoved, &Seen::Known(at("00")), SignedDuration::ZERO, true, at("50"));
    assert!(matches!(&proof, Finding::Inconclusive(text) if text.contains("unchanged since")), "{proof:?}");
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
    let over = record().cannot_arrive_after().as_millisecond();
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
    let web = AfterReset { web_sessions: true, ..AfterReset::default() };
    keycloak.clean_up(&record(), web).await.unwrap();
    assert_eq!(writes(), ["DELETE /sessions/old"]);
    let all = AfterReset { mobile_sessions_and_api_tokens: true, unlock: true, ..web };
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
