//! `credreset new`: manifests that people file.
#![cfg(test)]
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use credreset::api::CredentialReset;
use serde_json::json;

mod support;
use support::folder::{Folder, captured};

fn new(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_credreset"))
        .arg("new")
        .args(if arguments.contains(&"--directory") { &[][..] } else { &["--directory", "zylker"] })
        .args(arguments)
        .env("KUBECONFIG", "/nowhere/kubeconfig")
        .env_remove("KUBERNETES_SERVICE_HOST")
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
    let keys =
        [age::x25519::Identity::generate(), age::x25519::Identity::generate()].map(|key| key.to_public().to_string());
    let sealed = ["annette.c@zylker.biz", "--sealed-for", &keys[0], "--sealed-for", &keys[1]];
    let output = new(&[&sealed, &reason[..]].concat(), b"");
    let request = requests(std::str::from_utf8(&output.stdout).unwrap()).remove(0);
    assert_eq!(request.spec.password.as_ref().unwrap().deliver_to.as_ref().unwrap().sealed_for, keys);
    assert!(request.request().is_ok());
    let output = new(&[&["annette.c@zylker.biz", "--sealed-for", &keys[0][..60]], &reason[..]].concat(), b"");
    assert!(String::from_utf8_lossy(&output.stderr).contains("this is not a valid age recipient"), "{output:?}");
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
    let cases: [(Vec<&str>, &[u8], &str); 24] = [
        (vec!["a@b.example", "--reason", "short"], b"", "--reason must have 8 to 1024 characters"),
        (with(&["a@b.example", "A@B.example"]), b"", "A@B.example is named twice"),
        (with(&["a@b.example", "--valid-for", "169h"]), b"", "at most 168h"),
        (with(&["a@b.example", "--valid-for", "PT24H"]), b"", "it must be at most 168h, such as 24h or 2d"),
        (with(&["a@b.example", "--expires-after", "30m"]), b"", "it must be 1h to 720h, such as 24h or 7d"),
        (with(&["annette@"]), b"", "email must be an address such as annette.c@zylker.biz"),
        (with(&["a@b.example,c@b.example"]), b"", "email must be an address"),
        (with(&["a@b.example", "--directory", "Zylker AD"]), b"", "a name has lower case letters, digits"),
        (with(&["a@b.example", "--namespace", "Help Desk"]), b"", "metadata.namespace must be"),
        (with(&["a@b.example", "--requested-by", ""]), b"", "spec.requestedBy: value is shorter than 1 character"),
        (with(&["--from-csv", "-"]), b"user,user\na,b\n", "- has two columns named user"),
        (with(&[" "]), b"", "a user is blank"),
        (
            with(&["--from-csv", "-"]),
            b"name;e-mail\na;b\n",
            "- has no column named user in its first line, which has: name, e-mail (--column names another one)",
        ),
        (with(&["--from-csv", "-"]), b"", "- has no column named user in its first line, which is empty"),
        (with(&["--from-csv", "-", "--column", "who"]), b"user\na\n", "- has no column named who in its first line"),
        (with(&["--from-csv", "-"]), b"\xff\xfeu\0s\0e\0r\0", "- is UTF-16 text: save it as CSV in UTF-8"),
        (
            with(&["a@b.example", "--label", "incident"]),
            b"",
            "'--label <KEY=VALUE>': not KEY=VALUE, such as team=sales",
        ),
        (with(&["a@b.example", "--label", "a b=c"]), b"", "its key is not one such as team or zylker.biz/team"),
        (with(&["a@b.example", "--incident", "../x"]), b"", "'--incident <NAME>': not a name such as inc-88"),
        (with(&["a@b.example", "--again"]), b"", "the following required arguments were not provided: --into <DIR>"),
        (with(&["--from-csv", "-"]), b"user\n", "- has no users"),
        (with(&["--from-csv", "-"]), b"user,x\na@b.example,1\n,2\n", "- line 3 has no user"),
        (with(&["--from-csv", "-"]), b"user\n\xfc@b.example\n", "- the user in line 2 is not UTF-8 text"),
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

/// What a cluster is asked: who the caller is, and which requests have ended.
struct Api {
    user: &'static str,
    /// Names of the requests of namespace helpdesk that have an outcome.
    ended: Vec<String>,
}

impl Api {
    /// The path of a kubeconfig for it, in `folder`.
    fn serve(self, folder: &Folder) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let body = self.answer(&first).to_string();
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
                let _ = write!(stream, "{head}\r\nConnection: close\r\n\r\n{body}");
            }
        });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [{"name": "x", "cluster": {"server": server}}], "users": [{"name": "x", "user": {}}],
        });
        folder.write("kubeconfig", config.to_string());
        folder.0.join("kubeconfig").display().to_string()
    }

    fn answer(&self, request: &str) -> serde_json::Value {
        if request.contains("selfsubjectreviews") {
            let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}});
            let mut review = review;
            review["status"] = json!({"userInfo": {"username": self.user}});
            return review;
        }
        if request.contains("/namespaces/helpdesk/credentialresets") {
            let ended = |name: &String| {
                let user = json!({"email": "annette.c@zylker.biz"});
                let spec = json!({
                    "directory": "zylker", "user": user, "mode": "Password", "password": {"generate": {}, "deliverTo": {"secret": name}},
                    "requestedAt": "2026-11-24T09:00:00Z", "reason": "Locked out: HELP-4711",
                });
                json!({
                    "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset",
                    "metadata": {"name": name, "namespace": "helpdesk"}, "spec": spec, "status": {"outcome": "Applied"},
                })
            };
            let items: Vec<_> = self.ended.iter().map(ended).collect();
            return json!({"apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialResetList", "metadata": {}, "items": items});
        }
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "credreset.dev/v1alpha1", "resources": []})
    }
}

