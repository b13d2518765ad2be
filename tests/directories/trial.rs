//! `credreset try` on real directories: everything is as expected. A simulated person looks at the server and answers truthfully.
use serde_json::{Value, json};

use crate::{
    folder::Folder,
    keycloak_server::{self, CLIENT_SECRET, Keycloak},
    ldap_server::{self, Server},
    openldap,
    person::{Tried, agrees, at_terminal, findings, leaks_nothing},
    samba,
};

/// Tries this Directory with this user; returns what was not tried, and why.
fn all_as_expected(objects: &[Value; 2], user: &str, mut truth: impl FnMut(&str, &str) -> &'static str) -> Vec<String> {
    let folder = Folder::new();
    let [directory, secret] = objects;
    folder.write("directory.yaml", format!("{directory}\n---\n{secret}"));
    let typed = format!("credreset try acme --user {user} --directories directory.yaml -o json >report");
    let tried: Tried = at_terminal(&folder, &typed, |screen, password| {
        agrees(screen, user).unwrap_or_else(|| truth(screen, password).to_owned())
    });
    println!("{}\n{}", tried.terminal, tried.report);
    let secrets = secret["stringData"].as_object().unwrap().iter();
    let secrets = secrets.filter(|(key, _)| key.ends_with("secret") || key.ends_with("password"));
    leaks_nothing(&tried, secrets.map(|(_, value)| value.as_str().unwrap()));
    let all = findings(&tried.report);
    let wrong: Vec<_> = all.iter().filter(|(verdict, _)| verdict == "notAsExpected").collect();
    assert!(wrong.is_empty() && tried.code == Some(0), "{:?}: {wrong:#?}", tried.code);
    assert!(all.iter().filter(|(verdict, _)| verdict == "asExpected").count() >= 8, "{all:#?}");
    all.into_iter().filter(|(verdict, _)| verdict == "notTried").map(|(_, screen)| screen).collect()
}

fn truth(is: bool) -> &'static str {
    if is { "y" } else { "n" }
}

#[test]
fn keycloak() {
    let server = Keycloak::shared();
    let realm = server.realm(json!({}));
    let patch = json!({"provider": {"keycloak": {"signInClient": "shop"}}});
    let objects = keycloak_server::directory("acme", &realm, &server.url, patch);
    assert_eq!(objects[1]["stringData"]["client-secret"], CLIENT_SECRET);
    let (mut browser, mut offline) = (realm.browser(), String::new());
    let open = all_as_expected(&objects, "ann", |screen, password| {
        if screen.contains("Are you signed in?") {
            offline = realm.refresh_token("ann", password, true);
            truth(browser.sign_in("ann", password) == "signed in")
        } else if screen.contains("Are you signed out?") {
            truth(!browser.is_signed_in())
        } else if screen.contains("Has that ended as well?") {
            truth(!realm.lives(&offline))
        } else {
            assert!(screen.contains("made to choose another"), "{screen}");
            truth(realm.browser().sign_in("ann", password) == "UPDATE_PASSWORD")
        }
    });
    assert!(open.len() == 1 && open[0].contains("the test user has none"), "{open:#?}");
    assert_eq!(realm.resets(&realm.id("ann")), 2);

    // With an authenticator, which goes before the passwords are tried.
    let open = all_as_expected(&objects, "bob", |_, _| "skip");
    assert!(open.len() == 2 && open[0].starts_with("At the next sign-in"), "{open:#?}");
    assert!(!realm.kinds(&realm.id("bob")).contains(&"otp".to_owned()));
}

#[test]
fn openldap() {
    let server = Server::openldap();
    let objects =
        ldap_server::directory("acme", openldap::KIND, &server, server.value("LDAPS_URL"), &openldap::protect());
    let open = all_as_expected(&objects, "ann", |screen, password| {
        assert!(screen.contains("made to choose another"), "{screen}");
        truth(openldap::sign_in(&server, "ann", password) == openldap::MUST_CHANGE)
    });
    assert_eq!(open, ["Web sessions from before end. [this directory keeps none.]"]);
    assert_eq!(openldap::changes(&server, "ann"), 2);
}

#[test]
fn samba() {
    let server = Server::samba();
    let objects = ldap_server::directory("acme", samba::KIND, &server, server.value("LDAPS_URL"), &json!({}));
    let open = all_as_expected(&objects, "ann", |screen, _| {
        assert!(screen.contains("made to choose another"), "{screen}");
        truth(server.get(&samba::dn("ann"), "pwdLastSet") == ["0"])
    });
    assert_eq!(open, ["Web sessions from before end. [this directory keeps none.]"]);
}
