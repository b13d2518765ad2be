//! Starts tests/support/servers/smtp.py, with `aiosmtpd` from `PyPI` in a virtual environment of its own.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::python::python;

/// A mail server on loopback.
pub struct Smtp {
    child: Child,
    pub port: u16,
    mails: PathBuf,
}

impl Smtp {
    /// `flags` as smtp.py takes them; mails are kept below `dir`.
    pub fn start(dir: &Path, flags: &[&str]) -> Self {
        fs::create_dir_all(dir).unwrap();
        let mails = dir.join("mails.json");
        let mut child = Command::new(python("smtp", "aiosmtpd==1.4.6"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/servers/smtp.py"))
            .arg(&mails)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the mail server printed {line:?}"));
        Self { child, port, mails }
    }

    /// The mails that were taken.
    pub fn mails(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.mails).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
