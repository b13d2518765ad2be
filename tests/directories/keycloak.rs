//! What a reset does at Keycloak, as its user sees it, and who is not reset.
use std::fs;

use serde_json::{Value, json};

use crate::{
    applied, delivered, entered,
    keycloak_server::{CODE, Keycloak, Realm, SIGNED_IN, realm_user},
    mfa, password,
    proxy::Proxy,
    refused,
    support::{Site, TEAM, blocks, condition, message, text, time},
};

const MUST_CHANGE: &str = "Account is not fully set up";
const WRONG: &str = "Invalid user credentials";

/// The password in the Secret opens the account to a program, too; and its owner goes on at the login page, where the request says so.
fn opens(realm: &Realm, site: &Site, name: &str, expected: &str) -> String {
    let new = delivered(site, name);
    assert_eq!(realm.sign_in(name, &new), expected, "{name}");
    assert_eq!(site.secret(TEAM, &format!("{name}-password"), "username"), name);
    assert_eq!(realm.resets(&realm.id(name)), 1, "{name}");
    if expected == MUST_CHANGE {
        let mut browser = realm.browser();
        assert_eq!(browser.sign_in(name, &new), "UPDATE_PASSWORD", "{name}");
        assert_eq!(browser.choose_password("My-own-choice-1"), SIGNED_IN, "{name}");
        realm.knows(name, "My-own-choice-1");
        assert_eq!(realm.sign_in(name, "My-own-choice-1"), "signed in", "{name}");
    }
    new
}

/// The user's sessions of every kind: a browser's, an online token's, and a token that needs no session.
fn sessions<'a>(realm: &'a Realm, name: &str) -> impl FnMut() -> [bool; 3] + use<'a> {
    let password = format!("{name}-old-1");
    let mut browser = realm.browser();
    assert_eq!(browser.sign_in(name, &password), "signed in");
    let [online, offline] = [false, true].map(|offline| realm.refresh_token(name, &password, offline));
    let mut alive = move || [browser.is_signed_in(), realm.lives(&online), realm.lives(&offline)];
    assert_eq!(alive(), [true; 3]);
    alive
}

