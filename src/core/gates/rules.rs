//! Whether the user is protected, and which rule allows the reset.
use super::closed::{refuse, stall, unreadable};
use crate::core::{
    approvals,
    decision::{Decision, Fact},
    directory::DirectoryFacts,
    dn::Dn,
    reason::Reason,
    request::{Request, UserRef},
    rules::Rule,
    seen::{Seen, Why},
    text,
    user::User,
    view::View,
    world::World,
};

pub(super) fn user_not_protected(
    world: &World,
    request: &Request,
    directory: &DirectoryFacts,
    user: &User,
) -> Result<(), Decision> {
    let not_done = world.not_done();
    let who = &user.id.name;
    // A text that is not a distinguished name is compared as it is. Invisible characters may keep a name from parsing, so it is also
    // folded.
    let forms = |name: &String| [Dn::of(name).folded(), Dn::of(&text::folded(name)).folded()];
    // Also by the name that was typed: the directory may find a user by a name that it does not show.
    let (UserRef::Email(typed) | UserRef::Username(typed) | UserRef::Id(typed)) = &request.user;
    let known = [who, &user.id.id, typed].into_iter().chain(&user.email).chain(&user.aliases);
    let known: Vec<[Dn; 2]> = known.map(forms).collect();
    let named = |entry: &String| {
        let [read, folded] = forms(entry);
        known.iter().any(|[one, other]| *one == read || *other == folded)
    };
    let protect = &directory.protect;
    let why = if user.operator == Seen::Known(true) {
        "it is the operator's own account".to_owned()
    } else if protect.users.iter().any(named) {
        "listed in spec.protect.users".to_owned()
    } else if protect.administrators && user.administrator == Seen::Known(true) {
        "an administrator of the directory".to_owned()
    } else if protect.administrators && user.administrator != Seen::Known(false) {
        "it cannot be determined whether this is an administrator".to_owned()
    } else if user.administrator != Seen::Known(false) && user.operator != Seen::Known(false) {
        "it may be the operator's own account".to_owned()
    } else if protect.groups.is_empty() {
        return Ok(());
    } else {
        match groups_of(world, request, user)?.iter().find(|g| protect.groups.contains(g)) {
            Some(group) => format!("a member of {group}"),
            None => return Ok(()),
        }
    };
    Err(refuse(
        View::new(
            Reason::UserProtected,
            format!("{who} is protected by Directory {} ({why}): {not_done}.", directory.name),
        )
        .about(&user.id),
    ))
}

/// The rule that allows the reset.
pub(super) fn rule_allows<'a>(
    world: &World,
    request: &Request,
    directory: &'a DirectoryFacts,
    user: &User,
) -> Result<&'a Rule, Decision> {
    let not_done = world.not_done();
    let names_requester = request.requested_by.as_ref().is_some_and(|name| !text::folded(name).is_empty());
    if directory.require_requested_by && !names_requester {
        return Err(stall(
            request,
            View::new(
                Reason::NotAllowed,
                format!(
                    "Directory {} requires every request to say who asks, and spec.requestedBy does not: {not_done}. File a new request \
                     whose requestedBy names the requester.",
                    directory.name
                ),
            )
            .about(&user.id),
        ));
    }
    for rule in &directory.allow {
        if !rule.modes.contains(&request.mode())
            || !concerns_namespace(world, request, rule)?
            || !concerns_user(world, request, rule, user)?
        {
            continue;
        }
        return match rule.max_valid_for {
            Some(max) if request.valid_for > max => Err(stall(
                request,
                View::new(
                    Reason::NotAllowed,
                    format!(
                        "Rule {} of Directory {} allows validFor up to {max:#}, not {:#}: {not_done}. File a request with a \
                         shorter validFor.",
                        rule.name, directory.name, request.valid_for
                    ),
                )
                .about(&user.id),
            )),
            _ => match approvals::missing_requester(request, rule) {
                Some(why) => Err(stall(
                    request,
                    View::new(
                        Reason::NotAllowed,
                        format!(
                            "Rule {} of Directory {} requires approval by a person other than the requester, and {why}: {not_done}. File \
                             a new request whose requestedBy names the requester.",
                            rule.name, directory.name
                        ),
                    )
                    .about(&user.id),
                )),
                None => Ok(rule),
            },
        };
    }
    Err(not_allowed(world, request, directory, Some(user)))
}

pub(super) fn concerns_namespace(world: &World, request: &Request, rule: &Rule) -> Result<bool, Decision> {
    if rule.namespaces.contains(&request.namespace) {
        return Ok(true);
    }
    let Some(selector) = &rule.namespace_selector else { return Ok(false) };
    match &world.facts.namespace_labels {
        Seen::Unread => Err(Decision::Read(Fact::NamespaceLabels)),
        Seen::Known(labels) => Ok(selector.matches(labels)),
        Seen::Absent => Ok(false),
        Seen::Unknown(why) => Err(unreadable(
            world,
            request,
            Reason::DirectoryNotReady,
            &format!("The labels of namespace {}", request.namespace),
            why,
        )),
    }
}

fn concerns_user(world: &World, request: &Request, rule: &Rule, user: &User) -> Result<bool, Decision> {
    let users = &rule.users;
    if users.everyone {
        return Ok(true);
    }
    if users.email_domains.is_empty() && users.groups.is_empty() {
        return Ok(false);
    }
    let domain = user.email.as_ref().and_then(|email| email.rsplit_once('@')).map(|(_, domain)| domain);
    let by_domain = users.email_domains.is_empty()
        || domain.is_some_and(|domain| users.email_domains.iter().any(|d| d.eq_ignore_ascii_case(domain)));
    if !by_domain || users.groups.is_empty() {
        return Ok(by_domain);
    }
    Ok(groups_of(world, request, user)?.iter().any(|g| users.groups.contains(g)))
}

/// The user's groups, which a rule or a protection names. If they are unknown, neither "matches" nor "does not match" is safe to assume: a
/// later rule may allow more.
fn groups_of<'a>(world: &World, request: &Request, user: &'a User) -> Result<&'a [String], Decision> {
    let unread = Why::new("they were not read.");
    let why = match &user.groups {
        Seen::Known(groups) => return Ok(groups),
        Seen::Absent => return Ok(&[]),
        Seen::Unread => &unread,
        Seen::Unknown(why) => why,
    };
    Err(unreadable(world, request, Reason::DirectoryNotReady, &format!("The groups of {}", user.id.name), why))
}

pub(super) fn not_allowed(
    world: &World,
    request: &Request,
    directory: &DirectoryFacts,
    user: Option<&User>,
) -> Decision {
    let not_done = world.not_done();
    let who = user.map_or_else(String::new, |u| format!(" of {}", u.id.name));
    let view = View::new(
        Reason::NotAllowed,
        format!(
            "No rule of Directory {} allows namespace {} a {} reset{who}: {not_done}. Ask an administrator of the Directory for a rule.",
            directory.name,
            request.namespace,
            request.mode()
        ),
    );
    stall(
        request,
        match user {
            Some(user) => view.about(&user.id),
            None => view,
        },
    )
}
