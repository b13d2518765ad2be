//! What a reset does at a real domain controller of Active Directory (Samba), as its user sees it, and who is not reset.
use serde_json::{Value, json};

use crate::{
    applied, asked, delivered, entered,
    env::{Site, password_reset, time, wait_for},
    ldap_proxy::{Cut, LdapProxy},
    ldap_server::Server,
    mfa, password, refused,
};

const KIND: &str = "activeDirectory";
/// What a sign-in is answered.
const MAY_ENTER: &str = "0";
const MUST_CHANGE: &str = "773";
const WRONG: &str = "52e";
const LOCKED_OUT: &str = "775";

fn dn(name: &str) -> String {
    format!("CN={name},OU=People,DC=acme,DC=example")
}

fn old(name: &str) -> String {
    format!("{}{}-old-pw-1", name[..1].to_uppercase(), &name[1..])
}

/// It rises by one with every change of the password.
fn version(server: &Server, name: &str) -> u32 {
    server.get(&dn(name), "msDS-KeyVersionNumber")[0].parse().unwrap()
}

fn sign_in(server: &Server, name: &str, password: &str) -> String {
    let answer = server.sign_in(&dn(name), password);
    match answer.code {
        0 => MAY_ENTER.to_owned(),
        _ => answer.says.split("data ").nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default().to_owned(),
    }
}

fn add(server: &Server, names: &[String]) {
    let text = |value: &str| value.as_bytes().to_vec();
    let entry = |name: &String| {
        let quoted: Vec<u8> = format!("\"{}\"", old(name)).encode_utf16().flat_map(u16::to_le_bytes).collect();
        let attributes = vec![
            ("objectClass", text("user")),
            ("sAMAccountName", text(name)),
            ("userAccountControl", text("512")),
            ("unicodePwd", quoted),
        ];
        (dn(name), attributes)
    };
    server.add(&names.iter().map(entry).collect::<Vec<_>>());
}

fn opens(server: &Server, site: &Site, name: &str, says: &str) -> String {
    let new = delivered(site, name);
    assert_eq!(sign_in(server, name, &new), says, "{name}");
    new
}

fn names(kind: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{kind}{i}x")).collect()
}

/// A lost answer is given up soon, and the must-change mark of who had it before is set soon.
fn impatient() -> Value {
    json!({"limits": {"requestTimeout": "5s"}})
}

#[test]
fn samba_passwords() {
    let server = Server::start("samba", &[]);
    let site = Site::start();
    add(&server, &["loc".to_owned(), "amy".to_owned(), "due".to_owned(), "own".to_owned()]);
    server.set("DC=acme,DC=example", "lockoutThreshold", &["3"]);
    for _ in 0..3 {
        sign_in(&server, "loc", "wrong-pw-1");
    }
    assert_eq!(sign_in(&server, "loc", &old("loc")), LOCKED_OUT);
    server.set(&dn("due"), "pwdLastSet", &["0"]);
    assert_eq!(sign_in(&server, "due", &old("due")), MUST_CHANGE);
    let before = ["ann", "loc", "amy", "due"].map(|name| version(&server, name));
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), impatient());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let directory = site.get(&["directory", "acme"]);
    assert_eq!(directory["status"]["guarantees"]["password"], "ExactlyOnce");

    site.apply(&password("acme", "ann", json!({"user": {"username": "ann@acme.example"}})));
    site.apply(&password("acme", "loc", json!({})));
    site.apply(&password("acme", "amy", json!({"password": {"forceChangeOnLogin": false}})));
    // Must change already: 0 to 0 is no condition.
    site.apply(&password("acme", "due", json!({})));
    for name in ["ann", "loc", "amy", "due"] {
        assert_eq!(applied(&site, name), "Response", "{name}");
    }
    for name in ["ann", "loc", "due"] {
        opens(&server, &site, name, MUST_CHANGE);
    }
    opens(&server, &site, "amy", MAY_ENTER);
    assert_eq!(sign_in(&server, "ann", &old("ann")), WRONG);
    assert_eq!(["ann", "loc", "amy", "due"].map(|name| version(&server, name)), before.map(|version| version + 1));

    // By e-mail and by id; the same request again, and one from before the change of a user who must change.
    let id = site.reset("ann")["status"]["user"]["id"].as_str().unwrap().to_owned();
    for user in [json!({"username": null, "email": "ANN@acme.example"}), json!({"username": null, "id": id})] {
        site.delete("ann");
        site.apply(&password("acme", "ann", json!({"user": user, "requestedAt": time(-600)})));
        refused(&site, "ann", "ChangedSinceRequest");
    }
    assert_eq!(version(&server, "ann"), before[0] + 1);
}

