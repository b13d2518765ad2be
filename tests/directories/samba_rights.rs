//! The rights that docs/active-directory.md gives to the operator's account, by the very commands that stand there: they are
//! enough for all that a reset does, each of them is missed, and they give nothing else.
use serde_json::{Value, json};

use crate::{
    applied,
    ldap_server::Server,
    password, refused,
    samba::{KIND, MUST_CHANGE, add, changes, dn, opens, sign_in},
    support::{Site, blocks},
};

const PASSWORD: &str = "Account-pw-2026";

/// Makes an account as the document does, without the rights of this name.
fn set_up(server: &Server, account: &str, without: &str) {
    let mut commands = blocks("docs/active-directory.md", "sh").concat().replace("credreset", account);
    if !without.is_empty() {
        let right = format!("\n{without}=");
        assert!(commands.contains(&right), "{commands}");
        commands = commands.replace(&right, &format!("{right} #"));
    }
    server.sh(&format!("NEW_PASSWORD={PASSWORD}\n{commands}"));
}

#[test]
fn samba_rights() {
    let server = Server::samba();
    let site = Site::start();
    add(&server, &["ida", "kim", "loc"].map(str::to_owned));
    server.set(&dn("kim"), "pwdLastSet", &["0"]);
    server.set("DC=acme,DC=example", "lockoutThreshold", &["3"]);
    for _ in 0..3 {
        sign_in(&server, "loc", "wrong");
    }
    let accounts =
        [("whole", ""), ("no-reset", "reset_password"), ("no-set", "pwd_last_set"), ("no-lockout", "lockout_time")];
    for (account, without) in accounts {
        set_up(&server, account, without);
        site.ldap(account, KIND, &server, server.value("LDAPS_URL"), json!({}));
        site.ldap_secret(account, &format!("{account}@acme.example"), PASSWORD);
    }
    site.ldap("locked", KIND, &server, server.value("LDAPS_URL"), json!({"unlock": false}));
    site.ldap_secret("locked", "no-lockout@acme.example", PASSWORD);
    let _operator = site.operator();
    for name in ["whole", "no-reset", "no-set", "no-lockout", "locked"] {
        site.until_directory(name, "Connected");
    }
    for account in ["no-reset", "no-set", "no-lockout"] {
        site.apply(&password(account, "ida", json!({})));
        assert!(refused(&site, "ida", "Rejected").contains("50 insufficientAccessRights"), "{account}");
        site.delete("ida");
    }
    assert_eq!(changes(&server, "ida"), 1);
    site.apply(&password("locked", "ida", json!({})));
    applied(&site, "ida");
    opens(&server, &site, "ida", MUST_CHANGE);
    for name in ["kim", "loc"] {
        site.apply(&password("whole", name, json!({})));
        assert_eq!(applied(&site, name), "Response");
        opens(&server, &site, name, MUST_CHANGE);
    }

    // Whatever else an account might do.
    let mut own = json!({"provider": {KIND: {"baseDN": "OU=Services,DC=acme,DC=example"}}});
    own["protect"] = Value::Null;
    site.ldap("services", KIND, &server, server.value("LDAPS_URL"), own);
    site.ldap_secret("services", "whole@acme.example", PASSWORD);
    site.until_directory("services", "Connected");
    site.apply(&password("services", "norights", json!({"password": {"forceChangeOnLogin": false}})));
    assert!(refused(&site, "norights", "Rejected").contains("50 insufficientAccessRights"));
    let whole = "CN=whole,OU=Services,DC=acme,DC=example";
    for (attribute, value) in
        [("userAccountControl", "514"), ("mail", "mine@acme.example"), ("userPrincipalName", "mine@acme.example")]
    {
        assert_eq!(server.try_set(whole, PASSWORD, &dn("bob"), attribute, value), 50, "{attribute}");
    }
    let group = "CN=desk,OU=Groups,DC=acme,DC=example";
    assert_eq!(server.try_set(whole, PASSWORD, group, "member", whole), 50);
}
