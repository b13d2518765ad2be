//! Passwords that are safe to read over the telephone and that every policy accepts.
use rand::{TryRng, rngs::SysRng};
use secrecy::SecretString;

/// Lower case, upper case, digits, punctuation; without what looks alike (0 O o, 1 l I |) and what does not survive quoting or
/// copying. 68 characters: 20 of them hold 121 bits.
const CLASSES: [&[u8]; 4] = [b"abcdefghijkmnpqrstuvwxyz", b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"23456789", b"!#%*+-:=?@_~"];

/// The operating system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random numbers")]
pub struct Error;

/// Draws a password of `length` characters, taken as 12 to 128.
///
/// Uniform over all passwords that fulfil the rules: each character is drawn from the whole alphabet alike, and a draw that
/// breaks a rule is thrown away whole. The rules: all four classes occur; it starts with a letter, so that no spreadsheet or
/// shell takes it for something else; no character three times in a row and no run such as abc or 321, which some
/// directories refuse.
///
/// # Errors
/// If the operating system gives no random numbers; there is no weaker source.
pub fn generate(length: u8) -> Result<SecretString, Error> {
    let length = usize::from(length.clamp(12, 128));
    let alphabet = CLASSES.concat();
    let mut drawn = secrecy::zeroize::Zeroizing::new(String::with_capacity(length));
    loop {
        drawn.clear();
        while drawn.len() < length {
            // The largest multiple of the alphabet's size that fits a byte: above it, a draw would favour the first characters.
            let limit = 256 / alphabet.len() * alphabet.len();
            let byte = usize::from(random_byte()?);
            if let (true, Some(character)) = (byte < limit, alphabet.get(byte % alphabet.len())) {
                drawn.push(char::from(*character));
            }
        }
        if acceptable(drawn.as_bytes()) {
            return Ok(SecretString::from(drawn.as_str()));
        }
    }
}

fn random_byte() -> Result<u8, Error> {
    let mut byte = [0];
    SysRng.try_fill_bytes(&mut byte).map_err(|_| Error)?;
    Ok(byte[0])
}

fn acceptable(password: &[u8]) -> bool {
    let all_classes = CLASSES.iter().all(|class| password.iter().any(|c| class.contains(c)));
    let starts_with_letter = password.first().is_some_and(u8::is_ascii_alphabetic);
    let no_run = password.windows(3).all(|w| match w {
        [a, b, c] => {
            let steps = (i16::from(*b) - i16::from(*a), i16::from(*c) - i16::from(*b));
            steps.0 != steps.1 || !matches!(steps.0, -1..=1)
        }
        _ => true,
    });
    all_classes && starts_with_letter && no_run
}
