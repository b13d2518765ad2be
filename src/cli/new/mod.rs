//! `credreset new`: writes manifests of requests.
mod caller;
mod group;
mod labels;
mod list;
mod open;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use serde_json::{Value, json};

use self::{caller::Caller, open::whose};
use super::{cluster::Access, terminal};
use crate::{
    api::{API_VERSION, duration, reset, validation::Rules},
    core::{
        request::{Mode, UserRef},
        text::{MESSAGE, NAME, is_object_name, printable},
    },
    sealing,
};

/// Flags of `credreset new`.
#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
#[command(after_help = "Examples:
  credreset new annette.c@zylker.biz --directory zylker --reason 'Locked out, identity checked by phone, HELP-4711'
  credreset new annette.c@zylker.biz --directory zylker --mfa --reason 'Lost her phone, HELP-4712'
  credreset new --from-csv phished.csv --directory zylker --incident inc-88 --reason 'Phished' --into resets
  credreset new --group /Finance --directory keycloak --incident inc-89 --reason 'Leaked passwords' --into resets")]
pub struct Args {
    /// Users to reset: e-mail addresses, or user names
    #[arg(required_unless_present_any = ["from_csv", "group"])]
    users: Vec<String>,
    /// Reset the members of this group, and of the groups in it, written as in the Directory's rules; asks the directory
    #[arg(long, value_name = "NAME", conflicts_with_all = ["users", "from_csv"])]
    group: Option<String>,
    /// Read the Directory and the Secret for --group from this file or folder, instead of from a cluster
    #[arg(long, value_name = "FILE|DIR", requires = "group")]
    directories: Option<PathBuf>,
    /// The operator's namespace, with the Secret for --group
    #[arg(long, env = "CREDRESET_NAMESPACE", default_value = "credreset-system", value_name = "NAMESPACE")]
    operator_namespace: String,
    /// Read users from a column of this file, with commas, semicolons or tabs between the columns; `-` is standard input
    #[arg(long, value_name = "FILE")]
    from_csv: Option<PathBuf>,
    /// Name of the column with the users, in the first line of --from-csv
    #[arg(long, value_name = "NAME", default_value = "user", requires = "from_csv")]
    column: String,
    /// Treat USERS as ids in the directory
    #[arg(long)]
    ids: bool,
    /// Name of the Directory with these users
    #[arg(long, short, value_parser = directory)]
    directory: String,
    /// Reset MFA instead of the password
    #[arg(long)]
    mfa: bool,
    /// Reason, and how the user was identified: 8 to 1024 characters
    #[arg(long, short)]
    reason: String,
    /// User name of the requester at the API server [default: your own, if a cluster can be reached]
    #[arg(long, value_name = "USER")]
    requested_by: Option<String>,
    /// Namespace of the requests [default: that of the kubeconfig's context, or helpdesk]
    #[arg(long, short)]
    namespace: Option<String>,
    /// How long after requestedAt the operator may start the reset, at most 168h
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = validity)]
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
    /// Seal the delivered password for the holder of this public key, of age or SSH; may be repeated
    #[arg(long, value_name = "KEY", value_parser = public_key, conflicts_with_all = ["mfa", "email_to_user"])]
    sealed_for: Vec<String>,
    /// How long the Secret with the password stays, 1h to 720h [default: until somebody deletes it]
    #[arg(long, value_name = "DURATION", value_parser = expiry, conflicts_with_all = ["mfa", "email_to_user"])]
    expires_after: Option<String>,
    /// Label of the requests, such as team=sales; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = labels::label)]
    label: Vec<(String, String)>,
    /// Name of an incident: label incident=NAME, beginning of the reason, and folder below --into
    #[arg(long, value_name = "NAME", value_parser = labels::value)]
    incident: Option<String>,
    /// Write one file for each request to this folder, instead of all to standard output
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Write requests also for users who have one in --into that has not ended
    #[arg(long, requires = "into")]
    again: bool,
    #[command(flatten)]
    access: Access,
}

impl Args {
    fn mode(&self) -> Mode {
        if self.mfa { Mode::MFA } else { Mode::Password }
    }

    /// The reason, which begins with the incident.
    fn whole_reason(&self) -> String {
        match &self.incident {
            Some(name) if !self.reason.to_lowercase().contains(&name.to_lowercase()) => {
                format!("{name}: {}", self.reason)
            }
            _ => self.reason.clone(),
        }
    }

    /// The folder for the files: that of the incident, if there is one.
    fn folder(&self) -> Option<PathBuf> {
        let into = self.into.as_ref()?;
        Some(match &self.incident {
            Some(name) if !into.ends_with(name) => into.join(name),
            _ => into.clone(),
        })
    }
}

