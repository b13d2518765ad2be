//! How many calls a look-up by the operator's provider takes.
use credreset::{
    api::directory::DirectorySpec,
    core::{Mode, request::UserRef, user::LookUp},
    directory::{Credentials, Provider},
    sandbox::{CLIENT_ID, CLIENT_SECRET, ORGANIZATION, Options, REFRESH_TOKEN, ZOID},
};
use secrecy::SecretString;
use serde_json::json;

use crate::harness::Sandbox;

/// Looks each of them up, and compares how many are found, in how many pages of the list, and with how many looks at an account.
async fn look_up(users: usize, all: &[(UserRef, usize, [u64; 2])]) {
    let sandbox = Sandbox::start(Options { users, ..Options::default() }).await;
    let url = &sandbox.url;
    let zoho = json!({
        "urls": {"accounts": url, "api": url, "mail": url}, "organization": ORGANIZATION, "zoid": ZOID,
        "credentials": {"secret": "zylker-zoho"},
    });
    let spec: DirectorySpec = serde_json::from_value(json!({"provider": {"zoho": zoho}})).unwrap();
    let keys = [("client-id", CLIENT_ID), ("client-secret", CLIENT_SECRET), ("refresh-token", REFRESH_TOKEN)];
    let credentials: Credentials = keys.map(|(key, value)| (key.to_owned(), SecretString::from(value))).into();
    let provider = Provider::connect(&spec, &credentials).unwrap();
    let mut before = [0, 0];
    for (user, found, cost) in all {
        let seen = match provider.look_up(user, Mode::Password).await.unwrap() {
            None => 0,
            Some(LookUp::One(_)) => 1,
            Some(LookUp::Several(n)) => n,
        };
        let counts = sandbox.show("/counts").await;
        let now = ["look-up", "role"].map(|call| counts[call].as_u64().unwrap());
        let calls = [now[0] - before[0], now[1] - before[1]];
        assert_eq!((seen, calls), (*found, *cost), "{user:?}");
        before = now;
    }
}

fn email(address: &str) -> UserRef {
    UserRef::Email(address.to_owned())
}

/// Each page of the list has 200 users, the first one 17 others before these. After many pages the role is read anew.
#[tokio::test]
async fn calls_among_ten_thousand_users() {
    let (first, middle, last) = ("user0001@zylker.biz", "User5000@zylker.biz", "user10000@zylker.biz");
    look_up(10_000, &[(email(first), 1, [1, 1]), (email(middle), 1, [26, 2]), (email(last), 1, [51, 2])]).await;
}

/// Where no account shows whose a name is, the list is read to its end; two who have one address end it.
#[tokio::test]
async fn calls_for_names_that_no_account_tells() {
    let login = UserRef::Username("lager-terminal".to_owned());
    let stranger = (email("nobody@zylker.biz"), 0, [3, 1]);
    let twins = (email("support@zylker.biz"), 2, [1, 1]);
    look_up(400, &[stranger, twins, (login, 1, [3, 1]), (UserRef::Id("710000300".to_owned()), 1, [2, 1])]).await;
}
