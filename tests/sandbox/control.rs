//! The sandbox's control interface, and what the sandbox stores.
use std::fs;

use credreset::sandbox::{self, ADMIN_PASSWORD, CLIENT_SECRET, Options, REFRESH_TOKEN};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::harness::{NEW, Sandbox, TempFile, USERS};

#[tokio::test]
async fn users_are_added_and_changed() {
    let sandbox = Sandbox::new().await;
    let one =
        json!({"first_name": "Nia", "last_name": "Obi", "emails": ["nia@zylker.biz"], "password": "Start-here-1"});
    let added = sandbox.control(Method::POST, "/users", json!([one, {}])).await;
    assert_eq!(added.as_array().unwrap().len(), 2);
    assert_eq!(sandbox.sign_in("nia@zylker.biz", "Start-here-1").await, "ok");
    let id = added[0]["user_id"].as_str().unwrap();
    assert_eq!(sandbox.call("", Method::POST, "/sandbox/users", json!({"user_id": id})).await.0, 409);

    let path = format!("/users/{id}");
    let change = json!({"user_status": "inactive", "role": "admin", "password_changed_time": 5, "groups": []});
    let changed = sandbox.control(Method::PATCH, &path, change).await;
    assert_eq!((&changed["role"], &changed["password_changed_time"]), (&json!("admin"), &json!(5)));
    assert_eq!(sandbox.show(&path).await, changed);
    assert_eq!(sandbox.sign_in("nia@zylker.biz", "Start-here-1").await, "inactive");
    let change = json!({"user_status": "active", "password": "Changed-myself-1"});
    let changed = sandbox.control(Method::PATCH, &path, change).await;
    assert!(changed["password_changed_time"].as_i64().unwrap() > 5);
    assert_eq!(
        (&changed["passwordResets"], sandbox.sign_in("nia@zylker.biz", "Changed-myself-1").await),
        (&json!(0), "ok".to_owned())
    );

    for (path, body, status) in [
        (format!("/sandbox{path}"), json!({"user_typ": "pending"}), 400),
        (format!("/sandbox{path}"), json!({"user_type": "ghost"}), 400),
        (format!("/sandbox{path}"), json!({"user_id": "1"}), 400),
        ("/sandbox/users/1".to_owned(), json!({"locked": true}), 404),
    ] {
        assert_eq!(sandbox.call("", Method::PATCH, &path, body).await.0, status);
    }
    for user_id in [json!(5), json!("x"), json!("18446744073709551616")] {
        assert_eq!(sandbox.call("", Method::POST, "/sandbox/users", json!({"user_id": user_id})).await.0, 400);
    }
    assert_eq!(sandbox.call("", Method::POST, "/sandbox/users", json!({"user_id": u64::MAX.to_string()})).await.0, 201);
    assert_eq!(sandbox.get("", "/sandbox/nothing").await.0, 404);
}

#[tokio::test]
async fn a_locked_user_comes_in_after_a_reset_only() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    assert_eq!(sandbox.sign_in("pat.q", "Pat-old-1").await, "locked");
    let body = json!({"password": NEW, "admin_password": ADMIN_PASSWORD});
    assert_eq!(sandbox.call(&token, Method::POST, &format!("{USERS}/700012316/password"), body).await.0, 200);
    assert_eq!(sandbox.sign_in("pat.q", NEW).await, "ok");
}

#[tokio::test]
async fn no_secret_is_shown_but_in_mail() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    sandbox.reset_password(&token).await.unwrap();
    // Secrets in places where they do not belong.
    sandbox.send(&token, Method::GET, &format!("{USERS}?client_secret={CLIENT_SECRET}"), Value::Null).await.unwrap();
    sandbox.send(&token, Method::POST, &format!("/directory/{NEW}"), json!({NEW: NEW})).await.unwrap();
    sandbox.send(&token, Method::POST, &format!("{USERS}/{NEW}/password"), json!({NEW: NEW})).await.unwrap();
    let logged = sandbox.show("/calls").await;
    let reset = &logged[1];
    assert_eq!(
        (&reset["kind"], &reset["user"], &reset["status"]),
        (&json!("reset-password"), &json!("700012399"), &json!(200))
    );
    assert_eq!(
        reset["fields"],
        json!({
            "password": "(given)", "force_change": true, "clear_mobile_sessions_and_api_tokens": true,
            "email_user": true, "admin_password": "(given)",
        })
    );
    assert_eq!((&reset["applied"], &reset["fault"]), (&json!(true), &Value::Null));
    let shown = [
        logged.to_string(),
        sandbox.show("/users").await.to_string(),
        sandbox.show("/counts").await.to_string(),
        sandbox.page().await,
    ];
    for secret in [NEW, ADMIN_PASSWORD, CLIENT_SECRET, REFRESH_TOKEN, &token, "-old-1"] {
        assert!(shown.iter().all(|text| !text.contains(secret)), "{secret} is shown");
    }
}

#[tokio::test]
async fn state_is_kept_over_a_restart() {
    let file = TempFile::new();
    let options = Options { state: Some(file.0.clone()), users: 2, ..Options::default() };
    let first = Sandbox::start(options.clone()).await;
    let token = first.token().await;
    first.reset_password(&token).await.unwrap();
    let users = first.show("/users").await;
    first.stop().await;

    let second = Sandbox::start(options).await;
    assert_eq!(second.show("/users").await, users);
    assert_eq!(second.sign_in("annette.c@zylker.biz", NEW).await, "must-change");
    assert_eq!(second.show("/mail").await.as_array().unwrap().len(), 1);
    assert_eq!(second.show("/counts").await["reset-password"], 1);
    assert_eq!(second.get(&token, USERS).await.0, 200, "the token is still good");
    second.stop().await;

    fs::write(&file.0, "{\"accounts\": \"Annette-old-1\"}").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = Options { state: Some(file.0.clone()), ..Options::default() };
    let error = sandbox::serve(options, listener, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("remove it to start afresh"), "{error}");
    assert!(!format!("{error} {error:?}").contains("old-1"));
}

/// A misspelt deviation would have a test show nothing.
#[tokio::test]
async fn deviations_have_names() {
    let sandbox = Sandbox::new().await;
    for given in [json!(["old-pasword-works"]), json!("no-body"), json!({"no-body": true})] {
        let reply = sandbox.send("", Method::PUT, "/sandbox/deviations", given).await.unwrap();
        assert_eq!(reply.status(), 400);
    }
    sandbox.control(Method::PUT, "/deviations", json!(["no-body"])).await;
    let token = sandbox.token().await;
    let reply = sandbox.reset_password(&token).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.text().await.unwrap().as_str()), (200, ""));
}
