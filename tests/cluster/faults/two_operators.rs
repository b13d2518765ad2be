//! Two operators on one site, for tests of leadership and of clocks.
use std::{path::Path, process::Command, sync::Arc};

use http::Method;
use serde_json::{Value, json};

use crate::{
    proxy::{Action, Armed, Proxy, Rule},
    support::{Operator, Site, password_reset, wait_for},
};

pub const ANNETTE: &str = "annette.c@zylker.biz";
pub const MUSTAFA: &str = "mustafa.o@zylker.biz";
const RECORDS: &str = "/apis/credreset.dev/v1alpha1/namespaces/credreset-system/credentialresetrecords";

/// A site with a Directory and a proxy before each of its two servers. Only the first operator goes through that before the
/// API server.
pub struct Two {
    pub site: Site,
    pub api: Proxy,
    pub directory: Proxy,
}

impl Two {
    pub fn new(request_timeout: &str) -> Self {
        let site = Site::start();
        let api = Proxy::before_api_server(site.kubeconfig());
        let directory = Proxy::start(&site.sandbox.url, &[]);
        let urls = json!({"accounts": directory.url, "api": directory.url, "mail": directory.url});
        let limits = json!({"resetsPerHour": 100_000, "requestTimeout": request_timeout});
        site.directory("zylker", json!({"provider": {"zoho": {"urls": urls}}, "limits": limits}));
        Self { site, api, directory }
    }

    pub fn command(&self, identity: &str, server: Option<&str>) -> Command {
        self.site.operator_command(Path::new(env!("CARGO_BIN_EXE_credreset")), identity, "trace", server)
    }

    pub fn first(&self) -> Operator {
        self.first_of(&mut self.command("first", Some(&self.api.url)))
    }

    /// Returns when it leads.
    pub fn first_of(&self, command: &mut Command) -> Operator {
        let first = self.site.run(command);
        self.site.until_leads("first");
        self.site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
        first
    }

    pub fn second(&self) -> Operator {
        self.site.run(&mut self.command("second", None))
    }

    pub fn leads(&self, identity: &str) -> Option<()> {
        self.site.leader().starts_with(&format!("{identity}/")).then_some(())
    }

    /// The first operator's record is stored, and the answer that would let it send its call waits.
    pub fn about_to_send(&self, name: &str) -> Arc<Armed> {
        let rule = Rule {
            method: Method::POST,
            path: RECORDS.to_owned(),
            about: format!(r#""name":"{name}""#),
            body_has: "",
            nth: 1,
            action: Action::HoldReply,
        };
        let held = self.api.arm(rule);
        self.site.apply(&password_reset(name, ANNETTE, json!({})));
        wait_for("the record", || held.is_hit().then_some(()));
        held
    }

    pub fn record_of(&self, name: &str) -> Value {
        let all = self.site.records();
        all.into_iter().find(|record| record["spec"]["request"]["name"] == name).expect("a record")
    }

    pub fn calls(&self, kind: &str) -> u64 {
        self.site.sandbox.count(kind)
    }
}

/// A process leads once: it logs that it has stopped, and goes on as a candidate.
pub fn steps_back(operator: &Operator) {
    wait_for("the old leader to step back", || operator.metrics().contains("credreset_leader 0").then_some(()));
    let log = operator.read_log();
    assert!(log.contains("no longer the leader"), "{log}");
    assert!(!log.contains("panic"), "{log}");
}
