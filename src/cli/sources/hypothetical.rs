//! Decisions on requests that do not exist, for `check` and `try`.
use std::{collections::BTreeMap, convert::Infallible};

use jiff::{SignedDuration, Timestamp};

use crate::core::{
    Decision, Request, World,
    approvals::Approval,
    decide,
    directory::DirectoryFacts,
    driver::{Reader, read},
    finding::Finding,
    record::{Record, Settlement},
    request::{Action, UserRef},
    seen::Seen,
    user::LookUp,
    view::StatusSummary,
    world::{Delivery, Process, Subject, SuppliedPassword},
};

/// The facts for a request that does not exist: a ledger without records, and a user that was looked up before.
pub struct Hypothetical<'a> {
    pub facts: &'a DirectoryFacts,
    pub user: &'a Seen<LookUp>,
    /// Labels of the request's namespace.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

impl Hypothetical<'_> {
    /// The decision on a request for `action` made at `now` in `namespace`, and the world that it was made on.
    pub async fn decide(mut self, by: &UserRef, action: Action, namespace: &str, now: Timestamp) -> (World, Decision) {
        let request = Request {
            namespace: namespace.to_owned(),
            name: "check".to_owned(),
            uid: String::new(),
            created: now,
            restored: false,
            directory: self.facts.name.clone(),
            user: by.clone(),
            action,
            requested_at: now,
            valid_for: SignedDuration::from_mins(1),
            reason: String::new(),
            requested_by: Some("check".to_owned()),
            filed_by: None,
        };
        let subject = Subject::Object { request: Box::new(request), status: StatusSummary::default() };
        let mut world = World::new(now, Process { holder: "check".to_owned(), attempt: "check".to_owned() }, subject);
        let mut decision = decide(&world);
        while let Decision::Read(fact) = decision
            && read(&mut world, fact, &mut self).await.is_ok()
        {
            decision = decide(&world);
        }
        (world, decision)
    }
}

impl Reader for Hypothetical<'_> {
    type Error = Infallible;

    async fn record_by_key(&mut self, _: &Request) -> Result<Option<Record>, Infallible> {
        Ok(None)
    }

    async fn record_by_name(&mut self, _: &str) -> Result<Option<Record>, Infallible> {
        Ok(None)
    }

    async fn directory(&mut self, _: &str, _: bool) -> Seen<DirectoryFacts> {
        Seen::Known(self.facts.clone())
    }

    async fn namespace_labels(&mut self, _: &str) -> Seen<BTreeMap<String, String>> {
        self.labels.map_or(Seen::Absent, |labels| Seen::Known(labels.clone()))
    }

    async fn user(&mut self, _: &Request) -> Seen<LookUp> {
        self.user.clone()
    }

    async fn supplied_password(&mut self, _: &str, _: &str, _: &str) -> Seen<SuppliedPassword> {
        Seen::Known(SuppliedPassword::Usable)
    }

    async fn delivery(&mut self, _: &Request, _: &str) -> (Seen<Delivery>, Option<Timestamp>) {
        (Seen::Absent, None)
    }

    async fn approvals(&mut self, _: &Request) -> Seen<Vec<Approval>> {
        Seen::Absent
    }

    async fn finding(&mut self, _: &Record) -> Seen<Finding> {
        Seen::Absent
    }

    async fn superseded(&mut self, _: &Record) -> Seen<bool> {
        Seen::Absent
    }

    async fn settlements(&mut self, _: &Record) -> Seen<Vec<Settlement>> {
        Seen::Absent
    }
}
