//! The organization that the sandbox starts with. Ids never change, so that tests and manifests can name them.
use super::user::{Account, Address, Group, Kind, Person, Role, Secret, Status};

/// Name of the organization.
pub const ORGANIZATION_NAME: &str = "Zylker";
/// Organization id of Zoho Directory.
pub const ORGANIZATION: &str = "700012345";
/// Organization id of Zoho Mail.
pub const ZOID: &str = "800012345";
/// The OAuth client that may ask for tokens.
pub const CLIENT_ID: &str = "1000.SANDBOX";
/// Its secret; no secret to anybody, since this server holds nothing of worth.
pub const CLIENT_SECRET: &str = "sandbox-client-secret";
/// The refresh token of the administrator Priya Raman.
pub const REFRESH_TOKEN: &str = "1000.sandbox-refresh-token";
/// The password that confirms a reset where a call asks for it.
pub const ADMIN_PASSWORD: &str = "Sandbox-admin-pw-1";

/// Scopes that a token gets unless the sandbox is told otherwise: all that any call needs.
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
            if user.user_type != Kind::Pending {
                user.password_changed_time = Some(LONG_AGO);
                user.mfa_changed_time = user.tfa_enabled.then_some(LONG_AGO);
            }
            account(user)
        })
        .collect()
}

/// Ordinary users beyond the seed, numbered from 1.
pub(super) fn crowd(count: usize) -> impl Iterator<Item = Account> {
    (1..=count).map(|number| {
        let id = 700_100_000 + u64::try_from(number).unwrap_or(u64::MAX);
        let mut user =
            Person::member(id, &format!("User{number:04}"), "Zylker", &format!("user{number:04}@zylker.biz"));
        user.password_changed_time = Some(LONG_AGO);
        user.mfa_changed_time = Some(LONG_AGO);
        account(user)
    })
}

fn people() -> Vec<Person> {
    let member = Person::member;
    let annette = Person {
        display_name: "Manager".into(),
        factors: vec!["authenticator app".into(), "security key".into()],
        mobile_sessions: 1,
        api_tokens: 1,
        ..member(700_012_399, "Annette", "Charbonneau", "annette.c@zylker.biz")
    };
    vec![
        annette,
        Person {
            user_type: Kind::Pending,
            display_name: "Trainee".into(),
            tfa_enabled: false,
            factors: Vec::new(),
            web_sessions: 0,
            ..member(700_012_400, "Ravi", "Menon", "ravi.m@zylker.biz")
        },
        Person {
            user_type: Kind::External,
            display_name: "Auditor".into(),
            department: "Finance".into(),
            groups: Vec::new(),
            ..member(700_012_401, "Erin", "Walsh", "erin@auditors.example")
        },
        Person {
            user_status: Status::Inactive,
            display_name: "Clerk".into(),
            web_sessions: 0,
            ..member(700_012_402, "Hans", "Vogel", "hans.v@zylker.biz")
        },
        Person {
            role: Role::SuperAdmin,
            display_name: "Head of IT".into(),
            department: "IT".into(),
            ..member(700_012_403, "Priya", "Raman", "priya.r@zylker.biz")
        },
        Person {
            role: Role::Admin,
            display_name: "Administrator".into(),
            department: "IT".into(),
            ..member(700_012_404, "Marcus", "Bell", "marcus.b@zylker.biz")
        },
        Person {
            display_name: "Chief Executive".into(),
            department: "Management".into(),
            groups: vec![Group::staff(), Group::board()],
            ..member(700_012_405, "Chloe", "Zylker", "ceo@zylker.biz")
        },
        Person {
            tfa_enabled: false,
            factors: Vec::new(),
            ..member(700_012_406, "Olga", "Petrova", "olga.p@zylker.biz")
        },
        Person { is_federated: Some(true), ..member(700_012_407, "Femi", "Adeyemi", "femi.a@zylker.biz") },
        // The next two share an address, which therefore names nobody.
        with_address("front.desk@zylker.biz", member(700_012_408, "Sara", "Lind", "sara.l@zylker.biz")),
        with_address("front.desk@zylker.biz", member(700_012_409, "Tom", "Okafor", "tom.o@zylker.biz")),
        Person {
            primary_email: None,
            emails: Vec::new(),
            user_name: Some("forklift-7".into()),
            display_name: "Warehouse".into(),
            department: "Logistics".into(),
            ..member(700_012_410, "Forklift", "Seven", "")
        },
        Person {
            display_name: "Développeuse".into(),
            department: "IT".into(),
            ..member(700_012_411, "Zoë", "Müller-Ångström", "zoe.m@zylker.biz")
        },
        Person { department: "海外営業".into(), ..member(700_012_412, "美咲", "田中", "misaki.t@zylker.biz") },
        Person {
            is_federated: None,
            user_name: Some("lee.k".into()),
            locked: true,
            ..member(700_012_413, "Lee", "Kim", "lee.k@zylker.biz")
        },
    ]
}

fn with_address(address: &str, mut user: Person) -> Person {
    user.emails.push(Address { email_id: address.to_owned(), is_primary: false, is_verified: true });
    user
}
