//! The repository itself: generated files, dependencies, and what documents promise.
#![cfg(test)]
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use credreset::api::{directory::Directory, reset::CredentialReset};
use serde_json::Value;

mod support;
use support::{blocks, fences, pages, sources::sources};

/// What `make crds` writes: for users who apply them, and for the chart, which takes no links.
const CRDS: [&str; 2] = ["crds", "charts/credreset-crds/templates"];

/// The files of a folder, by their names.
fn files_of(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries
        .flatten()
        .map(|entry| (entry.file_name().into_string().unwrap(), text(entry.path().to_str().unwrap())))
        .collect()
}

/// The kinds as they are installed.
fn definitions() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    files_of(&root.join(CRDS[0])).values().map(|text| serde_saphyr::from_str(text).unwrap()).collect()
}

fn text(relative: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(relative);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn definitions_are_as_generated() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("definitions");
    let program = Command::new(env!("CARGO_BIN_EXE_credreset")).args(["crds", "--into"]).arg(&folder).status();
    assert!(program.unwrap().success());
    let made = files_of(&folder);
    assert_eq!(made.len(), 5);
    for committed in CRDS {
        assert_eq!(
            files_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join(committed)),
            made,
            "{committed}: run make crds"
        );
    }
    assert!(made.values().all(|text| !text.contains("{{")), "helm would take it for a template");
    // A stream of the same.
    let stream = Command::new(env!("CARGO_BIN_EXE_credreset")).arg("crds").output().unwrap().stdout;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(stream).unwrap()).unwrap();
    assert_eq!(documents.len(), made.len());
    assert!(definitions().iter().all(|one| documents.contains(one)));
}

/// Blocks that no test runs, and why.
const NOT_RUN: [(&str, &str, &str); 5] = [
    ("README.md", "sh make", "these are the tests and the demo"),
    ("docs/active-directory.md", "bat", "needs Windows"),
    ("docs/zoho.md", "sh zoho", "needs an organization at Zoho"),
    ("examples/gitops/README.md", "sh argocd", "needs Argo CD, and that a cluster with nodes"),
    ("examples/kind/README.md", "sh kind", "needs a container engine"),
];

/// A new block in the book needs a test that takes it from there: `blocks` with the page, and with what stands at the fence.
#[test]
fn every_block_of_the_book_is_run() {
    let tests: String = sources("tests").into_iter().map(|(_, text)| text).collect();
    let tools = ["credreset", "kubectl", "helm", "make", "cargo", "kcadm.sh", "samba-tool", "curl", "sed", "kind", "$"];
    let mut excused = BTreeSet::new();
    for page in pages() {
        for (kind, block) in fences(&page) {
            let taken = format!("blocks(\"{page}\", \"{kind}\")");
            if kind == "text" {
                let command = block.lines().find(|line| tools.contains(&line.split(' ').next().unwrap()));
                assert_eq!(command, None, "{page}: a command is more than text");
            } else if NOT_RUN.iter().any(|(at, of, _)| (*at, *of) == (&page, &kind)) {
                excused.insert(taken);
            } else if kind != "yaml" {
                // Manifests are all in tests/cluster/docs/book.rs.
                assert!(tests.contains(&taken), "{page}: no test has {taken}, so none runs this:\n{block}");
            }
        }
    }
    assert_eq!(excused.len(), NOT_RUN.len(), "left: {excused:?}");
}

