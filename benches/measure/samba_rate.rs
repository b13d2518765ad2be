//! How fast resets are on a real domain controller of Active Directory.
use std::collections::HashSet;

use credreset::directory::ldap::entry::{bytes, equals_bytes};
use futures::FutureExt;
use ldap3::{Ldap, Mod, Scope, SearchEntry};
use serde_json::json;

use crate::{
    figures::{Figures, Goal},
    ldap_rate::Bench,
    ldap_server::Server,
    ldap_users::samba::{KIND, add, dn},
};

const BASE: &str = "DC=acme,DC=example";

/// `pwdLastSet` counts steps of 100 ns. A user who must change the password has none, so no user must here.
fn seconds(steps: &str) -> f64 {
    steps.parse::<f64>().unwrap() / 1e7
}

async fn reset(ldap: &mut Ldap, name: &str) {
    let user = format!(
        "(&(objectCategory=person)(objectClass=user)(userAccountControl:1.2.840.113556.1.4.803:=512)\
         (|(sAMAccountName={name})(userPrincipalName={name})))"
    );
    let attributes = [
        "objectGUID",
        "sAMAccountName",
        "userPrincipalName",
        "mail",
        "pwdLastSet",
        "userAccountControl",
        "accountExpires",
        "adminCount",
        "replPropertyMetaData",
    ];
    let (mut found, _) = ldap.search(BASE, Scope::Subtree, &user, attributes).await.unwrap().success().unwrap();
    let user = SearchEntry::construct(found.pop().unwrap());
    let token =
        ldap.search(&user.dn, Scope::Base, "(objectClass=*)", ["tokenGroups"]).await.unwrap().success().unwrap();
    let token = SearchEntry::construct(token.0.into_iter().next().unwrap());
    let sids = bytes(&token, "tokenGroups").into_iter().map(|sid| equals_bytes("objectSid", sid)).collect::<String>();
    let groups = format!(
        "(&(|(member:1.2.840.113556.1.4.1941:={}){sids})(&(objectClass=group)(|(sAMAccountName=Chiefs))))",
        user.dn
    );
    ldap.search(BASE, Scope::Subtree, &groups, ["sAMAccountName"]).await.unwrap().success().unwrap();

    let one = |value: &[u8]| HashSet::from([value.to_vec()]);
    let password: Vec<u8> = format!("\"Of-{name}-a-new-1\"").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let attribute = |name: &str| name.as_bytes().to_vec();
    let changes = vec![
        Mod::Replace(attribute("unicodePwd"), one(&password)),
        Mod::Delete(attribute("pwdLastSet"), one(user.attrs["pwdLastSet"][0].as_bytes())),
        Mod::Add(attribute("pwdLastSet"), one(b"-1")),
        Mod::Replace(attribute("lockoutTime"), one(b"0")),
    ];
    ldap.modify(&user.dn, changes).await.unwrap().success().unwrap();
}

pub fn measure(figures: &mut Figures) {
    Bench {
        name: "samba_rate",
        goal: Goal::Ratio(0.9),
        kind: KIND,
        start: Server::samba,
        spec: json!({"protect": {"groups": ["Chiefs"]}}),
        request: json!({"password": {"forceChangeOnLogin": false}}),
        add,
        dn,
        operations: 4,
        changed: ("pwdLastSet", seconds),
        reset: |ldap, name| reset(ldap, name).boxed(),
    }
    .run(figures);
}