/// `credreset new` in a folder, with this kubeconfig.
fn new_in(folder: &Folder, kubeconfig: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = folder.command(Path::new(env!("CARGO_BIN_EXE_credreset")));
    command.env("KUBECONFIG", kubeconfig).args(["new", "--directory", "zylker", "--reason", "Locked out: HELP-4711"]);
    captured(&command.args(arguments).output().unwrap())
}

/// Manifests below a folder, by path.
fn written(folder: &Folder) -> BTreeMap<String, CredentialReset> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.0.clone()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            if entry.path().is_dir() {
                left.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "yaml") {
                let name = entry.path().strip_prefix(&folder.0).unwrap().display().to_string();
                found.insert(name, requests(&fs::read_to_string(entry.path()).unwrap()).remove(0));
            }
        }
    }
    found
}

/// Whoever is known to the cluster is the requester; whoever is not, or is no person, learns that none was named.
#[test]
fn the_caller_asks() {
    let folder = Folder::new();
    for (user, by, note) in [
        ("hana@zylker.biz", Some("hana@zylker.biz"), ""),
        (
            "system:serviceaccount:ci:bot",
            None,
            "note: you are system:serviceaccount:ci:bot, which is not a person, so spec.requestedBy",
        ),
    ] {
        let kubeconfig = Api { user, ended: Vec::new() }.serve(&folder);
        let (code, out, error) = new_in(&folder, &kubeconfig, &["annette.c@zylker.biz"]);
        assert_eq!(code, Some(0), "{error}");
        assert_eq!(requests(&out)[0].spec.requested_by.as_deref(), by, "{out}");
        assert!(error.starts_with(note) && error.lines().count() == usize::from(!note.is_empty()), "{error}");
        let (_, out, error) = new_in(&folder, &kubeconfig, &["annette.c@zylker.biz", "--requested-by", "olga"]);
        assert_eq!((requests(&out)[0].spec.requested_by.as_deref(), error.as_str()), (Some("olga"), ""));
    }
    let (code, out, error) = new_in(&folder, "/dev/null", &["annette.c@zylker.biz"]);
    assert_eq!((code, requests(&out)[0].spec.requested_by.as_deref()), (Some(0), None));
    assert_eq!(
        error,
        "note: no cluster says who you are, so spec.requestedBy is left out; --requested-by names the person who asks\n"
    );
}