/// So are the commands and flags that sentences name.
#[test]
fn commands_in_sentences_exist() {
    let makefile = text("Makefile");
    let mut seen = BTreeSet::new();
    for page in pages() {
        for code in inline(&text(&page)) {
            let mut words = code.split(['|', '&', ';']).next().unwrap().split_whitespace();
            match (words.next(), words.next()) {
                (Some("make"), Some(target)) => {
                    assert!(makefile.contains(&format!("\n{target}:")), "{page}: make {target}");
                    seen.insert(format!("make {target}"));
                }
                (Some("credreset"), Some(name)) if name.chars().all(|c| c.is_ascii_lowercase()) => {
                    let help = Command::new(env!("CARGO_BIN_EXE_credreset")).args([name, "--help"]).output().unwrap();
                    assert!(help.status.success(), "{page}: credreset {name}");
                    let help = String::from_utf8(help.stdout).unwrap();
                    for flag in words.filter(|word| word.starts_with("--")) {
                        assert!(help.contains(flag.split('=').next().unwrap()), "{page}: credreset {name} {flag}");
                    }
                    seen.insert(format!("credreset {name}"));
                }
                _ => {}
            }
        }
    }
    assert!(
        ["make demo", "make test-directories", "credreset plan", "credreset wait"]
            .iter()
            .all(|one| seen.contains(*one)),
        "{seen:?}"
    );
}

/// docs/commands.md has each command once, in the table of tasks.
#[test]
fn every_command_has_its_task() {
    let help = Command::new(env!("CARGO_BIN_EXE_credreset")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, list) = help.split_once("\nCommands:\n").expect("a list of commands");
    let (list, _) = list.split_once("\n\n").expect("more than commands");
    // What is indented further continues the line above.
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let mut commands: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    commands.retain(|name| *name != "help");
    commands.sort_unstable();
    assert!(commands.len() > 10, "{help}");

    let page = text("docs/commands.md");
    let (_, table) = page.split_once("\n## Commands by task\n").expect("the table");
    let (table, _) = table.split_once("\n\n").expect("an end of the table");
    let rows = table.lines().skip(2).map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let mut listed: Vec<String> = rows.map(|cells| cells[1].trim_matches('`').to_owned()).collect();
    listed.sort_unstable();
    assert_eq!(listed, commands, "left: docs/commands.md, right: credreset --help");
}

/// Each answer is short, and leads to the page that shows it.
#[test]
fn answers_lead_to_what_shows_them() {
    let page = text("docs/faq.md");
    let mut answers = 0;
    for part in page.split("\n## ").skip(1) {
        let (question, answer) = part.split_once('\n').unwrap();
        assert!(question.ends_with('?'), "{question}");
        assert!(answer.contains("]("), "{question} has no link");
        assert!(answer.split_whitespace().count() <= 100, "{question} has a long answer");
        answers += 1;
    }
    assert!((12..=20).contains(&answers), "{answers} answers");
}

/// The versions that docs/install.md names are those that the charts ask for, and that the tests run.
#[test]
fn the_page_on_installation_names_the_versions() {
    let page = text("docs/install.md");
    let minor = |chart: &str| {
        let version = yaml(&format!("{chart}/Chart.yaml"))["kubeVersion"].as_str().unwrap().to_owned();
        let version = version.trim_start_matches(">=").trim_end_matches("-0");
        version.rsplit_once('.').unwrap_or_else(|| panic!("{chart}: {version}")).0.to_owned()
    };
    let builds = text("tests/support/servers/build.sh");
    let built = |name: &str| {
        let (_, version) = builds.split_once(&format!("{name}:-v")).unwrap_or_else(|| panic!("no {name}"));
        version.split('}').next().unwrap().to_owned()
    };
    let (kubernetes, helm) = (built("KUBERNETES_VERSION"), built("HELM_VERSION"));
    for chart in CHARTS {
        let row = format!("| Kubernetes | {} or later; the tests run on {kubernetes}.", minor(chart));
        assert!(page.contains(&row), "{chart}: not in docs/install.md: {row}");
    }
    assert!(page.contains(&format!("| helm | the tests run {helm};")), "{helm}");
}

/// docs/openldap.md shows the rights that the tests' server gives.
#[test]
fn openldap_gives_the_rights_that_its_page_asks_for() {
    let server = text("tests/support/servers/openldap.sh").replace("$BASE", "dc=acme,dc=example");
    for line in blocks("docs/openldap.md", "conf").concat().lines() {
        let right = line.trim_end_matches(" ...");
        assert!(server.lines().any(|line| line.starts_with(right)), "tests/support/servers/openldap.sh has no {right}");
    }
}

