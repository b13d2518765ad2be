//! Finds the user that a request names, in the list of the organization's users, and reads what the gates check.
use jiff::Timestamp;
use serde_json::Value;

use super::{Answer, Zoho, is_digits};
use crate::{
    core::{
        request::{Mode, UserRef},
        seen::{Seen, Why},
        text,
        user::{LookUp, User, UserId},
    },
    directory::display_name,
};

/// Zoho's documented maximum for `per_page`.
const PER_PAGE: usize = 200;
/// More pages than any organization has.
const MAX_PAGES: usize = 5000;
/// More groups than any user is in.
const MAX_GROUPS: usize = 10_000;
/// Bytes. Longer than any group's name.
const MAX_GROUP_NAME: usize = 1024;

/// What Zoho Mail's administration shows of a user (zoho.com/mail/help/api/get-single-user.html).
pub(super) struct Account {
    zuid: Option<String>,
    /// Addresses that the user has confirmed, in lower case.
    confirmed: Vec<String>,
    administrator: Seen<bool>,
    pub(super) mfa_on: Seen<bool>,
}

impl Zoho {
    /// Path of a page of users.
    pub(super) fn users_page(&self, page: usize, size: usize) -> String {
        format!("/directory/api/v2/orgs/{}/users?page={page}&per_page={size}&include=emails", self.organization)
    }

