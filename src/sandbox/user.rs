//! A user of the sandbox, and the password, which is never shown.
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A value that is stored in the state file and in sent mail, and never printed.
#[derive(Clone, Debug)]
pub(super) struct Secret(SecretString);

impl Secret {
    pub(super) fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    pub(super) fn is(&self, value: &str) -> bool {
        self.0.expose_secret() == value
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) user: Person,
    pub(super) password: Secret,
}

/// A user without the password, as the control interface shows and accepts it: fields of Zoho's wire format under Zoho's names, the
/// sandbox's own in camel case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Person {
    pub(super) user_id: String,
    pub(super) zuid: String,
    pub(super) first_name: String,
    pub(super) last_name: String,
    /// The job title, as in Zoho's own look-up.
    pub(super) display_name: String,
    pub(super) department: String,
    pub(super) user_status: Status,
    pub(super) user_type: UserType,
    pub(super) user_name: Option<String>,
    /// The first is the primary one.
    pub(super) emails: Vec<String>,
    /// Absent: the look-up does not show it.
    pub(super) is_federated: Option<bool>,
    /// Milliseconds since the epoch.
    pub(super) password_changed_time: Option<i64>,
    /// Milliseconds since the epoch.
    pub(super) mfa_changed_time: Option<i64>,
    /// Absent: no account in Mail's administration.
    pub(super) role: Option<Role>,
    pub(super) groups: Vec<Group>,
    #[serde(rename = "mfaEnabled")]
    pub(super) mfa_enabled: bool,
    pub(super) factors: Vec<String>,
    #[serde(rename = "webSessions")]
    pub(super) web_sessions: u32,
    #[serde(rename = "mobileSessions")]
    pub(super) mobile_sessions: u32,
    #[serde(rename = "apiTokens")]
    pub(super) api_tokens: u32,
    pub(super) locked: bool,
    #[serde(rename = "mustChange")]
    pub(super) must_change: bool,
    #[serde(rename = "passwordResets")]
    pub(super) password_resets: u32,
    #[serde(rename = "passwordResetTimes")]
    pub(super) password_reset_times: Vec<Timestamp>,
    #[serde(rename = "mfaResets")]
    pub(super) mfa_resets: u32,
    #[serde(rename = "mfaResetTimes")]
    pub(super) mfa_reset_times: Vec<Timestamp>,
    /// The fault of each reset call that named this user, in order: `none`, or the fault.
    #[serde(rename = "resetCalls", default)]
    pub(super) reset_calls: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Active,
    Inactive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum UserType {
    Confirmed,
    Pending,
    External,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    SuperAdmin,
    Admin,
    Member,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) group_id: String,
    pub(super) group_name: String,
}

impl Person {
    /// An ordinary confirmed member: in group Staff, with an authenticator app and one web session.
    pub(super) fn member(user_id: u64, first_name: &str, last_name: &str, email: &str) -> Self {
        Self {
            user_id: user_id.to_string(),
            // A different number on purpose: code that mixes the two ids up finds no user.
            zuid: user_id.wrapping_add(100_000_000).to_string(),
            first_name: first_name.to_owned(),
            last_name: last_name.to_owned(),
            display_name: "Associate".to_owned(),
            department: "Sales".to_owned(),
            user_status: Status::Active,
            user_type: UserType::Confirmed,
            user_name: None,
            emails: vec![email.to_owned()],
            is_federated: Some(false),
            password_changed_time: None,
            mfa_changed_time: None,
            role: Some(Role::Member),
            groups: vec![Group::staff()],
            mfa_enabled: true,
            factors: vec!["authenticator app".to_owned()],
            web_sessions: 1,
            mobile_sessions: 0,
            api_tokens: 0,
            locked: false,
            must_change: false,
            password_resets: 0,
            password_reset_times: Vec::new(),
            mfa_resets: 0,
            mfa_reset_times: Vec::new(),
            reset_calls: Vec::new(),
        }
    }

    pub(super) fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name).trim().to_owned()
    }

    /// Whether the user may sign in with this address or login name.
    pub(super) fn answers_to(&self, login: &str) -> bool {
        let login = login.to_lowercase();
        self.emails.iter().chain(&self.user_name).any(|name| name.to_lowercase() == login)
    }

    pub(super) fn has_address(&self, address: &str) -> bool {
        self.emails.iter().any(|own| own.to_lowercase() == address.to_lowercase())
    }

    /// Why a password breaks the policy, if it does.
    pub(super) fn objection_to(&self, password: &str) -> Option<&'static str> {
        let password = password.to_lowercase();
        let names = [&self.first_name, &self.last_name];
        if password.chars().count() < 8 {
            Some("The password must have at least 8 characters.")
        } else if names.iter().any(|name| name.chars().count() > 1 && password.contains(&name.to_lowercase())) {
            Some("The password must not contain the name of the user.")
        } else if password.contains("password") {
            Some("The password must not contain the word password.")
        } else {
            None
        }
    }
}

impl Group {
    pub(super) fn staff() -> Self {
        Self { group_id: "700050001".to_owned(), group_name: "Staff".to_owned() }
    }

    pub(super) fn board() -> Self {
        Self { group_id: "700050002".to_owned(), group_name: "Board".to_owned() }
    }
}
