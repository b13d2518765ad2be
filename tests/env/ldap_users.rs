//! Users of real LDAP servers: how they are named and made there.
#![allow(dead_code, reason = "not every program uses all of them")]

fn text(value: &str) -> Vec<u8> {
    value.as_bytes().to_vec()
}

pub mod openldap {
    use serde_json::{Value, json};

    use super::text;
    use crate::ldap_server::Server;

    pub const KIND: &str = "openLDAP";

    pub fn dn(name: &str) -> String {
        format!("uid={name},ou=people,dc=acme,dc=example")
    }

    /// `OpenLDAP` does not tell who administers it.
    pub fn protect() -> Value {
        json!({"protect": {"administrators": false, "groups": ["cn=Administrators, ou=groups,dc=acme,dc=example"]}})
    }

    /// Users whose password is `NAME-old-1`.
    pub fn add(server: &Server, names: &[String]) {
        let entry = |name: &String| {
            let mail = format!("{name}@acme.example");
            let attributes = vec![
                ("objectClass", text("inetOrgPerson")),
                ("uid", text(name)),
                ("cn", text(name)),
                ("sn", text(name)),
                ("mail", text(&mail)),
                ("userPassword", text(&format!("{name}-old-1"))),
            ];
            (dn(name), attributes)
        };
        server.add(&names.iter().map(entry).collect::<Vec<_>>());
    }
}

pub mod samba {
    use super::text;
    use crate::ldap_server::Server;

    pub const KIND: &str = "activeDirectory";

    pub fn dn(name: &str) -> String {
        format!("CN={name},OU=People,DC=acme,DC=example")
    }

    /// Users whose password is `NAME-Old-1`.
    pub fn add(server: &Server, names: &[String]) {
        let entry = |name: &String| {
            let attributes = vec![
                ("objectClass", text("user")),
                ("sAMAccountName", text(name)),
                ("userPrincipalName", text(&format!("{name}@acme.example"))),
                ("mail", text(&format!("{name}@acme.example"))),
                ("userAccountControl", text("512")),
                ("unicodePwd", format!("\"{name}-Old-1\"").encode_utf16().flat_map(u16::to_le_bytes).collect()),
            ];
            (dn(name), attributes)
        };
        server.add(&names.iter().map(entry).collect::<Vec<_>>());
    }
}
