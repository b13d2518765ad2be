//! Property tests on random worlds, also those that no driver builds: the decision keeps its invariants in each.
use std::{collections::BTreeSet, sync::Arc};

use credreset::core::{
    Decision, Effect, Fact, Mode, Next, Reason, Request, World,
    actions::call,
    approvals::Approval,
    call::Actions,
    call::{AfterReset, FollowUp, Reply},
    decide,
    directory::{DirectoryFacts, Feature},
    finding::Finding,
    reason::Outcome,
    record::{Attempt, Evidence, Record, RecordSummary, Refusal, Settlement, State},
    request::{Action, Factor, Kinds, PasswordSource, Policy, UserRef},
    rules::{Approvals, Limits, Protect, Rule, Users},
    seen::{Seen, Why},
    user::{LookUp, User, UserId},
    view::StatusSummary,
    world::{Delivery, OwnAttempt, Process, Progress, StepState, Subject, SuppliedPassword},
};
use jiff::{SignedDuration, Timestamp};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, subsequence},
};

/// Around the moments that matter to a request of nine o'clock, and anywhere near them.
fn moment() -> impl Strategy<Value = Timestamp> {
    let nine: Timestamp = "2026-11-24T09:00:00Z".parse().unwrap();
    let hours = select(vec![0i64, 1, 24, 25, 48, 168, 192]).prop_map(|h| h * 3600);
    prop_oneof![
        2 => (hours, -120i64..120).prop_map(|(h, s)| h + s),
        5 => 0i64..7200,
        1 => -400_000i64..1_000_000,
    ]
    .prop_map(move |s| nine + SignedDuration::from_secs(s))
}

fn asked() -> Timestamp {
    "2026-11-24T09:00:00Z".parse().unwrap()
}

fn text(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    select(of).prop_map(str::to_owned)
}

fn why() -> impl Strategy<Value = Why> {
    option::of(moment()).prop_map(|not_before| Why { message: "no answer.".to_owned(), not_before })
}

/// A fact that was looked for.
fn read<T: Clone + std::fmt::Debug + 'static>(known: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Seen<T>> {
    prop_oneof![12 => known.prop_map(Seen::Known), 1 => Just(Seen::Absent), 1 => why().prop_map(Seen::Unknown)].boxed()
}

fn seen<T: Clone + std::fmt::Debug + 'static>(known: impl Strategy<Value = T> + 'static) -> BoxedStrategy<Seen<T>> {
    prop_oneof![1 => Just(Seen::Unread), 4 => read(known)].boxed()
}

/// Nothing here reads it.
const RECIPIENT: &str = "age1ejdxr6zhk3z2jgnk9aluhwytljqvzfwlskyln6ne5e78m8ma65xsx9lxvk";

