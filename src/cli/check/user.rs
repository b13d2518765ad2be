//! What a Directory's rules say about a user: by the operator's own decision on requests that nobody has made.
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt, api::ListParams, core::PartialObjectMeta};

use super::{About, Line, Sign, Source};
use crate::{
    core::{
        Request, World, decide,
        forecast::{Verdict, forecast},
        ledger::UserId,
        report::{Reason, Shown},
        request::{Action, Kinds, Mode, Source as Password, UserRef},
        world::{Directory, Feature, Found, Me, Seen, Subject, Why},
    },
    directory::Provider,
    k8s,
};

/// The labels of all namespaces, if they are known.
type Labels = Option<BTreeMap<String, BTreeMap<String, String>>>;

pub(super) async fn lines(
    source: &Source,
    provider: &Provider,
    facts: Directory,
    typed: &str,
) -> anyhow::Result<Vec<Line>> {
    let facts = Directory { suspend: false, ..facts };
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
            let message = format!("The directory knows nobody by the {names} {typed}: check the spelling.");
            return Ok(vec![Line::wrong(About::User, message)]);
        }
        Err(why) => {
            return Ok(vec![Line::wrong(About::User, format!("{typed} could not be looked up: {}", why.message))]);
        }
    };
    let hindered = matches!(&found, Found::One(user) if user.hindrance.is_some());
    let mut lines = vec![match &found {
        Found::One(user) => {
            let UserId { id, name } = &user.id;
            Line::ok(About::User, format!("{name} (id {id})."))
        }
        Found::Several(n) => {
            let message = format!("{n} users answer to {typed}: a request has to name the user by id.");
            return Ok(vec![Line::wrong(About::User, message)]);
        }
    }];
    let by_labels = facts.allow.iter().any(|rule| rule.namespace_selector.is_some());
    let labels = if by_labels { labels(source).await } else { None };
    let unread = by_labels && labels.is_none();
    let mut rules = Vec::new();
    for mode in modes {
        let user = match if mode == first { Ok(Some(found.clone())) } else { provider.look_up(&by, mode).await } {
            Ok(Some(user)) => Seen::Known(user),
            Ok(None) => Seen::Absent,
            Err(why) => Seen::Unknown(why),
        };
        for namespace in namespaces(&facts, mode, &labels) {
            let said = tell(&facts, &by, &user, mode, &namespace, &labels)?;
            // These are asked before any rule.
            let unfit = match said.reason {
                Some(Reason::UserNotConfirmed | Reason::UserInactive | Reason::UserFederated) => true,
                Some(Reason::NotSupported) => hindered,
                _ => false,
            };
            match said.reason {
                _ if unfit => {
                    lines.push(Line::wrong(About::Fit, said.message));
                    return Ok(lines);
                }
                Some(Reason::UserProtected) => {
                    lines.push(Line::ok(About::Fit, FIT));
                    lines.push(Line::wrong(About::Protection, said.message));
                    return Ok(lines);
                }
                _ => rules.push(said.line),
            }
        }
    }
    let asked = !rules.is_empty();
    if asked {
        lines.push(Line::ok(About::Fit, FIT));
        lines.push(Line::ok(About::Protection, "Not protected."));
    }
    if unread {
        rules.push(Line::note(About::Rule, "Rules for namespaces by labels were left out: no list of namespaces."));
    } else if !asked {
        rules.push(Line::wrong(About::Rule, "There is no namespace that a rule is about."));
    } else if rules.iter().all(|line| line.sign == Sign::Note) {
        // That one namespace may not is no fault as long as another may.
        for line in &mut rules {
            line.sign = Sign::Wrong;
        }
    }
    lines.extend(rules);
    Ok(lines)
}

const FIT: &str = "Confirmed, active, and the credentials are kept in this directory.";

