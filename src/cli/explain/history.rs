//! The timeline of a request: from its object, its approvals, its record and its Events, as far as the caller may read them.
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::{Api, Client, ResourceExt, api::ListParams};

use crate::{
    api::{CredentialReset, CredentialResetApproval, CredentialResetRecord, reset::CredentialResetStatus},
    core::{
        Mode, Outcome, Reason, Request,
        record::{Evidence, State},
        request::{Action, later},
    },
};

/// The events of a request.
pub(super) struct History {
    record: Option<CredentialResetRecord>,
    /// Times and texts; also the deadline, which may be to come.
    events: Vec<(Timestamp, String)>,
    /// What is not shown, and what the caller would have to read for it.
    not_shown: Vec<&'static str>,
}

impl History {
    pub(super) async fn read(
        client: &Client,
        object: &CredentialReset,
        request: &Request,
        operator_namespace: &str,
    ) -> Self {
        let mut history = Self { record: None, events: Vec::new(), not_shown: Vec::new() };
        let by = match (&request.requested_by, &request.filed_by) {
            (Some(by), _) => format!(" by {by}"),
            (None, Some(by)) => format!(", filed by {by}"),
            (None, None) => String::new(),
        };
        history.at(request.requested_at, format!("requested{by}"));
        history.at(request.created, "the request reached the cluster");
        let for_request = ListParams::default().fields(&format!("spec.request={}", request.name));
        let approvals: Api<CredentialResetApproval> = Api::namespaced(client.clone(), &request.namespace);
        match approvals.list(&for_request).await {
            Ok(all) => {
                for approval in all.items {
                    let (name, approver) = (approval.name_any(), &approval.spec.approver);
                    let withdrawn = if approval.spec.withdrawn { ", withdrawn since" } else { "" };
                    let at = approval.creation_timestamp().map_or(request.created, |at| at.0);
                    history.at(at, format!("approved by {approver} ({name}){withdrawn}"));
                }
            }
            Err(_) => history.not_shown.push("who has approved: you may not read approvals"),
        }
        if let Some(status) = &object.status
            && let Some(id) = &status.record
        {
            let records: Api<CredentialResetRecord> = Api::namespaced(client.clone(), operator_namespace);
            match records.get_opt(id).await {
                Ok(Some(record)) => history.add_record(record),
                Ok(None) => history.add_status(object, status),
                Err(_) => {
                    history.add_status(object, status);
                    history.not_shown.push("details of the call: you may not read the operator's records");
                }
            }
        }
        history.add_expiry(object, request);
        history.add_events(client, object, request).await;
        let now = Timestamp::now();
        let open = object.status_summary().outcome.is_none();
        if open && request.deadline() > now {
            history.at(request.deadline(), "deadline: the operator does not start the reset after this");
        }
        history.events.sort_by_key(|(at, _)| *at);
        history
    }

    /// The record, if there is one and the caller may read it.
    pub(super) fn record(&self) -> Option<&CredentialResetRecord> {
        self.record.as_ref()
    }

    fn at(&mut self, at: Timestamp, what: impl Into<String>) {
        self.events.push((at, what.into()));
    }

    fn add_record(&mut self, record: CredentialResetRecord) {
        let spec = &record.spec;
        let attempt = &spec.attempt;
        let approved = if attempt.approved_by.is_empty() {
            String::new()
        } else {
            format!(", approved by {}", attempt.approved_by.join(", "))
        };
        let call = match Mode::from(spec.mode) {
            Mode::Password => "set the password",
            Mode::MFA => "reset MFA",
        };
        let number = if attempt.number == 1 { "first try".to_owned() } else { format!("try {}", attempt.number) };
        let begins = format!("{number}: the operator ({}) asks the directory to {call}{approved}", attempt.holder);
        self.at(attempt.started_at, begins);
        if let Some(at) = spec.gave_up_at {
            self.at(at, "the operator gave up waiting for the directory's answer");
        }
        let why = spec.refusal.as_ref().map(|refusal| refusal.reason);
        let outcome = match spec.state {
            State::Applied | State::Changed => Some(Outcome::Applied),
            State::NotApplied => Some(Outcome::NotApplied),
            State::Unknown => Some(Outcome::Unknown),
            State::Superseded => Some(Outcome::Superseded),
            State::Sent | State::Released => None,
        };
        match (spec.settled_at, outcome) {
            (Some(at), Some(outcome)) => {
                self.at(at, ended(outcome, spec.evidence, spec.settled_by.as_deref(), why));
            }
            (None, None) if spec.state == State::Released => {
                let why = why.map_or_else(String::new, |why| format!(" ({})", why.words()));
                self.at(
                    spec.retry_at.unwrap_or(attempt.started_at),
                    format!("the call had no effect{why}; the operator may try again from here on"),
                );
            }
            _ => {}
        }
        self.record = Some(record);
    }

