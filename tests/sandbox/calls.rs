//! The sandbox's calls: their replies and effects.
use credreset::sandbox::{self, ADMIN_PASSWORD, Options, Page};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{ANNETTE, ANNETTE_ACCOUNT, NEW, Sandbox, USERS, reset};

#[tokio::test]
async fn a_token_opens_the_look_up() {
    let sandbox = Sandbox::new().await;
    let (status, reply) = sandbox.token_reply("", "").await;
    assert_eq!(status, 200);
    assert_eq!(reply["api_domain"], sandbox.url);
    assert_eq!((&reply["token_type"], &reply["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert!(reply["scope"].as_str().unwrap().split(' ').any(|scope| scope == "ZohoDirectory.Users.READ"));

    let token = reply["access_token"].as_str().unwrap();
    let (status, reply) = sandbox.get(token, &format!("{USERS}?page=1&per_page=200&include=emails")).await;
    assert_eq!((status, &reply["status_code"], &reply["has_more"]), (200, &json!(200), &json!(false)));
    let users = reply["users"].as_array().unwrap();
    let annette = users.iter().find(|user| user["user_id"] == "700012399").unwrap();
    assert_eq!(
        *annette,
        json!({
            "user_id": "700012399", "zuid": "800012399", "first_name": "Annette", "last_name": "Charbonneau",
            "full_name": "Annette Charbonneau", "display_name": "Manager", "user_status": "active",
            "user_type": "confirmed", "primary_email": "annette.c@zylker.biz", "is_federated": false,
            "emails": [{"email_id": "annette.c@zylker.biz", "is_primary": true, "is_verified": true}],
        })
    );
    let is = |field: &str, value: &str| users.iter().any(|user| user[field] == value);
    assert!(is("user_type", "pending") && is("user_type", "external") && is("user_status", "inactive"));
    assert!(users.iter().any(|user| user["is_federated"] == true));
    assert!(users.iter().any(|user| user.get("is_federated").is_none()));
    assert!(users.iter().any(|user| user["primary_email"].is_null() && user["user_name"] == "lager-terminal"));
}

#[tokio::test]
async fn token_errors_come_with_status_200_and_an_eleventh_token_is_throttled() {
    let sandbox = Sandbox::start(Options { token_limit: Some(10), ..Options::default() }).await;
    for (field, error) in
        [("client_id", "invalid_client"), ("client_secret", "invalid_client_secret"), ("refresh_token", "invalid_code")]
    {
        assert_eq!(sandbox.token_reply(field, "wrong").await, (StatusCode::OK, json!({"error": error})));
    }
    for _ in 0..10 {
        sandbox.token().await;
    }
    let (status, reply) = sandbox.token_reply("", "").await;
    assert_eq!((status.as_u16(), &reply["error"]), (400, &json!("Access Denied")));
    assert!(reply["error_description"].as_str().unwrap().contains("too many requests continuously"));

    let unlimited = Sandbox::new().await;
    for _ in 0..30 {
        unlimited.token().await;
    }
}

#[tokio::test]
async fn every_call_needs_a_token_with_its_scope() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let calls = [
        (Method::GET, USERS.to_owned(), "ZohoDirectory.Users.READ"),
        (Method::GET, format!("{ANNETTE}/groups"), "ZohoDirectory.Groups.READ"),
        (Method::POST, format!("{ANNETTE}/password"), "ZohoDirectory.Users.UPDATE"),
        (Method::POST, format!("{ANNETTE}/mfa/reset"), "ZohoDirectory.Users.UPDATE"),
        (Method::GET, ANNETTE_ACCOUNT.to_owned(), "ZohoMail.organization.accounts.READ"),
        (Method::PUT, ANNETTE_ACCOUNT.to_owned(), "ZohoMail.organization.accounts.UPDATE"),
    ];
    let without = |scope: &str| {
        let others: Vec<&str> = sandbox::SCOPES.into_iter().filter(|other| *other != scope).collect();
        others.join(",")
    };
    for (method, path, scope) in calls {
        for token in ["", "1000.unknown"] {
            let (status, reply) = sandbox.call(token, method.clone(), &path, json!({})).await;
            assert_eq!((status, &reply["data"]["errorCode"]), (401, &json!("INVALID_OAUTHTOKEN")), "{path}");
            assert_eq!(reply["status"], json!({"code": 401, "description": "Invalid Access"}));
        }
        sandbox.set_scopes(&without(scope)).await;
        let (status, reply) = sandbox.call(&token, method.clone(), &path, json!({})).await;
        assert_eq!((status, &reply["data"]["errorCode"]), (401, &json!("INVALID_OAUTHSCOPE")), "{path}");
        sandbox.set_scopes(scope).await;
        let (status, _) = sandbox.call(&token, method, &path, json!({})).await;
        assert_ne!(status, 401, "{path} with {scope}");
    }
    sandbox.set_scopes("ZohoMail.organization.accounts.ALL").await;
    assert_eq!(sandbox.get(&token, ANNETTE_ACCOUNT).await.0, 200, "ALL implies READ");
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let sandbox = Sandbox::start(Options { users: 250, ..Options::default() }).await;
    let token = sandbox.token().await;
    let mut ids = Vec::new();
    let mut page = 1;
    loop {
        let (_, reply) = sandbox.get(&token, &format!("{USERS}?page={page}&per_page=200&include=emails")).await;
        let users = reply["users"].as_array().unwrap();
        ids.extend(users.iter().map(|user| user["user_id"].as_str().unwrap().to_owned()));
        if reply["has_more"] == false {
            break;
        }
        assert_eq!(users.len(), 200);
        page += 1;
    }
    let all = sandbox.show("/users").await.as_array().unwrap().len();
    ids.sort();
    ids.dedup();
    assert_eq!((page, ids.len()), (2, all));
    let (status, reply) = sandbox.get(&token, &format!("{USERS}?page=99&per_page=200")).await;
    assert_eq!((status, &reply["users"], &reply["has_more"]), (200, &json!([]), &json!(false)));
    assert_eq!(sandbox.sign_in("user0250@zylker.biz", "User0250-old-1").await, "ok");
}

#[tokio::test]
async fn groups_and_role_are_told() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let (status, reply) = sandbox.get(&token, &format!("{USERS}/700012306/groups?page=1&per_page=200")).await;
    assert_eq!((status, &reply["resource_name"], &reply["has_more"]), (200, &json!("groups"), &json!(false)));
    let names: Vec<&Value> = reply["groups"].as_array().unwrap().iter().map(|group| &group["group_name"]).collect();
    assert_eq!(names, ["Staff", "Board"]);
    for (zuid, role) in [("800012399", "member"), ("800012304", "super_admin"), ("800012305", "admin")] {
        let (status, reply) = sandbox.get(&token, &format!("/api/organization/800012345/accounts/{zuid}")).await;
        assert_eq!((status, &reply["data"]["role"], &reply["data"]["zuid"]), (200, &json!(role), &json!(zuid)));
        assert_eq!((&reply["status"]["code"], &reply["data"]["tfaEnabled"]), (&json!(200), &json!(true)));
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    for (method, path, code) in [
        (Method::GET, "/directory/api/v2/orgs/1/users".to_owned(), "/error"),
        (Method::POST, format!("{USERS}/1/password"), "/error"),
        (Method::POST, format!("{USERS}/1/mfa/reset"), "/error"),
        (Method::GET, format!("{USERS}/1/groups"), "/error"),
        (Method::GET, "/api/organization/800012345/accounts/1".to_owned(), "/data/errorCode"),
        (Method::GET, "/api/organization/1/accounts/800012399".to_owned(), "/data/errorCode"),
        // A user_id is not a zuid.
        (Method::PUT, "/api/organization/800012345/accounts/700012399".to_owned(), "/data/errorCode"),
        (Method::DELETE, USERS.to_owned(), "/data/errorCode"),
    ] {
        let (status, reply) = sandbox.call(&token, method, &path, reset(NEW)).await;
        assert_eq!(status, 404, "{path}");
        assert!(reply.pointer(code).is_some_and(Value::is_string), "{path}: {reply}");
    }
}

#[tokio::test]
async fn a_password_reset_does_all_that_the_console_promises() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    assert_eq!(sandbox.sign_in("annette.c@zylker.biz", "Annette-old-1").await, "ok");
    let reply = sandbox.reset_password(&token).await.unwrap();
    assert_eq!(reply.status(), 200);
    let reply: Value = reply.json().await.unwrap();
    assert_eq!((&reply["status_code"], &reply["resource_name"]), (&json!(200), &json!("password")));

    assert_eq!(sandbox.sign_in("annette.c@zylker.biz", "Annette-old-1").await, "wrong");
    assert_eq!(sandbox.sign_in("Annette.C@zylker.biz", NEW).await, "must-change");
    let annette = sandbox.annette().await;
    assert_eq!(annette["passwordResets"], 1);
    assert_eq!(annette["passwordResetTimes"].as_array().unwrap().len(), 1);
    for gone in ["webSessions", "mobileSessions", "apiTokens"] {
        assert_eq!(annette[gone], 0, "{gone}");
    }
    assert_eq!(annette["factors"].as_array().unwrap().len(), 2, "MFA is not touched");
    let mail = sandbox.show("/mail").await;
    assert_eq!(mail[0]["to"], "annette.c@zylker.biz");
    assert!(mail[0]["body"].as_str().unwrap().contains(NEW));
}

#[tokio::test]
async fn without_flags_only_web_sessions_end() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let body = json!({"password": NEW, "admin_password": ADMIN_PASSWORD});
    let (status, _) = sandbox.call(&token, Method::POST, &format!("{ANNETTE}/password"), body).await;
    assert_eq!((status, sandbox.sign_in("annette.c@zylker.biz", NEW).await), (200, "ok".to_owned()));
    let annette = sandbox.annette().await;
    let left = ["webSessions", "mobileSessions", "apiTokens"].map(|name| annette[name].as_u64().unwrap());
    assert_eq!(left, [0, 1, 1]);
    assert_eq!(sandbox.show("/mail").await, json!([]));
}

