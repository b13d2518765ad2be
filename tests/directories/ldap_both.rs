//! What `OpenLDAP` and Samba have in common: the server or the operator dies during resets, or two operators do not know of each other; and
//! each password is set once.
use std::{collections::BTreeMap, path::Path};

use http::Method;
use serde_json::{Value, json};

use crate::{
    applied, asked, delivered,
    ldap_proxy::{Cut, LdapProxy},
    ldap_server::Server,
    names, openldap, password,
    proxy::{Action, Proxy, Rule},
    samba, samba_lost,
    support::{SYSTEM, Site, TEAM, password_reset, time, wait_for},
};

/// What differs between the servers.
pub struct Kind {
    name: &'static str,
    start: fn() -> Server,
    directory: fn() -> Value,
    users: fn(&Server, &[String]),
    /// What a change of a user names.
    about: fn(&Server, &str) -> String,
    resets: fn(&Server, &str) -> u32,
    /// The password opens the account as far as to choose another, the one before does not, and it was set once.
    pub is_in_force: fn(&Server, &str, &str),
}

pub const OPENLDAP: Kind = Kind {
    name: openldap::KIND,
    // No history that would keep a password from being set twice.
    start: || {
        let server = Server::openldap();
        openldap::without_history(&server);
        server
    },
    directory: openldap::protect,
    users: openldap::add,
    about: |_, name| format!("uid={name},"),
    resets: |server, name| u32::try_from(openldap::writes(server, name)).unwrap(),
    is_in_force: |server, name, password| {
        assert_eq!(openldap::sign_in(server, name, password), openldap::MUST_CHANGE, "{name}");
        assert_eq!(openldap::sign_in(server, name, &format!("{name}-old-1")), openldap::WRONG, "{name}");
        assert_eq!(openldap::writes(server, name), 1, "{name}");
    },
};

pub const SAMBA: Kind = Kind {
    name: samba::KIND,
    start: Server::samba,
    directory: || json!({}),
    users: samba_lost::add_users,
    about: samba::id,
    resets: |server, name| samba::changes(server, name) - 1,
    is_in_force: |server, name, password| {
        assert_eq!(samba::sign_in(server, name, password), samba::MUST_CHANGE, "{name}");
        assert_eq!(samba::sign_in(server, name, &format!("{name}-Old-1")), samba::WRONG, "{name}");
        assert_eq!(samba::changes(server, name), 2, "{name}");
    },
};

#[test]
fn openldap_restarts_among_resets() {
    restarts_among_resets(&OPENLDAP);
}

#[test]
fn samba_restarts_among_resets() {
    restarts_among_resets(&SAMBA);
}

#[test]
fn openldap_operator_dies() {
    operator_dies(&OPENLDAP, openldap::add);
}

#[test]
fn samba_operator_dies() {
    // No user who must change the password already: with the mark they would wait until no call can arrive.
    operator_dies(&SAMBA, samba::add);
}

/// Stopped, killed with changes that it has made and not answered, and killed with changes on their way.
fn restarts_among_resets(kind: &Kind) {
    const RESETS: usize = 100;
    let server = (kind.start)();
    let proxy = LdapProxy::before(&server);
    let site = Site::start();
    site.ldap("acme", kind.name, &server, &proxy.url, (kind.directory)());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let all = names("many", RESETS);
    (kind.users)(&server, &all);
    let manifests: Vec<String> = all.iter().map(|name| password("acme", name, json!({}))).collect();
    let mut manifests = manifests.chunks(RESETS / 4);
    let mut more = || site.apply(&manifests.next().unwrap().join("\n---\n"));
    more();
    for (at, how, cut) in [(30, "stop", Cut::AnswerHeld), (55, "kill", Cut::AnswerHeld), (80, "kill", Cut::Held)] {
        proxy.cut(&(kind.about)(&server, &all[at]), cut);
        more();
        // Everything on the connection waits with it.
        wait_for("the call", || (proxy.held() == 1).then_some(()));
        server.run(how);
        proxy.release();
        wait_for("the end of the connection", || (proxy.held() == 0).then_some(()));
        server.run("up");
        // What this has cut off must not be cut off again: of a sign-in there is only one.
        site.ends();
    }
    let ends = site.ends();
    assert_eq!(ends.len(), RESETS);
    let passwords = site.delivered();
    let mut known = BTreeMap::new();
    for name in &all {
        let (reason, evidence) = &ends[name];
        assert_eq!(reason, "Applied", "{name}: {evidence}");
        (kind.is_in_force)(&server, name, &passwords[name]);
        *known.entry(evidence.as_str()).or_insert(0) += 1;
    }
    println!("{RESETS} resets, three restarts: {known:?}");
    assert!(known.contains_key("Response") && known.contains_key("SignIn"), "{known:?}");
}

