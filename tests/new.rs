//! `credreset new`: manifests that people file.
#![cfg(test)]
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use credreset::api::CredentialReset;

fn new(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_credreset"))
        .arg("new")
        .args(if arguments.contains(&"--directory") { &[][..] } else { &["--directory", "zylker"] })
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading all of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn requests(yaml: &str) -> Vec<CredentialReset> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

#[test]
fn what_is_asked_for_is_what_is_written() {
    let reason = ["--reason", "Locked out: HELP-4711"];
    let output = new(&[&["annette.c@zylker.biz", "0123"], &reason[..]].concat(), b"");
    assert!(output.status.success());
    let both = requests(std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!(both.len(), 2);
    assert_eq!(both[0].spec.requested_at, both[1].spec.requested_at);
    assert_eq!(both[0].spec.user.email.as_deref(), Some("annette.c@zylker.biz"));
    assert_eq!(both[1].spec.user.username.as_deref(), Some("0123"), "a name of digits stays a text");
    for request in &both {
        let password = request.spec.password.as_ref().unwrap();
        assert!(password.force_change_on_login && !password.email_to_user && password.deliver_to.is_some());
        assert!(request.request().is_ok());
    }
    let flags = [
        "--keep-after-login",
        "--clear-mobile-sessions-and-api-tokens",
        "--email-to-user",
        "--ids",
        "--requested-by",
        "hana",
        "--valid-for",
        "2h",
    ];
    let output = new(&[&["700012399"], &flags[..], &reason[..]].concat(), b"");
    let spec = requests(std::str::from_utf8(&output.stdout).unwrap())[0].spec.clone();
    let password = spec.password.unwrap();
    assert!(!password.force_change_on_login && password.clear_mobile_sessions_and_api_tokens && password.email_to_user);
    assert!(password.deliver_to.is_none());
    assert_eq!(
        (spec.user.id.as_deref(), spec.requested_by.as_deref(), spec.valid_for.as_str()),
        (Some("700012399"), Some("hana"), "2h")
    );
    let output = new(&[&["annette.c@zylker.biz", "--mfa"], &reason[..]].concat(), b"");
    let spec = requests(std::str::from_utf8(&output.stdout).unwrap())[0].spec.clone();
    assert_eq!(spec.mfa.unwrap().confirm, "annette.c@zylker.biz");
}

/// An incident: hundreds from one list, one file each.
#[test]
fn from_a_list() {
    let folder = std::env::temp_dir().join(format!("credreset-new-{}", std::process::id()));
    let line = |n: usize| format!("{n},User {n},user.{}@zylker.biz", n / 2 * 1000 + n);
    let list = (0..300).map(line).collect::<Vec<_>>().join("\r\n");
    let input = format!("\u{feff}id,name,user\r\n{list}").replace("id,name", "id,\"a name\"");
    let arguments = ["--from-csv", "-", "--reason", "Phished, INC-88", "--into", folder.to_str().unwrap()];
    let output = new(&arguments, input.as_bytes());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut names = BTreeSet::new();
    let mut times = BTreeSet::new();
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        let request = requests(&fs::read_to_string(entry.path()).unwrap()).remove(0);
        let name = request.metadata.name.clone().unwrap();
        assert_eq!(entry.path().file_stem().unwrap().to_str(), Some(name.as_str()));
        assert!(request.request().is_ok() && name.len() <= 63);
        times.insert(request.spec.requested_at);
        names.insert(name);
    }
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!((names.len(), times.len()), (300, 1));
}

#[test]
fn what_makes_no_request_is_refused_in_one_sentence() {
    let reason = ["--reason", "Locked out, HELP-4711"];
    let with = |arguments: &[&'static str]| [arguments, &reason[..]].concat();
    let cases: [(Vec<&str>, &[u8], &str); 14] = [
        (vec!["a@b.example", "--reason", "short"], b"", "spec.reason: value is shorter than 8 characters"),
        (with(&["a@b.example", "A@B.example"]), b"", "A@B.example is named twice"),
        (with(&["a@b.example", "--valid-for", "169h"]), b"", "at most 168h"),
        (with(&["a@b.example", "--valid-for", "PT24H"]), b"", "spec.validFor: value does not match"),
        (with(&["a@b.example", "--directory", "Zylker AD"]), b"", "spec.directory: value does not match"),
        (with(&["a@b.example", "--namespace", "Help Desk"]), b"", "metadata.namespace must be"),
        (with(&["a@b.example", "--requested-by", ""]), b"", "spec.requestedBy: value is shorter than 1 character"),
        (with(&["--from-csv", "-"]), b"user,user\na,b\n", "- has two columns named user"),
        (with(&[" "]), b"", "a user is blank"),
        (with(&["--from-csv", "-"]), b"name\na\n", "- has no column named user in its first line"),
        (with(&["--from-csv", "-"]), b"user\n", "- has no users"),
        (with(&["--from-csv", "-"]), b"user,x\na@b.example,1\n,2\n", "- line 3 has no user"),
        (with(&["--from-csv", "-"]), b"user\n\xff\xfe\n", "- is not a CSV file"),
        (with(&["--from-csv", "/nowhere/list.csv"]), b"", "/nowhere/list.csv cannot be read"),
    ];
    for (arguments, input, expected) in cases {
        let output = new(&arguments, input);
        let printed = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {printed}");
        assert!(printed.replace("-: ", "- ").contains(expected), "{printed}\nshould say: {expected}");
        assert!(output.stdout.is_empty() && printed.lines().count() == 1, "{printed}");
    }
}