#[test]
fn samba_refusals() {
    let server = Server::start("samba", &[]);
    let site = Site::start();
    add(&server, &["ever".to_owned(), "out".to_owned(), "far".to_owned()]);
    server.set(&dn("ever"), "userAccountControl", &["66048"]);
    // Long ago.
    server.set(&dn("out"), "accountExpires", &["129000000000000000"]);
    server.set(&dn("far"), "adminCount", &["1"]);
    let before = ["ann", "bob", "cat", "boss", "chief", "ever"].map(|name| version(&server, name));
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), json!({"protect": {"groups": ["Desk"]}}));
    site.ldap("all", KIND, &server, server.value("LDAPS_URL"), json!({"protect": {"administrators": false}}));
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    site.until_directory("all", "Connected");

    for (name, reason, says) in [
        ("bob", "UserProtected", "Desk"),
        ("boss", "UserProtected", "administrator"),
        ("chief", "UserProtected", "administrator"),
        ("far", "UserProtected", "administrator"),
        ("cat", "UserInactive", ""),
        ("out", "UserInactive", ""),
        ("nobody", "UserNotFound", ""),
        ("ever", "Rejected", "passwordNeverExpires"),
    ] {
        site.apply(&password("acme", name, json!({})));
        let said = refused(&site, name, reason);
        assert!(said.contains(says), "{said}");
    }
    site.apply(&mfa("acme", "ann", json!({})));
    refused(&site, "ann", "NotSupported");
    site.delete("ann");
    // The operator's account is below another entry than its users.
    let own = json!({"provider": {KIND: {"baseDN": "OU=Services,DC=acme,DC=example"}}});
    site.ldap("services", KIND, &server, server.value("LDAPS_URL"), own);
    site.until_directory("services", "Connected");
    site.apply(&password("services", "credreset", json!({})));
    let said = refused(&site, "credreset", "UserProtected");
    assert!(said.contains("operator's own account"), "{said}");

    // What the server refuses, with its code.
    server.set(&dn("boss"), "adminCount", &[]);
    site.apply(&password("services", "norights", json!({"password": {"forceChangeOnLogin": false}})));
    let said = refused(&site, "norights", "Rejected");
    assert!(said.contains("50 insufficientAccessRights"), "{said}");
    site.apply(&password("acme", "ann", entered(&site, "ann", "short")));
    let said = refused(&site, "ann", "Rejected");
    assert!(said.contains("19 constraintViolation, 0000052D"), "{said}");
    assert_eq!(["ann", "bob", "cat", "boss", "chief", "ever"].map(|name| version(&server, name)), before);
}

/// Cut at every byte of the request and of the answer: the password is changed once, and it is told how that is known.
#[test]
fn samba_lost_answers() {
    let server = Server::start("samba", &[]);
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    site.ldap("acme", KIND, &server, &proxy.url, impatient());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    site.apply(&password("acme", "ann", json!({})));
    applied(&site, "ann");
    let (request, answer) = proxy.longest();
    assert!(request > 150 && answer > 10, "{request} {answer}");

    // Every third byte of the request, and all of the answer; one in four must change already.
    let cuts: Vec<Cut> = (0..request).step_by(3).map(Cut::Request).chain((0..answer).map(Cut::Answer)).collect();
    let all = names("cut", cuts.len());
    add(&server, &all);
    for (name, cut) in all.iter().zip(&cuts) {
        proxy.cut(&format!("CN={name},"), *cut);
    }
    for name in all.iter().step_by(4) {
        server.set(&dn(name), "pwdLastSet", &["0"]);
    }
    let before: Vec<u32> = all.iter().map(|name| version(&server, name)).collect();
    let manifests: Vec<String> = all.iter().map(|name| password("acme", name, json!({}))).collect();
    site.apply(&manifests.join("\n---\n"));
    let ends = site.ends();
    let passwords = site.passwords();
    for ((name, cut), before) in all.iter().zip(&cuts).zip(before) {
        // Where it had taken effect the repeat is turned away, and a sign-in tells by which change.
        let evidence = if matches!(cut, Cut::Request(_)) { "ConditionalWrite" } else { "SignIn" };
        assert_eq!(ends[name], ("Applied".to_owned(), evidence.to_owned()), "{name} {cut:?}");
        assert_eq!(sign_in(&server, name, &passwords[name]), MUST_CHANGE, "{name}");
        assert_eq!(version(&server, name), before + 1, "{name} {cut:?}");
    }
    assert_eq!(proxy.left(), 0);
    println!("lost at {} places in {request} bytes of request and {answer} of answer", cuts.len());
}

