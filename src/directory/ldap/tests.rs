use ldap3::{LdapResult, controls::RawControl};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::json;

use super::{answer::*, entry::*, *};
use crate::core::{call::Reply, dn::Dn};

fn settings(urls: &[&str], start_tls: bool) -> Settings {
    let text = json!({"urls": urls, "startTLS": start_tls, "baseDN": "dc=acme", "credentials": {"secret": "s"}});
    serde_json::from_value(text).unwrap()
}

fn client(urls: &[&str], start_tls: bool) -> Result<Client, String> {
    let credentials = [("bind-dn", "cn=op"), ("bind-password", "secret")];
    let credentials = credentials.map(|(key, value)| (key.to_owned(), SecretString::from(value))).into();
    Client::new("spec.provider.x", &settings(urls, start_tls), &credentials, Duration::from_secs(1))
}

#[test]
fn passwords_go_over_encrypted_connections_alone() {
    for (url, start_tls) in [
        ("ldaps://dc1.acme.example", false),
        ("ldap://dc1:1389", true),
        ("ldap://127.0.0.1:389", false),
        ("ldaps://[::1]/", false),
    ] {
        client(&[url], start_tls).unwrap();
    }
    for (url, start_tls, says) in [
        ("ldap://dc1.acme.example", false, "startTLS"),
        ("ldap://localhost.example", false, "startTLS"),
        ("ldaps://dc1", true, "ldap://"),
        ("https://dc1", false, "ldaps://host"),
        ("ldapi://%2frun", false, "ldaps://host"),
        ("ldaps://dc1/dc=acme??sub", false, "ldaps://host"),
        ("ldaps://user@dc1", false, "ldaps://host"),
        ("ldaps://", false, "ldaps://host"),
        ("dc1", false, "ldaps://host"),
    ] {
        let error = client(&[url], start_tls).unwrap_err();
        assert!(error.contains(says), "{url}: {error}");
    }
    assert!(client(&[], false).is_err());
}

#[test]
fn an_empty_credential_is_none() {
    for (dn, password) in [("", "x"), ("cn=op", ""), (" \n", "x")] {
        let credentials = [("bind-dn", dn), ("bind-password", password)];
        let credentials = credentials.map(|(key, value)| (key.to_owned(), SecretString::from(value))).into();
        let made = Client::new("f", &settings(&["ldaps://a"], false), &credentials, Duration::from_secs(1));
        assert!(made.is_err(), "{dn:?} {password:?}");
    }
}

#[tokio::test]
async fn no_sign_in_without_a_password() {
    let client = client(&["ldap://127.0.0.1:1"], false).unwrap();
    let url = Url::parse("ldap://127.0.0.1:1").unwrap();
    let answer = client.sign_in(&url, "cn=op", &SecretString::from("")).await;
    assert!(answer.unwrap().is_none(), "not even a connection is made");
    assert!(client.sign_in(&url, "cn=op", &SecretString::from("secret")).await.is_err());
    assert_eq!(client.connection().await.err(), Some(Failed::NoConnection));
}

fn result(rc: u32, text: &str, control: Option<&[u8]>) -> LdapResult {
    let raw = |value: &[u8]| RawControl { ctype: PASSWORD_POLICY.to_owned(), crit: false, val: Some(value.to_vec()) };
    let controls = control.map(|value| ldap3::controls::Control(None, raw(value)));
    LdapResult {
        rc,
        matched: String::new(),
        text: text.to_owned(),
        refs: Vec::new(),
        ctrls: controls.into_iter().collect(),
    }
}

#[test]
fn codes_are_numbers_and_fixed_words() {
    for (result, says) in [
        (result(19, "secret-password is bad", None), "19 constraintViolation"),
        (
            result(19, "", Some(&[0x30, 3, 0x81, 1, 7])),
            "19 constraintViolation, passwordTooYoung (pwdMinAge of the password policy: the last change is too recent)",
        ),
        // With a warning before it.
        (
            result(19, "", Some(&[0x30, 8, 0xa0, 3, 0x80, 1, 5, 0x81, 1, 8])),
            "19 constraintViolation, passwordInHistory (pwdInHistory of the password policy: it was used before)",
        ),
        (
            result(19, "", Some(&[0x30, 3, 0x81, 1, 9])),
            "19 constraintViolation, passwordTooLong (pwdMaxLength of the password policy wants a shorter one)",
        ),
        (result(19, "", Some(&[0x30, 200, 0x81, 1, 8])), "19 constraintViolation"),
        (result(19, "", Some(&[0x30, 3, 0x81, 9, 8])), "19 constraintViolation"),
        (
            result(19, "0000052D: Constraint violation - check_password_restrictions", None),
            "19 constraintViolation, 0000052D (the domain's password policy: its length, complexity or minimum age)",
        ),
        (
            result(49, "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1", None),
            "49 invalidCredentials, data 52e",
        ),
        (result(49, "x, data <script>, y", None), "49 invalidCredentials"),
        (result(4711, "", None), "4711"),
    ] {
        assert_eq!(Code::of(&result).to_string(), says);
    }
}

