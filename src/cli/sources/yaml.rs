//! A subset of YAML that all parsers read alike. Clients of the API server parse YAML 1.1, with several libraries. A document that they
//! and YAML 1.2 read differently, or that one of them ignores, is refused, so that the request that is created is the one that was
//! reviewed.
use std::borrow::Cow;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, options};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::core::text::{NAME, is_hidden, printable};

/// Levels of nesting; no request has as many.
const MAX_DEPTH: usize = 64;
/// All parsers take `--- # a comment` for the start of a document; kubectl does not take `--- {}` for one.
const SEPARATOR: &str = "---";

/// Why a text is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is not YAML; completes "... is not YAML: ".
    Broken(String),
    /// It is YAML that parsers read differently: the line, counted from 1, and what it has.
    Ambiguous(usize, String),
}

/// The documents of a YAML or JSON text, without empty ones.
///
/// # Errors
/// If it is not YAML, or parsers would differ.
pub fn documents(text: &str) -> Result<Vec<Value>, Unread> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    check_lines(text)?;
    let options = options! {emit_comments: false, strict_indentation: true, block_scalar_eof_without_line_feed: true};
    let mut reader = Reader { events: Parser::new_from_str_with_options(text, options), text };
    let mut documents: Vec<Value> = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents.into_iter().filter(|document| !document.is_null()).collect()),
            (Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd, _) => {}
            (event, span) => documents.push(reader.node(event, span, 0)?),
        }
    }
}

/// Refuses characters and marks that end a line or a document for one parser but not for another.
fn check_lines(text: &str) -> Result<(), Unread> {
    // In JSON every parser takes a tab for white space.
    let json = text.contains('\t') && serde_json::from_str::<IgnoredAny>(text).is_ok();
    for (number, line) in (1..).zip(text.split('\n')) {
        let refuse = |what: String| Err(Unread::Ambiguous(number, what));
        let line = line.strip_suffix('\r').unwrap_or(line);
        if let Some(c) = line.chars().find(|&c| is_hidden(c) && c != '\t') {
            return refuse(format!(
                "the hidden character {}, which ends a line for some parsers or makes the text look different",
                c.escape_unicode()
            ));
        }
        if line.contains('\t') && !json {
            return refuse("a tab: use blanks".to_owned());
        }
        if let Some(mark) = ["%", "..."].into_iter().find(|mark| line.starts_with(mark)) {
            return refuse(format!("a line that begins with {mark}: remove it, and separate documents with --- alone"));
        }
        let rest = line.strip_prefix(SEPARATOR).map(|rest| rest.trim_start_matches(' '));
        if rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('#')) {
            return refuse("text after ---: put it on a line of its own".to_owned());
        }
    }
    Ok(())
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    text: &'a str,
}

impl<'a> Reader<'a> {
    /// The next event, and where it is.
    fn next(&mut self) -> Result<(Event<'a>, Span), Unread> {
        let next = self.events.next().unwrap_or_else(|| Ok((Event::StreamEnd, Span::default())));
        next.map_err(|error| {
            Unread::Broken(printable(&format!("line {}: {}", error.marker().line(), error.info()), NAME))
        })
    }

