//! How fast resets are on a real `OpenLDAP`.
use std::collections::HashSet;

use futures::FutureExt;
use jiff::{civil::DateTime, fmt::strtime, tz::TimeZone};
use ldap3::{
    Ldap, Mod, Scope, SearchEntry,
    controls::{Assertion, MakeCritical, RawControl},
};
use serde_json::json;

use crate::{
    figures::{Figures, Goal},
    ldap_rate::Bench,
    ldap_server::{POLICY, Server},
    ldap_users::openldap::{KIND, add, dn, protect},
};

const BASE: &str = "dc=acme,dc=example";

/// `entryCSN` begins with the time in microseconds. Nothing but the reset moves it here.
fn seconds(csn: &str) -> f64 {
    let time = strtime::parse("%Y%m%d%H%M%S%.f", csn.split('Z').next().unwrap());
    let time: DateTime = time.unwrap().to_datetime().unwrap();
    time.to_zoned(TimeZone::UTC).unwrap().timestamp().as_duration().as_secs_f64()
}

async fn reset(ldap: &mut Ldap, name: &str) {
    let user = format!("(&(objectClass=inetOrgPerson)(uid={name}))");
    let attributes =
        ["entryUUID", "uid", "mail", "entryCSN", "pwdChangedTime", "pwdAccountLockedTime", "pwdEndTime", "memberOf"];
    let (mut found, _) = ldap.search(BASE, Scope::Subtree, &user, attributes).await.unwrap().success().unwrap();
    let dn = SearchEntry::construct(found.pop().unwrap()).dn;
    let groups = format!("(|(member={dn})(uniqueMember={dn})(memberUid={name}))");
    ldap.search(BASE, Scope::Subtree, &groups, ["1.1"]).await.unwrap().success().unwrap();
    let condition: RawControl = Assertion { filter: "(!(pwdChangedTime=*))" }.critical().into();
    let policy = RawControl { ctype: POLICY.to_owned(), crit: false, val: None };
    let password = format!("Of-{name}-a-new-1");
    let changes = vec![
        Mod::Replace("userPassword", HashSet::from([password.as_str()])),
        Mod::Replace("pwdReset", HashSet::from(["TRUE"])),
    ];
    ldap.with_controls(vec![condition, policy]).modify(&dn, changes).await.unwrap().success().unwrap();
}

pub fn measure(figures: &mut Figures) {
    Bench {
        name: "ldap_rate",
        goal: Goal::Ratio(0.9),
        kind: KIND,
        start: Server::openldap,
        spec: protect(),
        request: json!({}),
        add,
        dn,
        operations: 3,
        changed: ("entryCSN", seconds),
        reset: |ldap, name| reset(ldap, name).boxed(),
    }
    .run(figures);
}
