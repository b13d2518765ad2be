//! Who is meant: paging through the organization's users, then role and groups of the one that was found.
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Answer, Zoho, is_digits, why_unread};
use crate::core::{
    ledger::UserId,
    request::{Mode, UserRef},
    world::{Found, Seen, User, Why},
};

/// Zoho's documented maximum for `per_page`.
const PER_PAGE: usize = 200;
/// More pages than any organization has.
const PAGES: usize = 5000;

impl Zoho {
    pub(super) fn users_page(&self, page: usize, size: usize) -> String {
        format!("/directory/api/v2/orgs/{}/users?page={page}&per_page={size}&include=emails", self.organization)
    }

    /// Finds a user. All pages are read, so that two users who answer to one name are seen; an id ends the search.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn look_up(&self, user: &UserRef, mode: Mode, groups: bool) -> Result<Option<Found>, Why> {
        let mut found: Vec<Value> = Vec::new();
        for page in 1..=PAGES {
            let answer = self.get(&self.users_page(page, PER_PAGE)).await.map_err(|e| why_unread(&e))?;
            let body = answer.into_read("the look-up of users")?;
            let Some(users) = body.get("users").and_then(Value::as_array) else {
                return Err(Why::new("the directory answered the look-up of users without a list of users."));
            };
            for candidate in users.iter().filter(|candidate| answers_to(candidate, user)) {
                if !found.iter().any(|known| id_of(known) == id_of(candidate)) {
                    found.push(candidate.clone());
                }
            }
            let continues = body.get("has_more").and_then(Value::as_bool).unwrap_or(users.len() == PER_PAGE);
            let settled = matches!(user, UserRef::Id(_)) && !found.is_empty();
            if settled || !continues || users.is_empty() {
                return match found.as_slice() {
                    [] => Ok(None),
                    [one] => Ok(Some(Found::One(Box::new(self.user(one, mode, groups).await?)))),
                    several => Ok(Some(Found::Several(several.len()))),
                };
            }
        }
        Err(Why::new(format!("the directory's list of users did not end after {PAGES} pages.")))
    }

    async fn user(&self, value: &Value, mode: Mode, groups: bool) -> Result<User, Why> {
        let text =
            |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let unreadable = |field: &str| Why::new(format!("the directory shows the user with an unreadable {field}."));
        let id = id_of(value).ok_or_else(|| unreadable("user_id"))?;
        let zuid = digits(value.get("zuid")).ok_or_else(|| unreadable("zuid"))?;
        let email = text("primary_email");
        let user_name = text("user_name");
        let name = email.clone().or_else(|| user_name.clone()).unwrap_or_else(|| id.clone());
        let administrator = self.administrator(&zuid).await?;
        let field = match mode {
            Mode::Password => &self.password_changed_at,
            Mode::MFA => &self.mfa_changed_at,
        };
        Ok(User {
            groups: if groups { Seen::Known(self.groups_of(&id).await?) } else { Seen::Unread },
            aliases: addresses(value).chain(user_name).filter(|alias| *alias != name).collect(),
            confirmed: text("user_type").as_deref() == Some("confirmed"),
            active: text("user_status").as_deref() == Some("active"),
            federated: value.get("is_federated").and_then(Value::as_bool).unwrap_or(false),
            // Whoever gave the operator its refresh token may reset others, so it is an administrator.
            operator: match administrator {
                Seen::Known(false) => Seen::Known(false),
                _ => Seen::Unknown(Why::new("the directory does not show whose token the operator uses.")),
            },
            administrator,
            changed_at: match field {
                None => Seen::Unknown(Why::new("the Directory names no field for the time of the last change.")),
                Some(field) => changed_at(value.get(field))
                    .ok_or_else(|| Why::new(format!("the directory shows the user with an unreadable {field}.")))?,
            },
            handle: [("zuid".to_owned(), zuid)].into(),
            email,
            id: UserId { id, name },
        })
    }

    /// By the role in Zoho Mail's administration (zoho.com/mail/help/api/get-single-user.html).
    async fn administrator(&self, zuid: &str) -> Result<Seen<bool>, Why> {
        let path = format!("/api/organization/{}/accounts/{zuid}", self.zoid);
        let answer = self.get(&path).await.map_err(|e| why_unread(&e))?;
        if answer.status.as_u16() == 404 {
            return Ok(Seen::Unknown(Why::new("the user has no account in Zoho Mail's administration.")));
        }
        let body = answer.into_read("the look-up of the user's role")?;
        Ok(match body.pointer("/data/role").and_then(Value::as_str) {
            Some("super_admin" | "admin") => Seen::Known(true),
            Some("member") => Seen::Known(false),
            _ => Seen::Unknown(Why::new("the user's role in Zoho Mail's administration is not one that is known.")),
        })
    }

    async fn groups_of(&self, id: &str) -> Result<Vec<String>, Why> {
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let path = format!(
                "/directory/api/v2/orgs/{}/users/{id}/groups?page={page}&per_page={PER_PAGE}",
                self.organization
            );
            let answer = self.get(&path).await.map_err(|e| why_unread(&e))?;
            let body = answer.into_read("the look-up of the user's groups")?;
            let Some(groups) = body.get("groups").and_then(Value::as_array) else {
                return Err(Why::new("the directory answered the look-up of groups without a list of groups."));
            };
            all.extend(groups.iter().filter_map(|g| g.get("group_name")?.as_str()).map(str::to_owned));
            let continues = body.get("has_more").and_then(Value::as_bool).unwrap_or(groups.len() == PER_PAGE);
            if !continues || groups.is_empty() {
                break;
            }
        }
        Ok(all)
    }
}

