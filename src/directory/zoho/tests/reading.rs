//! Look-ups, and the evidence they give.
use super::*;

#[tokio::test]
async fn looking_up() {
    let server = Server::start(|_, path| match path {
        path if path.starts_with("/oauth") => ok(&token()),
        path if path.contains("page=1&") => ok(&json!({"users": [person(&json!(9_223_372_036_854_775_807_i64), "One@zylker.biz"), person(&json!("2"), "two@zylker.biz")], "has_more": true})),
        path if path.contains("page=2&") => ok(&json!({"users": [person(&json!("3"), "two@zylker.biz"), person(&json!("3"), "two@zylker.biz")], "has_more": false})),
        path if path.contains("page=") => ok(&json!({"users": []})),
        _ => ok(&json!({"status": {"code": 200}, "data": {"role": "admin"}})),
    })
    .await;
    let directory = zoho(&server.url);
    let find = async |user: UserRef| directory.look_up(&user, Mode::Password).await;
    match find(UserRef::Email("one@ZYLKER.biz".to_owned())).await.unwrap() {
        Some(LookUp::One(user)) => {
            assert_eq!((user.id.id.as_str(), user.id.name.as_str()), ("9223372036854775807", "One@zylker.biz"));
            assert_eq!(user.administrator, Seen::Known(true));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(find(UserRef::Email("two@zylker.biz".to_owned())).await.unwrap(), Some(LookUp::Several(2)));
    assert_eq!(find(UserRef::Email("none@zylker.biz".to_owned())).await.unwrap(), None);
    assert_eq!(find(UserRef::Username("one@zylker.biz".to_owned())).await.unwrap(), None);
    let before = server.seen("/directory").len();
    assert!(matches!(find(UserRef::Id("2".to_owned())).await.unwrap(), Some(LookUp::One(_))));
    assert_eq!(server.seen("/directory").len(), before + 1, "an id ends the search");
}

#[tokio::test]
async fn evidence_is_the_time_of_the_last_change() {
    let spec_with = |url: &str| spec(url, json!({"lookUp": {"passwordChangedAt": "changed"}}));
    let started: Timestamp = "2026-11-24T09:00:00Z".parse().unwrap();
    for (changed, proven) in [
        (json!(null), false),
        (json!(started.as_millisecond() + 2000), true),
        (json!((started.as_millisecond() + 2000).to_string()), true),
        (json!("2026-11-24T09:00:02Z"), true),
        // Long before, and long after: another change.
        (json!("2026-11-24T08:00:00Z"), false),
        (json!("2026-11-25T09:00:02Z"), false),
    ] {
        let value = changed.clone();
        let server = Server::start(move |_, path| match path {
            path if path.starts_with("/oauth") => ok(&token()),
            path if path.contains("/users?") => {
                let mut user = person(&json!("7"), "annette.c@zylker.biz");
                user["changed"] = value.clone();
                ok(&json!({"users": [user], "has_more": false}))
            }
            _ => ok(&json!({"status": {"code": 200}, "data": {"role": "member"}})),
        })
        .await;
        let directory = connect(&spec_with(&server.url), &credentials()).unwrap();
        let proof = directory.verify(&record()).await.unwrap();
        assert_eq!(proof == Finding::Proven(Evidence::Marker), proven, "{changed}: {proof:?}");
    }
}

/// If one page of users is invalid, the look-up fails.
#[tokio::test]
async fn what_cannot_be_read_is_no_absence() {
    let page = |users: Value| ok(&json!({"users": users, "has_more": false}));
    let mut without_zuid = person(&json!("7"), "annette.c@zylker.biz");
    without_zuid["zuid"] = json!(null);
    for (answer, says) in [
        ((200, Vec::new(), " ".repeat(50 * 1024 * 1024)), "larger than 8 MiB"),
        // Below that limit, and hundreds of megabytes once decoded.
        (
            (200, Vec::new(), format!("{{\"users\":[{}{{}}]}}", r#"{"":0},"#.repeat(1_000_000))),
            "more than 40000 values",
        ),
        ((200, Vec::new(), "[".repeat(30_000)), "not JSON"),
        ((200, Vec::new(), "<html>".to_owned()), "not JSON"),
        ((302, vec![("location", "http://127.0.0.1:1/".to_owned())], String::new()), "HTTP_302"),
        ((500, Vec::new(), String::new()), "HTTP_500"),
        (ok(&json!({"error": "INTERNAL_ERROR"})), "INTERNAL_ERROR"),
        (ok(&json!({"users": {}})), "without a list"),
        (page(json!([person(&json!("7/.."), "annette.c@zylker.biz")])), "user_id"),
        (page(json!([person(&json!(1e20), "annette.c@zylker.biz")])), "user_id"),
        (page(json!([without_zuid])), "zuid"),
    ] {
        let server =
            Server::start(move |_, path| if path.starts_with("/oauth") { ok(&token()) } else { answer.clone() }).await;
        let user = UserRef::Email("annette.c@zylker.biz".to_owned());
        let why = zoho(&server.url).look_up(&user, Mode::Password).await.unwrap_err();
        assert!(why.message.contains(says), "{}\nshould say: {says}", why.message);
    }
}

/// 50 MB without an announced length: reading stops at the limit.
#[tokio::test]
async fn an_endless_answer_is_given_up() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    let writer = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
        for _ in 0..800 {
            if stream.write_all(&vec![b' '; 65536]).await.is_err() {
                break;
            }
            counted.fetch_add(65536, Ordering::Relaxed);
        }
    });
    let server = Server::start(usual(ok(&json!({})))).await;
    let mut to = spec(&server.url, json!({}));
    settings(&mut to).urls.as_mut().unwrap().api = api;
    let directory = connect(&to, &credentials()).unwrap();
    let why = directory.look_up(&UserRef::Id("7".to_owned()), Mode::Password).await.unwrap_err();
    assert!(why.message.contains("larger than 8 MiB"), "{}", why.message);
    writer.await.unwrap();
    assert!(written.load(Ordering::Relaxed) < 40 * 1024 * 1024);
}

/// What decides whether a user may be reset.
#[tokio::test]
async fn what_is_shown_of_a_user() {
    let look = async |user: Value, account: Answered| {
        let server = Server::start(move |_, path| match path {
            path if path.starts_with("/oauth") => ok(&token()),
            path if path.contains("/groups?page=1&") => {
                ok(&json!({"groups": [{"group_name": "Sales"}], "has_more": true}))
            }
            path if path.contains("/groups?page=2&") => {
                ok(&json!({"groups": [{"group_name": "Everyone"}], "has_more": false}))
            }
            path if path.contains("/users?") => ok(&json!({"users": [user], "has_more": false})),
            _ => account.clone(),
        })
        .await;
        with_groups(&server.url).look_up(&UserRef::Id("7".to_owned()), Mode::Password).await
    };
    let role = |role: &str| ok(&json!({"status": {"code": 200}, "data": {"role": role}}));
    let with = |more: Value| {
        let mut user = person(&json!(7), "annette.c@zylker.biz");
        if let (Value::Object(all), Value::Object(new)) = (&mut user, more) {
            all.extend(new);
        }
        user
    };
    let seen = |found: Result<Option<LookUp>, Why>| match found {
        Ok(Some(LookUp::One(user))) => *user,
        other => panic!("{other:?}"),
    };
    let user = seen(
        look(
            with(json!({"user_name": "annette", "emails": [{"email_id": "annette.c@zylker.biz"}, {"email_id": "ac@zylker.biz"}]})),
            role("member"),
        )
        .await,
    );
    assert_eq!((user.confirmed, user.active, user.federated), (true, true, false));
    assert_eq!(user.aliases, ["ac@zylker.biz", "annette"]);
    assert_eq!(user.groups, Seen::Known(vec!["Sales".to_owned(), "Everyone".to_owned()]));
    assert_eq!((&user.administrator, &user.operator), (&Seen::Known(false), &Seen::Known(false)));
    assert!(matches!(user.changed_at, Seen::Unknown(_)));

    for (more, confirmed, active, federated) in [
        (json!({"user_type": "pending"}), false, true, false),
        (json!({"user_type": "external"}), false, true, false),
        (json!({"user_type": null}), false, true, false),
        (json!({"user_status": "inactive"}), true, false, false),
        (json!({"is_federated": true}), true, true, true),
    ] {
        let user = seen(look(with(more.clone()), role("member")).await);
        assert_eq!((user.confirmed, user.active, user.federated), (confirmed, active, federated), "{more}");
    }
    // A user with a custom set of administrator rights is an administrator, too.
    let custom = ok(&json!({"data": {"role": "member", "isCustomAdmin": true}}));
    assert_eq!(seen(look(with(json!({})), custom).await).administrator, Seen::Known(true));
    // A user who may be an administrator may also be the one whose token the operator uses.
    for (account, known) in [
        (role("admin"), Some(true)),
        (role("super_admin"), Some(true)),
        (role("janitor"), None),
        ((404, Vec::new(), json!({"data": {"errorCode": "INVALID_ACCOUNT"}}).to_string()), None),
        (ok(&json!({"status": {"code": 404}, "data": {"errorCode": "INVALID_ACCOUNT"}})), None),
    ] {
        let user = seen(look(with(json!({})), account).await);
        match known {
            Some(known) => assert_eq!(user.administrator, Seen::Known(known)),
            None => assert!(matches!(user.administrator, Seen::Unknown(_))),
        }
        assert!(matches!(user.operator, Seen::Unknown(_)));
    }
    assert!(look(with(json!({})), (500, Vec::new(), String::new())).await.is_err());
    assert!(look(with(json!({})), (401, Vec::new(), String::new())).await.is_err());
}

/// A group that is not shown might be the one that protects the user.
#[tokio::test]
async fn groups_are_shown_whole_or_not_at_all() {
    for groups in [json!([{"group_name": "Sales"}, {"group_id": "9"}]), json!([{"group_name": ""}]), json!(null)] {
        let value = groups.clone();
        let usually = usual(ok(&json!({})));
        let server = Server::start(move |method, path| {
            if path.contains("/groups?") {
                ok(&json!({"groups": value, "has_more": false}))
            } else {
                usually(method, path)
            }
        })
        .await;
        let user = UserRef::Id("7".to_owned());
        assert!(with_groups(&server.url).look_up(&user, Mode::Password).await.is_err(), "{groups}");
    }
}

/// Evidence needs only the look-up of the user and a time from before the call, and differs from what proves nothing.
#[tokio::test]
async fn what_proves_nothing() {
    for (changed, baseline, says) in [
        (json!("2026-11-24T09:00:02Z"), None, "does not prove"),
        (json!("2026-11-24T09:00:02Z"), Some("2026-11-24T09:00:02Z"), "unchanged since 2026-11-24T09:00:02Z"),
        // Half an hour after the attempt was over: another change.
        (json!("2026-11-24T09:31:00Z"), Some("never"), "last changed at 2026-11-24T09:31:00Z"),
        (json!(null), Some("never"), "never changed"),
    ] {
        let server = Server::start(move |_, path| match path {
            path if path.starts_with("/oauth") => ok(&token()),
            path if path.contains("/users?") => {
                let mut user = person(&json!("7"), "annette.c@zylker.biz");
                user["changed"] = changed.clone();
                ok(&json!({"users": [user], "has_more": false}))
            }
            _ => (500, Vec::new(), String::new()),
        })
        .await;
        let to = spec(&server.url, json!({"lookUp": {"passwordChangedAt": "changed"}}));
        let mut record = record();
        record.attempt.baseline = baseline.map(str::to_owned);
        match connect(&to, &credentials()).unwrap().verify(&record).await.unwrap() {
            Finding::Inconclusive(text) | Finding::Changed(text) => {
                assert!(text.contains(says), "{text}\nshould say: {says}");
            }
            other => panic!("{other:?}"),
        }
    }
}
