//! The calls, in Zoho's wire format. What is public of it is cited in docs/zoho.md.
use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    extract::{Form, Path, Query, State as Shared},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Sandbox,
    faults::{DropConnection, Fault, Kind},
    state::{
        ADMIN_PASSWORD, CLIENT_ID, CLIENT_SECRET, Call, ORGANIZATION, REFRESH_TOKEN, State, User, ZOID, wire_user,
    },
};

/// What a call does to the state once it takes effect.
type Change = Box<dyn FnOnce(&mut State) + Send>;

/// One call on its way through faults, log and effect.
struct Arrived {
    kind: &'static str,
    method: Method,
    path: String,
    user: Option<String>,
    fields: BTreeMap<String, Value>,
}

/// An answer, and what takes effect with it.
struct Outcome {
    response: Response,
    change: Option<Change>,
}

impl Outcome {
    fn refused(status: StatusCode, body: Value) -> Self {
        Self { response: (status, Json(body)).into_response(), change: None }
    }

    fn read(body: Value) -> Self {
        Self { response: Json(body).into_response(), change: None }
    }
}

impl Sandbox {
    /// Takes the fault that befalls this call, if one does; lets it take effect; keeps the log.
    async fn conclude(&self, arrived: Arrived, outcome: Outcome) -> Response {
        let Outcome { response, change } = outcome;
        let (kind, user) = (arrived.kind, arrived.user.clone());
        let fault = self.change(|state| {
            let meant = |f: &Fault| f.call == kind && (f.user.is_none() || f.user == user) && f.times > 0;
            let at = state.faults.iter().position(meant)?;
            let fault = state.faults.get_mut(at)?;
            fault.times -= 1;
            let taken = fault.kind.clone();
            state.faults.retain(|f| f.times > 0);
            Some(taken)
        });
        let Some(fault) = fault else {
            self.finish(change, call(arrived, Some(response.status().as_u16()), None));
            return response;
        };
        let name = Some(fault.name());
        match &fault {
            // Logged before, since nothing comes after.
            Kind::Hang => {
                self.finish(None, call(arrived, None, name));
                fault.answer(response).await
            }
            Kind::Delay { milliseconds, apply_late: true } => {
                let (sandbox, pause) = (self.clone(), Duration::from_millis(*milliseconds));
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    sandbox.finish(change, call(arrived, None, name));
                });
                fault.answer(response).await
            }
            // What a delayed call does comes after the delay, what any other does before its answer.
            Kind::Delay { apply_late: false, .. } => {
                let response = fault.answer(response).await;
                self.finish(change, call(arrived, Some(response.status().as_u16()), name));
                response
            }
            _ => {
                let change = if fault.applies() { change } else { None };
                let answer = fault.answer(response).await;
                let closed = answer.extensions().get::<DropConnection>().is_some();
                let status = (!closed).then(|| answer.status().as_u16());
                self.finish(change, call(arrived, status, name));
                answer
            }
        }
    }

    /// Lets a call take effect, and logs it.
    fn finish(&self, change: Option<Change>, mut call: Call) {
        self.change(|state| {
            call.applied = change.is_some();
            if let Some(change) = change {
                change(state);
            }
            state.log(call);
        });
    }

    /// Who is asked for must be allowed by the token: `None` is fine.
    fn refuses(&self, headers: &HeaderMap, scope: &str) -> Option<Outcome> {
        let unauthorized = |code: &str| {
            let body = json!({"data": {"errorCode": code}, "status": {"code": 401, "description": "Invalid Access"}});
            Some(Outcome::refused(StatusCode::UNAUTHORIZED, body))
        };
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.strip_prefix("Zoho-oauthtoken "));
        let Some(scopes) = token.and_then(|token| self.state().tokens.get(token).cloned()) else {
            return unauthorized("INVALID_OAUTHTOKEN");
        };
        let all = scope.rsplit_once('.').map(|(service, _)| format!("{service}.ALL")).unwrap_or_default();
        let granted = scopes.split([' ', ',']).any(|s| s.eq_ignore_ascii_case(scope) || s.eq_ignore_ascii_case(&all));
        if granted { None } else { unauthorized("INVALID_OAUTHSCOPE") }
    }
}