impl Answer {
    /// The body of a successful read.
    fn into_read(self, what: &str) -> Result<Value, Why> {
        if self.is_throttle() {
            let seconds = SignedDuration::from_secs(i64::from(self.after.unwrap_or(60)));
            let until = Timestamp::now().saturating_add(seconds).unwrap_or(Timestamp::MAX);
            return Err(Why {
                message: format!("the directory asks to be left alone until {until}."),
                not_before: Some(until),
            });
        }
        match (self.failure(), self.body) {
            (None, Some(body)) => Ok(body),
            (None, None) => Err(Why::new(format!("the directory answered {what} with something that is no JSON."))),
            (Some(code), _) => Err(Why::new(format!("the directory answered {what} with {code}."))),
        }
    }
}

fn answers_to(user: &Value, typed: &UserRef) -> bool {
    match typed {
        UserRef::Id(id) => id_of(user).as_deref() == Some(id.as_str()),
        UserRef::Email(email) => {
            let email = email.to_lowercase();
            let primary = user.get("primary_email").and_then(Value::as_str);
            primary.is_some_and(|p| p.to_lowercase() == email) || addresses(user).any(|a| a.to_lowercase() == email)
        }
        UserRef::Username(name) => {
            let known = user.get("user_name").and_then(Value::as_str);
            known.is_some_and(|known| known.to_lowercase() == name.to_lowercase())
        }
    }
}

fn addresses(user: &Value) -> impl Iterator<Item = String> + '_ {
    let emails = user.get("emails").and_then(Value::as_array);
    emails.into_iter().flatten().filter_map(|e| e.get("email_id")?.as_str()).map(str::to_owned)
}

/// Ids are 64 bit: number or text, always a text here.
fn id_of(user: &Value) -> Option<String> {
    digits(user.get("user_id"))
}

fn digits(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    is_digits(&text).then_some(text)
}

/// Milliseconds since 1970, as number or text, or RFC 3339; null: never. A missing field tells nothing.
fn changed_at(value: Option<&Value>) -> Option<Seen<Timestamp>> {
    let milliseconds = |ms: i64| Timestamp::from_millisecond(ms).ok().map(Seen::Known);
    match value {
        None => Some(Seen::Unknown(Why::new("the look-up lacks the field that the Directory names."))),
        Some(Value::Null) => Some(Seen::Absent),
        Some(Value::Number(number)) => milliseconds(number.as_i64()?),
        Some(Value::String(text)) => match text.parse() {
            Ok(ms) => milliseconds(ms),
            Err(_) => text.parse().ok().map(Seen::Known),
        },
        Some(_) => None,
    }
}
