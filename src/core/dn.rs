//! Distinguished names (RFC 4514), of which each has many spellings.
use std::collections::BTreeSet;

use icu_normalizer::ComposingNormalizerBorrowed;

use super::text::folded;

/// Attribute types that every server also knows by their number (RFC 4514, section 3) and by a long name (RFC 4519).
const ATTRIBUTES: [[&str; 3]; 9] = [
    ["cn", "commonname", "2.5.4.3"],
    ["l", "localityname", "2.5.4.7"],
    ["st", "stateorprovincename", "2.5.4.8"],
    ["o", "organizationname", "2.5.4.10"],
    ["ou", "organizationalunitname", "2.5.4.11"],
    ["c", "countryname", "2.5.4.6"],
    ["street", "streetaddress", "2.5.4.9"],
    ["dc", "domaincomponent", "0.9.2342.19200300.100.1.25"],
    ["uid", "userid", "0.9.2342.19200300.100.1.1"],
];

/// A distinguished name, normalized: without escapes, quotation marks, case, extra blanks, and the order within a multi-valued RDN. Only
/// the server can compare attributes of other types than the usual ones, and those whose case matters. A text that is not a distinguished
/// name stands for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dn(Vec<BTreeSet<(String, String)>>);

impl Dn {
    /// Parses and normalizes `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(parse(text.trim()).unwrap_or_else(|| vec![BTreeSet::from([(String::new(), plain(text))])]))
    }

    /// Folds the values as [`folded`] does: for protections, where one match too many is better than one too few.
    #[must_use]
    pub fn folded(self) -> Self {
        let fold = |(name, value): (String, String)| (name, folded(&value));
        Self(self.0.into_iter().map(|part| part.into_iter().map(fold).collect()).collect())
    }

    /// Whether this name is `above`, or below it.
    #[must_use]
    pub fn is_under(&self, above: &Self) -> bool {
        self.0.ends_with(&above.0)
    }
}

/// A value as it is compared: case, the form of its characters, and how many blanks there are make no difference (RFC 4518).
fn plain(value: &str) -> String {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let value = nfkc.normalize(&nfkc.normalize(value).to_lowercase()).into_owned();
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn parse(text: &str) -> Option<Vec<BTreeSet<(String, String)>>> {
    let (mut all, mut part, mut rest) = (Vec::new(), BTreeSet::new(), text.as_bytes());
    loop {
        let at = rest.iter().position(|byte| *byte == b'=')?;
        let name = std::str::from_utf8(rest.get(..at)?).ok()?.trim().to_ascii_lowercase();
        let name = name.strip_prefix("oid.").unwrap_or(&name);
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) {
            return None;
        }
        let name =
            ATTRIBUTES.into_iter().find(|names| names.contains(&name)).map_or(name, |[name, ..]| name).to_owned();
        let (value, after) = value(rest.get(at + 1..)?)?;
        part.insert((name, value));
        match after {
            [] => {
                all.push(part);
                return Some(all);
            }
            [separator, next @ ..] => {
                if *separator != b'+' {
                    all.push(std::mem::take(&mut part));
                }
                rest = next;
            }
        }
    }
}

/// Parses a value. Returns it with the rest of the text, which begins with the separator.
fn value(text: &[u8]) -> Option<(String, &[u8])> {
    let text = text.trim_ascii_start();
    let (mut rest, quoted) = text.strip_prefix(b"\"").map_or((text, false), |rest| (rest, true));
    let (mut value, mut escaped) = (Vec::new(), false);
    loop {
        match rest {
            [b'\\', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digits = [*high, *low];
                value.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
                escaped = true;
                rest = rest.get(3..)?;
            }
            [b'\\', one, next @ ..] => {
                value.push(*one);
                escaped = true;
                rest = next;
            }
            [b'"', next @ ..] if quoted => {
                let next = next.trim_ascii_start();
                return matches!(next, [] | [b',' | b';' | b'+', ..]).then(|| (readable(&value), next));
            }
            [] if quoted => return None,
            [] | [b',' | b';' | b'+', ..] if !quoted => {
                let encoded = value.trim_ascii_end().strip_prefix(b"#").filter(|_| !escaped).and_then(encoded);
                return Some((encoded.unwrap_or_else(|| readable(&value)), rest));
            }
            [one, next @ ..] => {
                value.push(*one);
                rest = next;
            }
            [] => return None,
        }
    }
}

