//! What the call's answers amount to.
use super::*;

fn denied(code: &str) -> Reply {
    Reply::Denied { code: code.to_owned() }
}

/// Protocol, section 6.
#[tokio::test]
async fn what_an_answer_amounts_to() {
    let rejected = |code: &str| Reply::Rejected { code: code.to_owned() };
    let refused = |code: &str| Reply::PasswordRefused { code: code.to_owned() };
    let with = |status, body: Value| (status, Vec::new(), body.to_string());
    let table: Vec<(Answered, Reply)> = vec![
        (with(200, json!({"status": {"code": 200, "description": "success"}})), Reply::Done),
        (with(201, json!({"status_code": 201})), Reply::Done),
        ((204, Vec::new(), String::new()), Reply::Done),
        // A success that is none.
        (
            with(200, json!({"status": {"code": 400}, "data": {"errorCode": "PATTERN_NOT_MATCHED"}})),
            refused("PATTERN_NOT_MATCHED"),
        ),
        // It may be about what comes after the change.
        (with(200, json!({"error": "SOMETHING_ELSE"})), Reply::Unsure),
        (with(200, json!({"error": {"title": "EMAIL_NOT_SENT"}})), Reply::Unsure),
        (with(200, json!({"status_code": 400, "error": "USER_LOCKED"})), rejected("USER_LOCKED")),
        ((200, Vec::new(), "<html>".to_owned()), Reply::Unsure),
        ((200, Vec::new(), String::new()), Reply::Unsure),
        (with(200, json!({"status_code": 500, "message": "x"})), Reply::Unsure),
        (with(500, json!({"error": "INTERNAL_ERROR"})), Reply::Unsure),
        ((502, Vec::new(), "bad gateway".to_owned()), Reply::Unsure),
        ((503, vec![("retry-after", "5".to_owned())], String::new()), Reply::Unsure),
        (with(400, json!({"error": "PASSWORD_POLICY"})), refused("PASSWORD_POLICY")),
        (with(400, json!({"error": {"title": "A B"}})), rejected("A_B")),
        (with(400, json!({"error": {"title": "A B<script>"}})), rejected("HTTP_400")),
        (with(400, json!({"error": "x".repeat(65)})), rejected("HTTP_400")),
        (with(200, json!({"error": "What happened was this: nothing!"})), Reply::Unsure),
        // Neither the new password nor the administrator's is shown, in whatever shape.
        (with(400, json!({"error": "The password new-PASS is weak"})), rejected("HTTP_400")),
        (with(400, json!({"error": "the-admin-password_is_wrong"})), rejected("HTTP_400")),
        // The body's own number counts where the status line says success.
        (with(200, json!({"status": {"code": 500}, "data": {"errorCode": "INTERNAL_ERROR"}})), Reply::Unsure),
        (with(200, json!({"status_code": "503", "error": "BUSY"})), Reply::Unsure),
        (with(200, json!({"status_code": 302})), Reply::Unsure),
        (with(200, json!({"status": {"code": 404}, "data": {"errorCode": "INVALID_ACCOUNT"}})), Reply::NoSuchUser),
        (with(200, json!({"status": {"code": 401}})), denied("HTTP_401")),
        (with(200, json!({"status_code": 429, "error": "SLOW_DOWN"})), Reply::Throttled { after: None }),
        (with(200, json!({"status_code": 204, "message": "done"})), Reply::Done),
        (with(200, json!({"status_code": "200", "error": null})), Reply::Done),
        // An error that is neither named nor numbered may be none.
        (with(200, json!({"error": {}})), Reply::Unsure),
        (with(200, json!([2, {"errorCode": "INVALID_OAUTHSCOPE"}])), Reply::Unsure),
        (with(400, json!({"message": "no code"})), Reply::Unsure),
        (with(422, json!({"code": "INVALID_DATA"})), rejected("INVALID_DATA")),
        (with(404, json!({"error": "USER_NOT_FOUND"})), Reply::NoSuchUser),
        (with(404, json!({"data": {"errorCode": "INVALID_ACCOUNT"}})), Reply::NoSuchUser),
        (with(404, json!({"data": {"errorCode": "URL_RULE_NOT_CONFIGURED"}})), denied("URL_RULE_NOT_CONFIGURED")),
        (with(400, json!({"data": {"errorCode": "URL_RULE_NOT_CONFIGURED"}})), denied("URL_RULE_NOT_CONFIGURED")),
        // A path that is not there says nothing about the user.
        ((404, Vec::new(), "<html>Not Found</html>".to_owned()), denied("HTTP_404")),
        (with(404, json!({"message": "API endpoint not found"})), denied("HTTP_404")),
        (with(401, json!({"data": {"errorCode": "INVALID_OAUTHSCOPE"}})), denied("INVALID_OAUTHSCOPE")),
        (with(400, json!({"code": "INVALID_TOKEN", "status": "error"})), denied("INVALID_TOKEN")),
        ((408, Vec::new(), String::new()), Reply::Unsure),
        ((303, vec![("location", "/done".to_owned())], String::new()), Reply::Unsure),
        ((307, vec![("location", "http://127.0.0.1:1/".to_owned())], String::new()), Reply::Unsure),
        // Where the body is lost, the status line still tells.
        ((401, Vec::new(), " ".repeat(9 * 1024 * 1024)), denied("HTTP_401")),
        (
            (429, vec![("retry-after", "3".to_owned())], " ".repeat(9 * 1024 * 1024)),
            Reply::Throttled { after: Some(3) },
        ),
        ((422, Vec::new(), " ".repeat(9 * 1024 * 1024)), Reply::Unsure),
        (with(401, json!({"data": {"errorCode": "INVALID_OAUTHTOKEN"}})), denied("INVALID_OAUTHTOKEN")),
        (with(403, json!({"error": "ADMIN_PASSWORD_MISMATCH"})), denied("ADMIN_PASSWORD_MISMATCH")),
        (with(400, json!({"error": "ADMIN_PASSWORD_MISMATCH"})), denied("ADMIN_PASSWORD_MISMATCH")),
        (with(403, json!({"error": "the-admin-password is wrong"})), denied("HTTP_403")),
        (with(403, json!({"error": "USER_IS_OWNER"})), rejected("USER_IS_OWNER")),
        ((302, vec![("location", "http://127.0.0.1:1/".to_owned())], String::new()), Reply::Unsure),
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
        assert_eq!(perform(&asking_admin(&server.url), true).await, expected, "{told}");
        assert_eq!(server.seen("/directory/set/7").len(), 1, "sent once: {told}");
    }
}

