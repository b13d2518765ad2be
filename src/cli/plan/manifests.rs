//! Manifests of requests: as they are in files now, and what a change to a repository adds, edits and deletes.
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use rayon::prelude::*;
use serde_json::Value;

use super::yaml::{self, Unread};
use crate::core::text::{MESSAGE, NAME, shown};

/// Larger than any set of requests, and small enough to be read.
const MOST_BYTES: u64 = 32 << 20;

/// A document of kind `CredentialReset`, or what is refused in its place.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file it is in, as it was named.
    pub file: String,
    /// The object; null if it is no request.
    pub object: Value,
    /// What the change does to it.
    pub change: Change,
}

/// What a change does to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or nobody asked for changes.
    Added,
    /// It was there with another spec.
    Edited,
    /// It is there no more.
    Deleted,
    /// It is no request; a sentence that says what it is and what to do.
    Other(String),
    /// Tools find different requests there; a sentence that says why and what to do.
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

/// The requests in a file, in a folder with all below it, or on standard input (`-`).
///
/// # Errors
/// What cannot be read, or is not YAML.
pub fn read(path: &Path) -> anyhow::Result<Vec<Manifest>> {
    let files = files(path, true)?;
    let folder = path.is_dir();
    if folder {
        files.iter().try_for_each(|file| is_plain(file))?;
    }
    let of_file = |file: &PathBuf| {
        let name = if file == Path::new("-") { "standard input".to_owned() } else { name_of(file) };
        match foreign(file).filter(|_| folder) {
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

/// Whether there are requests among what `path` holds.
///
/// # Errors
/// If there is none, and what is there instead.
pub fn some(path: &Path, all: &[Manifest]) -> anyhow::Result<()> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { name_of(path) };
    let other = |manifest: &Manifest| match &manifest.change {
        Change::Other(why) | Change::Unclear(why) => Some(format!("{}: {why}", manifest.file)),
        _ => None,
    };
    match all.first().map(other) {
        None => bail!("{name} holds no CredentialReset"),
        Some(Some(first)) if all.iter().all(|m| m.object.is_null()) => {
            bail!("{name} holds no CredentialReset. {first}")
        }
        Some(_) => Ok(()),
    }
}

/// Every object in a file, or in a folder with all below it, and the file it is in.
///
/// # Errors
/// What cannot be read, or is not YAML.
pub fn all(path: &Path) -> anyhow::Result<Vec<(String, Value)>> {
    let mut all = Vec::new();
    for file in files(path, false)? {
        let name = name_of(&file);
        all.extend(objects(&name, &text(&file)?)?.into_iter().map(|object| (name.clone(), object)));
    }
    Ok(all)
}

/// Of the requests under `path`, those that are other than in `base`, a commit of the repository that the command runs in. What is
/// committed is read from HEAD, where no attribute of a file and no link can change it; what is not committed yet, from the folder.
/// What would change the meaning of other files is refused also where it is not new.
///
/// # Errors
/// What git says, what cannot be read, or is not YAML; a path outside of the repository, or by a symbolic link.
pub fn changed(path: &Path, base: &str) -> anyhow::Result<Vec<Manifest>> {
    if path == Path::new("-") {
        bail!("--base needs a file or a folder of a git repository, not standard input");
    }
    let repository = Repository::here()?;
    let what = repository.path_of(path)?;
    let list = |arguments: &[&str]| -> anyhow::Result<BTreeSet<String>> {
        let said = repository.git(&[arguments, &["-z", "--"], &[&what]].concat())?;
        Ok(said.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    };
    // What the branch itself does, and not what has happened on the other since.
    let fork = repository.git(&["merge-base", "--end-of-options", base, "HEAD"])?;
    let (old, new) = (repository.tree(fork.trim(), &what)?, repository.tree("HEAD", &what)?);
    let plain =
        ["diff", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all", "HEAD"];
    let uncommitted = &list(&plain)? | &list(&["ls-files", "--others", "--exclude-standard"])?;

    let mut all = Vec::new();
    let mut changed = BTreeSet::new();
    for name in new.keys().chain(&uncommitted).collect::<BTreeSet<_>>() {
        let (file, shown) = (repository.root.join(name), repository.named(name));
        let blob = new.get(name).filter(|_| !uncommitted.contains(name));
        if let Some(blob) = new.get(name) {
            blob.is_plain(&shown)?;
        }
        if blob.is_none() {
            match file.symlink_metadata() {
                Err(_) => continue, // it is deleted
                Ok(about) if is_manifest(&file) || about.is_symlink() => is_plain(&file)?,
                Ok(_) => {}
            }
        }
        if let Some(why) = foreign(&file) {
            all.push(Manifest::refused(&shown, Change::Other(why)));
        } else if is_manifest(&file) && (blob.is_none() || blob != old.get(name)) {
            changed.insert(name);
        }
    }

    let mut before = BTreeMap::new();
    let gone = old.keys().filter(|name| !new.contains_key(*name) || uncommitted.contains(*name));
    for (name, blob) in gone.chain(changed.iter().copied()).filter_map(|name| Some((name, old.get(name)?))) {
        // What the base had and nobody can read was no request.
        let read = if is_manifest(Path::new(name)) { repository.blob(&blob.id) } else { continue };
        let Ok(text) = String::from_utf8(read?) else { continue };
        let Ok(manifests) = documents(&repository.named(name), &text) else { continue };
        before.extend(manifests.into_iter().filter(|m| m.change == Change::Added).map(|m| (m.key(), m)));
    }
    for name in changed {
        let shown = repository.named(name);
        let text = match new.get(name).filter(|_| !uncommitted.contains(name)) {
            Some(blob) if blob.bytes > MOST_BYTES => return Err(too_large(&shown)),
            Some(blob) => utf8(&shown, repository.blob(&blob.id)?)?,
            None => text(&repository.root.join(name))?,
        };
        for mut manifest in documents(&shown, &text)? {
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

/// A file of a commit.
#[derive(Debug, PartialEq, Eq)]
struct Blob {
    /// As git writes it: 100644, 100755, 120000 for a symbolic link, 160000 for a submodule.
    mode: String,
    id: String,
    bytes: u64,
}

impl Blob {
    fn is_plain(&self, name: &str) -> anyhow::Result<()> {
        match self.mode.as_str() {
            "120000" => Err(no_file(name)),
            "160000" => {
                bail!("{name} is a submodule: nothing is planned in a folder with files of another repository in it")
            }
            _ => Ok(()),
        }
    }
}

/// The repository around the folder that the command runs in. It is not looked for from the folder that is planned: what somebody
/// proposes may be made to look like a repository, and the configuration of one names programs that git runs.
struct Repository {
    root: PathBuf,
    /// Where the command runs.
    here: PathBuf,
}

impl Repository {
    fn here() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the current folder cannot be found")?;
        let said = git(&here, &["rev-parse", "--show-toplevel"])?;
        let root = PathBuf::from(said.trim_end_matches(['\r', '\n']));
        // No commit can hold a file of this name.
        if !root.join(".git").exists() {
            bail!("{} is no work tree of git: call it in one", name_of(&root));
        }
        Ok(Self { root, here })
    }

    fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        git(&self.root, arguments)
    }

    /// The files below `what` in a commit, by name.
    fn tree(&self, commit: &str, what: &str) -> anyhow::Result<BTreeMap<String, Blob>> {
        let said = self.git(&["ls-tree", "-r", "-l", "-z", "--full-tree", commit, "--", what])?;
        let entry = |line: &str| {
            let (about, name) = line.split_once('\t')?;
            let mut about = about.split_ascii_whitespace();
            let (mode, id) = (about.next()?.to_owned(), about.nth(1)?.to_owned());
            let bytes = about.next()?.parse().unwrap_or(0); // a submodule has none
            Some((name.to_owned(), Blob { mode, id, bytes }))
        };
        let entries = said.split('\0').filter(|line| !line.is_empty());
        entries.map(|line| entry(line).context("git ls-tree prints something else than files")).collect()
    }

    fn blob(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        output(&self.root, &["cat-file", "blob", id])
    }

    /// What git calls `path`.
    fn path_of(&self, path: &Path) -> anyhow::Result<String> {
        let name = name_of(path);
        let whole = self.here.join(path);
        let real = whole.canonicalize().with_context(|| format!("{name} cannot be read"))?;
        let root = self.root.canonicalize().with_context(|| format!("{} cannot be read", name_of(&self.root)))?;
        let Ok(inner) = real.strip_prefix(&root) else {
            bail!("{name} is not in the git repository around the current folder, {}", name_of(&self.root));
        };
        for part in whole.ancestors().filter(|part| part.is_symlink()) {
            if part.parent().and_then(|p| p.canonicalize().ok()).is_some_and(|p| p.starts_with(&root)) {
                bail!("{} is a symbolic link: name what it leads to", name_of(part));
            }
        }
        let inner = if inner == Path::new("") { Path::new(".") } else { inner };
        inner.to_str().map(str::to_owned).with_context(|| format!("{name} is not UTF-8"))
    }

    /// A file of the repository, as it is opened from here, for a message.
    fn named(&self, file: &str) -> String {
        let whole = self.root.join(file);
        name_of(whole.strip_prefix(&self.here).unwrap_or(&whole))
    }
}

/// What git prints, as text.
fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    String::from_utf8(output(folder, arguments)?).context("git prints a text that is not UTF-8")
}

/// What git prints. Of a repository's own configuration nothing is obeyed that names a program.
fn output(folder: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    const SAFELY: [&str; 8] = [
        "-c",
        "safe.bareRepository=explicit",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.hooksPath=/dev/null",
        "--no-optional-locks",
        "--literal-pathspecs",
    ];
    let mut command = Command::new("git");
    let output = command.args(SAFELY).arg("-C").arg(folder).args(arguments).output().context("git cannot be run")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git {}: {}", arguments.first().unwrap_or(&""), shown(said.lines().next().unwrap_or("failed"), MESSAGE));
    }
    Ok(output.stdout)
}

/// A path for a message.
fn name_of(path: &Path) -> String {
    shown(&path.display().to_string(), MESSAGE)
}

/// A file of its own: a link may lead out of what was reviewed, and a pipe has no end.
fn is_plain(file: &Path) -> anyhow::Result<()> {
    let name = name_of(file);
    let kind = file.symlink_metadata().with_context(|| format!("{name} cannot be read"))?.file_type();
    if kind.is_file() { Ok(()) } else { Err(no_file(&name)) }
}

fn no_file(name: &str) -> anyhow::Error {
    anyhow::anyhow!("{name} is no regular file: nothing is planned in a folder with links or pipes in it")
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Why a file is no set of requests, of one whose name says so to kubectl, Flux or Argo CD.
fn foreign(path: &Path) -> Option<String> {
    let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
    let name = path.file_name()?.to_str().unwrap_or_default();
    if ["kustomization.yaml", "kustomization.yml", "Kustomization"].contains(&name) {
        Some("A kustomization has tools apply what it makes of this folder and of others, which is not planned: remove it.".to_owned())
    } else if name == "Chart.yaml" {
        Some("Argo CD applies what Helm makes of a folder with a chart, which is not planned: remove it.".to_owned())
    } else if ["jsonnet", "libsonnet"].contains(&extension) {
        Some("Argo CD applies what a program in Jsonnet prints, which is not planned: remove it.".to_owned())
    } else if is_manifest(path) && extension.bytes().any(|b| b.is_ascii_uppercase()) {
        Some(format!("kubectl and Argo CD pass over a file whose name ends in .{extension}: write that in lower case."))
    } else {
        None
    }
}

/// The manifests below a folder; if it is `planned` all links, too, whatever their names, and what is refused by its name.
fn files(path: &Path, planned: bool) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let unreadable = || format!("{} cannot be read", name_of(&folder));
        for entry in fs::read_dir(&folder).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let kind = entry.file_type().with_context(unreadable)?;
            // kubectl takes hidden files, too.
            if kind.is_dir() && entry.file_name() != ".git" {
                folders.push(entry.path());
            } else if !kind.is_dir() && is_manifest(&entry.path())
                || planned && (kind.is_symlink() || foreign(&entry.path()).is_some())
            {
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
        let name = name_of(path);
        let file = fs::File::open(path).with_context(|| format!("{name} cannot be read"))?;
        (name, Box::new(file))
    };
    let mut bytes = Vec::new();
    input.take(MOST_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("{name} cannot be read"))?;
    if bytes.len() as u64 > MOST_BYTES { Err(too_large(&name)) } else { utf8(&name, bytes) }
}

fn too_large(name: &str) -> anyhow::Error {
    anyhow::anyhow!("{name} is larger than {} MiB: no set of requests is", MOST_BYTES >> 20)
}

fn utf8(name: &str, bytes: Vec<u8>) -> anyhow::Result<String> {
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{name} is not a text file in UTF-8"))
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

/// The requests of a text, and what is refused in it.
fn documents(file: &str, text: &str) -> anyhow::Result<Vec<Manifest>> {
    let documents = match yaml::documents(text) {
        Ok(documents) => documents,
        Err(Unread::Broken(said)) => bail!("{file} is not YAML: {said}"),
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

/// The requests that a document is, or lists. Of lists tools take apart different ones: kubectl all with `items`, but for lists of lists;
/// kustomize those whose kind ends in List, and only if each item has a kind.
fn requests(mut document: Value) -> Result<Vec<Value>, Change> {
    let is_request = |object: &Value| {
        object["kind"] == "CredentialReset"
            && object["apiVersion"].as_str().is_some_and(|v| v.starts_with("credreset.dev/"))
            && object.get("items").is_none()
    };
    if is_request(&document) {
        return Ok(vec![document]);
    }
    let version = shown(document["apiVersion"].as_str().unwrap_or_default(), NAME);
    let kind = shown(document["kind"].as_str().unwrap_or_default(), NAME);
    if let Some(items) = document.get_mut("items") {
        return match items.take() {
            Value::Array(items) if kind.ends_with("List") && !version.is_empty() && items.iter().all(is_request) => Ok(items),
            _ => Err(Change::Unclear(
                "An object with items is taken apart by some tools and not by others, unless its kind ends in List and each item is a \
                 CredentialReset, with apiVersion and kind. Write its items apart, with --- between."
                    .to_owned(),
            )),
        };
    }
    let what =
        if kind.is_empty() { "An object without a kind".to_owned() } else { format!("Kind {kind} of {version}") };
    Err(Change::Other(format!(
        "{what} is no CredentialReset, and what comes of it is not planned: move it to another folder."
    )))
}
