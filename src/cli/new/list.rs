//! Reads users from a CSV file as people and spreadsheets write it.
use std::{collections::HashMap, fs, io::Read, path::Path};

use anyhow::{Context, bail};

use crate::core::text::{MESSAGE, NAME, printable};

/// Users in a CSV file: more than an incident has, and few enough to review.
const MAX_USERS: usize = 10_000;
/// Bytes of a CSV file: more than a list of that many users has.
const MAX_BYTES: u64 = 32 << 20;
/// What spreadsheets put between columns: a semicolon where the comma is a decimal point.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// A user in a file.
pub(super) struct Listed {
    pub user: String,
    /// The line in the file, counted from 1.
    pub line: u64,
}

/// The users in the column of that name, of a file or of standard input (`-`).
///
/// # Errors
/// If it cannot be read, has no such column, or a line has no user.
pub(super) fn read(file: &Path, column: &str) -> anyhow::Result<Vec<Listed>> {
    let name = printable(&file.display().to_string(), MESSAGE);
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(fs::File::open(file).with_context(|| format!("{name} cannot be read"))?)
    };
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("{name} cannot be read"))?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{name} is larger than {} MiB: split it", MAX_BYTES >> 20);
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        bail!("{name} is UTF-16 text: save it as CSV in UTF-8");
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let (delimiter, column) = find(bytes, column).map_err(|wrong| anyhow::anyhow!("{name} {wrong}"))?;
    let mut users = Vec::new();
    let mut lines = Lines { text: bytes, at: 0, line: 1 };
    for record in reader(bytes, delimiter).byte_records() {
        let record = record.with_context(|| format!("{name} is not a CSV file"))?;
        let line = lines.of(record.position().map_or(0, csv::Position::byte));
        // The other columns may be in whatever a spreadsheet has written.
        let user = std::str::from_utf8(record.get(column).unwrap_or_default());
        match user {
            Ok("") => bail!("{name}: line {line} has no user"),
            Ok(user) => users.push(Listed { user: user.to_owned(), line }),
            Err(_) => bail!("{name}: the user in line {line} is not UTF-8 text: save the file as CSV in UTF-8"),
        }
        if users.len() > MAX_USERS {
            bail!("{name} has more than {MAX_USERS} users: split it");
        }
    }
    if users.is_empty() {
        bail!("{name} has no users");
    }
    Ok(users)
}

/// Counts lines. The reader counts the empty ones before a record as the record's.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the first character at or after `start`; each start comes after the one before.
    fn of(&mut self, start: u64) -> u64 {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        while let Some(byte) = self.text.get(self.at).filter(|byte| self.at < start || is_end(byte)) {
            self.line += u64::from(*byte == b'\n');
            self.at += 1;
        }
        self.line
    }
}

fn reader(bytes: &[u8], delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).from_reader(bytes)
}

/// The delimiter, and the number of the column of that name, in any case.
///
/// # Errors
/// What is wrong with the first line; completes "FILE ...".
fn find(bytes: &[u8], column: &str) -> Result<(u8, usize), String> {
    let asked = printable(column, NAME);
    let mut longest: Vec<String> = Vec::new();
    for delimiter in DELIMITERS {
        let mut reader = reader(bytes, delimiter);
        let header = reader.byte_headers().map_err(|_| "is not a CSV file".to_owned())?;
        let names: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let places = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
            names.iter().enumerate().filter(|(_, name)| same(name)).map(|(place, _)| place).collect()
        };
        let exact = places(&|name| name == column);
        let found = if exact.is_empty() { places(&|name| name.eq_ignore_ascii_case(column)) } else { exact };
        match found[..] {
            [place] => return Ok((delimiter, place)),
            [_, ..] => return Err(format!("has two columns named {asked} in its first line")),
            [] if names.len() > longest.len() => longest = names,
            [] => {}
        }
    }
    let there: Vec<String> = longest.iter().filter(|name| !name.is_empty()).map(|name| printable(name, 60)).collect();
    let there = if there.is_empty() { "which is empty".to_owned() } else { format!("which has: {}", there.join(", ")) };
    Err(format!("has no column named {asked} in its first line, {there} (--column names another one)"))
}

/// The users, each once: those of the command line, then those of the file. The note says which lines of the file name a user again.
pub(super) fn each_once(typed: Vec<String>, listed: Vec<Listed>) -> (Vec<String>, Option<String>) {
    /// Users that the note names.
    const NAMED: usize = 5;
    let mut places: HashMap<String, Vec<Option<u64>>> = HashMap::new();
    let mut users = Vec::new();
    let all =
        typed.into_iter().map(|user| (user, None)).chain(listed.into_iter().map(|one| (one.user, Some(one.line))));
    for (user, line) in all {
        let places = places.entry(user.to_lowercase()).or_default();
        if places.is_empty() {
            users.push(user);
        }
        places.push(line);
    }
    let again: Vec<String> = users
        .iter()
        .filter_map(|user| {
            let places = places.get(&user.to_lowercase()).filter(|places| places.len() > 1)?;
            let lines: Vec<String> = places.iter().flatten().map(u64::to_string).collect();
            let word = if lines.len() == 1 { "line" } else { "lines" };
            Some(format!("{} ({word} {})", printable(user, NAME), lines.join(", ")))
        })
        .collect();
    let note = (!again.is_empty()).then(|| {
        let more = if again.len() > NAMED { format!(" and {} more", again.len() - NAMED) } else { String::new() };
        let named = again[..again.len().min(NAMED)].join(", ");
        format!("named more than once, and written once: {named}{more}")
    });
    (users, note)
}
