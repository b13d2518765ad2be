//! Realms after years of use, each from a bug report: the operator refuses such a reset before it sends anything, or reports its
//! consequence with the success, and the user meets just that at the next sign-in.
use http::Method;
use serde_json::{Value, json};

use crate::{
    applied, delivered,
    keycloak::{enrols, factors},
    keycloak_server::{Keycloak, Realm, realm_user},
    ldap_server::Server,
    mfa, names, openldap, password, refused,
    support::{Site, TEAM, message},
};

#[test]
fn an_untidy_realm() {
    let site = Site::start();
    let _operator = site.operator();
    actions_that_are_off(&site);
    users_of_a_federation(&site);
    whoever_is_being_brought_in(&site);
    odd_names(&site);
    addresses_for_names(&site);
    what_is_left(&site);
    locked_out(&site);
    incomplete_profiles(&site);
    policies(&site);
}

fn connected(site: &Site, name: &str, realm: &Realm, patch: Value) {
    site.keycloak(name, realm, &realm.server.url, patch);
    site.until_directory(name, "Connected");
}

/// The message of a success.
fn applied_message(site: &Site, name: &str) -> String {
    applied(site, name);
    let msg = message(&site.reset(name));
    println!("{name}: {msg}");
    msg
}

/// keycloak#14558, #12723.
fn actions_that_are_off(site: &Site) {
    let realm = Keycloak::shared().realm(json!({}));
    connected(site, "off", &realm, json!({}));
    for alias in ["CONFIGURE_TOTP", "UPDATE_PASSWORD"] {
        let path = format!("/authentication/required-actions/{alias}");
        let mut action = realm.get(&path);
        action["enabled"] = json!(false);
        realm.admin(Method::PUT, &path, Some(action));
    }
    realm.admin(Method::DELETE, "/authentication/required-actions/webauthn-register", None);
    let keep = json!({"password": {"forceChangeOnLogin": false}});
    let codes = json!({"user": {"username": "fay"}, "mfa": {"factors": ["RecoveryCodes"]}});
    site.apply(
        &[
            mfa("off", "bob", json!({})),
            mfa("off", "key", json!({})),
            mfa("off", "fay", codes),
            password("off", "ann", json!({})),
            password("off", "amy", json!({"user": {"username": "ann"}, "password": keep["password"]})),
        ]
        .join("\n---\n"),
    );
    for (name, action) in [("bob", "CONFIGURE_TOTP"), ("key", "webauthn-register"), ("ann", "UPDATE_PASSWORD")] {
        let msg = refused(site, name, "NotSupported");
        assert!(msg.contains(action) && msg.contains("othing is sent"), "{msg}");
    }
    assert_eq!(factors(&realm, "bob"), ["otp"]);
    assert_eq!(realm.sign_in_with_code("bob", "bob-old-1"), "signed in");
    assert_eq!(factors(&realm, "key"), ["webauthn"]);
    // What does not need them is carried out.
    applied_message(site, "amy");
    assert_eq!(realm.resets(&realm.id("ann")), 1);
    assert_eq!(realm.browser().sign_in("ann", &delivered(site, "amy")), "signed in");
    let msg = applied_message(site, "fay");
    assert!(
        msg.contains("Removed: recovery-authn-codes. Left: otp (not requested), webauthn (not requested)"),
        "{msg}"
    );
}

