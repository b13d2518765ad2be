//! `credreset password`: shows a delivered password to the person who hands it over, and deletes it afterwards.
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    thread,
};

use anyhow::{Context, anyhow, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt, api::ListParams};
use secrecy::{ExposeSecret, SecretString};
use tokio::{signal::unix::SignalKind, sync::oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    cluster::{Access, api_error, connect, request, request_name},
    terminal::{runtime, stop_on, stop_on_signal},
};
use crate::{
    api::{
        CredentialReset,
        reset::{CredentialResetStatus, ResetMode},
    },
    core::{
        Outcome,
        text::{NAME, is_hidden, printable},
    },
    k8s::{for_each_page, secrets::Secrets},
    sealing,
};

/// The terminal's stop (Ctrl-Z), by its number on Linux and macOS.
const SIGTSTP: i32 = if cfg!(target_os = "macos") { 18 } else { 20 };

/// Flags of `credreset password`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "The password is on the terminal's alternate screen, which most terminals do not keep in their history. Enter leaves it.

Examples:
  credreset password annette-locked-out -n helpdesk
  credreset password annette-locked-out -n helpdesk --delete
  credreset password annette-locked-out -n helpdesk --stdout | wl-copy --paste-once
  credreset password annette-locked-out -n helpdesk --identity ~/.ssh/id_ed25519"
)]
pub struct Args {
    /// Name of the request; creset/NAME is one, too
    #[arg(value_parser = request_name)]
    name: String,
    /// Namespace of the request; defaults to that of the kubeconfig's context
    #[arg(short, long)]
    namespace: Option<String>,
    /// Delete the Secret once you have confirmed that the user has the password; with --stdout, once it is written
    #[arg(long)]
    delete: bool,
    /// File with your private key, of age-keygen or SSH, if the password is sealed (deliverTo.sealedFor); repeatable
    #[arg(long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Write the password alone to standard output, which need not be a terminal
    #[arg(long)]
    stdout: bool,
    #[command(flatten)]
    access: Access,
}

/// Shows the password that the operator has delivered for a request, to the user of the kubeconfig.
///
/// # Errors
/// Why there is no password to show.
pub fn run(args: Args) -> anyhow::Result<()> {
    runtime()?.block_on(show(args))
}

async fn show(args: Args) -> anyhow::Result<()> {
    let Args { name, namespace, delete, identity, stdout, access } = args;
    // Before anything is read: a pipe gets a password only when the caller asks for it.
    ensure!(
        stdout || io::stdout().is_terminal() && io::stdin().is_terminal(),
        "a password is shown on a terminal only, and this is not one: add --stdout to write it to standard output"
    );
    let client = connect(&access).await?;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let request = request(&client, &namespace, &name).await?;
    let (secret, record) = delivered(&request).map_err(|why| anyhow!("request {namespace}/{name} {why}"))?;
    let resets = AppliedReset::all(&client, &namespace).await;
    if let Handover::Replaced(by) = handover(&client, &request, &secret, &resets).await {
        bail!(
            "the password of {name} is no longer in force: {by} has set another one since (credreset password {by} -n {namespace})"
        );
    }
    let secrets = Secrets::for_caller(client, &namespace);
    let at = format!("Secret {namespace}/{secret}");
    let is_sealed = is_sealed(&request);
    ensure!(
        !is_sealed || !identity.is_empty(),
        "the password in {at} is sealed: add --identity FILE with the private key of one of spec.password.deliverTo.sealedFor"
    );
    let delivered =
        secrets.delivered_password(&namespace, &secret, &record, is_sealed).await.map_err(anyhow::Error::msg)?;
    let password = if is_sealed { opened(&delivered.password, &identity, &at)? } else { delivered.password.clone() };
    let password = password.expose_secret();
    ensure!(
        !io::stdout().is_terminal() || !password.chars().any(is_hidden),
        "the password holds characters that a terminal does not show: write it into a pipe with --stdout"
    );
    let has_reached_user = if stdout {
        writeln!(io::stdout().lock(), "{password}").context("standard output")?;
        true
    } else {
        on_screen(&request, password, delete).await?
    };
    if request.spec.password.as_ref().is_some_and(|password| password.force_change_on_login) {
        eprintln!("The user has to choose another password at the next sign-in.");
    }
    if !delete || !has_reached_user {
        let key = if is_sealed { " --identity FILE" } else { "" };
        let until = delivered.expires_at().map(|at| format!(" until {at:.0} or the hour after")).unwrap_or_default();
        eprintln!(
            "{at} still holds the password{until}: credreset password {name} -n {namespace}{key} --delete deletes it."
        );
        return Ok(());
    }
    let deletion = secrets.delete_delivered(&namespace, &delivered).await;
    if !deletion.map_err(api_error).with_context(|| format!("{at} could not be deleted"))? {
        bail!("{at} has changed since it was read, and is not deleted");
    }
    eprintln!("{at} is deleted.");
    Ok(())
}

