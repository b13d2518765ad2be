//! Parses and validates manifests.
use std::collections::HashMap;

use serde_json::Value;

use super::{NOT_PLANNED, Planned};
use crate::{
    api::{CredentialReset, validation::Rules},
    cli::sources::manifests::{Change, Manifest},
    core::{Request, call::delivery_place, forecast::Verdict},
};

/// A manifest that was parsed.
pub(super) struct Parsed {
    /// Its plan; final if there is no request.
    pub(super) planned: Planned,
    /// `None`: it is refused, or there is nothing to do.
    pub(super) request: Option<Request>,
}

/// Parses a manifest and checks it as the API server would. `namespace`: where it has none.
pub(super) fn parse(mut manifest: Manifest, namespace: Option<&str>, rules: &Rules) -> Parsed {
    if manifest.object["metadata"]["namespace"].is_null()
        && let (Some(namespace), true) = (namespace, manifest.object["metadata"].is_object())
    {
        manifest.object["metadata"]["namespace"] = Value::from(namespace);
    }
    let Manifest { file, object, change } = manifest;
    let of = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let typed =
        ["email", "username", "id"].map(|by| of(&format!("/spec/user/{by}"))).into_iter().find(|t| !t.is_empty());
    let namespace = of("/metadata/namespace");
    let sealed_for = object.pointer("/spec/password/deliverTo/sealedFor").and_then(Value::as_array).map_or(0, Vec::len);
    let secret = Some(of("/spec/password/deliverTo/secret")).filter(|secret| !secret.is_empty());
    let mailed = object.pointer("/spec/password/emailToUser") == Some(&Value::Bool(true));
    let password_to: Vec<String> = secret
        .map(|secret| delivery_place(&namespace, &secret, sealed_for))
        .into_iter()
        .chain(mailed.then(|| "mail to the user".to_owned()))
        .collect();
    let planned = Planned {
        file,
        namespace,
        name: of("/metadata/name"),
        directory: of("/spec/directory"),
        mode: of("/spec/mode"),
        user: typed.unwrap_or_default(),
        found: None,
        display_name: None,
        verdict: Verdict::Refused,
        reason: None,
        message: None,
        rule: None,
        approvals: None,
        starts_at: None,
        password_to: Some(password_to.join(" and ")).filter(|to| !to.is_empty()),
        steps: Vec::new(),
        common_steps: Vec::new(),
        impact: Vec::new(),
        assumed: Vec::new(),
        request_reason: of("/spec/reason"),
        requested_by: Some(of("/spec/requestedBy")).filter(|by| !by.is_empty()),
        digest: None,
    };
    let refuse = |reason: &str, message: String| Parsed {
        planned: Planned { reason: Some(reason.to_owned()), message: Some(message), ..planned.clone() },
        request: None,
    };
    match change {
        Change::Added => {}
        Change::Other(why) | Change::Unclear(why) => return refuse(NOT_PLANNED, why),
        Change::Edited => {
            return refuse(
                "Edited",
                "A request never changes, and the API server refuses this edit. Leave the old file as it was, and file a new request \
                 under another name, with its own requestedAt."
                    .to_owned(),
            );
        }
        Change::Deleted => {
            let mut deleted = refuse(
                "Deleted",
                "The object is removed. A reset that has not begun will not begin; one that was carried out stays in effect, and its \
                 record stays."
                    .to_owned(),
            );
            deleted.planned.verdict = Verdict::Nothing;
            return deleted;
        }
    }
    if planned.namespace.is_empty() {
        return refuse("Invalid", "metadata.namespace is missing: set it, or use --namespace.".to_owned());
    }
    let faults = rules.faults(&object);
    if !faults.is_empty() {
        return refuse("Invalid", format!("The API server refuses it. {}.", faults.join("; ")));
    }
    let request =
        match serde_json::from_value::<CredentialReset>(object).map_err(|e| e.to_string()).and_then(|o| o.request()) {
            Ok(request) => Request { created: jiff::Timestamp::now(), ..request },
            Err(wrong) => return refuse("Invalid", format!("{wrong}.")),
        };
    Parsed { planned: Planned { digest: Some(request.spec_digest()), ..planned }, request: Some(request) }
}

/// Refuses requests that repeat an earlier one: the same object, or the same reset.
pub(super) fn refuse_duplicates(all: &mut [Parsed]) {
    let (mut names, mut resets) = (HashMap::new(), HashMap::new());
    for Parsed { planned, request: parsed } in all {
        let Some(request) = parsed else { continue };
        let (namespace, name) = (&request.namespace, &request.name);
        // The ledger takes requests that are equal in these for one.
        let user = request.user.typed().to_lowercase();
        let identity = (request.directory.clone(), user, request.mode(), request.requested_at);
        let repeated = if let Some(other) = names.insert((namespace.clone(), name.clone()), planned.file.clone()) {
            format!("{other} also has a CredentialReset {namespace}/{name}: one would replace the other. Rename one.")
        } else if let Some(other) = resets.insert(identity, planned.file.clone()) {
            format!(
                "{other} requests the same reset of the same user at the same requestedAt: the operator carries out only one. Remove one."
            )
        } else {
            continue;
        };
        (planned.reason, planned.message, planned.digest) = (Some("Repeated".to_owned()), Some(repeated), None);
        *parsed = None;
    }
}
