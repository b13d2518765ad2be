//! The provider against small servers that answer as each test says. Here and not in tests/, since only the crate can make the
//! right to send.
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::core::ledger::{Attempt, Finish, Origin, State as RecordState, UserId};

/// What a server answers: status, headers, body.
type Answered = (u16, Vec<(&'static str, String)>, String);
type Script = Arc<dyn Fn(&str, &str) -> Answered + Send + Sync>;

/// A server on loopback, with what it was asked.
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<(String, String, String)>>>,
}

#[derive(Clone)]
struct Shared {
    script: Script,
    seen: Arc<Mutex<Vec<(String, String, String)>>>,
}

impl Server {
    async fn start(script: impl Fn(&str, &str) -> Answered + Send + Sync + 'static) -> Self {
        let shared = Shared { script: Arc::new(script), seen: Arc::default() };
        let seen = Arc::clone(&shared.seen);
        let app = Router::new().fallback(handle).with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, app).into_future());
        Self { url, seen }
    }

    fn seen(&self, path: &str) -> Vec<(String, String, String)> {
        self.seen.lock().unwrap().iter().filter(|(_, p, _)| p.starts_with(path)).cloned().collect()
    }
}

async fn handle(State(shared): State<Shared>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let authorization = headers.get("authorization").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
    shared.seen.lock().unwrap().push((
        method.to_string(),
        path.clone(),
        format!("{authorization} {}", String::from_utf8_lossy(&body)),
    ));
    let (status, headers, body) = (shared.script)(method.as_str(), &path);
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

fn ok(body: &Value) -> Answered {
    (200, Vec::new(), body.to_string())
}

const SCOPES: &str = "ZohoDirectory.users.ALL,ZohoDirectory.Groups.READ,ZohoMail.organization.accounts.ALL";

fn token() -> Value {
    json!({"access_token": "1000.token", "expires_in": 3600, "scope": SCOPES})
}

fn person(id: &Value, email: &str) -> Value {
    json!({"user_id": id, "zuid": "88", "user_status": "active", "user_type": "confirmed", "primary_email": email, "emails": [{"email_id": email}]})
}

/// Answers tokens, one user and his role; `write` answers the call.
fn usual(write: Answered) -> impl Fn(&str, &str) -> Answered + Send + Sync {
    move |method, path| match (method, path) {
        (_, path) if path.starts_with("/oauth") => ok(&token()),
        ("GET", path) if path.contains("/users?") => {
            ok(&json!({"status_code": 200, "users": [person(&json!("7"), "annette.c@zylker.biz")], "has_more": false}))
        }
        ("GET", _) => ok(&json!({"status": {"code": 200}, "data": {"role": "member"}})),
        _ => write.clone(),
    }
}

fn spec(url: &str, patch: Value) -> DirectorySpec {
    let mut zoho = json!({
        "urls": {"accounts": url, "api": url, "mail": url}, "organization": "70", "zoid": "80", "credentials": {"secret": "zylker-zoho"},
    });
    if let (Value::Object(all), Value::Object(new)) = (&mut zoho, patch) {
        all.extend(new);
    }
    serde_json::from_value(json!({"provider": {"zoho": zoho}, "limits": {"requestTimeout": "2s"}})).unwrap()
}

fn credentials() -> Credentials {
    [
        ("client-id", "id"),
        ("client-secret", "the-client-secret"),
        ("refresh-token", "the-refresh-token"),
        ("admin-password", "the-admin-password"),
    ]
    .map(|(key, value)| (key.to_owned(), SecretString::from(value)))
    .into()
}

fn zoho(url: &str) -> Zoho {
    Zoho::connect(&spec(url, json!({})), &credentials()).unwrap()
}

fn record() -> Record {
    let at: Timestamp = "2026-11-24T09:00:00Z".parse().unwrap();
    Record {
        name: "r-1".to_owned(),
        directory: "zylker".to_owned(),
        directory_identity: "x".to_owned(),
        user: UserId { id: "7".to_owned(), name: "annette.c@zylker.biz".to_owned() },
        mode: Mode::Password,
        requested_at: at,
        expires_at: at,
        keep_until: at,
        request: Origin {
            namespace: String::new(),
            name: String::new(),
            uid: String::new(),
            key: String::new(),
            digest: String::new(),
        },
        finish: Finish::default(),
        attempt: Attempt {
            id: "a1".to_owned(),
            number: 1,
            holder: "h".to_owned(),
            started_at: at,
            deadline: at.saturating_add(SignedDuration::from_secs(25)).unwrap(),
            secret: None,
            baseline: Some("never".to_owned()),
            redrawn: false,
        },
        state: RecordState::Sent,
        evidence: None,
        verdict: None,
        retry_at: None,
        note: None,
        settled_at: None,
    }
}

async fn annette(zoho: &Zoho) -> User {
    match zoho.look_up(&UserRef::Id("7".to_owned()), Mode::Password, false).await {
        Ok(Some(Found::One(user))) => *user,
        other => panic!("{other:?}"),
    }
}

const SET: Once = Once::SetPassword {
    force_change_on_login: false,
    clear_mobile_sessions_and_api_tokens: false,
    email_to_user: false,
};

async fn perform(zoho: &Zoho, still: bool) -> Reply {
    let user = annette(zoho).await;
    zoho.perform(Fenced::by_write(record(), move || still), &SET, &user, Some(&SecretString::from("New-pass"))).await
}

/// Protocol, section 6.
#[tokio::test]
async fn what_an_answer_amounts_to() {
    let rejected = |code: &str| Reply::Rejected { code: code.to_owned() };
    let with = |status, body: Value| (status, Vec::new(), body.to_string());
    let table: Vec<(Answered, Reply)> = vec![
        (with(200, json!({"status": {"code": 200, "description": "success"}})), Reply::Done),
        (with(201, json!({"status_code": 201})), Reply::Done),
        ((204, Vec::new(), String::new()), Reply::Done),
        // A success that is none.
        (
            with(200, json!({"status": {"code": 400}, "data": {"errorCode": "PATTERN_NOT_MATCHED"}})),
            rejected("PATTERN_NOT_MATCHED"),
        ),
        (with(200, json!({"error": "SOMETHING_ELSE"})), rejected("SOMETHING_ELSE")),
        ((200, Vec::new(), "<html>".to_owned()), Reply::Unsure),
        ((200, Vec::new(), String::new()), Reply::Unsure),
        (with(200, json!({"status_code": 500, "message": "x"})), Reply::Unsure),
        (with(500, json!({"error": "INTERNAL_ERROR"})), Reply::Unsure),
        ((502, Vec::new(), "bad gateway".to_owned()), Reply::Unsure),
        ((503, vec![("retry-after", "5".to_owned())], String::new()), Reply::Unsure),
        (with(400, json!({"error": "PASSWORD_POLICY"})), rejected("PASSWORD_POLICY")),
        (with(400, json!({"error": {"title": "A B<script>"}})), rejected("A_Bscript")),
        (with(400, json!({"message": "no code"})), rejected("HTTP_400")),
        (with(422, json!({"code": "INVALID_DATA"})), rejected("INVALID_DATA")),
        (with(404, json!({"error": "USER_NOT_FOUND"})), Reply::NoSuchUser),
        (with(404, json!({"data": {"errorCode": "URL_RULE_NOT_CONFIGURED"}})), Reply::Denied),
        (with(401, json!({"data": {"errorCode": "INVALID_OAUTHTOKEN"}})), Reply::Denied),
        (with(403, json!({"error": "ADMIN_PASSWORD_MISMATCH"})), Reply::Denied),
        (with(403, json!({"error": "USER_IS_OWNER"})), rejected("USER_IS_OWNER")),
        ((302, vec![("location", "http://127.0.0.1:1/".to_owned())], String::new()), rejected("HTTP_302")),
        ((429, vec![("retry-after", "17".to_owned())], String::new()), Reply::Throttled { after: Some(17) }),
        ((429, Vec::new(), String::new()), Reply::Throttled { after: None }),
        (with(400, json!({"error": "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED"})), Reply::Throttled { after: None }),
        (with(400, json!({"code": "request_limit_exceeded"})), Reply::Throttled { after: None }),
        (
            with(400, json!({"message": "You have made too many requests continuously."})),
            Reply::Throttled { after: None },
        ),
        ((200, Vec::new(), " ".repeat(9 * 1024 * 1024)), Reply::Unsure),
    ];
    for (answer, expected) in table {
        let told = format!("{} {}", answer.0, answer.2.chars().take(80).collect::<String>());
        let server = Server::start(usual(answer)).await;
        assert_eq!(perform(&zoho(&server.url), true).await, expected, "{told}");
        assert_eq!(
            server.seen("/api/organization/80/accounts/88").iter().filter(|(method, ..)| method == "PUT").count(),
            1,
            "sent once: {told}"
        );
    }
}

#[tokio::test]
async fn nothing_is_sent_without_the_right_or_a_connection() {
    let server = Server::start(usual(ok(&json!({})))).await;
    assert_eq!(perform(&zoho(&server.url), false).await, Reply::NotSent);
    assert!(server.seen("/api").iter().all(|(method, ..)| method == "GET"));
    // Tokens and look-ups go through, the call's host is not there.
    let mut gone = spec(&server.url, json!({}));
    gone.provider.zoho.urls.as_mut().unwrap().mail = "http://127.0.0.1:1".to_owned();
    let gone = Zoho::connect(&gone, &credentials()).unwrap();
    let user = annette(&zoho(&server.url)).await;
    let reply =
        gone.perform(Fenced::by_write(record(), || true), &SET, &user, Some(&SecretString::from("New-pass"))).await;
    assert_eq!(reply, Reply::NotSent);
}

#[tokio::test]
async fn tokens() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    // Every token is refused: each read asks for another once, until Zoho would give no more.
    let server = Server::start(move |_, path| {
        if path.starts_with("/oauth") {
            counted.fetch_add(1, Ordering::Relaxed);
            return ok(&token());
        }
        (401, Vec::new(), json!({"data": {"errorCode": "INVALID_OAUTHTOKEN"}}).to_string())
    })
    .await;
    let directory = zoho(&server.url);
    for _ in 0..20 {
        let why = directory.look_up(&UserRef::Id("7".to_owned()), Mode::MFA, false).await.unwrap_err();
        if why.not_before.is_some() {
            break;
        }
    }
    let why = directory.look_up(&UserRef::Id("7".to_owned()), Mode::MFA, false).await.unwrap_err();
    assert!(why.not_before.is_some(), "{why:?}");
    assert_eq!(count.load(Ordering::Relaxed), 10);

    for (answer, expected) in [
        (ok(&json!({"error": "invalid_client"})), "CredentialsRefused"),
        (ok(&json!({"error": "invalid_code"})), "CredentialsRefused"),
        (
            (400, Vec::new(), json!({"error": "Access Denied", "error_description": "too many requests"}).to_string()),
            "Unreachable",
        ),
        ((200, Vec::new(), "<html>".to_owned()), "Unreachable"),
        ((500, Vec::new(), "{}".to_owned()), "Unreachable"),
        (ok(&json!({"expires_in": 1})), "Unreachable"),
        (ok(&json!({"access_token": "t", "expires_in": 3600})), "PermissionMissing"),
        (
            ok(&json!({"access_token": "t", "expires_in": 3600, "scope": "ZohoDirectory.Users.READ"})),
            "PermissionMissing",
        ),
    ] {
        let server = Server::start(move |_, _| answer.clone()).await;
        let error = zoho(&server.url).check(&BTreeSet::from([Mode::Password])).await.unwrap_err();
        assert_eq!(error.reason(), expected, "{error}");
        assert!(!error.to_string().contains("the-"), "{error}");
    }
}

