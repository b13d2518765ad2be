//! The sandbox's page for people.
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::harness::{NEW, Sandbox, USERS, reset};

#[tokio::test]
async fn names_are_harmless() {
    let sandbox = Sandbox::new().await;
    let evil = "<script>alert('1')</script>\"&";
    let user = json!({"first_name": evil, "emails": [evil], "display_name": evil, "department": evil,
        "factors": [evil], "groups": [{"group_id": "1", "group_name": evil}], "user_name": evil});
    sandbox.control(Method::POST, "/users", user).await;
    let token = sandbox.token().await;
    sandbox.send(&token, Method::POST, &format!("{USERS}/<script>/password"), reset(NEW)).await.unwrap();
    let page = sandbox.page_with(&[("q", "")]).await;
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&amp;"));
}

#[tokio::test]
async fn it_says_what_it_is_and_what_happened() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    sandbox.fault("reset-password", json!({"fault": "apply-then-502"})).await;
    sandbox.reset_password(&token).await.unwrap();
    let page = sandbox.page().await;
    for text in [
        "Sandbox: a stand-in, not Zoho",
        "name=\"viewport\"",
        "Annette Charbonneau",
        "apply-then-502",
        "Your password was reset",
        "must change",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

/// Showing an unknown outcome takes one click.
#[tokio::test]
async fn a_button_makes_a_fault() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let click = |fault: &'static str, site: &'static str| sandbox.click("reset-password", fault, site);
    assert_eq!(click("apply-then-drop", "cross-site").await, StatusCode::FORBIDDEN);
    assert!(!sandbox.page().await.contains("Waiting:"), "another site's form makes no fault");
    assert_eq!(click("apply-then-drop", "same-origin").await, StatusCode::SEE_OTHER);
    assert!(sandbox.page().await.contains("reset-password: apply-then-drop × 1"));
    sandbox.reset_password(&token).await.unwrap_err();
    assert!(sandbox.page().await.contains("reset once"), "it was carried out");
    for (fault, status) in [("throttle", 429), ("apply-then-502", 502), ("refuse-password", 400), ("refuse", 400)] {
        assert_eq!(click(fault, "same-origin").await, StatusCode::SEE_OTHER, "{fault}");
        assert_eq!(sandbox.reset_password(&token).await.unwrap().status().as_u16(), status, "{fault}");
    }
    assert_eq!(click("drop-before", "same-origin").await, StatusCode::SEE_OTHER);
    assert_eq!(click("clear", "same-origin").await, StatusCode::SEE_OTHER);
    assert_eq!(sandbox.reset_password(&token).await.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn users_are_looked_for() {
    let sandbox = Sandbox::new().await;
    assert!(!sandbox.page().await.contains("Mustafa Öztürk"), "no user is shown before a reset");
    for (search, shown) in [("", true), ("öztürk", true), ("charbonneau", false)] {
        let page = sandbox.page_with(&[("q", search)]).await;
        assert_eq!(page.contains("Mustafa Öztürk"), shown, "{search}");
    }
}
