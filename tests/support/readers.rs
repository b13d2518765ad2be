//! Folders of manifests, made from a seed, and the tools that read them: what `credreset plan` sees is compared with.
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{folder::Folder, python::python};

/// Numbers that are the same at every run (`SplitMix64`).
pub struct Random(pub u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Texts, as YAML may write them, that every tool reads alike.
const REASONS: [&str; 19] = [
    "Locked out, identity checked by phone, HELP-4711",
    "\"Locked out: HELP-4711 \\x41 \\u00e9 \\\"\"",
    "'it''s locked out # HELP-4711'",
    "Locked out # by himself, says the help desk",
    "Locked out:HELP-4711, says {she} [today], 100%",
    "Locked out,\n    and for good",
    "\"Locked out \\\n    and for good\"",
    "'locked out,\n    and\n\n    for good'",
    "|\n    Locked out\n      today # yes\n",
    ">\n    Locked out\n    today\n\n    again\n",
    "|-\n    Locked out --- today\n    ---\n",
    ">-\n    Locked out, HELP-4711\n\n",
    "-locked out, HELP-4711",
    "12345678-aaaa-4bbb-8ccc-1234567890ab",
    "2026-11-24T09:00:00Z",
    "0x, 020 and 1_000 of them are locked out",
    "'20:30:12:12:12'",
    "\"2026-11-24\"",
    "Ausgesperrt, sagt Jürgen 😀",
];

/// A request in one of the ways to write one.
fn request(random: &mut Random, name: &str) -> String {
    let asked =
        (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(2)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let email = format!("{name}@zylker.biz");
    let object = json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset", "metadata": {"name": name, "namespace": "helpdesk"},
        "spec": {
            "directory": "zylker", "user": {"email": email}, "mode": "MFA",
            "mfa": {"confirm": email}, "requestedAt": asked, "reason": "Locked out, HELP-4711",
        },
    });
    let quote = random.one(&["", "'", "\""]);
    match random.below(6) {
        0 => object.to_string() + "\n",
        1 => serde_json::to_string_pretty(&object).unwrap() + "\n",
        2 => serde_json::to_string_pretty(&object).unwrap().replace("  ", "\t") + "\n",
        3 => format!(
            "{{apiVersion: credreset.dev/v1alpha1, kind: CredentialReset, metadata: {{name: {name}, namespace: helpdesk}},\n  spec: {{directory: \
             {quote}zylker{quote}, user: {{email: {email}}}, mode: MFA, # both\n    mfa: {{confirm: {email}}}, \
             \"requestedAt\":'{asked}', reason: Locked out}}\n  }}\n"
        ),
        _ => {
            let reason = random.one(&REASONS);
            let more = random.one(&[
                "",
                "  requestedBy: hana@zylker.biz\n",
                "  requestedBy: >-\n    hana\n",
                "\n  # the end\n",
            ]);
            format!(
                "# HELP-4711\napiVersion: credreset.dev/v1alpha1\nkind: CredentialReset\nmetadata:\n  name: {quote}{name}{quote}\n  namespace: \
                 helpdesk\nspec:\n  directory: zylker\n  user:   {{email: {email}}}\n  mode: Password\n  password:\n    generate:\n      \
                 length: 20\n    deliverTo: {{secret: {name}}}\n  requestedAt: {quote}{asked}{quote}\n  validFor: 2h\n  reason: {reason}\n{more}"
            )
        }
    }
}

/// The same in a list of which every tool takes the items.
fn listed(random: &mut Random, request: &str) -> String {
    let head = random.one(&[
        "apiVersion: v1\nkind: List\n",
        "apiVersion: credreset.dev/v1alpha1\nkind: CredentialResetList\n",
        "apiVersion: v1\nkind: FooList\nmetadata: {resourceVersion: ''}\n",
    ]);
    let text = request.trim_end_matches('\n').replace('\t', "  ").replace('\n', "\n  ");
    format!("{head}items:\n- {}\n", text.trim_start_matches("# HELP-4711\n  "))
}

/// A text of one or more documents, with `odd` in the place of one of them.
fn text(random: &mut Random, name: &str) -> String {
    let mut text = random.one(&["", "", "---\n", "# a comment\n---\n", "\n\n"]).to_owned();
    for number in 0..=random.below(3) {
        if number > 0 {
            text += random.one(&["---\n", "--- # another\n", "---\n# none here\n---\n", "\n---   \n\n"]);
        }
        let one = request(random, &format!("{name}-{number}"));
        // Tabs are for files that are one JSON text.
        text += &if random.once_in(4) { listed(random, &one) } else { one.replace('\t', "  ") };
    }
    match random.below(8) {
        0 => text.replace('\n', "\r\n"),
        1 => format!("\u{feff}{text}"),
        2 => request(random, &format!("{name}-0")),
        3 => text.trim_end_matches('\n').to_owned() + "\n---\n",
        _ => text,
    }
}