/// Writes a manifest for each user, all with the same `requestedAt`.
///
/// # Errors
/// If an argument or a line of the file is invalid, or a user has an open request, before anything is written; or if a file cannot be
/// written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    terminal::runtime()?.block_on(new(args))
}

async fn new(args: &Args) -> anyhow::Result<()> {
    ensure!((8..=1024).contains(&args.whole_reason().chars().count()), "--reason must have 8 to 1024 characters");
    let (users, named_again) = match &args.group {
        Some(group) => (group::members(args, group).await?, None),
        None => users(args)?,
    };
    // Rounded down: a request waits for a requestedAt in the future.
    let whole = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Trunc);
    let requested_at = Timestamp::now().round(whole).context("the clock")?;
    let rules = Rules::new().map_err(anyhow::Error::msg).context("the rules of the API cannot be read")?;
    let mut names = BTreeSet::new();
    let namespace = match &args.namespace {
        Some(namespace) => namespace.clone(),
        None => args.access.namespace().unwrap_or_else(|| "helpdesk".to_owned()),
    };
    let mut manifests = Vec::with_capacity(users.len());
    for user in &users {
        let name = request_name(user.typed(), requested_at, &mut names);
        let manifest = manifest(args, user, &namespace, &name, requested_at);
        if let Some(fault) = rules.faults(&manifest).into_iter().next() {
            bail!("invalid request for {:?}: {fault}", printable(user.typed(), NAME));
        }
        manifests.push((name, manifest));
    }
    let open = match &args.into {
        Some(folder) if !args.again => open::requests(folder, requested_at)?,
        _ => open::Requests::new(),
    };
    let open: Vec<_> = users
        .iter()
        .filter_map(|user| Some((user, open.get(&whose(&args.directory, args.mode(), user.typed()))?)))
        .collect();
    let caller = if args.requested_by.is_none() || !open.is_empty() { Caller::find(&args.access).await } else { None };
    refuse_open(&open, caller.as_ref()).await?;
    let note = add_requester(args, caller.as_ref(), &mut manifests);
    let manifests = manifests
        .into_iter()
        .map(|(name, manifest)| Ok((name, serde_saphyr::to_string(&manifest).context("a manifest has no YAML form")?)))
        .collect::<anyhow::Result<Vec<(String, String)>>>()?;
    match args.folder() {
        None => {
            let all: Vec<&str> = manifests.iter().map(|(_, text)| text.as_str()).collect();
            terminal::print(&all.join("---\n"))?;
        }
        Some(folder) => write(&folder, &manifests)?,
    }
    let several_words = users.iter().find_map(|user| match user {
        UserRef::Username(name) if name.contains(' ') => Some(name),
        _ => None,
    });
    let taken = several_words.map(|name| format!("{} is taken for a user name: it has no @", printable(name, NAME)));
    for note in named_again.into_iter().chain(taken).chain(note) {
        // Standard error may be closed; the manifests are written.
        let _ = writeln!(std::io::stderr(), "note: {note}");
    }
    Ok(())
}

/// The users of the command line and of the file, each once, with a note about those that the file names again.
fn users(args: &Args) -> anyhow::Result<(Vec<UserRef>, Option<String>)> {
    let mut seen = BTreeSet::new();
    for user in &args.users {
        if user.trim().is_empty() {
            bail!("a user is blank");
        }
        // Two requests for one user at one time have the same identity: the operator would refuse the second.
        if !seen.insert(user.to_lowercase()) {
            bail!("{} is named twice", printable(user, NAME));
        }
    }
    let listed = match &args.from_csv {
        Some(file) => list::read(file, &args.column)?,
        None => Vec::new(),
    };
    let (users, note) = list::each_once(args.users.clone(), listed);
    let by = |user: String| match (args.ids, user.contains('@')) {
        (true, _) => UserRef::Id(user),
        (false, true) => UserRef::Email(user),
        (false, false) => UserRef::Username(user),
    };
    Ok((users.into_iter().map(by).collect(), note))
}

/// Refuses users of whom a request is open. One that has ended in the cluster is none.
async fn refuse_open(open: &[(&UserRef, &open::Open)], caller: Option<&Caller>) -> anyhow::Result<()> {
    if open.is_empty() {
        return Ok(());
    }
    let ended = match caller {
        Some(caller) => caller.ended(open.iter().map(|(_, one)| one.namespace.clone()).collect()).await,
        None => BTreeSet::new(),
    };
    let mut left = open.iter().filter(|(_, one)| !ended.contains(&(one.namespace.clone(), one.name.clone())));
    let Some((user, one)) = left.next() else { return Ok(()) };
    let more = match left.count() {
        0 => String::new(),
        1 => ", and one more user has one".to_owned(),
        more => format!(", and {more} more users have one"),
    };
    bail!(
        "{} has a request already that has not ended ({}){more}: --again writes another",
        printable(user.typed(), NAME),
        one.file
    )
}

