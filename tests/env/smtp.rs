//! Starts tests/env/smtp.py, with `aiosmtpd` from `PyPI` in a virtual environment of its own.
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

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
        let mut child = Command::new(python())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/env/smtp.py"))
            .arg(&mails)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("the mail server said {line:?}"));
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

/// A Python that has aiosmtpd. It is installed once; tests that come at the same time wait for each other.
fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|v| !v.is_empty())
        .map_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache"), PathBuf::from);
    let folder = cache.join("credreset");
    fs::create_dir_all(&folder).unwrap();
    let script = "set -e; exec 9>\"$1/.smtp.lock\"; flock 9; [ -e \"$1/smtp/ready\" ] || { rm -rf \"$1/smtp\"; \
                  python3 -m venv \"$1/smtp\"; \"$1/smtp/bin/pip\" install --quiet --disable-pip-version-check aiosmtpd==1.4.6; touch \"$1/smtp/ready\"; }";
    let installed =
        Command::new("bash").args(["-c", script, "bash"]).arg(&folder).stdout(Stdio::null()).status().unwrap();
    assert!(installed.success(), "aiosmtpd could not be installed: python3 -m venv, pip install aiosmtpd");
    folder.join("smtp/bin/python")
}
