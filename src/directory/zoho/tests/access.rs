//! Tokens, rights, addresses and certificates.
use super::*;

#[tokio::test]
async fn tokens() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    // Every token is rejected: each read requests another once, until Zoho would issue no further token.
    let server = Server::start(move |_, path| {
        if path.starts_with("/oauth") {
            counted.fetch_add(1, Ordering::Relaxed);
            return ok(&token());
        }
        (401, Vec::new(), json!({"data": {"errorCode": "INVALID_OAUTHTOKEN"}}).to_string())
    })
    .await;
    let directory = zoho(&server.url);
    for _ in 0..20 {
        let why = directory.look_up(&UserRef::Id("7".to_owned()), Mode::MFA).await.unwrap_err();
        if why.not_before.is_some() {
            break;
        }
    }
    let why = directory.look_up(&UserRef::Id("7".to_owned()), Mode::MFA).await.unwrap_err();
    assert!(why.not_before.is_some(), "{why:?}");
    assert_eq!(count.load(Ordering::Relaxed), 10);

    for (answer, expected) in [
        (ok(&json!({"error": "invalid_client"})), "CredentialsRefused"),
        (ok(&json!({"error": "invalid_code"})), "CredentialsRefused"),
        (
            (400, Vec::new(), json!({"error": "Access Denied", "error_description": "too many requests"}).to_string()),
            "Unreachable",
        ),
        ((200, Vec::new(), "<html>".to_owned()), "Unreachable"),
        ((500, Vec::new(), "{}".to_owned()), "Unreachable"),
        (ok(&json!({"expires_in": 1})), "Unreachable"),
        (ok(&json!({"access_token": "t", "expires_in": 3600})), "PermissionMissing"),
        (
            ok(&json!({"access_token": "t", "expires_in": 3600, "scope": "ZohoDirectory.Users.READ"})),
            "PermissionMissing",
        ),
    ] {
        let server = Server::start(move |_, _| answer.clone()).await;
        let error = zoho(&server.url).check(&BTreeSet::from([Mode::Password])).await.unwrap_err();
        assert_eq!(error.reason(), expected, "{error}");
        assert!(!error.to_string().contains("the-"), "{error}");
    }
}

/// The token is sent to the configured address, whatever address came with the token.
#[tokio::test]
async fn a_foreign_api_domain_is_not_followed() {
    let foreign = Server::start(|_, _| ok(&json!({"users": []}))).await;
    let elsewhere = foreign.url.clone();
    let server = Server::start(move |_, path| {
        let mut token = token();
        token["api_domain"] = json!(elsewhere);
        if path.starts_with("/oauth") { ok(&token) } else { ok(&json!({"users": []})) }
    })
    .await;
    let _ = zoho(&server.url).look_up(&UserRef::Id("7".to_owned()), Mode::MFA).await;
    assert!(foreign.seen("/").is_empty());
    assert_eq!(server.seen("/directory").len(), 1);
}

/// With a certificate that has expired, or is not signed by a trusted authority, nothing is sent.
#[tokio::test]
async fn wrong_certificates() {
    use tokio::io::AsyncReadExt;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    for (expired, trusted, works) in [(false, true, true), (true, true, false), (false, false, false)] {
        let leaf_key = rcgen::KeyPair::generate().unwrap();
        let mut leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        if expired {
            leaf.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(Arc::new(
            tokio_rustls::rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], leaf_key.serialize_der().try_into().unwrap())
        .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut tls) = acceptor.accept(stream).await {
                    let mut bytes = [0; 1024];
                    if let Ok(n) = tls.read(&mut bytes).await {
                        counted.fetch_add(n, Ordering::Relaxed);
                    }
                }
            }
        });
        let bundle = if trusted { json!({"caBundle": ca.pem()}) } else { json!({}) };
        let directory = connect(&spec(&format!("https://localhost:{port}"), bundle), &credentials()).unwrap();
        let error = directory.check(&BTreeSet::new()).await.unwrap_err();
        assert_eq!(error.reason(), "Unreachable");
        assert_eq!(error.to_string().contains("certificate"), !works, "{error}");
        assert_eq!(received.load(Ordering::Relaxed) > 0, works);
    }
}

