//! `credreset try` on the sandbox: a simulated person looks at the sandbox and answers truthfully.
#![cfg(test)]
use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

mod support;
use support::{
    Sandbox, blocks,
    folder::Folder,
    person::{Tried, agrees, at_terminal, findings, leaks_nothing},
    wait_for,
};

const ANNETTE: (&str, &str) = ("annette.c@zylker.biz", "700012399");

/// A sandbox whose look-up shows change times, and a Directory that says so.
struct Site {
    folder: Folder,
    sandbox: Sandbox,
}

impl Site {
    fn new() -> Self {
        let folder = Folder::new();
        let sandbox = Sandbox::at("127.0.0.1:0", &folder.0, &["--change-times".to_owned()]);
        let site = Self { folder, sandbox };
        site.directory(|text| {
            let fields = "lookUp: {passwordChangedAt: password_changed_time, mfaChangedAt: mfa_changed_time}";
            text.replace("      zoid:", &format!("      {fields}\n      zoid:"))
        });
        site
    }

    /// That of the examples, changed.
    fn directory(&self, change: impl FnOnce(String) -> String) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/zoho-sandbox/directory.yaml");
        let text = fs::read_to_string(path).unwrap().replace("http://127.0.0.1:8090", &self.sandbox.url);
        self.folder.write("directory.yaml", change(text));
    }

    fn deviate(&self, deviations: &[&str]) {
        self.sandbox.send("PUT", "/sandbox/deviations", &json!(deviations));
    }

    /// The answer of a person who looks at the sandbox.
    fn truth(&self, (email, id): (&str, &str), screen: &str, password: &str) -> String {
        let seen = |field: &str| self.sandbox.user(id)[field].clone();
        let is = if screen.contains("Are you let in") {
            ["ok", "must-change"].contains(&self.sandbox.sign_in(email, password).as_str())
        } else if screen.contains("made to choose another") {
            self.sandbox.sign_in(email, password) == "must-change"
        } else if screen.contains("made to enrol a new factor") {
            seen("mfaEnabled") == true && seen("factors") == json!([])
        } else if screen.contains("Are you signed in?") {
            assert!(["ok", "must-change"].contains(&self.sandbox.sign_in(email, password).as_str()));
            let sessions = json!({"webSessions": 1, "mobileSessions": 1, "apiTokens": 1});
            self.sandbox.send("PATCH", &format!("/sandbox/users/{id}"), &sessions);
            true
        } else if screen.contains("Are you signed out?") {
            seen("webSessions") == 0
        } else if screen.contains("Has that ended as well?") {
            (seen("mobileSessions"), seen("apiTokens")) == (json!(0), json!(0))
        } else {
            panic!("who could answer this? {screen}")
        };
        if is { "y" } else { "n" }.to_owned()
    }

    fn run(&self, user: (&str, &str), output: &str, first: impl FnMut(&str) -> Option<String>) -> Tried {
        let typed = format!("credreset try zylker --user {} --directories directory.yaml -o {output} >report", user.0);
        self.typed(user, &typed, first)
    }

    fn typed(&self, user: (&str, &str), typed: &str, mut first: impl FnMut(&str) -> Option<String>) -> Tried {
        let tried = at_terminal(&self.folder, typed, |screen, password| {
            first(screen).or_else(|| agrees(screen, user.0)).unwrap_or_else(|| self.truth(user, screen, password))
        });
        println!("{}\n{}", tried.terminal, tried.report);
        // A command that makes no call may end before the sandbox has begun.
        let file = self.folder.0.join("sandbox.json");
        let state: Value = serde_json::from_slice(&wait_for("the state", || fs::read(&file).ok())).unwrap();
        let accounts = state["accounts"].as_object().unwrap().values();
        // The well-known one is not a secret.
        let passwords = accounts.filter_map(|account| account["password"].as_str()).filter(|p| *p != "!");
        let tokens = state["tokens"].as_object().unwrap().keys().map(String::as_str);
        let known = ["sandbox-client-secret", "1000.sandbox-refresh-token", "Sandbox-admin-pw-1"];
        leaks_nothing(&tried, passwords.chain(tokens).chain(known));
        for name in [user.0, user.1, "700012345", "800012345", "800012399"] {
            assert!(!tried.report.contains(name), "{name} is in the report");
        }
        tried
    }

    /// Everything is agreed to.
    fn findings(&self) -> (Option<i32>, Vec<(String, String)>) {
        let tried = self.run(ANNETTE, "json", |_| None);
        (tried.code, findings(&tried.report))
    }

    fn resets(&self) -> (u64, u64) {
        (self.sandbox.count("reset-password"), self.sandbox.count("reset-mfa"))
    }
}

