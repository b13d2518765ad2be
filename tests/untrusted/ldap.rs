//! An LDAP server that sends groups without end, or answers that are too large, too deep or not LDAP.
use std::{
    io::Write,
    net::{TcpListener, TcpStream},
    thread,
};

use credreset::{
    api::Directory,
    core::{
        request::{Mode, UserRef},
        seen::Seen,
        user::LookUp,
    },
    directory::Provider,
};
use secrecy::SecretString;
use serde_json::json;

use super::{
    directory,
    support::{
        ber::{BOUND, FOUND, done, element, entry, id, message, nested, read},
        merge,
    },
};

/// A Directory at an LDAP server of this test's own, which lets everybody in, shows a root DSE without attributes, and answers each
/// search as `answer` says of its number and its id.
fn server(answer: impl Fn(usize, u8) -> Vec<u8> + Send + 'static) -> Provider {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        let serve = |mut stream: TcpStream| -> Option<()> {
            let bind = id(&read(&mut stream)?);
            stream.write_all(&message(bind, &done(BOUND))).ok()?;
            let root = id(&read(&mut stream)?);
            stream.write_all(&[message(root, &entry("", &[])), message(root, &done(FOUND))].concat()).ok()?;
            for number in 0.. {
                let search = id(&read(&mut stream)?);
                stream.write_all(&answer(number, search)).ok()?;
            }
            None
        };
        for stream in listener.incoming().flatten() {
            let _ = serve(stream);
        }
    });
    let mut object = directory();
    object["spec"]["provider"] = json!({"openLDAP": {
        "urls": [url], "baseDN": "dc=acme", "hash": "SSHA", "credentials": {"secret": "acme-ldap"},
    }});
    let groups = json!({"administrators": false, "users": [], "groups": ["cn=board,dc=acme"]});
    merge(&mut object, json!({"spec": {"protect": groups, "limits": {"requestTimeout": "30s"}}}));
    let credentials = ["bind-dn", "bind-password"].map(|key| (key.to_owned(), SecretString::from("x")));
    Provider::connect(&serde_json::from_value::<Directory>(object).unwrap().spec, &credentials.into()).unwrap()
}

async fn look_up(provider: &Provider) -> Result<Option<LookUp>, String> {
    provider.look_up(&UserRef::Username("ann".to_owned()), Mode::Password).await.map_err(|why| why.message)
}

fn ann(id: u8) -> Vec<u8> {
    let attributes = [
        ("objectClass", vec!["inetOrgPerson"]),
        ("entryUUID", vec!["00000000-0000-0000-0000-000000000007"]),
        ("uid", vec!["ann"]),
        ("entryCSN", vec!["20261124090000.000000Z#000000#000#000000"]),
    ];
    [message(id, &entry("uid=ann,dc=acme", &attributes)), message(id, &done(FOUND))].concat()
}

/// Each search shows groups that are members of the last ones'.
fn groups(id: u8, names: impl Iterator<Item = usize>) -> Vec<u8> {
    let groups = names.flat_map(|name| message(id, &entry(&format!("cn=g{name},dc=acme"), &[])));
    groups.chain(message(id, &done(FOUND))).collect()
}

#[tokio::test]
async fn groups_that_end_and_groups_without_end() {
    let ending = server(|number, id| match number {
        0 => ann(id),
        // The operator's own account.
        1 => message(id, &done(FOUND)),
        2..21 => groups(id, (number * 100..).take(100)),
        // The last of them is the first again; and is what the Directory calls cn=board.
        _ => groups(id, 200..201),
    });
    let Ok(Some(LookUp::One(user))) = look_up(&ending).await else { panic!("ann") };
    assert_eq!(user.groups, Seen::Known(vec!["cn=board,dc=acme".to_owned()]));

    let endless = server(|number, id| if number == 0 { ann(id) } else { groups(id, (number * 1000..).take(1000)) });
    let msg = look_up(&endless).await.unwrap_err();
    assert_eq!(msg, "the directory shows the user in more than 10000 groups.");
}

/// Answers that end a connection, and only that: the next search goes on a new one.
#[tokio::test]
async fn ldap_answers_that_are_too_much() {
    for (answer, expected) in [
        (nested(100_000), "nested deeper than 32 levels"),
        (vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], "larger than 2 MiB"),
        (message(3, &element(0x64, &[0x04, 0].repeat(200_000))), "of more than 100000 elements"),
        (b"HTTP/1.1 200 OK".to_vec(), "not an LDAP message"),
    ] {
        let provider = server(move |_, _| answer.clone());
        for _ in 0..2 {
            let msg = look_up(&provider).await.unwrap_err();
            assert!(msg.contains(expected), "{msg}");
        }
    }
}