/// A call that arrives long after everybody has given it up changes nothing.
#[test]
fn samba_late_arrival() {
    let server = Server::start("samba", &[]);
    let site = Site::start();
    let proxy = LdapProxy::before(&server);
    site.ldap("acme", KIND, &server, &proxy.url, impatient());
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let before = version(&server, "ann");
    proxy.cut("CN=ann,", Cut::Held);
    site.apply(&password("acme", "ann", json!({})));
    assert_eq!(applied(&site, "ann"), "ConditionalWrite");
    proxy.release();
    wait_for("the late call", || (proxy.held() == 0).then_some(()));
    opens(&server, &site, "ann", MUST_CHANGE);
    assert_eq!(version(&server, "ann"), before + 1);
}

/// Two clusters that know nothing of each other, with the same requests: the server lets one through, also where the users must
/// change already.
#[test]
fn samba_races() {
    const RACES: usize = 60;
    let server = Server::start("samba", &[]);
    let sites = [Site::start(), Site::start()];
    let all = names("race", RACES);
    add(&server, &all);
    for name in all.iter().step_by(4) {
        server.set(&dn(name), "pwdLastSet", &["0"]);
    }
    let before: Vec<u32> = all.iter().map(|name| version(&server, name)).collect();
    for site in &sites {
        site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), impatient());
    }
    let _operators = sites.each_ref().map(Site::operator);
    for site in &sites {
        site.until_directory("acme", "Connected");
    }
    let at = time(0);
    let manifests: Vec<String> = all
        .iter()
        .map(|name| asked(&password_reset(name, "", json!({})), "acme", name, json!({"requestedAt": at})))
        .collect();
    let manifests = manifests.join("\n---\n");
    std::thread::scope(|scope| {
        for site in &sites {
            scope.spawn(|| site.apply(&manifests));
        }
    });
    let ends = sites.each_ref().map(Site::ends);
    let passwords = sites.each_ref().map(Site::passwords);
    for (name, before) in all.iter().zip(before) {
        let reasons = ends.each_ref().map(|ends| ends[name].0.as_str());
        let winner =
            reasons.iter().position(|reason| *reason == "Applied").unwrap_or_else(|| panic!("{name}: {reasons:?}"));
        assert_eq!(reasons[1 - winner], "ChangedSinceRequest", "{name}");
        assert_eq!(sign_in(&server, name, &passwords[winner][name]), MUST_CHANGE, "{name}");
        assert_eq!(version(&server, name), before + 1, "{name}");
    }
    let met = sites.each_ref().map(|site| site.records().len()).iter().sum::<usize>() - RACES;
    println!("{RACES} races, {met} of them decided by the server");
    assert!(met > 0, "the operators never met");
}

#[test]
fn samba_failures() {
    let server = Server::start("samba", &[]);
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), json!({}));
    let [account, right] = ["BIND_DN", "BIND_PASSWORD"].map(|name| server.value(name).to_owned());
    site.ldap_secret("acme", &account, "wrong-bind-password");
    let _operator = site.operator();
    let said = site.until_directory("acme", "CredentialsRefused");
    assert!(said.contains("data 52e"), "{said}");
    // By the name that Windows prefers.
    site.ldap_secret("acme", "credreset@acme.example", &right);
    site.until_directory("acme", "Connected");
    server.set(&account, "accountExpires", &["129000000000000000"]);
    site.ldap_secret("acme", "ACME\\credreset", &right);
    let said = site.until_directory("acme", "CredentialsRefused");
    assert!(said.contains("data 701"), "{said}");
    server.set(&account, "accountExpires", &["0"]);
    site.until_directory("acme", "Connected");

    server.run("stop");
    site.apply(&password("acme", "ann", json!({})));
    site.until("ann", "DirectoryNotReady");
    server.run("up");
    site.look_again("acme");
    assert_eq!(applied(&site, "ann"), "Response");
    opens(&server, &site, "ann", MUST_CHANGE);
}