/// What is put into a text anywhere, to see how tools read it.
const BITS: [&str; 62] = [
    "\t",
    "\u{85}",
    "\u{2028}",
    "\u{2029}",
    "\r",
    "\u{a0}",
    "\u{feff}",
    " ",
    "  ",
    "#",
    " #",
    ":",
    ": ",
    "-",
    "- ",
    "\n",
    "\n\n",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    ",",
    "...\n",
    "\n...\n",
    "---",
    "\n---\n",
    "\n--- ",
    "%YAML 1.1\n---\n",
    "&a ",
    "*a",
    "!!str ",
    "!x ",
    "<<: ",
    "? ",
    "|",
    ">",
    "|+\n",
    "|2\n",
    ">-\n",
    "\\",
    "\\\n",
    "\\x41",
    "\\/",
    "\\u0041",
    "%",
    "@",
    "`",
    "\u{3000}",
    "\u{200b}",
    "é",
    "\n  ",
    "\n    ",
    "\n      ",
    "  #c\n",
    "\r\n",
    "~",
    "null",
    "=",
    "0",
    "_",
];

fn mutated(random: &mut Random, mut text: String) -> String {
    for _ in 0..=random.below(2) {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = places[random.below(places.len())];
        if random.once_in(4) {
            text.remove(at);
        } else {
            text.insert_str(at, random.one(&BITS));
        }
    }
    text
}

/// What a plan has to make of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// Every tool reads the same.
    Accept,
    /// They differ, or take something else from it than requests.
    Refuse,
    /// Either: what is accepted is compared.
    Agree,
}