/// What is not as expected, and how it is.
fn wrong(findings: &[(String, String)]) -> Vec<&str> {
    findings.iter().filter(|(verdict, _)| verdict == "notAsExpected").map(|(_, screen)| screen.as_str()).collect()
}

#[test]
fn all_as_expected() {
    let site = Site::new();
    let (code, all) = site.findings();
    assert_eq!((code, wrong(&all)), (Some(0), vec![]));
    let tried: BTreeSet<&str> = all.iter().map(|(verdict, _)| verdict.as_str()).collect();
    assert_eq!(tried, BTreeSet::from(["asExpected"]), "{all:#?}");
    for screen in [
        "The answer with the token shows access_token, expires_in, scope, api_domain. [also: token_type.]",
        "The account in Zoho Mail shows zuid, role, isCustomAdmin, tfaEnabled, emailAddress.",
        "makes the operator generate another. [PASSWORD_POLICY.]",
        "The directory shows the change, within the time of the call.",
        "The user enrols a new factor at the next sign-in. [confirmed.]",
        "The old password no longer opens the account. [confirmed.]",
        "Mobile sessions and API tokens from before end. [confirmed.]",
    ] {
        assert!(all.iter().any(|(_, one)| one.contains(screen)), "{screen}: {all:#?}");
    }
    // One of no user, a refused one, and two that were carried out.
    assert_eq!(site.resets(), (4, 1));
    assert_eq!(site.sandbox.user(ANNETTE.1)["passwordResets"], 2);
}

/// The calls that Zoho Mail documents, which know no flags, and a look-up without change times.
#[test]
fn calls_of_zoho_mail() {
    let site = Site::new();
    site.directory(|text| {
        let (before, rest) = text.split_once("      # All fields of the form").unwrap();
        format!("{before}  allow:{}", rest.split_once("  allow:").unwrap().1)
    });
    let (code, all) = site.findings();
    assert_eq!((code, wrong(&all)), (Some(0), vec![]));
    let open: Vec<&str> =
        all.iter().filter(|(verdict, _)| verdict == "notTried").map(|(_, one)| one.as_str()).collect();
    assert_eq!(open.len(), 4, "{open:#?}");
    assert!(open.iter().filter(|one| one.contains("[the Directory names no field")).count() == 3, "{open:#?}");
    assert!(all.iter().any(|(verdict, one)| verdict == "asExpected" && one.starts_with("tfaEnabled is false")));
    assert_eq!(site.sandbox.user(ANNETTE.1)["mfaEnabled"], false);
}

