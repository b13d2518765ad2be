//! Markdown for comments on pull requests: texts of people and servers escaped, and a bound that no row is cut by.
use std::fmt::Write;

use crate::core::text::{MESSAGE, NAME, printable};

/// Bytes of a comment. GitHub takes 65,536 characters, GitLab a million.
pub(super) const MAX_BYTES: usize = 60_000;

/// A text with at most so many bytes, made of parts that are added whole or not at all.
pub(super) struct Bounded {
    text: String,
    most: usize,
    /// Bytes that only [`Self::end`] may use.
    end: usize,
}

impl Bounded {
    pub(super) fn new(most: usize, end: usize) -> Self {
        Self { text: String::new(), most, end }
    }

    /// Bytes that it can still take before the end.
    pub(super) fn room(&self) -> usize {
        self.most.saturating_sub(self.text.len() + self.end)
    }

    /// Adds `part` if it fits.
    pub(super) fn add(&mut self, part: &str) {
        if part.len() <= self.room() {
            self.text.push_str(part);
        }
    }

    /// Adds as many of the rows as fit beside `reserved` bytes, below a sentence and a head; without rows nothing. Returns their number.
    pub(super) fn table(&mut self, intro: &str, head: &[&str], rows: &[Vec<String>], reserved: usize) -> usize {
        let names: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
        let mut table = format!("{intro}\n{}|{}\n", line(&names), "---|".repeat(head.len()));
        let room = self.room().saturating_sub(reserved);
        let mut added = 0;
        for row in rows {
            let row = line(row);
            if table.len() + row.len() > room {
                break;
            }
            table.push_str(&row);
            added += 1;
        }
        if added > 0 {
            self.text.push_str(&table);
        }
        added
    }

    /// The text, with this at its end if it fits.
    pub(super) fn end(mut self, part: &str) -> String {
        self.end = 0;
        self.add(part);
        self.text
    }
}

/// A row of a table.
fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Bytes of rows in a table, with their head and a sentence before it.
pub(super) fn size(rows: &[Vec<String>]) -> usize {
    rows.iter().map(|row| line(row).len()).sum::<usize>() + 200
}

/// Escapes a text for Markdown and HTML, so that it mentions no user by `@` and no address or number becomes a link. Code hosts search the
/// rendered text for these, so escaping their characters is not enough: a zero-width space breaks them.
pub(super) fn prose(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text, MESSAGE).chars() {
        match c {
            '@' | '#' => {
                out.push(c);
                out.push_str(ZERO_WIDTH_SPACE);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // Some code hosts set what is between two of them as a formula.
            '$' => out.push_str("&#36;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    break_links(&out)
}

/// Escapes a text as code, also in a table. Markdown is active within the tags, so its characters are escaped.
pub(super) fn code(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text, NAME * 2).chars() {
        match c {
            '&' | '$' | '<' | '>' | '|' | '@' | '#' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '!' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    format!("<code>{}</code>", break_links(&out))
}

/// A zero-width space.
const ZERO_WIDTH_SPACE: &str = "&#8203;";

/// Breaks addresses that would become links.
fn break_links(text: &str) -> String {
    let mut out = text.replace("://", &format!(":{ZERO_WIDTH_SPACE}//"));
    let lower_case = out.to_ascii_lowercase();
    let found: Vec<usize> = lower_case.match_indices("www.").map(|(at, _)| at + 3).collect();
    for at in found.into_iter().rev() {
        out.insert_str(at, ZERO_WIDTH_SPACE);
    }
    out
}