/// An outage of the accounts server uses up none of the budget: afterwards the operator requests a token.
#[tokio::test]
async fn an_outage_is_not_counted() {
    let server = Server::start(usual(ok(&json!({})))).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let accounts = listener.local_addr().unwrap();
    drop(listener);
    let mut down = spec(&server.url, json!({}));
    settings(&mut down).urls.as_mut().unwrap().accounts = format!("http://{accounts}");
    let directory = connect(&down, &credentials()).unwrap();
    for _ in 0..15 {
        let error = directory.check(&BTreeSet::new()).await.unwrap_err();
        assert!(error.to_string().contains("no connection could be made"), "{error}");
    }
}

/// While Zoho throttles the operator, it sends no request, for any call.
#[tokio::test]
async fn a_throttle_of_the_accounts_server_is_kept_to() {
    for (answer, least) in [
        ((429, vec![("retry-after", "120".to_owned())], String::new()), 60),
        (ok(&json!({"error": "Access Denied"})), 300),
    ] {
        let server = Server::start(move |_, _| answer.clone()).await;
        let directory = zoho(&server.url);
        for _ in 0..3 {
            let why = directory.look_up(&UserRef::Id("7".to_owned()), Mode::MFA).await.unwrap_err();
            let wait = why.not_before.unwrap().duration_since(Timestamp::now()).as_secs();
            assert!(wait > least, "{wait}");
        }
        assert_eq!(server.seen("/").len(), 1);
    }
}

#[tokio::test]
async fn one_token_for_many_calls() {
    let server = Server::start(usual(ok(&json!({})))).await;
    let directory = zoho(&server.url);
    let calls = (0..8).map(|_| annette(&directory));
    futures::future::join_all(calls).await;
    assert_eq!(server.seen("/oauth").len(), 1);
}

/// Zoho issues ten tokens in ten minutes, for all connections together.
#[tokio::test]
async fn one_token_for_one_account() {
    let server = Server::start(usual(ok(&json!({})))).await;
    let account = credentials();
    // A new term of leadership connects again, and another Directory has the same credentials.
    for _ in 0..20 {
        annette(&connect(&spec(&server.url, json!({})), &account).unwrap()).await;
    }
    assert_eq!(server.seen("/oauth").len(), 1);
    annette(&zoho(&server.url)).await;
    assert_eq!(server.seen("/oauth").len(), 2, "another account's");
}

/// A rejected token is renewed once. One that lacks a scope is not, since the next would lack it, too.
#[tokio::test]
async fn a_refused_token() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let usually = usual(ok(&json!({})));
    let server = Server::start(move |method, path| {
        if path.contains("/users?") && counted.fetch_add(1, Ordering::Relaxed) == 0 {
            return ok(&json!({"status": {"code": 401}, "data": {"errorCode": "INVALID_OAUTHTOKEN"}}));
        }
        usually(method, path)
    })
    .await;
    annette(&zoho(&server.url)).await;
    assert_eq!(server.seen("/oauth").len(), 2);

    let server = Server::start(|_, path| {
        if path.starts_with("/oauth") {
            return ok(&token());
        }
        (401, Vec::new(), json!({"data": {"errorCode": "INVALID_OAUTHSCOPE"}}).to_string())
    })
    .await;
    let directory = zoho(&server.url);
    for _ in 0..5 {
        directory.look_up(&UserRef::Id("7".to_owned()), Mode::MFA).await.unwrap_err();
    }
    assert_eq!(directory.check(&BTreeSet::new()).await.unwrap_err().reason(), "PermissionMissing");
    assert_eq!(server.seen("/oauth").len(), 1);
}