/// Each is named, and nothing else.
#[test]
fn deviations() {
    let site = Site::new();
    site.deviate(&["old-password-works", "mobile-sessions-survive", "other-code-for-passwords", "no-tfa-enabled"]);
    let (code, all) = site.findings();
    let expected = [
        "The account in Zoho Mail shows zuid, role, isCustomAdmin, tfaEnabled, emailAddress. [tfaEnabled is missing.",
        "makes the operator generate another. [INVALID_REQUEST counts as a final refusal.]",
        "The old password no longer opens the account. [it still does.]",
        "Mobile sessions and API tokens from before end. [the session is still alive.]",
    ];
    let named = wrong(&all);
    assert_eq!((code, named.len()), (Some(2), expected.len()), "{named:#?}");
    for (screen, expected) in named.iter().zip(expected) {
        assert!(screen.contains(expected), "{screen}\n{expected}");
    }
    // As it is filed.
    let typed = blocks("docs/try.md", "sh").concat();
    let typed = typed.replace("test@zylker.biz", ANNETTE.0).replace("report.md", "report");
    let tried = site.typed(ANNETTE, typed.trim(), |_| None);
    assert!(tried.report.starts_with("# Zoho Directory: 4 not as expected\n"), "{}", tried.report);
    let line = "| The old password no longer opens the account. | **not as expected** | you answered: it still does. |";
    assert!(tried.report.contains(line), "{}", tried.report);
    let call = "\nPOST http://127.0.0.1:PORT/directory/api/v2/orgs/{organization}/users/{user.id}/password\n  with admin_password, \
                clear_mobile_sessions_and_api_tokens: true, email_user: false, force_change: true, password\n  200: message, resource_name, \
                status_code: 200\n";
    let port = site.sandbox.url.rsplit(':').next().unwrap();
    assert!(tried.report.contains(&call.replace("PORT", port)), "{}", tried.report);
    let tried = site.run(ANNETTE, "text", |_| None);
    assert!(tried.report.contains("\n  NOT AS EXPECTED  Mobile sessions and API tokens"), "{}", tried.report);

    site.deviate(&["no-body", "other-code-for-nobody", "web-sessions-survive"]);
    let (code, all) = site.findings();
    let named = wrong(&all);
    assert_eq!((code, named.len()), (Some(2), 5), "{named:#?}");
    assert!(named[0].contains("[NO_SUCH_RECORD counts as"), "{named:#?}");
    assert!(named[1..4].iter().all(|screen| screen.contains("it counts as lost.")), "{named:#?}");
    assert!(named[4].starts_with("Web sessions from before end."), "{named:#?}");

    // No user counts as confirmed then.
    let before = site.resets();
    site.deviate(&["no-user-type"]);
    let (code, all) = site.findings();
    assert_eq!((code, wrong(&all).len()), (Some(2), 1));
    assert!(wrong(&all)[0].contains("[user_type is missing."), "{all:#?}");
    assert_eq!(site.resets(), before);
}

/// A person who answers no has nothing more sent, at any call, and has a report.
#[test]
fn no_is_no() {
    let site = Site::new();
    for (no, calls) in [("n", 0), ("", 1), ("\u{3}", 2), ("no", 4), ("n", 7), ("\u{3}", 9)] {
        let total = || {
            let counts = site.sandbox.get("/sandbox/counts");
            counts.as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>()
        };
        let (before, mut asked) = (total(), 0);
        let tried = site.run(ANNETTE, "json", |screen| {
            if !screen.contains("Send it?") {
                return None;
            }
            asked += 1;
            Some(if asked > calls { no } else { "y" }.to_owned())
        });
        assert_eq!((tried.code, total() - before), (Some(3), calls), "{no:?} at {calls}");
        let report: Value = serde_json::from_str(&tried.report).unwrap();
        assert_eq!(report["stopped"], "you stopped it.");
        let sent = report["steps"].as_array().unwrap().iter().flat_map(|step| step["calls"].as_array().unwrap());
        assert_eq!(sent.count() as u64, calls);
    }
}

/// Steps that are skipped are listed; the others are done.
#[test]
fn passed_over() {
    let site = Site::new();
    let tried = site.run(ANNETTE, "json", |screen| screen.ends_with("Do it? [y/N/skip] ").then(|| "skip".to_owned()));
    let all = findings(&tried.report);
    assert_eq!((tried.code, wrong(&all)), (Some(0), vec![]));
    assert_eq!(all.iter().filter(|(_, screen)| screen.contains("[you skipped it.]")).count(), 4, "{all:#?}");
    assert_eq!(site.resets(), (0, 0));
}

/// Nothing is changed of anybody whom the Directory protects, or no rule is about.
#[test]
fn protected() {
    let site = Site::new();
    for (user, id, expected) in [
        ("ceo@zylker.biz", "700012306", "(listed in spec.protect.users)"),
        ("femi.a@zylker.biz", "700012305", "(an administrator of the directory)"),
        ("nora.v@zylker.biz", "700012313", "(it cannot be determined whether this is an administrator)"),
        ("bruno.k@zylker.biz", "700012301", "has not confirmed the account yet"),
        ("olga@partner.example", "700012314", "No rule of Directory"),
        ("support@zylker.biz", "700012309", "2 users match that name"),
        ("nobody@zylker.biz", "700012399", "the directory has no such user"),
    ] {
        let tried = site.run((user, id), "json", |_| None);
        let report: Value = serde_json::from_str(&tried.report).unwrap();
        let stopped = report["stopped"].as_str().unwrap();
        assert!(stopped.contains(expected), "{user}: {stopped}");
        assert_eq!(site.resets(), (0, 0), "{user}");
    }
}

