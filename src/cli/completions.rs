//! `credreset completions`: prints a completion script; and the completion itself, of a shell and of kubectl.
//!
//! A script asks this program for each word, so names of requests, namespaces, Directories and contexts are those of the cluster.
use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use clap::builder::ArgExt;
use clap_complete::{
    ArgValueCompleter, CompleteEnv, CompletionCandidate, PathCompleter, Shell,
    engine::{ValueCompleter, complete},
    env::Shells,
};
use kube::{Api, Client, ResourceExt, api::ListParams, core::PartialObjectMeta};

use super::{
    cluster::Access,
    list::Listed,
    terminal::{print, runtime},
};
use crate::{
    api::{CredentialReset, Directory},
    core::text::{NAME, printable},
    k8s::{client::client, liveness::Life},
};

/// The variable by which a shell's script asks this program for completions.
const VARIABLE: &str = "CREDRESET_COMPLETE";
/// A person waits for the completion.
const PATIENCE: Duration = Duration::from_secs(2);
/// Names that are offered.
const MAX_NAMES: u32 = 500;

/// Flags of `credreset completions`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The script calls this program, which asks the cluster for names of requests, namespaces and Directories, for two \
                        seconds at most.

Examples:
  source <(credreset completions bash)
  credreset completions zsh > ~/.zfunc/_credreset
  credreset completions fish > ~/.config/fish/completions/credreset.fish
  credreset completions powershell | Out-String | Invoke-Expression
  ln -s \"$(command -v credreset)\" ~/bin/kubectl_complete-credreset   # for kubectl credreset"
)]
pub struct Args {
    /// Shell to print the script for
    shell: Shell,
}

/// Prints the completion script.
///
/// # Errors
/// If standard output cannot be written to.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string()).context("there is no script for this shell")?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, "credreset", "credreset", "credreset", &mut script)
        .context("the script could not be written")?;
    print(&String::from_utf8_lossy(&script))
}

/// Answers a shell that asks for completions, and ends the process then.
pub(super) fn answer_shell() {
    CompleteEnv::with_factory(|| with_names(super::command(None))).var(VARIABLE).complete();
}

/// Answers kubectl, which runs `kubectl_complete-credreset` with the words after `kubectl credreset` (the protocol of cobra): a line for
/// each candidate, and a number that says what the shell may add.
///
/// # Errors
/// If standard output cannot be written to.
pub(super) fn answer_kubectl(words: impl IntoIterator<Item = OsString>) -> anyhow::Result<()> {
    const NO_FILES: u8 = 4;
    const NO_SPACE: u8 = 2;
    let mut all: Vec<OsString> = std::iter::once("credreset".into()).chain(words).collect();
    if all.len() == 1 {
        all.push(OsString::new());
    }
    let last = all.len() - 1;
    let folder = std::env::current_dir().ok();
    let found = complete(&mut with_names(super::command(None)), all, last, folder.as_deref())
        .context("no completion was found")?;
    let mut out = String::new();
    let mut directive = NO_FILES;
    for candidate in &found {
        let value = candidate.get_value().to_string_lossy();
        if value.ends_with(['/', '=']) {
            directive |= NO_SPACE;
        }
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        out += &printable(&value, NAME);
        out += "\t";
        out += &printable(help.lines().next().unwrap_or_default(), NAME);
        out += "\n";
    }
    print(&format!("{out}:{directive}\n"))
}

/// The command, with completers for the arguments that name something of a cluster.
fn with_names(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| {
        command.mut_args(|arg| match arg.get_id().as_str() {
            "namespace" | "operator_namespace" => arg.add(completer(Of::Namespaces)),
            "name" | "names" => arg.add(completer(Of::Requests)),
            "what" => arg.add(ArgValueCompleter::new(FilesAndRequests)),
            "directory" => arg.add(completer(Of::Directories)),
            "context" => arg.add(completer(Of::Contexts)),
            _ => arg,
        })
    })
}