/// After a write that Zoho rejects with 401, the token is dropped, and the write is not sent again.
#[tokio::test]
async fn a_refused_write() {
    let server = Server::start(usual((401, Vec::new(), String::new()))).await;
    let directory = zoho(&server.url);
    assert_eq!(perform(&directory, true).await, Reply::Denied { code: "HTTP_401".to_owned() });
    assert_eq!(server.seen("/api").iter().filter(|(method, ..)| method == "PUT").count(), 1);
    annette(&directory).await;
    assert_eq!(server.seen("/oauth").len(), 2);
}

#[tokio::test]
async fn what_a_check_finds() {
    let answers = |users: Answered| {
        move |_: &str, path: &str| if path.starts_with("/oauth") { ok(&token()) } else { users.clone() }
    };
    for (users, expected) in [
        ((401, Vec::new(), String::new()), "CredentialsRefused"),
        ((403, Vec::new(), String::new()), "PermissionMissing"),
        ((404, Vec::new(), String::new()), "InvalidConfiguration"),
        (ok(&json!({"status_code": 404})), "InvalidConfiguration"),
        ((500, Vec::new(), String::new()), "Unreachable"),
        ((429, Vec::new(), String::new()), "Unreachable"),
        ((302, Vec::new(), String::new()), "Unreachable"),
        ((200, Vec::new(), "<html>".to_owned()), "Unreachable"),
        (ok(&json!({"status_code": 200})), "Unreachable"),
    ] {
        let shown = format!("{users:?}");
        let server = Server::start(answers(users)).await;
        let error = zoho(&server.url).check(&BTreeSet::new()).await.unwrap_err();
        assert_eq!(error.reason(), expected, "{shown}: {error}");
    }
    let server = Server::start(answers(ok(&json!({"users": []})))).await;
    let all = BTreeSet::from([Mode::Password, Mode::MFA]);
    let found = zoho(&server.url).check(&all).await.unwrap();
    assert_eq!((found.guarantees.password, found.guarantees.mfa), (Guarantee::AtMostOnce, Some(Guarantee::Provable)));
    let template = json!({"resetMFA": {"method": "POST", "path": "/directory/${user.id}", "body": {}}});
    let opaque = connect(&spec(&server.url, template), &credentials()).unwrap().check(&all).await.unwrap();
    assert_eq!(opaque.guarantees.mfa, Some(Guarantee::AtMostOnce), "a template may do anything");
    let has = |features: &[Feature]| features.iter().copied().collect::<BTreeSet<_>>();
    let always = [Feature::ResetPassword, Feature::ResetMFA, Feature::ClearWebSessions];
    assert_eq!(found.supports, has(&[&always[..], &[Feature::KeepAfterLogin]].concat()));
    let template = json!({
        "lookUp": {"mfaChangedAt": "mfa_changed_time"},
        "resetPassword": {"method": "POST", "path": "/directory/${user.id}", "body": {"p": "${password}", "f": "${forceChangeOnLogin}"}},
    });
    let found = connect(&spec(&server.url, template), &credentials()).unwrap().check(&all).await.unwrap();
    assert_eq!((found.guarantees.password, found.guarantees.mfa), (Guarantee::AtMostOnce, Some(Guarantee::Provable)));
    assert_eq!(found.supports, has(&[&always[..], &[Feature::ForceChangeOnLogin, Feature::KeepAfterLogin]].concat()));
    let oldest = [Feature::KeepAfterLogin, Feature::ClearMobileSessionsAndApiTokens];
    let older = [&oldest[..], &[Feature::ForceChangeOnLogin]].concat();
    for (page, more) in [("OlderPage", &older[..]), ("OldestPage", &oldest)] {
        let fields = json!({"resetPasswordFields": page});
        let found = connect(&spec(&server.url, fields), &credentials()).unwrap().check(&all).await.unwrap();
        assert_eq!(found.supports, has(&[&always[..], more].concat()), "{page}");
    }
}