#[tokio::test]
async fn nothing_is_sent_without_the_right_or_a_connection() {
    let server = Server::start(usual(ok(&json!({})))).await;
    assert_eq!(perform(&zoho(&server.url), false).await, Reply::NotSent);
    assert!(server.seen("/api").iter().all(|(method, ..)| method == "GET"));
    // Tokens and look-ups go through, the call's host is not there.
    let mut gone = spec(&server.url, json!({}));
    settings(&mut gone).urls.as_mut().unwrap().mail = "http://127.0.0.1:1".to_owned();
    let gone = connect(&gone, &credentials()).unwrap();
    let user = annette(&zoho(&server.url)).await;
    let reply = gone.perform(fenced(true), &SET, &user, Some(&SecretString::from("New-pass"))).await;
    assert_eq!(reply, Reply::NotSent);
}

/// A wrong password of an administrator is not tried again, but by who sends none.
#[tokio::test]
async fn the_administrators_password_is_refused() {
    let [asking, other] = ["https://a.example", "https://b.example"].map(asking_admin);
    for code in ["ADMIN_PASSWORD_MISMATCH", "INVALID_ADMIN_PASSWORD", "AdminPasswordWrong"] {
        let stop = asking.stopped_by(code).unwrap();
        assert_eq!(stop.reason(), "CredentialsRefused");
        assert!(stop.to_string().contains(code) && stop.to_string().contains("key admin-password"), "{stop}");
    }
    assert_eq!(other.stopped_by("INVALID_OAUTHTOKEN"), None);
    assert_eq!(zoho("https://a.example").stopped_by("ADMIN_PASSWORD_MISMATCH"), None);
}

/// A provider that sends the administrator's password, too.
fn asking_admin(url: &str) -> Zoho {
    let template = json!({"resetPassword": {
        "method": "PUT",
        "path": "/directory/set/${user.id}",
        "body": {"password": "${password}", "force": "${forceChangeOnLogin}", "admin": "${adminPassword}"},
    }});
    connect(&spec(url, template), &credentials()).unwrap()
}

#[tokio::test]
async fn the_documented_calls() {
    let server = Server::start(usual(ok(&json!({"status": {"code": 200, "description": "success"}})))).await;
    let directory = zoho(&server.url);
    assert_eq!(perform(&directory, true).await, Reply::Done);
    let user = annette(&directory).await;
    let fenced = fenced(true);
    assert_eq!(directory.perform(fenced, &Once::ResetMfa {}, &user, None).await, Reply::Done);
    let sent: Vec<Value> = server
        .seen("/api/organization/80/accounts/88")
        .into_iter()
        .filter(|(method, ..)| method == "PUT")
        .map(|(_, _, said)| serde_json::from_str(said.strip_prefix("Zoho-oauthtoken 1000.token ").unwrap()).unwrap())
        .collect();
    assert_eq!(
        sent,
        [
            json!({"mode": "resetPassword", "password": "New-pass"}),
            json!({"mode": "updateTFAStatus", "tfaEnabled": false})
        ]
    );
}

