//! The control interface for tests: state, faults, sign-in, and the calls received.
use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    call::{Call, Logged},
    fault::Fault,
    organization::{Mail, split_scopes},
    seed,
    server::Server,
    user::{Account, Person, Secret},
};

type Shared = State<Arc<Server>>;

/// An error message with status 400, 404 or 409.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::Many(many) => many,
            Self::One(one) => vec![one],
        }
    }
}

pub(super) fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route("/users", get(users).post(add_users))
        .route("/users/{id}", get(user).patch(change_user))
        .route("/sign-in", post(sign_in))
        .route("/calls", get(calls))
        .route("/counts", get(counts))
        .route("/mail", get(mail))
        .route("/faults", get(faults).post(add_faults).delete(clear_faults))
        .route("/chaos", put(set_chaos))
        .route("/deviations", put(set_deviations))
        .route("/scopes", get(scopes).post(set_scopes))
        .fallback(async || Refused(StatusCode::NOT_FOUND, "the control interface has no such path".to_owned()))
}

async fn users(State(server): Shared) -> Json<Vec<Person>> {
    Json(server.store().organization.users().cloned().collect())
}

async fn user(State(server): Shared, Path(id): Path<String>) -> Result<Json<Person>, Refused> {
    let account = server.store().organization.accounts.get(&id).cloned();
    account.map(|account| Json(account.user)).ok_or_else(|| no_user(&id))
}

/// Adds users. Fields that are not given are those of an ordinary member, with the next free id.
async fn add_users(
    State(server): Shared,
    Json(given): Json<OneOrMany<Map<String, Value>>>,
) -> Result<(StatusCode, Json<Vec<Person>>), Refused> {
    let mut store = server.store();
    let mut added: BTreeMap<String, Account> = BTreeMap::new();
    for fields in given.into_vec() {
        let taken = |id: &String| store.organization.accounts.contains_key(id) || added.contains_key(id);
        let next = (700_200_000..u64::MAX).find(|id| !taken(&id.to_string())).unwrap_or(u64::MAX);
        let id = match fields.get("user_id") {
            None => next,
            Some(id) => {
                id.as_str().and_then(|id| id.parse().ok()).ok_or_else(|| bad("user_id must be a string of digits"))?
            }
        };
        let newcomer = Person::member(id, "New", "User", &format!("user{id}@zylker.biz"));
        let account = merged(seed::account(newcomer), fields)?;
        let id = account.user.user_id.clone();
        if taken(&id) {
            return Err(Refused(StatusCode::CONFLICT, format!("there is a user {id} already")));
        }
        added.insert(id, account);
    }
    let users = added.values().map(|account| account.user.clone()).collect();
    store.organization.accounts.extend(added);
    store.save_or_report();
    Ok((StatusCode::CREATED, Json(users)))
}

/// Changes the given fields, as an administrator or the user may do elsewhere. This does not count as a reset.
async fn change_user(
    State(server): Shared,
    Path(id): Path<String>,
    Json(fields): Json<Map<String, Value>>,
) -> Result<Json<Person>, Refused> {
    let mut store = server.store();
    let account = store.organization.accounts.get(&id).ok_or_else(|| no_user(&id))?;
    let account = merged(account.clone(), fields)?;
    if account.user.user_id != id {
        return Err(bad("user_id never changes"));
    }
    let user = account.user.clone();
    store.organization.accounts.insert(id, account);
    store.save_or_report();
    Ok(Json(user))
}

/// Merges the fields into the account. `password` is a field only here: it is never shown.
fn merged(account: Account, mut fields: Map<String, Value>) -> Result<Account, Refused> {
    let Account { mut user, mut password } = account;
    if let Some(value) = fields.remove("password") {
        password = Secret::new(value.as_str().ok_or_else(|| bad("password must be a string"))?);
        user.must_change = false;
        user.password_changed_time = Some(Timestamp::now().as_millisecond());
    }
    let mut json = serde_json::to_value(user).map_err(|error| bad(&error.to_string()))?;
    if let Some(known) = json.as_object_mut() {
        known.extend(fields);
    }
    let user = serde_json::from_value(json).map_err(|error| bad(&error.to_string()))?;
    Ok(Account { user, password })
}