#[tokio::test]
async fn an_mfa_reset_removes_every_factor() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let body = json!({"admin_password": ADMIN_PASSWORD});
    let (status, reply) = sandbox.call(&token, Method::POST, &format!("{ANNETTE}/mfa/reset"), body).await;
    assert_eq!((status, &reply["resource_name"]), (200, &json!("mfa")));
    let annette = sandbox.annette().await;
    assert_eq!((&annette["factors"], &annette["mfaResets"]), (&json!([]), &json!(1)));
    assert_eq!((&annette["mfaEnabled"], &annette["passwordResets"]), (&json!(true), &json!(0)));
}

#[tokio::test]
async fn the_documented_calls_work_too() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let success = json!({"status": {"code": 200, "description": "success"}});
    let put = async |body: Value| sandbox.call(&token, Method::PUT, ANNETTE_ACCOUNT, body).await;
    assert_eq!(put(json!({"mode": "resetPassword", "password": NEW})).await, (200, success.clone()));
    assert_eq!(sandbox.sign_in("annette.c@zylker.biz", NEW).await, "ok");
    assert_eq!(put(json!({"mode": "updateTFAStatus", "tfaEnabled": false})).await, (200, success));
    let annette = sandbox.annette().await;
    assert_eq!((&annette["mfaEnabled"], &annette["factors"]), (&json!(false), &json!([])));
    assert_eq!((&annette["passwordResets"], &annette["mfaResets"]), (&json!(1), &json!(1)));
    let (status, reply) = put(json!({"mode": "resetPassword", "password": "short"})).await;
    assert_eq!((status, &reply["data"]["errorCode"]), (400, &json!("PASSWORD_POLICY")));
    assert_eq!(put(json!({"mode": "dance"})).await.0, 400);
    let counts = sandbox.show("/counts").await;
    assert_eq!(
        counts,
        json!({"token": 1, "look-up": 0, "groups": 0, "role": 0, "reset-password": 2, "reset-mfa": 1, "other": 1})
    );
}

