//! Whatever a directory answers and whatever is typed: no call goes elsewhere or asks for something else, no text from outside is shown
//! unescaped, and nothing panics.
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use tokio::runtime::Runtime;

use super::*;
use crate::{
    api::directory::Template,
    core::text::{self, NAME},
    directory::zoho::template::{CheckedTemplate, IN_BODY},
    http::Answered,
    testing::{PIECES, hostile, unseen},
};

/// Runs `test`, which asks a server, with `cases` values.
fn for_all<S: Strategy>(cases: u32, values: S, test: impl Fn(&Runtime, S::Value)) {
    let runtime = Runtime::new().unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&values, |value| {
            test(&runtime, value);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Any JSON with hostile texts.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(u64::MAX)),
        hostile().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((hostile(), inner), 0..4).prop_map(|all| all.into_iter().collect::<Value>()),
        ]
    })
}

fn check_message(message: &str) {
    assert_eq!(unseen(message), None, "{message:?}");
    assert!(message.len() < 1000, "{} bytes: {message:?}", message.len());
}

/// A template's text: literals and placeholders in any order.
fn template_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        2 => select(&IN_BODY[..]).prop_map(|name| format!("${{{name}}}")),
        1 => hostile().prop_filter("a placeholder of its own", |text| !text.contains("${") && text.len() < 1000),
    ];
    vec(part, 0..4).prop_map(|parts| parts.concat()).prop_filter("a placeholder made of two parts", |text| {
        text.split("${").skip(1).all(|rest| IN_BODY.iter().any(|name| rest.starts_with(&format!("{name}}}"))))
    })
}

fn template_body() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![template_text().prop_map(Value::from), any::<i64>().prop_map(Value::from), Just(Value::Null)];
    let tree = leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-z_\"\\\\]{1,8}", inner), 0..4).prop_map(|all| all.into_iter().collect::<Value>()),
        ]
    });
    ("[a-z]{1,5}", tree).prop_map(|(name, tree)| json!({"user": "${user.id}", "new": "${password}", name: tree}))
}