/// A second request for a user resets them a second time: it is written only if that is asked for, or the first has ended.
#[test]
fn once_for_each_user() {
    let folder = Folder::new();
    let into = |kubeconfig: &str, more: &[&str]| {
        new_in(&folder, kubeconfig, &[&["--into", "resets", "--requested-by", "hana"], more].concat())
    };
    folder.write("list.csv", "user\nannette.c@zylker.biz\nhiro.t@zylker.biz\nbruno.k@zylker.biz\n");
    assert_eq!(into("/nowhere", &["--from-csv", "list.csv", "--incident", "inc-88"]).0, Some(0));
    let before = written(&folder);
    assert_eq!(before.len(), 3);
    let first = before.keys().find(|name| name.contains("annette")).unwrap();
    for (more, expected) in [
        (
            &["--from-csv", "list.csv", "--incident", "inc-88"][..],
            format!(
                "annette.c@zylker.biz has a request already that has not ended ({first}), and 2 more users have one: --again writes another"
            ),
        ),
        (
            &["ANNETTE.C@zylker.biz"],
            format!("ANNETTE.C@zylker.biz has a request already that has not ended ({first}): --again"),
        ),
        (
            &["bruno.k@zylker.biz", "hiro.t@zylker.biz", "new@zylker.biz"],
            ", and one more user has one: --again".to_owned(),
        ),
    ] {
        let (code, out, error) = into("/nowhere", more);
        assert!(code == Some(1) && out.is_empty() && error.contains(&expected), "{error}\nshould say: {expected}");
        assert_eq!((error.lines().count(), written(&folder).len()), (1, 3), "nothing is written");
    }
    // Of another mode, in another Directory, or not into that folder.
    assert_eq!(into("/nowhere", &["annette.c@zylker.biz", "--mfa"]).0, Some(0));
    assert_eq!(new_in(&folder, "/nowhere", &["hiro.t@zylker.biz", "--into", "elsewhere"]).0, Some(0));
    assert_eq!(new_in(&folder, "/nowhere", &["hiro.t@zylker.biz"]).0, Some(0));
    // The cluster says that one has ended.
    let name = first.rsplit('/').next().unwrap().trim_end_matches(".yaml").to_owned();
    let kubeconfig = Api { user: "hana", ended: vec![name] }.serve(&folder);
    let (code, _, error) = into(&kubeconfig, &["annette.c@zylker.biz", "hiro.t@zylker.biz"]);
    assert!(code == Some(1) && error.contains("hiro.t@zylker.biz has a request already"), "{error}");
    let (code, out, error) = into(&kubeconfig, &["annette.c@zylker.biz", "--incident", "inc-89"]);
    assert_eq!((code, out.as_str(), error.as_str()), (Some(0), "1 request in resets/inc-89\n", ""));
    assert_eq!(into("/nowhere", &["bruno.k@zylker.biz", "--again", "--incident", "inc-89"]).0, Some(0));
    // What has ended by the clock is no obstacle.
    let old = Folder::new();
    let mut ended = before[first].clone();
    ended.spec.requested_at = serde_json::from_value(json!("2026-01-01T09:00:00Z")).unwrap();
    old.write("resets/old.yaml", serde_json::to_string(&ended).unwrap());
    assert_eq!(new_in(&old, "/nowhere", &["annette.c@zylker.biz", "--into", "resets"]).0, Some(0));
    // A folder that cannot be read says so.
    old.write("resets/broken.yaml", "}");
    let (code, _, error) = new_in(&old, "/nowhere", &["hiro.t@zylker.biz", "--into", "resets"]);
    assert!(code == Some(1) && error.contains("resets/broken.yaml is not YAML"), "{error}");
}