/// A line of the log.
fn call(arrived: Arrived, status: Option<u16>, fault: Option<String>) -> Call {
    let Arrived { kind, method, path, user, fields } = arrived;
    Call {
        time: Timestamp::now(),
        kind: kind.to_owned(),
        method: method.to_string(),
        path,
        user,
        fields,
        status,
        fault,
        applied: false,
    }
}

/// What arrived, for the log: secrets only by the name of their field.
fn without_secrets(body: &Value) -> BTreeMap<String, Value> {
    let fields = body.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| {
            let shown = if value.is_boolean() || name == "mode" { value.clone() } else { json!("(given)") };
            (name.clone(), shown)
        })
        .collect()
}

/// The form of a token request.
#[derive(Deserialize)]
pub struct TokenForm {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
    #[serde(default)]
    refresh_token: String,
}

/// `POST /oauth/v2/token`.
pub async fn token(Shared(sandbox): Shared<Sandbox>, uri: Uri, Form(form): Form<TokenForm>) -> Response {
    let error = |code: &str| Outcome::read(json!({ "error": code }));
    let outcome = if form.grant_type != "refresh_token" {
        error("unsupported_grant_type")
    } else if form.client_id != CLIENT_ID {
        error("invalid_client")
    } else if form.client_secret != CLIENT_SECRET {
        error("invalid_client_secret")
    } else if form.refresh_token != REFRESH_TOKEN {
        error("invalid_code")
    } else {
        let token = format!("1000.{:032x}", rand::random::<u128>());
        let scopes = sandbox.state().scopes.clone();
        let body = json!({"access_token": token, "api_domain": sandbox.url, "token_type": "Bearer", "expires_in": 3600, "scope": scopes});
        Outcome {
            response: Json(body).into_response(),
            change: Some(Box::new(move |state| drop(state.tokens.insert(token, scopes)))),
        }
    };
    let arrived = Arrived {
        kind: "token",
        method: Method::POST,
        path: uri.path().to_owned(),
        user: None,
        fields: BTreeMap::new(),
    };
    sandbox.conclude(arrived, outcome).await
}

/// Which page of a list.
#[derive(Deserialize)]
pub struct Page {
    #[serde(default = "first")]
    page: usize,
    #[serde(default = "ten")]
    per_page: usize,
}

fn first() -> usize {
    1
}
fn ten() -> usize {
    10
}

impl Page {
    /// The items of this page, and whether more follow.
    fn of<T: Clone>(&self, all: &[T]) -> (Vec<T>, bool) {
        let size = self.per_page.clamp(1, 200);
        let begin = self.page.saturating_sub(1).saturating_mul(size);
        let items: Vec<T> = all.iter().skip(begin).take(size).cloned().collect();
        let more = begin + items.len() < all.len();
        (items, more)
    }
}

fn not_found(what: &str) -> Outcome {
    Outcome::refused(StatusCode::NOT_FOUND, json!({"status_code": 404, "error": what, "message": "not found"}))
}

/// `GET .../users`.
pub async fn users(
    Shared(sandbox): Shared<Sandbox>,
    Path(org): Path<String>,
    Query(page): Query<Page>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let outcome = sandbox.refuses(&headers, "ZohoDirectory.Users.READ").unwrap_or_else(|| {
        if org != ORGANIZATION {
            return not_found("ORG_NOT_FOUND");
        }
        let all: Vec<Value> = sandbox.state().users.iter().map(|user| wire_user(user, sandbox.change_times)).collect();
        let (users, more) = page.of(&all);
        Outcome::read(json!({"status_code": 200, "resource_name": "users", "users": users, "has_more": more}))
    });
    let path = uri.path().to_owned();
    sandbox
        .conclude(Arrived { kind: "look-up", method: Method::GET, path, user: None, fields: BTreeMap::new() }, outcome)
        .await
}

