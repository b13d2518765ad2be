//! `credreset try`: compares a directory's behaviour with what this program expects, on a test user. A person confirms each call, and takes
//! the place of approvals and the ledger.
mod attempt;
mod expectations;
mod mask;
mod password_file;
mod person;
mod report;
mod run;
mod steps;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::bail;
use kube::ResourceExt;

use self::{mask::Mask, person::Person};
pub use report::Report;
use report::Verdict;

use super::{
    cluster::Access,
    sources::{inventory::find, users::parse_name},
    terminal::{self, ReviewOutput},
};
use crate::core::text::{NAME, printable};

/// Flags of `credreset try`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Asks for confirmation of each call, on a terminal; no flag skips this. Refuses users whom the Directory protects, \
                  but bypasses approvals and writes no record: use a dedicated test user. The report on standard output has no names, \
                  ids or addresses.

Exit codes: 0, what was tried is as expected; 2, something is not; 3, ended early, and what was tried is as expected; 1, nothing was tried.

Examples:
  credreset try zylker --user test@zylker.biz
  credreset try zylker --user test@zylker.biz --directories directories/zylker.yaml --output markdown >report.md"
)]
pub struct Args {
    /// Name of the Directory
    directory: String,
    /// The test user, by e-mail address, name or id; password and second factors are reset
    #[arg(long, short, value_parser = parse_name)]
    user: String,
    /// Read the Directory and the Secret it names from this file or folder, instead of from a cluster
    #[arg(long, value_name = "FILE|DIR")]
    directories: Option<PathBuf>,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Format of the report; markdown is for an issue
    #[arg(long, short, value_enum, default_value_t = ReviewOutput::Text)]
    output: ReviewOutput,
    #[command(flatten)]
    access: Access,
}

/// Runs the steps and prints the report. The exit code depends on the findings.
///
/// # Errors
/// If nothing was tried, and why.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    terminal::runtime()?.block_on(try_out(args))
}

async fn try_out(args: Args) -> anyhow::Result<ExitCode> {
    let Args { directory, user, directories, operator_namespace, output, access } = args;
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!("standard input and standard error must be a terminal: a person has to agree to each call");
    }
    // A user who may run commands in the operator's Pod must not use the operator's permissions for this.
    if directories.is_none() && !access.has_kubeconfig()? {
        bail!("no kubeconfig: set KUBECONFIG; the service account of a Pod is not used for this");
    }
    let (inventory, objects) = find(Some(&directory), directories.as_deref(), &operator_namespace, &access).await?;
    let [object] = &objects[..] else { bail!("there are {} Directories of that name", objects.len()) };
    let name = printable(&object.name_any(), NAME);
    let facts = object.settings().map_err(|wrong| anyhow::anyhow!("Directory {name}: {wrong}"))?;
    if facts.suspend {
        bail!("Directory {name} is suspended: nothing is sent until spec.suspend is false");
    }
    if facts.allow.is_empty() {
        bail!("Directory {name} has no rule, so nothing is allowed: add one to spec.allow");
    }
    let credentials = inventory.credentials(&object.spec).await.map_err(anyhow::Error::msg)?;
    let person = Arc::new(Person::listen()?);
    let provider = inventory.connect(&object.spec, &credentials)?.watched_by(person.clone());
    person.say(&format!(
        "This resets password and second factors of a real user in Directory {name} ({}), several times. It deliberately bypasses \
         approvals and records: use a dedicated test user. Afterwards the password is not known; set another.\n\n\
         Each call is shown first and sent only if you confirm it. At a question whether to send, anything but y (a for all reads of a \
         step) ends the test, as does Ctrl-C at any time, with a report of what was done so far. At a question about what you see, n is an \
         answer like y. No password, token or secret is written to the terminal or the report, and the report has no name of a user or \
         a server.",
        facts.kind
    ));
    let question = format!("\nType the name of the test user ({}) again:", printable(&user, NAME));
    if !person.ask(&question).await.is_ok_and(|typed| typed.trim() == user.trim()) {
        bail!("that is not the user of --user: nothing was sent");
    }
    let mask = Mask::of(object, &user);
    let report = steps::all(&person, &provider, object, facts, &user, mask).await;
    let text = match output {
        ReviewOutput::Text => report.text(person::colours(&std::io::stdout())),
        ReviewOutput::Markdown => report.markdown(),
        ReviewOutput::Json => terminal::json(&report)?,
    };
    terminal::print(&text)?;
    Ok(match report.count(Verdict::NotAsExpected) {
        0 if report.stopped.is_none() => ExitCode::SUCCESS,
        0 => ExitCode::from(3),
        _ => ExitCode::from(2),
    })
}
