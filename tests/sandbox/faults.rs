//! Faults that a person or a test plans at the sandbox.
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{ANNETTE, NEW, Sandbox, USERS, reset};

#[tokio::test]
async fn an_answer_can_be_replaced() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let cases = [
        (json!({"fault": "refuse", "status": 409, "body": {"error": "BUSY"}}), 409, "BUSY"),
        (json!({"fault": "refuse", "status": 200, "body": "plain text"}), 200, "plain text"),
        (json!({"fault": "throttle"}), 429, "TOO_MANY_REQUESTS"),
        (json!({"fault": "throttle", "shape": "rolling"}), 400, "URL_ROLLING_THROTTLES_LIMIT_EXCEEDED"),
        (json!({"fault": "throttle", "shape": "cliq"}), 400, "request_limit_exceeded"),
        (json!({"fault": "throttle", "shape": "continuous"}), 400, "too many requests continuously"),
        (json!({"fault": "html"}), 200, "<html>"),
        (json!({"fault": "huge", "bytes": 3_000_000}), 200, "xxxxxxxx"),
        (json!({"fault": "redirect", "location": "http://127.0.0.1:9/"}), 302, ""),
    ];
    for (fault, status, text) in cases {
        sandbox.fault("reset-password", fault.clone()).await;
        let reply = sandbox.reset_password(&token).await.unwrap();
        assert_eq!(reply.status().as_u16(), status, "{fault}");
        if fault["fault"] == "redirect" {
            assert_eq!(reply.headers()["location"], "http://127.0.0.1:9/");
        }
        let body = reply.text().await.unwrap();
        assert!(body.contains(text), "{fault}");
        if fault["fault"] == "huge" {
            assert!(body.len() > 3_000_000);
            serde_json::from_str::<Value>(&body).unwrap();
        }
    }
    assert_eq!(sandbox.annette().await["passwordResets"], 0);
    let refuse = json!({"fault": "apply-then-refuse", "status": 400, "body": {"error": "PASSWORD_POLICY"}});
    sandbox.fault("reset-password", refuse).await;
    let reply = sandbox.reset_password(&token).await.unwrap();
    assert_eq!((reply.status().as_u16(), &*reply.text().await.unwrap()), (400, r#"{"error":"PASSWORD_POLICY"}"#));
    assert_eq!(sandbox.annette().await["passwordResets"], 1);
    assert_eq!(sandbox.show("/faults").await, json!([]), "each happened once");
    assert_eq!(sandbox.reset_password(&token).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_throttle_may_say_when_to_come_back() {
    let sandbox = Sandbox::new().await;
    sandbox.fault("look-up", json!({"fault": "throttle", "retryAfter": 7})).await;
    sandbox.fault("look-up", json!({"fault": "throttle"})).await;
    let reply = sandbox.send("", Method::GET, USERS, Value::Null).await.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.headers()["retry-after"]), (429, &"7".parse().unwrap()));
    let reply = sandbox.send("", Method::GET, USERS, Value::Null).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.headers().get("retry-after")), (429, None));
}

#[tokio::test]
async fn a_connection_is_closed_without_a_status() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    for (fault, resets) in [("drop-before", 0), ("apply-then-drop", 1)] {
        sandbox.fault("reset-password", json!({"fault": fault})).await;
        let error = sandbox.reset_password(&token).await.unwrap_err();
        assert!(error.is_request() && !error.is_timeout() && error.status().is_none(), "{error:?}");
        assert_eq!(sandbox.annette().await["passwordResets"], resets, "{fault}");
    }
    // Byte for byte: nothing at all comes back.
    sandbox.fault("look-up", json!({"fault": "drop-before"})).await;
    let mut stream = TcpStream::connect(sandbox.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(format!("GET {USERS} HTTP/1.1\r\nHost: sandbox\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"");
    let calls = sandbox.show("/calls").await;
    let seen: Vec<_> =
        calls.as_array().unwrap()[1..].iter().map(|c| (&c["fault"], &c["applied"], &c["status"])).collect();
    assert_eq!(
        seen,
        [
            (&json!("drop-before"), &json!(false), &Value::Null),
            (&json!("apply-then-drop"), &json!(true), &Value::Null),
            (&json!("drop-before"), &json!(false), &Value::Null),
        ]
    );
}

#[tokio::test]
async fn a_gateway_may_lie() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    sandbox.fault("reset-password", json!({"fault": "apply-then-502"})).await;
    assert_eq!(sandbox.reset_password(&token).await.unwrap().status(), 502);
    assert_eq!(sandbox.annette().await["passwordResets"], 1);
}

#[tokio::test]
async fn a_delayed_call_proceeds_even_if_the_client_has_gone() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let password = format!("{ANNETTE}/password");
    let applied = async |resets: u64| {
        while sandbox.annette().await["passwordResets"].as_u64().unwrap() < resets {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    sandbox.fault("reset-password", json!({"fault": "delay", "milliseconds": 20})).await;
    assert_eq!(sandbox.reset_password(&token).await.unwrap().status(), 200);
    applied(1).await;

    sandbox.fault("reset-password", json!({"fault": "delay", "milliseconds": 100})).await;
    let client = tokio::spawn(sandbox.request(&token, Method::POST, &password, reset(NEW)).send());
    sandbox.received("reset-password", 2).await;
    client.abort();
    applied(2).await;

    sandbox.fault("reset-password", json!({"fault": "delay", "milliseconds": 20, "applyLate": true})).await;
    let error = sandbox.reset_password(&token).await.unwrap_err();
    assert!(error.is_request() && !error.is_timeout());
    applied(3).await;
}

#[tokio::test]
async fn a_hanging_call_ends_with_its_client_or_the_server() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    sandbox.fault("reset-password", json!({"fault": "hang"})).await;
    let client = sandbox.request(&token, Method::POST, &format!("{ANNETTE}/password"), reset(NEW)).send();
    let client = tokio::spawn(client);
    sandbox.received("reset-password", 1).await;
    assert_eq!(sandbox.annette().await["passwordResets"], 0);
    sandbox.stop().await;
    assert!(client.await.unwrap().is_err());
}

#[tokio::test]
async fn an_answer_may_trickle() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    sandbox.fault("reset-password", json!({"fault": "slow", "millisecondsPerByte": 1})).await;
    let mut reply = sandbox.reset_password(&token).await.unwrap();
    let mut body = Vec::new();
    let mut pieces = 0;
    while let Some(piece) = reply.chunk().await.unwrap() {
        body.extend_from_slice(&piece);
        pieces += 1;
    }
    assert!(pieces > 1);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["status_code"], 200);
}

