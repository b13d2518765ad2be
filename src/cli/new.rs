//! `credreset new`: writes manifests of requests.
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde_json::{Value, json};

use crate::{
    api::{API_VERSION, validation::Rules},
    core::text::{NAME, printable},
};

/// Users in a CSV file: more than an incident has, and few enough to review.
const MAX_USERS: usize = 10_000;

/// Flags of `credreset new`.
#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
#[command(after_help = "Examples:
  credreset new annette.c@zylker.biz --directory zylker --reason 'Locked out, identity checked by phone, HELP-4711'
  credreset new annette.c@zylker.biz --directory zylker --mfa --reason 'Lost her phone, HELP-4712'
  credreset new --from-csv phished.csv --directory zylker --reason 'Phished, INC-88' --into resets/inc-88")]
pub struct Args {
    /// Users to reset: e-mail addresses, or user names
    #[arg(required_unless_present = "from_csv")]
    users: Vec<String>,
    /// Read users from the column `user` of this file; `-` is standard input
    #[arg(long, value_name = "FILE")]
    from_csv: Option<PathBuf>,
    /// Treat USERS as ids in the directory
    #[arg(long)]
    ids: bool,
    /// Name of the Directory with these users
    #[arg(long, short)]
    directory: String,
    /// Reset MFA instead of the password
    #[arg(long)]
    mfa: bool,
    /// Reason, and how the user was identified: 8 to 1024 characters
    #[arg(long, short)]
    reason: String,
    /// User name of the requester at the API server; required where a rule requires approvals
    #[arg(long, value_name = "USER")]
    requested_by: Option<String>,
    /// Namespace of the requests
    #[arg(long, short, default_value = "helpdesk")]
    namespace: String,
    /// How long after requestedAt the operator may start the reset, at most 168h
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    valid_for: String,
    /// Do not make the user choose another password at the next sign-in
    #[arg(long, conflicts_with = "mfa")]
    keep_after_login: bool,
    /// Also end mobile sessions and API tokens
    #[arg(long, conflicts_with = "mfa")]
    clear_mobile_sessions_and_api_tokens: bool,
    /// Mail the new password to the user instead of writing it to a Secret
    #[arg(long, conflicts_with = "mfa")]
    email_to_user: bool,
    /// Write one file for each request to this folder, instead of all to standard output
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// Writes a manifest for each user, all with the same `requestedAt`.
///
/// # Errors
/// If an argument or a line of the file is invalid, before anything is written; or if a file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut users = args.users.clone();
    if let Some(file) = &args.from_csv {
        users.extend(from_csv(file)?);
    }
    // Rounded down: a request waits for a requestedAt in the future.
    let whole = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
    let requested_at = Timestamp::now().round(whole).context("the clock")?;
    let rules = Rules::new().map_err(anyhow::Error::msg).context("the rules of the API cannot be read")?;
    let mut names = BTreeSet::new();
    let mut manifests = Vec::with_capacity(users.len());
    let mut seen = BTreeSet::new();
    for user in &users {
        if user.trim().is_empty() {
            bail!("a user is blank");
        }
        // Two requests for one user at one time have the same identity: the operator would refuse the second.
        if !seen.insert(user.to_lowercase()) {
            bail!("{} is named twice", printable(user, NAME));
        }
        let name = request_name(user, requested_at, &mut names);
        let manifest = manifest(args, user, &name, requested_at);
        if let Some(fault) = rules.faults(&manifest).into_iter().next() {
            bail!("invalid request for {:?}: {fault}", printable(user, NAME));
        }
        manifests.push((name, serde_saphyr::to_string(&manifest).context("a manifest has no YAML form")?));
    }
    match &args.into {
        None => {
            let all: Vec<String> = manifests.into_iter().map(|(_, text)| text).collect();
            std::io::stdout().write_all(all.join("---\n").as_bytes()).context("standard output")
        }
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
            let path = |name: &str| folder.join(format!("{name}.yaml"));
            if let Some((name, _)) = manifests.iter().find(|(name, _)| path(name).exists()) {
                bail!("{} exists already", path(name).display());
            }
            for (name, text) in &manifests {
                let path = path(name);
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&path)
                    .with_context(|| format!("{} cannot be created", path.display()))?;
                file.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))?;
            }
            println!(
                "{} in {}",
                if manifests.len() == 1 { "1 request".to_owned() } else { format!("{} requests", manifests.len()) },
                folder.display()
            );
            Ok(())
        }
    }
}

/// The users in the column `user`.
fn from_csv(file: &Path) -> anyhow::Result<Vec<String>> {
    let name = file.display();
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(fs::File::open(file).with_context(|| format!("{name} cannot be read"))?)
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
    let header = reader.headers().with_context(|| format!("{name} is not a CSV file"))?;
    let mut named = header.iter().enumerate().filter(|(_, name)| name.trim_start_matches('\u{feff}') == "user");
    let column = match (named.next(), named.next()) {
        (Some((column, _)), None) => column,
        (Some(_), Some(_)) => bail!("{name} has two columns named user in its first line"),
        (None, _) => bail!("{name} has no column named user in its first line"),
    };
    let mut users = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("{name} is not a CSV file"))?;
        match record.get(column) {
            Some(user) if !user.is_empty() => users.push(user.to_owned()),
            _ => bail!("{name}: line {} has no user", record.position().map_or(0, csv::Position::line)),
        }
        if users.len() > MAX_USERS {
            bail!("{name} has more than {MAX_USERS} users: split it");
        }
    }
    if users.is_empty() {
        bail!("{name} has no users");
    }
    Ok(users)
}

fn manifest(args: &Args, user: &str, name: &str, requested_at: Timestamp) -> Value {
    let by = match (args.ids, user.contains('@')) {
        (true, _) => "id",
        (false, true) => "email",
        (false, false) => "username",
    };
    let mut spec = json!({
        "directory": args.directory,
        "user": {by: user},
        "mode": if args.mfa { "MFA" } else { "Password" },
        "requestedAt": requested_at.to_string(),
        "validFor": args.valid_for,
        "reason": args.reason,
    });
    if let Some(requester) = &args.requested_by {
        spec["requestedBy"] = json!(requester);
    }
    if args.mfa {
        spec["mfa"] = json!({ "confirm": user });
    } else {
        let mut password = json!({
            "generate": {"length": 20},
            "forceChangeOnLogin": !args.keep_after_login,
            "clearMobileSessionsAndApiTokens": args.clear_mobile_sessions_and_api_tokens,
            "emailToUser": args.email_to_user,
        });
        if !args.email_to_user {
            password["deliverTo"] = json!({ "secret": name });
        }
        spec["password"] = password;
    }
    json!({
        "apiVersion": API_VERSION,
        "kind": "CredentialReset",
        "metadata": {"name": name, "namespace": args.namespace},
        "spec": spec,
    })
}

/// A readable name for the request: the user and the time.
fn request_name(user: &str, at: Timestamp, taken: &mut BTreeSet<String>) -> String {
    let local = user.split('@').next().unwrap_or_default().to_lowercase();
    let mut prefix: String = local.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    prefix = prefix.trim_matches('-').to_owned();
    if prefix.is_empty() {
        prefix.push_str("user");
    }
    let stem = format!("{prefix}-{}", at.strftime("%Y%m%d-%H%M%S"));
    let mut name = stem.clone();
    let mut number = 1;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{stem}-{number}");
    }
    name
}
