//! A person at a terminal, who reads what `credreset try` asks, and answers.
use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::folder::Folder;

/// The result of a trial: exit code, what the terminal showed, and the report.
pub struct Tried {
    pub code: Option<i32>,
    pub terminal: String,
    pub report: String,
    /// The passwords that were in the files that the terminal named.
    pub passwords: Vec<String>,
}

/// Runs `credreset try` as typed, in this folder, where it writes its report to file `report`. `answer` gets what was printed
/// since the last answer, with the question at its end, and the password in the file that it names.
pub fn at_terminal(folder: &Folder, typed: &str, mut answer: impl FnMut(&str, &str) -> String) -> Tried {
    let call = typed.replacen("credreset", &format!("'{}'", env!("CARGO_BIN_EXE_credreset")), 1);
    // `script` (util-linux) makes a terminal.
    let mut script = folder.command(Path::new("script"));
    let mut child = script
        .args(["-qec", &call, "/dev/null"])
        .env("SHELL", "/bin/bash")
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script");
    let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut terminal, mut at, mut passwords) = (Vec::new(), 0, Vec::new());
    let mut bytes = [0; 4096];
    loop {
        let read = screen.read(&mut bytes).unwrap();
        if read == 0 {
            break;
        }
        terminal.extend_from_slice(&bytes[..read]);
        let screen = String::from_utf8_lossy(&terminal[at..]).into_owned();
        if screen.ends_with("] ") || screen.ends_with(" again: ") {
            at = terminal.len();
            let password = file(&screen).map(|path| std::fs::read_to_string(path).unwrap().trim().to_owned());
            passwords.extend(password.clone());
            let answer = answer(&screen, &password.unwrap_or_default());
            // Ctrl-C needs no line.
            let line = if answer == "\u{3}" { answer } else { answer + "\n" };
            keyboard.write_all(line.as_bytes()).unwrap();
        }
    }
    let code = child.wait().unwrap().code();
    let terminal = String::from_utf8(terminal).unwrap();
    for word in terminal.split_whitespace().filter(|word| word.contains("/credreset-try-")) {
        assert!(!Path::new(word.trim_end_matches([',', '.'])).exists(), "{word} is left");
    }
    Tried { code, terminal, report: std::fs::read_to_string(folder.0.join("report")).unwrap(), passwords }
}

/// The file that a question names.
fn file(screen: &str) -> Option<PathBuf> {
    let word = screen.split_whitespace().find(|word| word.contains("/credreset-try-"))?;
    let path = PathBuf::from(word.trim_end_matches([',', '.']));
    let mode = Command::new("stat").args(["-c", "%a"]).arg(&path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&mode.stdout).trim(), "600", "{}", path.display());
    Some(path)
}

/// The answer to what each run asks: whether it is the user, and whether to go on.
pub fn agrees(screen: &str, user: &str) -> Option<String> {
    let answer = if screen.ends_with(" again: ") {
        user
    } else if screen.ends_with("all reads of this step] ") {
        "a"
    } else if screen.ends_with("[y/N] ") || screen.ends_with("[y/N/skip] ") {
        "y"
    } else {
        return None;
    };
    Some(answer.to_owned())
}

/// The findings of a trial: the verdict and, in brackets, what was seen.
pub fn findings(report: &str) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(report).unwrap_or_else(|e| panic!("{e}: {report}"));
    let schema = serde_json::to_value(schemars::schema_for!(credreset::cli::trial::Report)).unwrap();
    assert!(jsonschema::is_valid(&schema, &report), "{report:#}");
    let steps = report["steps"].as_array().unwrap();
    let all = steps.iter().flat_map(|step| step["findings"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|one| (text(&one["verdict"]), format!("{} [{}]", text(&one["expected"]), text(&one["seen"])))).collect()
}

/// Nothing that must stay secret was shown.
pub fn leaks_nothing<'a>(tried: &'a Tried, secrets: impl IntoIterator<Item = &'a str>) {
    for secret in secrets.into_iter().chain(tried.passwords.iter().map(String::as_str)).chain(["eyJhbGciOi"]) {
        assert!(!secret.is_empty());
        for (what, text) in [("terminal", &tried.terminal), ("report", &tried.report)] {
            assert!(!text.contains(secret), "a secret is in the {what}");
        }
    }
}