/// A wrong password of the administrator is not sent twice: it would lock the account.
#[test]
fn wrong_admin_password() {
    let site = Site::new();
    site.directory(|text| text.replace("Sandbox-admin-pw-1", "Another-pw-1"));
    let tried = site.run(ANNETTE, "json", |_| None);
    let report: Value = serde_json::from_str(&tried.report).unwrap();
    let stopped = report["stopped"].as_str().unwrap();
    assert!(stopped.contains("refused the administrator's password with ADMIN_PASSWORD_MISMATCH"), "{stopped}");
    // Once without a user, where it is not looked at, and once for the user.
    assert_eq!((tried.code, site.resets()), (Some(2), (2, 0)));
    assert!(!tried.terminal.contains("Another-pw-1"));
}

/// One sentence, and nothing is sent.
#[test]
fn nothing_tried() {
    let site = Site::new();
    let (code, out, error) =
        site.folder.run(&["try", "zylker", "--user", ANNETTE.0, "--directories", "directory.yaml"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("must be a terminal: a person has to agree to each call"), "{error}");
    let tried =
        site.run(ANNETTE, "json", |screen| screen.ends_with(" again: ").then(|| "somebody@zylker.biz".to_owned()));
    assert_eq!((tried.code, tried.report.as_str()), (Some(1), ""));
    assert!(tried.terminal.contains("that is not the user of --user: nothing was sent"), "{}", tried.terminal);
    site.directory(|text| text.replace("  limits:", "  suspend: true\n  limits:"));
    let tried = site.run(ANNETTE, "json", |_| None);
    assert_eq!((tried.code, tried.report.as_str()), (Some(1), ""));
    assert!(tried.terminal.contains("is suspended: nothing is sent until spec.suspend is false"), "{}", tried.terminal);
    assert_eq!(site.sandbox.count("token"), 0);
}

/// A lost reply may have been a success: a person who stops then reads that the password may be the well-known one.
#[test]
fn an_account_that_may_be_open_is_told() {
    let site = Site::new();
    site.directory(|text| text); // shows no times, so there is no evidence
    let fault = json!({"call": "reset-password", "user": ANNETTE.1, "fault": "apply-then-drop"});
    site.sandbox.send("POST", "/sandbox/faults", &fault);
    let tried = site.run(ANNETTE, "json", |screen| screen.contains("Continue anyway?").then(|| "n".to_owned()));
    assert_eq!(tried.code, Some(2));
    assert!(tried.terminal.contains("is the single character !, or may be: set another now."), "{}", tried.terminal);
    assert!(tried.terminal.contains("Ended early: you stopped it."), "{}", tried.terminal);
}

/// A directory that asks to be left alone is.
#[test]
fn a_pause_is_kept() {
    let site = Site::new();
    let fault = json!({"call": "reset-password", "user": ANNETTE.1, "fault": "throttle", "retryAfter": 17});
    site.sandbox.send("POST", "/sandbox/faults", &fault);
    let tried = site.run(ANNETTE, "json", |_| None);
    assert!(tried.terminal.contains("Ended early: the directory asks for a pause of 17 s"), "{}", tried.terminal);
    assert_eq!(site.sandbox.user(ANNETTE.1)["passwordResets"], 0);
}

/// A user who runs commands in a Pod of the operator's does not try with its rights.
#[test]
fn a_pods_account_is_not_used() {
    let site = Site::new();
    let typed = format!(
        "HOME=/nowhere KUBECONFIG= KUBERNETES_SERVICE_HOST=127.0.0.1 KUBERNETES_SERVICE_PORT=1 credreset try zylker --user {} >report",
        ANNETTE.0
    );
    let tried = site.typed(ANNETTE, &typed, |_| None);
    assert_eq!(tried.code, Some(1));
    assert!(tried.terminal.contains("no kubeconfig: set KUBECONFIG"), "{}", tried.terminal);
}
