//! What a reset does at a real domain controller of Active Directory, as its user sees it, and who is not reset.
use serde_json::json;

pub use crate::ldap_users::samba::{KIND, add, dn};
use crate::{
    applied, delivered, entered,
    ldap_server::{Server, SignIn},
    mfa, password, refused,
    support::{Site, message, time},
};

/// What a sign-in is answered (\[MS-ERREF\] 2.2, as the last number of the words that come with code 49).
pub const MAY_ENTER: &str = "";
pub const MUST_CHANGE: &str = "773";
pub const WRONG: &str = "52e";
/// It opens the account, or would at another hour (530) or computer (531).
pub const IS_RIGHT: [&str; 3] = [MAY_ENTER, "530", "531"];
pub const LOCKED_OUT: &str = "775";

/// The code that keeps the user out.
pub fn sign_in(server: &Server, name: &str, password: &str) -> String {
    result_of(&server.sign_in(&dn(name), password))
}

pub fn result_of(answer: &SignIn) -> String {
    let data = answer.diagnostic.split(", data ").nth(1).and_then(|rest| rest.split(',').next());
    assert_eq!(answer.code == 0, data.is_none(), "{answer:?}");
    data.unwrap_or_default().to_owned()
}

pub fn get(server: &Server, name: &str, attribute: &str) -> String {
    server.get(&dn(name), attribute).pop().unwrap_or_default()
}

/// How often the password was set; once when the user was made.
pub fn changes(server: &Server, name: &str) -> u32 {
    get(server, name, "msDS-KeyVersionNumber").parse().unwrap()
}

