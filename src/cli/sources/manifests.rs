//! Manifests of requests: as files hold them, and which of them a change to a git repository adds, edits and deletes.
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rayon::prelude::*;
use serde_json::Value;

use super::{
    git::Repository,
    paths::{check_regular, display_name, is_manifest},
    yaml::{self, Unread},
};
use crate::{
    api::is_ours,
    core::text::{NAME, printable},
};

/// Bytes of a file: more than any set of requests has, and few enough to hold in memory.
const MAX_BYTES: u64 = 32 << 20;

/// A document of kind `CredentialReset`, or a refused document.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The path of its file, from the working directory.
    pub file: String,
    /// The object; null if it was refused.
    pub object: Value,
    /// What the change does to the request.
    pub change: Change,
}

/// What a change to a repository does to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new; also if no base to compare with was given.
    Added,
    /// It existed with a different spec.
    Edited,
    /// It was removed.
    Deleted,
    /// It is not a request. A sentence: what it is, and what to do.
    Other(String),
    /// Different tools would read different requests from it. A sentence: why, and what to do.
    Unclear(String),
}

impl Manifest {
    fn refused(file: &str, change: Change) -> Self {
        Self { file: file.to_owned(), object: Value::Null, change }
    }

    fn key(&self) -> (String, String) {
        let of = |field: &str| self.object["metadata"][field].as_str().unwrap_or_default().to_owned();
        (of("namespace"), of("name"))
    }
}

/// The requests in a file, in a folder and all folders below it, or on standard input (`-`).
///
/// # Errors
/// A file that cannot be read, or is not YAML.
pub fn read(path: &Path) -> anyhow::Result<Vec<Manifest>> {
    let files = files(path, true)?;
    let folder = path.is_dir();
    if folder {
        files.iter().try_for_each(|file| check_regular(file))?;
    }
    let of_file = |file: &PathBuf| {
        let name = if file == Path::new("-") { "standard input".to_owned() } else { display_name(file) };
        match refused_name(file).filter(|_| folder) {
            Some(why) => Ok(vec![Manifest::refused(&name, Change::Other(why))]),
            None => documents(&name, &text(file)?),
        }
    };
    let all: Vec<anyhow::Result<Vec<Manifest>>> = files.par_iter().map(of_file).collect();
    let mut read = Vec::new();
    for manifests in all {
        read.extend(manifests?);
    }
    Ok(read)
}

/// Checks that `all`, read from `path`, has at least one request.
///
/// # Errors
/// If it has none; names the first document that was refused.
pub fn require_some(path: &Path, all: &[Manifest]) -> anyhow::Result<()> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { display_name(path) };
    let other = |manifest: &Manifest| match &manifest.change {
        Change::Other(why) | Change::Unclear(why) => Some(format!("{}: {why}", manifest.file)),
        _ => None,
    };
    match all.first().map(other) {
        None => bail!("{name} contains no CredentialReset"),
        Some(Some(first)) if all.iter().all(|m| m.object.is_null()) => {
            bail!("{name} contains no CredentialReset. {first}")
        }
        Some(_) => Ok(()),
    }
}

/// Every object in a file, or in a folder and all folders below it, with the path of its file.
///
/// # Errors
/// A file that cannot be read, or is not YAML.
pub fn all(path: &Path) -> anyhow::Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for file in files(path, false)? {
        let name = display_name(&file);
        all.extend(objects(&name, &text(&file)?)?.into_iter().map(|object| (name.clone(), object)));
    }
    Ok(all)
}