/// The same names and lists, and texts only where texts or whole placeholders were.
fn same_shape(template: &Value, filled: &Value) -> bool {
    match (template, filled) {
        (Value::Object(template), Value::Object(filled)) => {
            template.len() == filled.len()
                && template.iter().all(|(name, value)| filled.get(name).is_some_and(|f| same_shape(value, f)))
        }
        (Value::Array(template), Value::Array(filled)) => {
            template.len() == filled.len() && template.iter().zip(filled).all(|(t, f)| same_shape(t, f))
        }
        (Value::String(text), filled) => {
            filled.is_string() || (text.starts_with("${") && !filled.is_object() && !filled.is_array())
        }
        (template, filled) => template == filled,
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(200) })]

    #[test]
    fn a_template_stays_what_it_is(body in template_body(), texts in vec(hostile(), IN_BODY.len()), ids in vec("[0-9]{1,32}", 4)) {
        let path = "/v2/${organization}/a${zoid}/users/${user.id}-${user.zuid}/password";
        let template = Template { method: crate::api::directory::Method::POST, path: path.to_owned(), body: body.clone() };
        let call = CheckedTemplate::new("resetPassword", &template, true).unwrap();
        let mut values: BTreeMap<&str, Value> = IN_BODY.iter().copied().zip(texts.into_iter().map(Value::from)).collect();
        values.extend(["organization", "zoid", "user.id", "user.zuid"].into_iter().zip(ids.iter().map(|id| json!(id))));
        values.insert("emailToUser", json!(true));
        let (path, filled) = call.fill(&values);
        prop_assert!(same_shape(&body, &filled), "{filled:#}");
        prop_assert_eq!(&filled["new"], &values["password"], "a password is what it is, placeholders and all");
        prop_assert_eq!(&serde_json::from_str::<Value>(&filled.to_string()).unwrap(), &filled);
        let url = http::join(&"https://api.example/base/".parse().unwrap(), &path);
        prop_assert_eq!(url.as_str(), format!("https://api.example/base/v2/{}/a{}/users/{}-{}/password", ids[0], ids[1], ids[2], ids[3]));
    }

    #[test]
    fn a_path_is_what_is_written_or_refused(parts in vec(prop_oneof![hostile(), select(&["/", "/.", "${user.id}", "%2e", "//evil.example", "a b", "\t", "@"][..]).prop_map(str::to_owned)], 0..5)) {
        let written = format!("/{}${{user.zuid}}", parts.concat());
        let template = Template { method: crate::api::directory::Method::PUT, path: written.clone(), body: json!({}) };
        match CheckedTemplate::new("resetMFA", &template, false) {
            Err(wrong) => check_message(&wrong),
            Ok(call) => {
                let (path, _) = call.fill(&BTreeMap::from([("user.id", json!("7")), ("user.zuid", json!("88"))]));
                let url = http::join(&"https://api.example".parse().unwrap(), &path);
                prop_assert_eq!((url.host_str(), url.query(), url.fragment()), (Some("api.example"), None, None));
                let sent: Vec<&str> = url.path().split('/').collect();
                prop_assert_eq!(sent.len(), written.split('/').count(), "{}", url);
                prop_assert!(sent.last().unwrap().ends_with("88"));
            }
        }
    }

    /// Any answer to a call results in a known reply, and a code that is one word.
    #[test]
    fn an_answer_is_reported_in_own_words(status in 200u16..600, body in prop_oneof![
        hostile(),
        any_json().prop_map(|body| body.to_string()),
        (select(&["error", "errorCode", "code", "status_code", "status", "data"][..]), any_json(), any_json()).prop_map(|(name, one, other)| json!({name: one, "error": {"title": other}}).to_string()),
        (select(&["error", "errorCode", "code"][..]), hostile()).prop_map(|(name, text)| json!({name: text}).to_string()),
        Just("[".repeat(100_000)),
        Just(format!("{{\"a\":{}", "{\"a\":".repeat(50_000))),
    ], pause in option::of(hostile())) {
        let mut response = ::http::Response::builder().status(status);
        if let Some(value) = pause.and_then(|text| ::http::HeaderValue::from_bytes(text.as_bytes()).ok()) {
            response = response.header("retry-after", value);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = Answer::read(runtime.block_on(Answered::read(response.body(body).unwrap().into())));
        if let Reply::Rejected { code } = answer.reply(&["New-pass"]) {
            prop_assert!(code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)), "{code:?}");
        }
        if let Err(why) = answer.into_read("the look-up of users") {
            check_message(&why.message);
        }
    }
}

/// An arbitrary answer of the token endpoint: no panic, nothing of it is shown, and a token is sent unchanged or not at all.
#[test]
fn token_replies() {
    let number = || {
        prop_oneof![
            any_json(),
            select(vec![json!(u64::MAX), json!(i64::MAX), json!(0), json!(-1), json!(1e300), json!("3600")]),
        ]
    };
    let reply = (hostile(), number(), hostile(), hostile(), option::of(hostile())).prop_map(
        |(token, life, scope, domain, error)| {
            let mut reply = json!({"access_token": token, "expires_in": life, "scope": scope, "api_domain": domain});
            if let Some(error) = error {
                reply["error"] = json!(error);
                reply["error_description"] = json!(error);
            }
            reply
        },
    );
    let usable = ("[!-~]{1,40}", number(), hostile()).prop_map(|(token, life, domain)| {
        let domain = format!("http://127.0.0.1:1/{domain}");
        json!({"access_token": token, "expires_in": life, "scope": SCOPES, "api_domain": domain})
    });
    let now = Arc::new(Mutex::new(Value::Null));
    let answered = Arc::clone(&now);
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(move |_, path| match path {
        path if path.starts_with("/oauth") => ok(&answered.lock().unwrap()),
        _ => ok(&json!({"users": [], "has_more": false})),
    }));
    for_all(24, prop_oneof![reply, usable, any_json()], |runtime, reply| {
        *now.lock().unwrap() = reply.clone();
        server.seen.lock().unwrap().clear();
        let zoho = zoho(&server.url);
        let checked = runtime.block_on(zoho.check(&BTreeSet::from([Mode::Password])));
        if let Err(error) = &checked {
            check_message(&error.to_string());
        }
        // A token that expires at once is requested again.
        for (method, path, sent) in server.seen("/").iter().filter(|(_, path, _)| path != "/oauth/v2/token") {
            assert_eq!(
                (method.as_str(), path.as_str()),
                ("GET", "/directory/api/v2/orgs/70/users?page=1&per_page=1&include=emails")
            );
            assert_eq!(sent.trim_end(), format!("Zoho-oauthtoken {}", reply["access_token"].as_str().unwrap()));
        }
    });
}