/// The Secret that the operator has written for a request, and the record that it belongs to; an error completes "request NAME ...".
pub(super) fn delivered(request: &CredentialReset) -> Result<(String, String), String> {
    let spec = &request.spec;
    let Some(password) = spec.password.as_ref().filter(|_| spec.mode == ResetMode::Password) else {
        return Err("resets MFA: there is no password".to_owned());
    };
    if let Some(supplied) = &password.from_secret {
        return Err(format!("sets the password that its requester has put into Secret {}", supplied.name));
    }
    let Some(deliver_to) = &password.deliver_to else {
        return Err("has the password mailed to the user (emailToUser): it is in no Secret".to_owned());
    };
    match &request.status {
        // The operator delivers before it does the rest, so there may be a password before the outcome.
        Some(CredentialResetStatus { outcome: None | Some(Outcome::Applied), record: Some(record), .. }) => {
            Ok((deliver_to.secret.clone(), record.clone()))
        }
        Some(CredentialResetStatus { outcome: Some(outcome), .. }) => {
            Err(format!("has delivered no password: its outcome is {outcome:?} (credreset explain says more)"))
        }
        _ => Err("has not ended yet: no password has been delivered (credreset wait waits for it)".to_owned()),
    }
}

/// What has become of a delivered password since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// As far as the caller may see, it waits for the user.
    Waits,
    /// Its Secret is gone.
    Deleted,
    /// This later request of the namespace has set another one.
    Replaced(String),
}

/// A password reset that is in force, or was.
pub(super) struct AppliedReset {
    directory: String,
    user: String,
    at: Timestamp,
    name: String,
}

impl AppliedReset {
    fn of(request: &CredentialReset) -> Option<Self> {
        let status = request.status.as_ref().filter(|status| status.outcome == Some(Outcome::Applied))?;
        (request.spec.mode == ResetMode::Password).then_some(())?;
        Some(Self {
            directory: request.spec.directory.clone(),
            user: status.user.as_ref()?.id.clone(),
            at: status.completion_time.as_ref()?.0,
            name: request.name_any(),
        })
    }

    /// Those of a namespace, as far as the caller may list its requests.
    pub(super) async fn all(client: &Client, namespace: &str) -> Vec<Self> {
        let mut all = Vec::new();
        let applied = ListParams::default().fields("status.outcome=Applied");
        let _ = for_each_page(&Api::namespaced(client.clone(), namespace), applied, |request| {
            all.extend(Self::of(&request));
        })
        .await;
        all
    }
}

/// What has become of the password of `request` in Secret `secret`, as far as the caller may see. `resets`: those of its namespace.
pub(super) async fn handover(
    client: &Client,
    request: &CredentialReset,
    secret: &str,
    resets: &[AppliedReset],
) -> Handover {
    if let Some(own) = AppliedReset::of(request) {
        let replaces =
            |other: &&AppliedReset| other.directory == own.directory && other.user == own.user && other.at > own.at;
        if let Some(last) = resets.iter().filter(replaces).max_by_key(|other| other.at) {
            return Handover::Replaced(last.name.clone());
        }
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &request.namespace().unwrap_or_default());
    match secrets.get_metadata_opt(secret).await {
        Ok(None) => Handover::Deleted,
        Ok(Some(_)) | Err(_) => Handover::Waits,
    }
}

/// Whether the password is sealed for recipients.
pub(super) fn is_sealed(request: &CredentialReset) -> bool {
    let deliver_to = request.spec.password.as_ref().and_then(|password| password.deliver_to.as_ref());
    deliver_to.is_some_and(|deliver_to| !deliver_to.sealed_for.is_empty())
}

/// The sealed password, opened with the private keys in these files. `at` names its Secret.
fn opened(sealed: &SecretString, identity: &[PathBuf], at: &str) -> anyhow::Result<SecretString> {
    let mut keys = Vec::new();
    for file in identity {
        keys.extend(sealing::identities(file).map_err(anyhow::Error::msg)?);
    }
    sealing::open(sealed.expose_secret(), &keys).map_err(|why| anyhow!("key password.age of {at} {why}"))
}

