//! The organization: its users, what has happened to them, and what was asked.
use std::{collections::BTreeMap, fs, io, path::Path};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::faults::Fault;

/// The organization's id in Zoho Directory.
pub const ORGANIZATION: &str = "700012345";
/// Its id in Zoho Mail's administration.
pub const ZOID: &str = "800012345";
/// Who may ask for tokens, and how.
pub const CLIENT_ID: &str = "1000.SANDBOX";
/// See [`CLIENT_ID`].
pub const CLIENT_SECRET: &str = "sandbox-client-secret";
/// See [`CLIENT_ID`].
pub const REFRESH_TOKEN: &str = "1000.sandbox-refresh-token";
/// The administrator's own password, where a call asks for it.
pub const ADMIN_PASSWORD: &str = "Sandbox-admin-pw-1";
/// Everything that a token may be used for.
const SCOPES: &str = "ZohoDirectory.Users.READ ZohoDirectory.Users.UPDATE ZohoDirectory.Groups.READ \
                      ZohoMail.organization.accounts.READ ZohoMail.organization.accounts.UPDATE";

/// A user.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a box on the user's page")]
pub struct User {
    pub id: String,
    pub zuid: String,
    pub first_name: String,
    pub last_name: String,
    pub title: String,
    pub department: String,
    /// `active` or `inactive`.
    pub status: String,
    /// `confirmed`, `pending` or `external`.
    pub kind: String,
    /// The first one is the primary address.
    pub emails: Vec<String>,
    pub user_name: Option<String>,
    pub federated: bool,
    /// `super_admin`, `admin` or `member`; none: no account in Mail's administration.
    pub role: Option<String>,
    pub groups: Vec<String>,
    pub password: String,
    pub must_change: bool,
    pub password_changed: Option<Timestamp>,
    pub password_resets: u32,
    pub mfa_enabled: bool,
    pub factors: Vec<String>,
    pub mfa_changed: Option<Timestamp>,
    pub mfa_resets: u32,
    pub web_sessions: u32,
    pub mobile_sessions: u32,
    pub api_tokens: u32,
}

impl User {
    pub fn name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }

    /// All but the password.
    pub fn shown(&self) -> Value {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(map) = &mut value {
            map.remove("password");
        }
        value
    }
}

/// A mail that was "sent".
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mail {
    pub time: Timestamp,
    pub to: String,
    pub subject: String,
    pub body: String,
}

/// A call that arrived.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    pub time: Timestamp,
    pub kind: String,
    pub method: String,
    pub path: String,
    pub user: Option<String>,
    /// Flags as they arrived, secrets only by their field's name.
    pub fields: BTreeMap<String, Value>,
    /// None: the connection was closed without an answer.
    pub status: Option<u16>,
    pub fault: Option<String>,
    pub applied: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub users: Vec<User>,
    pub mails: Vec<Mail>,
    pub calls: Vec<Call>,
    /// Calls by kind; it outlives the log, which keeps the last ones only.
    pub counts: BTreeMap<String, u64>,
    pub scopes: String,
    /// Access tokens that were given, with their scopes.
    pub tokens: BTreeMap<String, String>,
    pub faults: Vec<Fault>,
}

/// The log keeps this many calls.
const LOG: usize = 2000;