/// The requests under `path` that differ from `base`, a commit of the repository around the working directory. Committed files are read
/// from HEAD, where neither attributes of files nor links can alter them; uncommitted ones from the folder. A file that changes the
/// meaning of other files is refused even if it has not changed.
///
/// # Errors
/// An error of git; a file that cannot be read, or is not YAML; a path outside of the repository, or through a symbolic link.
pub fn changed(path: &Path, base: &str) -> anyhow::Result<Vec<Manifest>> {
    if path == Path::new("-") {
        bail!("--base needs a file or a folder of a git repository, not standard input");
    }
    let repository = Repository::here()?;
    let what = repository.path_of(path)?;
    let list = |arguments: &[&str]| -> anyhow::Result<BTreeSet<String>> {
        let listing = repository.git(&[arguments, &["-z", "--"], &[&what]].concat())?;
        Ok(listing.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    };
    // The changes of this branch, without those that the base branch has made since.
    let fork = repository.git(&["merge-base", "--end-of-options", base, "HEAD"])?;
    let (old, new) = (repository.tree(fork.trim(), &what)?, repository.tree("HEAD", &what)?);
    let plain =
        ["diff", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "HEAD"];
    let uncommitted = &list(&plain)? | &list(&["ls-files", "--others", "--exclude-standard"])?;

    let mut all = Vec::new();
    let mut changed = BTreeSet::new();
    for name in new.keys().chain(&uncommitted).collect::<BTreeSet<_>>() {
        let (file, label) = (repository.root.join(name), repository.display_name(name));
        let blob = new.get(name).filter(|_| !uncommitted.contains(name));
        if let Some(blob) = new.get(name) {
            blob.check_regular(&label)?;
        }
        if blob.is_none() {
            match file.symlink_metadata() {
                Err(_) => continue, // it is deleted
                Ok(about) if is_manifest(&file) || about.is_symlink() => check_regular(&file)?,
                Ok(_) => {}
            }
        }
        if let Some(why) = refused_name(&file) {
            all.push(Manifest::refused(&label, Change::Other(why)));
        } else if is_manifest(&file) && (blob.is_none() || blob != old.get(name)) {
            changed.insert(name);
        }
    }

    let mut before = BTreeMap::new();
    let gone = old.keys().filter(|name| !new.contains_key(*name) || uncommitted.contains(*name));
    for (name, blob) in gone.chain(changed.iter().copied()).filter_map(|name| Some((name, old.get(name)?))) {
        // A file of the base that cannot be parsed had no request that could be deleted or edited.
        let read = if is_manifest(Path::new(name)) { repository.blob(&blob.id) } else { continue };
        let Ok(text) = String::from_utf8(read?) else { continue };
        let Ok(manifests) = documents(&repository.display_name(name), &text) else { continue };
        before.extend(manifests.into_iter().filter(|m| m.change == Change::Added).map(|m| (m.key(), m)));
    }
    for name in changed {
        let label = repository.display_name(name);
        let text = match new.get(name).filter(|_| !uncommitted.contains(name)) {
            Some(blob) if blob.bytes > MAX_BYTES => return Err(too_large(&label)),
            Some(blob) => utf8(&label, repository.blob(&blob.id)?)?,
            None => text(&repository.root.join(name))?,
        };
        for mut manifest in documents(&label, &text)? {
            if manifest.change == Change::Added {
                match before.remove(&manifest.key()) {
                    Some(old) if old.object["spec"] == manifest.object["spec"] => continue,
                    Some(_) => manifest.change = Change::Edited,
                    None => {}
                }
            }
            all.push(manifest);
        }
    }
    all.extend(before.into_values().map(|old| Manifest { change: Change::Deleted, ..old }));
    Ok(all)
}

/// Why a file is refused for its name, which gives it another meaning for kubectl, Flux or Argo CD.
fn refused_name(path: &Path) -> Option<String> {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    let name = path.file_name()?.to_str().unwrap_or_default();
    if ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name) {
        Some("With a kustomization, tools apply what it generates from this folder and others, which is not planned: remove it.".to_owned())
    } else if name == "Chart.yaml" {
        Some(
            "Argo CD applies what Helm renders from a folder with a chart, which is not planned: remove it.".to_owned(),
        )
    } else if ["jsonnet", "libsonnet"].contains(&extension) {
        Some("Argo CD applies what a program in Jsonnet prints, which is not planned: remove it.".to_owned())
    } else if is_manifest(path) && extension.bytes().any(|b| b.is_ascii_uppercase()) {
        Some(format!("kubectl and Argo CD ignore a file whose name ends in .{extension}: write that in lower case."))
    } else {
        None
    }
}

