//! docs/reference.md says what the schema and the flags say. `CREDRESET_UPDATE=1 cargo test --test reference` writes it anew.
#![cfg(test)]
use std::{fmt::Write, fs, path::Path, process::Command};

use serde_json::Value;

const PAGE: &str = "docs/reference.md";
const HEAD: &str = "# Kinds and commands

Made of the schema of the kinds (`credreset crds`) and of each command's `--help` by `tests/reference.rs`, which also compares them.
`kubectl explain creset.spec` says the same of a cluster. What a request's reasons mean is in [reasons.md](reasons.md).
";

#[test]
fn reference_is_as_generated() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = format!("{HEAD}{}\n## Commands\n{}", kinds(), commands());
    if std::env::var_os("CREDRESET_UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let other = there.lines().zip(page.lines()).find(|(there, page)| there != page);
    assert!(there == page, "{PAGE} is old ({other:?}): CREDRESET_UPDATE=1 cargo test --test reference");
}

/// What the command prints, in a terminal of a hundred columns and without variables of ours.
fn credreset(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_credreset"))
        .args(arguments)
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn commands() -> String {
    let overview = credreset(&["--help"]);
    let listed = overview.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).filter(|name| !name.is_empty());
    let mut out = format!("```text\n{overview}```\n");
    for name in names.filter(|name| *name != "help") {
        let _ = write!(out, "\n### credreset {name}\n```text\n{}```\n", credreset(&[name, "--help"]));
    }
    out
}

fn kinds() -> String {
    let mut out = String::new();
    for document in serde_saphyr::from_multiple::<Value>(&credreset(&["crds"])).unwrap() {
        let spec = &document["spec"];
        let names = &spec["names"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let schema = &spec["versions"][0]["schema"]["openAPIV3Schema"];
        let api = format!("{}/{}", text(&spec["group"]), text(&spec["versions"][0]["name"]));
        let scope = if spec["scope"] == "Cluster" { "cluster-wide" } else { "in a namespace" };
        let (kind, short) = (text(&names["kind"]), text(&names["shortNames"][0]));
        let _ = write!(out, "\n## {kind}\n{}\n\n`{api}`, {scope}, short `{short}`\n", prose(&schema["description"]));
        for part in ["spec", "status"] {
            let mut rows = Rows::default();
            rows.object(&schema["properties"][part], part);
            if !rows.fields.is_empty() {
                let _ = write!(out, "\n| field | value | |\n|---|---|---|\n{}", rows.fields);
            }
            if part == "spec" {
                rows.rules(schema, "metadata");
                let _ = write!(out, "\nRefused with these words:\n\n| where | |\n|---|---|\n{}", rows.rules);
            }
        }
    }
    out
}

/// As a cell or a paragraph.
fn prose(text: &Value) -> String {
    text.as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|").replace('<', "&lt;")
}

#[derive(Default)]
struct Rows {
    fields: String,
    rules: String,
}

impl Rows {
    /// The fields of an object, each before its own fields.
    fn object(&mut self, schema: &Value, at: &str) {
        self.rules(schema, at);
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let at = format!("{at}.{name}");
            let required = schema["required"].as_array().is_some_and(|all| all.iter().any(|other| other == name));
            let value = value(field, required);
            let _ = writeln!(self.fields, "| `{at}` | {value} | {} |", prose(&field["description"]));
            self.object(field, &at);
            if field["items"]["properties"].is_object() {
                self.object(&field["items"], &format!("{at}[]"));
            }
        }
    }

    fn rules(&mut self, schema: &Value, at: &str) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let _ = writeln!(self.rules, "| `{at}` | {} |", prose(&rule["message"]));
        }
    }
}

/// What a field may hold.
fn value(field: &Value, required: bool) -> String {
    let codes = |values: &Value| {
        let all = values.as_array().into_iter().flatten().filter_map(Value::as_str);
        all.map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
    };
    let kind = field["type"].as_str().unwrap_or("any");
    let mut parts = vec![match kind {
        _ if field["enum"].is_array() => codes(&field["enum"]),
        "array" if field["items"]["enum"].is_array() => format!("list of {}", codes(&field["items"]["enum"])),
        "array" => format!("list of {}s", field["items"]["type"].as_str().unwrap_or("any")),
        kind => kind.to_owned(),
    }];
    if let Some(format) = field["format"].as_str().filter(|_| kind == "string") {
        parts.push(format.to_owned());
    }
    match (&field["minimum"], &field["maximum"]) {
        (Value::Number(least), Value::Number(most)) => {
            parts.push(format!("{} to {}", least.as_f64().unwrap(), most.as_f64().unwrap()));
        }
        (Value::Number(least), _) => parts.push(format!("at least {}", least.as_f64().unwrap())),
        _ => {}
    }
    if let (true, Some(most)) = (field["pattern"].is_null(), field["maxLength"].as_u64()) {
        parts.push(format!("{} to {most} characters", field["minLength"].as_u64().unwrap_or(0)));
    }
    if let Some(most) = field["maxItems"].as_u64() {
        parts.push(format!("at most {most}"));
    }
    if let Some(choices) = field["oneOf"].as_array() {
        let names: Vec<String> = choices.iter().map(|choice| codes(&choice["required"])).collect();
        parts.push(format!("exactly one of {}", names.join(", ")));
    }
    match &field["default"] {
        Value::Null | Value::Object(_) | Value::Array(_) => {}
        default => parts.push(format!("default `{}`", default.as_str().map_or(default.to_string(), str::to_owned))),
    }
    if required {
        parts.push("**required**".to_owned());
    }
    parts.join(", ")
}
