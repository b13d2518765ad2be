//! `credreset new`.
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
    api::validation::Rules,
    core::text::{NAME, shown},
};

/// More than an incident has, and few enough to be read.
const MOST: usize = 10_000;

/// Flags of `credreset new`.
#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
#[command(after_help = "Examples:
  credreset new annette.c@zylker.biz --directory zylker --reason 'Locked out, identity checked by phone, HELP-4711'
  credreset new annette.c@zylker.biz --directory zylker --mfa --reason 'Lost her phone, HELP-4712'
  credreset new --from-csv phished.csv --directory zylker --reason 'Phished, INC-88' --into resets/inc-88")]
pub struct Args {
    /// Whose: e-mail addresses, or names the users sign in with
    #[arg(required_unless_present = "from_csv")]
    users: Vec<String>,
    /// Take the users from the column `user` of this file; `-` is standard input
    #[arg(long, value_name = "FILE")]
    from_csv: Option<PathBuf>,
    /// Users are the directory's own ids
    #[arg(long)]
    ids: bool,
    /// The Directory object that keeps them
    #[arg(long, short)]
    directory: String,
    /// Reset MFA instead of the password
    #[arg(long)]
    mfa: bool,
    /// Why, and how the user was identified: 8 to 1024 characters
    #[arg(long, short)]
    reason: String,
    /// Who asks, as the API server knows people; needed where a rule asks for approvals
    #[arg(long, value_name = "USER")]
    requested_by: Option<String>,
    /// Namespace of the requests
    #[arg(long, short, default_value = "helpdesk")]
    namespace: String,
    /// How long the reset may still be started, at most 168h
    #[arg(long, default_value = "24h", value_name = "DURATION")]
    valid_for: String,
    /// The new password stays valid: the user need not choose another one at the next sign-in
    #[arg(long, conflicts_with = "mfa")]
    keep_after_login: bool,
    /// End mobile sessions and API tokens, too
    #[arg(long, conflicts_with = "mfa")]
    clear_mobile_sessions_and_api_tokens: bool,
    /// Mail the new password to the user instead of delivering it to a Secret
    #[arg(long, conflicts_with = "mfa")]
    email_to_user: bool,
    /// Write a file for each request into this folder, instead of all to standard output
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

/// Writes a manifest for each user, with one `requestedAt`.
///
/// # Errors
/// What of the arguments or the file makes no request, or cannot be written. Then nothing is written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut users = args.users.clone();
    if let Some(file) = &args.from_csv {
        users.extend(from_csv(file)?);
    }
    // Not a moment that is still to come: the request would wait for it.
    let whole = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
    let requested_at = Timestamp::now().round(whole).context("the clock")?;
    let rules = Rules::new().map_err(anyhow::Error::msg).context("the rules of the API cannot be read")?;
    let mut names = BTreeSet::new();
    let mut manifests = Vec::with_capacity(users.len());
    let mut seen = BTreeSet::new();
    for user in &users {
        if user.trim().is_empty() {
            bail!("a user has a name: one is blank");
        }
        // The same person twice would be two requests with one identity: the second would be refused.
        if !seen.insert(user.to_lowercase()) {
            bail!("{} is named twice", shown(user, NAME));
        }
        let name = name_of(user, requested_at, &mut names);
        let manifest = manifest(args, user, &name, requested_at);
        if let Some(fault) = rules.faults(&manifest).into_iter().next() {
            bail!("no request can be made of {:?}: {fault}", shown(user, NAME));
        }
        manifests.push((name, serde_saphyr::to_string(&manifest).context("a manifest has no YAML form")?));
    }
    match &args.into {
        None => {
            let all: Vec<String> = manifests.into_iter().map(|(_, text)| text).collect();
            std::io::stdout().write_all(all.join("---\n").as_bytes()).context("standard output")
        }
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            let path = |name: &str| folder.join(format!("{name}.yaml"));
            if let Some((name, _)) = manifests.iter().find(|(name, _)| path(name).exists()) {
                bail!("{} is there already", path(name).display());
            }
            for (name, text) in &manifests {
                let path = path(name);
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&path)
                    .with_context(|| format!("{} cannot be made", path.display()))?;
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

/// The column `user`.
fn from_csv(file: &Path) -> anyhow::Result<Vec<String>> {
    let whence = file.display();
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(fs::File::open(file).with_context(|| format!("{whence} cannot be read"))?)
    };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
    let header = reader.headers().with_context(|| format!("{whence} is no CSV file"))?;
    let mut named = header.iter().enumerate().filter(|(_, name)| name.trim_start_matches('\u{feff}') == "user");
    let column = match (named.next(), named.next()) {
        (Some((column, _)), None) => column,
        (Some(_), Some(_)) => bail!("{whence} has two columns named user in its first line"),
        (None, _) => bail!("{whence} has no column named user in its first line"),
    };
    let mut users = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("{whence} is no CSV file"))?;
        match record.get(column) {
            Some(user) if !user.is_empty() => users.push(user.to_owned()),
            _ => bail!("{whence}: line {} names no user", record.position().map_or(0, csv::Position::line)),
        }
        if users.len() > MOST {
            bail!("{whence} has more than {MOST} users: split it");
        }
    }
    if users.is_empty() {
        bail!("{whence} names nobody");
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
        "apiVersion": "credreset.dev/v1alpha1",
        "kind": "CredentialReset",
        "metadata": {"name": name, "namespace": args.namespace},
        "spec": spec,
    })
}

/// A name for the request that people recognize: of the user, and when it was asked for.
fn name_of(user: &str, at: Timestamp, taken: &mut BTreeSet<String>) -> String {
    let local = user.split('@').next().unwrap_or_default().to_lowercase();
    let mut words: String = local.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
    words = words.trim_matches('-').to_owned();
    if words.is_empty() {
        words.push_str("user");
    }
    let stem = format!("{words}-{}", at.strftime("%Y%m%d-%H%M%S"));
    let mut name = stem.clone();
    let mut number = 1;
    while !taken.insert(name.clone()) {
        number += 1;
        name = format!("{stem}-{number}");
    }
    name
}
