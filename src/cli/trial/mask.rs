//! Removes names, ids and addresses from a report.
use crate::{
    api::{Directory, directory::ProviderSpec},
    core::user::User,
    directory::addresses,
};

/// Hosts that identify no one. Those of Zoho's data centers do not either.
const PUBLIC: [&str; 2] = ["localhost", "127.0.0.1"];
/// A number with at least as many digits may be an id.
const MIN_ID_DIGITS: usize = 6;

/// Texts and their replacements, longest first.
#[derive(Debug, Default)]
pub(super) struct Mask(Vec<(String, &'static str)>);

impl Mask {
    /// A mask for the texts in the Directory and the user as typed.
    pub(super) fn of(object: &Directory, typed: &str) -> Self {
        let mut mask = Self::default();
        mask.add(typed, "{user}");
        let of_zoho = matches!(&object.spec.provider, ProviderSpec::Zoho(zoho) if zoho.data_center.is_some());
        for url in addresses(&object.spec) {
            let host = url.host_str().unwrap_or_default();
            if !of_zoho && !PUBLIC.contains(&host) {
                mask.add(host, "{host}");
            }
        }
        match &object.spec.provider {
            ProviderSpec::Zoho(zoho) => {
                mask.add(&zoho.organization, "{organization}");
                mask.add(&zoho.zoid, "{zoid}");
            }
            ProviderSpec::Keycloak(keycloak) => mask.add(&keycloak.realm, "{realm}"),
            ProviderSpec::OpenLdap(openldap) => mask.add(&openldap.ldap.base_dn, "{base}"),
            ProviderSpec::ActiveDirectory(domain) => mask.add(&domain.ldap.base_dn, "{base}"),
        }
        for group in object.spec.groups() {
            mask.add(group, "{group}");
        }
        mask.add(object.metadata.name.as_deref().unwrap_or_default(), "{directory}");
        mask
    }

    /// Adds the names and ids of the user in the directory.
    pub(super) fn add_user(&mut self, user: &User) {
        self.add(&user.id.id, "{user.id}");
        self.add(&user.id.name, "{user}");
        for (name, value) in &user.handle {
            self.add(value, if name == "zuid" { "{user.zuid}" } else { "{user}" });
        }
        if let Some(condition) = &user.condition {
            self.add(condition, "{user}");
        }
        for alias in user.aliases.iter().chain(&user.email) {
            self.add(alias, "{user}");
        }
    }

    fn add(&mut self, what: &str, by: &'static str) {
        // Shorter texts occur within ordinary words.
        if what.len() >= 3 && !self.0.iter().any(|(needle, _)| needle == what) {
            self.0.push((what.to_owned(), by));
            // A text that contains another comes first.
            self.0.sort_by_key(|(needle, _)| std::cmp::Reverse(needle.len()));
        }
    }

    /// The text with everything masked.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (needle, by) in &self.0 {
            text = replaced(&text, needle, by);
        }
        // Anything else that looks like an address, an id or a number of a user.
        let mut out = String::with_capacity(text.len());
        for part in text.split_inclusive(|c: char| !(c.is_ascii_alphanumeric() || "@.-_%+".contains(c))) {
            let word = part.trim_end_matches(|c: char| !(c.is_ascii_alphanumeric() || "@.-_%+".contains(c)));
            let by = if word.contains('@') || word.contains("%40") {
                "{address}"
            } else if word.len() >= MIN_ID_DIGITS && word.bytes().all(|b| b.is_ascii_digit()) {
                "{number}"
            } else if word.len() == 36 && word.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()) {
                "{id}"
            } else {
                word
            };
            out.push_str(by);
            out.push_str(part.get(word.len()..).unwrap_or_default());
        }
        out
    }
}

/// Replaces whole words of `text` that equal `needle`, in any case.
fn replaced(text: &str, needle: &str, by: &str) -> String {
    let (lower, needle) = (text.to_lowercase(), needle.to_lowercase());
    if lower.len() != text.len() {
        return text.replace(&needle, by);
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(found) = lower.get(at..).and_then(|rest| rest.find(&needle)) {
        let (from, to) = (at + found, at + found + needle.len());
        let before = text.get(..from).and_then(|text| text.chars().next_back()).is_some_and(is_part);
        let after = text.get(to..).and_then(|text| text.chars().next()).is_some_and(is_part);
        out.push_str(text.get(at..from).unwrap_or_default());
        out.push_str(if before || after { text.get(from..to).unwrap_or_default() } else { by });
        at = to;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_masked() {
        let mut mask = Mask::default();
        for (what, by) in [("zylker.example", "{host}"), ("ann", "{user}"), ("700012345", "{organization}")] {
            mask.add(what, by);
        }
        for (text, hidden) in [
            (
                "GET https://ZYLKER.example/orgs/700012345/users?page=1",
                "GET https://{host}/orgs/{organization}/users?page=1",
            ),
            ("Ann cannot, ann-marie", "{user} cannot, {user}-marie"),
            ("/users?username=ann&email=a.b%40c.example", "/users?username={user}&email={address}"),
            ("id 800012399, a@b.example.", "id {number}, {address}"),
            ("users/0b8e0f3a-0f4f-4b6e-9c6e-0d2f5f6c7a8b/x, 200", "users/{id}/x, 200"),
        ] {
            assert_eq!(mask.hide(text), hidden);
        }
    }
}