/// What an argument names.
#[derive(Clone, Copy)]
enum Of {
    Namespaces,
    Requests,
    Directories,
    Contexts,
}

fn completer(of: Of) -> impl ArgExt {
    ArgValueCompleter::new(move |current: &OsStr| names(of, current))
}

/// What `credreset wait` takes.
struct FilesAndRequests;

impl ValueCompleter for FilesAndRequests {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let mut all = PathCompleter::any().complete(current);
        all.extend(names(Of::Requests, current));
        all
    }
}

/// The names that begin with `current`; none if the cluster does not show them in time.
fn names(of: Of, current: &OsStr) -> Vec<CompletionCandidate> {
    let line = Line::of(std::env::args_os());
    let found = match of {
        Of::Contexts => line.access.contexts().into_iter().map(|name| (name, String::new())).collect(),
        _ => runtime()
            .ok()
            .and_then(|runtime| {
                runtime.block_on(async { tokio::time::timeout(PATIENCE, asked(of, line)).await.ok()?.ok() })
            })
            .unwrap_or_default(),
    };
    let current = current.to_string_lossy();
    found
        .into_iter()
        .filter(|(name, _)| name.starts_with(&*current))
        .map(|(name, help)| CompletionCandidate::new(name).help((!help.is_empty()).then(|| help.into())))
        .collect()
}

/// Names of the cluster, each with what it is.
async fn asked(of: Of, line: Line) -> anyhow::Result<Vec<(String, String)>> {
    let client: Client = client(line.access.config().await?, &Life::default())?;
    let some = ListParams::default().limit(MAX_NAMES);
    Ok(match of {
        Of::Namespaces => {
            let all: Api<PartialObjectMeta<k8s_openapi::api::core::v1::Namespace>> = Api::all(client);
            let all = all.list_metadata(&some).await?;
            all.items.iter().map(|namespace| (namespace.name_any(), String::new())).collect()
        }
        Of::Directories => {
            let all: Api<PartialObjectMeta<Directory>> = Api::all(client);
            let all = all.list_metadata(&some).await?;
            all.items.iter().map(|directory| (directory.name_any(), String::new())).collect()
        }
        Of::Requests => {
            let namespace = line.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
            let all: Api<CredentialReset> = Api::namespaced(client, &namespace);
            let all = all.list(&some).await?;
            all.items.iter().map(|request| (request.name_any(), Listed::of(request).brief())).collect()
        }
        Of::Contexts => Vec::new(),
    })
}

/// What the line that is being typed says of the cluster.
#[derive(Default)]
struct Line {
    access: Access,
    namespace: Option<String>,
}

impl Line {
    /// From the words of the line. It is incomplete, so what is not understood is skipped.
    fn of(words: impl IntoIterator<Item = OsString>) -> Self {
        let mut line = Self::default();
        let mut words = words.into_iter().map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            let (flag, mut value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            if !matches!(flag.as_str(), "-n" | "--namespace" | "--kubeconfig" | "--context" | "--as" | "--as-group") {
                continue;
            }
            value = value.or_else(|| words.next());
            let Some(value) = value else { break };
            match flag.as_str() {
                "--kubeconfig" => line.access.kubeconfig = Some(PathBuf::from(value)),
                "--context" => line.access.context = Some(value),
                "--as" => line.access.impersonate = Some(value),
                "--as-group" => line.access.impersonate_groups.push(value),
                _ => line.namespace = Some(value),
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where() {
        let words = "credreset -- credreset explain --context=prod -n helpdesk --as hana --as-group a --as-group b";
        let line = Line::of(words.split(' ').map(OsString::from));
        assert_eq!(line.namespace.as_deref(), Some("helpdesk"));
        assert_eq!(line.access.context.as_deref(), Some("prod"));
        assert_eq!(line.access.impersonate.as_deref(), Some("hana"));
        assert_eq!(line.access.impersonate_groups, ["a", "b"]);
        assert!(Line::of(["explain", "-n"].map(OsString::from)).namespace.is_none());
    }
}
