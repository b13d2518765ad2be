//! Checks the installation: the cluster, the admission policies, and the operator.
use kube::Client;

use super::{About, Line};
use crate::{
    cli::version,
    k8s::{Unverifiable, admission},
};

/// Minor version of Kubernetes 1 that the chart requires.
const MINOR: u32 = 33;

/// One line for each part.
pub(super) async fn lines(client: &Client, operator_namespace: &str) -> Vec<Line> {
    let mut lines = vec![kubernetes(client).await, policies(client).await];
    lines.extend(operator(client, operator_namespace).await);
    lines
}

async fn kubernetes(client: &Client) -> Line {
    let Ok(info) = client.apiserver_version().await else {
        return Line::note(About::Kubernetes, "Not checked: the API server does not tell its version.");
    };
    // Some providers write 33+.
    let digits: String = info.minor.chars().take_while(char::is_ascii_digit).collect();
    let is_new = info.major != "1" || digits.parse::<u32>().is_ok_and(|minor| minor >= MINOR);
    if is_new {
        Line::ok(About::Kubernetes, format!("{}.", info.git_version))
    } else {
        Line::wrong(
            About::Kubernetes,
            format!("{} is too old: the operator needs 1.{MINOR} or later.", info.git_version),
        )
    }
}

async fn policies(client: &Client) -> Line {
    match admission::check(client).await {
        Ok(()) => Line::ok(About::Policies, "The chart's admission policies are in force."),
        Err(Unverifiable::Unguarded(why)) => Line::wrong(About::Policies, why.message),
        Err(Unverifiable::Forbidden(_)) => {
            Line::note(About::Policies, "Not checked: you may not read admission policies.")
        }
        Err(Unverifiable::NoAnswer) => Line::note(About::Policies, "Not checked: the API server did not answer."),
    }
}

/// Who leads, and whether the operator has this program's version.
async fn operator(client: &Client, namespace: &str) -> Vec<Line> {
    let found = version::Report::of(client, namespace).await;
    let mut lines = vec![match (&found.leader, found.lease_read) {
        (Some(leader), _) if leader.holds => Line::ok(About::Leader, format!("{} leads.", leader.holder)),
        (_, true) => Line::wrong(
            About::Leader,
            format!(
                "No operator leads in namespace {namespace}, so nothing is carried out: look at its Deployment and its logs."
            ),
        ),
        (_, false) => {
            Line::note(About::Leader, format!("Not checked: you may not read the Lease in namespace {namespace}."))
        }
    }];
    for operator in found.operators.iter().flatten() {
        let Some(version) = operator.version.as_ref().filter(|version| **version != found.client) else { continue };
        let message = format!(
            "Deployment {} has version {version}, and this program {}: use a program of the same version.",
            operator.name, found.client
        );
        lines.push(Line::note(About::Version, message));
    }
    lines
}