#[tokio::test]
async fn looking_up() {
    let server = Server::start(|_, path| match path {
        path if path.starts_with("/oauth") => ok(&token()),
        path if path.contains("page=1&") => ok(&json!({"users": [person(&json!(9_223_372_036_854_775_807_i64), "One@zylker.biz"), person(&json!("2"), "two@zylker.biz")], "has_more": true})),
        path if path.contains("page=2&") => ok(&json!({"users": [person(&json!("3"), "two@zylker.biz"), person(&json!("3"), "two@zylker.biz")], "has_more": false})),
        path if path.contains("page=") => ok(&json!({"users": []})),
        _ => ok(&json!({"status": {"code": 200}, "data": {"role": "admin"}})),
    })
    .await;
    let directory = zoho(&server.url);
    let find = async |user: UserRef| directory.look_up(&user, Mode::Password, false).await;
    match find(UserRef::Email("one@ZYLKER.biz".to_owned())).await.unwrap() {
        Some(Found::One(user)) => {
            assert_eq!((user.id.id.as_str(), user.id.name.as_str()), ("9223372036854775807", "One@zylker.biz"));
            assert_eq!(user.administrator, Seen::Known(true));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(find(UserRef::Email("two@zylker.biz".to_owned())).await.unwrap(), Some(Found::Several(2)));
    assert_eq!(find(UserRef::Email("none@zylker.biz".to_owned())).await.unwrap(), None);
    assert_eq!(find(UserRef::Username("one@zylker.biz".to_owned())).await.unwrap(), None);
    let before = server.seen("/directory").len();
    assert!(matches!(find(UserRef::Id("2".to_owned())).await.unwrap(), Some(Found::One(_))));
    assert_eq!(server.seen("/directory").len(), before + 1, "an id ends the search");
}

/// The token goes to the configured address, whatever a token reply says.
#[tokio::test]
async fn a_foreign_api_domain_is_not_followed() {
    let foreign = Server::start(|_, _| ok(&json!({"users": []}))).await;
    let elsewhere = foreign.url.clone();
    let server = Server::start(move |_, path| {
        let mut token = token();
        token["api_domain"] = json!(elsewhere);
        if path.starts_with("/oauth") { ok(&token) } else { ok(&json!({"users": []})) }
    })
    .await;
    let _ = zoho(&server.url).look_up(&UserRef::Id("7".to_owned()), Mode::MFA, false).await;
    assert!(foreign.seen("/").is_empty());
    assert_eq!(server.seen("/directory").len(), 1);
}

/// A certificate that has run out, or that nobody trusted has signed: nothing is sent.
#[tokio::test]
async fn wrong_certificates() {
    use tokio::io::AsyncReadExt;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    for (expired, trusted, works) in [(false, true, true), (true, true, false), (false, false, false)] {
        let leaf_key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        if expired {
            leaf.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(Arc::new(
            tokio_rustls::rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], leaf_key.serialize_der().try_into().unwrap())
        .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut tls) = acceptor.accept(stream).await {
                    let mut bytes = [0; 1024];
                    if let Ok(n) = tls.read(&mut bytes).await {
                        counted.fetch_add(n, Ordering::Relaxed);
                    }
                }
            }
        });
        let bundle = if trusted { json!({"caBundle": ca.pem()}) } else { json!({}) };
        let directory = Zoho::connect(&spec(&format!("https://localhost:{port}"), bundle), &credentials()).unwrap();
        let error = directory.check(&BTreeSet::new()).await.unwrap_err();
        assert_eq!(error.reason(), "Unreachable");
        assert_eq!(error.to_string().contains("certificate"), !works, "{error}");
        assert_eq!(received.load(Ordering::Relaxed) > 0, works);
    }
}