/// Shows a password on the terminal's alternate screen until the person presses Enter. Returns whether the person has typed that the user has
/// it, which is asked only if that `deletes` the Secret: an Enter that was typed too early, or the end of the input, does not.
async fn on_screen(request: &CredentialReset, password: &str, deletes: bool) -> anyhow::Result<bool> {
    let stop = CancellationToken::new();
    stop_on_signal(&stop)?;
    // Ctrl-Z ends it, too: a stopped program would leave the password on the screen.
    for kind in [SignalKind::hangup(), SignalKind::quit(), SignalKind::from_raw(SIGTSTP)] {
        stop_on(kind, stop.clone()).context("a signal cannot be handled")?;
    }
    let found = request.status.as_ref().and_then(|status| status.user.as_ref());
    let user = found.map_or_else(|| "the user".to_owned(), |user| format!("{} ({})", user.name, user.id));
    let whose = format!("{user} in {}", request.spec.directory);
    let question = if deletes {
        "Has the user got it? yes deletes the Secret, Enter alone keeps it: "
    } else {
        "Enter leaves this screen. "
    };
    let screen = AlternateScreen::enter()?;
    let mut out = io::stdout().lock();
    write!(out, "user      {}\npassword  {password}\n\n{question}", printable(&whose, 2 * NAME))
        .and_then(|()| out.flush())
        .context("standard output")?;
    drop(out);
    let (answered, answer) = oneshot::channel();
    // The thread ends with the process if there is no answer.
    thread::spawn(move || {
        let mut line = String::new();
        answered.send(io::stdin().read_line(&mut line).map(|_| line))
    });
    let left = tokio::select! {
        answer = answer => Ok(answer.is_ok_and(|line| line.is_ok_and(|line| line.trim() == "yes"))),
        () = stop.cancelled() => Err(anyhow!("interrupted: nothing is deleted")),
    };
    drop(screen);
    left
}

/// Is left when it is dropped.
struct AlternateScreen;

impl AlternateScreen {
    /// Switches to it, and clears it (ECMA-48, and xterm's private mode 1049).
    fn enter() -> anyhow::Result<Self> {
        let screen = Self;
        let mut out = io::stdout().lock();
        write!(out, "\x1b[?1049h\x1b[2J\x1b[H").and_then(|()| out.flush()).context("standard output")?;
        Ok(screen)
    }
}

impl Drop for AlternateScreen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        let _ = write!(out, "\x1b[2J\x1b[?1049l").and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(password: &Value, status: &Value) -> Result<(String, String), String> {
        let mut spec = json!({
            "directory": "zylker", "user": {"email": "annette.c@zylker.biz"}, "mode": "Password", "password": password,
            "requestedAt": "2026-11-24T09:00:00Z", "reason": "Locked out",
        });
        if password.is_null() {
            spec["mode"] = "MFA".into();
            spec["mfa"] = json!({"confirm": "annette.c@zylker.biz"});
            spec.as_object_mut().unwrap().remove("password");
        }
        let request = json!({
            "apiVersion": "credreset.dev/v1alpha1", "kind": "CredentialReset", "metadata": {"name": "annette"}, "spec": spec, "status": status,
        });
        delivered(&serde_json::from_value(request).unwrap())
    }

    #[test]
    fn a_missing_password_is_explained() {
        let applied = json!({"outcome": "Applied", "record": "r-1"});
        let generated = json!({"generate": {}, "deliverTo": {"secret": "annette-password"}});
        for status in [&applied, &json!({"record": "r-1"})] {
            assert_eq!(of(&generated, status), Ok(("annette-password".to_owned(), "r-1".to_owned())));
        }
        for (password, status, says) in [
            (Value::Null, &applied, "resets MFA"),
            (json!({"fromSecret": {"name": "mine"}}), &applied, "Secret mine"),
            (json!({"generate": {}, "emailToUser": true}), &applied, "mailed to the user"),
            (generated.clone(), &json!({"outcome": "Unknown", "record": "r-1"}), "outcome is Unknown"),
            (generated.clone(), &json!({"outcome": "NotApplied", "record": "r-1"}), "outcome is NotApplied"),
            (generated.clone(), &json!({}), "has not ended yet"),
            (generated, &Value::Null, "has not ended yet"),
        ] {
            let why = of(&password, status).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
