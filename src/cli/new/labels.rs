//! Labels on the command line, as the API server accepts them.

/// Parses `KEY=VALUE`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, label_value) = text.split_once('=').ok_or("not KEY=VALUE, such as team=sales")?;
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if name.is_empty() || !is_value(name) || prefix.is_some_and(|prefix| !crate::core::text::is_object_name(prefix)) {
        return Err("its key is not one such as team or zylker.biz/team".to_owned());
    }
    Ok((key.to_owned(), value(label_value)?))
}

/// Parses the value of a label, which is also the name of a folder.
///
/// # Errors
/// What is wrong with it.
pub(super) fn value(text: &str) -> Result<String, String> {
    if !text.is_empty() && is_value(text) {
        Ok(text.to_owned())
    } else {
        Err("not a name such as inc-88: at most 63 letters, digits, '-', '_' and '.', the first and the last a letter or digit".to_owned())
    }
}

fn is_value(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && ends(text.chars().next())
        && ends(text.chars().next_back())
}