    /// What the status says of the record.
    fn add_status(&mut self, object: &CredentialReset, status: &CredentialResetStatus) {
        if let Some(at) = &status.start_time {
            self.at(at.0, "the operator asks the directory for the reset");
        }
        if let (Some(at), Some(outcome)) = (&status.completion_time, status.outcome) {
            self.at(at.0, ended(outcome, status.evidence, None, object.status_summary().reason));
        }
    }

    /// When the Secret with the password is deleted.
    fn add_expiry(&mut self, object: &CredentialReset, request: &Request) {
        let Action::Password { deliver_to: Some(secret), expires_after: Some(stay), .. } = &request.action else {
            return;
        };
        if let Some(CredentialResetStatus { outcome: Some(Outcome::Applied), completion_time: Some(at), .. }) =
            &object.status
        {
            let what =
                format!("the operator deletes Secret {}/{secret}, then or within the hour after", request.namespace);
            self.at(later(at.0, *stay), what);
        }
    }

    async fn add_events(&mut self, client: &Client, object: &CredentialReset, request: &Request) {
        let events: Api<Event> = Api::namespaced(client.clone(), &request.namespace);
        let of_name = ListParams::default().fields(&format!("regarding.name={}", request.name));
        let Ok(all) = events.list(&of_name).await else {
            self.not_shown.push("what its status was before: you may not read Events");
            return;
        };
        for event in all.items {
            if event.regarding.as_ref().and_then(|regarding| regarding.uid.clone()) != object.uid() {
                continue;
            }
            let at = event.event_time.map(|at| at.0).or_else(|| event.metadata.creation_timestamp.map(|at| at.0));
            let name = event.reason.unwrap_or_default();
            let reason = Reason::ALL.into_iter().find(|reason| reason.to_string() == name);
            let words = reason.map_or(name, Reason::words);
            self.at(at.unwrap_or(request.created), format!("its status became: {words}"));
        }
    }

    /// What is not shown, and what the caller would have to read for it.
    pub(super) fn not_shown(&self) -> impl Iterator<Item = &'static str> {
        self.not_shown.iter().copied()
    }

    /// The events, in order.
    pub(super) fn into_events(self) -> impl Iterator<Item = (Timestamp, String)> {
        self.events.into_iter()
    }
}

/// How a reset ended, and who says so. `why`: the reason of what was not applied, or of the status.
fn ended(outcome: Outcome, evidence: Option<Evidence>, by: Option<&str>, why: Option<Reason>) -> String {
    match outcome {
        Outcome::Applied if why == Some(Reason::AlreadyApplied) => "done before: the same request was carried out",
        Outcome::Applied => match evidence {
            Some(Evidence::Response) | None => "done: the directory confirmed it",
            Some(Evidence::ConditionalWrite) => "done: the directory confirmed it when it was asked again",
            Some(Evidence::SignIn) => "done: a sign-in with the new password succeeded",
            Some(Evidence::Marker) => "done: the directory shows the change",
            Some(Evidence::Person) => {
                return format!("done: {} says that it is in force", by.unwrap_or("a person"));
            }
        },
        Outcome::NotApplied => match (by, why) {
            (Some(by), _) => return format!("not done: {by} says that nothing was changed"),
            (None, Some(Reason::Settled)) => "not done: a person says that nothing was changed",
            (None, why) => {
                return format!("not done: {}", why.map_or_else(|| "nothing was changed".to_owned(), Reason::words));
            }
        },
        Outcome::Unknown => "nobody knows whether it is in force: no reply came from the directory",
        Outcome::Superseded => "a later request for the same user was carried out",
        Outcome::Lapsed => "not done: the request came too late",
    }
    .to_owned()
}
