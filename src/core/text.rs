//! Texts that came from outside (typed by a requester, shown by a directory, said by a server), as they may be shown: in
//! messages, names, Events, logs and mails. Every such text passes through [`shown`].

use icu_normalizer::ComposingNormalizerBorrowed;

/// Bytes of a name: the longest address that there is (RFC 5321), as well as what a request may hold.
pub const NAME: usize = 320;
/// Bytes of a message. A condition may have more, and nobody reads that.
pub const MESSAGE: usize = 4096;
/// Bytes of an Event's note: the API server refuses a longer one.
pub const NOTE: usize = 1024;
/// Stands for what was cut off.
const MORE: char = '…';

/// A name of a Kubernetes object, as a pattern for definitions: it can stand in a path as it is.
pub const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// `text` with control characters, line breaks and whatever else would not be seen written out (`\u{1b}`), and cut to `most`
/// bytes. What was shown before stays as it is.
#[must_use]
pub fn shown(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most) + 16);
    let mut fits = 0;
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        if out.len() > most {
            out.truncate(fits);
            out.push(MORE);
            break;
        }
        if out.len() + MORE.len_utf8() <= most {
            fits = out.len();
        }
    }
    out
}

/// Moves the cursor, ends a line, turns the direction of writing, or is not seen at all.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Whether a text from outside can be used as it is where one word is meant, such as an address.
#[must_use]
pub fn is_word(text: &str) -> bool {
    (1..=NAME).contains(&text.len()) && !text.chars().any(|c| is_hidden(c) || c.is_whitespace())
}

/// `text` as names are compared where one too many is better than one too few: its case, the form of its characters (composed,
/// full-width) and what is not seen make no difference.
#[must_use]
pub fn folded(text: &str) -> String {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let seen: String = nfkc.normalize(text).chars().filter(|c| !is_hidden(*c)).collect();
    // By way of capital letters, which several small ones may share: ß and ss, σ and ς.
    let folded: String = seen.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    nfkc.normalize(folded.trim()).into_owned()
}

/// Whether `text` is a name that a Kubernetes object can have: [`OBJECT_NAME`], and not too long.
#[must_use]
pub fn is_object_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(is_part)
}
