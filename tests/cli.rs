//! The command line: what each command says of itself, of wrong arguments and of clusters that are not there; and `credreset check` on
//! directories.
#![cfg(test)]
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::symlink,
    path::Path,
};

use credreset::cli;
use serde_json::json;

mod support;
use support::{
    Sandbox,
    check_command::check,
    folder::{Folder, captured},
};

/// The address of an API server that knows none of our kinds.
fn without_kinds() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "not found", "reason": "NotFound", "code": 404})
        .to_string();
    let length = body.len();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let head = format!(
                "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close"
            );
            write!(stream, "{head}\r\n\r\n{body}").unwrap();
        }
    });
    format!("http://{address}")
}

/// The commands that the help names.
fn commands() -> Vec<String> {
    let (_, help, _) = Folder::new().run(&["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

/// Names of files and texts in them reach a terminal, or the log of a pipeline, without what acts there.
#[test]
fn nothing_acts_on_a_terminal() {
    let folder = Folder::new();
    let mean = "x\n::error::\u{1b}[2J\u{9b}2J\u{202e}\r.yaml";
    let is_harmless = |text: &str| !text.chars().any(|c| c != '\n' && credreset::core::text::is_hidden(c));
    for arguments in [
        &["plan", mean, "--offline"][..],
        &["plan", "-", "--offline", "--directories", mean],
        &["wait", mean],
        &["replay", mean],
        &["check", "--directories", mean],
        &["new", "--from-csv", mean, "-d", "zylker", "-r", "Locked out, HELP-4711"],
        &["new", "a@zylker.biz", "-d", "zylker", "-r", "Locked out, HELP-4711", "--into", &format!("/proc/{mean}")],
        &["man", &format!("/proc/{mean}")],
        &["settle", mean, "--applied", "--reason", mean],
        &["audit", "--since", mean],
        &[mean],
    ] {
        let (code, out, error) = folder.run(arguments);
        assert_eq!((code, out.as_str(), error.lines().count()), (Some(1), "", 1), "{arguments:?}: {error:?}");
        assert!(is_harmless(&error) && error.starts_with("credreset: "), "{arguments:?}: {error:?}");
    }
    // What a dump says of itself, and the texts in it.
    let base =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/base/password.yaml")).unwrap();
    let mut world: serde_json::Value = serde_saphyr::from_str(&base).unwrap();
    world["subject"]["object"]["request"]["reason"] = json!(mean);
    let decision = credreset::core::decide(&serde_json::from_value(world.clone()).unwrap());
    let dump = json!({"why": mean, "world": world, "decision": decision}).to_string();
    folder.write("dump.yaml", dump.replace('\u{9b}', r"\u009b"));
    let (code, out, error) = folder.run(&["replay", "dump.yaml"]);
    assert!(code == Some(0) && is_harmless(&out), "{out:?} {error}");
    assert!(out.starts_with(r"# x\u{a}::error::\u{1b}[2J\u{9b}2J\u{202e}\u{d}.yaml"), "{out:?}");
}

/// One sentence, exit code 1, and nothing on standard output.
#[test]
fn what_cannot_be_done() {
    let folder = Folder::new();
    folder.write("binary.yaml", [0xff, 0xfe, 0x00, 0x80]);
    folder.write("broken.yaml", "kind: [CredentialReset\n  b: }");
    folder.write("other.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: x}}");
    folder.write("nameless.yaml", "{apiVersion: credreset.dev/v1alpha1, kind: CredentialReset, metadata: {name: A B}}");
    folder.write("secret.yaml", "{apiVersion: v1, kind: Secret, metadata: {name: x}, data: {password: 7}}");
    folder.write(
        "directory.yaml",
        "{apiVersion: credreset.dev/v1alpha1, kind: Directory, metadata: {name: x}, spec: {}}",
    );
    fs::File::create(folder.0.join("huge.yaml")).unwrap().set_len(100 << 20).unwrap();
    let nowhere = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:9"}}], "users": [{"name": "x", "user": {}}],
    });
    folder.write("kubeconfig", nowhere.to_string());
    let mut contextless = nowhere.clone();
    contextless.as_object_mut().unwrap().remove("current-context");
    folder.write("contextless", contextless.to_string());
    for (arguments, expected) in [
        (&["wait", "nowhere.yaml"][..], "nowhere.yaml cannot be read: there is no such file"),
        (&["wait", "no/where"], "no/where cannot be read: No such file"),
        (&["wait", "binary.yaml"], "binary.yaml is not a UTF-8 text file"),
        (&["wait", "huge.yaml"], "huge.yaml is larger than 32 MiB"),
        (&["wait", "broken.yaml"], "broken.yaml is not YAML: "),
        (&["wait", "other.yaml"], "other.yaml contains no CredentialReset"),
        (&["wait", "nameless.yaml"], "nameless.yaml: a CredentialReset has no valid name"),
        (&["wait", "-"], "standard input contains no CredentialReset"),
        (&["wait"], "the following required arguments were not provided"),
        (&["wait", "annette", "--selector", "a=b"], "cannot be used with '--selector <LABELS>'"),
        (&["wait", "annette", "--timeout", "soon"], "'--timeout <DURATION>': not a duration such as 90s, 24h or 30d"),
        (&["wait", "annette", "--outptu", "json"], "unexpected argument '--outptu' found"),
        (&["wait", "annette"], "KUBECONFIG names /nowhere/kubeconfig, which does not exist"),
        (&["audit", "--since", "yesterday"], "'--since <TIME>': neither a duration such as 30d, nor a day"),
        (&["audit", "--output", "xml"], "invalid value 'xml' for '--output <OUTPUT>'"),
        (&["audit", "--since", "30d"], "KUBECONFIG names /nowhere/kubeconfig, which does not exist"),
        (&["audit", "--month", "July"], "'--month <MONTH>': not a month such as 2026-07"),
        (&["audit", "--quarter", "3"], "'--quarter <QUARTER>': not a quarter of a year such as 2026Q3"),
        (&["audit", "--month", "2026-07", "--since", "30d"], "'--month <MONTH>' cannot be used with '--since <TIME>'"),
        (&["audit", "--since", "1d", "--until", "2d"], "--until must be later than --since"),
        (&["check", "--directories", "nowhere"], "nowhere cannot be read: No such file"),
        (&["check", "--directories", "broken.yaml"], "broken.yaml is not YAML: "),
        (&["check", "--directories", "other.yaml"], "there is no Directory in other.yaml"),
        (&["check", "zylkr", "--directories", "other.yaml"], "there is no Directory zylkr in other.yaml"),
        (
            &["check", "--directories", "secret.yaml"],
            "secret.yaml: Secret x has an invalid value: data must be base64, stringData text, quoted if it is a number or yes",
        ),
        (&["check", "--directories", "directory.yaml"], "directory.yaml: missing field `provider`"),
        (&["check", "--user", " "], "'--user <USER>': empty: neither an address, nor a name, nor an id"),
        (&["check", "zylker", "--usr", "a"], "unexpected argument '--usr' found"),
        (&["check", "zylker"], "KUBECONFIG names /nowhere/kubeconfig, which does not exist"),
        (&["completions", "tcsh"], "invalid value 'tcsh' for '<SHELL>'"),
        (&["completions"], "the following required arguments were not provided: <SHELL>"),
        (&["man", "other.yaml/x"], "other.yaml/x cannot be created: "),
        (&["chek"], "unrecognized subcommand 'chek'"),
        (&["explain", "annette", "--kubeconfig", "none"], "none, the kubeconfig, does not exist"),
        (&["explain", "annette", "--kubeconfig", "."], "., the kubeconfig, cannot be read: "),
        (&["explain", "annette", "--kubeconfig", "broken.yaml"], "broken.yaml is not a kubeconfig: "),
        (&["explain", "annette", "--kubeconfig", "kubeconfig", "--context", "y"], "kubeconfig has no context y"),
        (&["check", "--kubeconfig", "contextless"], "contextless has no current-context: add --context NAME"),
        (&["audit", "--kubeconfig", "kubeconfig"], "the API server at https://127.0.0.1:9/ does not answer"),
        (&["wait", "annette", "--as-group", "desk"], "required arguments were not provided: --as <USER>"),
        (&["explain", "helpdesk/annette"], "a namespace goes into its own flag: annette -n helpdesk"),
        (&["explain"], "the following required arguments were not provided: <NAME>..."),
        (&["explain", "annette", "hiro", "--dump", "x"], "--dump writes the facts of one request: name one"),
        (&["approve", "A B"], "not a name of a request, such as annette-locked-out or creset/annette-locked-out"),
        (
            &["settle", "annette", "-n", "helpdesk"],
            "say which: --applied (the reset is in force) or --not-applied (nothing was changed)",
        ),
        (&["new"], "whose credentials? credreset new NAME@DOMAIN"),
    ] {
        let (code, out, error) = folder.run(arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{arguments:?}: {error}");
        assert!(!error.contains("For more information"), "{error}");
        assert!(error.starts_with("credreset: ") && error.contains(expected), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
    }
    let stranger = without_kinds();
    folder.write("stranger", nowhere.to_string().replace("https://127.0.0.1:9", &stranger));
    let wanted = "does not know credreset.dev/v1alpha1: install chart credreset-crds";
    for (kubeconfig, expected) in [
        ("kubeconfig", "credreset: the API server at https://127.0.0.1:9/ does not answer\n".to_owned()),
        ("stranger", format!("credreset: the API server at {stranger}/ {wanted}\n")),
    ] {
        for arguments in [&["wait", "annette"][..], &["audit"], &["check"]] {
            let mut command = folder.command(Path::new(env!("CARGO_BIN_EXE_credreset")));
            let output = command.args(arguments).env("KUBECONFIG", kubeconfig).output().unwrap();
            assert_eq!(captured(&output), (Some(1), String::new(), expected.clone()), "{arguments:?}");
        }
    }
}

/// Each command shows how it is used; without colours, unless on a terminal that wants them.
#[test]
fn help() {
    let folder = Folder::new();
    let commands = commands();
    assert!(commands.len() >= 11, "{commands:?}");
    for name in commands.iter().map(String::as_str).chain([""]) {
        let arguments: Vec<&str> = [name, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let (code, out, error) = folder.run(&arguments);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{name}");
        let examples = out.split("\nExample").nth(1).unwrap_or_else(|| panic!("{name} has no examples: {out}"));
        assert!(examples.contains(&format!("credreset {name}")), "{name}: {examples}");
        assert!(!out.contains('\u{1b}'), "{name}: {out:?}");
    }
    // `script` (util-linux) makes a terminal.
    let on_terminal = |no_color: &str| {
        let call = format!("'{}' plan --help", env!("CARGO_BIN_EXE_credreset"));
        let mut script = folder.command(Path::new("script"));
        script.args(["-qec", &call, "/dev/null"]).env("TERM", "xterm").env_remove("CI").env("NO_COLOR", no_color);
        let (code, out, _) = captured(&script.output().unwrap());
        assert!(code == Some(0) && out.contains("Examples:"), "{out}");
        out.contains("\u{1b}[")
    };
    assert_eq!((on_terminal(""), on_terminal("1")), (true, false));
}

/// kubectl runs `kubectl-credreset` for `kubectl credreset`: the same commands, by another name.
#[test]
fn plugin() {
    let folder = Folder::new();
    let plugin = folder.0.join("kubectl-credreset");
    symlink(env!("CARGO_BIN_EXE_credreset"), &plugin).unwrap();
    let call = |arguments: &[&str]| captured(&folder.command(&plugin).args(arguments).output().unwrap());
    let (code, out, _) = call(&["plan", "--help"]);
    assert!(code == Some(0) && out.contains("Usage: kubectl credreset plan [OPTIONS]"), "{out}");
    let (code, _, error) = call(&["plan"]);
    assert!(code == Some(1) && error.contains("(see kubectl credreset plan --help)"), "{error}");
    let (code, out, _) = call(&["crds"]);
    assert_eq!((code, out), (Some(0), folder.run(&["crds"]).1));
}

/// The pipe's reader goes before all is written: no error of this program.
#[test]
fn a_reader_that_goes() {
    let folder = Folder::new();
    let calls = format!("set -o pipefail; '{}' crds | head -n1 >/dev/null; echo $?", env!("CARGO_BIN_EXE_credreset"));
    let (code, out, error) = captured(&folder.command(Path::new("bash")).args(["-c", &calls]).output().unwrap());
    assert_eq!((code, out.as_str(), error.as_str()), (Some(0), "141\n", ""));
}

#[test]
fn completions() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, script, error) = folder.run(&["completions", shell]);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{shell}");
        assert!(script.contains("CREDRESET_COMPLETE") && script.contains("credreset"), "{shell}: {script}");
    }
    folder.write("one.yaml", "");
    folder.write("contexts", r#"{"contexts": [{"name": "prod"}, {"name": "test"}, {"name": "trial"}]}"#);
    let programs = Path::new(env!("CARGO_BIN_EXE_credreset")).parent().unwrap().display();
    let bash = |words: &[&str]| {
        let all = words.join("' '");
        let script = format!(
            "export PATH='{programs}':$PATH KUBECONFIG=contexts; source <(credreset completions bash); \
             COMP_WORDS=('{all}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9; \
             _clap_complete_credreset credreset \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        captured(&folder.command(Path::new("bash")).args(["-c", &script]).output().unwrap())
    };
    for (words, expected) in [
        (&["credreset", "pl"][..], "plan"),
        (&["credreset", "audit", "--si"], "--since"),
        (&["credreset", "explain", "--context", "t"], "test trial"),
        (&["credreset", "wait", "on"], "one.yaml"),
    ] {
        let (_, out, error) = bash(words);
        assert_eq!((out.trim(), error.as_str()), (expected, ""), "{words:?}");
    }
    // kubectl asks a program beside its plugin.
    let plugin = folder.0.join("kubectl_complete-credreset");
    symlink(env!("CARGO_BIN_EXE_credreset"), &plugin).unwrap();
    for (words, expected) in [
        (&["pl"][..], "plan\tShow what the operator would do with requests, without changing anything\n:4\n"),
        (&["check", "--context", "pro"], "prod\t\n:4\n"),
    ] {
        let mut command = folder.command(&plugin);
        let (code, out, error) = captured(&command.args(words).env("KUBECONFIG", "contexts").output().unwrap());
        assert_eq!((code, out.as_str(), error.as_str()), (Some(0), expected, ""), "{words:?}");
    }
}

/// The program's own version needs no cluster.
#[test]
fn version() {
    let (code, out, error) = Folder::new().run(&["version", "--client"]);
    assert_eq!(
        (code, out.as_str(), error.as_str()),
        (Some(0), concat!("client    ", env!("CARGO_PKG_VERSION"), "\n"), "")
    );
}

#[test]
fn manual_pages() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["man", "share/man1"]), (Some(0), String::new(), String::new()));
    let pages: BTreeSet<String> = fs::read_dir(folder.0.join("share/man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in commands() {
        let page = format!("credreset-{name}.1");
        assert!(pages.contains(&page), "{page} is not in {pages:?}");
        let text = fs::read_to_string(folder.0.join("share/man1").join(page)).unwrap();
        assert!(text.contains(&format!(".TH credreset-{name} 1")) && text.contains("\n.SH EXAMPLES\n"), "{text}");
        assert!(text.contains("\n.SH SEE ALSO\n\\fBcredreset\\fR(1), ") && text.contains("credreset 0."), "{text}");
    }
    assert!(pages.contains("credreset.1"));
}

/// What programs read is described in docs/schemas.
#[test]
fn schemas() {
    let schemas = [
        ("audit", schemars::schema_for!(cli::audit::Report)),
        ("check", schemars::schema_for!(cli::check::Report)),
        ("explain", schemars::schema_for!(cli::explain::Report)),
        ("list", schemars::schema_for!(cli::list::Report)),
        ("try", schemars::schema_for!(cli::trial::Report)),
        ("version", schemars::schema_for!(cli::version::Report)),
        ("wait", schemars::schema_for!(cli::wait::Report)),
    ];
    for (name, schema) in schemas {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.schema.json"));
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if std::env::var_os("CREDRESET_UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, there, "CREDRESET_UPDATE=1 writes {} anew", path.display());
    }
}

/// The Directory and the Secret of examples/zoho-sandbox, at `url`.
fn directory(url: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/zoho-sandbox/directory.yaml");
    fs::read_to_string(path).unwrap().replace("http://127.0.0.1:8090", url)
}

/// What is wrong, one at a time: the first line that says so names it, and what depends on it is not asked.
#[test]
fn check_of_a_directory() {
    let folder = Folder::new();
    let sandbox = Sandbox::at("127.0.0.1:0", &folder.0, &[]);
    let fine = directory(&sandbox.url);
    let sound = ["object ok", "secret ok", "server ok", "settings ok", "account ok", "permissions ok"];
    folder.write("fine.yaml", &fine);
    let (code, lines, printed) = check(&folder, "fine.yaml", &["zylker"]);
    assert_eq!((code, lines), (Some(0), sound.map(str::to_owned).to_vec()), "{printed}");
    assert!(!printed.contains("sandbox-client-secret"), "{printed}");
    let (_, text, _) = folder.run(&["check", "--directories", "fine.yaml"]);
    assert!(text.starts_with("zylker\n  ok     object       Zoho Directory, with rules staff.\n"), "{text}");
    assert!(text.ends_with("\nall checks passed\n"), "{text}");

    let without_secret = fine.split("---\n").nth(1).unwrap().to_owned();
    let elsewhere = |to: &str| fine.replace(&sandbox.url, to);
    let tls = sandbox.url.replace("http://", "https://");
    let fewer = |scopes: &str| sandbox.send("POST", "/sandbox/scopes", &json!(scopes));
    for (text, lines, expected) in [
        (
            without_secret,
            &["object ok", "secret wrong", "server ok", "account note"][..],
            "Secret zylker-zoho is not among",
        ),
        (
            fine.replace("refresh-token:", "refresh:"),
            &["object ok", "secret ok", "server ok", "settings wrong", "account note"],
            "Secret zylker-zoho has no key refresh-token",
        ),
        (
            fine.replace("sandbox-client-secret", "wrong-secret"),
            &["object ok", "secret ok", "server ok", "account wrong", "permissions note"],
            "invalid_client",
        ),
        (
            elsewhere("http://127.0.0.1:9"),
            &["object ok", "secret ok", "server wrong", "account note", "permissions note"],
            "http://127.0.0.1:9: nothing answers at 127.0.0.1:9",
        ),
        (
            elsewhere("https://directory.invalid"),
            &["object ok", "secret ok", "server wrong", "account note", "permissions note"],
            "https://directory.invalid: the name directory.invalid does not resolve here",
        ),
        (
            elsewhere(&tls),
            &["object ok", "secret ok", "server wrong", "account note", "permissions note"],
            "the TLS handshake failed (received corrupt message of type InvalidContentType): check the port.",
        ),
        (
            fine.replace("  limits:", "  suspend: true\n  limits:"),
            &["object wrong", "secret ok", "server ok", "settings ok", "account ok", "permissions ok"],
            "no reset starts until spec.suspend is false",
        ),
        (fine.replace("maxValidFor: 24h", "maxValidFor: soon"), &["object wrong"], "spec.allow of staff: maxValidFor"),
        (
            fine.replace("  limits:", "  mail: {smtp: {url: 'smtp://127.0.0.1:9', from: a@zylker.biz}}\n  limits:"),
            &["object ok", "secret ok", "server ok", "settings ok", "account ok", "permissions ok", "mail wrong"],
            "smtp://127.0.0.1:9: the mail server was not reached",
        ),
    ] {
        folder.write("wrong.yaml", text);
        let (code, found_lines, printed) = check(&folder, "wrong.yaml", &[]);
        assert_eq!((code, found_lines), (Some(2), lines.iter().map(|&line| line.to_owned()).collect()), "{printed}");
        assert!(printed.contains(expected), "{printed}\nshould say: {expected}");
    }
    // A limit of the directory's is no fault of the setup.
    let other = Folder::new();
    let limited = Sandbox::at("127.0.0.1:0", &other.0, &["--token-limit", "0"].map(str::to_owned));
    folder.write("limited.yaml", directory(&limited.url));
    let (code, lines, printed) = check(&folder, "limited.yaml", &[]);
    let expected = ["object ok", "secret ok", "server ok", "account wrong", "permissions note"];
    assert_eq!((code, lines), (Some(2), expected.map(str::to_owned).to_vec()), "{printed}");
    assert!(printed.contains("Z. Nothing is wrong: wait until then, and check again."), "{printed}");

    fewer("ZohoDirectory.Users.READ ZohoMail.organization.accounts.READ ZohoDirectory.Groups.READ");
    let (code, lines, printed) = check(&folder, "fine.yaml", &[]);
    let expected = ["object ok", "secret ok", "server ok", "account ok", "permissions wrong"];
    assert_eq!((code, lines), (Some(2), expected.map(str::to_owned).to_vec()), "{printed}");
    assert!(printed.contains("granted without ZohoDirectory.Users.UPDATE"), "{printed}");
}

/// `check` reports a protection that matches no user, before an administrator relies on it.
#[test]
fn check_of_protections() {
    let folder = Folder::new();
    let sandbox = Sandbox::at("127.0.0.1:0", &folder.0, &[]);
    let sound = "object ok, secret ok, server ok, settings ok, account ok, permissions ok";
    for (entries, code, lines, expected) in [
        ("ceo@zylker.biz, '700012399'", 0, "", ""),
        (
            "ceo@zylker.bz",
            2,
            ", protection wrong",
            "the directory has no user ceo@zylker.bz, so this entry protects no one",
        ),
        (
            "support@zylker.biz, ceo@zylker.biz",
            2,
            ", protection wrong",
            "2 users match support@zylker.biz. Name the user by id",
        ),
    ] {
        let text = directory(&sandbox.url);
        folder.write("directory.yaml", text.replace("users: [ceo@zylker.biz]", &format!("users: [{entries}]")));
        let (ended, found_lines, printed) = check(&folder, "directory.yaml", &[]);
        assert_eq!((ended, found_lines.join(", ")), (Some(code), format!("{sound}{lines}")), "{entries}: {printed}");
        assert!(printed.contains(expected), "{entries}: {printed}\nshould say: {expected}");
    }
}

/// What a request would result in, without one.
#[test]
fn check_of_a_user() {
    let folder = Folder::new();
    let sandbox = Sandbox::at("127.0.0.1:0", &folder.0, &[]);
    let second = "  - name: board\n    namespaces: [board-desk]\n    modes: [MFA]\n    users: {groups: [Nobody]}\n    approvals: {count: 2}\n  \
                  - name: anybody\n    namespaceSelector: {matchLabels: {a: b}}\n    modes: [Password]\n    users: {everyone: true}\n  protect:";
    folder.write("directory.yaml", directory(&sandbox.url).replace("  protect:", second));
    let allowed = "user ok, eligibility ok, protection ok, rule ok, rule note, rule ok, rule note";
    for (user, code, lines, expected) in [
        ("annette.c@zylker.biz", 0, allowed, "Password from namespace helpdesk: rule staff allows it."),
        ("700012399", 0, allowed, "annette.c@zylker.biz (id 700012399)."),
        ("nobody@zylker.biz", 2, "user wrong", "has no user with the address, name or id nobody@zylker.biz"),
        ("support@zylker.biz", 2, "user wrong", "2 users match support@zylker.biz"),
        ("bruno.k@zylker.biz", 2, "user ok, eligibility wrong", "has not confirmed the account yet"),
        ("daniel.f@zylker.biz", 2, "user ok, eligibility wrong", "is not active in the directory"),
        ("ines.m@zylker.biz", 2, "user ok, eligibility wrong", "signs in through another identity provider"),
        ("ceo@zylker.biz", 2, "user ok, eligibility ok, protection wrong", "listed in spec.protect.users"),
        ("femi.a@zylker.biz", 2, "user ok, eligibility ok, protection wrong", "an administrator of the directory"),
    ] {
        let (ended, found_lines, printed) = check(&folder, "directory.yaml", &["--user", user]);
        let found_lines: Vec<String> = found_lines.into_iter().skip(6).collect();
        assert_eq!((ended, found_lines.join(", ").as_str()), (Some(code), lines), "{user}: {printed}");
        assert!(printed.contains(expected), "{user}: {printed}\nshould say: {expected}");
    }
    // Of no namespace is it known what its labels are, and one that no rule allows anything is wrong.
    folder.write(
        "elsewhere.yaml",
        directory(&sandbox.url).replace("emailDomains: [zylker.biz]", "emailDomains: [acme.example]"),
    );
    let (code, lines, printed) = check(&folder, "elsewhere.yaml", &["--user", "annette.c@zylker.biz"]);
    assert_eq!(
        (code, &lines[6..]),
        (Some(2), &["user ok", "eligibility ok", "protection ok", "rule wrong", "rule wrong"].map(str::to_owned)[..]),
        "{printed}"
    );
    assert!(printed.contains("MFA from namespace helpdesk: no rule allows it."), "{printed}");
    assert_eq!((sandbox.count("reset-password"), sandbox.count("reset-mfa")), (0, 0), "only looked at");
}