/// What the README shows of `credreset` is what the tutorial shows, which a test follows.
#[test]
fn output_in_the_readme_is_the_tutorials() {
    let tutorial = text("docs/tutorial.md");
    let block = blocks("README.md", "console").concat();
    let shown = block.lines().filter(|line| !line.starts_with('$'));
    assert!(shown.clone().count() > 5);
    for line in shown {
        assert!(tutorial.lines().any(|other| other == line), "docs/tutorial.md does not show: {line}");
    }
}

/// All files with this ending, but what is generated or not ours.
fn files(extension: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && name != "target" && !name.display().to_string().starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found
}

/// A page without its blocks of code.
fn sentences(page: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// A page without its blocks and pieces of code.
fn prose(page: &str) -> String {
    sentences(page).map(|line| line.split('`').step_by(2).collect::<String>() + "\n").collect()
}

/// The pieces of code in a page's sentences.
fn inline(page: &str) -> Vec<String> {
    let text = sentences(page).collect::<Vec<_>>().join("\n");
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What a page's headings are linked by, on code hosts as in the book.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut code = false;
    let headings = page.lines().filter(|line| {
        code ^= line.starts_with("```");
        !code && line.starts_with('#')
    });
    let word = |c: char| c.is_alphanumeric() || "-_ ".contains(c);
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| title.chars().filter(|c| word(*c)).map(|c| if c == ' ' { '-' } else { c }).collect())
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for page in files("md") {
        let text = fs::read_to_string(&page).unwrap();
        let prose = prose(&text);
        for (at, _) in prose.match_indices("](") {
            let link = prose[at + 2..].split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (target, anchor) = link.split_once('#').map_or((link, None), |(target, anchor)| (target, Some(anchor)));
            let path = if target.is_empty() { page.clone() } else { page.with_file_name(target) };
            assert!(path.exists(), "{} links to {link}", page.display());
            if let Some(anchor) = anchor {
                let there = anchors(&fs::read_to_string(&path).unwrap());
                assert!(there.contains(anchor), "{} links to {link}, which is not one of {there:?}", page.display());
            }
            links += 1;
        }
    }
    assert!(links > 50, "{links} links");
}

/// The book has each page once.
#[test]
fn every_page_is_in_the_book() {
    let summary = text("docs/SUMMARY.md");
    let mut listed: Vec<&str> = summary.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    listed.sort_unstable();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut pages: Vec<String> =
        fs::read_dir(docs).unwrap().flatten().map(|entry| entry.file_name().display().to_string()).collect();
    pages.retain(|name| Path::new(name).extension().is_some_and(|e| e == "md") && name != "SUMMARY.md");
    pages.sort_unstable();
    assert_eq!(listed, pages, "left: docs/SUMMARY.md, right: docs/");
}

/// kind itself refuses what it does not know in there; it is not here.
#[test]
fn kind_has_the_cluster_that_the_walk_through_names() {
    let config: Value = serde_saphyr::from_str(&text("tests/kind/kind-config.yaml")).unwrap();
    assert_eq!((&config["kind"], &config["apiVersion"]), (&"Cluster".into(), &"kind.x-k8s.io/v1alpha4".into()));
    let readme = text("examples/kind/README.md");
    let names: Vec<&str> = readme.split("--name ").skip(1).filter_map(|rest| rest.split([' ', '\n']).next()).collect();
    assert!(!names.is_empty() && names.iter().all(|name| config["name"] == *name), "{names:?}");
    assert!(readme.contains("--config tests/kind/kind-config.yaml"));
}

/// `kubectl explain` shows it.
#[test]
fn every_field_has_a_text() {
    for document in definitions() {
        let kind = document["spec"]["names"]["kind"].as_str().unwrap();
        for part in ["spec", "status"] {
            let schema = &document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part];
            described(schema, &format!("{kind}.{part}"));
        }
    }
}

fn described(schema: &Value, at: &str) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        assert!(field["description"].as_str().is_some_and(|text| text.len() >= 10), "{at} has no text");
        described(field, &at);
        described(&field["items"], &at);
    }
}

