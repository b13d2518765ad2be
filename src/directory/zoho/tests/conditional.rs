//! Conditional calls, which take effect only if nothing has changed since.
use super::*;

fn conditional(url: &str, with_time: bool) -> Result<Zoho, NotReady> {
    let look_up = if with_time { json!({"passwordChangedAt": "password_changed_time"}) } else { json!({}) };
    let template = json!({"lookUp": look_up, "resetPassword": {
        "method": "PUT", "path": "/directory/set/${user.id}", "body": {"p": "${password}", "f": "${forceChangeOnLogin}", "since": "${unchangedSince}"},
    }});
    connect(&spec(url, template), &credentials())
}

fn attempt(baseline: Option<&str>) -> Record {
    let mut record = record();
    record.attempt.baseline = baseline.map(str::to_owned);
    record.attempt.conditional = true;
    record.expires_at = Timestamp::MAX;
    record
}

#[tokio::test]
async fn the_precondition_is_sent_with_the_call() {
    let server = Server::start(usual(ok(&json!({"status_code": 200})))).await;
    let directory = conditional(&server.url, true).unwrap();
    let user = annette(&directory).await;
    let password = SecretString::from("New-pass");
    for (baseline, expected) in [("never", Value::Null), ("2026-11-24T08:00:00.25Z", json!("2026-11-24T08:00:00.25Z"))]
    {
        let fenced = fenced_by(attempt(Some(baseline)), true);
        assert_eq!(directory.perform(fenced, &user, Some(&password)).await, Reply::Done);
        assert_eq!(directory.repeat(&record(), baseline, &user, Some(&password), || true).await, Reply::Done);
        let sent: Vec<Value> = server
            .seen("/directory/set/7")
            .into_iter()
            .map(|(_, _, sent)| {
                serde_json::from_str(sent.strip_prefix("Zoho-oauthtoken 1000.token ").unwrap()).unwrap()
            })
            .collect();
        let both = [
            json!({"p": "New-pass", "f": false, "since": expected}),
            json!({"p": "New-pass", "f": false, "since": expected}),
        ];
        assert!(sent.ends_with(&both), "{sent:?}");
    }
    let all = BTreeSet::from([Mode::Password]);
    assert_eq!(
        directory.check(&all).await.unwrap().guarantees.password,
        crate::core::directory::Guarantee::ExactlyOnce
    );
}

/// The answer to a conditional call whose precondition failed. Without a precondition the same status is a refusal.
#[tokio::test]
async fn failed_preconditions() {
    for status in [409, 412] {
        let answer = json!({"error": "CHANGED"}).to_string();
        let server = Server::start(usual((status, Vec::new(), answer))).await;
        let directory = conditional(&server.url, true).unwrap();
        let user = annette(&directory).await;
        let password = SecretString::from("New-pass");
        assert_eq!(directory.repeat(&record(), "never", &user, Some(&password), || true).await, Reply::Conflict);
        assert_eq!(perform(&zoho(&server.url), true).await, Reply::Rejected { code: "CHANGED".to_owned() });
    }
}

/// Nothing is sent if the template has a precondition and the attempt has none, or the other way round.
#[tokio::test]
async fn a_precondition_is_never_dropped_nor_invented() {
    let server = Server::start(usual(ok(&json!({"status_code": 200})))).await;
    let directory = conditional(&server.url, true).unwrap();
    let user = annette(&directory).await;
    let password = SecretString::from("New-pass");
    assert_eq!(directory.perform(fenced(true), &user, Some(&password)).await, Reply::NotSent);
    let fenced = fenced_by(attempt(Some("never")), true);
    assert_eq!(zoho(&server.url).perform(fenced, &user, Some(&password)).await, Reply::NotSent);
    let provider = super::super::super::Provider::Zoho(directory);
    assert_eq!(provider.repeat(&record(), &user, Some(&password)).await, Reply::NotSent);
    assert_eq!(provider.repeat(&attempt(None), &user, Some(&password)).await, Reply::NotSent);
    let late = Record { expires_at: Timestamp::now(), ..attempt(Some("never")) };
    assert_eq!(provider.repeat(&late, &user, Some(&password)).await, Reply::NotSent);
    assert!(server.seen("/directory/set").is_empty());
    let error = conditional(&server.url, false).unwrap_err().to_string();
    assert!(error.contains("lookUp.passwordChangedAt must say where"), "{error}");
}