/// keycloak#20464, #23594, PR #36892.
fn users_of_a_federation(site: &Site) {
    let ldap = Server::start("openldap", &[("CLEAR", "1")]);
    for (name, mode, import) in
        [("read-only", "READ_ONLY", true), ("unsynced", "UNSYNCED", true), ("unimported", "READ_ONLY", false)]
    {
        let realm = Keycloak::shared().realm(json!({}));
        for user in ["ann", "bob"] {
            realm.admin(Method::DELETE, &format!("/users/{}", realm.id(user)), None);
        }
        federate(&realm, &ldap, mode, import);
        let bob = realm.id("bob");
        let otp = realm_user("bob")["credentials"][1].clone();
        realm.admin(Method::PUT, &format!("/users/{bob}"), Some(json!({"credentials": [otp]})));
        connected(site, name, &realm, json!({}));
        let named = |user: &str| (format!("{name}-{user}"), json!({"user": {"username": user}}));
        let [(ann, of_ann), (bob, of_bob), (none, of_none)] =
            [named("ann"), named("bob"), (format!("{name}-none"), json!({"user": {"username": "ann"}}))];
        site.apply(
            &[
                password(name, &ann, of_ann),
                mfa(name, &bob, json!({"user": of_bob["user"], "mfa": {"confirm": "bob"}})),
                mfa(name, &none, json!({"user": of_none["user"], "mfa": {"confirm": "ann"}})),
            ]
            .join("\n---\n"),
        );
        refused(site, &ann, "UserFederated");
        refused(site, &none, "UserFederated");
        if import {
            assert!(applied_message(site, &bob).contains("Removed: otp."));
            assert_eq!(factors(&realm, "bob"), [""; 0]);
            enrols(&realm, "bob", "bob-old-1");
        } else {
            assert!(refused(site, &bob, "Rejected").contains("user-is-read-only"));
            assert_eq!(factors(&realm, "bob"), ["otp"]);
        }
    }
}

/// Who is looked up for the first time is brought in by that, and a look-up meanwhile finds no user: of four looks at once two or
/// three are. No request reports that there is no such user.
fn whoever_is_being_brought_in(site: &Site) {
    let ldap = Server::start("openldap", &[("CLEAR", "1")]);
    let realm = Keycloak::shared().realm(json!({}));
    federate(&realm, &ldap, "READ_ONLY", true);
    let crowd = names("crowd", 12);
    openldap::add(&ldap, &crowd);
    connected(site, "crowd", &realm, json!({}));
    let requests = crowd.iter().flat_map(|user| {
        let address = json!({"username": null, "email": format!("{user}@acme.example")});
        [("a", json!({"username": user})), ("b", address.clone()), ("c", address), ("d", json!({"username": user}))]
            .map(|(nth, who)| (format!("{user}-{nth}"), who))
    });
    let requests: Vec<_> = requests.collect();
    let manifests: Vec<String> =
        requests.iter().map(|(name, who)| password("crowd", name, json!({ "user": who }))).collect();
    site.apply(&manifests.join("\n---\n"));
    for (name, _) in &requests {
        refused(site, name, "UserFederated");
    }
}

fn federate(realm: &Realm, ldap: &Server, mode: &str, import: bool) {
    let config = json!({
        "enabled": ["true"], "priority": ["0"], "importEnabled": [import.to_string()], "editMode": [mode], "vendor": ["other"],
        "usernameLDAPAttribute": ["uid"], "rdnLDAPAttribute": ["uid"], "uuidLDAPAttribute": ["entryUUID"],
        "userObjectClasses": ["inetOrgPerson"], "connectionUrl": [ldap.value("LDAP_URL")], "usersDn": ["ou=people,dc=acme,dc=example"],
        "authType": ["simple"], "bindDn": [ldap.value("ADMIN_DN")], "bindCredential": [ldap.value("ADMIN_PASSWORD")],
        "searchScope": ["1"], "trustEmail": ["true"], "syncRegistrations": ["false"],
    });
    let component = json!({
        "name": "ldap", "providerId": "ldap", "providerType": "org.keycloak.storage.UserStorageProvider",
        "parentId": realm.get("")["id"], "config": config,
    });
    realm.admin(Method::POST, "/components", Some(component));
}