impl State {
    pub fn load(file: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(file)?)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", file.display())))
    }

    /// Whole or not at all.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, file)
    }

    pub fn log(&mut self, call: Call) {
        *self.counts.entry(call.kind.clone()).or_default() += 1;
        self.calls.push(call);
        if self.calls.len() > LOG {
            self.calls.remove(0);
        }
    }

    pub fn user(&mut self, id: &str) -> Option<&mut User> {
        self.users.iter_mut().find(|user| user.id == id || user.zuid == id)
    }

    /// Sets a password as the console's form does: web sessions always end.
    pub fn reset_password(
        &mut self,
        id: &str,
        password: &str,
        force_change: bool,
        clear_all: bool,
        email: bool,
        now: Timestamp,
    ) {
        let Some(user) = self.user(id) else { return };
        password.clone_into(&mut user.password);
        user.must_change = force_change;
        user.password_changed = Some(now);
        user.password_resets += 1;
        user.web_sessions = 0;
        if clear_all {
            user.mobile_sessions = 0;
            user.api_tokens = 0;
        }
        let to = user.emails.first().cloned();
        if let (true, Some(to)) = (email, to) {
            let body = format!("Your administrator has reset your password. It is now: {password}");
            self.mails.push(Mail { time: now, to, subject: "Your password has been reset".to_owned(), body });
        }
    }

    /// `turn_off`: MFA is turned off; else the user enrols again at the next sign-in.
    pub fn reset_mfa(&mut self, id: &str, turn_off: bool, now: Timestamp) {
        let Some(user) = self.user(id) else { return };
        user.factors.clear();
        user.mfa_enabled = user.mfa_enabled && !turn_off;
        user.mfa_changed = Some(now);
        user.mfa_resets += 1;
    }

    /// The organization of the help page: Annette and a dozen colleagues.
    pub fn seed(ordinary: usize, scopes: Option<&str>) -> Self {
        let person = |number: u64, name: (&str, &str), title: &str, department: &str| {
            let (first, last) = name;
            User {
                id: (700_012_300 + number).to_string(),
                zuid: (800_012_300 + number).to_string(),
                first_name: first.to_owned(),
                last_name: last.to_owned(),
                title: title.to_owned(),
                department: department.to_owned(),
                status: "active".to_owned(),
                kind: "confirmed".to_owned(),
                emails: vec![format!(
                    "{}.{}@zylker.biz",
                    first.to_lowercase(),
                    last.chars().take(1).collect::<String>().to_lowercase()
                )],
                role: Some("member".to_owned()),
                groups: vec!["Staff".to_owned()],
                password: format!("{first}-old-1"),
                mfa_enabled: true,
                factors: vec!["TOTP".to_owned()],
                web_sessions: 1,
                mobile_sessions: 1,
                api_tokens: 1,
                ..User::default()
            }
        };
        let mut users = vec![
            User {
                factors: vec!["TOTP".to_owned(), "WebAuthn".to_owned()],
                ..person(99, ("Annette", "Charbonneau"), "Manager", "Sales")
            },
            User { kind: "pending".to_owned(), ..person(1, ("Bruno", "Keller"), "Trainee", "Sales") },
            User { kind: "external".to_owned(), ..person(2, ("Carla", "Ortiz"), "Consultant", "Partners") },
            User { status: "inactive".to_owned(), ..person(3, ("Daniel", "Frost"), "Accountant", "Finance") },
            User { role: Some("super_admin".to_owned()), ..person(4, ("Erika", "Sund"), "Administrator", "IT") },
            User { role: Some("admin".to_owned()), ..person(5, ("Femi", "Adeyemi"), "Help desk lead", "IT") },
            User {
                emails: vec!["ceo@zylker.biz".to_owned()],
                groups: vec!["Staff".to_owned(), "Board".to_owned()],
                ..person(6, ("Grace", "Lindqvist"), "CEO", "Board")
            },
            User { mfa_enabled: false, factors: Vec::new(), ..person(7, ("Hiro", "Tanaka"), "Engineer", "Products") },
            User { federated: true, ..person(8, ("Ines", "Marques"), "Engineer", "Products") },
            User {
                emails: vec!["jan.n@zylker.biz".to_owned(), "support@zylker.biz".to_owned()],
                ..person(9, ("Jan", "Novak"), "Agent", "Support")
            },
            User {
                emails: vec!["kim.l@zylker.biz".to_owned(), "support@zylker.biz".to_owned()],
                ..person(10, ("Kim", "Lee"), "Agent", "Support")
            },
            User {
                emails: Vec::new(),
                user_name: Some("lager-terminal".to_owned()),
                ..person(11, ("Lager", "Terminal"), "Shared terminal", "Warehouse")
            },
            User {
                emails: vec!["mustafa.o@zylker.biz".to_owned()],
                ..person(12, ("Mustafa", "Öztürk"), "Driver", "Warehouse")
            },
            User { role: None, ..person(13, ("Nora", "Vogel"), "Intern", "Sales") },
            User {
                groups: Vec::new(),
                emails: vec!["olga@partner.example".to_owned()],
                ..person(14, ("Olga", "Petrova"), "Agent", "Partners")
            },
        ];
        users.extend((1..=ordinary).map(|i| User {
            id: (710_000_000 + i).to_string(),
            zuid: (810_000_000 + i).to_string(),
            emails: vec![format!("user{i:04}@zylker.biz")],
            password: format!("user{i:04}-old-1"),
            ..person(0, ("User", &format!("Number {i}")), "Clerk", "Operations")
        }));
        Self { users, scopes: scopes.unwrap_or(SCOPES).to_owned(), ..Self::default() }
    }
}

/// A user as a look-up shows it.
pub fn wire_user(user: &User, change_times: bool) -> Value {
    let mut value = json!({
        "user_id": user.id,
        "zuid": user.zuid,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "full_name": user.name(),
        "display_name": user.title,
        "user_status": user.status,
        "user_type": user.kind,
        "primary_email": user.emails.first(),
        "user_name": user.user_name,
        "is_federated": user.federated,
        "emails": user.emails.iter().enumerate()
            .map(|(i, email)| json!({"email_id": email, "is_primary": i == 0, "is_verified": true}))
            .collect::<Vec<_>>(),
    });
    if change_times {
        value["password_changed_time"] = json!(user.password_changed.map(Timestamp::as_millisecond));
        value["mfa_changed_time"] = json!(user.mfa_changed.map(Timestamp::as_millisecond));
    }
    value
}
