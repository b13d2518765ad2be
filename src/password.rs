//! Generates passwords that can be read over the telephone and that most policies accept.
use rand::{TryRng, rngs::SysRng};
use secrecy::{SecretString, zeroize::Zeroizing};

use crate::core::request::{Kinds, MAX_PASSWORD_LENGTH};

/// Lower case, upper case, digits, punctuation, without characters that look alike (0 O o, 1 l I |) or that quoting or copying changes.
/// With these 68 characters, a password of 20 has 121 bits.
const CLASSES: [&[u8]; 4] = [b"abcdefghijkmnpqrstuvwxyz", b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"23456789", b"!#%*+-:=?@_~"];

/// Minimum length of a generated password.
const MIN_LENGTH: u8 = 8;
/// How many passwords are tried. Some requirements leave none that meets the rules, such as eleven of twelve characters from a class with
/// one character.
const TRIES: usize = 1000;

/// The operating system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random numbers")]
pub struct Error;

/// Generates a password of `length` characters, clamped to 8 to 128.
///
/// Takes the required number of characters from each class and the others from all classes, then shuffles them. A password that breaks a
/// rule is discarded as a whole, up to 1000 times; the last one is used as it is, since some requirements leave none that meets the rules.
/// The rules: a letter comes first, so that no spreadsheet or shell interprets the password; no character occurs three times in a row, and
/// no run such as abc or 321, which some directories refuse. Characters of one class are equally likely.
///
/// # Errors
/// If the operating system gives no random numbers; there is no weaker source.
pub fn generate(length: u8, kinds: &Kinds) -> Result<SecretString, Error> {
    let length = usize::from(length.clamp(MIN_LENGTH, MAX_PASSWORD_LENGTH));
    let least = kinds.least();
    let mut classes = CLASSES;
    if let Some(from) = &kinds.punctuation_from {
        classes[3] = from.as_bytes();
    }
    let used: Vec<(&[u8], usize)> =
        classes.into_iter().zip(least.map(usize::from)).filter(|(class, n)| *n > 0 && !class.is_empty()).collect();
    let alphabet = used.iter().map(|(class, _)| *class).collect::<Vec<_>>().concat();
    let mut password = Zeroizing::new(Vec::with_capacity(length));
    for _ in 0..TRIES {
        password.clear();
        for (class, n) in &used {
            for _ in 0..*n {
                password.push(one_of(class)?);
            }
        }
        while password.len() < length {
            password.push(one_of(&alphabet)?);
        }
        for last in (1..password.len()).rev() {
            password.swap(below(last + 1)?, last);
        }
        password.truncate(length);
        if is_acceptable(&password) {
            break;
        }
    }
    Ok(SecretString::from(password.iter().copied().map(char::from).collect::<String>()))
}

/// A random character of `class`.
fn one_of(class: &[u8]) -> Result<u8, Error> {
    Ok(class.get(below(class.len())?).copied().unwrap_or(b'x'))
}

/// A random number from 0 to `end`, exclusive. `end` is 1 to 256.
fn below(end: usize) -> Result<usize, Error> {
    // The largest multiple that fits a byte. Bytes above it would make the first numbers more likely.
    let end = end.clamp(1, 256);
    let limit = 256 / end * end;
    loop {
        let byte = usize::from(random_byte()?);
        if byte < limit {
            return Ok(byte % end);
        }
    }
}

fn random_byte() -> Result<u8, Error> {
    let mut byte = [0];
    SysRng.try_fill_bytes(&mut byte).map_err(|_| Error)?;
    Ok(byte[0])
}

/// Whether a password meets the rules: see [`generate`].
fn is_acceptable(password: &[u8]) -> bool {
    let starts_with_letter = password.first().is_some_and(u8::is_ascii_alphabetic);
    let no_run = password.windows(3).all(|w| match w {
        [a, b, c] => {
            let steps = (i16::from(*b) - i16::from(*a), i16::from(*c) - i16::from(*b));
            steps.0 != steps.1 || !matches!(steps.0, -1..=1)
        }
        _ => true,
    });
    starts_with_letter && no_run
}
