//! How fast passwords are reset at LDAP servers, over the rate of a bare client that makes the operator's LDAP operations and its writes
//! to the API server.
use std::path::PathBuf;

use futures::future::BoxFuture;
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings};
use serde_json::{Value, json};

use crate::{
    api_calls::ApiCalls,
    figures::{Figure, Figures, Goal, Progress},
    ldap_proxy::LdapProxy,
    ldap_server::Server,
    load::{self, Done, run_on},
    support::merge,
};

const ROUNDS: usize = 5;
/// In each round, by operator and by bare client.
const RESETS: usize = 60;
/// As many as the operator carries out at once.
const AT_ONCE: usize = 8;

/// One directory, and what a reset is there.
pub struct Bench {
    pub name: &'static str,
    pub goal: Goal,
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
    pub fn run(&self, figures: &mut Figures) {
        let name = self.name;
        let mut progress = Progress::begin(&format!("{name}: {ROUNDS} rounds of {RESETS}, {AT_ONCE} at once"));
        // The server has a processor of its own, as it has machines of its own: what is compared is how busy it is kept.
        run_on(Some(0));
        let server = (self.start)();
        run_on(Some(1));
        let site = load::site(&[]);
        let done = Done::watch(&site);
        let mut spec = self.spec.clone();
        merge(&mut spec, json!({"limits": {"resetsPerHour": 100_000}}));
        let proxy = LdapProxy::before(&server);
        site.ldap("acme", self.kind, &server, server.value("LDAPS_URL"), spec.clone());
        site.ldap("counted", self.kind, &server, &proxy.url, spec);
        let users = |kind: &str, count: usize| {
            let names = load::names(kind, count);
            (self.add)(&server, &names);
            names
        };
        let request = |name: &String| load::password("acme", name, self.request.clone());
        let requests = |names: &[String]| names.iter().map(request).collect::<Vec<_>>();

        let model = load::password("counted", &users("model", 1)[0], self.request.clone());
        let operator = load::operator(&site, "op");
        for name in ["acme", "counted"] {
            site.until_directory(name, "Connected");
        }
        let asked = proxy.asked();
        let calls = ApiCalls::of(&site, &model).writes();
        assert_eq!(proxy.asked() - asked, self.operations, "the bare client does something else");
        assert_eq!(operator.stop(), Some(0));
        println!("  calls to the API server per reset: {calls}");
        self.bare(&server, &users("warm", RESETS), None);
        progress.report("the server is there and warm");

        let (mut rounds, mut alone) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            let directory_only = users(&format!("alone-{round}"), RESETS);
            self.bare(&server, &directory_only, None);
            let writing = users(&format!("bare-{round}"), RESETS);
            load::create(&site, requests(&writing));
            self.bare(&server, &writing, Some((&calls, site.service_account(None))));
            let names = users(&format!("op-{round}"), RESETS);
            load::carry_out(&site, &done, requests(&names));
            let rate = |names: &[String]| self.rate(&server, names);
            let (ours, bare) = (rate(&names), rate(&writing));
            alone.push(rate(&directory_only));
            progress.report(&format!(
                "round {round}: operator {ours:.1}/s, bare client {bare:.1}/s, without the API server {:.0}/s",
                alone[round - 1]
            ));
            rounds.push((ours, bare));
        }
        run_on(None);
        figures.add(Figure { name, unit: "resets/s", rounds, goal: self.goal });
    }

    /// From the server's own times.
    fn rate(&self, server: &Server, names: &[String]) -> f64 {
        let (attribute, seconds) = self.changed;
        let dns: Vec<String> = names.iter().map(|name| (self.dn)(name)).collect();
        let entries = server.entries(&dns, &[attribute]);
        load::rate(&entries.iter().map(|entry| seconds(&entry.attrs[attribute][0])).collect::<Vec<f64>>())
    }

    fn bare(&self, server: &Server, names: &[String], api: Option<(&ApiCalls, PathBuf)>) {
        load::at_once(names, AT_ONCE, async |next| {
            let settings = LdapConnSettings::new().set_config(server.tls());
            let (connection, mut ldap) =
                LdapConnAsync::with_settings(settings, server.value("LDAPS_URL")).await.unwrap();
            tokio::spawn(async move { drop(connection.drive().await) });
            let [dn, password] = ["BIND_DN", "BIND_PASSWORD"].map(|name| server.value(name));
            ldap.simple_bind(dn, password).await.unwrap().success().unwrap();
            let api = match &api {
                Some((calls, kubeconfig)) => Some((calls, load::client(kubeconfig).await)),
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