/// Killed before the call is sent, while it is on its way, when the server has carried it out, and when the operator knows so.
fn operator_dies(kind: &Kind, add: fn(&Server, &[String])) {
    let server = (kind.start)();
    let site = Site::start();
    let api = Proxy::before_api_server(site.kubeconfig());
    let mut patient = (kind.directory)();
    patient["limits"] = json!({"requestTimeout": "60s"});

    // Held on their way to the server or back.
    let cuts = [("arrives", Cut::Held), ("late", Cut::Held), ("answered", Cut::AnswerHeld)];
    let proxies = cuts.map(|(name, cut)| {
        let proxy = LdapProxy::before(&server);
        site.ldap(name, kind.name, &server, &proxy.url, patient.clone());
        (name, proxy, cut)
    });
    // Held at the API server, before the call and after its answer.
    site.ldap("acme", kind.name, &server, server.value("LDAPS_URL"), patient);
    let records = format!("/apis/credreset.dev/v1alpha1/namespaces/{SYSTEM}/credentialresetrecords");
    let secrets = format!("/api/v1/namespaces/{TEAM}/secrets");
    let writes = [
        ("intended", Method::POST, records.clone(), "", Action::HoldReply),
        ("delivering", Method::POST, secrets, "", Action::HoldRequest),
        ("handed-over", Method::PUT, format!("{records}/*"), r#""state":"Applied""#, Action::HoldRequest),
    ];
    let armed = writes.map(|(name, method, path, body_has, action)| {
        (name, api.arm(Rule { method, path, about: name.to_owned(), body_has, nth: 1, action }))
    });

    let all: Vec<String> =
        cuts.iter().map(|(name, _)| *name).chain(armed.iter().map(|(name, _)| *name)).map(str::to_owned).collect();
    add(&server, &all);
    for (name, proxy, cut) in &proxies {
        proxy.cut(&(kind.about)(&server, name), *cut);
    }
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
    for (name, proxy, _) in &proxies {
        wait_for(name, || (proxy.held() == 1).then_some(()));
    }
    for (name, write) in &armed {
        wait_for(name, || write.is_hit().then_some(()));
    }
    let made: Vec<u32> = all.iter().map(|name| (kind.resets)(&server, name)).collect();
    assert_eq!(made, [0, 0, 1, 0, 1, 1], "{all:?}");
    first.kill();
    for (_, write) in &armed {
        write.lose();
    }
    let [(_, arrives, _), (_, late, _), (_, answered, _)] = &proxies;
    for proxy in [arrives, answered] {
        proxy.release();
        wait_for("what was held", || (proxy.held() == 0).then_some(()));
    }
    assert_eq!((kind.resets)(&server, "arrives"), 1);

    let _second = site.operator_named("second");
    for name in &all {
        let evidence = applied(&site, name);
        println!("{name}: {evidence}");
        let known = match name.as_str() {
            "late" | "intended" => "ConditionalWrite",
            // Nothing is delivered before it is answered.
            "handed-over" => "Response",
            _ => "SignIn",
        };
        assert_eq!(evidence, known, "{name}");
        (kind.is_in_force)(&server, name, &delivered(&site, name));
    }
    late.release();
    wait_for("the late call", || (late.held() == 0).then_some(()));
    (kind.is_in_force)(&server, "late", &delivered(&site, "late"));
}

/// Two clusters with the same requests: the server lets one of each through. `unconditional`: of the users with these numbers it cannot, and
/// both set the password if one process stalls between its last check and its call (docs/active-directory.md). `in_force`: these passwords
/// open the accounts, and each was set once.
pub fn races(
    kind: &Kind,
    server: &Server,
    unconditional: impl Fn(usize) -> bool,
    in_force: impl Fn(&Server, &[(&String, &String)]),
) {
    const RACES: usize = 500;
    const HELD: usize = 3;
    let sites = [Site::start(), Site::start()];
    let all = names("race", RACES);
    (kind.users)(server, &all);
    for site in &sites {
        site.ldap("acme", kind.name, server, server.value("LDAPS_URL"), (kind.directory)());
    }
    let _operators = sites.each_ref().map(Site::operator);
    for site in &sites {
        site.until_directory("acme", "Connected");
    }
    let at = time(0);
    let requests = |names: &[String], directory: &str| {
        let one =
            |name: &String| asked(&password_reset(name, "", json!({})), directory, name, json!({"requestedAt": at}));
        names.iter().map(one).collect::<Vec<_>>().join("\n---\n")
    };
    // Some calls of the second are held until the first has been through, so that they are sure to meet. No call of a user who must choose
    // another password already: there a stall of that length is let through (docs/active-directory.md).
    let held = &all[1..=HELD];
    let others = [&all[..1], &all[HELD + 1..]].concat();
    let proxy = LdapProxy::before(server);
    let mut patient = (kind.directory)();
    patient["limits"] = json!({"requestTimeout": "60s"});
    sites[1].ldap("held", kind.name, server, &proxy.url, patient);
    sites[1].until_directory("held", "Connected");
    for name in held {
        proxy.cut(&(kind.about)(server, name), Cut::Delayed);
    }
    sites[1].apply(&requests(held, "held"));
    wait_for("the calls", || (proxy.held() == HELD).then_some(()));
    sites[0].apply(&requests(held, "acme"));
    for name in held {
        applied(&sites[0], name);
    }
    proxy.release();
    let manifests = requests(&others, "acme");
    std::thread::scope(|scope| {
        for site in &sites {
            scope.spawn(|| site.apply(&manifests));
        }
    });
    let ends = sites.each_ref().map(Site::ends);
    let passwords = sites.each_ref().map(Site::delivered);
    let (mut set, mut stalled) = (Vec::new(), 0);
    for (number, name) in all.iter().enumerate() {
        let reasons = ends.each_ref().map(|ends| ends[name].0.as_str());
        if unconditional(number) && reasons == ["Applied"; 2] {
            stalled += 1;
            continue;
        }
        let winner =
            reasons.iter().position(|reason| *reason == "Applied").unwrap_or_else(|| panic!("{name}: {reasons:?}"));
        assert_eq!(reasons[1 - winner], "ChangedSinceRequest", "{name}");
        set.push((name, &passwords[winner][name]));
    }
    in_force(server, &set);
    // Those that had begun were rejected by the server itself.
    let met = sites.each_ref().map(|site| site.records().len()).iter().sum::<usize>() - RACES;
    println!("{RACES} races, {met} of them decided by the server, {stalled} lost by a stall");
    // Without the last check most of those that meet would be lost.
    let all_unconditional = (0..RACES).filter(|number| unconditional(*number)).count();
    assert!(stalled * 10 <= all_unconditional, "{stalled} of {all_unconditional} were set twice");
    assert!(met >= HELD, "the operators met {met} times");
}
