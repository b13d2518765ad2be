//! A read-only copy beside the server that takes changes, or instead of it: nothing is ever sent to it that was meant for the other.
use serde_json::{Value, json};

use crate::{
    applied, evidence,
    ldap_proxy::{Cut, LdapProxy},
    ldap_server::Server,
    openldap::{KIND, MUST_CHANGE, WRONG, add, changes, dn, opens, protect, sign_in},
    password, sign_in,
    support::{Site, message, wait_for},
};

fn both(first: &str, second: &Server) -> Value {
    let mut patch = protect();
    patch["provider"] = json!({KIND: {"urls": [first, second.value("LDAPS_URL")]}});
    patch
}

/// What the server logged of this.
fn logged(server: &Server, what: &str) -> usize {
    let log = std::fs::read_to_string(server.value("LOG")).unwrap();
    log.lines().filter(|line| line.contains(what)).count()
}

fn sign_ins(server: &Server) -> usize {
    logged(server, &format!("BIND dn=\"{}\" method", server.value("BIND_DN")))
}

fn change_of(name: &str) -> String {
    format!("MOD dn=\"{}\"", dn(name))
}

/// Its Directory says so, and requests wait until it names the server that takes changes.
#[test]
fn openldap_replica_alone() {
    let provider = Server::openldap();
    let site = Site::start();
    add(&provider, &["amy".to_owned()]);
    let cases = [
        ("referring", "ann", provider.replica(&[]), "10 referral"),
        ("silent", "amy", provider.replica(&[("REFERRAL", "0")]), "53 unwillingToPerform"),
    ];
    let _operator = site.operator();
    for (directory, user, copy, code) in &cases {
        site.ldap(directory, KIND, copy, copy.value("LDAPS_URL"), protect());
        let msg = site.until_directory(directory, "InvalidConfiguration");
        assert!(msg.contains("read-only copy") && msg.contains(code), "{msg}");
        site.apply(&password(directory, user, json!({})));
        let msg = message(&site.until(user, "DirectoryNotReady"));
        println!("{msg}");
        assert!(msg.contains(code), "{msg}");
        assert_eq!(logged(copy, &change_of(user)), 0);
    }
    // No referral was followed.
    assert_eq!(sign_ins(&provider), 0);
    for (directory, user, copy, _) in &cases {
        assert_eq!(sign_in(&provider, user, &format!("{user}-old-1")).0, 0, "{user}");
        site.ldap(directory, KIND, copy, "", both(provider.value("LDAPS_URL"), copy));
        assert_eq!(applied(&site, user), "Response");
        opens(&provider, &site, user, MUST_CHANGE);
    }
}

/// The server that takes changes is away, and the operator does not know yet: the copy refuses, and the reset waits for the other.
#[test]
fn openldap_replica_while_the_provider_is_away() {
    let provider = Server::openldap();
    let copy = provider.replica(&[]);
    let site = Site::start();
    site.ldap("acme", KIND, &provider, "", both(provider.value("LDAPS_URL"), &copy));
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    provider.run("stop");
    site.apply(&password("acme", "ann", json!({})));
    let msg = site.until_directory("acme", "Unreachable");
    assert!(msg.contains("10 referral"), "{msg}");
    site.until("ann", "DirectoryNotReady");
    // The look-up was answered by the copy, and so was the call.
    assert_eq!(logged(&copy, &change_of("ann")), 1);
    let record = site.records().pop().unwrap();
    assert_eq!(record["spec"]["state"], "Released");
    assert_eq!(sign_in(&copy, "ann", "ann-old-1").0, 0);
    provider.run("up");
    site.look_again("acme");
    assert_eq!(applied(&site, "ann"), "Response");
    opens(&provider, &site, "ann", MUST_CHANGE);
    assert_eq!(logged(&copy, &change_of("ann")), 1);
}

/// The server that takes changes is away after an answer was lost: if the copy has replicated the change that is evidence, and if it
/// has not, nothing is sent to it.
#[test]
fn openldap_replica_after_a_lost_answer() {
    let provider = Server::openldap();
    let site = Site::start();
    let _operator = site.operator();
    // The second knows of no policy either.
    let copies = [("heard", "ann", provider.replica(&[])), ("late", "dan", provider.replica(&[("POLICY", "0")]))];
    let lost = |directory: &str, user: &str, copy: &Server, meanwhile: &dyn Fn()| {
        let proxy = LdapProxy::before(&provider);
        site.ldap(directory, KIND, &provider, "", both(&proxy.url, copy));
        site.until_directory(directory, "Connected");
        proxy.cut(&format!("uid={user},"), Cut::AnswerHeld);
        site.apply(&password(directory, user, json!({})));
        wait_for("the answer", || (proxy.held() == 1).then_some(()));
        meanwhile();
        provider.run("stop");
        proxy.release();
        proxy
    };
    let [(_, ann, heard), (_, dan, late)] = &copies;
    let _heard = lost("heard", ann, heard, &|| {
        wait_for("the change at the copy", || (!heard.get(&dn(ann), "pwdChangedTime").is_empty()).then_some(()));
    });
    assert_eq!(evidence(&site, ann), "SignIn");
    opens(heard, &site, ann, MUST_CHANGE);
    assert_eq!(logged(heard, &change_of(ann)), 0);
    provider.run("up");
    opens(&provider, &site, ann, MUST_CHANGE);
    sign_in::signs_in(&site, &site.reset(ann));

    late.run("stop");
    let _late = lost("late", dan, late, &|| {});
    late.run("up");
    site.until(dan, "Verifying");
    wait_for("a look at the copy", || {
        (logged(late, "filter=\"(&(objectClass=inetOrgPerson)(entryUUID=") > 0).then_some(())
    });
    assert_eq!(sign_in(late, dan, "dan-old-1").0, 0);
    provider.run("up");
    assert_eq!(applied(&site, dan), "ConditionalWrite");
    opens(&provider, &site, dan, MUST_CHANGE);
    assert_eq!(logged(late, &change_of(dan)), 0);
    // What the copy does not show is not evidence of a change, and the one sign-in was not spent on it.
    let sign_in_of = |name: &str| {
        let record = site.records().into_iter().find(|record| record["spec"]["request"]["name"] == name).unwrap();
        record["spec"]["signInBy"].as_str().map(str::to_owned)
    };
    assert_eq!((sign_in_of(ann).is_some(), sign_in_of(dan)), (true, None));
    assert_eq!(changes(&provider, dan), 1);
    assert_eq!(sign_in(&provider, dan, "dan-old-1"), WRONG);
}
