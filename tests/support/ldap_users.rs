//! Users of real LDAP servers: how they are named and made there.

fn text(value: &str) -> Vec<u8> {
    value.as_bytes().to_vec()
}

pub mod openldap {
    use serde_json::{Value, json};

    use super::text;
    use crate::support::ldap_server::Server;

    pub const KIND: &str = "openLDAP";

    /// Whose names are as they are in the world (tests/support/servers/openldap.sh).
    pub const UNTIDY: [&str; 4] = ["doe", "ace", "joerg", "multi"];

    /// As the server spells it.
    pub fn dn(name: &str) -> String {
        let first = match name {
            "doe" => r"cn=Doe\2C John".to_owned(),
            "ace" => r"cn=Ann \22Ace\22 \2B Co\3B \3C1\3E".to_owned(),
            "joerg" => r"cn=\231 Jörg Größe".to_owned(),
            "multi" => "cn=Mia+uid=multi".to_owned(),
            "resetbot" => r"cn=reset\2C bot".to_owned(),
            _ => format!("uid={name}"),
        };
        format!("{first},ou=people,dc=acme,dc=example")
    }

    /// `OpenLDAP` does not show who administers it.
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
    use crate::support::ldap_server::Server;

    pub const KIND: &str = "activeDirectory";

    /// As the server spells it (tests/support/servers/samba.sh).
    pub fn dn(name: &str) -> String {
        let first = match name {
            "doe" => r"Doe\, John",
            "joerg" => r#"Jörg \"Größe\" \+ \#1/2"#,
            _ => name,
        };
        format!("CN={first},OU=People,DC=acme,DC=example")
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