/// The greatest lifetime that a number can express, which no clock can represent, and an answer that would be kept for an hour.
#[test]
fn a_token_that_never_ends_and_one_that_is_too_large() {
    let runtime = Runtime::new().unwrap();
    for (reply, says) in [
        (json!({"access_token": "t", "expires_in": u64::MAX, "scope": SCOPES}), None),
        (json!({"access_token": "t", "scope": "a ".repeat(1_000_000)}), Some("larger than 64 KiB")),
    ] {
        let server = runtime.block_on(Server::start(move |_, path| match path {
            path if path.starts_with("/oauth") => ok(&reply),
            _ => ok(&json!({"users": [], "has_more": false})),
        }));
        let checked = runtime.block_on(zoho(&server.url).check(&BTreeSet::new()));
        match says {
            None => assert!(checked.is_ok(), "{checked:?}"),
            Some(says) => assert!(checked.unwrap_err().to_string().contains(says)),
        }
    }
}

/// The address that a path names, if it is one segment of it, in plain characters.
fn address_in(path: &str) -> Option<String> {
    let name = path.strip_prefix("/api/organization/80/accounts/")?;
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"*-._%".contains(&b));
    let field = format!("name={name}");
    let (_, name) = url::form_urlencoded::parse(field.as_bytes()).next().filter(|_| plain)?;
    Some(name.into_owned())
}

/// A user of any kind, looked up by anything, then reset with a template that asks for the address.
#[test]
fn users() {
    let template = json!({
        "resetPassword": {
            "method": "POST", "path": "/v2/${organization}/users/${user.id}/password",
            "body": {"password": "${password}", "force": "${forceChangeOnLogin}", "who": {"mail": "${user.email}", "text": "<${user.email}>"}},
        },
        "lookUp": {"passwordChangedAt": "changed"},
    });
    let now = Arc::new(Mutex::new((json!(null), json!(null))));
    let answered = Arc::clone(&now);
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(move |method, path| match path {
        path if path.starts_with("/oauth") => ok(&token()),
        path if path.contains("/groups?") => {
            ok(&json!({"groups": [{"group_name": answered.lock().unwrap().1}], "has_more": false}))
        }
        path if path.contains("/users?") => ok(&json!({"users": [answered.lock().unwrap().0], "has_more": false})),
        _ if method == "GET" => ok(&json!({"status": {"code": 200}, "data": {"role": answered.lock().unwrap().1}})),
        _ => ok(&json!({"status_code": 200})),
    }));
    let mut to = spec(&server.url, template);
    to.protect.groups = vec!["Board".to_owned()];
    let zoho = connect(&to, &credentials()).unwrap();
    let usual = super::zoho(&server.url);
    let changed = prop_oneof![
        any_json(),
        select(vec![
            json!(i64::MIN),
            json!(i64::MAX),
            json!("-009999-01-01T00:00:00Z"),
            json!("99999999999999999999"),
            json!("")
        ])
    ];
    // An address that is one word may still hold every metacharacter that there is.
    let word = hostile().prop_map(|text| {
        text.chars()
            .filter(|c| !text::is_hidden(*c) && !c.is_whitespace())
            .take(70)
            .chain("@zylker.biz".chars())
            .collect()
    });
    let fields =
        (prop_oneof![hostile(), word], hostile(), vec(any_json(), 0..3), changed, any_json(), hostile(), 0..3u8);
    for_all(120, fields, |runtime, (email, login, emails, changed, odd, other, by)| {
        let emails: Vec<Value> = emails.into_iter().map(|email| json!({"email_id": email})).collect();
        let user = json!({
            "user_id": "7", "zuid": 88, "primary_email": email, "user_name": login, "emails": emails, "changed": changed,
            "user_status": odd, "user_type": odd, "is_federated": odd,
        });
        *now.lock().unwrap() = (user, json!(other));
        server.seen.lock().unwrap().clear();
        let typed = match by {
            0 => UserRef::Email(email.clone()),
            1 => UserRef::Username(login.clone()),
            _ => UserRef::Id("7".to_owned()),
        };
        check_message(&typed.to_string());
        // If no template uses an address, a user without one is reset, too, under a name that is safe to show.
        match runtime.block_on(usual.look_up(&typed, Mode::Password)) {
            Ok(Some(LookUp::One(user))) => {
                assert!(user.id.name.len() <= NAME && unseen(&user.id.name).is_none(), "{:?}", user.id);
                let mut names = [&user.id.name].into_iter().chain(&user.aliases);
                assert!(names.any(|name| *name == email), "a protection finds the user by what the directory says");
                assert!(user.email.is_none_or(|email| text::is_word(&email)));
            }
            found => panic!("{found:?}"),
        }
        match runtime.block_on(zoho.look_up(&typed, Mode::Password)) {
            Err(why) => check_message(&why.message),
            Ok(Some(LookUp::One(user))) => {
                let password = PIECES.concat();
                let reply =
                    runtime.block_on(zoho.perform(fenced(true), &user, Some(&SecretString::from(password.as_str()))));
                assert_eq!(reply, Reply::Done);
                let (_, _, sent) = server.seen("/v2").pop().unwrap();
                let (authorization, body) = sent.split_once(" {").unwrap();
                assert_eq!(authorization, "Zoho-oauthtoken 1000.token");
                assert_eq!(
                    serde_json::from_str::<Value>(&format!("{{{body}")).unwrap(),
                    json!({"password": password, "force": false, "who": {"mail": email, "text": format!("<{email}>")}})
                );
            }
            found => panic!("{found:?}"),
        }
        for (method, path, _) in server.seen("/") {
            if by == 0 && method == "GET" && address_in(&path).as_ref() == Some(&email) {
                continue;
            }
            let known = [
                ("GET", "/directory/api/v2/orgs/70/users?page=1&per_page=200&include=emails"),
                ("GET", "/directory/api/v2/orgs/70/users/7/groups?page=1&per_page=200"),
                ("GET", "/api/organization/80/accounts/88"),
                ("POST", "/oauth/v2/token"),
                ("POST", "/v2/70/users/7/password"),
            ];
            assert!(known.contains(&(method.as_str(), path.as_str())), "{method} {path}");
        }
    });
}

