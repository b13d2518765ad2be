//! `credreset check`: checks the setup of Directories, from the object to the permissions of the operator's account, and whether a user can
//! be reset. Makes the same calls as the operator's own check, and changes nothing.
mod installation;
mod server;
mod user;

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use kube::ResourceExt;
use serde::Serialize;

use super::{
    cluster::Access,
    sources::{
        inventory::{Inventory, find},
        users::parse_name,
    },
    terminal::{self, Output, Page, Tone, paint, symbol, with_progress},
};
use crate::{
    api::Directory,
    core::{
        directory::{DirectoryFacts, Feature},
        request::Mode,
        text::{MESSAGE, printable},
    },
    directory::{NotReady, Provider},
    mail::Mailer,
};

/// Flags of `credreset check`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The command connects from this machine: host names may resolve differently there than in the cluster.

Without a DIRECTORY it checks the installation, too: Kubernetes, the admission policies, and whether an operator leads.

Exit codes: 0, all checks passed; 2, a check failed; 1, an error.

Examples:
  credreset check
  credreset check zylker --user annette.c@zylker.biz
  credreset check --directories directories/zylker.yaml"
)]
pub struct Args {
    /// Name of the Directory; defaults to all
    directory: Option<String>,
    /// Also look up this user, by e-mail address, name or id, and show which rules allow resets
    #[arg(long, short, value_parser = parse_name)]
    user: Option<String>,
    /// Read Directories and the Secrets they name from this file or folder, instead of from a cluster
    #[arg(long, value_name = "FILE|DIR")]
    directories: Option<PathBuf>,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Format of the report
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    access: Access,
}

/// Subject of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
enum About {
    /// The version of Kubernetes.
    Kubernetes,
    /// The chart's admission policies.
    Policies,
    /// The operator that leads.
    Leader,
    /// The operator's version, compared with this program's.
    Version,
    /// The Directory object.
    Object,
    /// The operator's own check, from the status.
    Operator,
    /// The Secret with the credentials.
    Secret,
    /// A server: its name, its connection and its certificate.
    Server,
    /// The settings, compared with each other, the Secret and the directory.
    Settings,
    /// The operator's account at the directory.
    Account,
    /// The permissions of that account, which must cover what the rules allow.
    Permissions,
    /// The mail server of the operator.
    Mail,
    /// The look-up of the user.
    User,
    /// Whether the user's credentials can be reset in this directory.
    Eligibility,
    /// Whether the user is protected; also entries of spec.protect.users that are not in the directory.
    Protection,
    /// The rule that decides for a mode and a namespace.
    Rule,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Sign {
    /// The check passed.
    Ok,
    /// The check failed.
    Wrong,
    /// Neither: not checked, or for information.
    Note,
}

/// One check.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Line {
    /// Its subject.
    about: About,
    /// Its result.
    sign: Sign,
    /// A sentence; of a failed check with what to do.
    message: String,
}

impl Line {
    fn new(about: About, sign: Sign, message: impl Into<String>) -> Self {
        Self { about, sign, message: message.into() }
    }

    fn ok(about: About, message: impl Into<String>) -> Self {
        Self::new(about, Sign::Ok, message)
    }

    fn wrong(about: About, message: impl Into<String>) -> Self {
        Self::new(about, Sign::Wrong, message)
    }

    fn note(about: About, message: impl Into<String>) -> Self {
        Self::new(about, Sign::Note, message)
    }
}

/// The checks of a Directory.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Checked {
    /// Name of the Directory.
    name: String,
    /// The checks, in order.
    lines: Vec<Line>,
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Report {
    /// No check failed.
    ok: bool,
    /// The installation; empty where one Directory is checked, or files are.
    installation: Vec<Line>,
    /// Each Directory.
    directories: Vec<Checked>,
}

/// Prints the report. The exit code depends on whether a check failed.
///
/// # Errors
/// If Directories cannot be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    terminal::runtime()?.block_on(check(args))
}