/// They say what the kinds mean, and the requests go to a Directory that stands beside them and lets them through.
#[test]
fn examples_are_understood() {
    for folder in ["active-directory", "keycloak", "openldap", "zoho-sandbox"].map(|name| format!("examples/{name}")) {
        let mut directories = Vec::new();
        let mut requests = Vec::new();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(&folder)).unwrap().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap();
            for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
                let place = format!("{} {}", entry.path().display(), document["kind"]);
                match document["kind"].as_str().unwrap() {
                    "Directory" => {
                        let directory: Directory =
                            serde_json::from_value(document).unwrap_or_else(|e| panic!("{place}: {e}"));
                        directories.push(directory.settings().unwrap_or_else(|e| panic!("{place}: {e}")));
                    }
                    "CredentialReset" => {
                        let reset: CredentialReset =
                            serde_json::from_value(document).unwrap_or_else(|e| panic!("{place}: {e}"));
                        requests.push(reset.request().unwrap_or_else(|e| panic!("{place}: {e}")));
                    }
                    "Secret" => {}
                    other => panic!("{place}: {other}"),
                }
            }
        }
        assert!(directories.len() == 1 && !requests.is_empty(), "{folder}");
        for request in requests {
            assert_eq!(request.directory, directories[0].name);
            let rule = &directories[0].allow[0];
            assert!(rule.namespaces.contains(&request.namespace) && rule.modes.contains(&request.action.mode()));
        }
    }
}

/// Ports that the code reaches by default are open in the chart's network policy.
#[test]
fn usual_ports_are_open() {
    let values: Value = serde_saphyr::from_str(&text("charts/credreset/values.yaml")).unwrap();
    let open = values["networkPolicy"]["directoryPorts"].as_array().unwrap();
    let https = url::Url::parse("https://x").unwrap().port_or_known_default().unwrap();
    let usual = credreset::directory::ldap::PORTS.into_iter().chain(credreset::mail::PORTS);
    for (scheme, port) in usual.chain([("https", https)]) {
        assert!(open.contains(&Value::from(port)), "{scheme}:// is at {port}");
    }
}

/// What a pipeline runs is what a reviewer has checked: by commit or digest, or by a placeholder with which nothing runs.
#[test]
fn pipelines_pin_what_they_run() {
    let pinned = |image: &str| {
        let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
        digest.is_some_and(|d| d == "DIGEST" || (d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit())))
    };
    let mut images = 0;
    for file in ["github.yaml", "gitlab.yaml", "Dockerfile"] {
        for line in text(&format!("examples/ci/{file}")).lines().map(str::trim) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let image = match words.as_slice() {
                ["-", "uses:", action, ..] | ["uses:", action, ..] => {
                    let commit = action.split_once('@').map(|(_, commit)| commit).unwrap_or_default();
                    assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{file}: {line}");
                    continue;
                }
                ["image:" | "IMAGE:" | "FROM", image, ..] => *image,
                ["COPY", from, ..] => from.trim_start_matches("--from="),
                _ => {
                    for fetches in ["apk ", "apt-get", "pip ", "npm ", "curl", "wget", "dind", "services:"] {
                        assert!(!line.contains(fetches), "{file}: {line}");
                    }
                    continue;
                }
            };
            assert!(pinned(image), "{file}: {line}");
            images += 1;
        }
    }
    assert_eq!(images, 4, "images of the pipelines");
}

