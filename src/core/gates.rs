//! The chain of questions before anything is sent. Their order is the policy: the first answer wins.
use jiff::{SignedDuration, Timestamp};

use super::{
    Decision, Fact, Next, approvals,
    dn::Dn,
    ledger::{Finish, MARGIN},
    limits,
    plan::plan,
    report::{Reason, View},
    request::{Action, Request, Source, UserRef, later},
    text,
    world::{CONDITION, Delivery, Directory, Entered, Found, Rule, Seen, Subject, User, Why, World},
};

/// How long a wait lasts at first that ends with no event that could be watched.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(10);
/// And in the end, since it may take days.
const LOOK_RARELY: SignedDuration = SignedDuration::from_mins(5);
/// The same, where a read has failed: a Directory that goes on failing becomes not Ready, and is waited for.
const READ_AGAIN: SignedDuration = SignedDuration::from_secs(5);
const READ_RARELY: SignedDuration = SignedDuration::from_mins(1);
/// How far ahead of the object's creation a reset may be asked for, clocks being what they are. What is asked for ahead is out of
/// sight of whoever approved it, and no `maxValidFor` bounds it.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// What a passed chain leaves: who, where, and what to do.
pub(super) struct Pass<'a> {
    pub directory: &'a Directory,
    pub user: &'a User,
    pub finish: Finish,
    /// Who has approved, where the rule asks for that.
    pub approved_by: Vec<String>,
}

/// Either all gates are open, or the decision of the first that is not.
pub(super) fn check<'a>(world: &'a World, request: &Request) -> Result<Pass<'a>, Decision> {
    in_time(world, request)?;
    let directory = directory(world, request)?;
    same_directory(world, request, directory)?;
    still_stalled(world, request)?;
    let user = user(world, request, directory)?;
    same_user(world, request, user)?;
    already_started(world, request)?;
    fit(request, user)?;
    protected(world, request, directory, user)?;
    let rule = allowed(world, request, directory, user)?;
    let finish = supported(request, directory, user)?;
    same_delivery(world, user, &finish)?;
    can_be_mailed(world, request, directory, user, &finish)?;
    // Before the Secrets: of a reset that was carried out and is on no record any more the delivered password is there still, and
    // whoever is told to delete it throws away the one in force.
    unchanged(world, request, directory, user)?;
    secrets(world, request)?;
    // Last of what somebody has to see to: nobody is asked to approve what would then be refused.
    let approved_by = approvals::check(world, request, directory, rule, user)?;
    limits::check(world, request, directory, user)?;
    Ok(Pass { directory, user, finish, approved_by })
}

/// Whether what was allowed when the call was sent still is: else it is not sent again.
pub(super) fn still_allowed(world: &World, request: &Request) -> Result<(), Decision> {
    let directory = directory(world, request)?;
    same_directory(world, request, directory)?;
    let user = user(world, request, directory)?;
    same_user(world, request, user)?;
    fit(request, user)?;
    protected(world, request, directory, user)?;
    allowed(world, request, directory, user)?;
    supported(request, directory, user).map(drop)
}

fn supported(request: &Request, directory: &Directory, user: &User) -> Result<Finish, Decision> {
    plan(request, directory, user).map_err(|missing| refuse(View::new(Reason::NotSupported, missing).about(&user.id)))
}

/// The rule that allows it, where the Directory and the user are known.
pub(super) fn rule<'a>(world: &'a World, request: &Request) -> Option<&'a Rule> {
    let directory = directory(world, request).ok()?;
    allowed(world, request, directory, user(world, request, directory).ok()?).ok()
}

