//! Passwords sealed for recipients: files in the format of age (age-encryption.org/v1, specified at github.com/C2SP/C2SP/blob/main/age.md),
//! which the command `age` opens, too.
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    path::Path,
};

use age::{
    Decryptor, Encryptor, Identity, Recipient,
    armor::{ArmoredReader, ArmoredWriter, Format},
    cli_common::{StdinGuard, read_identities},
    ssh, x25519,
};
use bech32::FromBase32;
use curve25519_dalek::MontgomeryPoint;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};

/// The public key of somebody who can open a sealed password: of age (`age1...`), or a line of an SSH public key file.
///
/// # Errors
/// A fragment that follows the name of the field.
pub fn recipient(text: &str) -> Result<Box<dyn Recipient + Send>, &'static str> {
    if text.starts_with("age1") {
        return match text.parse::<x25519::Recipient>() {
            Ok(_) if is_weak(text) => Err(WEAK),
            Ok(recipient) => Ok(Box::new(recipient)),
            Err(_) => Err("is not a valid age recipient: copy the line \"public key\" of age-keygen's output again"),
        };
    }
    match text.parse::<ssh::Recipient>() {
        Ok(ssh::Recipient::SshEd25519(_, point)) if point.is_small_order() => Err(WEAK),
        Ok(recipient) => Ok(Box::new(recipient)),
        Err(ssh::ParseRecipientKeyError::RsaModulusTooSmall) => {
            Err("is an RSA key of less than 2048 bits, which can be broken")
        }
        Err(ssh::ParseRecipientKeyError::RsaModulusTooLarge) => {
            Err("is an RSA key of more than 4096 bits, which age does not support")
        }
        Err(_) => Err("is neither an age recipient (age1...) nor a valid ssh-ed25519 or ssh-rsa public key"),
    }
}

const WEAK: &str = "is a key of which everybody knows the private key (a point of small order)";

/// Whether an age recipient is a point of small order: its secret with any other key is zero. Such a key is nobody's.
fn is_weak(recipient: &str) -> bool {
    let point = bech32::decode(recipient).ok().and_then(|(_, data, _)| Vec::<u8>::from_base32(&data).ok());
    let point = point.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    // A clamped scalar is a multiple of the orders in question.
    point.is_none_or(|bytes| MontgomeryPoint(bytes).mul_clamped([1; 32]).0 == [0; 32])
}

/// Checks that these are recipients, each another one.
///
/// # Errors
/// The number of the wrong one, from 0, and a fragment that follows the name of its field.
pub fn check(recipients: &[String]) -> Result<(), (usize, &'static str)> {
    let mut known = BTreeSet::new();
    for (number, text) in recipients.iter().enumerate() {
        recipient(text).map_err(|wrong| (number, wrong))?;
        // Without a comment, which may differ.
        if !known.insert(text.split_whitespace().take(2).collect::<Vec<_>>()) {
            return Err((number, "is there twice"));
        }
    }
    Ok(())
}