/// What people write is as large as its definition lets it be: each text, list and map of a spec has a bound.
#[test]
fn what_people_write_is_bounded() {
    fn unbounded(at: &str, schema: &Value, found: &mut Vec<String>) {
        let has = |name: &str| !schema[name].is_null();
        let bounded = match schema["type"].as_str() {
            Some("string") => has("maxLength") || has("enum") || has("format") || schema["pattern"] == "^[0-9a-f]{64}$",
            Some("array") => has("maxItems"),
            _ if has("additionalProperties") => has("maxProperties"),
            _ => !has("x-kubernetes-preserve-unknown-fields"),
        };
        if !bounded {
            found.push(at.to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            unbounded(&format!("{at}.{name}"), field, found);
        }
        for inner in ["items", "additionalProperties"].into_iter().filter(|name| schema[*name].is_object()) {
            unbounded(&format!("{at}[]"), &schema[inner], found);
        }
    }
    let mut found = Vec::new();
    let definitions = definitions();
    for definition in definitions.iter().filter(|d| d["spec"]["names"]["kind"] != "CredentialResetRecord") {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert!(schema["properties"].is_object(), "{kind}");
        unbounded(kind, schema, &mut found);
    }
    // JSON of a team's own, of users who may write Directories; values of labels are as long as labels may be.
    let expected = [
        "Directory.allow[].namespaceSelector.matchLabels[]",
        "Directory.provider.zoho.resetMFA.body",
        "Directory.provider.zoho.resetPassword.body",
    ];
    assert_eq!(found, expected);
}

/// Things are where CONTRIBUTING says.
#[test]
fn contributing_names_what_is_there() {
    let page = text("CONTRIBUTING.md");
    let named = page.split('`').skip(1).step_by(2);
    let files = named.filter(|word| word.starts_with("src/") || word.starts_with("tests/"));
    let files: Vec<&str> =
        files.filter_map(|word| word.split_whitespace().next()).filter(|word| !word.contains("NAME")).collect();
    assert!(files.len() > 20, "{files:?}");
    for file in files {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).exists(), "CONTRIBUTING.md names {file}");
    }
}

const CHARTS: [&str; 2] = ["charts/credreset", "charts/credreset-crds"];

fn yaml(relative: &str) -> Value {
    serde_saphyr::from_str(&text(relative)).unwrap_or_else(|e| panic!("{relative}: {e}"))
}

/// The rows of values in the chart's README: for each key its default and its description.
fn values_in_readme() -> BTreeMap<String, (Value, String)> {
    let readme = text("charts/credreset/README.md");
    let (_, table) = readme.split_once("\n## Values\n").expect("a table of values");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [key, _, default, description] = cells[..] else { panic!("not four cells: {row}") };
        let default = serde_json::from_str(default.trim_matches('`')).unwrap_or_else(|e| panic!("{key}: {e}"));
        (key.to_owned(), (default, description.to_owned()))
    })
    .collect()
}

fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

/// What helm-docs makes of values.yaml is what is there, and the schema describes each value in the same words.
#[test]
fn the_charts_readme_and_schema_are_those_of_its_values() {
    fn of_values(at: &str, value: &Value, rows: &mut BTreeMap<String, (Value, String)>) {
        if let Some((default, _)) = rows.remove(at) {
            assert_eq!(&default, value, "{at}: run make chart-docs");
            return;
        }
        let fields = value.as_object().filter(|fields| !fields.is_empty());
        for (name, value) in fields.unwrap_or_else(|| panic!("{at} has no row: run make chart-docs")) {
            of_values(&below(at, name), value, rows);
        }
    }
    fn of_schema(at: &str, schema: &Value, rows: &mut BTreeMap<String, (Value, String)>) {
        if let Some((_, description)) = rows.remove(at) {
            assert_eq!(schema["description"], *description, "{at} in values.schema.json");
            return;
        }
        assert_eq!(schema["additionalProperties"], false, "{at} takes what no value is named");
        let fields = schema["properties"].as_object().unwrap_or_else(|| panic!("{at} has no row in the README"));
        for (name, schema) in fields.iter().filter(|(name, _)| *name != "global") {
            of_schema(&below(at, name), schema, rows);
        }
    }
    let rows = values_in_readme();
    assert!(rows.len() > 50, "{} rows", rows.len());
    let values = text("charts/credreset/values.yaml");
    let comments: String = values
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('#'))
        .map(|line| line.to_owned() + " ")
        .collect();
    let comments = comments.split_whitespace().collect::<Vec<_>>().join(" ");
    for (key, (_, description)) in &rows {
        assert!(comments.contains(&format!("-- {description}")), "{key}: run make chart-docs");
    }
    let mut left = rows.clone();
    of_values("", &yaml("charts/credreset/values.yaml"), &mut left);
    assert_eq!(left.keys().next(), None, "no such value: run make chart-docs");
    let mut left = rows;
    of_schema("", &yaml("charts/credreset/values.schema.json"), &mut left);
    assert_eq!(left.keys().next(), None, "values.schema.json has no such value");
    for chart in CHARTS {
        let readme = text(&format!("{chart}/README.md"));
        for line in text(&format!("{chart}/README.md.gotmpl")).lines().filter(|line| !line.contains("{{")) {
            assert!(readme.lines().any(|other| other == line), "{chart}: run make chart-docs: {line}");
        }
    }
}

