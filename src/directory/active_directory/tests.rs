use std::collections::HashMap;

use jiff::Timestamp;
use ldap3::SearchEntry;
use secrecy::SecretString;

use super::{
    call::quoted,
    look_up,
    state::{PasswordState, file_time},
};
use crate::{core::seen::Seen, directory::ldap::precondition::Precondition};

/// `replPropertyMetaData` of attributes that were each changed three times.
fn kept(version: u32, count: u32, attributes: &[(u32, i64)]) -> Vec<u8> {
    let mut all = [version, 0, count, 0].map(u32::to_le_bytes).concat();
    for (id, seconds) in attributes {
        all.extend(id.to_le_bytes());
        all.extend(3u32.to_le_bytes());
        all.extend(seconds.to_le_bytes());
        all.extend([0; 32]);
    }
    all
}

fn entry(set: &str, kept: Option<Vec<u8>>) -> SearchEntry {
    let kept = kept.map(|kept| ("replPropertyMetaData".to_owned(), vec![kept]));
    SearchEntry {
        dn: "CN=ann".to_owned(),
        attrs: [("pwdLastSet".to_owned(), vec![set.to_owned()])].into(),
        bin_attrs: kept.into_iter().collect::<HashMap<_, _>>(),
    }
}

/// `pwdLastSet` of a time.
fn set(at: &str) -> String {
    let at: Timestamp = at.parse().unwrap();
    (at.as_nanosecond() / 100 + 116_444_736_000_000_000).to_string()
}

#[test]
fn when_a_password_was_set() {
    const PASSWORD: u32 = 0x0009_005A;
    let at: Timestamp = "2026-11-24T21:19:59Z".parse().unwrap();
    let seconds = at.as_second() + 11_644_473_600;
    let ours = || Some(kept(1, 2, &[(3, 13_440_000_000), (PASSWORD, seconds)]));
    for (set, kept, expected) in [
        // Only the second is known: a request that was made within it may have been carried out.
        ("0".to_owned(), ours(), "2026-11-24T21:19:59.999999999Z"),
        (set("2026-11-24T21:19:59.25Z"), ours(), "2026-11-24T21:19:59.25Z"),
        (set("2026-11-24T21:19:58.99Z"), ours(), "2026-11-24T21:19:58.99Z"),
        // An administrator has removed the mark since.
        (set("2026-11-25T00:00:00Z"), ours(), "2026-11-24T21:19:59.999999999Z"),
        (set("2026-11-25T00:00:00Z"), None, "2026-11-25T00:00:00Z"),
    ] {
        let expected = Seen::Known(expected.parse().unwrap());
        assert_eq!(look_up::changed_at(&entry(&set, kept)), expected, "{set}");
    }
    assert_eq!(look_up::changed_at(&entry("0", Some(kept(1, 1, &[(3, seconds)])))), Seen::Absent);
    // Hidden, of an unknown version, or cut short: none of these shows that there was no change.
    let odd =
        [kept(2, 1, &[(3, seconds)]), kept(1, 2, &[(3, seconds)]), Vec::new(), kept(1, 1, &[(PASSWORD, i64::MAX)])];
    for odd in odd.into_iter().map(Some).chain([None]) {
        assert!(matches!(look_up::changed_at(&entry("0", odd)), Seen::Unknown(_)));
    }
}

/// A reset between two reads that both show 0 is a change.
#[test]
fn what_has_moved() {
    let with = |number: u32| {
        let mut kept = kept(1, 1, &[(0x0009_005A, 13_440_000_000)]);
        kept[20..24].copy_from_slice(&number.to_le_bytes());
        PasswordState::of(&entry("0", Some(kept))).unwrap()
    };
    let text = Precondition::text(&with(4).text(), "dc1.acme.example");
    assert_eq!(text, "0#4 at dc1.acme.example");
    let precondition = Precondition::parse(&text).unwrap();
    assert!(with(4).satisfies(&precondition) && with(4).must_change() && !with(5).satisfies(&precondition));
    let hidden = PasswordState::of(&entry("134400227023831620", None)).unwrap();
    assert_eq!(PasswordState::parse(&hidden.text()), Some(hidden.clone()));
    assert!(!hidden.must_change() && !hidden.satisfies(&precondition));
    for odd in ["", "x", "0#", "0#-1", "0#x", "#4"] {
        assert_eq!(PasswordState::parse(odd), None, "{odd}");
    }
}

#[test]
fn times_of_windows() {
    assert_eq!(file_time("116444736000000000"), Some(Timestamp::UNIX_EPOCH));
    assert_eq!(file_time("116444736000000001").unwrap().as_nanosecond(), 100);
    for none in ["0", "-1", "", "9223372036854775807", "x"] {
        assert_eq!(file_time(none), None, "{none}");
    }
}

#[test]
fn a_password_goes_in_quotation_marks() {
    assert_eq!(quoted(&SecretString::from("aß")), [0x22, 0, 0x61, 0, 0xdf, 0, 0x22, 0]);
}

#[test]
fn addresses_of_exchange() {
    let mut user = entry("0", None);
    let all = ["SMTP:ann@acme.example", "smtp:a.lee@acme.example", "X500:/o=acme/cn=ann", "ann@odd.example"];
    user.attrs.insert("proxyAddresses".to_owned(), all.map(str::to_owned).into());
    let found: Vec<&str> = look_up::proxies(&user).collect();
    assert_eq!(found, ["ann@acme.example", "a.lee@acme.example"]);
}