fn actions(realm: &Realm, name: &str) -> Vec<String> {
    let user = realm.user(name);
    let mut all: Vec<_> =
        user["requiredActions"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

#[test]
fn conformance() {
    let site = Site::start();
    let _operator = site.operator();
    passwords(&site);
    second_factors(&site);
    refusals(&site);
    readme(&site);
}

/// What the README has people type, with address and realm of a server that is there.
fn readme(site: &Site) {
    let realm = Keycloak::shared().realm(json!({}));
    let folder = site.dir.join("readme");
    fs::create_dir_all(folder.join("examples/keycloak")).unwrap();
    for file in ["directory", "ann-password"].map(|name| format!("examples/keycloak/{name}.yaml")) {
        let manifest = text(&file).replace("http://127.0.0.1:8080", &realm.server.url);
        let manifest = manifest.replace("realm: acme", &format!("realm: {}", realm.name));
        fs::write(folder.join(file), manifest.replace("{secret: ann-password}", "{secret: ann-locked-out-password}"))
            .unwrap();
    }
    site.kubectl(&["delete", "directory", "acme"]);
    site.leads_to("acme", &realm);
    site.shell(&folder, &blocks("README.md", "sh keycloak").concat());
    assert_eq!(applied(site, "ann-locked-out"), "Response");
    assert_eq!(realm.sign_in("ann", &delivered(site, "ann-locked-out")), MUST_CHANGE);
    // They are not marked as the tests' own.
    site.kubectl(&["delete", "-f", folder.join("examples/keycloak").to_str().unwrap()]);
}

fn passwords(site: &Site) {
    let realm = Keycloak::shared().realm(json!({}));
    let proxy = Proxy::start(&realm.server.url, &[]);
    let ann = realm.id("ann");
    let [amy, loc] = ["amy", "loc"].map(|name| realm.add_user(name, json!({"realmRoles": ["offline_access"]})));
    let pat = realm.add_user("pat", json!({"requiredActions": ["UPDATE_PROFILE"]}));
    let mut ann_sessions = sessions(&realm, "ann");
    let mut amy_sessions = sessions(&realm, "amy");
    realm.lock_out("loc", &loc);

    site.keycloak("acme", &realm, &proxy.url, json!({}));
    site.until_directory("acme", "Connected");
    let directory = site.get(&["directory", "acme"]);
    assert_eq!(directory["status"]["guarantees"], json!({"password": "Provable", "mfa": "ExactlyOnce"}));
    site.apply(&password("acme", "ann", json!({})));
    assert_eq!(applied(site, "ann"), "Response");
    counted(&proxy, &ann);

    let keep = json!({"password": {"forceChangeOnLogin": false, "clearMobileSessionsAndApiTokens": true}});
    let mut by_email = keep;
    by_email["user"] = json!({"username": null, "email": "AMY@acme.example"});
    let chosen = entered(site, "pat", "Correct-horse-7");
    site.apply(
        &[
            password("acme", "amy", by_email),
            password("acme", "loc", json!({"user": {"username": null, "id": loc}})),
            password("acme", "pat", chosen),
        ]
        .join("\n---\n"),
    );
    for name in ["amy", "loc", "pat"] {
        assert_eq!(applied(site, name), "Response", "{name}");
    }

    let new = opens(&realm, site, "ann", MUST_CHANGE);
    assert_eq!(ann_sessions(), [false, false, true], "only what needs no session lives on");
    assert_eq!(realm.sign_in("ann", &new), WRONG, "the person has chosen another");
    let reset = site.reset("ann");
    assert_eq!(reset["status"]["user"], json!({"id": ann, "name": "ann"}));

    opens(&realm, site, "amy", "signed in");
    assert_eq!(amy_sessions(), [false; 3]);
    assert_eq!(realm.resets(&amy), 1);

    assert!(!realm.is_locked_out(&loc));
    opens(&realm, site, "loc", MUST_CHANGE);

    assert_eq!(realm.sign_in("pat", "Correct-horse-7"), MUST_CHANGE);
    assert_eq!(actions(&realm, "pat"), ["UPDATE_PASSWORD", "UPDATE_PROFILE"], "what was asked for before stays so");
    assert_eq!(realm.resets(&pat), 1);

    replayed(&realm, site, &ann);
}

/// Eight calls of the user's reset, and one for each session that was ended; without those by which the operator checks its own
/// account.
fn counted(proxy: &Proxy, id: &str) {
    let calls = proxy.calls();
    let of_user =
        |call: &&String| call.contains(id) || call.contains("/users?username=ann&") || call.contains("/sessions/");
    let calls: Vec<&String> = calls.iter().filter(of_user).collect();
    let ended = calls.iter().filter(|call| call.starts_with("DELETE ") && call.contains("/sessions/")).count();
    assert!(ended >= 2 && calls.len() <= 8 + ended, "{calls:#?}");
}

/// The same manifest, deleted and applied again: nothing is done twice.
fn replayed(realm: &Realm, site: &Site, ann: &str) {
    let mut manifest = site.reset("ann");
    manifest["metadata"] = json!({"name": "ann", "namespace": TEAM});
    manifest["status"] = Value::Null;
    site.delete("ann");
    site.apply_own(vec![manifest]);
    site.until("ann", "AlreadyApplied");
    assert_eq!(realm.resets(ann), 1);
}

/// What a user of keycloak-realm.json has beside passwords.
pub(crate) fn factors(realm: &Realm, name: &str) -> Vec<String> {
    let mut kinds = realm.kinds(&realm.id(name));
    kinds.retain(|kind| kind != "password");
    kinds
}

/// Who has lost an authenticator enrols another at the next sign-in, and is asked for its codes from then on.
pub(crate) fn enrols(realm: &Realm, name: &str, password: &str) {
    let mut browser = realm.browser();
    assert_eq!(browser.sign_in(name, password), "CONFIGURE_TOTP", "{name}");
    let (app, then) = browser.enrol();
    assert_eq!(then, SIGNED_IN, "{name}");
    assert_eq!(factors(realm, name), ["otp"], "{name}");
    let mut browser = realm.browser();
    assert_eq!(browser.sign_in(name, password), CODE, "{name}");
    assert_eq!(browser.enter_code(&app.code()), SIGNED_IN, "{name}");
}

fn second_factors(site: &Site) {
    let realm = Keycloak::shared().realm(json!({}));
    site.keycloak("factors", &realm, &realm.server.url, json!({}));
    let credentials = |name: &str| realm_user(name)["credentials"].clone();
    // Of these the authenticator was enrolled after the request was made.
    let mut later = credentials("fay");
    for credential in later.as_array_mut().unwrap() {
        let hours = if credential["type"] == "otp" { 1 } else { -1 };
        credential["createdDate"] = json!(jiff::Timestamp::now().as_millisecond() + hours * 3_600_000);
    }
    realm.add_user("gil", json!({"credentials": later}));
    realm.add_user("ned", json!({}));
    realm.add_user("all", json!({"credentials": credentials("fay"), "requiredActions": ["UPDATE_PROFILE"]}));
    let lou = realm.add_user("lou", json!({"credentials": credentials("bob")}));
    realm.lock_out("lou", &lou);
    assert_eq!(realm.sign_in_with_code("bob", "bob-old-1"), "signed in");

    site.until_directory("factors", "Connected");
    site.apply(
        &[
            mfa("factors", "bob", json!({})),
            mfa("factors", "fay", json!({"mfa": {"factors": ["WebAuthn"]}})),
            mfa("factors", "gil", json!({})),
            mfa("factors", "all", json!({})),
            mfa("factors", "lou", json!({})),
            // Nothing to remove.
            mfa("factors", "ned", json!({})),
        ]
        .join("\n---\n"),
    );
    for name in ["bob", "fay", "gil", "all", "lou", "ned"] {
        println!("{name}: {} {}", applied(site, name), message(&site.reset(name)));
    }
    let none: [&str; 0] = [];
    assert_eq!(factors(&realm, "bob"), none);
    assert_eq!(actions(&realm, "bob"), ["CONFIGURE_TOTP"]);
    assert_eq!(realm.sign_in("bob", "bob-old-1"), MUST_CHANGE, "the password stays");
    enrols(&realm, "bob", "bob-old-1");
    assert_eq!(actions(&realm, "bob"), none);

    assert_eq!(factors(&realm, "fay"), ["otp", "recovery-authn-codes"]);
    assert_eq!(actions(&realm, "fay"), ["webauthn-register", "webauthn-register-passwordless"]);

    assert_eq!(factors(&realm, "gil"), ["otp"], "enrolled later");
    assert!(!actions(&realm, "gil").contains(&"CONFIGURE_TOTP".to_owned()));

    assert_eq!(factors(&realm, "all"), none);
    let expected = [
        "CONFIGURE_RECOVERY_AUTHN_CODES",
        "CONFIGURE_TOTP",
        "UPDATE_PROFILE",
        "webauthn-register",
        "webauthn-register-passwordless",
    ];
    assert_eq!(actions(&realm, "all"), expected);

    assert!(!realm.is_locked_out(&lou));
    assert_eq!(realm.sign_in("lou", "bob-old-1"), MUST_CHANGE);
    assert_eq!(actions(&realm, "ned"), none);
    assert_eq!(realm.sign_in("ned", "ned-old-1"), "signed in");
}

/// Users who must not be reset are not, and the request says why; what Keycloak refuses is reported by its code.
fn refusals(site: &Site) {
    let server = Keycloak::shared();
    let realm = server.realm(json!({}));
    let long = server.realm(json!({}));
    let twins = server.realm(json!({"duplicateEmailsAllowed": true, "loginWithEmailAllowed": false}));
    for name in ["tim", "tom"] {
        twins.add_user(name, json!({"email": "twins@acme.example"}));
    }
    site.keycloak("refusing", &realm, &server.url, json!({}));
    site.keycloak("long", &long, &server.url, json!({}));
    site.keycloak("twins", &twins, &server.url, json!({}));
    let users = |group: &str| json!({"allow": [{"name": "desk", "namespaces": [TEAM], "modes": ["Password"], "users": {"groups": [group]}}]});
    site.keycloak("staff", &realm, &server.url, users("/Staff"));
    site.keycloak("slash", &realm, &server.url, users("Staff"));
    for name in ["refusing", "long", "twins", "staff"] {
        site.until_directory(name, "Connected");
    }
    let msg = site.until_directory("slash", "InvalidConfiguration");
    assert!(msg.contains("Staff") && msg.contains('/'), "{msg}");

    let cases = [
        ("dan", "UserNotConfirmed"),
        ("cat", "UserInactive"),
        ("eve", "UserFederated"),
        ("root", "UserProtected"),
        ("op", "UserProtected"),
        ("boss", "UserProtected"),
        ("service-account-credreset", "UserProtected"),
        ("nobody", "UserNotFound"),
    ];
    for (name, _) in cases {
        site.apply(&password("refusing", name, json!({})));
    }
    for (name, reason) in cases {
        let msg = refused(site, name, reason);
        assert!(msg.contains("nothing is sent"), "{msg}");
    }
    for name in ["root", "op", "boss", "cat"] {
        assert_eq!(realm.resets(&realm.id(name)), 0, "{name}");
    }
    assert_eq!(realm.sign_in("root", "root-old-1"), "signed in");
    let unknown = json!({"user": {"username": null, "id": "5b0ce2c5-0000-4000-8000-000000000000"}});
    site.apply(&password("refusing", "stranger", unknown));
    refused(site, "stranger", "UserNotFound");
    site.apply(&password("twins", "twins", json!({"user": {"username": null, "email": "twins@acme.example"}})));
    refused(site, "twins", "UserAmbiguous");

    realm.add_user("dee", json!({"groups": ["/Staff/Desk"]}));
    realm.add_user("dov", json!({}));
    // Groups, by their whole path; a member of /Staff/Desk is one of /Staff.
    site.apply(&[password("staff", "dee", json!({})), password("staff", "dov", json!({}))].join("\n---\n"));
    applied(site, "dee");
    site.until("dov", "NotAllowed");

    // Keycloak's own words for a password that it does not take: a generated one is generated once more.
    let key = realm.add_user("kim", json!({}));
    let same = entered(site, "kim", "kim-old-1");
    site.apply(&password("refusing", "kim", same));
    assert!(refused(site, "kim", "Rejected").contains("invalidPasswordHistoryMessage"));
    assert_eq!((realm.resets(&key), realm.sign_in("kim", "kim-old-1").as_str()), (0, "signed in"));
    let generated =
        |name: &str, length: u32| password("long", name, json!({"password": {"generate": {"length": length}}}));
    for name in ["lea", "leo"] {
        let weak =
            json!({"credentials": [{"type": "password", "value": format!("{name}-a-very-long-old-password-1")}]});
        long.add_user(name, weak);
    }
    long.set(json!({"passwordPolicy": "length(25)"}));
    site.apply(&[generated("lea", 20), generated("leo", 30)].join("\n---\n"));
    assert!(refused(site, "lea", "Rejected").contains("invalidPasswordMinLengthMessage"));
    let record = site.reset("lea")["status"]["record"].as_str().unwrap().to_owned();
    let record = site.get(&["crecord", "-n", crate::support::SYSTEM, &record]);
    assert_eq!(record["spec"]["attempt"]["number"], 10, "generated again and again");
    assert_eq!(long.sign_in("lea", "lea-a-very-long-old-password-1"), "signed in");
    applied(site, "leo");

    // A colleague was faster.
    let max = realm.add_user("max", json!({}));
    let asked = time(0);
    realm.reset_by_hand(&max, "By-a-colleague-1");
    site.apply(&password("refusing", "max", json!({"requestedAt": asked})));
    refused(site, "max", "ChangedSinceRequest");
    assert_eq!((realm.resets(&max), realm.sign_in("max", "By-a-colleague-1").as_str()), (1, "signed in"));
    assert_eq!(condition(&site.reset("max"), "Stalled").unwrap().0, "True");
}