/// `GET .../users/{id}/groups`.
pub async fn groups(
    Shared(sandbox): Shared<Sandbox>,
    Path((org, id)): Path<(String, String)>,
    Query(page): Query<Page>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let outcome = sandbox.refuses(&headers, "ZohoDirectory.Groups.READ").unwrap_or_else(|| {
        let Some(user) = find(&sandbox, &org, &id) else { return not_found("USER_NOT_FOUND") };
        let (names, more) = page.of(&user.groups);
        let groups: Vec<Value> = names.iter().map(|name| json!({"group_id": name, "group_name": name})).collect();
        Outcome::read(json!({"status_code": 200, "resource_name": "groups", "groups": groups, "has_more": more}))
    });
    let path = uri.path().to_owned();
    sandbox
        .conclude(
            Arrived { kind: "groups", method: Method::GET, path, user: Some(id), fields: BTreeMap::new() },
            outcome,
        )
        .await
}

fn find(sandbox: &Sandbox, org: &str, id: &str) -> Option<User> {
    (org == ORGANIZATION).then(|| sandbox.state().users.iter().find(|user| user.id == id).cloned()).flatten()
}

/// What the wired calls refuse.
fn refusal(user: Option<&User>, body: &Value) -> Option<Outcome> {
    let error = |status: StatusCode, code: &str| {
        Some(Outcome::refused(status, json!({"status_code": status.as_u16(), "error": code, "message": "refused"})))
    };
    let Some(user) = user else { return Some(not_found("USER_NOT_FOUND")) };
    if body.get("admin_password").and_then(Value::as_str) != Some(ADMIN_PASSWORD) {
        return error(StatusCode::FORBIDDEN, "ADMIN_PASSWORD_MISMATCH");
    }
    match (user.kind.as_str(), user.status.as_str()) {
        ("confirmed", "active") => None,
        ("confirmed", _) => error(StatusCode::BAD_REQUEST, "USER_INACTIVE"),
        _ => error(StatusCode::BAD_REQUEST, "USER_NOT_CONFIRMED"),
    }
}

/// What the password policy refuses.
fn weak(user: &User, password: &str) -> Option<Outcome> {
    let low = password.to_lowercase();
    let weak = password.len() < 8 || low.contains("password") || low.contains(&user.first_name.to_lowercase());
    weak.then(|| {
        let body = json!({"status_code": 400, "error": "PASSWORD_POLICY", "message": "against the policy"});
        Outcome::refused(StatusCode::BAD_REQUEST, body)
    })
}