#[tokio::test]
async fn a_fault_waits_for_its_user_and_counts_down() {
    let sandbox = Sandbox::new().await;
    let token = sandbox.token().await;
    let fault = json!({"call": "reset-password", "user": "700012307", "times": 2, "fault": "apply-then-502"});
    sandbox.control(Method::POST, "/faults", fault).await;
    assert_eq!(sandbox.reset_password(&token).await.unwrap().status(), 200, "another user");
    let hiro = async |method: Method, path: &str, body: Value| {
        sandbox.send(&token, method, path, body).await.unwrap().status()
    };
    let password = format!("{USERS}/700012307/password");
    assert_eq!(hiro(Method::POST, &password, reset(NEW)).await, 502);
    // The same user under the other id.
    let body = json!({"mode": "resetPassword", "password": NEW});
    assert_eq!(hiro(Method::PUT, "/api/organization/800012345/accounts/800012307", body).await, 502);
    assert_eq!(hiro(Method::POST, &password, reset(NEW)).await, 200);

    sandbox.fault("look-up", json!({"fault": "hang"})).await;
    sandbox.control(Method::DELETE, "/faults", Value::Null).await;
    assert_eq!(sandbox.get(&token, USERS).await.0, 200);
}

#[tokio::test]
async fn a_fault_that_is_none_is_refused() {
    let sandbox = Sandbox::new().await;
    for fault in [
        json!({"call": "reset-password", "fault": "dropp"}),
        json!({"call": "reset-everything", "fault": "hang"}),
        json!({"call": "look-up", "fault": "hang", "time": 2}),
        json!({"call": "look-up", "fault": "hang", "times": 0}),
        json!({"call": "look-up", "fault": "delay", "seconds": 1}),
        json!({"call": "look-up", "fault": "refuse", "status": 99}),
        json!({"call": "look-up", "fault": "redirect", "location": "a\nb"}),
    ] {
        let (status, reply) = sandbox.call("", Method::POST, "/sandbox/faults", fault.clone()).await;
        assert_eq!(status, 400, "{fault}");
        assert!(reply["error"].is_string());
    }
    assert_eq!(sandbox.show("/faults").await, json!([]));
}

/// What chaos does to a call depends on seed, user and number of the call alone; a fault that waits goes first.
#[tokio::test]
async fn chaos_can_be_repeated() {
    let run = async |seed: u64| {
        let sandbox = Sandbox::new().await;
        let token = sandbox.token().await;
        sandbox.control(Method::PUT, "/chaos", json!({"seed": seed, "oneIn": 2})).await;
        sandbox.fault("reset-password", json!({"fault": "refuse", "status": 409})).await;
        for _ in 0..12 {
            drop(sandbox.reset_password(&token).await);
        }
        sandbox.show("/users/700012399").await["resetCalls"].clone()
    };
    let (first, again, other) = tokio::join!(run(1), run(1), run(2));
    assert_eq!(first.as_array().unwrap().len(), 12);
    assert_eq!(first[0], "refuse 409");
    assert_eq!(first, again);
    assert_ne!(first, other);
    let sandbox = Sandbox::new().await;
    assert_eq!(sandbox.call("", Method::PUT, "/sandbox/chaos", json!({"seed": 1, "oneIn": 0})).await.0, 400);
}
