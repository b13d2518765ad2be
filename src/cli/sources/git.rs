//! Reads files of commits from the git repository around the working directory.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use super::paths::{display_name, not_regular};
use crate::core::text::{MESSAGE, printable};

/// A file in a commit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blob {
    /// As git writes it: 100644, 100755, 120000 for a symbolic link, 160000 for a submodule.
    mode: String,
    /// Object id.
    pub(super) id: String,
    /// Size; 0 of a submodule.
    pub(super) bytes: u64,
}

impl Blob {
    /// # Errors
    /// If it is a link or a submodule; `name` is its name in the message.
    pub(super) fn check_regular(&self, name: &str) -> anyhow::Result<()> {
        match self.mode.as_str() {
            "120000" => Err(not_regular(name)),
            "160000" => {
                bail!("{name} is a submodule: nothing is planned in a folder with files of another repository in it")
            }
            _ => Ok(()),
        }
    }
}

/// The repository around the working directory. The search does not start from the folder that is planned: a pull request may make that
/// folder look like a repository, and a repository's configuration names programs that git runs.
pub(super) struct Repository {
    pub(super) root: PathBuf,
    /// The working directory.
    here: PathBuf,
}

impl Repository {
    pub(super) fn here() -> anyhow::Result<Self> {
        let here = std::env::current_dir().context("the current folder cannot be found")?;
        let toplevel = git(&here, &["rev-parse", "--show-toplevel"])?;
        let root = PathBuf::from(toplevel.trim_end_matches(['\r', '\n']));
        // No commit can contain a file of this name, so a proposed folder cannot have one.
        if !root.join(".git").exists() {
            bail!("{} is not a git work tree: run the command in one", display_name(&root));
        }
        Ok(Self { root, here })
    }

    pub(super) fn git(&self, arguments: &[&str]) -> anyhow::Result<String> {
        git(&self.root, arguments)
    }

    /// The files below `what` in a commit, by name.
    pub(super) fn tree(&self, commit: &str, what: &str) -> anyhow::Result<BTreeMap<String, Blob>> {
        let listing = self.git(&["ls-tree", "-r", "-l", "-z", "--full-tree", commit, "--", what])?;
        let entry = |line: &str| {
            let (about, name) = line.split_once('\t')?;
            let mut about = about.split_ascii_whitespace();
            let (mode, id) = (about.next()?.to_owned(), about.nth(1)?.to_owned());
            let bytes = about.next()?.parse().unwrap_or(0); // a submodule has no size
            Some((name.to_owned(), Blob { mode, id, bytes }))
        };
        let entries = listing.split('\0').filter(|line| !line.is_empty());
        entries.map(|line| entry(line).context("git ls-tree printed a line that is not a file")).collect()
    }

    pub(super) fn blob(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        output(&self.root, &["cat-file", "blob", id])
    }

    /// `path` relative to the root, as git names it.
    pub(super) fn path_of(&self, path: &Path) -> anyhow::Result<String> {
        let name = display_name(path);
        let whole = self.here.join(path);
        let real = whole.canonicalize().with_context(|| format!("{name} cannot be read"))?;
        let root = self.root.canonicalize().with_context(|| format!("{} cannot be read", display_name(&self.root)))?;
        let Ok(inner) = real.strip_prefix(&root) else {
            bail!("{name} is not in the git repository around the current folder, {}", display_name(&self.root));
        };
        for part in whole.ancestors().filter(|part| part.is_symlink()) {
            if part.parent().and_then(|p| p.canonicalize().ok()).is_some_and(|p| p.starts_with(&root)) {
                bail!("{} is a symbolic link: give the path of its target", display_name(part));
            }
        }
        let inner = if inner == Path::new("") { Path::new(".") } else { inner };
        inner.to_str().map(str::to_owned).with_context(|| format!("{name} is not UTF-8"))
    }

    /// The path of a file of the repository from the working directory, for a message.
    pub(super) fn display_name(&self, file: &str) -> String {
        let whole = self.root.join(file);
        display_name(whole.strip_prefix(&self.here).unwrap_or(&whole))
    }
}

/// The output of git as text.
fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    String::from_utf8(output(folder, arguments)?).context("the output of git is not UTF-8")
}

/// The output of git. Settings of the repository that name a program are overridden.
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
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "git {}: {}",
            arguments.first().unwrap_or(&""),
            printable(stderr.lines().next().unwrap_or("failed"), MESSAGE)
        );
    }
    Ok(output.stdout)
}