fn in_time(world: &World, request: &Request) -> Result<(), Decision> {
    let now = world.now;
    // By whichever clock: an object that was made too late is started by nobody.
    if request.created >= request.deadline() {
        return Err(refuse(View::new(
            Reason::Lapsed,
            format!("This request ended at {}, before this object was created: nothing was sent.", request.deadline()),
        )));
    }
    if now >= request.keep_until() {
        return Err(refuse(View {
            succeeded: super::report::Truth::Unknown,
            ..View::new(
                Reason::Lapsed,
                format!(
                    "This request ended at {} and its record is no longer kept: whatever happened then is not known any more. \
                     Nothing was sent now.",
                    request.deadline()
                ),
            )
        }));
    }
    if now >= request.deadline() {
        nobody_else(world, request)?;
        return Err(refuse(expired(world, request)));
    }
    if request.restored && !matches!(world.record, Seen::Known(_)) {
        return Err(refuse(View::new(
            Reason::RestoredFromBackup,
            "This object was restored from a backup and there is no record of it: it is never started. File a new request if \
             the reset is still wanted.",
        )));
    }
    // Creation is told by the API server's clock, with its second alone.
    if request.requested_at > later(request.created, AHEAD.saturating_add(MARGIN)) {
        return Err(refuse(View::new(
            Reason::NotSupported,
            format!(
                "spec.requestedAt is {}, more than an hour after this object was created at {}: nothing was sent. File a request whose \
                 requestedAt is the time in UTC at which it was asked for.",
                request.requested_at, request.created
            ),
        )));
    }
    if request.requested_at > now {
        return Err(wait(
            world,
            request,
            Reason::NotYetValid,
            format!("spec.requestedAt is in the future: the request starts at {}.", request.requested_at),
            request.requested_at,
        ));
    }
    Ok(())
}

/// That it has ended is said once no other process can have started it any more, its clock being as far behind as is allowed
/// for; and after a look into the ledger from then, also for the same request under another spelling of the user.
fn nobody_else(world: &World, request: &Request) -> Result<(), Decision> {
    let sure = later(request.deadline(), MARGIN);
    if world.now < sure {
        return Err(Decision::Rest { view: None, next: Next::At(sure) });
    }
    if world.looked.is_none_or(|at| at < sure) {
        return Err(Decision::Read(Fact::Record));
    }
    let found = directory(world, request)
        .and_then(|directory| user(world, request, directory))
        .and_then(|_| already_started(world, request));
    let unread = matches!(world.directory, Seen::Unknown(_))
        || matches!(world.user, Seen::Unknown(_))
        || matches!(world.record_by_name, Seen::Unknown(_) | Seen::Known(()));
    match found {
        Err(read @ Decision::Read(_)) => Err(read),
        // A moment's failure does not decide; but a directory that cannot be asked does not keep a request from ending.
        Err(_) if unread && world.now < later(sure, LOOK_AGAIN) => {
            Err(Decision::Rest { view: None, next: Next::At(later(world.now, READ_AGAIN)) })
        }
        // There is no record. Or the Directory cannot be used, or knows nobody of that name: for this object nothing was sent.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Not started in time; says what stood in the way.
fn expired(world: &World, request: &Request) -> View {
    let blocked = match &world.subject {
        Subject::Object { shown, .. } => match (shown.reason, shown.message.as_deref()) {
            (Some(reason), Some(message)) if reason != Reason::Pending => {
                format!(" It waited for: {reason}: {message}")
            }
            _ => " No operator was at work in that time.".to_owned(),
        },
        Subject::Gone => String::new(),
    };
    View::new(
        Reason::Expired,
        format!(
            "The request could not be started before {}: nothing was sent.{blocked} File a new request.",
            request.deadline()
        ),
    )
}

fn directory<'a>(world: &'a World, request: &Request) -> Result<&'a Directory, Decision> {
    let directory = match &world.directory {
        Seen::Unread => return Err(Decision::Read(Fact::Directory)),
        Seen::Known(directory) => directory,
        Seen::Absent => {
            return Err(stall(
                request,
                View::new(
                    Reason::DirectoryMissing,
                    format!(
                        "There is no Directory named {}. Create it, or file a request that names another.",
                        request.directory
                    ),
                ),
            ));
        }
        Seen::Unknown(why) => {
            return Err(unreadable(
                world,
                request,
                Reason::DirectoryNotReady,
                &format!("Directory {}", request.directory),
                why,
            ));
        }
    };
    if directory.suspend {
        return Err(wait(
            world,
            request,
            Reason::DirectorySuspended,
            format!(
                "Directory {} is suspended: nothing is started until spec.suspend is false. The request waits until {:.0}.",
                directory.name,
                request.deadline()
            ),
            request.deadline(),
        ));
    }
    if let Some(not_ready) = &directory.not_ready {
        return Err(wait(
            world,
            request,
            Reason::DirectoryNotReady,
            format!(
                "Directory {} is not Ready: {not_ready} The request waits until {:.0}.",
                directory.name,
                request.deadline()
            ),
            request.deadline(),
        ));
    }
    // Before the look-up: a request that no rule can allow costs the directory no call and learns nothing about its users.
    let mut candidates = false;
    for rule in &directory.allow {
        candidates |= rule.modes.contains(&request.mode()) && concerns_namespace(world, request, rule)?;
    }
    if candidates { Ok(directory) } else { Err(not_allowed(request, directory, None)) }
}