/// keycloak#39896, #12738, #50937.
fn odd_names(site: &Site) {
    let realm = Keycloak::shared().realm(json!({}));
    let ids = ["broken;client", "https://app.example/a;b?c#d", "a%2Fb c+d&e"];
    for id in ids {
        let client =
            json!({"clientId": id, "publicClient": true, "directAccessGrantsEnabled": true, "fullScopeAllowed": true});
        realm.admin(Method::POST, "/clients", Some(client));
    }
    let group = |name: &str| {
        realm.admin(Method::POST, "/groups", Some(json!({ "name": name })));
        let all = realm.get("/groups?max=100");
        let found = all.as_array().unwrap().iter().find(|group| group["name"] == name).unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    for (user, name) in [("uma", "Semi;colon"), ("udo", "Staff/Desk"), ("ulf", "a ~\\?%+ä")] {
        let id = realm.add_user(user, json!({}));
        realm.admin(Method::PUT, &format!("/users/{id}/groups/{}", group(name)), None);
    }
    let ann = "ann-old-1";
    let tokens = ids.map(|id| (id, realm.offline_token_of(id, "ann", ann)));
    let protect = json!({"protect": {"groups": ["/Semi;colon", "/Staff/Desk", "/a ~\\?%+ä"]}});
    connected(site, "odd", &realm, protect);
    let allow = |groups: &[&str]| json!({"allow": [{"name": "desk", "namespaces": [TEAM], "modes": ["Password"], "users": {"groups": groups}}]});
    connected(site, "odd-staff", &realm, allow(&["/Staff"]));
    connected(site, "odd-semi", &realm, allow(&["/Semi;colon"]));
    // It matches no user, and the Directory reports it.
    site.keycloak("odd-nobodies", &realm, &realm.server.url, allow(&["/Staff", "/Staff/Nobodies", "/Semi"]));
    let msg = site.until_directory("odd-nobodies", "Connected");
    assert!(
        msg.contains("spec.allow names /Semi; /Staff/Nobodies, and the operator's account sees no such group"),
        "{msg}"
    );
    let of = |name: &str, user: &str| json!({"user": {"username": user}, "password": {"deliverTo": {"secret": format!("{name}-password")}}});
    let by = |directory: &str, name: &str, user: &str| password(directory, name, of(name, user));
    let all = json!({"user": {"username": "ann"}, "password": {"clearMobileSessionsAndApiTokens": true}});
    site.apply(
        &[
            by("odd", "p-uma", "uma"),
            by("odd", "p-udo", "udo"),
            by("odd", "p-ulf", "ulf"),
            by("odd", "p-ann", "ann"),
            by("odd-staff", "s-udo", "udo"),
            by("odd-semi", "s-uma", "uma"),
            password("odd-staff", "s-ann", all),
        ]
        .join("\n---\n"),
    );
    for name in ["p-uma", "p-udo", "p-ulf", "p-ann"] {
        refused(site, name, "UserProtected");
    }
    // In a group whose name only reads like a path below /Staff.
    site.until("s-udo", "NotAllowed");
    applied(site, "s-uma");
    applied(site, "s-ann");
    for (id, token) in tokens {
        assert!(!realm.lives_of(id, &token), "{id}");
    }
}

/// keycloak#36010.
fn addresses_for_names(site: &Site) {
    let realm = Keycloak::shared().realm(json!({}));
    let otp = realm_user("bob")["credentials"].clone();
    let old = realm.add_user("old2", json!({"email": "other2@acme.example", "credentials": otp}));
    realm.add_user("tia", json!({"email": "tia@acme.example"}));
    realm.set(json!({"registrationEmailAsUsername": true}));
    realm.add_user("new2@acme.example", json!({"email": "new2@acme.example", "credentials": otp}));
    connected(site, "addresses", &realm, json!({}));
    let typed = |name: &str| json!({"user": {"username": name}, "mfa": {"confirm": name}});
    site.apply(
        &[
            mfa("addresses", "by-old-name", typed("old2")),
            mfa("addresses", "by-new-name", typed("new2@acme.example")),
            password("addresses", "by-shown-name", json!({"user": {"username": "tia@acme.example"}})),
        ]
        .join("\n---\n"),
    );
    assert!(refused(site, "by-old-name", "NotSupported").contains("change the user's name"));
    assert_eq!(realm.kinds(&old), ["otp", "password"]);
    assert_eq!(realm.sign_in_with_code("old2", "bob-old-1"), "signed in");
    applied_message(site, "by-new-name");
    applied(site, "by-shown-name");
    for name in ["tia", "tia@acme.example"] {
        assert_eq!(realm.sign_in(name, &delivered(site, "by-shown-name")), "Account is not fully set up", "{name}");
    }
}

/// keycloak#40717.
fn what_is_left(site: &Site) {
    let realm = Keycloak::shared().realm(json!({}));
    let passkey = realm_user("fay")["credentials"][3].clone();
    let pia = realm.add_user("pia", json!({"credentials": [passkey]}));
    realm.add_user("nil", json!({}));
    connected(site, "left", &realm, json!({}));
    site.apply(&[mfa("left", "pia", json!({})), mfa("left", "nil", json!({}))].join("\n---\n"));
    let msg = refused(site, "pia", "NotSupported");
    assert!(msg.contains("has no password") && msg.contains("webauthn-passwordless"), "{msg}");
    assert_eq!(realm.kinds(&pia), ["webauthn-passwordless"]);
    assert!(applied_message(site, "nil").contains("Nothing was removed"));
    // As the message says.
    site.apply(&password("left", "pia-password", json!({"user": {"username": "pia"}})));
    applied(site, "pia-password");
    site.apply(&mfa("left", "pia-again", json!({"user": {"username": "pia"}, "mfa": {"confirm": "pia"}})));
    assert!(applied_message(site, "pia-again").contains("Removed: webauthn-passwordless."));
}

/// keycloak#45388, #44375, #28713, #12872.
fn locked_out(site: &Site) {
    let server = Keycloak::shared();
    let for_good = server.realm(json!({"permanentLockout": true, "failureFactor": 2}));
    connected(site, "for-good", &for_good, json!({}));
    let ann = for_good.id("ann");
    crate::support::wait_for("a lock-out for good", || {
        for_good.sign_in("ann", "not-the-password");
        (for_good.user("ann")["enabled"] == false).then_some(())
    });
    site.apply(&password("for-good", "for-good", json!({"user": {"username": null, "id": ann}})));
    assert!(refused(site, "for-good", "UserInactive").contains("locked the account for good"));

    let while_ = server.realm(json!({}));
    connected(site, "for-a-while", &while_, json!({}));
    let ann = while_.id("ann");
    while_.lock_out("ann", &ann);
    site.apply(&password("for-a-while", "for-a-while", json!({"user": {"username": null, "id": ann}})));
    applied(site, "for-a-while");
    assert!(!while_.is_locked_out(&ann));
    assert_eq!(while_.browser().sign_in("ann", &delivered(site, "for-a-while")), "UPDATE_PASSWORD");
}

/// keycloak#51353, #28252.
fn incomplete_profiles(site: &Site) {
    let realm = Keycloak::shared().realm(json!({}));
    connected(site, "incomplete", &realm, json!({}));
    let mut profile = realm.get("/users/profile");
    let attribute = |name: &str| json!({"name": name, "required": {"roles": ["admin", "user"]}, "permissions": {"view": ["admin"], "edit": ["admin"]}});
    profile["attributes"].as_array_mut().unwrap().push(attribute("site"));
    realm.admin(Method::PUT, "/users/profile", Some(profile.clone()));
    let confirm = |user: &str| json!({"user": {"username": user}, "mfa": {"confirm": user}});
    site.apply(&mfa("incomplete", "one-missing", confirm("bob")));
    assert!(refused(site, "one-missing", "Rejected").contains("error-user-attribute-required of site:"));
    profile["attributes"].as_array_mut().unwrap().push(attribute("floor"));
    realm.admin(Method::PUT, "/users/profile", Some(profile));
    site.apply(&mfa("incomplete", "two-missing", confirm("bob")));
    assert!(refused(site, "two-missing", "Rejected").contains(", the first of 2:"));
    assert_eq!(factors(&realm, "bob"), ["otp"]);
    site.apply(&password("incomplete", "incomplete-password", json!({"user": {"username": "bob"}})));
    applied(site, "incomplete-password");
}

/// Hostzero-GmbH/keycloak-operator#142: without a view of the realm passwords are generated again, with it they fit at once.
fn policies(site: &Site) {
    let server = Keycloak::shared();
    let policy = |policy: &str| json!({ "passwordPolicy": format!("hashIterations(1) and {policy}") });
    let strict = "digits(3) and specialChars(3) and upperCase(2) and lowerCase(2)";
    // Four of five generated passwords meet this one: ten in a row do not in less than one of a million runs.
    let lax = "digits(2) and specialChars(2) and upperCase(3) and lowerCase(3)";
    let [unseen, seen, plain] = std::array::from_fn(|_| server.realm(json!({})));
    let users: Vec<String> = (0..8).map(|n| format!("pol{n}x")).collect();
    for (realm, user) in [&unseen, &seen].into_iter().flat_map(|realm| users.iter().map(move |user| (realm, user))) {
        realm.add_user(user, json!({}));
    }
    view_realm(&seen);
    seen.set(policy(&format!("{strict} and length(24) and maxLength(26)")));
    unseen.set(policy(lax));
    plain.set(policy("regexPattern(^[A-Za-z0-9]+$)"));
    for (name, realm) in [("unseen", &unseen), ("seen", &seen), ("plain", &plain)] {
        connected(site, name, realm, json!({}));
    }
    let manifests = users.iter().flat_map(|user| {
        ["unseen", "seen"].map(|directory| {
            let name = format!("{directory}-{user}");
            password(directory, &name, json!({"user": {"username": user}, "password": {"generate": {"length": 20}}}))
        })
    });
    site.apply(&manifests.collect::<Vec<_>>().join("\n---\n"));
    for user in &users {
        for directory in ["unseen", "seen"] {
            let name = format!("{directory}-{user}");
            applied(site, &name);
            let generated = delivered(site, &name).len();
            let record = site.reset(&name)["status"]["record"].as_str().unwrap().to_owned();
            let attempts =
                site.get(&["crecord", "-n", crate::support::SYSTEM, &record])["spec"]["attempt"]["number"].clone();
            println!("{name}: {generated} characters, attempt {attempts}");
            assert!(directory == "unseen" || (generated == 24 && attempts == 1), "{name}: {generated} {attempts}");
        }
    }
    // A pattern is not met by chance, but by who knows it.
    let letters = json!({"user": {"username": "bob"}, "password": {"generate": {"length": 20, "punctuation": 0}}});
    let chance = json!({"user": {"username": "ann"}});
    site.apply(&[password("plain", "chance", chance), password("plain", "letters", letters)].join("\n---\n"));
    let msg = refused(site, "chance", "Rejected");
    assert!(msg.contains("refused 10 passwords") && msg.contains("invalidPasswordRegexPatternMessage"), "{msg}");
    assert_eq!(plain.sign_in("ann", "ann-old-1"), "signed in");
    applied(site, "letters");
}

/// Gives the operator's account the role that shows it the realm's password policy.
fn view_realm(realm: &Realm) {
    let (account, manager) = (realm.id("service-account-credreset"), realm.client("realm-management"));
    let role = realm.get(&format!("/clients/{manager}/roles/view-realm"));
    realm.admin(Method::POST, &format!("/users/{account}/role-mappings/clients/{manager}"), Some(json!([role])));
}
