//! The layers: what each folder of src may import, and that no two files of the core import each other.
#![cfg(test)]
use std::collections::{BTreeMap, BTreeSet};

mod support;
use support::sources::sources;

/// Data, time as an argument, hashes, forms of letters and schemas: the core knows nothing else, so that a decision can be repeated
/// anywhere.
#[test]
fn the_core_imports_only_data() {
    let known = ["std", "serde", "serde_json", "jiff", "sha2", "schemars", "icu_normalizer", "super", "self"];
    let primitive = ["char", "fmt", "i64", "u8", "usize"];
    let files = sources("src/core");
    let modules: BTreeSet<&str> = files.iter().flat_map(|(path, _)| path.trim_end_matches(".rs").split('/')).collect();
    for (file, text) in &files {
        for path in paths(text) {
            let root = path.split("::").next().unwrap();
            let fine = known.contains(&root) || primitive.contains(&root) || modules.contains(root);
            assert!(fine || path.starts_with("crate::core::"), "{file} uses {path}");
        }
    }
}

/// Dependencies point one way: cli -> k8s -> directory -> api -> core.
#[test]
fn folders_import_only_lower_layers() {
    for (folder, forbidden) in [
        ("src/api", &["tokio", "reqwest", "secrecy", "axum", "crate::directory", "crate::k8s", "crate::cli"][..]),
        (
            "src/directory",
            &["kube", "axum", "crate::k8s", "crate::cli", "crate::sandbox", "crate::mail", "crate::password"],
        ),
        ("src/k8s", &["crate::cli", "crate::sandbox"]),
        ("src/sandbox", &["crate::api", "crate::core", "crate::directory", "crate::k8s", "crate::cli"]),
    ] {
        for (file, text) in sources(folder) {
            for name in forbidden {
                let used = text
                    .lines()
                    .filter(|l| !l.trim_start().starts_with("//"))
                    .any(|l| l.contains(&format!("{name}::")));
                assert!(!used, "{file} uses {name}");
            }
        }
    }
}

#[test]
fn the_core_reads_no_clock() {
    for (file, text) in sources("src/core") {
        for clock in ["Timestamp::now", "Instant", "SystemTime", "Zoned::now"] {
            assert!(!text.contains(clock), "{file} reads a clock: {clock}");
        }
    }
}

/// The right to send is made from a record that was just written, or by a person who has seen the call.
#[test]
fn only_the_ledger_makes_fences() {
    for (maker, file) in
        [("Fenced::by_write(", "src/k8s/ledger/attempts.rs"), ("Fenced::by_hand(", "src/cli/trial/attempt.rs")]
    {
        let makers: Vec<String> =
            sources("src").into_iter().filter(|(_, text)| text.contains(maker)).map(|(file, _)| file).collect();
        assert_eq!(makers, [file]);
    }
}

/// The paths that a `use` names, of which each ends with an item: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn leaves(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((path, list)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let list = list.trim_end().strip_suffix('}').expect("a list");
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in list.chars() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(c);
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| leaves(part)).map(|leaf| format!("{}{leaf}", path.trim())).collect()
}

/// The paths that a file names, in `use` statements and in its code, but for those that begin with a type.
fn paths(text: &str) -> Vec<String> {
    let (mut code, mut trees, mut inside) = (String::new(), String::new(), false);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['/', '#'])) {
        inside = inside || line.starts_with("use ") || line.starts_with("pub") && line.contains(" use ");
        let part = if inside { &mut trees } else { &mut code };
        part.push_str(line);
        part.push(' ');
        inside &= !line.ends_with(';');
    }
    let trees = trees.split(';').filter_map(|statement| statement.split_once("use "));
    let mut found: Vec<String> = trees.flat_map(|(_, tree)| leaves(tree)).collect();
    let is_path = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    found.extend(
        code.split(|c| !is_path(c)).filter(|word| word.contains("::") && !word.ends_with("::")).map(str::to_owned),
    );
    found.retain(|path| path.starts_with(|c: char| c.is_ascii_lowercase()));
    found
}

/// Which of the folder's files each of them imports.
fn imports(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = folder.replacen("src", "crate", 1).replace('/', "::");
    let files = sources(folder);
    // `core/gates/mod.rs` is `crate::core::gates`, and `core/actions.rs` is `crate::core::actions`.
    let module = |file: &str| {
        let path = file.trim_end_matches(".rs").replacen("src", "crate", 1).replace('/', "::");
        path.strip_suffix("::mod").unwrap_or(&path).to_owned()
    };
    let modules: BTreeSet<String> = files.iter().map(|(file, _)| module(file)).collect();
    let mut all = BTreeMap::new();
    for (file, text) in &files {
        let own = module(file);
        let above = own.rsplit_once("::").unwrap().0.to_owned();
        let mut found = BTreeSet::new();
        // A unit test may look anywhere.
        for leaf in paths(text.split("#[cfg(test)]").next().unwrap()) {
            let path = match leaf.split_once("::") {
                Some(("super", rest)) => format!("{above}::{rest}"),
                Some(("self", rest)) => format!("{own}::{rest}"),
                Some(("crate", _)) => leaf.clone(),
                // A module of this very file's.
                _ => format!("{own}::{leaf}"),
            };
            let mut named = path.as_str();
            while !modules.contains(named)
                && let Some((shorter, _)) = named.rsplit_once("::")
            {
                named = shorter;
            }
            if named.starts_with(&root) && named != own {
                found.insert(named.to_owned());
            }
        }
        all.insert(own, found);
    }
    all
}

/// Layer by layer: each file imports from lower layers, and from nothing else.
#[test]
fn no_files_import_each_other() {
    for folder in ["src/core", "src/sandbox"] {
        let mut left = imports(folder);
        assert!(left.values().any(|imported| !imported.is_empty()), "{folder}: no import was seen");
        while !left.is_empty() {
            let layer: Vec<String> = left
                .iter()
                .filter(|(_, imported)| imported.iter().all(|name| !left.contains_key(name)))
                .map(|(name, _)| name.clone())
                .collect();
            assert!(!layer.is_empty(), "{folder}: a circle among these: {left:#?}");
            for name in layer {
                left.remove(&name);
            }
        }
    }
}
#[test]
fn no_file_is_too_long_to_read() {
    for (file, text) in sources("src") {
        let lines = text.lines().count();
        assert!(lines <= 450, "{file} has {lines} lines");
    }
}
