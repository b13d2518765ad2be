//! The status of Directories: conditions and Events.
use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{Directories, Refusal, check::Connection};
use crate::{
    api::{
        Directory,
        directory::{DirectoryStatus, Refused},
    },
    core::text,
    directory::{Checked, NotReady},
    k8s::lean::Lean,
};

/// Condition of a Directory while another one has the same identity.
const IDENTITY_SHARED: &str = "IdentityShared";
/// Condition of a Directory while it refuses calls for a cause that the check does not find.
const CALLS_REFUSED: &str = "CallsRefused";

impl Directories {
    /// Writes the status, if it has changed.
    pub(super) async fn write_status(
        &self,
        object: &Directory,
        current: &mut Option<DirectoryStatus>,
        result: &Result<Checked, NotReady>,
        refusal: Option<&Refusal>,
        connection: Option<&Connection>,
    ) {
        let mail_trouble = connection.and_then(|c| c.mail_trouble.as_ref());
        let mail = mail_trouble.map_or_else(String::new, |why| {
            format!(" But no mail can be sent: {why} Requests whose password is to be mailed wait.")
        });
        let rights = if object.spec.provider.reports_permissions() {
            "holds what the rules need"
        } else {
            "can read what it needs; only a reset shows whether it may set passwords"
        };
        let (status, reason, message) = match result {
            Ok(checked) => {
                let unknown = checked.unknown_groups().map_or_else(String::new, |why| format!(" But {why}"));
                let message = format!("The directory answers and the operator's account {rights}.{mail}{unknown}");
                ("True", "Connected", text::printable(&message, text::MESSAGE))
            }
            Err(not_ready) => ("False", not_ready.reason(), text::printable(&not_ready.to_string(), text::MESSAGE)),
        };
        let old = current.as_ref().and_then(|s| s.conditions.iter().find(|c| c.type_ == "Ready"));
        let since = old
            .filter(|c| c.status == status)
            .map_or_else(|| Time(Timestamp::now()), |c| c.last_transition_time.clone());
        let same_reason = old.is_some_and(|c| c.reason == reason);
        let mut next = current.clone().unwrap_or_default();
        next.observed_generation = object.meta().generation.unwrap_or_default();
        if let Ok(Checked { identity, guarantees, supports, .. }) = result {
            next.identity = Some(identity.clone());
            next.guarantees = Some(*guarantees);
            next.supports = supports.iter().copied().collect();
        }
        next.conditions = vec![Condition {
            type_: "Ready".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: object.meta().generation,
            last_transition_time: since,
        }];
        next.refused = refusal
            .filter(|refusal| refusal.stop.is_some())
            .map(|refusal| Refused { code: refusal.code.clone(), secret_version: refusal.secret_version.clone() });
        if connection.is_none() {
            // It is not known yet whether the Secret has changed.
            next.refused = next.refused.or_else(|| current.as_ref()?.refused.clone());
        }
        let name = object.name_any();
        let old = |type_: &str| current.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == type_);
        let extra = |type_: &str, reason: &str, message: String| Condition {
            type_: type_.to_owned(),
            status: "True".to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: object.meta().generation,
            last_transition_time: old(type_).map_or_else(|| Time(Timestamp::now()), |c| c.last_transition_time.clone()),
        };
        let refused = refusal.filter(|refusal| refusal.stop.is_none()).map(calls_refused);
        let new_refusal = refused.as_ref().filter(|_| old(CALLS_REFUSED).is_none()).cloned();
        next.conditions.extend(refused.map(|message| extra(CALLS_REFUSED, "Denied", message)));
        let others = self.same_identity(&name, next.identity.as_deref().unwrap_or_default());
        let newly_shared = old(IDENTITY_SHARED).is_none();
        if !others.is_empty() {
            next.conditions.push(extra(IDENTITY_SHARED, "SameIdentity", identity_shared(&others)));
        }
        if current.as_ref() == Some(&next) {
            return;
        }
        let api: Api<Lean<Directory>> = Api::all(self.client.clone());
        let mut status = json!(next);
        if next.refused.is_none() {
            status["refused"] = Value::Null; // a merge patch removes only what it names
        }
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({ "status": status }))).await {
            Ok(_) => {
                if !same_reason {
                    let message = next.conditions.first().map(|c| c.message.clone()).unwrap_or_default();
                    self.events.publish(object, reason, &message, result.is_err());
                }
                if let Some(message) = new_refusal {
                    self.events.publish(object, CALLS_REFUSED, &message, true);
                }
                if newly_shared && !others.is_empty() {
                    self.events.publish(object, "SameIdentity", &identity_shared(&others), true);
                }
                *current = Some(next);
            }
            Err(error) => {
                tracing::warn!(directory = name, error = %error, "failed to write the Directory's status");
            }
        }
    }
}

/// The message of the condition `CallsRefused`.
fn calls_refused(refusal: &Refusal) -> String {
    let Refusal { code, at, .. } = refusal;
    format!(
        "At {at:.0} the directory refused a reset with {code}, although the check succeeds: check the rights of the operator's account, \
         and the call's path if spec.provider names one. Such requests are retried with growing pauses. This condition stays until a call \
         gets another reply."
    )
}

/// The message of the condition `IdentityShared`. `others`: names of the other Directories with the identity.
fn identity_shared(others: &BTreeSet<String>) -> String {
    let names = others.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    format!(
        "Directory {names} has the same directory as this one, or a copy of it: they share records and limits, and a request that was \
         carried out through one of them counts as carried out for all. Keep one of them, unless this is intended."
    )
}
