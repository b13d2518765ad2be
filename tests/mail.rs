//! The operator's own mail, against a real mail server.
#![cfg(test)]
use std::{collections::BTreeMap, fs};

use credreset::{
    api::directory::Mail,
    mail::{Failure, Mailer},
};
use secrecy::SecretString;
use serde_json::json;

mod support;
use support::{folder::Folder, smtp::Smtp};

/// A private authority's certificate, and one for localhost that it has signed, as PEM files.
fn certificates(folder: &Folder) -> (String, String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let (cert_file, key_file) = (folder.0.join("cert.pem"), folder.0.join("key.pem"));
    fs::write(&cert_file, leaf.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    (ca.pem(), cert_file.display().to_string(), key_file.display().to_string())
}

fn mailer(url: &str, ca: Option<&str>, login: Option<(&str, &str)>) -> Result<Mailer, String> {
    let mut smtp = json!({"url": url, "from": "helpdesk@zylker.biz"});
    if let Some(ca) = ca {
        smtp["caBundle"] = json!(ca);
    }
    if login.is_some() {
        smtp["credentials"] = json!({"secret": "mail"});
    }
    let mail: Mail = serde_json::from_value(json!({ "smtp": smtp })).unwrap();
    let credentials = login.map(|(user, password)| {
        BTreeMap::from([
            ("username".to_owned(), SecretString::from(user)),
            ("password".to_owned(), SecretString::from(password)),
        ])
    });
    Mailer::connect(&mail, credentials.as_ref())
}

async fn send(mailer: &Mailer, to: &str) -> Result<(), Failure> {
    mailer.send(to, "annette.c@zylker.biz", &SecretString::from("New-pass=word7")).await
}

#[tokio::test]
async fn in_clear_to_this_machine_only() {
    let folder = Folder::new();
    let server = Smtp::start(&folder.0, &[]);
    let mailer = mailer(&format!("smtp://127.0.0.1:{}", server.port), None, None).unwrap();
    send(&mailer, "annette.c@zylker.biz").await.unwrap();
    let mails = server.mails();
    assert_eq!((&mails[0]["from"], &mails[0]["to"]), (&json!("helpdesk@zylker.biz"), &json!(["annette.c@zylker.biz"])));
    let data = mails[0]["data"].as_str().unwrap();
    // Quoted-printable may write the equals sign as =3D.
    assert!(data.contains("New-pass=word7") || data.contains("New-pass=3Dword7"), "{data}");
    assert!(
        data.contains("Subject: Your new password")
            && data.contains("@zylker.biz>")
            && data.contains("Message-ID:")
            && data.contains("Date:"),
        "{data}"
    );
    assert!(matches!(send(&mailer, "refused@zylker.biz").await, Err(Failure::Permanent(why)) if why.contains("550")));
    assert!(matches!(send(&mailer, "later@zylker.biz").await, Err(Failure::Temporary(why)) if why.contains("451")));
    assert!(matches!(send(&mailer, "no address").await, Err(Failure::Permanent(_))));
    drop(server);
    assert!(matches!(send(&mailer, "annette.c@zylker.biz").await, Err(Failure::Temporary(_))));
}

/// A password may be any text, also one that looks like the end of the mail and the beginning of another.
#[tokio::test]
async fn a_password_ends_no_mail() {
    let folder = Folder::new();
    let server = Smtp::start(&folder.0, &[]);
    let mailer = mailer(&format!("smtp://127.0.0.1:{}", server.port), None, None).unwrap();
    for end in ["\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\0\r\n.\r\n"] {
        let other =
            "MAIL FROM:<evil@evil.example>\r\nRCPT TO:<victim@zylker.biz>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n";
        let password = SecretString::from(format!("New-pass{end}{other}"));
        mailer.send("annette.c@zylker.biz", "annette\r\n.\r\nQUIT", &password).await.unwrap();
    }
    let mails = server.mails();
    assert_eq!(mails.len(), 5);
    for mail in mails {
        assert_eq!((&mail["from"], &mail["to"]), (&json!("helpdesk@zylker.biz"), &json!(["annette.c@zylker.biz"])));
        assert!(mail["data"].as_str().unwrap().contains("inform your help desk"), "whole: {mail}");
    }
}

#[tokio::test]
async fn with_tls_and_a_private_authority() {
    for smtps in [true, false] {
        let folder = Folder::new();
        let (ca, cert, key) = certificates(&folder);
        let mut flags = vec!["--cert", &cert, "--key", &key];
        if smtps {
            flags.push("--smtps");
        }
        let server = Smtp::start(&folder.0, &flags);
        let url = format!("{}://localhost:{}", if smtps { "smtps" } else { "smtp" }, server.port);
        let good = mailer(&url, Some(&ca), Some(("user", "secret"))).unwrap();
        send(&good, "annette.c@zylker.biz").await.unwrap();
        let mails = server.mails();
        assert_eq!((&mails[0]["tls"], &mails[0]["user"]), (&json!(true), &json!("user")));
        good.check().await.unwrap();
        let wrong = mailer(&url, Some(&ca), Some(("user", "guess"))).unwrap();
        assert!(matches!(wrong.check().await, Err(Failure::Permanent(_))));
        assert!(matches!(send(&wrong, "annette.c@zylker.biz").await, Err(Failure::Permanent(_))));
        // The certificate is not signed by a trusted authority: nothing is sent.
        let (other_ca, ..) = certificates(&Folder::new());
        for ca in [None, Some(other_ca.as_str())] {
            let stranger = mailer(&url, ca, Some(("user", "secret"))).unwrap();
            let why = send(&stranger, "annette.c@zylker.biz").await.unwrap_err();
            assert!(matches!(&why, Failure::Temporary(why) if why.contains("certificate")), "{why}");
            assert_eq!(stranger.check().await, Err(why));
        }
        assert_eq!(server.mails().len(), 1);
    }
}

/// A server that was reached and lacks something is not reported as down.
#[tokio::test]
async fn a_server_that_offers_no_sign_in_is_named() {
    let folder = Folder::new();
    let server = Smtp::start(&folder.0, &["--no-auth"]);
    let mailer = mailer(&format!("smtp://127.0.0.1:{}", server.port), None, Some(("user", "secret"))).unwrap();
    let why = send(&mailer, "annette.c@zylker.biz").await.unwrap_err();
    assert!(matches!(&why, Failure::Temporary(why) if why.contains("does not offer")), "{why}");
    assert_eq!(mailer.check().await, Err(why));
    assert!(server.mails().is_empty());
}

/// A greeting, and an answer, that never ends its line.
#[tokio::test]
async fn what_has_no_end_is_given_up() {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let wrote = std::thread::spawn(move || {
        let endless =
            |stream: &mut dyn Write| (0..100_000).take_while(|_| stream.write_all(&[b' '; 4096]).is_ok()).count();
        let (mut stream, _) = listener.accept().unwrap();
        let greeting = endless(&mut stream);
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 here\r\n").unwrap();
        let _ = BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new());
        [greeting, endless(&mut stream)]
    });
    let mailer = mailer(&format!("smtp://127.0.0.1:{port}"), None, None).unwrap();
    for _ in 0..2 {
        let why = mailer.check().await.unwrap_err();
        assert_eq!(why, Failure::Temporary("the mail server sent more than 256 KiB.".to_owned()));
    }
    // What the sockets on its way hold is not read.
    assert!(wrote.join().unwrap().iter().all(|pieces| *pieces < 10_000));
}