/// What Artifact Hub shows of the charts.
#[test]
fn what_artifact_hub_shows_is_so() {
    let note = |chart: &Value, name: &str| -> Value {
        let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap_or_else(|| panic!("{name}"));
        serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"))
    };
    let [operator, kinds] = CHARTS.map(|chart| yaml(&format!("{chart}/Chart.yaml")));
    for chart in [&operator, &kinds] {
        for version in ["version", "appVersion"] {
            assert_eq!(chart[version], env!("CARGO_PKG_VERSION"), "{}", chart["name"]);
        }
        assert_eq!(chart["annotations"]["artifacthub.io/license"], env!("CARGO_PKG_LICENSE"));
    }
    let repository = yaml("charts/credreset/values.yaml")["image"]["repository"].as_str().unwrap().to_owned();
    let image = format!("{repository}:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(note(&operator, "images"), serde_json::json!([{"name": "credreset", "image": image}]));
    let shown: BTreeSet<(String, String)> = note(&kinds, "crds")
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| ["kind", "name"].map(|field| kind[field].as_str().unwrap().to_owned()).into())
        .collect();
    let installed = definitions();
    let name = |definition: &Value, path| definition.pointer(path).unwrap().as_str().unwrap().to_owned();
    let installed = installed.iter().map(|kind| (name(kind, "/spec/names/kind"), name(kind, "/metadata/name")));
    assert_eq!(shown, installed.collect());
    let examples = note(&kinds, "crdsExamples");
    let directory: Directory = serde_json::from_value(examples[0].clone()).unwrap();
    let request: CredentialReset = serde_json::from_value(examples[1].clone()).unwrap();
    let (directory, request) = (directory.settings().unwrap(), request.request().unwrap());
    assert_eq!(request.directory, directory.name);
    assert!(directory.allow[0].namespaces.contains(&request.namespace));
}

/// Addresses of the repository and its own files, in the book, the charts and their alerts.
#[test]
fn addresses_of_own_files_lead_somewhere() {
    let home = yaml("charts/credreset/Chart.yaml")["home"].as_str().unwrap().to_owned();
    assert!(text("docs/book.toml").contains(&format!("\ngit-repository-url = \"{home}\"\n")), "docs/book.toml: {home}");
    let raw = home.replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/";
    let home = home + "/blob/main/";
    let mut found = BTreeSet::new();
    for file in ["md", "gotmpl", "yaml", "json"].into_iter().flat_map(files) {
        let text = fs::read_to_string(&file).unwrap();
        for begin in [&home, &raw] {
            for (at, _) in text.match_indices(begin) {
                let link = text[at + begin.len()..].split([' ', '\n', ')', '`', '"', '\'']).next().unwrap();
                let (target, anchor) = link.split_once('#').map_or((link, None), |(target, at)| (target, Some(at)));
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
                assert!(path.exists(), "{} names {link}", file.display());
                if let Some(anchor) = anchor {
                    let there = anchors(&fs::read_to_string(&path).unwrap());
                    assert!(there.contains(anchor), "{} names {link}, not one of {there:?}", file.display());
                }
                found.insert(link.to_owned());
            }
        }
    }
    for expected in ["charts/icon.svg", "docs/monitoring.md", "docs/monitoring.md#credresetnoleader"] {
        assert!(found.contains(expected), "{found:?}");
    }
}