/// Only the scopes that the rules need are required. Case does not count, and ALL covers every operation.
#[tokio::test]
async fn scopes() {
    let directory_call = json!({"method": "POST", "path": "/directory/${user.id}", "body": {"p": "${password}"}});
    let other_call = json!({"method": "POST", "path": "/one/${user.id}", "body": {"p": "${password}"}});
    let read = "zohodirectory.users.read zohomail.ORGANIZATION.accounts.READ";
    for (granted, patch, missing) in [
        (read.to_owned(), json!({}), vec!["ZohoMail.organization.accounts.UPDATE"]),
        (format!("{read},ZohoMail.organization.accounts.UPDATE"), json!({}), vec![]),
        ("ZohoDirectory.Users.ALL ZohoMail.organization.accounts.ALL".to_owned(), json!({}), vec![]),
        (read.to_owned(), json!({"resetPassword": directory_call}), vec!["ZohoDirectory.Users.UPDATE"]),
        (read.to_owned(), json!({"resetPassword": other_call}), vec![]),
        (
            "ZohoDirectory.Users.UPDATE".to_owned(),
            json!({"resetPassword": other_call}),
            vec!["ZohoDirectory.Users.READ", "ZohoMail.organization.accounts.READ"],
        ),
    ] {
        let scope = granted.clone();
        let server = Server::start(move |_, path| {
            let mut token = token();
            token["scope"] = json!(scope);
            if path.starts_with("/oauth") { ok(&token) } else { ok(&json!({"users": []})) }
        })
        .await;
        let directory = connect(&spec(&server.url, patch), &credentials()).unwrap();
        match directory.check(&BTreeSet::from([Mode::Password])).await {
            Ok(_) => assert!(missing.is_empty(), "{granted}: {missing:?}"),
            Err(NotReady::PermissionMissing(message)) => {
                assert!(message.contains(&format!("without {}.", missing.join(", "))), "{granted}: {message}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// A proxy of the environment gets no request for this machine: it could not reach it, and the request is not encrypted.
#[test]
fn no_proxy_for_loopback() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "directory::zoho::tests::access::one_token_for_many_calls"])
        .envs([("HTTP_PROXY", "http://127.0.0.1:1"), ("http_proxy", "http://127.0.0.1:1")])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

/// The operator follows Zoho from one data center to another, but to no other host, and not from an address that the Directory names.
#[test]
fn api_domains() {
    let mut by_center = spec("https://x", json!({}));
    settings(&mut by_center).urls = None;
    settings(&mut by_center).data_center = Some(crate::api::directory::DataCenter::Us);
    let us = connect(&by_center, &credentials()).unwrap();
    for (domain, host) in [
        ("https://www.zohoapis.eu", "www.zohoapis.eu"),
        ("https://www.zohoapis.com", "www.zohoapis.com"),
        ("http://www.zohoapis.eu", "www.zohoapis.com"),
        ("https://www.zohoapis.eu:8443", "www.zohoapis.com"),
        ("https://www.zohoapis.eu/elsewhere", "www.zohoapis.com"),
        ("https://user@www.zohoapis.eu", "www.zohoapis.com"),
        ("https://www.zohoapis.eu.evil.example", "www.zohoapis.com"),
        ("https://evil.example", "www.zohoapis.com"),
        ("https://accounts.zoho.eu", "www.zohoapis.com"),
        ("no address", "www.zohoapis.com"),
    ] {
        assert_eq!(us.api_of(Some(domain)).host_str(), Some(host), "{domain}");
    }
    let own = connect(&spec("https://zoho.zylker.example", json!({})), &credentials()).unwrap();
    assert_eq!(own.api_of(Some("https://www.zohoapis.com")).host_str(), Some("zoho.zylker.example"));
}
