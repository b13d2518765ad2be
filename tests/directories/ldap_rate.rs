//! How fast resets are at LDAP servers, against bare clients in the same run: one that makes the operator's LDAP operations, and
//! one that makes its calls to the API server, too.
use std::path::PathBuf;

use futures::future::BoxFuture;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings};
use serde_json::{Value, json};

use crate::{
    api_calls::ApiCalls,
    applied,
    env::{Site, merge, wait_for},
    ldap_proxy::LdapProxy,
    ldap_server::Server,
    password,
    rate::{self, RESETS, run_on},
};

/// One directory, and what a reset is there.
pub struct Bench {
    pub what: &'static str,
    pub kind: &'static str,
    pub start: fn() -> Server,
    /// Of the Directory.
    pub spec: Value,
    /// Of the requests.
    pub request: Value,
    pub add: fn(&Server, &[String]),
    pub dn: fn(&str) -> String,
    /// The attribute that says when a user was changed, and that time in seconds.
    pub changed: (&'static str, fn(&str) -> f64),
    /// The operator's operations for one user.
    pub reset: for<'a> fn(&'a mut Ldap, &'a str) -> BoxFuture<'a, ()>,
    /// How many that are.
    pub operations: usize,
}

impl Bench {
    pub fn run(&self) {
        // The server has a processor of its own, as it has machines of its own: what is compared is how busy it is kept.
        run_on(0);
        let server = (self.start)();
        run_on(1);
        let site = Site::start();
        let proxy = LdapProxy::before(&server);
        let mut suspended = self.spec.clone();
        merge(&mut suspended, json!({"suspend": true}));
        site.ldap("acme", self.kind, &server, server.value("LDAPS_URL"), suspended);
        site.ldap("counted", self.kind, &server, &proxy.url, self.spec.clone());
        let operator = rate::operator(&site);
        for name in ["acme", "counted"] {
            site.until_directory(name, "Connected");
        }
        let users = |kind: &str, count: usize| {
            let names = rate::names(kind, count);
            (self.add)(&server, &names);
            names
        };
        let warm = users("warm", 60);
        let [before, names, after, writing] =
            ["before", "operator", "after", "writing"].map(|kind| users(kind, RESETS));
        self.bare(&server, &warm, None);
        self.bare(&server, &before, None);
        rate::carry_out(&site, "acme", &names, &self.request);
        self.bare(&server, &after, None);

        // What one costs.
        (self.add)(&server, &["one".to_owned()]);
        let (asked, audited) = (proxy.asked(), site.audit().len());
        site.apply(&password("counted", "one", self.request.clone()));
        applied(&site, "one");
        let asked = proxy.asked() - asked;
        // The Event is the last thing that is written.
        let calls = wait_for("the Event", || ApiCalls::of(&site, "one", site.audit().split_off(audited)));
        assert_eq!(operator.stop(), Some(0));
        ApiCalls::make_room(&site, &writing);
        self.bare(&server, &writing, Some((&calls, site.service_account(None))));

        let (attribute, seconds) = self.changed;
        let rate = |names: &[String]| {
            let dns: Vec<String> = names.iter().map(|name| (self.dn)(name)).collect();
            let entries = server.entries(&dns, &[attribute]);
            rate::rate(&entries.iter().map(|entry| seconds(&entry.attrs[attribute][0])).collect::<Vec<f64>>())
        };
        let [before, ours, after, writing] = [&before, &names, &after, &writing].map(|names| rate(names));
        let (what, bare) = (self.what, f64::midpoint(before, after));
        rate::report(&[
            json!({"name": format!("resets on {what}, of a bare client's rate"), "value": ours, "limit": bare, "ratio": ours / bare, "unit": "resets/s"}),
            json!({"name": format!("resets on {what}, of the rate of a bare client that writes to the API server, too"), "value": ours, "limit": writing, "ratio": ours / writing, "unit": "resets/s"}),
            json!({"name": format!("operations on {what} per password reset"), "value": asked, "limit": self.operations, "unit": "operations"}),
            json!({"name": format!("calls to the API server per password reset on {what}"), "value": calls.len(), "unit": "calls"}),
        ]);
        println!("bare before {before:.1}, after {after:.1}, writing {writing:.1}; API calls: {calls}");
        assert_eq!(asked, self.operations, "the bare client does something else");
    }

    fn bare(&self, server: &Server, names: &[String], api: Option<(&ApiCalls, PathBuf)>) {
        rate::at_once(names, async |next| {
            let settings = LdapConnSettings::new().set_config(server.tls());
            let (connection, mut ldap) =
                LdapConnAsync::with_settings(settings, server.value("LDAPS_URL")).await.unwrap();
            tokio::spawn(async move { drop(connection.drive().await) });
            let [dn, password] = ["BIND_DN", "BIND_PASSWORD"].map(|name| server.value(name));
            ldap.simple_bind(dn, password).await.unwrap().success().unwrap();
            let api = match &api {
                Some((calls, kubeconfig)) => Some((calls, ApiCalls::client(kubeconfig).await)),
                None => None,
            };
            while let Some(name) = next() {
                if let Some((calls, client)) = &api {
                    calls.make(client, name).await;
                }
                (self.reset)(&mut ldap, name).await;
            }
        });
    }
}