/// The entries of spec.protect.users that do not mean one user. The operator does not ask for them: each costs Zoho a walk through all
/// of its users.
pub(super) async fn protections(provider: &Provider, facts: &Directory) -> Vec<Line> {
    let modes = facts.modes();
    let Some(mode) = modes.first().copied() else { return Vec::new() };
    let mut lines = Vec::new();
    for entry in &facts.protect.users {
        let by_dn = entry.contains('=') && matches!(provider, Provider::OpenLdap(_) | Provider::ActiveDirectory(_));
        lines.extend(match look_up(provider, entry, mode).await {
            Ok(Some((_, Found::One(_)))) => None,
            Ok(Some((_, Found::Several(n)))) => {
                let message = format!("spec.protect.users: {n} users answer to {entry}. Name by id whom you mean.");
                Some(Line::wrong(About::Protection, message))
            }
            Ok(None) if by_dn => {
                let message = format!("spec.protect.users: {entry} is not looked up. Name the user by id, which stays.");
                Some(Line::note(About::Protection, message))
            }
            Ok(None) => {
                let message = format!(
                    "spec.protect.users: the directory knows nobody as {entry}, so this protects nobody. Name the user by id, or take it out."
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

/// The user, by whatever of its names was typed.
async fn look_up(provider: &Provider, typed: &str, mode: Mode) -> Result<Option<(UserRef, Found)>, Why> {
    let email = typed.contains('@').then(|| UserRef::Email(typed.to_owned()));
    for by in email.into_iter().chain([UserRef::Username(typed.to_owned()), UserRef::Id(typed.to_owned())]) {
        if let Some(found) = provider.look_up(&by, mode).await? {
            return Ok(Some((by, found)));
        }
    }
    Ok(None)
}

async fn labels(source: &Source) -> Labels {
    let Source::Cluster(client, _) = source else { return None };
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let mut all = BTreeMap::new();
    let take = |object: PartialObjectMeta<Namespace>| drop(all.insert(object.name_any(), object.labels().clone()));
    k8s::each(&api, ListParams::default(), take).await.ok()?;
    Some(all)
}

/// The namespaces from which a rule for `mode` might allow something.
fn namespaces(facts: &Directory, mode: Mode, labels: &Labels) -> BTreeSet<String> {
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

struct Said {
    reason: Option<Reason>,
    message: String,
    line: Line,
}

/// What would come of a request for this user, made now in that namespace.
fn tell(
    facts: &Directory,
    by: &UserRef,
    user: &Seen<Found>,
    mode: Mode,
    namespace: &str,
    labels: &Labels,
) -> anyhow::Result<Said> {
    let now = Timestamp::now();
    let action = match mode {
        Mode::Password => Action::Password {
            source: Password::Generate { length: 20, kinds: Kinds::default() },
            force_change_on_login: facts.supports.contains(&Feature::ForceChangeOnLogin),
            clear_mobile_sessions_and_api_tokens: false,
            email_to_user: false,
            deliver_to: Some("check".to_owned()),
        },
        Mode::MFA => Action::Mfa { factors: Vec::new() },
    };
    let request = Request {
        namespace: namespace.to_owned(),
        name: "check".to_owned(),
        uid: String::new(),
        created: now,
        restored: false,
        directory: facts.name.clone(),
        user: by.clone(),
        action,
        requested_at: now,
        valid_for: SignedDuration::from_mins(1),
        reason: String::new(),
        requested_by: Some("check".to_owned()),
    };
    let subject = Subject::Object { request: Box::new(request), shown: Shown::default() };
    let mut world = World::new(now, Me { holder: "check".to_owned(), attempt: "check".to_owned() }, subject);
    world.looked = Some(now);
    world.record = Seen::Absent;
    world.record_by_name = Seen::Absent;
    world.directory = Seen::Known(facts.clone());
    world.user = user.clone();
    world.delivery = Seen::Absent;
    world.approvals = Seen::Absent;
    let labels = labels.as_ref().and_then(|all| all.get(namespace));
    world.namespace_labels = labels.map_or(Seen::Absent, |labels| Seen::Known(labels.clone()));
    let decision = decide(&world);
    let forecast = forecast(&world, &decision).context("the decision does not come to rest")?;
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
    Ok(Said { reason, message, line })
}