fn request() -> impl Strategy<Value = Request> {
    let source = prop_oneof![
        Just(PasswordSource::Generate { length: 20, kinds: Kinds::default() }),
        Just(PasswordSource::FromSecret { name: "chosen".to_owned(), key: "password".to_owned() })
    ];
    let password = (source, any::<[bool; 4]>(), option::of(text(&["annette-password"]))).prop_map(
        |(source, [force, clear, mail, seal], deliver_to)| Action::Password {
            source,
            force_change_on_login: force,
            clear_mobile_sessions_and_api_tokens: clear,
            email_to_user: mail,
            sealed_for: deliver_to.iter().filter(|_| seal).map(|_| RECIPIENT.to_owned()).collect(),
            expires_after: deliver_to.as_ref().filter(|_| clear).map(|_| SignedDuration::from_hours(24)),
            deliver_to,
        },
    );
    let action = prop_oneof![
        3 => password,
        1 => subsequence(vec![Factor::TOTP, Factor::WebAuthn], 0..2).prop_map(|factors| Action::Mfa { factors }),
    ];
    let valid = select(vec![1i64, 24, 168]).prop_map(SignedDuration::from_hours);
    let requester = option::weighted(0.8, text(&["hana"]));
    let whose = (text(&["helpdesk", "branch"]), text(&["uid-1", "uid-2"]), requester);
    (whose, moment(), proptest::bool::weighted(0.1), action, valid).prop_map(
        |((namespace, uid, requested_by), created, restored, action, valid_for)| Request {
            namespace,
            name: "annette".to_owned(),
            uid,
            created,
            restored,
            directory: "zylker".to_owned(),
            user: UserRef::Email("annette.c@zylker.biz".to_owned()),
            action,
            requested_at: asked(),
            valid_for,
            reason: "HELP-4711".to_owned(),
            requested_by,
            filed_by: None,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let users = (proptest::bool::weighted(0.7), subsequence(vec!["zylker.biz".to_owned()], 0..=1), groups())
        .prop_map(|(everyone, email_domains, groups)| Users { email_domains, groups, everyone });
    let modes = subsequence(std::vec![Mode::Password, Mode::MFA], 1..=2);
    let namespaces = subsequence(vec!["helpdesk".to_owned(), "branch".to_owned()], 0..=2);
    let approvals = (1u32..3, any::<bool>())
        .prop_map(|(count, distinct_from_requester)| Approvals { count, distinct_from_requester });
    let hour = option::of(Just(SignedDuration::from_hours(1)));
    (modes, namespaces, users, any::<bool>(), hour, option::weighted(0.3, approvals)).prop_map(
        |(modes, namespaces, users, selects, max_valid_for, approvals)| Rule {
            name: "rule".to_owned(),
            namespaces,
            namespace_selector: selects.then(Default::default),
            modes,
            users,
            max_valid_for,
            approvals,
        },
    )
}

fn groups() -> impl Strategy<Value = Vec<String>> {
    subsequence(vec!["Staff".to_owned(), "Board".to_owned()], 0..=2)
}

fn directory() -> impl Strategy<Value = DirectoryFacts> {
    use Feature::{ClearMobileSessionsAndApiTokens, EmailToUser, FactorsByKind, ForceChangeOnLogin, KeepAfterLogin};
    let all = vec![
        Feature::ResetPassword,
        Feature::ResetMFA,
        ForceChangeOnLogin,
        KeepAfterLogin,
        FactorsByKind,
        ClearMobileSessionsAndApiTokens,
        EmailToUser,
    ];
    let protect = (groups(), any::<bool>(), any::<bool>()).prop_map(|(groups, administrators, annette)| Protect {
        users: if annette { vec!["Annette.C@zylker.biz".to_owned()] } else { Vec::new() },
        groups,
        administrators,
    });
    let protect = prop_oneof![6 => Just(Protect::default()), 1 => protect];
    let limits = prop_oneof![4 => Just(20u32), 1 => 0u32..3]
        .prop_map(|resets_per_hour| Limits { resets_per_hour, ..Limits::default() });
    let usual = prop_oneof![9 => Just(all.clone()), 1 => subsequence(all, 0..=7)];
    let identity = prop_oneof![9 => Just("x/1"), 1 => Just("x/2")].prop_map(str::to_owned);
    (
        identity,
        (proptest::bool::weighted(0.1), proptest::bool::weighted(0.1)),
        proptest::bool::weighted(0.1),
        usual,
        prop_oneof![1 => vec(rule(), 0..3), 2 => vec(rule(), 4..8)],
        protect,
        limits,
        any::<bool>(),
        proptest::bool::weighted(0.25),
        subsequence(std::vec![Mode::Password, Mode::MFA], 0..=1),
    )
        .prop_map(
            |(
                identity,
                (suspend, require_requested_by),
                broken,
                supports,
                allow,
                protect,
                limits,
                mail,
                no_mail,
                conditional,
            )| {
                DirectoryFacts {
                    separate_calls: AfterReset { web_sessions: true, ..AfterReset::default() },
                    not_ended: Some("Tickets live on.".to_owned()),
                    policy: Policy::default(),
                    name: "zylker".to_owned(),
                    identity,
                    kind: "a directory".to_owned(),
                    suspend,
                    require_requested_by,
                    not_ready: broken.then(|| "down.".to_owned()),
                    mail_trouble: (mail && no_mail).then(|| "The mail server does not answer.".to_owned()),
                    supports: supports.into_iter().collect::<BTreeSet<_>>(),
                    allow,
                    protect,
                    limits,
                    mail,
                    conditional: conditional.into_iter().collect(),
                }
            },
        )
}

fn mostly() -> BoxedStrategy<bool> {
    proptest::bool::weighted(0.9).boxed()
}

fn annette() -> UserId {
    UserId { id: "7".to_owned(), name: "annette.c@zylker.biz".to_owned() }
}

fn user() -> impl Strategy<Value = User> {
    let rarely = || mostly().prop_map(|so| !so).boxed();
    let not = || prop_oneof![18 => Just(Seen::Known(false)), 1 => Just(Seen::Known(true)), 1 => why().prop_map(Seen::Unknown)];
    let id = prop_oneof![9 => Just("7"), 1 => Just("8")];
    (
        id,
        option::of(Just("annette.c@zylker.biz".to_owned())),
        [mostly(), mostly(), rarely()],
        not(),
        not(),
        seen(groups()),
        seen(moment()),
    )
        .prop_map(|(id, email, [confirmed, active, federated], administrator, operator, groups, changed_at)| {
            User {
                id: UserId { id: id.to_owned(), ..annette() },
                display_name: None,
                email,
                aliases: Vec::new(),
                confirmed,
                active,
                federated,
                administrator,
                operator,
                groups,
                changed_at,
                lacks: std::collections::BTreeMap::new(),
                why_ineligible: None,
                factors: Seen::Unread,
                mfa_on: Seen::Unread,
                must_change: Seen::Unread,
                condition: None,
                handle: std::collections::BTreeMap::new(),
            }
        })
}

pub fn state() -> impl Strategy<Value = State> {
    use State::{Applied, Changed, NotApplied, Released, Sent, Superseded, Unknown};
    select(vec![Sent, Sent, Released, Released, Changed, Unknown, Applied, NotApplied, Superseded])
}

fn record(request: Request) -> impl Strategy<Value = Record> {
    let finish = prop_oneof![
        Just(FollowUp::default()),
        Just(FollowUp { deliver_to: Some("annette-password".to_owned()), mail_to: None, ..FollowUp::default() }),
        Just(FollowUp { mail_to: Some("annette.c@zylker.biz".to_owned()), ..FollowUp::default() }),
        Just(FollowUp {
            deliver_to: Some("annette-password".to_owned()),
            sealed_for: vec![RECIPIENT.to_owned()],
            expires_after: Some(SignedDuration::from_hours(24)),
            after_reset: Some(AfterReset { web_sessions: true, ..AfterReset::default() }),
            mail_to: Some("annette.c@zylker.biz".to_owned()),
            remains: Some("Tickets live on.".to_owned()),
        }),
    ];
    let evidence = option::of(select(vec![Evidence::Response, Evidence::Marker, Evidence::SignIn]));
    let refusal = option::of(select(Reason::ALL.to_vec()).prop_map(|reason| Refusal { reason, code: None }));
    let times = (moment(), option::of(moment()), option::of(moment()));
    (
        state(),
        finish,
        evidence,
        refusal,
        times,
        [mostly(), any::<bool>().boxed(), any::<bool>().boxed(), any::<bool>().boxed()],
        1u32..9,
        directory(),
    )
        .prop_map(
            move |(
                state,
                finish,
                evidence,
                refusal,
                (started, retry_at, settled_at),
                [own, noted, regenerated, conditional],
                number,
                directory,
            )| {
                let attempt = Attempt {
                    id: "a1".to_owned(),
                    number,
                    holder: "op/1".to_owned(),
                    started_at: started,
                    deadline: started + SignedDuration::from_secs(25),
                    secret: (request.mode() == Mode::Password).then(|| "credreset-a1".to_owned()),
                    baseline: None,
                    conditional,
                    approved_by: Vec::new(),
                    regenerated: if regenerated { 9 } else { 0 },
                };
                let mut directory = directory;
                // What a directory cannot do was never begun.
                if matches!(&request.action, Action::Mfa { factors } if !factors.is_empty()) {
                    directory.supports.insert(Feature::FactorsByKind);
                }
                let actions = Actions { call: call(&request, &directory, &finish), follow_up: finish };
                let mut record = Record::open(&request, directory.identity.clone(), annette(), actions, attempt);
                if !own {
                    record.request.digest = "another".to_owned();
                }
                let note = noted.then(|| "But so it is.".to_owned());
                // A reason that refuses, where the record is one that was refused.
                let refuses = |v: &Refusal| v.reason.outcome() == Some(Outcome::NotApplied);
                let refusal = refusal.filter(|v| state != State::NotApplied || refuses(v));
                Record { state, evidence, refusal, retry_at, settled_at, note, ..record }
            },
        )
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        select(vec![Reply::Done, Reply::NotSent, Reply::NoSuchUser, Reply::Conflict, Reply::Outdated, Reply::Unsure,]),
        option::of(any::<u32>()).prop_map(|after| Reply::Throttled { after }),
        Just(Reply::Denied { code: "X".to_owned() }),
        Just(Reply::Rejected { code: "X".to_owned() }),
        Just(Reply::PasswordRefused { code: "X".to_owned() }),
    ]
}

fn step() -> impl Strategy<Value = StepState> {
    let word = || "it is in the way.".to_owned();
    select(vec![
        StepState::Pending,
        StepState::Done,
        StepState::Failed(word()),
        StepState::Impossible(word()),
        StepState::Lost(word()),
    ])
}

fn shown() -> impl Strategy<Value = StatusSummary> {
    let outcome = select(vec![Outcome::Unknown, Outcome::Applied, Outcome::NotApplied, Outcome::Lapsed]);
    (option::weighted(0.1, outcome), option::weighted(0.3, select(Reason::ALL.to_vec())), option::of(moment()))
        .prop_map(|(outcome, reason, since)| StatusSummary {
            outcome,
            reason,
            message: reason.map(|r| format!("{r}.")),
            since,
        })
}

fn past() -> impl Strategy<Value = Vec<Arc<RecordSummary>>> {
    let one = (text(&["r-1", "r-2"]), text(&["7", "8"]), state(), moment(), select(vec![Mode::Password, Mode::MFA]))
        .prop_map(|(record, user, state, at, mode)| {
            let over = at + SignedDuration::from_secs(85);
            Arc::new(RecordSummary {
                mode,
                record,
                directory_identity: "x/1".to_owned(),
                user,
                state,
                started_at: at,
                cannot_arrive_after: over,
            })
        });
    vec(one, 0..3)
}

/// The facts that a read could bring.
#[derive(Clone, Debug)]
pub struct Facts {
    pub record: Seen<Record>,
    pub record_by_name: Seen<()>,
    pub directory: Seen<DirectoryFacts>,
    pub user: Seen<LookUp>,
    pub entered: Seen<SuppliedPassword>,
    pub delivery: Seen<Delivery>,
    pub approvals: Seen<Vec<Approval>>,
    pub proof: Seen<Finding>,
    pub superseded: Seen<bool>,
    pub settlements: Seen<Vec<Settlement>>,
}

fn settlement() -> impl Strategy<Value = Settlement> {
    let rarely = || proptest::bool::weighted(0.1);
    (any::<bool>(), rarely(), mostly(), moment()).prop_map(|(applied, unguarded, here, created)| Settlement {
        name: "settlement".to_owned(),
        directory: if here { "zylker" } else { "elsewhere" }.to_owned(),
        applied,
        by: "olga".to_owned(),
        reason: "She can sign in.".to_owned(),
        created,
        unguarded,
    })
}

fn facts(request: Request) -> impl Strategy<Value = Facts> {
    let found = prop_oneof![
        9 => user().prop_map(|user| LookUp::One(Box::new(user))),
        1 => Just(LookUp::Several(2)),
    ];
    let entered = prop_oneof![3 => Just(SuppliedPassword::Usable), 1 => Just(SuppliedPassword::Forbidden), 1 => Just(SuppliedPassword::Unusable("is odd".to_owned()))];
    let proof = prop_oneof![
        select(vec![Evidence::Marker, Evidence::SignIn, Evidence::ConditionalWrite]).prop_map(Finding::Proven),
        Just(Finding::Inconclusive("Nothing is shown.".to_owned())),
        Just(Finding::Changed("It has changed.".to_owned())),
        Just(Finding::NeedsSignIn("It has changed.".to_owned())),
    ];
    let digest = request.spec_digest();
    let rarely = || proptest::bool::weighted(0.1);
    let seen = option::of(text(&["7", "7", "7", "8"]));
    let approval = (text(&["hana", "olga", "otto"]), rarely(), rarely(), mostly(), mostly(), seen).prop_map(
        move |(approver, withdrawn, unguarded, this, here, user)| Approval {
            name: "yes".to_owned(),
            approver,
            directory: if here { "zylker" } else { "elsewhere" }.to_owned(),
            digest: if this { digest.clone() } else { "another".to_owned() },
            user,
            withdrawn,
            unguarded,
        },
    );
    (
        prop_oneof![1 => Just(Seen::Absent), 1 => read(record(request))],
        prop_oneof![16 => Just(Seen::Absent), 1 => read(Just(()))],
        read(directory()),
        read(found),
        read(entered),
        prop_oneof![4 => Just(Seen::Absent), 1 => read(select(vec![Delivery::Taken, Delivery::Forbidden]))],
        read(vec(approval, 0..4)),
        read(proof),
        read(any::<bool>()),
        prop_oneof![9 => Just(Seen::Absent), 1 => read(vec(settlement(), 0..3))],
    )
        .prop_map(
            |(
                record,
                record_by_name,
                directory,
                user,
                entered,
                delivery,
                approvals,
                proof,
                superseded,
                settlements,
            )| {
                Facts {
                    record,
                    record_by_name,
                    directory,
                    user,
                    entered,
                    delivery,
                    approvals,
                    proof,
                    superseded,
                    settlements,
                }
            },
        )
}

pub fn world() -> impl Strategy<Value = (World, Facts)> {
    let holding = (text(&["a1", "a1", "b1"]), any::<bool>(), option::weighted(0.6, reply()))
        .prop_map(|(attempt, may_send, reply)| OwnAttempt { attempt, may_send, reply, replied_at: None });
    let stored = option::weighted(0.3, text(&["credreset-a1", "credreset-b1"]));
    (
        request(),
        proptest::bool::weighted(0.85),
        shown(),
        moment(),
        option::of(holding),
        stored,
        [step(), step()],
        past(),
    )
        .prop_flat_map(|(request, there, shown, now, holding, stored, [deliver, mail], past)| {
            facts(request.clone()).prop_map(move |facts| {
                let subject = if there {
                    Subject::Object { request: Box::new(request.clone()), status: shown.clone() }
                } else {
                    Subject::Gone
                };
                let me = Process { holder: "op/1".to_owned(), attempt: "b1".to_owned() };
                let mut world = World::new(now, me, subject);
                world.own.attempt.clone_from(&holding);
                world.own.password_secret.clone_from(&stored);
                world.ledger.past.clone_from(&past);
                world.own.progress = Progress { deliver: deliver.clone(), mail: mail.clone(), ..Progress::default() };
                (world, facts)
            })
        })
}

/// Reads what is asked for, as often as it is asked for.
pub fn walk(mut world: World, facts: &Facts) -> Result<(World, Decision), TestCaseError> {
    for _ in 0..20 {
        match decide(&world) {
            Decision::Read(Fact::Record) => {
                world.ledger.record_looked_up_at = Some(world.now);
                world.ledger.record = facts.record.clone();
            }
            Decision::Read(Fact::RecordByName) => world.ledger.record_by_name = facts.record_by_name.clone(),
            Decision::Read(Fact::Directory) => world.facts.directory = facts.directory.clone(),
            Decision::Read(Fact::NamespaceLabels) => world.facts.namespace_labels = Seen::Known([].into()),
            Decision::Read(Fact::User) => world.facts.user = facts.user.clone(),
            Decision::Read(Fact::SuppliedPassword) => world.facts.supplied_password = facts.entered.clone(),
            Decision::Read(Fact::Delivery) => world.facts.delivery = facts.delivery.clone(),
            Decision::Read(Fact::Approvals) => world.facts.approvals = facts.approvals.clone(),
            Decision::Read(Fact::Finding) => world.evidence.finding = facts.proof.clone(),
            Decision::Read(Fact::Superseded) => world.evidence.superseded = facts.superseded.clone(),
            Decision::Read(Fact::Settlements) => world.evidence.settlements = facts.settlements.clone(),
            decision => return Ok((world, decision)),
        }
    }
    Err(TestCaseError::fail("it reads without end"))
}

/// Nothing stands in the way of `request`, by a second implementation of the rules.
fn may_start(world: &World) -> bool {
    let (Subject::Object { request, status: shown }, Seen::Known(directory), Seen::Known(LookUp::One(user))) =
        (&world.subject, &world.facts.directory, &world.facts.user)
    else {
        return false;
    };
    let busy = world.ledger.past.iter().any(|p| {
        let waits = matches!(p.state, State::Sent | State::Changed | State::Unknown);
        directory.identity == p.directory_identity && p.user == user.id.id && waits && p.cannot_arrive_after > world.now
    });
    let record = match &world.ledger.record {
        Seen::Absent => world.ledger.record_by_name == Seen::Absent && !request.restored && !shown.was_under_way(),
        Seen::Known(record) => {
            record.state == State::Released
                && record.request.digest == request.digest()
                && record.request.namespace == request.namespace
                && (&record.directory_identity, &record.user.id) == (&directory.identity, &user.id.id)
        }
        Seen::Unread | Seen::Unknown(_) => false,
    };
    let in_time = request.requested_at <= world.now && world.now < request.deadline();
    let fit = user.confirmed && user.active && !user.federated;
    let person = |name: &str| name.trim().to_lowercase();
    let approved = directory.allow.iter().any(|rule| {
        let Some(wanted) = &rule.approvals else { return true };
        let Seen::Known(all) = &world.facts.approvals else { return false };
        let people: BTreeSet<&str> = all
            .iter()
            .filter(|a| {
                !a.withdrawn && !a.unguarded && a.digest == request.spec_digest() && a.directory == request.directory
            })
            .map(|a| a.approver.as_str())
            .filter(|by| {
                !wanted.distinct_from_requester
                    || request.requested_by.as_deref().is_some_and(|r| person(r) != person(by))
            })
            .collect();
        people.len() >= wanted.count as usize
    });
    let changed = matches!(&user.changed_at, Seen::Known(at) if *at >= request.requested_at);
    // The operator mails a password only where the directory cannot.
    let mailed = matches!(&request.action, Action::Password { email_to_user: true, .. })
        && !directory.supports.contains(&Feature::EmailToUser);
    let deliverable = !mailed || directory.mail_trouble.is_none();
    in_time && is_allowed(world) && fit && record && approved && deliverable && !busy && !changed
}

/// The Directory is in use, has a rule for it, and does not protect the user.
fn is_allowed(world: &World) -> bool {
    let (Subject::Object { request, .. }, Seen::Known(directory), Seen::Known(LookUp::One(user))) =
        (&world.subject, &world.facts.directory, &world.facts.user)
    else {
        return false;
    };
    let usable = !directory.suspend && directory.not_ready.is_none();
    let named = directory.allow.iter().any(|rule| rule.modes.contains(&request.mode()));
    let unprotected = directory.protect.users.is_empty()
        && user.operator != Seen::Known(true)
        && (!directory.protect.administrators || user.administrator == Seen::Known(false))
        && match &user.groups {
            Seen::Known(groups) => groups.iter().all(|g| !directory.protect.groups.contains(g)),
            Seen::Absent => true,
            Seen::Unread | Seen::Unknown(_) => directory.protect.groups.is_empty(),
        };
    usable && named && unprotected
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_world_comes_to_a_decision_that_keeps_its_word((world, facts) in world()) {
        let (world, decision) = walk(world, &facts)?;
        let record = match &world.ledger.record {
            Seen::Known(record) => Some(record),
            _ => None,
        };
        if let Subject::Object { status: shown, .. } = &world.subject && shown.is_settled() {
            prop_assert_eq!(&decision, &Decision::Rest { view: None, next: Next::Never });
        }
        match decision {
            Decision::Do(Effect::Send(_)) => {
                let (record, holding) = (record.unwrap(), world.own.attempt.as_ref().unwrap());
                prop_assert!(holding.may_send && holding.reply.is_none() && holding.attempt == record.attempt.id);
                prop_assert!(record.state == State::Sent && world.now < record.expires_at);
            }
            Decision::Do(Effect::Repeat(_)) => {
                let record = record.unwrap();
                prop_assert!(record.attempt.conditional && record.state == State::Sent && world.now < record.expires_at);
                prop_assert!(is_allowed(&world), "the brake does not stop it");
            }
            Decision::Do(Effect::Open(next)) => {
                prop_assert!(may_start(&world) && record.is_none());
                prop_assert!(next.state == State::Sent && next.attempt.id == world.process.attempt);
                prop_assert_eq!(next.attempt.secret, world.own.password_secret);
            }
            Decision::Do(Effect::TakeOver(next)) => {
                prop_assert!(may_start(&world));
                prop_assert_eq!(record.unwrap().state, State::Released);
                prop_assert_eq!(&next.follow_up, &record.unwrap().follow_up);
                prop_assert!(next.state == State::Sent && next.attempt.id == world.process.attempt);
            }
            Decision::Do(Effect::StorePassword { .. }) => prop_assert!(may_start(&world)),
            Decision::Do(Effect::Write(next)) => {
                let record = record.unwrap();
                prop_assert!(super::moves(record.state).contains(&next.state), "{:?} -> {:?}", record.state, next.state);
                let repeats = record.attempt.conditional && next.repeated_by.as_ref() == Some(&world.process.holder);
                let signs_in = matches!(world.evidence.finding, Seen::Known(Finding::NeedsSignIn(_))) && next.sign_in_by.as_ref() == Some(&world.process.holder) && record.sign_in_by.is_none();
                prop_assert!(next.state != State::Sent || repeats || signs_in);
                prop_assert!(next.attempt == record.attempt && next.follow_up == record.follow_up);
                prop_assert_eq!(&next.request, &record.request);
                let answered = world.own.attempt.as_ref()
                    .is_some_and(|h| h.attempt == record.attempt.id && h.reply == Some(Reply::Done));
                // Began no earlier, and may have taken effect.
                let others = world.ledger.past.iter().any(|p| {
                    (&p.user, &p.directory_identity, p.mode) == (&record.user.id, &record.directory_identity, record.mode)
                        && !matches!(p.state, State::Released | State::NotApplied)
                        && p.started_at >= record.attempt.started_at
                });
                let proven = match &world.evidence.finding {
                    Seen::Known(Finding::Proven(Evidence::Marker)) => !others && record.doubted_refusal().is_none(),
                    Seen::Known(Finding::Proven(_)) => true,
                    _ => false,
                };
                let refused = world.own.attempt.as_ref().is_some_and(|h| {
                    h.attempt == record.attempt.id && matches!(h.reply, Some(Reply::Rejected { .. } | Reply::PasswordRefused { .. } | Reply::Denied { .. } | Reply::NoSuchUser))
                });
                let in_words = world.own.attempt.as_ref().is_some_and(|h| matches!(h.reply, Some(Reply::Rejected { .. } | Reply::PasswordRefused { .. })));
                let unmoved = matches!(world.evidence.finding, Seen::Known(Finding::Inconclusive(_)) | Seen::Absent) || !in_words && matches!(world.evidence.finding, Seen::Unknown(_));
                let settled = |applied: bool| {
                    let counts = |s: &Settlement| {
                        let in_time = record.settled_at.is_none_or(|at| s.created.as_second() >= at.as_second());
                        s.applied == applied && !s.unguarded && s.directory == record.directory && in_time
                    };
                    record.state == State::Unknown && matches!(&world.evidence.settlements, Seen::Known(all) if all.iter().any(counts))
                };
                match (record.state, next.state) {
                    (State::Sent | State::Unknown, State::Changed | State::Applied) => {
                        let by_person = next.evidence == Some(Evidence::Person) && settled(true);
                        prop_assert!(answered || proven || by_person);
                    }
                    (State::Unknown, State::NotApplied) => prop_assert!(settled(false)),
                    (State::Sent, State::Released | State::NotApplied) => {
                        let own = world.own.attempt.as_ref().is_some_and(|h| h.attempt == record.attempt.id);
                        prop_assert!(own || next.state == State::NotApplied);
                        prop_assert!(!refused || unmoved, "a refusal is believed against what the directory shows");
                    }
                    (State::Sent, State::Unknown) => prop_assert!(world.now >= record.cannot_arrive_after() || refused && !unmoved),
                    _ => {}
                }
            }
            Decision::Do(Effect::SignIn) => {
                prop_assert!(world.own.may_sign_in && matches!(record.unwrap().state, State::Sent | State::Unknown));
            }
            Decision::Do(Effect::Deliver { .. } | Effect::AfterReset(_) | Effect::Mail { .. }) => {
                let answered = world.own.attempt.as_ref().is_some_and(|h| h.reply == Some(Reply::Done));
                prop_assert!(record.unwrap().state == State::Changed || answered);
            }
            Decision::Do(Effect::DropPassword { secret }) => {
                if let Some(record) = record && record.attempt.secret.as_ref() == Some(&secret) {
                    prop_assert!(!record.needs_password());
                }
            }
            Decision::Rest { view, next } => {
                if let Some(view) = &view {
                    prop_assert!(!view.message.is_empty());
                    let settled = record.filter(|r| r.state.is_settled() || r.state == State::Unknown);
                    if view.outcome() == Some(Outcome::Applied) {
                        prop_assert_eq!(settled.map(|r| r.state), Some(State::Applied));
                    }
                    let tried = record.is_some_and(|r| r.state == State::Released);
                    prop_assert!(!tried || !view.message.contains("nothing is sent"), "{}", view.message);
                }
                match next {
                    Next::At(at) => {
                        prop_assert!(at >= world.now, "{at} has passed");
                        let end = record.map(|r| r.keep_until.max(r.cannot_arrive_after())).or(world.subject.request().map(Request::keep_until));
                        let unreadable = matches!(world.ledger.record, Seen::Unknown(_));
                        prop_assert!(unreadable || end.is_none_or(|end| at <= end), "{at} is after the end");
                    }
                    Next::Never => {
                        let view = view.as_ref();
                        prop_assert!(view.is_none_or(|v| v.outcome().is_some()), "it ends without an outcome");
                        let moves = record.is_some_and(|r| matches!(r.state, State::Sent | State::Released | State::Changed));
                        let reported = world.subject.request().is_none_or(|r| record.is_none_or(|own| own.request.digest == r.digest()));
                        let shown = matches!(&world.subject, Subject::Object { status: shown, .. } if shown.is_settled());
                        prop_assert!(!moves || !reported || shown, "a record is left as it is");
                    }
                }
            }
            Decision::Read(_) => unreachable!(),
        }
    }
}