/// An error shows that nothing was changed, unless it is about the server's own state.
#[test]
fn what_an_answer_means() {
    let reply = |number| Answer::from(result(number, "", None)).reply();
    assert_eq!(reply(0), Reply::Done);
    for trouble in [1, 3, 11, 52, 80, 4711] {
        assert_eq!(reply(trouble), Reply::Unsure, "{trouble}");
    }
    for ours in [8, 10, 13, 49] {
        assert!(matches!(reply(ours), Reply::Denied { .. }), "{ours}");
    }
    assert_eq!(reply(32), Reply::NoSuchUser);
    assert_eq!(reply(51), Reply::Throttled { after: None });
    for refused in [19, 50, 53] {
        assert!(matches!(reply(refused), Reply::Rejected { .. }), "{refused}");
    }
    // Another password may be accepted.
    let says = |number, text| Answer::from(result(number, text, None)).reply();
    for (number, text) in [
        (19, "0000052D: Constraint violation - check_password_restrictions"),
        (53, "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0"),
        (19, "Password fails quality checking policy"),
    ] {
        assert!(matches!(says(number, text), Reply::PasswordRefused { .. }), "{text}");
    }
    assert!(matches!(says(53, "00002035: Only allowed on the primary"), Reply::Denied { .. }));
    assert!(matches!(says(53, "no global superior knowledge of Password"), Reply::Rejected { .. }));
}

/// The value within a filter `(attribute=value)`, as it goes over the wire.
fn value_of(filter: &str) -> Vec<u8> {
    let mut wire = bytes_of(filter);
    wire.split_off(wire.windows(3).position(|w| w == b"uid").unwrap() + 3)
}

fn bytes_of(filter: &str) -> Vec<u8> {
    RawControl::from(ldap3::controls::Assertion { filter }).val.unwrap()
}

proptest! {
    /// Any typed text is one value of one comparison.
    #[test]
    fn what_is_typed_stays_a_value(typed in "\\PC{1,60}|[()*\\\\\u{0}&|!=<>~ a]{1,60}") {
        let wire = value_of(&equals("uid", &typed));
        prop_assert!(wire.ends_with(typed.as_bytes()));
        // An equality match, not a search for parts: [3] over the whole.
        prop_assert_eq!(bytes_of(&equals("uid", &typed))[0], 0xa3);
        prop_assert_eq!(&bytes_of(&equals_bytes("uid", typed.as_bytes())), &bytes_of(&equals("uid", &typed)));
    }

    /// A part of a name stays one part whatever it contains, and a text that is not a name causes no panic.
    #[test]
    fn parts_of_names(value in "[a-z][-a-z,+=\"\\\\<>;#äöü]{0,20}[a-z]", odd in "\\PC{0,40}|[=,+;\"\\\\#a0 ]{0,20}") {
        let named = |value: &str| Dn::of(&format!("cn={},dc=acme", ldap3::dn_escape(value)));
        let bytes: Vec<String> = value.bytes().map(|byte| format!("\\{byte:02X}")).collect();
        prop_assert_eq!(named(&value), Dn::of(&format!("CN={},DC=acme", bytes.concat())));
        prop_assert_ne!(named(&value), named(&(value.clone() + "x")));
        prop_assert!(named(&value).is_under(&Dn::of("dc=acme")));
        prop_assert!(!named(&value).is_under(&Dn::of(&odd)));
    }

    /// No control and no message of a server cause a panic, and nothing of the message is shown.
    #[test]
    fn answers_of_any_kind(number in any::<u32>(), text in "\\PC{0,80}", control in proptest::collection::vec(any::<u8>(), 0..12)) {
        let shown = Code::of(&result(number, &text, Some(&control))).to_string();
        prop_assert!(shown.len() < 160 && shown.is_ascii());
    }

    #[test]
    fn preconditions_are_stored_as_text(value in "[!-~]{1,40}", server in "[a-z0-9.:]{1,40}") {
        let text = precondition::Precondition::text(&value, &server);
        let expected = precondition::Precondition { value: &value, server: &server };
        prop_assert_eq!(precondition::Precondition::parse(&text), Some(expected));
    }
}