/// `POST .../users/{id}/password`, a made-up call: the whole form of the console.
pub async fn reset_password(
    Shared(sandbox): Shared<Sandbox>,
    Path((org, id)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
    Json(body): Json<Value>,
) -> Response {
    let user = find(&sandbox, &org, &id);
    let flag = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or(false);
    let (force, clear, email) =
        (flag("force_change"), flag("clear_mobile_sessions_and_api_tokens"), flag("email_user"));
    let password = body.get("password").and_then(Value::as_str).unwrap_or_default().to_owned();
    let refused = sandbox
        .refuses(&headers, "ZohoDirectory.Users.UPDATE")
        .or_else(|| refusal(user.as_ref(), &body))
        .or_else(|| weak(user.as_ref()?, &password));
    let outcome = refused.unwrap_or_else(|| {
        let id = id.clone();
        Outcome {
            response: Json(json!({"status_code": 200, "resource_name": "password", "message": "reset"}))
                .into_response(),
            change: Some(Box::new(move |state| {
                state.reset_password(&id, &password, force, clear, email, Timestamp::now())
            })),
        }
    });
    let fields = without_secrets(&body);
    let path = uri.path().to_owned();
    sandbox
        .conclude(Arrived { kind: "reset-password", method: Method::POST, path, user: Some(id), fields }, outcome)
        .await
}

/// `POST .../users/{id}/mfa/reset`, a made-up call.
pub async fn reset_mfa(
    Shared(sandbox): Shared<Sandbox>,
    Path((org, id)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
    Json(body): Json<Value>,
) -> Response {
    let user = find(&sandbox, &org, &id);
    let refused = sandbox.refuses(&headers, "ZohoDirectory.Users.UPDATE").or_else(|| refusal(user.as_ref(), &body));
    let outcome = refused.unwrap_or_else(|| {
        let id = id.clone();
        Outcome {
            response: Json(json!({"status_code": 200, "resource_name": "mfa", "message": "reset"})).into_response(),
            change: Some(Box::new(move |state| state.reset_mfa(&id, false, Timestamp::now()))),
        }
    });
    let fields = without_secrets(&body);
    let path = uri.path().to_owned();
    sandbox.conclude(Arrived { kind: "reset-mfa", method: Method::POST, path, user: Some(id), fields }, outcome).await
}

fn by_zuid(sandbox: &Sandbox, zoid: &str, zuid: &str) -> Option<User> {
    let state = sandbox.state();
    let user = state.users.iter().find(|user| user.zuid == zuid && user.role.is_some());
    (zoid == ZOID).then(|| user.cloned()).flatten()
}

fn no_account() -> Outcome {
    let body =
        json!({"data": {"errorCode": "INVALID_ACCOUNT"}, "status": {"code": 404, "description": "Invalid Input"}});
    Outcome::refused(StatusCode::NOT_FOUND, body)
}

fn success() -> Value {
    json!({"code": 200, "description": "success"})
}

/// `GET /api/organization/{zoid}/accounts/{zuid}` of Zoho Mail.
pub async fn account(
    Shared(sandbox): Shared<Sandbox>,
    Path((zoid, zuid)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let user = by_zuid(&sandbox, &zoid, &zuid);
    let outcome = sandbox.refuses(&headers, "ZohoMail.organization.accounts.READ").unwrap_or_else(|| match &user {
        None => no_account(),
        Some(user) => Outcome::read(json!({
            "status": success(),
            "data": {"zuid": user.zuid, "accountId": user.id, "role": user.role, "tfaEnabled": user.mfa_enabled, "displayName": user.name()},
        })),
    });
    let path = uri.path().to_owned();
    let user = user.map(|user| user.id);
    sandbox.conclude(Arrived { kind: "role", method: Method::GET, path, user, fields: BTreeMap::new() }, outcome).await
}

/// `PUT /api/organization/{zoid}/accounts/{zuid}` of Zoho Mail: `resetPassword` and `updateTFAStatus`.
pub async fn change_account(
    Shared(sandbox): Shared<Sandbox>,
    Path((zoid, zuid)): Path<(String, String)>,
    headers: HeaderMap,
    uri: Uri,
    Json(body): Json<Value>,
) -> Response {
    let user = by_zuid(&sandbox, &zoid, &zuid);
    let mode = body.get("mode").and_then(Value::as_str).unwrap_or_default();
    let kind = match mode {
        "resetPassword" => "reset-password",
        "updateTFAStatus" => "reset-mfa",
        _ => "other",
    };
    let change =
        |change: Change| Outcome { response: Json(json!({"status": success()})).into_response(), change: Some(change) };
    let outcome = sandbox.refuses(&headers, "ZohoMail.organization.accounts.UPDATE").unwrap_or_else(|| {
        let Some(user) = user.clone() else { return no_account() };
        match (mode, body.get("password").and_then(Value::as_str), body.get("tfaEnabled").and_then(Value::as_bool)) {
            ("resetPassword", Some(password), _) => weak(&user, password).unwrap_or_else(|| {
                let password = password.to_owned();
                change(Box::new(move |state| state.reset_password(&user.id, &password, false, false, false, Timestamp::now())))
            }),
            ("updateTFAStatus", _, Some(false)) => {
                change(Box::new(move |state| state.reset_mfa(&user.id, true, Timestamp::now())))
            }
            _ => Outcome::refused(
                StatusCode::BAD_REQUEST,
                json!({"data": {"errorCode": "LESS_THAN_MIN_OCCURANCE"}, "status": {"code": 400, "description": "Invalid Input"}}),
            ),
        }
    });
    let fields = without_secrets(&body);
    let path = uri.path().to_owned();
    let user = user.map(|user| user.id);
    sandbox.conclude(Arrived { kind, method: Method::PUT, path, user, fields }, outcome).await
}

/// No such call.
pub async fn unknown(Shared(sandbox): Shared<Sandbox>, method: Method, uri: Uri) -> Response {
    let body = json!({"data": {"errorCode": "URL_RULE_NOT_CONFIGURED"}, "status": {"code": 404, "description": "Invalid Input"}});
    let arrived = Arrived { kind: "other", method, path: uri.path().to_owned(), user: None, fields: BTreeMap::new() };
    sandbox.conclude(arrived, Outcome::refused(StatusCode::NOT_FOUND, body)).await
}
