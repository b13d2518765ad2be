//! The facts of a decision as a file, on request with other names.
use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, bail};
use kube::Client;
use serde_json::Value;

use crate::{
    api::CredentialReset,
    cli::{
        replay::Case,
        sources::{Assessment, DirectorySource, Sources, cluster::Cluster},
    },
    core::{Request, World, decide, record::Origin, seen::Seen, user::LookUp},
    directory::ldap::precondition::Precondition,
};

/// What the operator would decide now, as far as the caller may read the facts.
pub(super) async fn assess(
    client: Client,
    operator_namespace: &str,
    object: &CredentialReset,
    request: &Request,
) -> Assessment {
    let cluster = Cluster::new(client, operator_namespace, None).await;
    let source = DirectorySource::from_cluster(&cluster, &request.directory).await;
    let directories = HashMap::from([(request.directory.clone(), source)]);
    Sources { cluster: Some(cluster), directories, offline: false }
        .assess(request.clone(), object.status_summary())
        .await
}

/// The world and the decision as YAML.
pub(super) fn dump_text(assessment: Assessment, name: &str, anonymous: bool) -> anyhow::Result<String> {
    let Assessment { world, decision, assumed } = assessment;
    let names = if anonymous { names(&world) } else { BTreeSet::new() };
    let why = if anonymous { "A request, with names replaced.".to_owned() } else { format!("Request {name}.") };
    let assumed: Vec<String> = assumed.into_iter().collect();
    let why = if assumed.is_empty() || anonymous { why } else { format!("{why} Assumed: {}.", assumed.join("; ")) };
    let case =
        if anonymous { Case { why, ..with_names_replaced(&world, &names)? } } else { Case { why, world, decision } };
    serde_saphyr::to_string(&case).context("the world has no YAML form")
}

/// The same world with other names, and the decision on it.
fn with_names_replaced(world: &World, names: &BTreeSet<String>) -> anyhow::Result<Case> {
    // Longer names first: a name may be part of another.
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let others: Vec<(&String, String)> = names
        .into_iter()
        .enumerate()
        .map(|(number, name)| {
            let domain = if name.contains('@') { "@example.org" } else { "" };
            (name, format!("name-{number}{domain}"))
        })
        .collect();
    let mut value = serde_json::to_value(world).context("the world has no JSON form")?;
    replace(&mut value, &others);
    let invalid =
        "the request is invalid with names replaced: dump it without --anonymous, and replace the names by hand";
    let mut renamed: World = serde_json::from_value(value).context(invalid)?;
    // Digests and keys are derived from names: those that matched before match again.
    if let (Some(old), Some(new)) = (world.subject.request(), renamed.subject.request().cloned()) {
        if let (Seen::Known(was), Seen::Known(record)) = (&world.ledger.record, &mut renamed.ledger.record)
            && was.request.digest == old.digest()
        {
            (record.request.digest, record.request.key) = (new.digest(), new.key());
        }
        if let Seen::Known(approvals) = &mut renamed.facts.approvals {
            for approval in approvals.iter_mut().filter(|approval| approval.digest == old.spec_digest()) {
                approval.digest = new.spec_digest();
            }
        }
    }
    let decision = decide(&renamed);
    if std::mem::discriminant(&decision) != std::mem::discriminant(&decide(world)) {
        bail!(invalid);
    }
    Ok(Case { why: String::new(), world: renamed, decision })
}

fn replace(value: &mut Value, others: &[(&String, String)]) {
    match value {
        Value::String(text) => {
            for (name, other) in others {
                if text.contains(name.as_str()) {
                    *text = text.replace(name.as_str(), other);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, others)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, others)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Names of people, groups, rules, namespaces and objects, and ids.
fn names(world: &World) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    if let Some(request) = world.subject.request() {
        all.extend([
            request.user.typed().to_owned(),
            request.reason.clone(),
            request.name.clone(),
            request.namespace.clone(),
        ]);
        all.extend([request.directory.clone(), request.uid.clone()]);
        all.extend(request.requested_by.iter().chain(&request.filed_by).cloned());
    }
    if let Seen::Known(approvals) = &world.facts.approvals {
        all.extend(approvals.iter().map(|approval| approval.approver.clone()));
    }
    if let Seen::Known(settlements) = &world.evidence.settlements {
        all.extend(settlements.iter().flat_map(|settlement| [settlement.by.clone(), settlement.reason.clone()]));
    }
    if let Seen::Known(LookUp::One(user)) = &world.facts.user {
        all.extend([user.id.id.clone(), user.id.name.clone()]);
        all.extend(user.email.iter().chain(&user.aliases).chain(&user.display_name).cloned());
        if let Seen::Known(groups) = &user.groups {
            all.extend(groups.iter().cloned());
        }
        all.extend(user.handle.values().chain(&user.condition).cloned());
    }
    if let Seen::Known(directory) = &world.facts.directory {
        all.extend([directory.identity.clone(), directory.name.clone()]);
        all.extend(directory.protect.users.iter().chain(&directory.protect.groups).cloned());
        for rule in &directory.allow {
            all.insert(rule.name.clone());
            all.extend(rule.namespaces.iter().chain(&rule.users.email_domains).chain(&rule.users.groups).cloned());
        }
    }
    if let Seen::Known(record) = &world.ledger.record {
        all.extend([
            record.user.id.clone(),
            record.user.name.clone(),
            record.request.name.clone(),
            record.request.namespace.clone(),
        ]);
        all.extend([record.directory.clone(), record.directory_identity.clone(), record.request.uid.clone()]);
        let Origin { requested_by, filed_by, reason, .. } = &record.request;
        all.extend(requested_by.iter().chain(filed_by).chain(reason).cloned());
        all.extend(record.attempt.approved_by.iter().chain(&record.settled_by).cloned());
        all.insert(record.attempt.holder.clone());
        // An LDAP directory's baseline ends with the server that it was read from.
        all.extend(Precondition::before(&record.attempt).map(|precondition| precondition.server.to_owned()));
    }
    all.extend(world.ledger.past.iter().flat_map(|past| [past.user.clone(), past.directory_identity.clone()]));
    all.retain(|name| !name.is_empty());
    all
}