#[test]
fn what_is_wrong_is_named() {
    for (url, expected) in [
        ("smtp://", "no host"),
        ("smtps://user:secret@mail.zylker.biz", "nothing more"),
        ("smtps://mail.zylker.biz/path", "nothing more"),
        ("smtps://mail.zylker.biz#part", "nothing more"),
        ("http://mail.zylker.biz", "smtps://"),
    ] {
        let msg = mailer(url, None, None).map(|_| ()).unwrap_err();
        assert!(msg.contains(expected) && !msg.contains("secret"), "{url}: {msg}");
    }
    let msg = mailer("smtps://mail.zylker.biz", Some("no pem"), None).map(|_| ()).unwrap_err();
    assert!(msg.contains("caBundle"), "{msg}");
    let msg = mailer("smtps://mail.zylker.biz", None, Some(("user", ""))).map(|_| ()).unwrap_err();
    assert!(msg.contains("no key password"), "{msg}");
    // Without what the Directory names, nothing is sent unsigned.
    let smtp =
        json!({"url": "smtps://mail.zylker.biz", "from": "helpdesk@zylker.biz", "credentials": {"secret": "mail"}});
    let mail: Mail = serde_json::from_value(json!({ "smtp": smtp })).unwrap();
    let msg = Mailer::connect(&mail, None).map(|_| ()).unwrap_err();
    assert!(msg.contains("Secret mail"), "{msg}");
}