#[derive(Deserialize)]
struct SignIn {
    /// Any address or the login name of the user.
    email: String,
    password: String,
}

async fn sign_in(State(server): Shared, Json(SignIn { email, password }): Json<SignIn>) -> Json<Value> {
    let store = server.store();
    let result = match store.organization.sign_in(&email, &password) {
        "wrong" if store.deviations.opens(&email, &password) => "ok",
        result => result,
    };
    Json(json!({ "result": result }))
}

async fn calls(State(server): Shared) -> Json<Vec<Logged>> {
    Json(server.store().organization.calls.iter().cloned().collect())
}

async fn counts(State(server): Shared) -> Json<BTreeMap<&'static str, u64>> {
    let store = server.store();
    Json(Call::ALL.map(|call| (call.name(), store.organization.counts.get(&call).copied().unwrap_or(0))).into())
}

async fn mail(State(server): Shared) -> Json<Vec<Mail>> {
    Json(server.store().organization.mails.clone())
}

async fn faults(State(server): Shared) -> Json<Vec<Fault>> {
    Json(server.store().faults.clone())
}

async fn add_faults(
    State(server): Shared,
    Json(given): Json<OneOrMany<Value>>,
) -> Result<(StatusCode, Json<Vec<Fault>>), Refused> {
    let parse = |fault: Value| serde_json::from_value(fault).map_err(|error| bad(&format!("not a fault: {error}")));
    let faults = given.into_vec().into_iter().map(parse).collect::<Result<Vec<Fault>, _>>()?;
    for Fault { kind, times, .. } in &faults {
        if let Some(objection) = kind.objection() {
            return Err(bad(objection));
        }
        if *times == 0 {
            return Err(bad("times must be at least 1"));
        }
    }
    let mut store = server.store();
    store.faults.extend(faults);
    Ok((StatusCode::CREATED, Json(store.faults.clone())))
}

async fn clear_faults(State(server): Shared) -> StatusCode {
    server.store().faults.clear();
    StatusCode::NO_CONTENT
}

/// Gives random faults to the reset calls for which no fault is queued.
async fn set_chaos(State(server): Shared, Json(given): Json<Value>) -> Result<StatusCode, Refused> {
    let chaos = serde_json::from_value(given).map_err(|error| bad(&format!("not chaos: {error}")))?;
    server.store().chaos = Some(chaos);
    Ok(StatusCode::NO_CONTENT)
}

/// Sets the deviations, until the sandbox starts again.
async fn set_deviations(State(server): Shared, Json(given): Json<Value>) -> Result<StatusCode, Refused> {
    let on = serde_json::from_value(given).map_err(|error| bad(&format!("not a list of deviations: {error}")))?;
    server.store().deviations.on = on;
    Ok(StatusCode::NO_CONTENT)
}

async fn scopes(State(server): Shared) -> Json<Vec<String>> {
    Json(server.store().organization.scopes.clone())
}

/// Sets the scopes: a string, separated as in a request for tokens. This takes effect at once, also for tokens that were issued before.
async fn set_scopes(State(server): Shared, Json(scopes): Json<String>) -> Json<Vec<String>> {
    let mut store = server.store();
    store.organization.scopes = split_scopes(&scopes);
    store.save_or_report();
    Json(store.organization.scopes.clone())
}

fn no_user(id: &str) -> Refused {
    Refused(StatusCode::NOT_FOUND, format!("there is no user {id}"))
}

fn bad(message: &str) -> Refused {
    Refused(StatusCode::BAD_REQUEST, message.to_owned())
}