    fn node(&mut self, event: Event<'a>, at: Span, depth: usize) -> Result<Value, Unread> {
        let refuse = |what: &str| Err(Unread::Ambiguous(at.start.line(), what.to_owned()));
        if depth > MAX_DEPTH {
            return refuse("more than 64 levels");
        }
        match event {
            Event::Alias(_) => refuse("an alias (*): repeat the value"),
            Event::Scalar(_, _, 1.., _) | Event::SequenceStart(_, 1.., _) | Event::MappingStart(_, 1.., _) => {
                refuse("an anchor (&): repeat the value")
            }
            Event::Scalar(.., Some(_)) | Event::SequenceStart(.., Some(_)) | Event::MappingStart(.., Some(_)) => {
                refuse("a tag (!): remove it")
            }
            Event::Scalar(text, style, ..) => self.scalar(text, style, &at),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                        (event, at) => items.push(self.node(event, at, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut fields = Map::new();
                loop {
                    let (key, at) = match self.next()? {
                        (Event::MappingEnd, _) => return Ok(Value::Object(fields)),
                        (event, at) => (self.node(event, at, depth + 1)?, at),
                    };
                    let line = at.start.line();
                    let refuse = |what: String| Err(Unread::Ambiguous(line, what));
                    let Value::String(key) = key else {
                        return refuse("a key that is not a string: put it in quotes".to_owned());
                    };
                    let rest = at.end.byte_offset().and_then(|end| self.text.get(end..)).unwrap_or_default();
                    if at.end.line() != line || !rest.trim_start_matches([' ', '\t']).starts_with(':') {
                        return refuse(format!("{} without a colon after it in the same line", printable(&key, NAME)));
                    }
                    let (event, at) = self.next()?;
                    let value = self.node(event, at, depth + 1)?;
                    if fields.contains_key(&key) {
                        return refuse(format!("{} for the second time: remove one", printable(&key, NAME)));
                    }
                    fields.insert(key, value);
                }
            }
            _ => refuse("something that is not a value"),
        }
    }

    fn scalar(&self, text: Cow<str>, style: ScalarStyle, at: &Span) -> Result<Value, Unread> {
        let refuse = |what: String| Err(Unread::Ambiguous(at.start.line(), what));
        if let Some(c) = text.chars().find(|&c| is_hidden(c) && c != '\n' && c != '\t') {
            return refuse(format!("an escape for the hidden character {}: remove it", c.escape_unicode()));
        }
        match style {
            ScalarStyle::Plain => {
                let refused =
                    || refuse(format!("{}, which parsers read differently: put it in quotes", printable(&text, NAME)));
                plain(&text).map_or_else(refused, Ok)
            }
            ScalarStyle::DoubleQuoted if at.slice(self.text).is_none_or(has_escape_of_json) => refuse(
                "an escape (\\/, or \\ud800 to \\udfff) that only JSON has: write the character itself".to_owned(),
            ),
            ScalarStyle::Literal | ScalarStyle::Folded if !self.text.ends_with('\n') => {
                refuse("a block of text (| or >) in a file that does not end with a newline: add one".to_owned())
            }
            ScalarStyle::Literal | ScalarStyle::Folded if text.ends_with("\n\n") => {
                refuse("a block of text (|+ or >+) with empty lines at its end: remove them and the +".to_owned())
            }
            _ => Ok(Value::String(text.into_owned())),
        }
    }
}

/// Whether the source of a text in double quotes escapes a slash, or half a character of UTF-16.
fn has_escape_of_json(source: &str) -> bool {
    let mut rest = source;
    while let Some((_, escaped)) = rest.split_once('\\') {
        let mut chars = escaped.chars();
        let (first, second) = (chars.next(), chars.next());
        if first == Some('/')
            || first == Some('u')
                && matches!(second, Some('d' | 'D'))
                && matches!(chars.next(), Some('8'..='9' | 'a'..='f' | 'A'..='F'))
        {
            return true;
        }
        rest = escaped.get(first.map_or(0, char::len_utf8)..).unwrap_or_default();
    }
    false
}

/// The value that all parsers read from an unquoted scalar: null, true, false, a decimal integer, or a string. `None`: they differ.
fn plain(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" => return Some(Value::Null),
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let decimal = (1..=18).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if decimal && text != "-0" && (digits == "0" || !digits.starts_with('0')) {
        return text.parse().ok().map(|number: i64| Value::from(number));
    }
    (!text.starts_with([':', '?']) && !is_word(text) && !is_number(text) && !is_odd_time(text))
        .then(|| Value::String(text.to_owned()))
}

/// Whether some parser takes it for a boolean, null or a merge key: words of YAML 1.1, in any case.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    ["<<", "="].contains(&text) || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether some parser takes it for a number: octal, hexadecimal, binary, with `_`, of base 60, with a point or an exponent.
fn is_number(text: &str) -> bool {
    let text: Cow<str> = if text.contains('_') { text.replace('_', "").into() } else { text.into() };
    let bare = text.strip_prefix(['+', '-']).unwrap_or(&text).to_ascii_lowercase();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let radix = |prefix: &str| {
        bare.strip_prefix(prefix).is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let (number, exponent) = bare.split_once('e').unwrap_or((&bare, "0"));
    let point_or_colon = number.bytes().any(|b| b.is_ascii_digit())
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b':');
    [".inf", ".nan"].contains(&bare.as_str())
        || ["0x", "0b", "0o"].into_iter().any(radix)
        || point_or_colon && digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
}

/// Whether some parser takes it for a time and writes it back in another form: every form but `2026-11-24T09:00:00Z`.
fn is_odd_time(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| text.get(range).is_some_and(|d| d.bytes().all(|b| b.is_ascii_digit()));
    let usual = text.len() == 20
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')]
            .iter()
            .all(|&(at, b)| text.as_bytes()[at] == b);
    digits(0..4)
        && text[4..].starts_with('-')
        && text.chars().all(|c| c.is_ascii_digit() || "-:.+ TtZz".contains(c))
        && !usual
}
