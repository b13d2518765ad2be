//! `credreset check` on Directories in files.
use credreset::cli;
use serde_json::{Value, json};

use super::folder::Folder;

/// Runs `check`; returns its exit code, `about sign` for each line, and the messages.
pub fn check(folder: &Folder, file: &str, arguments: &[&str]) -> (Option<i32>, Vec<String>, String) {
    let (code, out, error) = folder.run(&[&["check", "--directories", file, "--output", "json"], arguments].concat());
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{error}"));
    let schema = serde_json::to_value(schemars::schema_for!(cli::check::Report)).unwrap();
    assert!(jsonschema::is_valid(&schema, &report), "{report:#}");
    assert_eq!(report["ok"], json!(code == Some(0)));
    let lines = report["directories"][0]["lines"].as_array().unwrap();
    let of = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let messages: Vec<String> = lines.iter().map(|line| of(line, "message")).collect();
    (code, lines.iter().map(|line| of(line, "about") + " " + &of(line, "sign")).collect(), messages.join("\n"))
}
