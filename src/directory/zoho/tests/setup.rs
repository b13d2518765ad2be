//! What is wrong with a Directory, and how templates are filled.
use super::*;

#[test]
fn what_is_wrong_with_a_directory_is_named() {
    let template = |path: &str, body: Value| json!({"resetPassword": {"method": "POST", "path": path, "body": body}});
    let good = json!({"password": "${password}"});
    for (patch, says) in [
        (template("/x/${user.id}", json!({"password": "${pasword}"})), "unknown placeholder ${pasword}"),
        (template("/x/${user.id}/${password}", good.clone()), "unknown placeholder ${password}"),
        (template("/x/${user.id}?y=1", good.clone()), "plain path"),
        (template("/x/${user.id}/../y", good.clone()), "plain path"),
        (template("/x/${user.id}", json!({"password": "${password"})), "not closed"),
        (template("/x/${user.id}", json!({"nothing": true})), "never uses ${password}"),
        (template("/x", good.clone()), "never says which user"),
        (template("x/${user.id}", good.clone()), "begin with a slash"),
        (template("/x/${user.id}", json!("${password}")), "JSON object"),
        (template("/x/${user.id}", json!({"password": "${password}", "${user.email}": 1})), "only values"),
        (json!({"organization": "70/../71"}), "organization must be digits"),
        (json!({"zoid": ""}), "zoid must be digits"),
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
        (
            json!({"resetPasswordFields": "OlderPage", "resetPassword": {"method": "POST", "path": "/x/${user.id}", "body": good}}),
            "resetPasswordFields is about the default call",
        ),
    ] {
        let error = connect(&spec("https://x", patch), &credentials()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}\nshould say: {says}");
        assert_eq!(error.reason(), "InvalidConfiguration");
    }
    for key in ["client-id", "client-secret", "refresh-token"] {
        let mut without = credentials();
        without.remove(key);
        let error = connect(&spec("https://x", json!({})), &without).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    let mut without = credentials();
    without.remove("admin-password");
    assert!(connect(&spec("https://x", json!({})), &without).is_ok(), "only a template asks for it");
    let asks = template("/x/${user.id}", json!({"password": "${password}", "admin": "${adminPassword}"}));
    let oldest = json!({"resetPasswordFields": "OldestPage"});
    for (asks, says) in [(&asks, "a template asks for ${adminPassword}"), (&oldest, "OldestPage sends it")] {
        let error = connect(&spec("https://x", asks.clone()), &without).unwrap_err();
        assert!(error.to_string().contains("admin-password") && error.to_string().contains(says), "{error}");
    }
    assert!(connect(&spec("https://x", json!({"resetPasswordFields": "OlderPage"})), &without).is_ok());
    let shown = format!("{:?}", connect(&spec("https://x", asks), &credentials()).unwrap());
    assert!(!shown.contains("the-client-id"), "{shown}");
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
    let directory = connect(&spec(&server.url, templates), &credentials()).unwrap();
    let user = annette(&directory).await;
    let call = Call::SetPassword {
        force_change_on_login: true,
        clear_mobile_sessions_and_api_tokens: false,
        email_to_user: true,
    };
    let password = SecretString::from("New-${user.id}-\"quoted\"");
    assert_eq!(directory.perform(fenced_call(call, true), &user, Some(&password)).await, Reply::Done);
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

/// A template without a body sends none.
#[tokio::test]
async fn a_template_without_a_body() {
    let server = Server::start(usual(ok(&json!({"status_code": 200})))).await;
    let templates = json!({"resetMFA": {"method": "POST", "path": "/directory/${user.id}/mfa"}});
    let directory = connect(&spec(&server.url, templates), &credentials()).unwrap();
    let user = annette_for_mfa(&directory).await;
    let fenced = fenced_call(Call::ResetMfa {}, true);
    assert_eq!(directory.perform(fenced, &user, None).await, Reply::Done);
    assert_eq!(server.seen("/directory/7/mfa").pop().unwrap().2, "Zoho-oauthtoken 1000.token ");
}
