//! Checks a user: the look-up, and the operator's decision on a request for each mode and namespace.
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, api::ListParams, core::PartialObjectMeta};

use super::{About, Line, Sign};
use crate::{
    cli::sources::{hypothetical::Hypothetical, inventory::Inventory, users::look_up},
    core::{
        directory::{DirectoryFacts, Feature},
        forecast::{Verdict, forecast},
        reason::Reason,
        request::{Action, Kinds, Mode, PasswordSource, UserRef},
        seen::Seen,
        user::{LookUp, UserId},
    },
    directory::Provider,
    k8s,
};

/// The labels of each namespace by name; `None`: not needed, or not readable.
type Labels = Option<BTreeMap<String, BTreeMap<String, String>>>;

/// The checks of a user.
///
/// # Errors
/// If a decision does not converge.
pub(super) async fn lines(
    inventory: &Inventory,
    provider: &Provider,
    facts: DirectoryFacts,
    typed: &str,
) -> anyhow::Result<Vec<Line>> {
    let facts = DirectoryFacts { suspend: false, ..facts };
    let modes = facts.modes();
    let Some(first) = modes.first().copied() else { return Ok(Vec::new()) };
    let (by, found) = match look_up(provider, typed, first).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let names = match provider {
                Provider::Zoho(_) | Provider::Keycloak(_) => "address, name or id",
                Provider::OpenLdap(_) => "mail, uid or entryUUID",
                Provider::ActiveDirectory(_) => "mail, sAMAccountName, userPrincipalName or objectGUID",
            };
            let message = format!("The directory has no user with the {names} {typed}: check the spelling.");
            return Ok(vec![Line::wrong(About::User, message)]);
        }
        Err(why) => {
            return Ok(vec![Line::wrong(About::User, format!("{typed} could not be looked up: {}", why.message))]);
        }
    };
    let has_cause = matches!(&found, LookUp::One(user) if user.why_ineligible.is_some());
    let mut lines = vec![match &found {
        LookUp::One(user) => {
            let UserId { id, name } = &user.id;
            Line::ok(About::User, format!("{name} (id {id})."))
        }
        LookUp::Several(n) => {
            let message = format!("{n} users match {typed}: a request must name the user by id.");
            return Ok(vec![Line::wrong(About::User, message)]);
        }
    }];
    let by_labels = facts.allow.iter().any(|rule| rule.namespace_selector.is_some());
    let labels = if by_labels { labels(inventory).await } else { None };
    let labels_unread = by_labels && labels.is_none();
    let mut rules = Vec::new();
    for mode in modes {
        let user = match if mode == first { Ok(Some(found.clone())) } else { provider.look_up(&by, mode).await } {
            Ok(Some(user)) => Seen::Known(user),
            Ok(None) => Seen::Absent,
            Err(why) => Seen::Unknown(why),
        };
        for namespace in namespaces(&facts, mode, &labels) {
            let forecast = forecast_rule(&facts, &by, &user, mode, &namespace, &labels).await?;
            // The gates for these come before the rules.
            let ineligible = match forecast.reason {
                Some(Reason::UserNotConfirmed | Reason::UserInactive | Reason::UserFederated) => true,
                Some(Reason::NotSupported) => has_cause,
                _ => false,
            };
            match forecast.reason {
                _ if ineligible => {
                    lines.push(Line::wrong(About::Eligibility, forecast.message));
                    return Ok(lines);
                }
                Some(Reason::UserProtected) => {
                    lines.push(Line::ok(About::Eligibility, ELIGIBLE));
                    lines.push(Line::wrong(About::Protection, forecast.message));
                    return Ok(lines);
                }
                _ => rules.push(forecast.line),
            }
        }
    }
    let any_rule = !rules.is_empty();
    if any_rule {
        lines.push(Line::ok(About::Eligibility, ELIGIBLE));
        lines.push(Line::ok(About::Protection, "Not protected."));
    }
    if labels_unread {
        rules.push(Line::note(
            About::Rule,
            "Rules with a namespaceSelector were not checked: the namespaces could not be listed.",
        ));
    } else if !any_rule {
        rules.push(Line::wrong(About::Rule, "No rule applies to any namespace."));
    } else if rules.iter().all(|line| line.sign == Sign::Note) {
        // A namespace without a rule is an error only if no other namespace has one.
        for line in &mut rules {
            line.sign = Sign::Wrong;
        }
    }
    lines.extend(rules);
    Ok(lines)
}

const ELIGIBLE: &str = "Confirmed, active, and the credentials are kept in this directory.";