/// Normalizes a value. One that is not valid UTF-8 stays different from every text.
fn readable(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => plain(text),
        Err(_) => format!("\u{0}{value:02x?}"),
    }
}

/// Decodes a value that is written as its BER encoding in hexadecimal digits: a short string of one of the usual types.
fn encoded(digits: &[u8]) -> Option<String> {
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = pairs.collect::<Option<_>>()?;
    match bytes.as_slice() {
        // OCTET STRING, UTF8String, PrintableString, IA5String.
        [0x04 | 0x0c | 0x13 | 0x16, length @ ..0x80, text @ ..] if usize::from(*length) == text.len() => {
            Some(readable(text))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name() {
        for spellings in [
            &[
                r"cn=Doe\, John,ou=People,dc=acme",
                r"CN=Doe\2C John,OU=People,DC=acme",
                r"cn=doe\2c\20john , ou = people, dc=ACME",
                r#"cn="Doe, John",ou=people,dc=acme"#,
                r"2.5.4.3=Doe\, John;OID.2.5.4.11=People;dc=acme",
                r"commonName=Doe\,  John,organizationalUnitName=People,domainComponent=acme",
                r"cn=#0c09446f652c204a6f686e,ou=people,dc=acme",
            ][..],
            &[r"cn=Jörg \+ \#1\22\\,dc=acme", r"cn=J\C3\B6rg \2B #1\22\5c,dc=acme", r#"CN="JÖRG + #1\"\\",dc=acme"#],
            &["uid=ann+cn=Ann,dc=acme", "CN=ann + UID=ann,DC=acme", "0.9.2342.19200300.100.1.1=ann+cn=ann,dc=acme"],
            &["cn=\u{ff21}nn,dc=acme", "cn=Ann,dc=acme"],
            &["cn=,dc=acme", "CN= ,dc=acme", "cn=\"\",dc=acme"],
            &["ann@acme.example", " Ann@acme.example "],
        ] {
            for one in spellings {
                assert_eq!(Dn::of(one), Dn::of(spellings[0]), "{one}");
            }
        }
    }

    #[test]
    fn other_names() {
        for (one, other) in [
            (r"cn=a\,ou=b,dc=acme", "cn=a,ou=b,dc=acme"),
            ("cn=a,dc=acme", "cn=ab,dc=acme"),
            ("cn=a,dc=acme", "sn=a,dc=acme"),
            ("cn=a+sn=b,dc=acme", "cn=a,sn=b,dc=acme"),
            ("cn=straße", "cn=strasse"),
            (r"cn=\C3", r"cn=\C4"),
            (r"cn=\#0c0161", "cn=#0c0161"),
            ("a", "cn=a"),
        ] {
            assert_ne!(Dn::of(one), Dn::of(other), "{one} {other}");
        }
        assert_eq!(Dn::of("cn=Straße").folded(), Dn::of(r"CN=stra\C3\9Fe").folded());
        assert_eq!(Dn::of("cn=Straße").folded(), Dn::of("CN=STRASSE").folded());
    }

    #[test]
    fn below() {
        let is_under = |dn: &str, above: &str| Dn::of(dn).is_under(&Dn::of(above));
        assert!(is_under(r"cn=a\,b, ou=x,dc=Acme", "OU=X,dc=acme"));
        assert!(is_under(r"uid=ann,ou=Berlin\2C Mitte,dc=acme", r"ou=Berlin\, Mitte,dc=acme"));
        assert!(is_under("dc=acme", "dc=acme"));
        assert!(!is_under("dc=acme", "ou=x,dc=acme"));
        assert!(!is_under(r"cn=a\,dc=acme", "dc=acme"));
        assert!(!is_under("ou=xx,dc=acme", "ou=x,dc=acme"));
        assert!(!is_under("ou=x,dc=acme", ""));
    }
}