    /// Finds a user.
    ///
    /// # Errors
    /// Why the directory could not be asked.
    pub async fn look_up(&self, user: &UserRef, mode: Mode) -> Result<Option<LookUp>, Why> {
        let account = match user {
            UserRef::Email(address) => self.account_at(address).await?,
            UserRef::Username(_) | UserRef::Id(_) => None,
        };
        let (found, pages) = self.find(user, account.as_ref()).await?;
        // After minutes of reading pages, a role that was read before them may be outdated.
        let account = account.filter(|_| pages == 1);
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(LookUp::One(Box::new(self.user(one, account, mode).await?)))),
            several => Ok(Some(LookUp::Several(several.len()))),
        }
    }

    /// The users in Directory's list who match `user`, and how many pages were read. Reads all pages, in order to find a second user with
    /// the same name, which ends the search. So does a match by id.
    ///
    /// A match by address ends the search if no other user can have that address. An address belongs to one user within an organization,
    /// whether as the primary one or as an alias, also if the user is inactive or pending, and cannot be added to an account while another
    /// has it (help.zoho.com, *Email address is already used*, and *This email address is already registered with another Zoho account*).
    /// Two users may still claim an address that neither has confirmed, so the two services must agree on one user who has confirmed it:
    /// Mail's account for the address shows it as confirmed, and Directory shows it as primary or verified for the user with the zuid of
    /// that account. Mail's answer alone ends nothing. Mail may resolve the address of a group, or an alias, to the user who reads its
    /// mail; the account may be another organization's, whose zuid Directory never shows; and an answer that cannot be read shows nothing.
    /// In these cases the list is read to its end, and it alone counts. Users on the same page are always compared.
    pub(super) async fn find(&self, user: &UserRef, account: Option<&Account>) -> Result<(Vec<Value>, usize), Why> {
        let mut found: Vec<Value> = Vec::new();
        for page in 1..=MAX_PAGES {
            let answer = self.get(&self.users_page(page, PER_PAGE)).await?;
            let (users, more) = users_of(answer)?;
            let (none, full) = (users.is_empty(), users.len() == PER_PAGE);
            for candidate in users.into_iter().filter(|candidate| matches(candidate, user)) {
                if !found.iter().any(|known| id_of(known) == id_of(&candidate)) {
                    found.push(candidate);
                }
            }
            // A server that returns endless users for one name must not keep the operator reading.
            let alone = |one: &Value| match user {
                UserRef::Id(_) => true,
                UserRef::Email(address) => account.is_some_and(|account| account.is_of(one, address)),
                UserRef::Username(_) => false,
            };
            let settled = found.len() > 1 || found.first().is_some_and(alone);
            if settled || none || !more.unwrap_or(full) {
                return Ok((found, page));
            }
        }
        Err(Why::new(format!("the directory's list of users did not end after {MAX_PAGES} pages.")))
    }

    /// When `mode` of the user was last changed.
    pub(super) fn changed(&self, user: &Value, mode: Mode) -> Result<Seen<Timestamp>, Why> {
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

    /// The user as the core needs it. `account`: an account that may be the user's.
    async fn user(&self, value: &Value, account: Option<Account>, mode: Mode) -> Result<User, Why> {
        let text =
            |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let id = id_of(value).ok_or_else(|| unreadable("user_id"))?;
        let zuid = zuid_of(value)?;
        let primary = text("primary_email");
        let user_name = text("user_name");
        let name = primary.as_ref().or(user_name.as_ref()).unwrap_or(&id).clone();
        let known_as = UserId::new(id, &name);
        // A text that is not a valid address is not matched with rules, not sent to the directory, and gets no mail.
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
        let Account { administrator, mfa_on, .. } = match account {
            Some(account) if account.zuid.as_ref() == Some(&zuid) => account,
            _ => self.account(&zuid).await?,
        };
        Ok(User {
            display_name: display_name(
                ["first_name", "last_name"].map(|field| value.get(field).and_then(Value::as_str).unwrap_or_default()),
            ),
            groups: if self.groups { Seen::Known(self.groups_of(&known_as.id).await?) } else { Seen::Unread },
            aliases: addresses(value).chain(primary).chain(user_name).filter(|alias| *alias != known_as.name).collect(),
            confirmed: text("user_type").as_deref() == Some("confirmed"),
            active: text("user_status").as_deref() == Some("active"),
            federated: value.get("is_federated").and_then(Value::as_bool).unwrap_or(false),
            // The account that granted the refresh token may reset other users, so it is an administrator.
            operator: match administrator {
                Seen::Known(false) => Seen::Known(false),
                _ => Seen::Unknown(Why::new("the directory does not show whose token the operator uses.")),
            },
            administrator,
            changed_at: self.changed(value, mode)?,
            lacks: std::collections::BTreeMap::new(),
            why_ineligible: None,
            factors: Seen::Unread,
            // A template may do anything.
            mfa_on: if mode == Mode::MFA && self.reset_mfa.is_none() { mfa_on } else { Seen::Unread },
            must_change: Seen::Unread,
            condition: None,
            handle: [("zuid".to_owned(), zuid)].into(),
            email,
            id: known_as,
        })
    }

    /// The user's account in Zoho Mail's administration. Its fields are unknown if Mail shows no such account.
    pub(super) async fn account(&self, zuid: &str) -> Result<Account, Why> {
        let path = format!("/api/organization/{}/accounts/{zuid}", self.zoid);
        let answer = self.get(&path).await?;
        if answer.status() == 404 {
            let why = Why::new(format!(
                "organization {} of Zoho Mail's administration shows no account of the user: either there is none, or \
                 spec.provider.zoho.zoid is wrong.",
                self.zoid
            ));
            let (zuid, confirmed) = (None, Vec::new());
            return Ok(Account {
                zuid,
                confirmed,
                administrator: Seen::Unknown(why.clone()),
                mfa_on: Seen::Unknown(why),
            });
        }
        Ok(account_of(&answer.into_read(ACCOUNT)?))
    }

    /// The account of an address, if Zoho Mail's administration shows one. It need not: Directory's list is sufficient.
    async fn account_at(&self, address: &str) -> Result<Option<Account>, Why> {
        if !text::is_word(address) || !address.contains('@') {
            return Ok(None);
        }
        let address: String = url::form_urlencoded::byte_serialize(address.as_bytes()).collect();
        let path = format!("/api/organization/{}/accounts/{address}", self.zoid);
        match self.get(&path).await?.into_read(ACCOUNT) {
            Ok(body) => Ok(Some(account_of(&body))),
            // A throttle counts for all requests.
            Err(why) if why.not_before.is_some() => Err(why),
            Err(_) => Ok(None),
        }
    }

    /// Names of the groups that the user is in.
    async fn groups_of(&self, id: &str) -> Result<Vec<String>, Why> {
        let mut all = Vec::new();
        for page in 1..=MAX_PAGES {
            let path = format!(
                "/directory/api/v2/orgs/{}/users/{id}/groups?page={page}&per_page={PER_PAGE}",
                self.organization
            );
            let answer = self.get(&path).await?;
            let (groups, more) = list(answer, "groups")?;
            let (none, full) = (groups.is_empty(), groups.len() == PER_PAGE);
            for group in &groups {
                // A group that is not shown might be the one that protects the user.
                let name = group.get("group_name").and_then(Value::as_str);
                let name = name.filter(|name| (1..=MAX_GROUP_NAME).contains(&name.len())).ok_or_else(|| {
                    Why::new("the directory shows a group of the user without a name, or with one without end.")
                })?;
                all.push(name.to_owned());
            }
            if all.len() > MAX_GROUPS {
                return Err(Why::new(format!("the directory shows the user in more than {MAX_GROUPS} groups.")));
            }
            if none || !more.unwrap_or(full) {
                return Ok(all);
            }
        }
        Err(Why::new(format!("the directory's list of the user's groups did not end after {MAX_PAGES} pages.")))
    }
}