/// A server that returns endless users for every name, or endless groups, does not keep the operator reading.
#[tokio::test]
async fn lists_without_end() {
    let server = Server::start(|_, path| match path {
        path if path.starts_with("/oauth") => ok(&token()),
        path if path.contains("/groups?") => {
            let page = vec![json!({"group_name": "g".repeat(1000)}); 2000];
            ok(&json!({"groups": page, "has_more": true}))
        }
        path if path.contains("/users?") => {
            let page = path.split_once("page=").unwrap().1.split('&').next().unwrap().to_owned();
            let user = |id: String| person(&json!(id), "annette.c@zylker.biz");
            ok(&json!({"users": [user(page), user("7".to_owned())], "has_more": true}))
        }
        _ => ok(&json!({"status": {"code": 200}, "data": {"role": "member"}})),
    })
    .await;
    let directory = with_groups(&server.url);
    let everyone = UserRef::Email("annette.c@zylker.biz".to_owned());
    let found = directory.look_up(&everyone, Mode::Password).await.unwrap();
    assert_eq!((found, server.seen("/directory").len()), (Some(LookUp::Several(2)), 1));
    let why = directory.look_up(&UserRef::Id("7".to_owned()), Mode::Password).await.unwrap_err();
    assert!(why.message.contains("more than 10000 groups"), "{}", why.message);
    assert!(server.seen("/directory").len() < 12);
}

/// The operator never waits longer than a day, whatever the server asks for.
#[test]
fn pauses() {
    let runtime = Runtime::new().unwrap();
    for (value, most) in [
        ("5", Some(5)),
        ("4294967295", Some(86400)),
        ("99999999999999999999999", Some(86400)),
        ("Thu, 31 Dec 9998 23:59:59 GMT", Some(86400)),
        ("Fri, 99 Dec 9999 23:59:59 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("-5", None),
        ("1e9", None),
        ("soon", None),
        ("", None),
    ] {
        let response = ::http::Response::builder().status(429).header("retry-after", value).body("{}").unwrap();
        let reply = Answer::read(runtime.block_on(Answered::read(response.into()))).reply(&[]);
        assert_eq!(reply, Reply::Throttled { after: most }, "{value}");
    }
}