#[allow(clippy::too_many_lines, reason = "a table")]
/// A request with a line in it that means different things to different tools, or is not for a folder of requests.
pub fn odd(name: &str) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let plain = |spec: &str| {
        format!(
            "apiVersion: credreset.dev/v1alpha1\nkind: CredentialReset\nmetadata: {{name: {name}, namespace: helpdesk}}\nspec:\n  directory: zylker\n  \
             user: {{email: annette.c@zylker.biz}}\n  mode: MFA\n  mfa: {{confirm: annette.c@zylker.biz}}\n  requestedAt: 2099-01-01T00:00:00Z\n{spec}"
        )
    };
    let fine = plain("  reason: Locked out, HELP-4711\n");
    let item = fine.replace('\n', "\n  ");
    let with = |spec: &str| plain(spec).into_bytes();
    let one_line = |end: &str| format!("# nothing to see here\n{}", fine.replace('\n', end)).into_bytes();
    let mut all = vec![
        ("kustomization.yaml", b"resources: [a.yaml]\n".to_vec(), "With a kustomization, tools apply"),
        ("kustomization.yml", b"resources: [a.yaml]\n".to_vec(), "With a kustomization, tools apply"),
        ("Kustomization", b"resources: [a.yaml]\n".to_vec(), "With a kustomization, tools apply"),
        ("x.jsonnet", b"{}".to_vec(), "Argo CD applies what a program in Jsonnet prints"),
        ("x.YAML", fine.clone().into_bytes(), "kubectl and Argo CD ignore a file whose name ends in .YAML"),
        (
            ".x.yaml",
            b"{apiVersion: v1, kind: Secret, metadata: {name: x}}".to_vec(),
            "Kind Secret of v1 is not a CredentialReset",
        ),
        (
            "x.json",
            b"{\"apiVersion\": \"other.dev/v1\", \"kind\": \"CredentialReset\"}".to_vec(),
            "of other.dev/v1 is not a CredentialReset",
        ),
        ("Chart.yaml", b"apiVersion: v2\nname: x\n".to_vec(), "Argo CD applies what Helm renders"),
        ("x.yaml", b"- a\n".to_vec(), "An object without a kind"),
        ("x.yaml", one_line("\u{85}"), "Line 2 has the hidden character \\u{85}"),
        ("x.yaml", one_line("\u{2028}"), "Line 2 has the hidden character \\u{2028}"),
        ("x.yaml", one_line("\u{2029}"), "Line 2 has the hidden character \\u{2029}"),
        ("x.yaml", one_line("\r"), "Line 2 has the hidden character \\u{d}"),
        ("x.yaml", format!("{fine}---\n\u{feff}{fine}").into_bytes(), "Line 12 has the hidden character \\u{feff}"),
        ("x.yaml", "a\u{202e}b".as_bytes().to_vec(), "Line 1 has the hidden character \\u{202e}"),
        ("x.yaml", "k\0i\0n\0d\0".as_bytes().to_vec(), "Line 1 has the hidden character \\u{0}"),
        (
            "x.yaml",
            [&[0xff, 0xfe][..], &fine.bytes().flat_map(|b| [b, 0]).collect::<Vec<u8>>()].concat(),
            "is not a UTF-8 text file",
        ),
        ("x.yaml", b"# J\xfcrgen\n".to_vec(), "is not a UTF-8 text file"),
        (
            "x.yaml",
            with("  reason: \"Locked out\\u2028today\"\n"),
            "Line 10 has an escape for the hidden character \\u{2028}",
        ),
        ("x.yaml", with("  reason: Locked out\ttoday\n"), "Line 10 has a tab"),
        ("x.yaml", format!("{fine}...\n{fine}").into_bytes(), "Line 11 has a line that begins with ..."),
        ("x.yaml", format!("%YAML 1.1\n---\n{fine}").into_bytes(), "Line 1 has a line that begins with %"),
        ("x.yaml", format!("--- {{}}\n---\n{fine}").into_bytes(), "Line 1 has text after ---"),
        ("x.yaml", with("  reason: &a Locked out, today\n"), "Line 10 has an anchor (&)"),
        ("x.yaml", with("  reason: &a Locked out, today\n  requestedBy: *a\n"), "Line 10 has an anchor (&)"),
        ("x.yaml", with("  reason: !!str Locked out, today\n"), "Line 10 has a tag (!)"),
        ("x.yaml", with("  <<: {reason: Locked out}\n"), "Line 10 has <<, which parsers read differently"),
        ("x.yaml", with("  reason: Locked out\n  reason: Locked in again\n"), "Line 11 has reason for the second time"),
        ("x.yaml", with("  reason: \"Locked out \\/ today\"\n"), "Line 10 has an escape"),
        ("x.json", with("  reason: \"Locked out \\ud83d\\ude00 today\"\n"), "Line 10 has an escape"),
        ("x.yaml", with("  reason: |\n    Locked out\n    today"), "Line 11 has a block of text (| or >)"),
        (
            "x.yaml",
            with("  reason: |+\n    Locked out\n\n\n"),
            "Line 11 has a block of text (|+ or >+) with empty lines",
        ),
        ("x.json", fine.replace("{confirm:", "{\"confirm\"\n    :").into_bytes(), "Line 8 has confirm without a colon"),
        ("x.yaml", with("  1: x\n"), "Line 10 has a key that is not a string"),
        ("x.yaml", with("  {reason: x}: x\n"), "Line 10 has a key that is not a string"),
        (
            "x.yaml",
            format!("apiVersion: v1\nkind: Whatever\nitems:\n- {item}\n").into_bytes(),
            "Some tools expand an object with items",
        ),
        ("x.yaml", format!("{fine}items:\n- {item}\n").into_bytes(), "Some tools expand an object with items"),
        (
            "x.yaml",
            b"apiVersion: v1\nkind: CredentialResetList\nitems: [{metadata: {name: x}}]\n".to_vec(),
            "Some tools expand an object with items",
        ),
        (
            "x.yaml",
            format!(
                "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items:\n  - {}\n",
                item.replace('\n', "\n  ")
            )
            .into_bytes(),
            "Some tools expand an object with items",
        ),
        ("x.yaml", b"apiVersion: v1\nkind: List\nitems: {}\n".to_vec(), "Some tools expand an object with items"),
        ("x.yaml", b"a: ".repeat(3).into_iter().chain(*b"\n").collect(), "is not YAML: line 1"),
        ("x.yaml", [b"a: ".to_vec(), b"[".repeat(100), b"]".repeat(100)].concat(), "Line 1 has more than 64 levels"),
    ];
    for scalar in [
        "020",
        "0o20",
        "1_000",
        "0x1F",
        "0b11",
        "+5",
        "-0",
        "1.5",
        "1e3",
        ".5",
        ".inf",
        "-.INF",
        ".NaN",
        "1:30",
        "190:20:30.15",
        "yes",
        "No",
        "ON",
        "off",
        "y",
        "N",
        "True",
        "FALSE",
        "Null",
        "=",
        "2026-11-24",
        "2026-11-24 09:00:00",
        "2026-11-24T9:00:00Z",
        "2026-11-24t09:00:00z",
        "2026-11-24T09:00:00+00:00",
        "9999999999999999999",
        ":x",
        "?x",
    ] {
        all.push(("x.yaml", with(&format!("  reason: {scalar}\n")), "which parsers read differently"));
    }
    all
}