/// The users of one page, and whether the page says that more follow.
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

/// Whether `user` has the id, address or name that the request names.
fn matches(user: &Value, typed: &UserRef) -> bool {
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

fn emails(user: &Value) -> impl Iterator<Item = &Value> {
    user.get("emails").and_then(Value::as_array).into_iter().flatten()
}

fn addresses(user: &Value) -> impl Iterator<Item = String> + '_ {
    emails(user).filter_map(|email| email.get("email_id")?.as_str()).map(str::to_owned)
}

/// What [`Zoho::account`] reads, for messages.
const ACCOUNT: &str = "the look-up of the user's account in Zoho Mail";

impl Account {
    /// Whether no other user than `user` can have the address: see [`Zoho::find`].
    fn is_of(&self, user: &Value, address: &str) -> bool {
        let is = |shown: &str| shown.to_lowercase() == address.to_lowercase();
        let primary = user.get("primary_email").and_then(Value::as_str).is_some_and(is);
        let verified = emails(user)
            .filter(|email| email.get("is_verified").and_then(Value::as_bool) == Some(true))
            .any(|email| email.get("email_id").and_then(Value::as_str).is_some_and(is));
        let same = self.zuid.is_some() && self.zuid == digits(user.get("zuid"));
        same && (primary || verified) && self.confirmed.contains(&address.to_lowercase())
    }
}

fn account_of(body: &Value) -> Account {
    let shown = |field: &str| body.pointer("/data").and_then(|account| account.get(field));
    let custom = shown("isCustomAdmin").and_then(Value::as_bool) == Some(true);
    let administrator = match shown("role").and_then(Value::as_str) {
        Some("super_admin" | "admin") => Seen::Known(true),
        Some("member") => Seen::Known(custom),
        _ => Seen::Unknown(Why::new("the user's role in Zoho Mail's administration is not one that is known.")),
    };
    let mfa_on = match shown("tfaEnabled").and_then(Value::as_bool) {
        Some(on) => Seen::Known(on),
        None => Seen::Unknown(Why::new("Zoho Mail's administration does not show whether MFA is on.")),
    };
    let addresses = shown("emailAddress").and_then(Value::as_array).into_iter().flatten();
    let confirmed = addresses
        .filter(|address| address.get("isConfirmed").and_then(Value::as_bool) == Some(true))
        .filter_map(|address| Some(address.get("mailId")?.as_str()?.to_lowercase()))
        .collect();
    Account { zuid: digits(shown("zuid")), confirmed, administrator, mfa_on }
}

pub(super) fn zuid_of(user: &Value) -> Result<String, Why> {
    digits(user.get("zuid")).ok_or_else(|| unreadable("zuid"))
}

fn unreadable(field: &str) -> Why {
    Why::new(format!("the directory shows the user with an unreadable {field}."))
}

/// The user's id: 64 bit, sent as number or text.
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

/// The time of the last change: milliseconds since 1970, as number or text, or RFC 3339; null: never. A missing field is unknown. `None`:
/// it cannot be parsed.
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
