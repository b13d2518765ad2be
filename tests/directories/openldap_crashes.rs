//! The server or the operator dies in the middle of resets: whoever comes after finds out what took effect, and nothing does twice.
use std::{collections::BTreeMap, path::Path};

use http::Method;
use serde_json::json;

use crate::{
    applied,
    env::{SYSTEM, Site, TEAM, wait_for},
    ldap_proxy::{Cut, LdapProxy},
    ldap_server::Server,
    openldap::{KIND, MUST_CHANGE, add, changed_once, changes, names, opens, protect},
    password,
    proxy::{Action, Proxy, Rule},
};

/// Stopped, killed with changes that it has made and not answered, and killed with changes on their way.
#[test]
fn openldap_restarts_among_resets() {
    const RESETS: usize = 100;
    let server = Server::openldap();
    let proxy = LdapProxy::before(&server);
    let site = Site::start();
    site.ldap("acme", KIND, &server, &proxy.url, protect());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let all = names("many", RESETS);
    add(&server, &all);
    let manifests: Vec<String> = all.iter().map(|name| password("acme", name, json!({}))).collect();
    let mut manifests = manifests.chunks(RESETS / 4);
    let mut more = || site.apply(&manifests.next().unwrap().join("\n---\n"));
    more();
    for (at, how, cut) in [(30, "stop", Cut::AnswerHeld), (55, "kill", Cut::AnswerHeld), (80, "kill", Cut::Held)] {
        proxy.cut(&format!("uid={},", all[at]), cut);
        more();
        // Everything on the connection waits with it.
        wait_for("the call", || (proxy.held() == 1).then_some(()));
        server.run(how);
        proxy.release();
        wait_for("the end of the connection", || (proxy.held() == 0).then_some(()));
        server.run("up");
    }
    let ends = site.ends();
    assert_eq!(ends.len(), RESETS);
    let passwords = site.passwords();
    let mut known = BTreeMap::new();
    for name in &all {
        let (reason, evidence) = &ends[name];
        assert_eq!(reason, "Applied", "{name}");
        *known.entry(evidence.as_str()).or_insert(0) += 1;
    }
    changed_once(&server, all.iter().map(|name| (name, &passwords[name])));
    println!("{RESETS} resets, three restarts: {known:?}");
    assert!(known.contains_key("Response") && known.contains_key("ConditionalWrite"), "{known:?}");
}

/// Killed before the call is sent, while it is on its way, when the server has carried it out, and when the operator knows so.
#[test]
fn openldap_operator_dies() {
    let server = Server::openldap();
    let site = Site::start();
    let api = Proxy::before_api_server(site.kubeconfig());
    let mut patient = protect();
    patient["limits"] = json!({"requestTimeout": "60s"});

    // Held on their way to the server or back.
    let cuts = [("arrives", Cut::Held), ("late", Cut::Held), ("answered", Cut::AnswerHeld)];
    let proxies = cuts.map(|(name, cut)| {
        let proxy = LdapProxy::before(&server);
        site.ldap(name, KIND, &server, &proxy.url, patient.clone());
        proxy.cut(&format!("uid={name},"), cut);
        (name, proxy)
    });
    // Held at the API server, before the call and after its answer.
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), patient);
    let records = format!("/apis/credreset.dev/v1alpha1/namespaces/{SYSTEM}/credentialresetrecords");
    let secrets = format!("/api/v1/namespaces/{TEAM}/secrets");
    let writes = [
        ("intended", Method::POST, records.clone(), "", Action::HoldReply),
        ("told", Method::POST, secrets, "", Action::HoldRequest),
        ("handed-over", Method::PUT, format!("{records}/*"), r#""state":"Applied""#, Action::HoldRequest),
    ];
    let armed = writes.map(|(name, method, path, says, action)| {
        (name, api.arm(Rule { method, path, about: name.to_owned(), says, nth: 1, action }))
    });

    let all: Vec<String> =
        cuts.iter().map(|(name, _)| *name).chain(armed.iter().map(|(name, _)| *name)).map(str::to_owned).collect();
    add(&server, &all);
    let first = site.run(&mut site.operator_command(
        Path::new(env!("CARGO_BIN_EXE_credreset")),
        "first",
        "trace",
        Some(&api.url),
    ));
    for directory in ["acme", "arrives", "late", "answered"] {
        site.until_directory(directory, "Connected");
    }
    let held = cuts.map(|(name, _)| password(name, name, json!({})));
    let other = armed.each_ref().map(|(name, _)| password("acme", name, json!({})));
    site.apply(&[held, other].concat().join("\n---\n"));
    for (name, proxy) in &proxies {
        wait_for(name, || (proxy.held() == 1).then_some(()));
    }
    for (name, write) in &armed {
        wait_for(name, || write.is_hit().then_some(()));
    }
    let made: Vec<usize> = all.iter().map(|name| changes(&server, name)).collect();
    assert_eq!(made, [0, 0, 1, 0, 1, 1], "{all:?}");
    first.kill();
    for (_, write) in &armed {
        write.lose();
    }
    let [(_, arrives), (_, late), (_, answered)] = &proxies;
    for proxy in [arrives, answered] {
        proxy.release();
        wait_for("what was held", || (proxy.held() == 0).then_some(()));
    }
    assert_eq!(changes(&server, "arrives"), 1);

    let _second = site.operator_named("second");
    for name in &all {
        let evidence = applied(&site, name);
        println!("{name}: {evidence}");
        assert_eq!(evidence, "ConditionalWrite", "{name}");
        opens(&server, &site, name, MUST_CHANGE);
    }
    late.release();
    wait_for("the late call", || (late.held() == 0).then_some(()));
    opens(&server, &site, "late", MUST_CHANGE);
}