/// Writes folder number `number`, of requests that begin with its name.
pub fn write(folder: &Folder, random: &mut Random, number: usize) -> (PathBuf, Must) {
    let name = format!("f{number:04}");
    let mut files = vec![(
        random.one(&["a.yaml", ".hidden.yml", "2026/a.yaml", ".2026/b.yml"]),
        text(random, &format!("{name}-a")),
    )];
    if random.once_in(3) {
        files.push((random.one(&["b.yaml", "b.json"]), text(random, &format!("{name}-b"))));
    }
    files.push((
        random.one(&["README.md", ".gitkeep", "empty.yaml", "CODEOWNERS"]),
        random.one(&["", "# only a comment\n"]).to_owned(),
    ));
    let must = match number % 5 {
        0 | 1 => Must::Accept,
        2 => Must::Refuse,
        _ => Must::Agree,
    };
    if must == Must::Agree {
        files[0].1 = mutated(random, std::mem::take(&mut files[0].1));
    }
    for (file, text) in files {
        folder.write(&format!("{name}/{file}"), text);
    }
    let path = folder.0.join(&name);
    if must == Must::Refuse {
        let all = odd(&format!("{name}-x"));
        // Each in its turn, and a link after them.
        match all.get(number / 5 % (all.len() + 1)) {
            Some((file, text, _)) => folder.write(&format!("{name}/{}{file}", random.one(&["", "deep/"])), text),
            None => symlink("a.yaml", path.join("link")).unwrap(),
        }
    }
    (path, must)
}

/// Name, namespace and what else a plan shows of a request.
pub type Seen = [String; 7];

/// What a plan lists.
pub fn planned(report: &Value) -> Vec<Seen> {
    let of = |request: &Value| {
        ["name", "namespace", "directory", "mode", "user", "requestReason", "requestedBy"]
            .map(|f| request[f].as_str().unwrap_or_default().to_owned())
    };
    report["requests"].as_array().unwrap().iter().map(of).collect()
}

/// The requests in what a tool has read.
fn seen(objects: impl IntoIterator<Item = Value>) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut objects: Vec<Value> = objects.into_iter().collect();
    while let Some(object) = objects.pop() {
        if let Some(items) = object["items"].as_array() {
            objects.extend(items.iter().cloned());
        } else if !object.is_null() {
            assert_eq!(object["kind"], "CredentialReset", "{object}");
            let fields = [
                "/metadata/name",
                "/metadata/namespace",
                "/spec/directory",
                "/spec/mode",
                "/spec/user/email",
                "/spec/reason",
                "/spec/requestedBy",
            ];
            all.push(fields.map(|field| {
                let value = object.pointer(field).unwrap_or(&Value::Null);
                value
                    .as_str()
                    .map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
            }));
        }
    }
    all.sort();
    all
}

fn kubectl() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/servers/build.sh");
    let output = Command::new(script).arg("kubectl").stderr(Stdio::inherit()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    Command::new(
        printed
            .trim()
            .strip_prefix("KUBECTL=")
            .unwrap_or_else(|| panic!("tests/support/servers/build.sh kubectl: {printed}")),
    )
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.env("KUBECONFIG", "/dev/null").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{error}\nof {command:?}");
    output.stdout
}

/// What each tool finds in these folders, which are below `root`: kubectl (and Argo CD, by the same library), kustomize (and Flux), and a
/// plain reader of YAML 1.1.
pub fn tools(root: &Path, folders: &[PathBuf]) -> Vec<(&'static str, Vec<Seen>)> {
    let mut files = Vec::new();
    let mut inner = folders.to_vec();
    while let Some(folder) = inner.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                inner.push(path);
            } else if path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known)) {
                files.push(path);
            }
        }
    }
    // It reads as `kubectl apply -R -f` does, and asks no server.
    let mut annotate = kubectl();
    annotate.args(["annotate", "--local", "-o", "json", "seen=yes", "-R"]);
    annotate.args(folders.iter().flat_map(|folder| [Path::new("-f"), folder]));
    let by_kubectl = serde_json::Deserializer::from_slice(&run(&mut annotate))
        .into_iter()
        .map(Result::unwrap)
        .collect::<Vec<Value>>();

    let mut list = String::from("resources:\n");
    for file in &files {
        let _ = writeln!(list, "- {}", file.strip_prefix(root).unwrap().display());
    }
    fs::write(root.join("kustomization.yaml"), list).unwrap();
    fs::write(root.join("kustomized.yaml"), run(kubectl().arg("kustomize").arg(root))).unwrap();

    let read = |files: &[PathBuf]| {
        let mut child = Command::new(python("pyyaml", "PyYAML==6.0.3"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/read_yaml.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut stdin = child.stdin.take().unwrap();
        let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let writer = std::thread::spawn(move || stdin.write_all(names.join("\n").as_bytes()));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success(), "read_yaml.py has failed");
        serde_json::Deserializer::from_slice(&output.stdout)
            .into_iter::<Vec<Value>>()
            .flat_map(Result::unwrap)
            .collect::<Vec<Value>>()
    };
    let kustomized = read(&[root.join("kustomized.yaml")]);
    vec![("kubectl", seen(by_kubectl)), ("kustomize", seen(kustomized)), ("PyYAML", seen(read(&files)))]
}
