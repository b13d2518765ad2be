//! The sandbox's own interface, for tests and the demo: look at the state, change it, order faults.
use axum::{
    Json,
    extract::{Path, State as Shared},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Sandbox, faults::Fault, state::User};

/// All users, without passwords.
pub async fn users(Shared(sandbox): Shared<Sandbox>) -> Json<Value> {
    Json(sandbox.state().users.iter().map(User::shown).collect())
}

/// One user, without the password.
pub async fn user(Shared(sandbox): Shared<Sandbox>, Path(id): Path<String>) -> Response {
    match sandbox.state().user(&id) {
        Some(user) => Json(user.shown()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Adds users.
pub async fn add_users(Shared(sandbox): Shared<Sandbox>, Json(users): Json<Vec<User>>) -> StatusCode {
    sandbox.change(|state| state.users.extend(users));
    StatusCode::CREATED
}

/// Changes fields of a user.
pub async fn change_user(
    Shared(sandbox): Shared<Sandbox>,
    Path(id): Path<String>,
    Json(fields): Json<Value>,
) -> Response {
    sandbox.change(|state| {
        let Some(user) = state.user(&id) else { return StatusCode::NOT_FOUND.into_response() };
        let mut value = serde_json::to_value(&*user).unwrap_or_default();
        if let (Value::Object(all), Value::Object(new)) = (&mut value, fields) {
            all.extend(new);
        }
        match serde_json::from_value(value) {
            Ok(changed) => {
                *user = changed;
                StatusCode::NO_CONTENT.into_response()
            }
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        }
    })
}

/// Who signs in.
#[derive(Deserialize)]
pub struct SignIn {
    email: String,
    password: String,
}

/// What a sign-in with a password comes to: `ok`, `must-change`, `inactive` or `wrong`.
pub async fn sign_in(Shared(sandbox): Shared<Sandbox>, Json(form): Json<SignIn>) -> Json<Value> {
    let state = sandbox.state();
    let user = state.users.iter().find(|user| user.emails.contains(&form.email));
    let result = match user {
        Some(user) if user.password != form.password => "wrong",
        Some(user) if user.status != "active" => "inactive",
        Some(user) if user.must_change => "must-change",
        Some(_) => "ok",
        None => "wrong",
    };
    Json(json!({ "result": result }))
}

/// The calls that arrived, the oldest first.
pub async fn calls(Shared(sandbox): Shared<Sandbox>) -> Json<Value> {
    Json(json!(sandbox.state().calls))
}

/// How many calls arrived, by kind.
pub async fn counts(Shared(sandbox): Shared<Sandbox>) -> Json<Value> {
    Json(json!(sandbox.state().counts))
}

/// The mails that were "sent".
pub async fn mail(Shared(sandbox): Shared<Sandbox>) -> Json<Value> {
    Json(json!(sandbox.state().mails))
}

/// Orders faults.
pub async fn add_faults(Shared(sandbox): Shared<Sandbox>, Json(faults): Json<Vec<Fault>>) -> StatusCode {
    sandbox.change(|state| state.faults.extend(faults));
    StatusCode::CREATED
}

/// Orders no more faults.
pub async fn clear_faults(Shared(sandbox): Shared<Sandbox>) -> StatusCode {
    sandbox.change(|state| state.faults.clear());
    StatusCode::NO_CONTENT
}

/// What the next tokens may be used for; the old ones are forgotten.
pub async fn set_scopes(Shared(sandbox): Shared<Sandbox>, Json(scopes): Json<String>) -> StatusCode {
    sandbox.change(|state| {
        state.scopes = scopes;
        state.tokens.clear();
    });
    StatusCode::NO_CONTENT
}
