use std::collections::HashMap;

use super::*;

fn entry(name: &str, values: Vec<Vec<u8>>) -> SearchEntry {
    SearchEntry { dn: "CN=ann".to_owned(), attrs: HashMap::new(), bin_attrs: [(name.to_owned(), values)].into() }
}

fn kept(version: u32, count: u32, attributes: &[(u32, i64)]) -> Vec<u8> {
    let mut all = [version, 0, count, 0].map(u32::to_le_bytes).concat();
    for (id, seconds) in attributes {
        all.extend(id.to_le_bytes());
        all.extend(1u32.to_le_bytes());
        all.extend(seconds.to_le_bytes());
        all.extend([0; 32]);
    }
    all
}

#[test]
fn when_a_password_was_set() {
    let at = 13_440_000_000;
    let of = |kept: Vec<u8>| metadata::last_change(&entry("replPropertyMetaData", vec![kept]));
    let end: Timestamp = "2026-11-24T21:19:59.999999999Z".parse().unwrap();
    let seconds = end.as_second() + 11_644_473_600;
    assert_eq!(
        of(kept(1, 2, &[(3, at), (0x0009_005A, seconds)])),
        Seen::Known(metadata::Change { version: 1, at: end })
    );
    assert_eq!(of(kept(1, 1, &[(3, at)])), Seen::Absent);
    // Of another kind, or cut short: that there was no change is not said.
    for odd in [kept(2, 1, &[(3, at)]), kept(1, 2, &[(3, at)]), Vec::new(), kept(1, 1, &[(0x0009_005A, i64::MAX)])] {
        assert!(matches!(of(odd), Seen::Unknown(_)));
    }
    let xml = "<DS_REPL_ATTR_META_DATA>\n<pszAttributeName>unicodePwd</pszAttributeName>\n<dwVersion>3</dwVersion>\
               <ftimeLastOriginatingChange>2026-11-24T21:19:59Z</ftimeLastOriginatingChange></DS_REPL_ATTR_META_DATA>";
    let shown = |xml: &str| SearchEntry {
        dn: String::new(),
        attrs: [("msDS-ReplAttributeMetaData".to_owned(), vec![xml.to_owned()])].into(),
        bin_attrs: HashMap::new(),
    };
    assert_eq!(metadata::last_change(&shown(xml)), Seen::Known(metadata::Change { version: 3, at: end }));
    assert_eq!(metadata::last_change(&shown(&xml.replace("unicodePwd", "cn"))), Seen::Absent);
    assert!(matches!(metadata::last_change(&entry("cn", Vec::new())), Seen::Unknown(_)));
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