/// Labels, and what an incident stands for.
#[test]
fn labels_and_incidents() {
    let folder = Folder::new();
    let flags = ["--incident", "inc-88", "--label", "team=sales", "--label", "zylker.biz/shift=", "--into", "resets"];
    let (code, out, error) = new_in(&folder, "/nowhere", &[&["annette.c@zylker.biz"], &flags[..]].concat());
    let wrong = "'--label <KEY=VALUE>': not a name such as inc-88";
    assert!(code == Some(1) && error.contains(wrong), "{error}");
    let flags = flags.map(|flag| if flag.ends_with('=') { "zylker.biz/shift=2" } else { flag });
    let (code, out_2, _) = new_in(&folder, "/nowhere", &[&["annette.c@zylker.biz"], &flags[..]].concat());
    assert_eq!((code, out.as_str(), out_2.as_str()), (Some(0), "", "1 request in resets/inc-88\n"));
    let (name, request) = written(&folder).pop_first().unwrap();
    assert!(name.starts_with("resets/inc-88/annette-c-"), "{name}");
    let labels = request.metadata.labels.unwrap();
    let expected = [("incident", "inc-88"), ("team", "sales"), ("zylker.biz/shift", "2")];
    assert_eq!(labels, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(request.spec.reason, "inc-88: Locked out: HELP-4711");
    // The folder and the reason may name it already.
    let named = ["hiro.t@zylker.biz", "--incident", "HELP-4711", "--into", "resets/HELP-4711"];
    assert_eq!(new_in(&folder, "/nowhere", &named).1, "1 request in resets/HELP-4711\n");
    let (_, request) = written(&folder).into_iter().find(|(name, _)| name.contains("hiro")).unwrap();
    assert_eq!(request.spec.reason, "Locked out: HELP-4711");
}

/// Lists as spreadsheets and people write them.
#[test]
fn lists_as_they_are() {
    let users = |output: &Output| -> Vec<String> {
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let all = requests(std::str::from_utf8(&output.stdout).unwrap());
        all.into_iter().map(|request| request.spec.user.email.unwrap()).collect()
    };
    let list = |input: &[u8], more: &[&str]| {
        new(&[&["--from-csv", "-", "--reason", "Phished, INC-88", "--requested-by", "hana"], more].concat(), input)
    };
    let expected = ["a@b.example", "c@b.example"];
    for (input, more) in [
        (&b"name,user\nA,a@b.example\nC,c@b.example\n"[..], &[][..]),
        (b"name;user\r\nA;a@b.example\r\nC;c@b.example\r\n", &[]),
        (b"\xef\xbb\xbfuser\tname\na@b.example\tA\n c@b.example \tC", &[]),
        (b"Name;User\n\"A; B\";a@b.example\nC;c@b.example\n", &[]),
        (b"User,user\nx@b.example,a@b.example\ny@b.example,c@b.example\n", &[]),
        (b"E-Mail;name,first\na@b.example;A\nc@b.example;C\n", &["--column", "e-mail"]),
        // What a German Excel writes.
        (b"Vorname;user\nJ\xfcrgen;a@b.example\nC;c@b.example\n", &[]),
    ] {
        let output = list(input, more);
        assert_eq!(users(&output), expected, "{input:?}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // Who is named again gets one request, and a line says where.
    let output = list(b"user\na@b.example\nc@b.example\nA@b.example\n\na@b.example\nd@b.example\n", &["d@b.example"]);
    assert_eq!(users(&output), ["d@b.example", "a@b.example", "c@b.example"]);
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "note: named more than once, and written once: d@b.example (line 7), a@b.example (lines 2, 4, 6)\n"
    );
    let twice: Vec<String> = (1..=20).flat_map(|n| [format!("u{n}@b.example"), format!("u{n}@b.example")]).collect();
    let output = list(format!("user\n{}", twice.join("\n")).as_bytes(), &[]);
    assert_eq!(users(&output).len(), 20);
    assert!(String::from_utf8(output.stderr).unwrap().ends_with("u5@b.example (lines 10, 11) and 15 more\n"));
}
