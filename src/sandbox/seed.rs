//! The organization that the sandbox starts with. Ids never change, so that tests and manifests can name them.
use super::user::{Account, Group, Person, Role, Secret, Status, UserType};

/// Name of the organization.
pub const ORGANIZATION_NAME: &str = "Zylker";
/// Organization id of Zoho Directory.
pub const ORGANIZATION: &str = "700012345";
/// Organization id of Zoho Mail.
pub const ZOID: &str = "800012345";
/// The OAuth client that may ask for tokens.
pub const CLIENT_ID: &str = "1000.SANDBOX";
/// Its secret, which is public: this server holds nothing of value.
pub const CLIENT_SECRET: &str = "sandbox-client-secret";
/// The refresh token of the administrator Erika Sund.
pub const REFRESH_TOKEN: &str = "1000.sandbox-refresh-token";
/// The password that confirms a reset where a call asks for it.
pub const ADMIN_PASSWORD: &str = "Sandbox-admin-pw-1";

/// Default scopes of a token: all that any call needs.
pub const SCOPES: [&str; 5] = [
    "ZohoDirectory.Users.READ",
    "ZohoDirectory.Users.UPDATE",
    "ZohoDirectory.Groups.READ",
    "ZohoMail.organization.accounts.READ",
    "ZohoMail.organization.accounts.UPDATE",
];

/// When the seed's passwords were set, in milliseconds since the epoch: 2025-11-24.
const LONG_AGO: i64 = 1_763_978_400_000;

/// The initial password follows from the first name.
pub(super) fn account(user: Person) -> Account {
    let password = Secret::new(format!("{}-old-1", user.first_name));
    Account { user, password }
}

/// The users of a new sandbox.
pub(super) fn accounts() -> Vec<Account> {
    people()
        .into_iter()
        .map(|mut user| {
            if user.user_type != UserType::Pending {
                user.password_changed_time = Some(LONG_AGO);
                user.mfa_changed_time = user.mfa_enabled.then_some(LONG_AGO);
            }
            account(user)
        })
        .collect()
}

/// Ordinary users beyond the seed, numbered from 1.
pub(super) fn crowd(count: usize) -> impl Iterator<Item = Account> {
    (1..=count).map(|number| {
        let id = 710_000_000 + u64::try_from(number).unwrap_or(u64::MAX);
        let mut user =
            Person::member(id, &format!("User{number:04}"), "Zylker", &format!("user{number:04}@zylker.biz"));
        user.password_changed_time = Some(LONG_AGO);
        user.mfa_changed_time = Some(LONG_AGO);
        account(user)
    })
}

fn people() -> Vec<Person> {
    let member = Person::member;
    vec![
        Person {
            display_name: "Manager".into(),
            factors: vec!["authenticator app".into(), "security key".into()],
            mobile_sessions: 1,
            api_tokens: 1,
            ..member(700_012_399, "Annette", "Charbonneau", "annette.c@zylker.biz")
        },
        Person {
            user_type: UserType::Pending,
            display_name: "Trainee".into(),
            mfa_enabled: false,
            factors: Vec::new(),
            web_sessions: 0,
            ..member(700_012_301, "Bruno", "Keller", "bruno.k@zylker.biz")
        },
        Person {
            user_type: UserType::External,
            display_name: "Consultant".into(),
            ..member(700_012_302, "Carla", "Ortiz", "carla.o@zylker.biz")
        },
        Person {
            user_status: Status::Inactive,
            display_name: "Accountant".into(),
            department: "Finance".into(),
            web_sessions: 0,
            ..member(700_012_303, "Daniel", "Frost", "daniel.f@zylker.biz")
        },
        Person {
            role: Some(Role::SuperAdmin),
            display_name: "Administrator".into(),
            department: "IT".into(),
            ..member(700_012_304, "Erika", "Sund", "erika.s@zylker.biz")
        },
        Person {
            role: Some(Role::Admin),
            display_name: "Help desk lead".into(),
            department: "IT".into(),
            ..member(700_012_305, "Femi", "Adeyemi", "femi.a@zylker.biz")
        },
        Person {
            display_name: "CEO".into(),
            department: "Board".into(),
            groups: vec![Group::staff(), Group::board()],
            ..member(700_012_306, "Grace", "Lindqvist", "ceo@zylker.biz")
        },
        Person {
            mfa_enabled: false,
            factors: Vec::new(),
            ..member(700_012_307, "Hiro", "Tanaka", "hiro.t@zylker.biz")
        },
        Person { is_federated: Some(true), ..member(700_012_308, "Ines", "Marques", "ines.m@zylker.biz") },
        // The next two share an address, which therefore identifies neither.
        with_address("support@zylker.biz", member(700_012_309, "Jan", "Novak", "jan.n@zylker.biz")),
        with_address("support@zylker.biz", member(700_012_310, "Kim", "Lee", "kim.l@zylker.biz")),
        Person {
            emails: Vec::new(),
            user_name: Some("lager-terminal".into()),
            display_name: "Shared terminal".into(),
            department: "Warehouse".into(),
            ..member(700_012_311, "Lager", "Terminal", "")
        },
        Person { department: "Warehouse".into(), ..member(700_012_312, "Mustafa", "Öztürk", "mustafa.o@zylker.biz") },
        Person {
            role: None,
            display_name: "Intern".into(),
            ..member(700_012_313, "Nora", "Vogel", "nora.v@zylker.biz")
        },
        Person { groups: Vec::new(), ..member(700_012_314, "Olga", "Petrova", "olga@partner.example") },
        Person { department: "海外営業".into(), ..member(700_012_315, "美咲", "田中", "misaki.t@zylker.biz") },
        // The look-up does not show whether this user is federated.
        Person {
            is_federated: None,
            user_name: Some("pat.q".into()),
            locked: true,
            ..member(700_012_316, "Pat", "Quinn", "pat.q@zylker.biz")
        },
    ]
}

fn with_address(address: &str, mut user: Person) -> Person {
    user.emails.push(address.to_owned());
    user
}
