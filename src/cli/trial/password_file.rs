//! A file with the new password, for the person who signs in with it. Only that user may read it, and it is removed with the program.
use std::{
    env, fs,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

/// A file with a password. Removed when dropped.
#[derive(Debug)]
pub(super) struct PasswordFile(PathBuf);

impl PasswordFile {
    /// Creates the file in `XDG_RUNTIME_DIR`, which is in memory, if there is one; else in the temporary folder.
    pub(super) fn new(password: &SecretString) -> io::Result<Self> {
        let folder = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
        let path = folder.unwrap_or_else(env::temp_dir).join(format!("credreset-try-{:016x}", rand::random::<u64>()));
        // create_new does not follow a link that another user has put there.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let written = Self(path);
        file.write_all(password.expose_secret().as_bytes())?;
        file.write_all(b"\n")?;
        Ok(written)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