fn concerns_namespace(world: &World, request: &Request, rule: &Rule) -> Result<bool, Decision> {
    if rule.namespaces.contains(&request.namespace) {
        return Ok(true);
    }
    let Some(selector) = &rule.namespace_selector else { return Ok(false) };
    match &world.namespace_labels {
        Seen::Unread => Err(Decision::Read(Fact::NamespaceLabels)),
        Seen::Known(labels) => Ok(selector.matches(labels)),
        Seen::Absent => Ok(false),
        Seen::Unknown(why) => Err(unreadable(
            world,
            request,
            Reason::DirectoryNotReady,
            &format!("the labels of namespace {}", request.namespace),
            why,
        )),
    }
}

fn user<'a>(world: &'a World, request: &Request, directory: &Directory) -> Result<&'a User, Decision> {
    let typed = &request.user;
    match &world.user {
        Seen::Unread => Err(Decision::Read(Fact::User)),
        Seen::Known(Found::One(user)) => Ok(user),
        Seen::Known(Found::Several(n)) => Err(refuse(View::new(
            Reason::UserAmbiguous,
            format!(
                "{n} users of Directory {} answer to {typed}: nothing was sent. Name the user by id.",
                directory.name
            ),
        ))),
        Seen::Absent => Err(refuse(View::new(
            Reason::UserNotFound,
            format!("Directory {} knows no user {typed}: nothing was sent. Check the spelling.", directory.name),
        ))),
        Seen::Unknown(why) => {
            let reason = if why.not_before.is_some() { Reason::Throttled } else { Reason::DirectoryNotReady };
            Err(unreadable(world, request, reason, &format!("user {typed}"), why))
        }
    }
}

/// Right after the look-up: the same request under another spelling of the user must find its record before any gate
/// that the first one has closed behind itself.
fn already_started(world: &World, request: &Request) -> Result<(), Decision> {
    if matches!(world.record, Seen::Known(_)) {
        return Ok(());
    }
    let unknown = Why::new("it is there, and its contents were not shown.");
    let why = match &world.record_by_name {
        Seen::Absent => return Ok(()),
        Seen::Unread => return Err(Decision::Read(Fact::RecordByName)),
        Seen::Unknown(why) => why,
        Seen::Known(()) => &unknown,
    };
    Err(unreadable(world, request, Reason::DirectoryNotReady, "the ledger", why))
}

// A released record stays what it was made for: what its request means now must still be that, or it is not taken over.

fn same_directory(world: &World, request: &Request, directory: &Directory) -> Result<(), Decision> {
    match &world.record {
        Seen::Known(record) if record.directory_identity != directory.identity => Err(stall(
            request,
            View::new(
                Reason::DirectoryMissing,
                format!(
                    "Directory {} leads to another directory than when this request was first tried: nothing was sent. Lead it back, or \
                     file a new request.",
                    directory.name
                ),
            ),
        )),
        _ => Ok(()),
    }
}

