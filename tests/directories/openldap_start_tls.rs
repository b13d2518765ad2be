//! A proxy cuts a `StartTLS` connection at each place that it can see: before and after each message or record, in both directions.
use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    applied,
    ldap_server::Server,
    names,
    openldap::{KIND, add, changed_once, protect},
    password,
    support::Site,
    wire::{Place, Way, Wire},
};

#[test]
fn openldap_start_tls_is_cut_everywhere() {
    let server = Server::openldap();
    let plain = server.value("LDAP_URL").strip_prefix("ldap://").unwrap();
    let site = Site::start();
    let mut start_tls = protect();
    start_tls["provider"] = json!({KIND: {"startTLS": true}});
    let directories = |all: &[(String, Wire)]| {
        let urls: Vec<String> = all.iter().map(|(_, wire)| format!("ldap://{}", wire.address)).collect();
        let all: Vec<(&str, &str)> =
            all.iter().zip(&urls).map(|((name, _), url)| (name.as_str(), url.as_str())).collect();
        site.ldaps(&all, KIND, &server, &start_tls);
        // One look for all of them.
        let connected = r#"--for=jsonpath={.status.conditions[?(@.type=="Ready")].reason}=Connected"#;
        site.kubectl(&["wait", connected, "--timeout=600s", "directories", "--all"]);
    };
    let _operator = site.operator();
    // How much a reset on a connection of its own takes.
    add(&server, &["whole".to_owned()]);
    let whole = [("whole".to_owned(), Wire::to(plain))];
    directories(&whole);
    whole[0].1.cut(None);
    site.apply(&password("whole", "whole", json!({})));
    assert_eq!(applied(&site, "whole"), "Response");
    let [to_server, to_client] = whole[0].1.carried();
    assert!(to_server > 5 && to_client > 5, "{to_server} {to_client}");

    let ways = [(Way::ToServer, to_server), (Way::ToClient, to_client)];
    let places: Vec<Place> = ways
        .into_iter()
        .flat_map(|(way, n)| (0..n).flat_map(move |nth| [false, true].map(|arrives| Place { way, nth, arrives })))
        .collect();
    let all = names("tls", places.len());
    add(&server, &all);
    let wires: Vec<(String, Wire)> = all.iter().map(|name| (name.clone(), Wire::to(plain))).collect();
    // Each has a Directory of its own, so that no other reset is on its connection.
    directories(&wires);
    for ((_, wire), place) in wires.iter().zip(&places) {
        wire.cut(Some(*place));
    }
    let manifests: Vec<String> = all.iter().map(|name| password(name, name, json!({}))).collect();
    site.apply(&manifests.join("\n---\n"));
    let ends = site.ends();
    let passwords = site.delivered();
    let mut known = BTreeMap::<_, Vec<_>>::new();
    for ((name, wire), place) in wires.iter().zip(&places) {
        let (reason, evidence) = &ends[name];
        assert_eq!(reason, "Applied", "{place:?}");
        known.entry(evidence.as_str()).or_default().push(*place);
        assert!(!wire.is_left(), "{place:?} was not come to");
    }
    changed_once(&server, all.iter().map(|name| (name, &passwords[name])));
    println!("StartTLS cut at {} places: {known:?}", places.len());
    // Of the last message, which is the modify, it cannot be determined whether it has arrived, unless its answer has.
    let unknown =
        [(Way::ToServer, to_server, false), (Way::ToServer, to_server, true), (Way::ToClient, to_client, false)];
    assert_eq!(known["ConditionalWrite"], unknown.map(|(way, n, arrives)| Place { way, nth: n - 1, arrives }));
    assert_eq!(known.len(), 2, "{known:?}");
}