/// A copy of the page knows its own fields, and takes no other.
#[tokio::test]
async fn superseded_pages_of_mail() {
    let flags = json!({"mode": "resetPassword", "password": NEW, "zuid": 800_012_399, "resetAuthtoken": true});
    let with = |more: Value| {
        let mut body = flags.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let (older, oldest) = (with(json!({"oneTimePassword": true})), with(json!({"adminPassword": ADMIN_PASSWORD})));
    let left_out = json!({"mode": "resetPassword", "password": NEW, "zuid": 800_012_399});
    let today = json!({"mode": "resetPassword", "password": NEW});
    let alive = |annette: &Value| ["mobileSessions", "apiTokens"].map(|name| annette[name].as_u64().unwrap());
    for (page, body, refused, signs_in, left) in [
        (Page::Today, &today, None, "ok", [1, 1]),
        (Page::Today, &older, Some((404, "EXTRA_KEY_FOUND_IN_JSON")), "wrong", [1, 1]),
        (Page::Older, &older, None, "must-change", [0, 0]),
        (Page::Older, &left_out, None, "must-change", [0, 0]),
        (Page::Older, &with(json!({"oneTimePassword": false, "resetAuthtoken": false})), None, "ok", [1, 1]),
        (Page::Older, &today, Some((400, "INVALID_INPUT")), "wrong", [1, 1]),
        (Page::Older, &with(json!({"oneTimePassword": "true"})), Some((400, "INVALID_INPUT")), "wrong", [1, 1]),
        (Page::Older, &oldest, Some((404, "EXTRA_KEY_FOUND_IN_JSON")), "wrong", [1, 1]),
        (Page::Oldest, &oldest, None, "ok", [0, 0]),
        (
            Page::Oldest,
            &with(json!({"adminPassword": "guess"})),
            Some((400, "INVALID_ADMIN_PASSWORD")),
            "wrong",
            [1, 1],
        ),
        (Page::Oldest, &flags, Some((400, "INVALID_ADMIN_PASSWORD")), "wrong", [1, 1]),
    ] {
        let sandbox = Sandbox::start(Options { reset_password_page: page, ..Options::default() }).await;
        let token = sandbox.token().await;
        let (status, reply) = sandbox.call(&token, Method::PUT, ANNETTE_ACCOUNT, body.clone()).await;
        match refused {
            None => assert_eq!(status, 200, "{page:?} {body}: {reply}"),
            Some(msg) => assert_eq!((status, reply["data"]["errorCode"].as_str().unwrap()), msg, "{page:?} {body}"),
        }
        assert_eq!(sandbox.sign_in("annette.c@zylker.biz", NEW).await, signs_in, "{page:?} {body}");
        assert_eq!(alive(&sandbox.annette().await), left, "{page:?} {body}");
    }
}

/// Mail's administration finds an account by zuid, and by an address that is one account's alone.
#[tokio::test]
async fn an_account_by_its_address() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let by = async |name: &str| sandbox.get(&token, &format!("/api/organization/800012345/accounts/{name}")).await;
    let (status, reply) = by("Annette.C%40zylker.biz").await;
    assert_eq!((status, &reply["data"]), (200, &by("800012399").await.1["data"]));
    assert_eq!(reply["data"]["zuid"], "800012399");
    let own = json!([{"mailId": "annette.c@zylker.biz", "isPrimary": true, "isAlias": false, "isConfirmed": true}]);
    assert_eq!(reply["data"]["emailAddress"], own);
    // One of two users, one of no user, one without an account in Mail, and one that is not a valid address.
    for name in ["support@zylker.biz", "nobody@zylker.biz", "nora.v@zylker.biz", "annette.c", "a%20b@zylker.biz"] {
        assert_eq!(by(name).await.0, 404, "{name}");
    }
    // Who shares an address has not shown that it is theirs.
    let (_, reply) = by("jan.n@zylker.biz").await;
    let confirmed = |index: usize| reply["data"]["emailAddress"][index]["isConfirmed"].clone();
    assert_eq!((confirmed(0), confirmed(1)), (json!(true), json!(false)));
    let (_, reply) = sandbox.get(&token, &format!("{USERS}?include=emails")).await;
    let jan = reply["users"].as_array().unwrap().iter().find(|user| user["user_id"] == "700012309").unwrap();
    assert_eq!(jan["emails"][1], json!({"email_id": "support@zylker.biz", "is_primary": false, "is_verified": false}));
    assert_eq!(sandbox.show("/counts").await["role"], 6);
}

