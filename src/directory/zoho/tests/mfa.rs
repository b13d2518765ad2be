//! MFA by the default call: whether it is on is evidence.
use super::*;
use crate::core::record::Attempt;

/// A server whose account shows MFA with the current value of `shown`. `write` answers the call.
async fn showing(shown: Arc<Mutex<Value>>, write: Answered) -> Server {
    let usually = usual(write);
    Server::start(move |method, path| {
        if method == "GET" && path.starts_with("/api/") {
            let mut data = json!({"zuid": 88, "role": "member"});
            data["tfaEnabled"] = shown.lock().unwrap().clone();
            return ok(&json!({"status": {"code": 200}, "data": data}));
        }
        usually(method, path)
    })
    .await
}

/// The record of an attempt that began this many seconds ago.
fn begun(ago: i64, baseline: Option<&str>) -> Record {
    let record = record();
    let started_at = Timestamp::now().saturating_sub(jiff::SignedDuration::from_secs(ago)).unwrap();
    let deadline = started_at.saturating_add(jiff::SignedDuration::from_secs(25)).unwrap();
    let baseline = baseline.map(str::to_owned);
    Record { mode: Mode::MFA, attempt: Attempt { started_at, deadline, baseline, ..record.attempt }, ..record }
}

/// The look-up reads it only for mode MFA and the default call. A value that is neither true nor false is unknown.
#[tokio::test]
async fn whether_it_is_on_is_shown() {
    for (shown, on, baseline) in [
        (json!(true), Some(true), Some("on")),
        (json!(false), Some(false), None),
        (json!("true"), None, None),
        (json!(null), None, None),
        (json!(1), None, None),
    ] {
        let server = showing(Arc::new(Mutex::new(shown.clone())), ok(&json!({}))).await;
        let user = annette_for_mfa(&zoho(&server.url)).await;
        match on {
            Some(on) => assert_eq!(user.mfa_on, Seen::Known(on)),
            None => assert!(matches!(user.mfa_on, Seen::Unknown(_)), "{shown}"),
        }
        assert_eq!(user.baseline().as_deref(), baseline, "{shown}");
        assert_eq!(annette(&zoho(&server.url)).await.mfa_on, Seen::Unread);
        let template = json!({"resetMFA": {"method": "POST", "path": "/directory/${user.id}/mfa"}});
        let by_template = connect(&spec(&server.url, template), &credentials()).unwrap();
        assert_eq!(annette_for_mfa(&by_template).await.mfa_on, Seen::Unread);
    }
    // A time of the last change is better evidence.
    let server = showing(Arc::new(Mutex::new(json!(true))), ok(&json!({}))).await;
    let mut user = annette_for_mfa(&zoho(&server.url)).await;
    user.changed_at = Seen::Absent;
    assert_eq!(user.baseline().as_deref(), Some("never"));
}

#[tokio::test]
async fn what_it_proves() {
    for (shown, ago, baseline, says) in [
        (json!(false), 3, Some("on"), None),
        (json!(false), 80, Some("on"), None),
        // The attempt is over: the user or an administrator may have turned MFA off since.
        (json!(false), 90, Some("on"), Some("as off, which does not prove")),
        (json!(true), 3, Some("on"), Some("shows MFA as on")),
        (json!("false"), 3, Some("on"), Some("does not show whether")),
        // A state that was not read before the call proves nothing now.
        (json!(false), 3, None, Some("no time of the last change")),
        (json!(false), 3, Some("never"), Some("no time of the last change")),
    ] {
        let server = showing(Arc::new(Mutex::new(shown.clone())), ok(&json!({}))).await;
        let proof = zoho(&server.url).verify(&begun(ago, baseline)).await.unwrap();
        match (&proof, says) {
            (Finding::Proven(Evidence::Marker), None) => {}
            (Finding::Inconclusive(text) | Finding::Changed(text), Some(says)) => {
                assert!(text.contains(says), "{text}");
            }
            _ => panic!("{shown}, {ago} s ago, {baseline:?}: {proof:?}"),
        }
        assert_eq!(matches!(proof, Finding::Changed(_)), says.is_some_and(|says| says.contains("as off")), "{proof:?}");
    }
    // Without an answer the state is unknown.
    let usually = usual(ok(&json!({})));
    let server =
        Server::start(
            move |method, path| {
                if path.starts_with("/api/") { (502, Vec::new(), String::new()) } else { usually(method, path) }
            },
        )
        .await;
    assert!(zoho(&server.url).verify(&begun(3, Some("on"))).await.is_err());
}

/// The Directory may have changed since the look-up: facts that were read for one call are not used for another.
#[tokio::test]
async fn no_other_call_is_sent_than_was_looked_at() {
    let server = showing(Arc::new(Mutex::new(json!(true))), ok(&json!({"status": {"code": 200}}))).await;
    let template = json!({"resetMFA": {"method": "POST", "path": "/directory/${user.id}/mfa"}});
    let by_template = connect(&spec(&server.url, template), &credentials()).unwrap();
    let default = zoho(&server.url);
    for (looked, sends, expected) in [
        (&default, &default, Reply::Done),
        (&by_template, &by_template, Reply::Done),
        (&default, &by_template, Reply::NotSent),
        (&by_template, &default, Reply::NotSent),
    ] {
        let user = annette_for_mfa(looked).await;
        assert_eq!(sends.perform(fenced_call(Call::ResetMfa {}, true), &user, None).await, expected);
    }
}

/// The answer is cut after each of its bytes, and before the first: if the call has arrived, there is evidence of it.
#[tokio::test]
async fn an_answer_that_is_cut_anywhere() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let body = json!({"status": {"code": 200, "description": "success"}}).to_string();
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let shown = Arc::new(Mutex::new(json!(true)));
    let server = showing(Arc::clone(&shown), ok(&json!({}))).await;
    let looks = zoho(&server.url);
    let user = annette_for_mfa(&looks).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut to = spec(&server.url, json!({}));
    settings(&mut to).urls.as_mut().unwrap().mail = format!("http://{}", listener.local_addr().unwrap());
    let sends = connect(&to, &credentials()).unwrap();
    // Without a number the request is lost, and MFA stays on.
    let cut = Arc::new(Mutex::new(None::<usize>));
    let (off, sent, at) = (Arc::clone(&shown), answer.clone(), Arc::clone(&cut));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let cut = *at.lock().unwrap();
            if let Some(cut) = cut {
                *off.lock().unwrap() = json!(false);
                let _ = stream.write_all(&sent.as_bytes()[..cut]).await;
            }
        }
    });
    for now in std::iter::once(None).chain((0..=answer.len()).map(Some)) {
        *shown.lock().unwrap() = json!(true);
        *cut.lock().unwrap() = now;
        let reply = sends.perform(fenced_call(Call::ResetMfa {}, true), &user, None).await;
        let whole = now == Some(answer.len());
        assert_eq!(reply, if whole { Reply::Done } else { Reply::Unsure }, "cut after {now:?}");
        let proof = looks.verify(&begun(1, user.baseline().as_deref())).await.unwrap();
        assert_eq!(proof == Finding::Proven(Evidence::Marker), now.is_some(), "cut after {now:?}: {proof:?}");
    }
}
