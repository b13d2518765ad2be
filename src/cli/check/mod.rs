//! `credreset check`: what stands in the way of a Directory, from the object to the permissions of the operator's account, and of a user
//! in it. Asks what the operator asks, and changes nothing.
mod server;
mod user;

use std::{collections::HashMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Serialize;

use super::{Output, plan, said};
use crate::{
    api::Directory,
    core::{
        request::Mode,
        text::{MESSAGE, shown},
        world::{self, Feature},
    },
    directory::{Credentials, NotReady, Provider, mail::Mailer},
    k8s::{self, secrets::Secrets},
};

/// Flags of `credreset check`.
#[derive(clap::Args, Debug)]
#[command(after_help = "It asks from where it runs: names and addresses may be others there than in the cluster.

Exit codes: 0, all is well; 2, something is wrong; 1, failed.

Examples:
  credreset check
  credreset check zylker --user annette.c@zylker.biz
  credreset check --directories directories/zylker.yaml")]
pub struct Args {
    /// Name of the Directory; all, if left out
    directory: Option<String>,
    /// Look this user up, too, by e-mail address, name or id, and say who may reset it
    #[arg(long, short, value_parser = name)]
    user: Option<String>,
    /// Take Directories, and the Secrets they name, from this file or folder, and ask no cluster
    #[arg(long, value_name = "FILE|DIR")]
    directories: Option<PathBuf>,
    /// The operator's namespace
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// For people, or for programs
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

fn name(typed: &str) -> Result<String, &'static str> {
    if typed.trim().is_empty() { Err("empty: neither an address, nor a name, nor an id") } else { Ok(typed.to_owned()) }
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
enum About {
    /// The Directory object.
    Object,
    /// What the operator says about it.
    Operator,
    /// The Secret with the credentials.
    Secret,
    /// An address: its name, whether anything answers there, and its certificate.
    Server,
    /// Whether the settings fit each other, the Secret and the directory.
    Settings,
    /// The operator's account at the directory.
    Account,
    /// Whether that account may do what the rules allow.
    Permissions,
    /// The operator's own mail.
    Mail,
    /// The user, as looked up.
    User,
    /// Whether the user is one whose credentials can be reset here.
    Fit,
    /// Whether the user is protected; and whom of spec.protect.users the directory does not know.
    Protection,
    /// The rule for a mode and a namespace.
    Rule,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Sign {
    /// It is as it should be.
    Ok,
    /// It is not.
    Wrong,
    /// Neither: it was not looked at, or need not be otherwise.
    Note,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Line {
    /// What it is about.
    about: About,
    /// What was found.
    sign: Sign,
    /// In words; if it is wrong, with what to do.
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

/// A Directory that was checked.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Checked {
    /// Its name.
    name: String,
    /// What was looked at.
    lines: Vec<Line>,
}

/// What `--output json` prints.
#[derive(Clone, Debug, Serialize, schemars::JsonSchema)]
pub struct Report {
    /// Nothing is wrong.
    ok: bool,
    /// Each that was checked.
    directories: Vec<Checked>,
}

/// Where Directories and their Secrets are.
enum Source {
    Cluster(Client, Secrets),
    Files(HashMap<String, Credentials>),
}

impl Source {
    /// The contents of a Secret.
    async fn secret(&self, name: &str) -> Result<Credentials, String> {
        match self {
            Self::Cluster(_, secrets) => plan::world::credentials(secrets, name).await,
            Self::Files(secrets) => {
                let found = secrets.get(name).cloned();
                found.ok_or_else(|| format!("Secret {name} is not among the files that --directories names."))
            }
        }
    }
}

/// Checks, prints, and says by its exit code what came of it.
///
/// # Errors
/// What could not be read or reached.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(check(args))
}

async fn check(args: Args) -> anyhow::Result<ExitCode> {
    let Args { directory, user, directories, operator_namespace, output } = args;
    let (source, mut objects) = if let Some(path) = &directories {
        let (objects, secrets) = plan::described(path, true)?;
        (Source::Files(secrets), objects)
    } else {
        let client = super::cluster().await?;
        let objects = of_cluster(&client, directory.as_deref())
            .await
            .map_err(said)
            .context("the Directories could not be read")?;
        let secrets = Secrets::new(client.clone(), &operator_namespace);
        (Source::Cluster(client, secrets), objects)
    };
    objects.retain(|object| directory.as_ref().is_none_or(|name| object.name_any() == *name));
    if objects.is_empty() {
        let whence = directories.map_or_else(|| "the cluster".to_owned(), |path| path.display().to_string());
        match directory {
            Some(name) => bail!("there is no Directory {} in {whence}", shown(&name, MESSAGE)),
            None => bail!("there is no Directory in {whence}"),
        }
    }
    let mut checked = Vec::new();
    for object in objects {
        checked.push(Checked { name: object.name_any(), lines: lines(&source, &object, user.as_deref()).await? });
    }
    let ok = !checked.iter().flat_map(|checked| &checked.lines).any(|line| line.sign == Sign::Wrong);
    let report = Report { ok, directories: checked };
    let text = match output {
        Output::Text => text(&report),
        Output::Json => super::json(&report)?,
    };
    super::print(&text)?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// The Directory of that name, or all that there are.
async fn of_cluster(client: &Client, name: Option<&str>) -> kube::Result<Vec<Directory>> {
    let api: Api<Directory> = Api::all(client.clone());
    if let Some(name) = name {
        return Ok(api.get_opt(name).await?.into_iter().collect());
    }
    let mut all = Vec::new();
    k8s::each(&api, ListParams::default(), |object| all.push(object)).await?;
    Ok(all)
}

async fn lines(source: &Source, object: &Directory, user: Option<&str>) -> anyhow::Result<Vec<Line>> {
    let facts = match object.settings() {
        Ok(facts) => facts,
        Err(wrong) => return Ok(vec![Line::wrong(About::Object, format!("{wrong}."))]),
    };
    let mut lines = vec![of_object(&facts)];
    if let Source::Cluster(..) = source {
        lines.push(of_operator(object));
    }
    let secret = &object.spec.provider.credentials().secret;
    let credentials = source.secret(secret).await;
    lines.push(match &credentials {
        Ok(credentials) if credentials.is_empty() => Line::wrong(About::Secret, format!("Secret {secret} is empty.")),
        Ok(credentials) => {
            let keys: Vec<&str> = credentials.keys().map(String::as_str).collect();
            Line::ok(About::Secret, format!("Secret {secret} has {}.", keys.join(", ")))
        }
        Err(why) => Line::wrong(About::Secret, why.clone()),
    });
    let servers = server::lines(&object.spec).await;
    let reached = servers.iter().all(|line| line.sign != Sign::Wrong);
    lines.extend(servers);
    let provider = match &credentials {
        Ok(credentials) => Provider::connect(&object.spec, credentials).map(Some),
        Err(_) => Ok(None),
    };
    let usable = match provider {
        Ok(Some(provider)) => {
            let tells_rights = object.spec.provider.tells_rights();
            of_account(provider, tells_rights, &facts, reached, &mut lines).await
        }
        Ok(None) => {
            lines.push(Line::note(About::Account, "Not asked, without the Secret."));
            None
        }
        Err(wrong) => {
            lines.push(Line::wrong(About::Settings, wrong.to_string()));
            lines.push(Line::note(About::Account, "Not asked, with these settings."));
            None
        }
    };
    lines.extend(of_mail(source, object).await);
    if let Some((provider, facts)) = &usable {
        lines.extend(user::protections(provider, facts).await);
    }
    match (user, usable) {
        (Some(user), Some((provider, facts))) => lines.extend(user::lines(source, &provider, facts, user).await?),
        (Some(_), None) => lines.push(Line::note(About::User, "Not looked up.")),
        (None, _) => {}
    }
    Ok(lines)
}

fn of_object(facts: &world::Directory) -> Line {
    if facts.suspend {
        Line::wrong(About::Object, "It is suspended: nothing is started until spec.suspend is false.")
    } else if facts.allow.is_empty() {
        Line::wrong(About::Object, "It has no rule, so nothing is allowed: give it one in spec.allow.")
    } else {
        let rules: Vec<&str> = facts.allow.iter().map(|rule| rule.name.as_str()).collect();
        Line::ok(About::Object, format!("{}, with rules {}.", facts.kind, rules.join(", ")))
    }
}

/// What the operator has found, with its own account and from its own place, and what the directory has answered to its calls.
fn of_operator(object: &Directory) -> Line {
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
        _ => Line::wrong(About::Operator, "It has not checked this Directory yet: look whether an operator runs."),
    }
}

/// Signs in. Returns the connection, and what is known of the directory, if users can be looked up.
async fn of_account(
    provider: Provider,
    tells_rights: bool,
    facts: &world::Directory,
    reached: bool,
    lines: &mut Vec<Line>,
) -> Option<(Provider, world::Directory)> {
    let modes: Vec<String> = facts.modes().iter().map(ToString::to_string).collect();
    let signed_in = Line::ok(About::Account, "The operator's account signs in.");
    match provider.check(&facts.modes()).await {
        Ok(checked) => {
            lines.push(Line::ok(About::Settings, format!("They lead to {}.", checked.identity)));
            if facts.modes().contains(&Mode::MFA) && !checked.supports.contains(&Feature::ResetMFA) {
                let message =
                    format!("A rule allows MFA, and none can be reset in {}: take it out of spec.allow.", facts.kind);
                lines.push(Line::wrong(About::Settings, message));
            }
            lines.extend(checked.unknown_groups().map(|why| Line::wrong(About::Settings, why)));
            lines.push(signed_in);
            lines.push(if tells_rights {
                let message = format!("The account holds what the rules need ({}).", modes.join(", "));
                Line::ok(About::Permissions, message)
            } else {
                let message = "The account sees what it has to; whether it may set passwords, only a reset tells.";
                Line::note(About::Permissions, message)
            });
            let facts = checked.add_to(facts.clone());
            return Some((provider, facts));
        }
        Err(NotReady::PermissionMissing(why)) => {
            lines.push(signed_in);
            lines.push(Line::wrong(About::Permissions, why));
            // It may be allowed to look users up all the same.
            let facts = world::Directory { supports: Feature::ALL.into(), ..facts.clone() };
            return Some((provider, facts));
        }
        Err(NotReady::InvalidConfiguration(why)) => lines.push(Line::wrong(About::Settings, why)),
        Err(NotReady::Unreachable(_)) if !reached => {
            lines.push(Line::note(About::Account, "Not asked: no connection."));
        }
        Err(NotReady::Unreachable(why)) => {
            lines.push(Line::wrong(About::Account, format!("{why} Look at the address, and at the server's log.")));
        }
        Err(NotReady::CredentialsRefused(why)) => lines.push(Line::wrong(About::Account, why)),
    }
    lines.push(Line::note(About::Permissions, "Not asked."));
    None
}

async fn of_mail(source: &Source, object: &Directory) -> Option<Line> {
    let mail = object.spec.mail.as_ref()?;
    let credentials = match &mail.smtp.credentials {
        None => None,
        Some(secret) => match source.secret(&secret.secret).await {
            Ok(credentials) => Some(credentials),
            Err(why) => return Some(Line::wrong(About::Mail, why)),
        },
    };
    Some(match Mailer::connect(mail, credentials.as_ref()) {
        Err(wrong) => Line::wrong(About::Mail, format!("{wrong}.")),
        Ok(mailer) => match mailer.check().await {
            Ok(()) => Line::ok(About::Mail, format!("{} takes mail.", mail.smtp.url)),
            Err(failure) => Line::wrong(About::Mail, format!("{}: {failure}", mail.smtp.url)),
        },
    })
}

/// Nothing that somebody typed or a server said reaches the terminal as it is.
fn text(report: &Report) -> String {
    let line = |Line { about, sign, message }: &Line| {
        let sign = match sign {
            Sign::Ok => "ok",
            Sign::Wrong => "WRONG",
            Sign::Note => "-",
        };
        let about = format!("{about:?}").to_lowercase();
        format!("  {sign:<6} {about:<12} {}", shown(message, MESSAGE))
    };
    let mut all: Vec<String> = Vec::new();
    for Checked { name, lines } in &report.directories {
        all.push(shown(name, MESSAGE));
        all.extend(lines.iter().map(line));
        all.push(String::new());
    }
    let wrong = |checked: &&Checked| checked.lines.iter().any(|line| line.sign == Sign::Wrong);
    all.push(match report.directories.iter().filter(wrong).count() {
        0 => "all is well".to_owned(),
        n => format!("something is wrong with {n} of {}", report.directories.len()),
    });
    all.join("\n") + "\n"
}
