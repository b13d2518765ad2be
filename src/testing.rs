//! Hostile texts for property tests, as an attacker might send them. The tests in `tests/` include this file by its path.
use proptest::{collection::vec, prelude::*, sample::select};

/// Texts that break lines, headers, addresses, JSON, templates, terminals and pages.
pub const PIECES: [&str; 36] = [
    "\r\nX-Injected: yes",
    "\r\n\r\n<html>",
    "\n.\r\nMAIL FROM:<evil@evil.example>\r\n",
    "\nBcc: evil@evil.example",
    "\0",
    "\u{1b}[2J",
    "\u{1b}]0;owned\u{7}",
    "\u{1b}]8;;http://evil.example\u{1b}\\click\u{1b}]8;;\u{1b}\\",
    "\u{9b}31m",
    "\u{8}\u{8}\u{7f}",
    "\u{85}",
    "\u{2028}level=error",
    "\u{202e}zib.reklyz",
    "\u{2066}",
    "\u{200b}",
    "\u{200f}",
    "\u{feff}",
    "\u{e0041}",
    "/../../..",
    "/%2e%2e/%2F",
    "?dryRun=All&x=",
    "#fragment",
    "%0d%0aX-Injected:%20yes",
    "\\",
    "\"",
    "\",\"role\":\"admin\",\"x\":\"",
    "\"}\n{\"level\":\"ERROR\",\"message\":\"forged\"}",
    "${password}",
    "${adminPassword}",
    "${user.id",
    "$(id)`id`{{7*7}}%s%n",
    "<script>alert(1)</script>",
    "' OR 1=1 --",
    "@zylker.biz,<evil@evil.example>",
    "日本語 e\u{301} 👩‍👩‍👧",
    " ",
];

/// [`PIECES`] mixed with any characters; in one of ten cases a piece repeated to 64 KB.
pub fn hostile() -> impl Strategy<Value = String> {
    let piece =
        || prop_oneof![3 => select(&PIECES[..]).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)];
    prop_oneof![
        8 => vec(prop_oneof![3 => piece(), 1 => "[a-z0-9.@-]{1,12}"], 1..8).prop_map(|all| all.concat()),
        1 => piece().prop_map(|piece| piece.repeat(65536 / piece.len())),
        1 => ("[a-z]{1,8}", piece()).prop_map(|(name, piece)| format!("{name}@zylker.biz{piece}")),
    ]
}

/// The first invisible character of `text`: a control character of Unicode, one that changes the
/// writing direction (UAX #9), a line separator, or one without a width.
pub fn unseen(text: &str) -> Option<char> {
    let turning = "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
    let without_width = "\u{2028}\u{2029}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}\u{e0041}";
    text.chars().find(|c| c.is_control() || turning.contains(*c) || without_width.contains(*c))
}
