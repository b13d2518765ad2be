//! What answers mean for the call.
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
        // An error with a status of success.
        (
            with(200, json!({"status": {"code": 400}, "data": {"errorCode": "PATTERN_NOT_MATCHED"}})),
            refused("PATTERN_NOT_MATCHED"),
        ),
        // The error may be about a step after the change.
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
        // Neither the new password nor the administrator's is shown, in any form.
        (with(400, json!({"error": "The password new-PASS is weak"})), rejected("HTTP_400")),
        (with(400, json!({"error": "the-admin-password_is_wrong"})), rejected("HTTP_400")),
        // The status in the body counts if the status line is a success.
        (with(200, json!({"status": {"code": 500}, "data": {"errorCode": "INTERNAL_ERROR"}})), Reply::Unsure),
        (with(200, json!({"status_code": "503", "error": "BUSY"})), Reply::Unsure),
        (with(200, json!({"status_code": 302})), Reply::Unsure),
        (with(200, json!({"status": {"code": 404}, "data": {"errorCode": "INVALID_ACCOUNT"}})), Reply::NoSuchUser),
        (with(200, json!({"status": {"code": 401}})), denied("HTTP_401")),
        (with(200, json!({"status_code": 429, "error": "SLOW_DOWN"})), Reply::Throttled { after: None }),
        (with(200, json!({"status_code": 204, "message": "done"})), Reply::Done),
        (with(200, json!({"status_code": "200", "error": null})), Reply::Done),
        // An error without a name or number may not be one.
        (with(200, json!({"error": {}})), Reply::Unsure),
        (with(200, json!([2, {"errorCode": "INVALID_OAUTHSCOPE"}])), Reply::Unsure),
        (with(400, json!({"message": "no code"})), Reply::Unsure),
        (with(422, json!({"code": "INVALID_DATA"})), rejected("INVALID_DATA")),
        (with(404, json!({"error": "USER_NOT_FOUND"})), Reply::NoSuchUser),
        (with(404, json!({"data": {"errorCode": "INVALID_ACCOUNT"}})), Reply::NoSuchUser),
        (with(404, json!({"data": {"errorCode": "URL_RULE_NOT_CONFIGURED"}})), denied("URL_RULE_NOT_CONFIGURED")),
        (with(400, json!({"data": {"errorCode": "URL_RULE_NOT_CONFIGURED"}})), denied("URL_RULE_NOT_CONFIGURED")),
        // A path that does not exist shows nothing about the user.
        ((404, Vec::new(), "<html>Not Found</html>".to_owned()), denied("HTTP_404")),
        (with(404, json!({"message": "API endpoint not found"})), denied("HTTP_404")),
        (with(401, json!({"data": {"errorCode": "INVALID_OAUTHSCOPE"}})), denied("INVALID_OAUTHSCOPE")),
        (with(400, json!({"code": "INVALID_TOKEN", "status": "error"})), denied("INVALID_TOKEN")),
        ((408, Vec::new(), String::new()), Reply::Unsure),
        ((303, vec![("location", "/done".to_owned())], String::new()), Reply::Unsure),
        ((307, vec![("location", "http://127.0.0.1:1/".to_owned())], String::new()), Reply::Unsure),
        // Without a body, the status line is sufficient.
        ((401, Vec::new(), " ".repeat(9 * 1024 * 1024)), denied("HTTP_401")),
        (
            (429, vec![("retry-after", "3".to_owned())], " ".repeat(9 * 1024 * 1024)),
            Reply::Throttled { after: Some(3) },
        ),
        ((422, Vec::new(), " ".repeat(9 * 1024 * 1024)), Reply::Unsure),
        (with(401, json!({"data": {"errorCode": "INVALID_OAUTHTOKEN"}})), denied("INVALID_OAUTHTOKEN")),
        (with(403, json!({"error": "ADMIN_PASSWORD_MISMATCH"})), denied("ADMIN_PASSWORD_MISMATCH")),
        (with(400, json!({"error": "ADMIN_PASSWORD_MISMATCH"})), denied("ADMIN_PASSWORD_MISMATCH")),
        // Whatever the status, and whatever else the code might mean.
        (with(400, json!({"data": {"errorCode": "INVALID_ADMIN_PASSWORD"}})), denied("INVALID_ADMIN_PASSWORD")),
        (with(400, json!({"error": "PASSWORD_OF_ADMIN_PASSWORD"})), denied("PASSWORD_OF_ADMIN_PASSWORD")),
        (with(200, json!({"status_code": 400, "error": "AdminPasswordWrong"})), denied("AdminPasswordWrong")),
        (with(403, json!({"error": "the-admin-password is wrong"})), denied("HTTP_403")),
        // A field that the call does not have.
        (with(404, json!({"data": {"errorCode": "EXTRA_KEY_FOUND_IN_JSON"}})), denied("EXTRA_KEY_FOUND_IN_JSON")),
        (with(400, json!({"data": {"errorCode": "EXTRA_KEY_FOUND_IN_JSON"}})), denied("EXTRA_KEY_FOUND_IN_JSON")),
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
        let shown = format!("{} {}", answer.0, answer.2.chars().take(80).collect::<String>());
        let server = Server::start(usual(answer)).await;
        assert_eq!(perform(&asking_admin(&server.url), true).await, expected, "{shown}");
        assert_eq!(server.seen("/directory/set/7").len(), 1, "sent once: {shown}");
    }
}