fn same_user(world: &World, request: &Request, user: &User) -> Result<(), Decision> {
    match &world.record {
        Seen::Known(record) if record.user.id != user.id.id => Err(refuse(View::new(
            Reason::UserAmbiguous,
            format!(
                "{} means another user than when this request was first tried: nothing was sent. File a new request that names the user \
                 by id.",
                request.user
            ),
        ))),
        _ => Ok(()),
    }
}

fn same_delivery(world: &World, user: &User, finish: &Finish) -> Result<(), Decision> {
    match &world.record {
        Seen::Known(record)
            if (&record.finish.deliver_to, &record.finish.mail_to) != (&finish.deliver_to, &finish.mail_to) =>
        {
            Err(refuse(
                View::new(
                    Reason::NotSupported,
                    "The way in which the password would reach the user has changed since this request was first tried: nothing was \
                     sent. File a new request.",
                )
                .about(&user.id),
            ))
        }
        _ => Ok(()),
    }
}

/// A password that cannot be mailed would lock the user out.
fn can_be_mailed(
    world: &World,
    request: &Request,
    directory: &Directory,
    user: &User,
    finish: &Finish,
) -> Result<(), Decision> {
    match &directory.mail_trouble {
        Some(why) if finish.mail_to.is_some() => Err(wait_about(
            world,
            request,
            Reason::DirectoryNotReady,
            format!(
                "The new password of {} is to be mailed, and Directory {} can send no mail: {why} Nothing was sent; the request waits until \
                 {:.0}.",
                user.id.name,
                directory.name,
                request.deadline()
            ),
            request.deadline(),
            user,
        )),
        _ => Ok(()),
    }
}

fn fit(request: &Request, user: &User) -> Result<(), Decision> {
    let who = &user.id.name;
    let (reason, message) = if !user.confirmed {
        (
            Reason::UserNotConfirmed,
            format!(
                "{who} has not confirmed the account yet: nothing was sent. Ask the user to accept the invitation first."
            ),
        )
    } else if !user.active {
        (
            Reason::UserInactive,
            format!(
                "{who} is not active in the directory: nothing was sent. {}",
                user.hindrance.as_deref().unwrap_or("Activate the user first.")
            ),
        )
    } else if user.federated {
        (
            Reason::UserFederated,
            format!(
                "{who} signs in through another identity provider: nothing was sent. Reset the {} there.",
                request.mode()
            ),
        )
    } else if let Some(why) = &user.hindrance {
        (Reason::NotSupported, format!("The {} of {who} cannot be reset: nothing was sent. {why}", request.mode()))
    } else {
        return Ok(());
    };
    Err(refuse(View::new(reason, message).about(&user.id)))
}

fn protected(world: &World, request: &Request, directory: &Directory, user: &User) -> Result<(), Decision> {
    let who = &user.id.name;
    // What is no distinguished name is compared as it is; what is not seen may keep one from being read as one.
    let forms = |name: &String| [Dn::of(name).folded(), Dn::of(&text::folded(name)).folded()];
    // Also by what was typed: the directory may find a user by a name that it does not show.
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
        "whether this is an administrator cannot be told".to_owned()
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
            format!("{who} is protected by Directory {} ({why}): nothing was sent.", directory.name),
        )
        .about(&user.id),
    ))
}

/// The rule that allows it.
fn allowed<'a>(world: &World, request: &Request, directory: &'a Directory, user: &User) -> Result<&'a Rule, Decision> {
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
                        "Rule {} of Directory {} allows validFor up to {max:#}, not {:#}: nothing was sent. File a request with a \
                         shorter validFor.",
                        rule.name, directory.name, request.valid_for
                    ),
                )
                .about(&user.id),
            )),
            _ => match approvals::nobody_to_differ_from(request, rule) {
                Some(why) => Err(stall(
                    request,
                    View::new(
                        Reason::NotAllowed,
                        format!(
                            "Rule {} of Directory {} asks for approval by somebody else than the requester, and {why}: nothing was sent. File \
                             a new request whose requestedBy names who asks.",
                            rule.name, directory.name
                        ),
                    )
                    .about(&user.id),
                )),
                None => Ok(rule),
            },
        };
    }
    Err(not_allowed(request, directory, Some(user)))
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

