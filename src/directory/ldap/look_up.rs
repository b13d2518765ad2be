//! What the look-ups of users share.
use ldap3::SearchEntry;

use super::entry::values;
use crate::core::{
    seen::Why,
    user::{LookUp, User},
};

/// The result of a look-up that found `entries`. If there is only one, `user` reads it.
///
/// # Errors
/// Why `user` could not read it.
pub async fn only_user(
    entries: Vec<SearchEntry>,
    user: impl AsyncFnOnce(&SearchEntry) -> Result<User, Why>,
) -> Result<Option<LookUp>, Why> {
    match entries.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(LookUp::One(Box::new(user(one).await?)))),
        several => Ok(Some(LookUp::Several(several.len()))),
    }
}

/// Whether `typed` is a value of this attribute, without regard to case. The server's matching rules may be more lenient.
#[must_use]
pub fn has_value(entry: &SearchEntry, attribute: &str, typed: &str) -> bool {
    let typed = typed.to_lowercase();
    values(entry, attribute).any(|known| known.to_lowercase() == typed)
}

/// The user lacks an attribute that the look-up needs, or the operator's account may not read it.
#[must_use]
pub fn unreadable(attribute: &str) -> Why {
    Why::new(format!("the directory shows the user without a readable {attribute}."))
}
