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
    let files = files(path, true)?;
    if path.is_dir() {
        files.iter().try_for_each(|file| is_plain(file))?;
    }
    let of_file = |file: &PathBuf| documents(&file.display().to_string(), &text(file)?);
    let all: Vec<anyhow::Result<Vec<Manifest>>> = files.par_iter().map(of_file).collect();
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
    for file in files(path, false)? {
        let name = file.display().to_string();
        all.extend(objects(&name, &text(&file)?)?.into_iter().map(|object| (name.clone(), object)));
    }
    Ok(all)
}

/// Of the requests under `path`, those that are other than in `base`, a commit of the repository that the command runs in.
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
        Ok(said.split('\0').filter(|name| is_manifest(Path::new(name))).map(str::to_owned).collect())
    };
    // What the branch itself does, and not what has happened on the other since.
    let fork = repository.git(&["merge-base", "--end-of-options", base, "HEAD"])?;
    let fork = fork.trim();
    let plain = ["diff", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules=all"];
    let differ = list(&[&plain[..], &[fork]].concat())?;
    let untracked = list(&["ls-files", "--others", "--exclude-standard"])?;

    let mut before = BTreeMap::new();
    for file in &differ {
        // A file that is new is not in the base.
        let Ok(text) = repository.git(&["cat-file", "blob", &format!("{fork}:{file}")]) else { continue };
        for manifest in documents(&repository.named(file), &text)? {
            before.insert(manifest.key(), manifest);
        }
    }
    let mut all = Vec::new();
    for name in differ.union(&untracked) {
        let file = repository.root.join(name);
        if file.symlink_metadata().is_err() {
            continue; // it is deleted
        }
        is_plain(&file)?;
        for mut manifest in documents(&repository.named(name), &text(&file)?)? {
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

    /// A file of the repository, as it is opened from here.
    fn named(&self, file: &str) -> String {
        let whole = self.root.join(file);
        whole.strip_prefix(&self.here).unwrap_or(&whole).display().to_string()
    }
}

/// What git prints. Of a repository's own configuration nothing is obeyed that names a program.
fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
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
    String::from_utf8(output.stdout).context("git prints a text that is not UTF-8")
}

/// A path for a message.
fn name_of(path: &Path) -> String {
    shown(&path.display().to_string(), MESSAGE)
}

/// A file of its own: a link may lead out of what was reviewed, and a pipe has no end.
fn is_plain(file: &Path) -> anyhow::Result<()> {
    let name = name_of(file);
    let kind = file.symlink_metadata().with_context(|| format!("{name} cannot be read"))?.file_type();
    if !kind.is_file() {
        bail!("{name} is no regular file: nothing is planned in a folder with links or pipes in it");
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// The manifests below a folder, with `links` all links, too, whatever their names.
fn files(path: &Path, links: bool) -> anyhow::Result<Vec<PathBuf>> {
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
            } else if links && kind.is_symlink() || !kind.is_dir() && is_manifest(&entry.path()) {
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
    let file = if file == "-" { "standard input".to_owned() } else { shown(file, MESSAGE) };
    let of_ours = |object: &Value| {
        object["kind"] == "CredentialReset"
            && object["apiVersion"].as_str().is_some_and(|v| v.starts_with("credreset.dev/"))
    };
    let found = objects(&file, text)?.into_iter().filter(of_ours);
    Ok(found.map(|object| Manifest { file: file.clone(), object, change: Change::Added }).collect())
}