/// A rule or a protection asks for them. Neither "matches" nor "does not match" is safe to assume: a later rule may allow more.
fn groups_of<'a>(world: &World, request: &Request, user: &'a User) -> Result<&'a [String], Decision> {
    let unread = Why::new("nobody has asked for them yet.");
    let why = match &user.groups {
        Seen::Known(groups) => return Ok(groups),
        Seen::Absent => return Ok(&[]),
        Seen::Unread => &unread,
        Seen::Unknown(why) => why,
    };
    Err(unreadable(world, request, Reason::DirectoryNotReady, &format!("the groups of {}", user.id.name), why))
}

fn not_allowed(request: &Request, directory: &Directory, user: Option<&User>) -> Decision {
    let who = user.map_or_else(String::new, |u| format!(" of {}", u.id.name));
    let view = View::new(
        Reason::NotAllowed,
        format!(
            "No rule of Directory {} allows namespace {} a {} reset{who}: nothing was sent. Ask whoever keeps the Directory for a rule.",
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

fn unchanged(world: &World, request: &Request, directory: &Directory, user: &User) -> Result<(), Decision> {
    match &user.changed_at {
        Seen::Known(at) if *at >= request.requested_at => Err(refuse(
            View::new(
                Reason::ChangedSinceRequest,
                format!(
                    "The {} of {} was changed at {at:.0}, after it was asked for at {}: nothing was sent. File a new request if a reset is \
                     still wanted.",
                    request.mode(),
                    user.id.name,
                    request.requested_at
                ),
            )
            .about(&user.id),
        )),
        // The condition of the call.
        Seen::Unknown(why)
            if directory.conditional.contains(&request.mode()) && !user.handle.contains_key(CONDITION) =>
        {
            let what = format!("the last change of the {} of {}", request.mode(), user.id.name);
            Err(unreadable(world, request, Reason::DirectoryNotReady, &what, why))
        }
        _ => Ok(()),
    }
}

/// A request that was stopped by a Secret alone looks at that first, and again at the user only once something has been done about it:
/// that costs the directory no call. Of a Secret that was made since, nobody is told to delete it before everything was looked at: it
/// may have been delivered for the same request in other words, and hold the password in force.
fn still_stalled(world: &World, request: &Request) -> Result<(), Decision> {
    let Subject::Object { shown, .. } = &world.subject else { return Ok(()) };
    let (Some(Reason::SecretMissing | Reason::SecretForbidden | Reason::DeliveryConflict), Some(since)) =
        (shown.reason, shown.since)
    else {
        return Ok(());
    };
    match secrets(world, request) {
        Err(Decision::Rest { .. })
            if world.delivery == Seen::Known(Delivery::Taken)
                && world.taken_at.is_none_or(|made| later(made, MARGIN) >= since) =>
        {
            Ok(())
        }
        stalled => stalled,
    }
}

fn secrets(world: &World, request: &Request) -> Result<(), Decision> {
    let Action::Password { source, deliver_to, .. } = &request.action else { return Ok(()) };
    let namespace = &request.namespace;
    let forbidden = |name: &str, verb: &str| {
        let message = format!(
            "The operator may not {verb} Secret {namespace}/{name}: nothing was sent. Give its ServiceAccount that right in the namespace."
        );
        look_again(world, request, View::new(Reason::SecretForbidden, message))
    };
    if let Source::FromSecret { name, key } = source {
        let missing = |what: &str| {
            look_again(
                world,
                request,
                View::new(
                    Reason::SecretMissing,
                    format!(
                        "Secret {namespace}/{name} {what}: nothing was sent. The request waits for it until {}.",
                        request.deadline()
                    ),
                ),
            )
        };
        match &world.entered {
            Seen::Unread => return Err(Decision::Read(Fact::Entered)),
            Seen::Known(Entered::Usable) => {}
            Seen::Known(Entered::Unusable(what)) => return Err(missing(what)),
            Seen::Known(Entered::Forbidden) => return Err(forbidden(name, "read")),
            Seen::Absent => return Err(missing(&format!("does not exist (key {key} of it should hold the password)"))),
            Seen::Unknown(why) => {
                return Err(unreadable(
                    world,
                    request,
                    Reason::SecretMissing,
                    &format!("Secret {namespace}/{name}"),
                    why,
                ));
            }
        }
    }
    let Some(name) = deliver_to else { return Ok(()) };
    match &world.delivery {
        Seen::Unread => Err(Decision::Read(Fact::Delivery)),
        Seen::Absent => Ok(()),
        Seen::Known(Delivery::Taken) => Err(look_again(
            world,
            request,
            View::new(
                Reason::DeliveryConflict,
                format!(
                    "Secret {namespace}/{name} exists already and is not overwritten: nothing was sent. Delete it, and the request goes on \
                     until {}.",
                    request.deadline()
                ),
            ),
        )),
        Seen::Known(Delivery::Forbidden) => Err(forbidden(name, "read and create")),
        Seen::Unknown(why) => {
            Err(unreadable(world, request, Reason::DirectoryNotReady, &format!("Secret {namespace}/{name}"), why))
        }
    }
}

// What a closed gate comes to.

/// Settled: nothing was changed, and nothing will be.
fn refuse(view: View) -> Decision {
    Decision::rest(view, Next::Never)
}

/// Somebody must look; the request is looked at again when Directories change, and ends with its deadline.
fn stall(request: &Request, view: View) -> Decision {
    Decision::rest(view, Next::At(request.deadline()))
}

/// Somebody must look; since nothing tells when that was done, it is looked at again, ever more rarely.
fn look_again(world: &World, request: &Request, view: View) -> Decision {
    // Not over the end: what has come to be in the last pause would not be seen.
    let left = request.deadline().duration_since(world.now);
    let pause = waited(world).min(left / 2).clamp(LOOK_AGAIN, LOOK_RARELY);
    Decision::rest(view, Next::At(later(world.now, pause).min(request.deadline())))
}

/// How long the request has waited already, as its status tells: a pause of the same length doubles it.
fn waited(world: &World) -> SignedDuration {
    match &world.subject {
        Subject::Object { shown, .. } => {
            shown.since.map_or(SignedDuration::ZERO, |since| world.now.duration_since(since))
        }
        Subject::Gone => SignedDuration::ZERO,
    }
}

/// It goes on by itself at `until`, or when what it waits for changes.
fn wait(world: &World, request: &Request, reason: Reason, message: String, until: Timestamp) -> Decision {
    let next = until.max(world.now).min(request.deadline());
    Decision::rest(View::new(reason, message), Next::At(next))
}

pub(super) fn wait_about(
    world: &World,
    request: &Request,
    reason: Reason,
    message: String,
    until: Timestamp,
    user: &User,
) -> Decision {
    let mut decision = wait(world, request, reason, message, until);
    if let Decision::Rest { view: Some(view), .. } = &mut decision {
        view.user = Some(user.id.clone());
    }
    decision
}

/// A fact could not be read: waits.
pub(super) fn unreadable(world: &World, request: &Request, reason: Reason, what: &str, why: &Why) -> Decision {
    // A time that has passed would be looked at again at once, without end.
    let until = why
        .not_before
        .filter(|at| *at > world.now)
        .unwrap_or_else(|| later(world.now, waited(world).clamp(READ_AGAIN, READ_RARELY)))
        .min(request.deadline());
    wait(
        world,
        request,
        reason,
        format!("{what} could not be read: {} Looked at again at {until:.0}.", why.message),
        until,
    )
}
