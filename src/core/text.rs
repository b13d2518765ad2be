//! Texts from outside (typed by a requester, or sent by a directory or another server), made fit to be shown in messages, names, Events,
//! logs and mails. Every such text passes through [`printable`].

use icu_normalizer::ComposingNormalizerBorrowed;

/// Bytes of a name: the longest address that is possible (RFC 5321), and the longest name that a request may hold.
pub const NAME: usize = 320;
/// Bytes of a message. A condition may hold more, but a longer message is not readable.
pub const MESSAGE: usize = 4096;
/// Bytes of an Event's note: the API server refuses a longer one.
pub const NOTE: usize = 1024;
/// Stands for the part that was cut off.
const ELLIPSIS: char = '…';

/// A name of a Kubernetes object, as a pattern for definitions: it can stand in a path as it is.
pub const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// `text` with control characters, line breaks and other invisible characters escaped (`\u{1b}`), and cut to `most` bytes. A text that
/// was made printable before stays as it is.
#[must_use]
pub fn printable(text: &str, most: usize) -> String {
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
            out.push(ELLIPSIS);
            break;
        }
        if out.len() + ELLIPSIS.len_utf8() <= most {
            fits = out.len();
        }
    }
    out
}

/// Whether `c` moves the cursor, ends a line, changes the direction of writing, or is invisible.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Whether a text from outside can be used unchanged as one word, such as an address.
#[must_use]
pub fn is_word(text: &str) -> bool {
    (1..=NAME).contains(&text.len()) && !text.chars().any(|c| is_hidden(c) || c.is_whitespace())
}

/// `text` in the form in which names are compared where one match too many is better than one too few: case, the form of characters
/// (composed, full-width) and invisible characters make no difference.
#[must_use]
pub fn folded(text: &str) -> String {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc();
    let visible: String = nfkc.normalize(text).chars().filter(|c| !is_hidden(*c)).collect();
    // By way of upper case, which several lower case letters may share: ß and ss, σ and ς.
    let folded: String = visible.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
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
