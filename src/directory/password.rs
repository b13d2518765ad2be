//! Passwords that are safe to read over the telephone and that most policies accept.
use rand::{TryRng, rngs::SysRng};
use secrecy::{SecretString, zeroize::Zeroizing};

use crate::core::request::{Kinds, LONGEST};

/// Lower case, upper case, digits, punctuation; without what looks alike (0 O o, 1 l I |) and what does not survive quoting or
/// copying. 68 characters: 20 of them hold 121 bits.
const CLASSES: [&[u8]; 4] = [b"abcdefghijkmnpqrstuvwxyz", b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"23456789", b"!#%*+-:=?@_~"];

/// None that is drawn is shorter.
const SHORTEST: u8 = 8;
/// Some wishes leave no password that keeps the rules, such as eleven of twelve characters to be the same.
const TRIES: usize = 1000;

/// The operating system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random numbers")]
pub struct Error;

/// Draws a password of `length` characters, taken as 8 to 128.
///
/// So many of each kind as are asked for are drawn from that kind, the others from all characters alike; then they are shuffled. A draw
/// that breaks a rule is thrown away whole, up to 1000 times; the last one is taken as it is, since some wishes leave none that keeps the rules: it starts with a letter, so that no spreadsheet or shell takes it for something else; no
/// character three times in a row and no run such as abc or 321, which some directories refuse. Characters of one kind are as likely as
/// each other.
///
/// # Errors
/// If the operating system gives no random numbers; there is no weaker source.
pub fn generate(length: u8, kinds: &Kinds) -> Result<SecretString, Error> {
    let length = usize::from(length.clamp(SHORTEST, LONGEST));
    let least = kinds.least();
    let mut classes = CLASSES;
    if let Some(from) = &kinds.punctuation_from {
        classes[3] = from.as_bytes();
    }
    let used: Vec<(&[u8], usize)> =
        classes.into_iter().zip(least.map(usize::from)).filter(|(class, n)| *n > 0 && !class.is_empty()).collect();
    let alphabet = used.iter().map(|(class, _)| *class).collect::<Vec<_>>().concat();
    let mut drawn = Zeroizing::new(Vec::with_capacity(length));
    for _ in 0..TRIES {
        drawn.clear();
        for (class, n) in &used {
            for _ in 0..*n {
                drawn.push(one_of(class)?);
            }
        }
        while drawn.len() < length {
            drawn.push(one_of(&alphabet)?);
        }
        for last in (1..drawn.len()).rev() {
            drawn.swap(below(last + 1)?, last);
        }
        drawn.truncate(length);
        if is_acceptable(&drawn) {
            break;
        }
    }
    Ok(SecretString::from(drawn.iter().copied().map(char::from).collect::<String>()))
}

fn one_of(class: &[u8]) -> Result<u8, Error> {
    Ok(class.get(below(class.len())?).copied().unwrap_or(b'x'))
}

/// A number from 0, `end` left out, each as likely as the others. `end` is 1 to 256.
fn below(end: usize) -> Result<usize, Error> {
    // The largest multiple that fits a byte: above it, a draw would favour the first numbers.
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
