//! Directories and mail servers that answer with too much: too deeply nested, without end, or never completely. Each Directory says so, the
//! operator stays within the chart's memory, and requests in other Directories go on.
use std::{io::Write, net::TcpStream, thread, time::Duration};

use serde_json::{Value, json};

use crate::{
    ber::{BOUND, FOUND, done, element, entry, id, message, nested, read},
    support::tcp::server,
    support::{ANNETTE, SYSTEM, Site, http_get, password_reset, wait_for},
};

/// `limits.memory` of the chart.
const MEMORY: u64 = 256 << 20;

/// A server that answers a request of each connection, beside the others.
fn answering(answer: impl Fn(&mut TcpStream, &[u8]) -> Option<()> + Clone + Send + 'static) -> String {
    server(move |mut stream| {
        let answer = answer.clone();
        thread::spawn(move || {
            let request = read(&mut stream)?;
            answer(&mut stream, &request)
        });
    })
}

/// Until the client has enough.
fn endless(stream: &mut TcpStream, piece: &[u8]) -> Option<()> {
    let many = piece.repeat((64 << 10) / piece.len() + 1);
    while stream.write_all(&many).is_ok() {}
    None
}

fn one_byte_a_second(stream: &mut TcpStream, bytes: &[u8]) -> Option<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).ok()?;
        thread::sleep(Duration::from_secs(1));
    }
    None
}

/// Says nothing more until the client goes.
fn silent(stream: &mut TcpStream) -> Option<()> {
    while read(stream).is_some() {}
    None
}

/// Lets the client in, shows it a root DSE without attributes, and answers its next search.
fn searched(answer: fn(&mut TcpStream, u8) -> Option<()>) -> String {
    answering(move |stream, bind| {
        stream.write_all(&message(id(bind), &done(BOUND))).ok()?;
        let root = id(&read(stream)?);
        stream.write_all(&[message(root, &entry("", &[])), message(root, &done(FOUND))].concat()).ok()?;
        let search = id(&read(stream)?);
        answer(stream, search)
    })
}

fn ldap(name: &str, address: &str) -> [Value; 2] {
    let provider = json!({
        "urls": [format!("ldap://{address}")], "baseDN": "dc=acme", "hash": "SSHA", "credentials": {"secret": format!("{name}-ldap")},
    });
    let spec = json!({
        "provider": {"openLDAP": provider}, "limits": {"requestTimeout": "10s"}, "protect": {"administrators": false},
        "allow": [{"name": "all", "namespaces": ["helpdesk"], "modes": ["Password"], "users": {"everyone": true}}],
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{name}-ldap"), "namespace": SYSTEM},
        "stringData": {"bind-dn": "cn=operator", "bind-password": "Endless-secret-1"},
    });
    [
        json!({"apiVersion": "credreset.dev/v1alpha1", "kind": "Directory", "metadata": {"name": name}, "spec": spec}),
        secret,
    ]
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

fn http(rest: &'static str, body: fn(&mut TcpStream) -> Option<()>) -> String {
    answering(move |stream, _| {
        stream.write_all(&[HEAD, rest.as_bytes()].concat()).ok()?;
        body(stream)
    })
}

#[test]
fn answers_that_are_too_much() {
    let site = Site::start();
    site.usual_directory();
    let silence = "no connection could be made";
    let ldaps = [
        ("ldap-nested", answering(|stream, _| stream.write_all(&nested(100_000)).ok()), "nested deeper than 32 levels"),
        (
            "ldap-two-gigabytes",
            answering(|stream, _| {
                stream.write_all(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]).ok()?;
                endless(stream, &[0])
            }),
            "larger than 2 MiB",
        ),
        (
            "ldap-entries",
            searched(|stream, id| endless(stream, &message(id, &entry("cn=one,dc=acme", &[("a", vec![""; 100])])))),
            "of more than 100000 elements",
        ),
        (
            "ldap-values",
            searched(|stream, id| {
                stream.write_all(&message(id, &entry("cn=one,dc=acme", &[("a", vec![""; 300_000])]))).ok()
            }),
            "of more than 100000 elements",
        ),
        (
            "ldap-search-nested",
            searched(|stream, id| {
                stream.write_all(&element(0x30, &[&[0x02, 1, id], &nested(100_000)[..]].concat())).ok()
            }),
            "nested deeper than 32 levels",
        ),
        ("ldap-drips", answering(|stream, _| one_byte_a_second(stream, &message(1, &done(BOUND)))), silence),
        (
            "ldap-half",
            answering(|stream, _| {
                stream.write_all(&message(1, &done(BOUND))[..8]).ok()?;
                silent(stream)
            }),
            silence,
        ),
        ("ldap-is-http", http("\r\n", silent), "not an LDAP message"),
    ];
    let broken = "the connection broke or no answer came in time";
    let https = [
        (
            "http-nested",
            http("Connection: close\r\n\r\n", |s| s.write_all(&b"[".repeat(100_000)).ok()),
            "more than 40000 values",
        ),
        ("http-two-gigabytes", http("Content-Length: 2147483647\r\n\r\n", |s| endless(s, b" ")), "larger than 8 MiB"),
        ("http-endless", http("Connection: close\r\n\r\n", |s| endless(s, b" ")), "larger than 8 MiB"),
        (
            "http-values",
            http("Connection: close\r\n\r\n[", |s| s.write_all(&br#"{"":0},"#.repeat(1_000_000)).ok()),
            "more than 40000 values",
        ),
        ("http-headers", http("", |s| endless(s, b"X-Again: again\r\n")), broken),
        ("http-drips", http("Content-Length: 99\r\n\r\n", |s| one_byte_a_second(s, &[b' '; 99])), broken),
        ("http-half", http("Content-Length: 99\r\n\r\n{", silent), broken),
    ];
    let operator = site.operator();
    site.apply_own(ldaps.iter().flat_map(|(name, address, _)| ldap(name, address)).collect());
    for (name, address, _) in &https {
        let urls = json!({"api": format!("http://{address}")});
        site.directory(name, json!({"provider": {"zoho": {"urls": urls}}, "limits": {"requestTimeout": "10s"}}));
    }
    let greets = server(|mut stream| drop(thread::spawn(move || endless(&mut stream, b"220 "))));
    site.directory(
        "mail-endless",
        json!({"mail": {"smtp": {"url": format!("smtp://{greets}"), "from": "a@zylker.biz"}}}),
    );

    for (name, _, expected) in ldaps.iter().chain(&https) {
        // A machine that is busy may be too late for a server that answers at once: it is asked again.
        wait_for(&format!("{name}: {expected}"), || {
            site.until_directory(name, "Unreachable").contains(expected).then_some(())
        });
    }
    let msg = wait_for("the message about the mail server", || {
        Some(site.until_directory("mail-endless", "Connected")).filter(|msg| msg.contains("no mail can be sent"))
    });
    assert!(msg.contains("the mail server sent more than 256 KiB"), "{msg}");

    // Others go on, while these are asked again and again.
    site.apply(&password_reset("annette", "annette.c@zylker.biz", json!({})));
    site.until("annette", "Applied");
    assert_eq!(site.sandbox.user(ANNETTE)["passwordResets"], 1);
    assert_eq!(http_get(&operator.url, "/livez"), (200, "ok".to_owned()));
    let most = operator.peak();
    assert!(most < MEMORY, "{} MiB", most >> 20);
    println!("at most {} MiB of memory", most >> 20);
    assert!(!operator.read_log().contains("panic"), "a panic");
}