/// `objectGUID`, as the operator writes it.
pub fn id(server: &Server, name: &str) -> String {
    let entry = server.entry(&dn(name), &["objectGUID"]);
    let text = entry.attrs.get("objectGUID").and_then(|all| all.first()).map(|text| text.as_bytes().to_vec());
    let raw = text.unwrap_or_else(|| entry.bin_attrs["objectGUID"][0].clone());
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let hex = order.map(|at| format!("{:02x}", raw[at])).concat();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The password in the Secret is answered so; it was set once since the user was made.
pub fn opens(server: &Server, site: &Site, name: &str, expected: &str) -> String {
    let new = delivered(site, name);
    assert_eq!(sign_in(server, name, &new), expected, "{name}");
    assert_eq!(changes(server, name), 2, "{name}");
    new
}

#[test]
fn samba_passwords() {
    let server = Server::samba();
    let site = Site::start();
    site.ldap("acme", KIND, &server, server.value("LDAPS_URL"), json!({}));
    let mut all = ["amy", "ida", "kim", "new", "loc"].map(str::to_owned).to_vec();
    add(&server, &all);
    // Told at their first sign-in to choose a password, and not there yet.
    for name in ["kim", "new"] {
        server.set(&dn(name), "pwdLastSet", &["0"]);
    }
    server.set("DC=acme,DC=example", "lockoutThreshold", &["3"]);
    for _ in 0..3 {
        sign_in(&server, "loc", "wrong");
    }
    assert_eq!(sign_in(&server, "loc", "loc-Old-1"), LOCKED_OUT);
    let _operator = site.operator();
    site.until_directory("acme", "Connected");
    let directory = site.get(&["directory", "acme"]);
    assert_eq!(directory["status"]["guarantees"], json!({"password": "ExactlyOnce"}));

    let keep = json!({"password": {"forceChangeOnLogin": false}});
    let ida = id(&server, "ida");
    site.apply(
        &[
            password("acme", "amy", keep.clone()),
            password("acme", "ida", json!({"user": {"username": null, "id": ida}})),
            password("acme", "kim", json!({"user": {"username": "KIM@acme.example"}})),
            password("acme", "new", keep),
            password("acme", "loc", json!({"user": {"username": null, "email": "Loc@acme.example"}})),
            // By what they sign in with, though it is written nowhere, and by an address beside the first.
            password("acme", "doe", json!({"user": {"username": "DOE@acme.example"}})),
            password("acme", "ann", json!({"user": {"username": r"acme\ann"}})),
            password("acme", "joerg", json!({"user": {"username": null, "email": "J.Groesse@acme.example"}})),
        ]
        .join("\n---\n"),
    );
    all.extend(["doe", "joerg"].map(str::to_owned));
    assert_eq!(applied(&site, "ann"), "Response");
    for name in &all {
        assert_eq!(applied(&site, name), "Response", "{name}");
    }
    let msg = message(&site.reset("ida"));
    assert!(msg.contains("Kerberos tickets"), "{msg}");
    assert_eq!(site.reset("ida")["status"]["user"], json!({"id": ida, "name": "ida@acme.example"}));
    for name in ["ida", "kim", "loc", "doe", "joerg"] {
        opens(&server, &site, name, MUST_CHANGE);
    }
    for name in ["amy", "new"] {
        opens(&server, &site, name, MAY_ENTER);
    }

    // The same request again, and one from before the change of a user who must change since.
    for user in [json!({"username": null, "email": "IDA@acme.example"}), json!({"username": null, "id": ida})] {
        site.delete("ida");
        site.apply(&password("acme", "ida", json!({"user": user, "requestedAt": time(-600)})));
        refused(&site, "ida", "ChangedSinceRequest");
    }
    assert_eq!(changes(&server, "ida"), 2);
}

#[test]
fn samba_refusals() {
    const LONG_AGO: &str = "129000000000000000";
    let server = Server::samba();
    let site = Site::start();
    let url = server.value("LDAPS_URL");
    add(&server, &["ever", "gone", "far", "one", "two", "main", "deep"].map(str::to_owned));
    // The first address of one is the second of another.
    server.set(&dn("deep"), "mail", &["j.groesse@acme.example"]);
    server.set(&dn("ever"), "userAccountControl", &["66048"]);
    server.set(&dn("gone"), "accountExpires", &[LONG_AGO]);
    server.set(&dn("far"), "adminCount", &["1"]);
    server.set(&dn("two"), "mail", &["one@acme.example"]);
    server.set(&dn("two"), "proxyAddresses", &["SMTP:one@acme.example", "smtp:second@acme.example"]);
    // A group is in no list of members where it is a user's primary one.
    server.set(
        "CN=Domain Admins,CN=Users,DC=acme,DC=example",
        "member",
        &[&dn("boss"), "CN=chiefs,OU=Groups,DC=acme,DC=example", &dn("main")],
    );
    server.set(&dn("main"), "primaryGroupID", &["512"]);
    let everybody =
        ["ann", "bob", "cat", "boss", "chief", "ever", "gone", "far", "one", "two", "main", "smart", "joerg", "doe"]
            .map(str::to_owned);
    let before = everybody.each_ref().map(|name| changes(&server, name));
    site.ldap("acme", KIND, &server, url, json!({"protect": {"groups": ["Desk"], "users": ["Second@acme.example"]}}));
    let own = json!({"provider": {KIND: {"baseDN": "OU=Services,DC=acme,DC=example"}}});
    site.ldap("services", KIND, &server, url, own);
    let desk = json!({"users": {"groups": ["cn=desk, OU=Groups,DC=acme,DC=example"]}});
    site.ldap(
        "desk",
        KIND,
        &server,
        url,
        json!({"allow": [{"name": "desk", "namespaces": ["helpdesk"], "modes": ["Password"], "users": desk["users"]}]}),
    );
    // What is read from a copy for searching may not be changed there.
    site.ldap("catalog", KIND, &server, &format!("{url}:3269"), json!({}));
    for (name, spec) in [
        ("nogroup", json!({"protect": {"groups": ["Nobodies"]}})),
        ("nobase", json!({"provider": {KIND: {"baseDN": "OU=Nowhere,DC=acme,DC=example"}}})),
        ("elsewhere", json!({"provider": {KIND: {"baseDN": "DC=other,DC=example"}}})),
    ] {
        site.ldap(name, KIND, &server, url, spec);
    }
    let _operator = site.operator();
    for name in ["acme", "services", "desk"] {
        site.until_directory(name, "Connected");
    }
    for (name, expected) in [
        ("nogroup", "Nobodies"),
        ("nobase", "no such entry"),
        ("elsewhere", "not in the server's domain"),
        ("catalog", "00002035"),
    ] {
        let msg = site.until_directory(name, "InvalidConfiguration");
        assert!(msg.contains(expected), "{msg}");
    }

    for (name, reason, expected) in [
        ("bob", "UserProtected", "Desk"),
        ("boss", "UserProtected", "administrator"),
        ("chief", "UserProtected", "administrator"),
        ("far", "UserProtected", "administrator"),
        ("main", "UserProtected", "administrator"),
        ("two", "UserProtected", "listed in spec.protect.users"),
        ("cat", "UserInactive", ""),
        ("gone", "UserInactive", ""),
        ("nobody", "UserNotFound", ""),
        ("ever", "NotSupported", "ForceChangeOnLogin for ever@acme.example"),
        ("smart", "NotSupported", "may only sign in with a smart card"),
    ] {
        site.apply(&password("acme", name, json!({})));
        let msg = refused(&site, name, reason);
        assert!(msg.contains(expected) && msg.contains("nothing is sent"), "{msg}");
    }
    site.apply(&password("acme", "one", json!({"user": {"username": null, "email": "one@acme.example"}})));
    refused(&site, "one", "UserAmbiguous");
    site.apply(&password("acme", "joerg", json!({"user": {"username": null, "email": "j.groesse@acme.example"}})));
    refused(&site, "joerg", "UserAmbiguous");
    site.apply(&mfa("acme", "ann", json!({})));
    assert!(refused(&site, "ann", "NotSupported").contains("mode MFA"));
    site.delete("ann");
    site.apply(&password("acme", "ann", json!({"password": {"clearMobileSessionsAndApiTokens": true}})));
    refused(&site, "ann", "NotSupported");
    site.delete("ann");
    site.apply(&password("services", "credreset", json!({})));
    assert!(refused(&site, "credreset", "UserProtected").contains("operator's own account"));

    // What the server refuses, with its code.
    site.apply(&password("services", "norights", json!({"password": {"forceChangeOnLogin": false}})));
    let msg = refused(&site, "norights", "Rejected");
    assert!(msg.contains("50 insufficientAccessRights"), "{msg}");
    site.apply(&password("acme", "ann", entered(&site, "ann", "short")));
    let msg = refused(&site, "ann", "Rejected");
    assert!(msg.contains("19 constraintViolation, 0000052D (the domain's password policy"), "{msg}");
    site.delete("ann");
    assert_eq!(everybody.each_ref().map(|name| changes(&server, name)), before);

    spellings(&server, &site);
    // By group, in a roundabout way; and a user whose password never expires, without the flag.
    site.delete("bob");
    site.apply(&[password("desk", "ann", json!({})), password("desk", "bob", json!({}))].join("\n---\n"));
    assert_eq!(applied(&site, "bob"), "Response");
    site.until("ann", "NotAllowed");
    site.delete("ever");
    site.apply(&password("acme", "ever", json!({"password": {"forceChangeOnLogin": false}})));
    applied(&site, "ever");
    opens(&server, &site, "ever", MAY_ENTER);
}

/// Each spelling of a name means the entry.
fn spellings(server: &Server, site: &Site) {
    let url = server.value("LDAPS_URL");
    let groups = [r"cn=Admins\, Berlin", r"CN=admins\2C Berlin", r#"CN="Admins, Berlin""#]
        .map(|first| format!("{first},OU=Groups,DC=acme,DC=example"));
    for (n, group) in groups.iter().enumerate() {
        let mut rule = json!({"name": "desk", "namespaces": ["helpdesk"], "modes": ["Password"]});
        rule["users"] = json!({"groups": [group, "Nobodies"]});
        // The rule spells it in another way than the protection.
        let other = &groups[(n + 1) % groups.len()];
        site.ldap(&format!("allows{n}"), KIND, server, url, json!({"allow": [rule]}));
        let protect = json!({"groups": [other]});
        site.ldap(&format!("protects{n}"), KIND, server, url, json!({"allow": [rule], "protect": protect}));
    }
    let users =
        [r"cn=Doe\2C John,OU=People,DC=acme,DC=example", r#"CN="doe, john",ou=people,DC=acme,DC=example"#, r"ACME\Doe"];
    for (n, user) in users.iter().enumerate() {
        site.ldap(&format!("user{n}"), KIND, server, url, json!({"protect": {"users": [user]}}));
    }
    for n in 0..users.len() {
        site.until_directory(&format!("user{n}"), "Connected");
        site.apply(&password(&format!("user{n}"), "doe", json!({})));
        assert!(refused(site, "doe", "UserProtected").contains("listed in spec.protect.users"), "{n}");
        site.delete("doe");
    }
    for n in 0..groups.len() {
        site.until_directory(&format!("protects{n}"), "Connected");
        site.apply(&password(&format!("protects{n}"), "doe", json!({})));
        assert!(refused(site, "doe", "UserProtected").contains("a member of"), "{n}");
        site.delete("doe");
    }
    for n in 0..groups.len() {
        let msg = site.until_directory(&format!("allows{n}"), "Connected");
        assert!(msg.contains("spec.allow names Nobodies") && msg.contains("no such group"), "{msg}");
        // It is allowed, so what is asked for is looked at.
        let asks = json!({"password": {"clearMobileSessionsAndApiTokens": true}});
        site.apply(&password(&format!("allows{n}"), "doe", asks));
        refused(site, "doe", "NotSupported");
        site.delete("doe");
    }
}