/// The manifests below a folder. With `planned`, also links of any name and files that are refused for their names.
fn files(path: &Path, planned: bool) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = || format!("{} cannot be read", display_name(&folder));
        for entry in fs::read_dir(&folder).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let kind = entry.file_type().with_context(unreadable)?;
            // kubectl takes hidden files, too.
            if kind.is_dir() && entry.file_name() != ".git" {
                folders.push(entry.path());
            } else if !kind.is_dir() && is_manifest(&entry.path())
                || planned && (kind.is_symlink() || refused_name(&entry.path()).is_some())
            {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The text of a file, or of standard input (`-`).
///
/// # Errors
/// If it cannot be read, is too large or not UTF-8.
pub fn text(path: &Path) -> anyhow::Result<String> {
    let (name, input): (_, Box<dyn Read>) = if path == Path::new("-") {
        ("standard input".to_owned(), Box::new(std::io::stdin()))
    } else {
        let name = display_name(path);
        let file = fs::File::open(path).with_context(|| format!("{name} cannot be read"))?;
        (name, Box::new(file))
    };
    let mut bytes = Vec::new();
    input.take(MAX_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("{name} cannot be read"))?;
    if bytes.len() as u64 > MAX_BYTES { Err(too_large(&name)) } else { utf8(&name, bytes) }
}

fn too_large(name: &str) -> anyhow::Error {
    anyhow::anyhow!("{name} is larger than {} MiB, which no set of requests is", MAX_BYTES >> 20)
}

fn utf8(name: &str, bytes: Vec<u8>) -> anyhow::Result<String> {
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{name} is not a UTF-8 text file"))
}

/// The documents of a YAML or JSON text; a list counts as its items.
fn objects(source: &str, text: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let message = error.to_string();
        anyhow::anyhow!("{source} is not YAML: {}", printable(message.lines().next().unwrap_or_default(), NAME))
    })?;
    let (lists, mut all): (Vec<Value>, Vec<Value>) = documents.into_iter().partition(|d| d["kind"] == "List");
    all.extend(lists.into_iter().flat_map(|mut list| match list["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }));
    Ok(all)
}

/// The requests of a text, and its refused documents.
fn documents(file: &str, text: &str) -> anyhow::Result<Vec<Manifest>> {
    let documents = match yaml::documents(text) {
        Ok(documents) => documents,
        Err(Unread::Broken(message)) => bail!("{file} is not YAML: {message}"),
        Err(Unread::Ambiguous(line, what)) => {
            return Ok(vec![Manifest::refused(file, Change::Unclear(format!("Line {line} has {what}.")))]);
        }
    };
    let of_document = |document: Value| match requests(document) {
        Ok(requests) => requests
            .into_iter()
            .map(|object| Manifest { file: file.to_owned(), object, change: Change::Added })
            .collect(),
        Err(change) => vec![Manifest::refused(file, change)],
    };
    Ok(documents.into_iter().flat_map(of_document).collect())
}

/// The requests in a document: the document itself, or the items of a list. Tools differ in which lists they expand: kubectl every object
/// with `items`, except lists of lists; kustomize those whose kind ends in List, and only if each item has a kind.
fn requests(mut document: Value) -> Result<Vec<Value>, Change> {
    let is_request =
        |object: &Value| object["kind"] == "CredentialReset" && is_ours(object) && object.get("items").is_none();
    if is_request(&document) {
        return Ok(vec![document]);
    }
    let version = printable(document["apiVersion"].as_str().unwrap_or_default(), NAME);
    let kind = printable(document["kind"].as_str().unwrap_or_default(), NAME);
    if let Some(items) = document.get_mut("items") {
        return match items.take() {
            Value::Array(items) if kind.ends_with("List") && !version.is_empty() && items.iter().all(is_request) => Ok(items),
            _ => Err(Change::Unclear(
                "Some tools expand an object with items and others do not, unless its kind ends in List and each item is a \
                 CredentialReset, with apiVersion and kind. Write the items as separate documents, with --- between."
                    .to_owned(),
            )),
        };
    }
    let what =
        if kind.is_empty() { "An object without a kind".to_owned() } else { format!("Kind {kind} of {version}") };
    Err(Change::Other(format!(
        "{what} is not a CredentialReset, and its effect is not planned: move it to another folder."
    )))
}