/// The Directory may have changed since the gates looked: a flag that cannot be honoured any more is not dropped.
#[tokio::test]
async fn what_cannot_be_honoured_or_addressed_is_not_sent() {
    let server = Server::start(usual(ok(&json!({"status": {"code": 200}})))).await;
    let directory = zoho(&server.url);
    let user = annette(&directory).await;
    let password = SecretString::from("New-pass");
    let flags = |force, clear, email| Once::SetPassword {
        force_change_on_login: force,
        clear_mobile_sessions_and_api_tokens: clear,
        email_to_user: email,
    };
    let mut odd = user.clone();
    odd.handle.insert("zuid".to_owned(), "88/../89".to_owned());
    for (once, user, password) in [
        (flags(true, false, false), &user, Some(&password)),
        (flags(false, true, false), &user, Some(&password)),
        (flags(false, false, true), &user, Some(&password)),
        (SET, &user, None),
        (SET, &odd, Some(&password)),
    ] {
        let reply = directory.perform(fenced(true), &once, user, password).await;
        assert_eq!(reply, Reply::NotSent, "{once:?}");
    }
    assert!(server.seen("/api").iter().all(|(method, ..)| method == "GET"));
}

/// Without a token nothing was sent, and the reply says why.
#[tokio::test]
async fn no_token_no_call() {
    let server = Server::start(usual(ok(&json!({})))).await;
    let user = annette(&zoho(&server.url)).await;
    for (answer, expected) in [
        (ok(&json!({"error": "invalid_code"})), denied("NO_TOKEN")),
        ((502, Vec::new(), "<html>".to_owned()), Reply::NotSent),
        ((429, vec![("retry-after", "3600".to_owned())], String::new()), Reply::Throttled { after: None }),
    ] {
        let server = Server::start(move |_, _| answer.clone()).await;
        let fenced = fenced(true);
        let reply = zoho(&server.url).perform(fenced, &SET, &user, Some(&SecretString::from("New-pass"))).await;
        match (reply, expected) {
            (Reply::Throttled { after: Some(after) }, Reply::Throttled { .. }) => assert!(after <= 3600, "{after}"),
            (reply, expected) => assert_eq!(reply, expected),
        }
        assert_eq!(server.seen("/").len(), 1);
    }
}

/// A server that breaks off, and one that never says a word.
#[tokio::test]
async fn lost_answers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start(usual(ok(&json!({})))).await;
    let user = annette(&zoho(&server.url)).await;
    for (says, expected) in [
        ("", Reply::Unsure),
        ("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{\"status_code\"", Reply::Unsure),
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 50\r\n\r\n{", denied("HTTP_401")),
        (
            "HTTP/1.1 429 Slow\r\nretry-after: Fri, 31 Dec 2100 23:59:59 GMT\r\ncontent-length: 5\r\n\r\n{",
            Reply::Throttled { after: None },
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut to = spec(&server.url, json!({}));
        settings(&mut to).urls.as_mut().unwrap().mail = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(says.as_bytes()).await;
            }
        });
        let directory = connect(&to, &credentials()).unwrap();
        let fenced = fenced(true);
        let reply = directory.perform(fenced, &SET, &user, Some(&SecretString::from("New-pass"))).await;
        match (reply, expected) {
            // A date counts from now, and a day is as long as anybody waits for it.
            (Reply::Throttled { after: Some(after) }, Reply::Throttled { .. }) => assert_eq!(after, 24 * 3600),
            (reply, expected) => assert_eq!(reply, expected, "{says:?}"),
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1, "{says:?}");
    }
}

/// A handshake that never ends is no request that was sent.
#[tokio::test]
async fn a_silent_handshake() {
    let server = Server::start(usual(ok(&json!({})))).await;
    let user = annette(&zoho(&server.url)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut to = spec(&server.url, json!({}));
    to.limits.request_timeout = "1s".to_owned();
    settings(&mut to).urls.as_mut().unwrap().mail = format!("https://{}", listener.local_addr().unwrap());
    let directory = connect(&to, &credentials()).unwrap();
    // It holds a token now, and time goes on only while nothing else is to be done.
    directory.check(&BTreeSet::new()).await.unwrap();
    tokio::time::pause();
    let fenced = fenced(true);
    let reply = directory.perform(fenced, &SET, &user, Some(&SecretString::from("New-pass"))).await;
    assert_eq!(reply, Reply::NotSent);
}