/// Why a password could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recipient that is not one.
    #[error("a recipient {0}")]
    Recipient(&'static str),
    /// `age` could not encrypt.
    #[error("the password could not be sealed: {0}")]
    Encrypt(#[from] age::EncryptError),
    /// `age` could not write.
    #[error("the password could not be sealed: {0}")]
    Write(#[from] std::io::Error),
}

/// The password, encrypted for each of these recipients, as text (PEM-like "armor").
///
/// # Errors
/// If there is no recipient, or one is not valid.
pub fn seal(password: &SecretString, recipients: &[String]) -> Result<String, Error> {
    let recipients =
        recipients.iter().map(|one| recipient(one)).collect::<Result<Vec<_>, _>>().map_err(Error::Recipient)?;
    let encryptor = Encryptor::with_recipients(recipients.iter().map(|one| one.as_ref() as &dyn Recipient))?;
    let mut sealed = Vec::new();
    let mut writer = encryptor.wrap_output(ArmoredWriter::wrap_output(&mut sealed, Format::AsciiArmor)?)?;
    writer.write_all(password.expose_secret().as_bytes())?;
    writer.finish()?.finish()?;
    Ok(String::from_utf8_lossy(&sealed).into_owned())
}

/// The private keys in a file: those of `age-keygen` or an SSH private key. A passphrase that protects them is asked for on the terminal.
///
/// # Errors
/// A sentence that names the file.
pub fn identities(file: &Path) -> Result<Vec<Box<dyn Identity>>, String> {
    let name = file.to_string_lossy().into_owned();
    let read = read_identities(vec![name], None, &mut StdinGuard::new(false));
    read.map_err(|error| format!("{} has no usable private key: {error}", file.display()))
}

/// Opens a sealed password.
///
/// # Errors
/// A fragment that follows the name of what is sealed.
pub fn open(sealed: &str, identities: &[Box<dyn Identity>]) -> Result<SecretString, String> {
    let unreadable = |error: &dyn std::fmt::Display| format!("is not a sealed password that can be read: {error}");
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(sealed.as_bytes())).map_err(|e| unreadable(&e))?;
    let mut reader = match decryptor.decrypt(identities.iter().map(AsRef::as_ref)) {
        Ok(reader) => reader.take(MAX_SEALED),
        Err(age::DecryptError::NoMatchingKeys) => {
            return Err("is sealed for others: none of these private keys opens it".to_owned());
        }
        Err(error) => return Err(unreadable(&error)),
    };
    let mut text = Zeroizing::new(String::new());
    reader.read_to_string(&mut text).map_err(|e| unreadable(&e))?;
    Ok(SecretString::from(text.as_str()))
}

/// No password is as long, in bytes.
const MAX_SEALED: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> (Vec<Box<dyn Identity>>, String) {
        let identity = x25519::Identity::generate();
        let public = identity.to_public().to_string();
        (vec![Box::new(identity)], public)
    }

    #[test]
    fn each_recipient_opens_it_and_no_one_else() {
        let [(one, of_one), (other, of_other), (stranger, _)] = std::array::from_fn(|_| identity());
        let password = SecretString::from("Corréct horse \u{1f40e}");
        let sealed = seal(&password, &[of_one, of_other]).unwrap();
        assert!(sealed.is_ascii() && sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{sealed}");
        for identity in [&one, &other] {
            assert_eq!(open(&sealed, identity).unwrap().expose_secret(), password.expose_secret());
        }
        assert!(open(&sealed, &stranger).unwrap_err().contains("none of these private keys"));
    }

    #[test]
    fn damage_is_named() {
        let (identity, public) = identity();
        let sealed = seal(&SecretString::from("Correct horse"), &[public]).unwrap();
        let body = sealed.lines().nth(1).unwrap();
        let swapped = body.chars().rev().collect::<String>();
        for damaged in [
            String::new(),
            "Correct horse".to_owned(),
            sealed.replace(body, &swapped),
            sealed[..sealed.len() - 60].to_owned(),
        ] {
            let why = open(&damaged, &identity).unwrap_err();
            assert!(why.contains("is not a sealed password that can be read"), "{why}");
        }
    }

    /// Nothing is sealed for fewer than were named.
    #[test]
    fn what_is_no_key_is_refused() {
        let (_, public) = identity();
        let mistyped = public.replace(&public[20..24], "qqqq");
        for (text, says) in [
            (mistyped.as_str(), "not a valid age recipient"),
            ("age1yubikey1qwerty", "not a valid age recipient"),
            // Points of small order: age panics at the first, and whoever reads the Secret opens what is sealed for the second.
            ("age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z", "everybody knows"),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "everybody knows"),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "is neither"),
            ("ssh-dss AAAAB3NzaC1kc3MAAACBAP", "is neither"),
            ("hana@acme.example", "is neither"),
            ("", "is neither"),
        ] {
            let why = recipient(text).err().unwrap();
            assert!(why.contains(says), "{text}: {why}");
            assert!(seal(&SecretString::from("Correct horse"), &[public.clone(), text.to_owned()]).is_err());
        }
        assert!(seal(&SecretString::from("Correct horse"), &[]).is_err());
    }
}