async fn check(args: Args) -> anyhow::Result<ExitCode> {
    let Args { directory, user, directories, operator_namespace, output, access } = args;
    let (inventory, objects) = find(directory.as_deref(), directories.as_deref(), &operator_namespace, &access).await?;
    let mut checked = Vec::new();
    for object in objects {
        let asked =
            with_progress("asking the directory", Box::pin(lines(&inventory, &object, user.as_deref()))).await?;
        checked.push(Checked { name: object.name_any(), lines: asked });
    }
    let installation = match (&inventory, &directory) {
        (Inventory::Cluster(client, _), None) => {
            let mut lines = with_progress("asking the cluster", installation::lines(client, &operator_namespace)).await;
            if checked.is_empty() {
                lines.push(Line::note(About::Object, "There is no Directory yet, so no reset is allowed."));
            }
            lines
        }
        _ => Vec::new(),
    };
    let all = checked.iter().flat_map(|checked| &checked.lines).chain(&installation);
    let ok = !all.into_iter().any(|line| line.sign == Sign::Wrong);
    let report = Report { ok, installation, directories: checked };
    let text = match output {
        Output::Text => text(&report),
        Output::Json => terminal::json(&report)?,
    };
    terminal::print(&text)?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

async fn lines(inventory: &Inventory, object: &Directory, user: Option<&str>) -> anyhow::Result<Vec<Line>> {
    let facts = match object.settings() {
        Ok(facts) => facts,
        Err(wrong) => return Ok(vec![Line::wrong(About::Object, format!("{wrong}."))]),
    };
    let mut lines = vec![object_line(&facts)];
    if let Inventory::Cluster(..) = inventory {
        lines.push(operator_line(object));
    }
    let credentials = inventory.credentials(&object.spec).await;
    let named = object.spec.provider.credentials().map(|named| &named.secret);
    lines.extend(named.map(|secret| match &credentials {
        Ok(credentials) if credentials.is_empty() => Line::wrong(About::Secret, format!("Secret {secret} is empty.")),
        Ok(credentials) => {
            let keys: Vec<&str> = credentials.keys().map(String::as_str).collect();
            Line::ok(About::Secret, format!("Secret {secret} has {}.", keys.join(", ")))
        }
        Err(why) => Line::wrong(About::Secret, why.clone()),
    }));
    let servers = server::lines(&object.spec).await;
    let reached = servers.iter().all(|line| line.sign != Sign::Wrong);
    lines.extend(servers);
    let provider = match &credentials {
        Ok(credentials) => inventory.connect(&object.spec, credentials).map(Some),
        Err(_) => Ok(None),
    };
    let usable = match provider {
        Ok(Some(provider)) => {
            let reports_permissions = object.spec.provider.reports_permissions();
            sign_in(provider, reports_permissions, &facts, reached, &mut lines).await
        }
        Ok(None) => {
            lines.push(Line::note(About::Account, "Not checked: the Secret is missing."));
            None
        }
        Err(wrong) => {
            lines.push(Line::wrong(About::Settings, wrong.to_string()));
            lines.push(Line::note(About::Account, "Not checked: the settings are wrong."));
            None
        }
    };
    lines.extend(mail_line(inventory, object).await);
    if let Some((provider, facts)) = &usable {
        lines.extend(user::protections(provider, facts).await);
    }
    match (user, usable) {
        (Some(user), Some((provider, facts))) => lines.extend(user::lines(inventory, &provider, facts, user).await?),
        (Some(_), None) => lines.push(Line::note(About::User, "Not looked up: the directory cannot be used.")),
        (None, _) => {}
    }
    Ok(lines)
}

fn object_line(facts: &DirectoryFacts) -> Line {
    if facts.suspend {
        Line::wrong(About::Object, "It is suspended: no reset starts until spec.suspend is false.")
    } else if facts.allow.is_empty() {
        Line::wrong(About::Object, "It has no rule, so nothing is allowed: add one to spec.allow.")
    } else {
        let rules: Vec<&str> = facts.allow.iter().map(|rule| rule.name.as_str()).collect();
        Line::ok(About::Object, format!("{}, with rules {}.", facts.kind, rules.join(", ")))
    }
}

/// The operator's own check, made in the cluster, and whether the directory refuses its calls.
fn operator_line(object: &Directory) -> Line {
    let status = object.status.clone().unwrap_or_default();
    let of_type = |type_: &str| status.conditions.iter().find(|condition| condition.type_ == type_);
    match of_type("Ready") {
        Some(ready)
            if ready.status == "True"
                && let Some(refused) = of_type("CallsRefused") =>
        {
            Line::wrong(About::Operator, format!("{}: {}", refused.type_, refused.message))
        }
        Some(ready) if Some(status.observed_generation) == object.metadata.generation => {
            let message = format!("{}: {}", ready.reason, ready.message);
            Line::new(About::Operator, if ready.status == "True" { Sign::Ok } else { Sign::Wrong }, message)
        }
        _ => Line::wrong(
            About::Operator,
            "The operator has not checked this Directory yet: check whether it is running.",
        ),
    }
}

/// Signs in as the operator's account and checks it. Returns the connection and the directory's facts if users can be looked up.
async fn sign_in(
    provider: Provider,
    reports_permissions: bool,
    facts: &DirectoryFacts,
    reached: bool,
    lines: &mut Vec<Line>,
) -> Option<(Provider, DirectoryFacts)> {
    let modes: Vec<String> = facts.modes().iter().map(ToString::to_string).collect();
    let signed_in = Line::ok(About::Account, "The operator's account signs in.");
    match provider.check(&facts.modes()).await {
        Ok(checked) => {
            lines.push(Line::ok(About::Settings, format!("The settings identify {}.", checked.identity)));
            if facts.modes().contains(&Mode::MFA) && !checked.supports.contains(&Feature::ResetMFA) {
                let message =
                    format!("A rule allows MFA, which cannot be reset in {}: remove it from spec.allow.", facts.kind);
                lines.push(Line::wrong(About::Settings, message));
            }
            lines.extend(checked.unknown_groups().map(|why| Line::wrong(About::Settings, why)));
            lines.push(signed_in);
            lines.push(if reports_permissions {
                let message = format!("The account holds what the rules need ({}).", modes.join(", "));
                Line::ok(About::Permissions, message)
            } else {
                let message =
                    "The account can read what it needs. Whether it may set passwords is known only after a reset.";
                Line::note(About::Permissions, message)
            });
            let facts = checked.add_to(facts.clone());
            return Some((provider, facts));
        }
        Err(NotReady::PermissionMissing(why)) => {
            lines.push(signed_in);
            lines.push(Line::wrong(About::Permissions, why));
            // It may still be allowed to look users up.
            let facts = DirectoryFacts { supports: Feature::ALL.into(), ..facts.clone() };
            return Some((provider, facts));
        }
        Err(NotReady::InvalidConfiguration(why)) => lines.push(Line::wrong(About::Settings, why)),
        Err(NotReady::Unreachable(_)) if !reached => {
            lines.push(Line::note(About::Account, "Not checked: no connection."));
        }
        Err(NotReady::Unreachable(why)) => {
            lines.push(Line::wrong(About::Account, format!("{why} Check the address and the server's log.")));
        }
        Err(NotReady::Throttled(why)) => {
            lines.push(Line::wrong(
                About::Account,
                format!("{why} Nothing is wrong: wait until then, and check again."),
            ));
        }
        Err(NotReady::CredentialsRefused(why)) => lines.push(Line::wrong(About::Account, why)),
    }
    lines.push(Line::note(About::Permissions, "Not checked."));
    None
}

async fn mail_line(inventory: &Inventory, object: &Directory) -> Option<Line> {
    let mail = object.spec.mail.as_ref()?;
    let credentials = match &mail.smtp.credentials {
        None => None,
        Some(secret) => match inventory.secret(&secret.secret).await {
            Ok(credentials) => Some(credentials),
            Err(why) => return Some(Line::wrong(About::Mail, why)),
        },
    };
    Some(match Mailer::connect(mail, credentials.as_ref()) {
        Err(wrong) => Line::wrong(About::Mail, format!("{wrong}.")),
        Ok(mailer) => match mailer.check().await {
            Ok(()) => Line::ok(About::Mail, format!("{} accepts mail.", mail.smtp.url)),
            Err(failure) => Line::wrong(About::Mail, format!("{}: {failure}", mail.smtp.url)),
        },
    })
}

/// The report for a person, with control characters escaped.
fn text(report: &Report) -> String {
    let mut out = String::new();
    let installation = ("installation", &report.installation);
    let directories = report.directories.iter().map(|checked| (checked.name.as_str(), &checked.lines));
    for (name, lines) in std::iter::once(installation).chain(directories).filter(|(_, lines)| !lines.is_empty()) {
        let mut page = Page::new(22 + symbol(Tone::Good).chars().count());
        for Line { about, sign, message } in lines {
            let (tone, word) = match sign {
                Sign::Ok => (Tone::Good, "ok"),
                Sign::Wrong => (Tone::Bad, "WRONG"),
                Sign::Note => (Tone::Plain, "-"),
            };
            let sign = paint(tone, &format!("{}{word:<6}", symbol(tone)));
            let about = format!("{about:?}").to_lowercase();
            page.line(&format!("  {sign} {about:<12} "), message);
        }
        let _ = writeln!(out, "{}\n{}", paint(Tone::Heading, &printable(name, MESSAGE)), page.text());
    }
    let failed = |lines: &[Line]| lines.iter().any(|line| line.sign == Sign::Wrong);
    let directories = report.directories.iter().filter(|checked| failed(&checked.lines)).count();
    out += &match (failed(&report.installation), directories) {
        (false, 0) => paint(Tone::Good, "all checks passed"),
        (false, n) => paint(Tone::Bad, &format!("checks failed for {n} of {}", report.directories.len())),
        (true, 0) => paint(Tone::Bad, "checks failed for the installation"),
        (true, n) => paint(
            Tone::Bad,
            &format!("checks failed for the installation, and for {n} of {}", report.directories.len()),
        ),
    };
    out + "\n"
}