#[tokio::test]
async fn refusals_change_nothing() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let with = |field: &str, value: Value| {
        let mut body = reset(NEW);
        body[field] = value;
        body
    };
    // The call itself is noted, nothing else.
    let shown = async |user: &str| {
        let mut user = sandbox.show(&format!("/users/{user}")).await;
        user.as_object_mut().unwrap().remove("resetCalls");
        user
    };
    for (user, body, status, error) in [
        ("700012399", with("admin_password", json!("guess")), 403, "ADMIN_PASSWORD_MISMATCH"),
        ("700012399", with("password", json!("short-1")), 400, "PASSWORD_POLICY"),
        ("700012399", with("password", json!("I-am-ANNETTE-9")), 400, "PASSWORD_POLICY"),
        ("700012399", with("password", json!("My-Password-9")), 400, "PASSWORD_POLICY"),
        ("700012399", with("force_change", json!("true")), 400, "INVALID_INPUT"),
        ("700012399", with("password", json!(12_345_678)), 400, "INVALID_INPUT"),
        ("700012399", Value::Null, 403, "ADMIN_PASSWORD_MISMATCH"),
        ("700012301", reset(NEW), 400, "USER_NOT_CONFIRMED"),
        ("700012302", reset(NEW), 400, "USER_NOT_CONFIRMED"),
        ("700012303", reset(NEW), 400, "USER_INACTIVE"),
        ("700012311", reset(NEW), 400, "USER_HAS_NO_EMAIL"),
    ] {
        let before = shown(user).await;
        let path = format!("{USERS}/{user}/password");
        let (got, reply) = sandbox.call(&token, Method::POST, &path, body).await;
        assert_eq!((got, &reply["error"], &reply["status_code"]), (status, &json!(error), &json!(status)));
        assert_eq!(shown(user).await, before);
    }
    let calls = sandbox.show("/calls").await;
    assert!(
        calls
            .as_array()
            .unwrap()
            .iter()
            .filter(|call| call["kind"] == "reset-password")
            .all(|call| call["applied"] == false)
    );
}

#[tokio::test]
async fn change_times_are_told_if_asked_for() {
    let sandbox = Sandbox::start(Options { change_times: true, ..Options::default() }).await;
    let token = sandbox.token().await;
    let times = async || {
        let (_, reply) = sandbox.get(&token, USERS).await;
        let user = reply["users"].as_array().unwrap().iter().find(|user| user["user_id"] == "700012399").unwrap();
        (user["password_changed_time"].as_i64().unwrap(), user["mfa_changed_time"].as_i64().unwrap())
    };
    let before = times().await;
    sandbox.reset_password(&token).await.unwrap();
    let after = times().await;
    assert!(after.0 > before.0);
    assert_eq!(after.1, before.1);
}