/// The name of a Directory.
fn directory(text: &str) -> Result<String, &'static str> {
    if is_object_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a name has lower case letters, digits, '-' and '.', such as zylker")
    }
}

/// A duration as the API writes it, where days are hours. `None`: it is none.
fn in_hours(text: &str) -> Option<String> {
    let hours = |days: &str| Some(format!("{}h", days.parse::<u32>().ok()?.checked_mul(24)?));
    let text = text.strip_suffix('d').and_then(hours).unwrap_or_else(|| text.to_owned());
    let is_api = text.chars().all(|c| c.is_ascii_digit() || "hms".contains(c));
    (is_api && duration(&text).is_ok()).then_some(text)
}

/// How long a request is valid.
fn validity(text: &str) -> Result<String, &'static str> {
    in_hours(text).ok_or("it must be at most 168h, such as 24h or 2d")
}

/// How long a Secret stays, as the request says it.
fn expiry(text: &str) -> Result<String, &'static str> {
    in_hours(text).filter(|text| reset::stay(text).is_ok()).ok_or("it must be 1h to 720h, such as 24h or 7d")
}

/// A key that a password can be sealed for.
fn public_key(text: &str) -> Result<String, String> {
    sealing::recipient(text).map(|_| text.to_owned()).map_err(|wrong| format!("this {wrong}"))
}

/// Sets the requester where the caller is known and none is named. Returns what a person should know about that.
fn add_requester(args: &Args, caller: Option<&Caller>, manifests: &mut [(String, Value)]) -> Option<String> {
    if args.requested_by.is_some() {
        return None;
    }
    let left_out = "so spec.requestedBy is left out; --requested-by names the person who asks";
    let Some(caller) = caller else { return Some(format!("no cluster says who you are, {left_out}")) };
    match caller.person() {
        Ok(person) => {
            for (_, manifest) in manifests {
                manifest["spec"]["requestedBy"] = json!(person);
            }
            None
        }
        Err(why) => Some(format!("{why}, {left_out}")),
    }
}

/// Writes a file for each manifest.
fn write(folder: &Path, manifests: &[(String, String)]) -> anyhow::Result<()> {
    let shown = |path: &Path| printable(&path.display().to_string(), MESSAGE);
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", shown(folder)))?;
    let path = |name: &str| folder.join(format!("{name}.yaml"));
    if let Some((name, _)) = manifests.iter().find(|(name, _)| path(name).exists()) {
        bail!("{} exists already", shown(&path(name)));
    }
    for (name, text) in manifests {
        let path = path(name);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("{} cannot be created", shown(&path)))?;
        file.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", shown(&path)))?;
    }
    let count = if manifests.len() == 1 { "1 request".to_owned() } else { format!("{} requests", manifests.len()) };
    terminal::print(&format!("{count} in {}\n", shown(folder)))
}

fn manifest(args: &Args, user: &UserRef, namespace: &str, name: &str, requested_at: Timestamp) -> Value {
    let mut spec = json!({
        "directory": args.directory,
        "user": user,
        "mode": args.mode().to_string(),
        "requestedAt": requested_at.to_string(),
        "validFor": args.valid_for,
        "reason": args.whole_reason(),
    });
    if let Some(requester) = &args.requested_by {
        spec["requestedBy"] = json!(requester);
    }
    if args.mfa {
        spec["mfa"] = json!({ "confirm": user.typed() });
    } else {
        let mut password = json!({
            "generate": {"length": 20},
            "forceChangeOnLogin": !args.keep_after_login,
            "clearMobileSessionsAndApiTokens": args.clear_mobile_sessions_and_api_tokens,
            "emailToUser": args.email_to_user,
        });
        if !args.email_to_user {
            password["deliverTo"] = json!({ "secret": name });
            if !args.sealed_for.is_empty() {
                password["deliverTo"]["sealedFor"] = json!(args.sealed_for);
            }
            if let Some(stay) = &args.expires_after {
                password["deliverTo"]["expiresAfter"] = json!(stay);
            }
        }
        spec["password"] = password;
    }
    let mut metadata = json!({"name": name, "namespace": namespace});
    let incident = args.incident.iter().map(|incident| ("incident".to_owned(), incident.clone()));
    for (key, value) in args.label.iter().cloned().chain(incident) {
        metadata["labels"][key] = json!(value);
    }
    json!({ "apiVersion": API_VERSION, "kind": "CredentialReset", "metadata": metadata, "spec": spec })
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