#[tokio::test]
async fn nothing_is_sent_without_the_right_or_a_connection() {
    let server = Server::start(usual(ok(&json!({})))).await;
    assert_eq!(perform(&zoho(&server.url), false).await, Reply::NotSent);
    assert!(server.seen("/api").iter().all(|(method, ..)| method == "GET"));
    // The hosts for tokens and look-ups are reachable, that of the call is not.
    let mut gone = spec(&server.url, json!({}));
    settings(&mut gone).urls.as_mut().unwrap().mail = "http://127.0.0.1:1".to_owned();
    let gone = connect(&gone, &credentials()).unwrap();
    let user = annette(&zoho(&server.url)).await;
    let reply = gone.perform(fenced(true), &user, Some(&SecretString::from("New-pass"))).await;
    assert_eq!(reply, Reply::NotSent);
}

/// A wrong password of the administrator is not sent again. A Directory that sends none is not stopped.
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

/// A provider whose call also sends the administrator's password.
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
    let user = annette_for_mfa(&directory).await;
    assert_eq!(directory.perform(fenced_call(Call::ResetMfa {}, true), &user, None).await, Reply::Done);
    let sent: Vec<Value> = server
        .seen("/api/organization/80/accounts/88")
        .into_iter()
        .filter(|(method, ..)| method == "PUT")
        .map(|(_, _, sent)| serde_json::from_str(sent.strip_prefix("Zoho-oauthtoken 1000.token ").unwrap()).unwrap())
        .collect();
    assert_eq!(
        sent,
        [
            json!({"mode": "resetPassword", "password": "New-pass"}),
            json!({"mode": "updateTFAStatus", "tfaEnabled": false})
        ]
    );
}

