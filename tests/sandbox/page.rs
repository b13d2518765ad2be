//! The page.
use reqwest::Method;
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
    let page = sandbox.page().await;
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
        "Mustafa Öztürk",
        "apply-then-502",
        "Your password was reset",
        "must change",
    ] {
        assert!(page.contains(text), "{text}");
    }
}