/// Entries of spec.protect.users that do not match exactly one user. The operator does not look them up: each costs reads of Zoho's list
/// of users.
pub(super) async fn protections(provider: &Provider, facts: &DirectoryFacts) -> Vec<Line> {
    let modes = facts.modes();
    let Some(mode) = modes.first().copied() else { return Vec::new() };
    let mut lines = Vec::new();
    for entry in &facts.protect.users {
        let by_dn = entry.contains('=') && matches!(provider, Provider::OpenLdap(_) | Provider::ActiveDirectory(_));
        lines.extend(match look_up(provider, entry, mode).await {
            Ok(Some((_, LookUp::One(_)))) => None,
            Ok(Some((_, LookUp::Several(n)))) => {
                let message = format!("spec.protect.users: {n} users match {entry}. Name the user by id.");
                Some(Line::wrong(About::Protection, message))
            }
            Ok(None) if by_dn => {
                let message = format!("spec.protect.users: the user {entry} was not found. Name the user by id, which does not change.");
                Some(Line::note(About::Protection, message))
            }
            Ok(None) => {
                let message = format!(
                    "spec.protect.users: the directory has no user {entry}, so this entry protects no one. Name the user by id, or \
                     remove it."
                );
                Some(Line::wrong(About::Protection, message))
            }
            Err(why) => {
                let message = format!("spec.protect.users: {entry} could not be looked up: {}", why.message);
                Some(Line::wrong(About::Protection, message))
            }
        });
    }
    lines
}

async fn labels(inventory: &Inventory) -> Labels {
    let Inventory::Cluster(client, _) = inventory else { return None };
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let mut all = BTreeMap::new();
    let insert = |object: PartialObjectMeta<Namespace>| drop(all.insert(object.name_any(), object.labels().clone()));
    k8s::for_each_page(&api, ListParams::default(), insert).await.ok()?;
    Some(all)
}

/// The namespaces that a rule for `mode` applies to.
fn namespaces(facts: &DirectoryFacts, mode: Mode, labels: &Labels) -> BTreeSet<String> {
    let rules = facts.allow.iter().filter(|rule| rule.modes.contains(&mode));
    let mut all = BTreeSet::new();
    for rule in rules {
        all.extend(rule.namespaces.iter().cloned());
        if let (Some(selector), Some(labels)) = (&rule.namespace_selector, labels) {
            all.extend(labels.iter().filter(|(_, labels)| selector.matches(labels)).map(|(name, _)| name.clone()));
        }
    }
    all
}

/// The forecast for one mode and namespace.
struct RuleForecast {
    reason: Option<Reason>,
    message: String,
    line: Line,
}

/// What the operator would do with a request for this user, made now in this namespace.
async fn forecast_rule(
    facts: &DirectoryFacts,
    by: &UserRef,
    user: &Seen<LookUp>,
    mode: Mode,
    namespace: &str,
    labels: &Labels,
) -> anyhow::Result<RuleForecast> {
    let action = match mode {
        Mode::Password => Action::Password {
            source: PasswordSource::Generate { length: 20, kinds: Kinds::default() },
            force_change_on_login: facts.supports.contains(&Feature::ForceChangeOnLogin),
            clear_mobile_sessions_and_api_tokens: false,
            email_to_user: false,
            deliver_to: Some("check".to_owned()),
            sealed_for: Vec::new(),
            expires_after: None,
        },
        Mode::MFA => Action::Mfa { factors: Vec::new() },
    };
    let labels = labels.as_ref().and_then(|all| all.get(namespace));
    let (world, decision) = Hypothetical { facts, user, labels }.decide(by, action, namespace, Timestamp::now()).await;
    let forecast = forecast(&world, &decision).context("the decision does not converge")?;
    let (reason, message) = forecast.view.map(|view| (view.reason, view.message)).unzip();
    let message = message.unwrap_or_default();
    let line = match (forecast.verdict, forecast.rule, reason) {
        (Verdict::Allowed, Some(rule), _) => {
            let approvals =
                rule.approvals.as_ref().map_or_else(String::new, |a| format!(" with {} approval(s)", a.count));
            Line::ok(
                About::Rule,
                format!("{mode} from namespace {namespace}: rule {} allows it{approvals}.", rule.name),
            )
        }
        (_, _, Some(Reason::NotAllowed)) => {
            Line::note(About::Rule, format!("{mode} from namespace {namespace}: no rule allows it."))
        }
        _ => Line::wrong(About::Rule, format!("{mode} from namespace {namespace}: {message}")),
    };
    Ok(RuleForecast { reason, message, line })
}