#[test]
fn what_is_wrong_with_a_directory_is_named() {
    let template = |path: &str, body: Value| json!({"resetPassword": {"method": "POST", "path": path, "body": body}});
    let good = json!({"password": "${password}"});
    for (patch, says) in [
        (template("/x", json!({"password": "${pasword}"})), "unknown placeholder ${pasword}"),
        (template("/x/${password}", good.clone()), "unknown placeholder ${password}"),
        (template("/x?y=1", good.clone()), "plain path"),
        (template("/x/../y", good.clone()), "plain path"),
        (template("/x", json!({"password": "${password"})), "not closed"),
        (template("/x", json!({"nothing": true})), "never uses ${password}"),
        (
            json!({"resetMFA": {"method": "POST", "path": "/x", "body": {"p": "${password}"}}}),
            "unknown placeholder ${password}",
        ),
        (
            json!({"urls": {"accounts": "http://accounts.example", "api": "https://x", "mail": "https://x"}}),
            "plain http",
        ),
        (json!({"urls": {"accounts": "https://user:pass@x", "api": "https://x", "mail": "https://x"}}), "without user"),
        (json!({"urls": {"accounts": "ftp://x", "api": "https://x", "mail": "https://x"}}), "https address"),
        (json!({"caBundle": "no pem"}), "caBundle"),
        (json!({"dataCenter": "eu"}), "exactly one of dataCenter and urls"),
    ] {
        let error = Zoho::connect(&spec("https://x", patch), &credentials()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}\nshould say: {says}");
        assert_eq!(error.reason(), "InvalidConfiguration");
    }
    for key in ["client-id", "client-secret", "refresh-token"] {
        let mut without = credentials();
        without.remove(key);
        let error = Zoho::connect(&spec("https://x", json!({})), &without).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    let mut without = credentials();
    without.remove("admin-password");
    assert!(Zoho::connect(&spec("https://x", json!({})), &without).is_ok(), "only a template asks for it");
    let asks = template("/x", json!({"password": "${password}", "admin": "${adminPassword}"}));
    let error = Zoho::connect(&spec("https://x", asks.clone()), &without).unwrap_err();
    assert!(error.to_string().contains("admin-password"), "{error}");
    let shown = format!("{:?}", Zoho::connect(&spec("https://x", asks), &credentials()).unwrap());
    assert!(
        !shown.contains("the-client-secret")
            && !shown.contains("the-refresh-token")
            && !shown.contains("the-admin-password")
    );
}

#[tokio::test]
async fn templates_take_types_and_are_filled_once() {
    let server = Server::start(usual(ok(&json!({"status_code": 200})))).await;
    let body = json!({
        "password": "${password}", "force": "${forceChangeOnLogin}", "list": ["${user.id}", "id ${user.id} of ${organization}"],
        "kept": 7, "clear": "${clearMobileSessionsAndApiTokens}", "mail": "${emailToUser}", "who": "${user.email}",
    });
    let templates = json!({"resetPassword": {"method": "PATCH", "path": "/directory/${organization}/${zoid}/${user.id}/${user.zuid}", "body": body}});
    let directory = Zoho::connect(&spec(&server.url, templates), &credentials()).unwrap();
    let user = annette(&directory).await;
    let once = Once::SetPassword {
        force_change_on_login: true,
        clear_mobile_sessions_and_api_tokens: false,
        email_to_user: true,
    };
    let password = SecretString::from("New-${user.id}-\"quoted\"");
    assert_eq!(
        directory.perform(Fenced::by_write(record(), || true), &once, &user, Some(&password)).await,
        Reply::Done
    );
    let (method, path, body) = server.seen("/directory/70/80/7/88").pop().unwrap();
    assert_eq!((method.as_str(), path.as_str()), ("PATCH", "/directory/70/80/7/88"));
    let (authorization, body) = body.split_once(" {").unwrap();
    assert_eq!(authorization, "Zoho-oauthtoken 1000.token");
    let body: Value = serde_json::from_str(&format!("{{{body}")).unwrap();
    assert_eq!(
        body,
        json!({
            "password": "New-${user.id}-\"quoted\"", "force": true, "list": ["7", "id 7 of 70"], "kept": 7, "clear": false, "mail": true,
            "who": "annette.c@zylker.biz",
        })
    );
}

#[tokio::test]
async fn evidence_is_the_time_of_the_last_change() {
    let spec_with = |url: &str| spec(url, json!({"lookUp": {"passwordChangedAt": "changed"}}));
    let started: Timestamp = "2026-11-24T09:00:00Z".parse().unwrap();
    for (changed, proven) in [
        (json!(null), false),
        (json!(started.as_millisecond() + 2000), true),
        (json!((started.as_millisecond() + 2000).to_string()), true),
        (json!("2026-11-24T09:00:02Z"), true),
        // Long before, and long after: somebody else's.
        (json!("2026-11-24T08:00:00Z"), false),
        (json!("2026-11-25T09:00:02Z"), false),
    ] {
        let value = changed.clone();
        let server = Server::start(move |_, path| match path {
            path if path.starts_with("/oauth") => ok(&token()),
            path if path.contains("/users?") => {
                let mut user = person(&json!("7"), "annette.c@zylker.biz");
                user["changed"] = value.clone();
                ok(&json!({"users": [user], "has_more": false}))
            }
            _ => ok(&json!({"status": {"code": 200}, "data": {"role": "member"}})),
        })
        .await;
        let directory = Zoho::connect(&spec_with(&server.url), &credentials()).unwrap();
        let proof = directory.verify(&record()).await.unwrap();
        assert_eq!(proof == Proof::Proven(Evidence::Marker), proven, "{changed}: {proof:?}");
    }
}
