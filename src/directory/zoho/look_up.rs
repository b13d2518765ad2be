//! Who is meant: paging through the organization's users, then role and groups of the one that was found.
use jiff::Timestamp;
use serde_json::Value;

use super::{Answer, Zoho, is_digits, why_unread};
use crate::core::{
    ledger::UserId,
    request::{Mode, UserRef},
    text,
    world::{Found, Seen, User, Why},
};

/// Zoho's documented maximum for `per_page`.
const PER_PAGE: usize = 200;
/// More pages than any organization has.
const PAGES: usize = 5000;
/// More groups, and longer names of groups, than anybody has.
const GROUPS: usize = 10_000;
const GROUP_NAME: usize = 1024;

impl Zoho {
    pub(super) fn users_page(&self, page: usize, size: usize) -> String {
        format!("/directory/api/v2/orgs/{}/users?page={page}&per_page={size}&include=emails", self.organization)
    }

    /// Finds a user. All pages are read, so that a second user who answers to one name is seen; it ends the search, and so does
    /// an id.
    ///
    /// # Errors
    /// Why it could not be told.
    pub async fn look_up(&self, user: &UserRef, mode: Mode) -> Result<Option<Found>, Why> {
        match self.find(user).await?.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(Found::One(Box::new(self.user(one, mode).await?)))),
            several => Ok(Some(Found::Several(several.len()))),
        }
    }

    async fn find(&self, user: &UserRef) -> Result<Vec<Value>, Why> {
        let mut found: Vec<Value> = Vec::new();
        for page in 1..=PAGES {
            let answer = self.get(&self.users_page(page, PER_PAGE)).await.map_err(|e| why_unread(&e))?;
            let (users, more) = users_of(answer)?;
            let (none, full) = (users.is_empty(), users.len() == PER_PAGE);
            for candidate in users.into_iter().filter(|candidate| answers_to(candidate, user)) {
                if !found.iter().any(|known| id_of(known) == id_of(&candidate)) {
                    found.push(candidate);
                }
            }
            // Whoever answers to one name with users without end must not be listened to for ever.
            let settled = found.len() > 1 || (matches!(user, UserRef::Id(_)) && !found.is_empty());
            if settled || none || !more.unwrap_or(full) {
                return Ok(found);
            }
        }
        Err(Why::new(format!("the directory's list of users did not end after {PAGES} pages.")))
    }

    /// When the directory says that `mode` of the user with this id was last changed. `None`: it shows no such user.
    pub(super) async fn last_change(&self, id: &str, mode: Mode) -> Result<Option<Seen<Timestamp>>, Why> {
        let found = self.find(&UserRef::Id(id.to_owned())).await?;
        found.first().map(|user| self.changed(user, mode)).transpose()
    }

    fn changed(&self, user: &Value, mode: Mode) -> Result<Seen<Timestamp>, Why> {
        let field = match mode {
            Mode::Password => &self.password_changed_at,
            Mode::MFA => &self.mfa_changed_at,
        };
        match field {
            None => Ok(Seen::Unknown(Why::new("the Directory names no field for the time of the last change."))),
            Some(field) => changed_at(user.get(field))
                .ok_or_else(|| Why::new(format!("the directory shows the user with an unreadable {field}."))),
        }
    }

    async fn user(&self, value: &Value, mode: Mode) -> Result<User, Why> {
        let text =
            |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let unreadable = |field: &str| Why::new(format!("the directory shows the user with an unreadable {field}."));
        let id = id_of(value).ok_or_else(|| unreadable("user_id"))?;
        let zuid = digits(value.get("zuid")).ok_or_else(|| unreadable("zuid"))?;
        let primary = text("primary_email");
        let user_name = text("user_name");
        let name = primary.as_ref().or(user_name.as_ref()).unwrap_or(&id).clone();
        let known_as = UserId::new(id, &name);
        // An address that is none in any sense is not matched with rules, not sent to the directory, and gets no mail.
        let email = primary.clone().filter(|address| text::is_word(address));
        let asks_for_email = match mode {
            Mode::Password => &self.reset_password,
            Mode::MFA => &self.reset_mfa,
        };
        if email.is_none() && asks_for_email.as_ref().is_some_and(|call| call.uses("user.email")) {
            return Err(Why::new(
                "the directory shows no e-mail address of the user, or none that could be used, and a template asks for it.",
            ));
        }
        let administrator = self.administrator(&zuid).await?;
        Ok(User {
            groups: if self.groups { Seen::Known(self.groups_of(&known_as.id).await?) } else { Seen::Unread },
            aliases: addresses(value).chain(primary).chain(user_name).filter(|alias| *alias != known_as.name).collect(),
            confirmed: text("user_type").as_deref() == Some("confirmed"),
            active: text("user_status").as_deref() == Some("active"),
            federated: value.get("is_federated").and_then(Value::as_bool).unwrap_or(false),
            // Whoever gave the operator its refresh token may reset others, so it is an administrator.
            operator: match administrator {
                Seen::Known(false) => Seen::Known(false),
                _ => Seen::Unknown(Why::new("the directory does not show whose token the operator uses.")),
            },
            administrator,
            changed_at: self.changed(value, mode)?,
            lacks: std::collections::BTreeMap::new(),
            hindrance: None,
            factors: Seen::Unread,
            must_change: Seen::Unread,
            handle: [("zuid".to_owned(), zuid)].into(),
            email,
            id: known_as,
        })
    }

    /// By the role in Zoho Mail's administration (zoho.com/mail/help/api/get-single-user.html).
    async fn administrator(&self, zuid: &str) -> Result<Seen<bool>, Why> {
        let path = format!("/api/organization/{}/accounts/{zuid}", self.zoid);
        let answer = self.get(&path).await.map_err(|e| why_unread(&e))?;
        if answer.status() == 404 {
            return Ok(Seen::Unknown(Why::new(format!(
                "organization {} of Zoho Mail's administration shows no account of the user: either there is none, or \
                 spec.provider.zoho.zoid is wrong.",
                self.zoid
            ))));
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
            let (groups, more) = list(answer, "groups")?;
            let (none, full) = (groups.is_empty(), groups.len() == PER_PAGE);
            for group in &groups {
                // A group that is not shown might be the one that protects the user.
                let name = group.get("group_name").and_then(Value::as_str);
                let name = name.filter(|name| (1..=GROUP_NAME).contains(&name.len())).ok_or_else(|| {
                    Why::new("the directory shows a group of the user without a name, or with one without end.")
                })?;
                all.push(name.to_owned());
            }
            if all.len() > GROUPS {
                return Err(Why::new(format!("the directory shows the user in more than {GROUPS} groups.")));
            }
            if none || !more.unwrap_or(full) {
                return Ok(all);
            }
        }
        Err(Why::new(format!("the directory's list of the user's groups did not end after {PAGES} pages.")))
    }
}

/// The users of one page.
pub(super) fn users_of(answer: Answer) -> Result<(Vec<Value>, Option<bool>), Why> {
    list(answer, "users")
}

/// The list `node` of a page, and whether the page says that more follow.
fn list(answer: Answer, node: &str) -> Result<(Vec<Value>, Option<bool>), Why> {
    let mut body = answer.into_read(&format!("the look-up of {node}"))?;
    let more = body.get("has_more").and_then(Value::as_bool);
    match body.get_mut(node).map(Value::take) {
        Some(Value::Array(items)) => Ok((items, more)),
        _ => Err(Why::new(format!("the directory answered the look-up of {node} without a list of {node}."))),
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