/// Each flag has the name that a superseded copy of the page uses, and is sent even where the request does not ask for it.
#[tokio::test]
async fn the_fields_of_superseded_pages() {
    let server = Server::start(usual(ok(&json!({"status": {"code": 200}})))).await;
    let set = |force, clear| Call::SetPassword {
        force_change_on_login: force,
        clear_mobile_sessions_and_api_tokens: clear,
        email_to_user: false,
    };
    for (page, force, clear, sent) in [
        ("OlderPage", true, true, Some(json!({"zuid": 88, "oneTimePassword": true, "resetAuthtoken": true}))),
        ("OlderPage", false, false, Some(json!({"zuid": 88, "oneTimePassword": false, "resetAuthtoken": false}))),
        (
            "OldestPage",
            false,
            true,
            Some(json!({"zuid": 88, "resetAuthtoken": true, "adminPassword": "the-admin-password"})),
        ),
        ("OldestPage", true, true, None),
    ] {
        let fields = json!({"resetPasswordFields": page});
        let directory = connect(&spec(&server.url, fields), &credentials()).unwrap();
        let user = annette(&directory).await;
        let puts =
            || server.seen("/api/organization/80/accounts/88").into_iter().filter(|(method, ..)| method == "PUT");
        let before = puts().count();
        let reply =
            directory.perform(fenced_call(set(force, clear), true), &user, Some(&SecretString::from("New-pass"))).await;
        let Some(mut body) = sent else {
            assert_eq!((reply, puts().count()), (Reply::NotSent, before), "a flag is never dropped");
            continue;
        };
        assert_eq!(reply, Reply::Done);
        body["mode"] = json!("resetPassword");
        body["password"] = json!("New-pass");
        let (_, _, last) = puts().next_back().unwrap();
        let last: Value = serde_json::from_str(last.strip_prefix("Zoho-oauthtoken 1000.token ").unwrap()).unwrap();
        assert_eq!(last, body, "{page}");
    }
    // A wrong password of the administrator stops these, too, if they send one.
    let stop = |page: &str| {
        let fields = json!({"resetPasswordFields": page});
        connect(&spec(&server.url, fields), &credentials()).unwrap().stopped_by("INVALID_ADMIN_PASSWORD")
    };
    assert_eq!(stop("OldestPage").unwrap().reason(), "CredentialsRefused");
    assert_eq!(stop("OlderPage"), None);
}

/// The Directory may have changed since the facts were read. A flag that is no longer supported is not dropped: nothing is sent.
#[tokio::test]
async fn what_cannot_be_honoured_or_addressed_is_not_sent() {
    let server = Server::start(usual(ok(&json!({"status": {"code": 200}})))).await;
    let directory = zoho(&server.url);
    let user = annette(&directory).await;
    let password = SecretString::from("New-pass");
    let flags = |force, clear, email| Call::SetPassword {
        force_change_on_login: force,
        clear_mobile_sessions_and_api_tokens: clear,
        email_to_user: email,
    };
    let mut odd = user.clone();
    odd.handle.insert("zuid".to_owned(), "88/../89".to_owned());
    for (call, user, password) in [
        (flags(true, false, false), &user, Some(&password)),
        (flags(false, true, false), &user, Some(&password)),
        (flags(false, false, true), &user, Some(&password)),
        (SET, &user, None),
        (SET, &odd, Some(&password)),
    ] {
        let reply = directory.perform(fenced_call(call.clone(), true), user, password).await;
        assert_eq!(reply, Reply::NotSent, "{call:?}");
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
        let reply = zoho(&server.url).perform(fenced, &user, Some(&SecretString::from("New-pass"))).await;
        match (reply, expected) {
            (Reply::Throttled { after: Some(after) }, Reply::Throttled { .. }) => assert!(after <= 3600, "{after}"),
            (reply, expected) => assert_eq!(reply, expected),
        }
        assert_eq!(server.seen("/").len(), 1);
    }
}

/// A server that closes the connection within an answer, and one that never answers.
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
        let reply = directory.perform(fenced, &user, Some(&SecretString::from("New-pass"))).await;
        match (reply, expected) {
            // A date counts from now, and the operator waits for at most a day.
            (Reply::Throttled { after: Some(after) }, Reply::Throttled { .. }) => assert_eq!(after, 24 * 3600),
            (reply, expected) => assert_eq!(reply, expected, "{says:?}"),
        }
        assert_eq!(connections.load(Ordering::Relaxed), 1, "{says:?}");
    }
}

/// During a handshake that never ends, no request is sent.
#[tokio::test]
async fn a_silent_handshake() {
    let server = Server::start(usual(ok(&json!({})))).await;
    let user = annette(&zoho(&server.url)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut to = spec(&server.url, json!({}));
    to.limits.request_timeout = "1s".to_owned();
    settings(&mut to).urls.as_mut().unwrap().mail = format!("https://{}", listener.local_addr().unwrap());
    let directory = connect(&to, &credentials()).unwrap();
    // The connection has a token now. Paused time advances only while all tasks wait.
    directory.check(&BTreeSet::new()).await.unwrap();
    tokio::time::pause();
    let fenced = fenced(true);
    let reply = directory.perform(fenced, &user, Some(&SecretString::from("New-pass"))).await;
    assert_eq!(reply, Reply::NotSent);
}
