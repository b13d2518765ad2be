//! Manifests of requests: as they are in files now, and what a change to a repository adds, edits and deletes.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use rayon::prelude::*;
use serde_json::Value;

use crate::core::text::{MESSAGE, NAME, shown};

/// Larger than any set of requests, and small enough to be read.
const MOST_BYTES: u64 = 32 << 20;

/// A document of kind `CredentialReset`.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file it is in, as it was named.
    pub file: String,
    /// The object.
    pub object: Value,
    /// What the change does to it.
    pub change: Change,
}

/// What a change does to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or nobody asked for changes.
    Added,
    /// It was there with another spec.
    Edited,
    /// It is there no more.
    Deleted,
}

impl Manifest {
    fn key(&self) -> (String, String) {
        let of = |field: &str| self.object["metadata"][field].as_str().unwrap_or_default().to_owned();
        (of("namespace"), of("name"))
    }
}

/// The requests in a file, in a folder with all below it, or on standard input (`-`).
///
/// # Errors
/// What cannot be read, or is not YAML.
pub fn read(path: &Path) -> anyhow::Result<Vec<Manifest>> {
    let of_file = |file: &PathBuf| documents(&file.display().to_string(), &text(file)?);
    let all: Vec<anyhow::Result<Vec<Manifest>>> = files(path)?.par_iter().map(of_file).collect();
    let mut read = Vec::new();
    for manifests in all {
        read.extend(manifests?);
    }
    Ok(read)
}

/// Every object in a file, or in a folder with all below it, and the file it is in.
///
/// # Errors
/// What cannot be read, or is not YAML.
pub fn all(path: &Path) -> anyhow::Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for file in files(path)? {
        let name = file.display().to_string();
        all.extend(objects(&name, &text(&file)?)?.into_iter().map(|object| (name.clone(), object)));
    }
    Ok(all)
}

/// Of the requests under `path`, those that are other than in `base`, a commit of the repository around it.
///
/// # Errors
/// What git says, what cannot be read, or is not YAML.
pub fn changed(path: &Path, base: &str) -> anyhow::Result<Vec<Manifest>> {
    if path == Path::new("-") {
        bail!("--base needs a file or a folder of a git repository, not standard input");
    }
    let folder =
        if path.is_dir() { path } else { path.parent().filter(|p| *p != Path::new("")).unwrap_or(Path::new(".")) };
    let what = path.strip_prefix(folder).ok().filter(|p| *p != Path::new("")).unwrap_or(Path::new("."));
    let list = |arguments: &[&str]| -> anyhow::Result<BTreeSet<String>> {
        let said = git(folder, &[arguments, &["-z", "--"], &[&what.to_string_lossy()]].concat())?;
        Ok(said.split('\0').filter(|name| is_manifest(Path::new(name))).map(str::to_owned).collect())
    };
    // What the branch itself does, and not what has happened on the other since.
    let fork = git(folder, &["merge-base", "--end-of-options", base, "HEAD"])?;
    let fork = fork.trim();
    let differ = list(&["diff", "--name-only", "--no-renames", "--relative", fork])?;
    let untracked = list(&["ls-files", "--others", "--exclude-standard"])?;

    let mut before = BTreeMap::new();
    for file in &differ {
        // A file that is new is not in the base.
        let Ok(text) = git(folder, &["show", &format!("{fork}:./{file}")]) else { continue };
        for manifest in documents(&folder.join(file).display().to_string(), &text)? {
            before.insert(manifest.key(), manifest);
        }
    }
    let mut all = Vec::new();
    for file in differ.union(&untracked).map(|file| folder.join(file)).filter(|file| file.exists()) {
        for mut manifest in documents(&file.display().to_string(), &text(&file)?)? {
            match before.remove(&manifest.key()) {
                Some(old) if old.object["spec"] == manifest.object["spec"] => continue,
                Some(_) => manifest.change = Change::Edited,
                None => {}
            }
            all.push(manifest);
        }
    }
    all.extend(before.into_values().map(|old| Manifest { change: Change::Deleted, ..old }));
    Ok(all)
}

/// What git prints.
fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().context("git cannot be run")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git {}: {}", arguments.first().unwrap_or(&""), shown(said.lines().next().unwrap_or("failed"), MESSAGE));
    }
    String::from_utf8(output.stdout).context("git prints a text that is not UTF-8")
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = || format!("{} cannot be read", folder.display());
        for entry in fs::read_dir(&folder).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            let kind = entry.file_type().with_context(unreadable)?;
            if kind.is_dir() && !hidden {
                folders.push(entry.path());
            } else if !kind.is_dir() && !hidden && is_manifest(&entry.path()) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A text file, or standard input.
pub fn text(path: &Path) -> anyhow::Result<String> {
    let (name, input): (_, Box<dyn Read>) = if path == Path::new("-") {
        ("standard input".to_owned(), Box::new(std::io::stdin()))
    } else {
        let name = path.display().to_string();
        let file = fs::File::open(path).with_context(|| format!("{name} cannot be read"))?;
        (name, Box::new(file))
    };
    let mut bytes = Vec::new();
    input.take(MOST_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("{name} cannot be read"))?;
    if bytes.len() as u64 > MOST_BYTES {
        bail!("{name} is larger than {} MiB: no set of requests is", MOST_BYTES >> 20);
    }
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{name} is not a text file"))
}

/// The documents of a YAML or JSON text; lists count as what they hold.
fn objects(whence: &str, text: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let said = error.to_string();
        anyhow::anyhow!("{whence} is not YAML: {}", shown(said.lines().next().unwrap_or_default(), NAME))
    })?;
    let (lists, mut all): (Vec<Value>, Vec<Value>) = documents.into_iter().partition(|d| d["kind"] == "List");
    all.extend(lists.into_iter().flat_map(|mut list| match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }));
    Ok(all)
}

fn documents(file: &str, text: &str) -> anyhow::Result<Vec<Manifest>> {
    let file = if file == "-" { "standard input" } else { file };
    let of_ours = |object: &Value| {
        object["kind"] == "CredentialReset"
            && object["apiVersion"].as_str().is_some_and(|v| v.starts_with("credreset.dev/"))
    };
    let found = objects(file, text)?.into_iter().filter(of_ours);
    Ok(found.map(|object| Manifest { file: file.to_owned(), object, change: Change::Added }).collect())
}
