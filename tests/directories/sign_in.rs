//! The sign-in after a reset, as the user does it. Tests call it after each reset that they see applied.
use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    keycloak_server::{CODE, REFUSED, Realm, SIGNED_IN, their_code},
    openldap, samba,
    support::{Site, TEAM, message},
};

/// What was asked for is met, and nothing else.
pub fn signs_in(site: &Site, reset: &Value) {
    let (spec, user) = (&reset["spec"], &reset["status"]["user"]);
    let directory = spec["directory"].as_str().unwrap();
    let [id, name] = ["id", "name"].map(|field| user[field].as_str().unwrap());
    let must_change = spec["password"]["forceChangeOnLogin"] != false;
    if let Some(realm) = site.realm_of(directory) {
        if spec["mode"] == "MFA" {
            Met { realm: &realm, id, name }.after_mfa(&message(reset));
        } else {
            Met { realm: &realm, id, name }.after_password(&password(site, &spec["password"]), must_change);
        }
        return;
    }
    let door = site.door_of(directory).unwrap_or_else(|| panic!("it is not known where users of {directory} sign in"));
    let new = password(site, &spec["password"]);
    if door.kind == openldap::KIND {
        let tried = |password: &str| openldap::result_of(&door.sign_in(&openldap::dn(name), password));
        // A success, which comes last, takes the failure back.
        assert_eq!(tried(&format!("{name}-old-1")), openldap::WRONG, "{name}");
        assert_eq!(tried(&new), if must_change { openldap::MUST_CHANGE } else { openldap::MAY_ENTER }, "{name}");
    } else {
        let name = name.strip_suffix("@acme.example").unwrap_or(name);
        let tried = |password: &str| samba::result_of(&door.sign_in(&samba::dn(name), password));
        // Where another need not be chosen a domain controller takes the old one for an hour more, except for Kerberos.
        if must_change {
            assert_eq!(tried(&format!("{name}-Old-1")), samba::WRONG, "{name}");
            assert_eq!(tried(&new), samba::MUST_CHANGE, "{name}");
        } else {
            assert!(samba::IS_RIGHT.contains(&tried(&new).as_str()), "{name}: {}", tried(&new));
        }
    }
}

/// That the request has set.
fn password(site: &Site, asked: &Value) -> String {
    if let Some(secret) = asked["deliverTo"]["secret"].as_str() {
        return site.secret(TEAM, secret, "password");
    }
    let [name, key] = ["name", "key"].map(|field| asked["fromSecret"][field].as_str());
    site.secret(TEAM, name.unwrap(), key.unwrap_or("password"))
}

/// A user of a realm at the login page.
struct Met<'a> {
    realm: &'a Realm,
    id: &'a str,
    name: &'a str,
}

impl Met<'_> {
    /// The password opens the account, as far as to choose another where one must be, and the one before does not.
    fn after_password(&self, new: &str, must_change: bool) {
        self.is_asked_for("UPDATE_PASSWORD", must_change, new);
        if let Some(old) = self.realm.known(self.name).filter(|old| old != new) {
            assert_eq!(self.realm.browser().sign_in(self.name, &old), REFUSED, "{}: the old password", self.name);
            self.realm.forgive(self.id);
        }
        self.realm.knows(self.name, new);
    }

    /// Only a user who has lost an authenticator is asked to enrol another.
    fn after_mfa(&self, msg: &str) {
        let removed = msg.split_once("Removed: ").map(|(_, rest)| rest.split('.').next().unwrap().split(", "));
        // `2 x otp`, if there were two.
        let removed: BTreeSet<&str> =
            removed.into_iter().flatten().filter_map(|kind| kind.rsplit(" x ").next()).collect();
        // One that was enrolled later stays, and is enough.
        let lost = removed.contains("otp") && !self.realm.kinds(self.id).iter().any(|kind| kind == "otp");
        let password = self
            .realm
            .known(self.name)
            .unwrap_or_else(|| panic!("it is not known which password is that of {}", self.name));
        self.is_asked_for("CONFIGURE_TOTP", lost, &password);
    }

    /// Signs in. Other actions may be asked for, too, and come first.
    fn is_asked_for(&self, action: &str, expected: bool, password: &str) {
        let Self { realm, id, name } = self;
        let mut browser = realm.browser();
        let mut met = browser.sign_in(name, password);
        let has_app = realm.kinds(id).iter().any(|kind| kind == "otp");
        assert_eq!(met == CODE, has_app, "{name}: {met}");
        if has_app {
            met = browser.enter_code(&their_code());
        }
        let pending = realm.get(&format!("/users/{id}"))["requiredActions"].clone();
        let pending: Vec<&str> = pending.as_array().unwrap().iter().map(|action| action.as_str().unwrap()).collect();
        assert_eq!(pending.contains(&action), expected, "{name}: {pending:?}");
        match pending.as_slice() {
            [] => assert_eq!(met, SIGNED_IN, "{name}"),
            all => assert!(all.contains(&met.as_str()), "{name}: {met}, and not {all:?}"),
        }
        browser.sign_out();
    }
}
