//! How far back the operator's records go.
use anyhow::bail;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};

use crate::{
    cli::cluster::{api_error, is_forbidden, why_unread},
    k8s::lease,
};

/// How far back the records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Every reset that began at or after `since` is on record, and the operator keeps records for `days`.
    Since { since: Timestamp, days: u16 },
    /// It could not be determined; a sentence without its full stop says why.
    Unknown(String),
    /// The namespace has no Lease: no operator has ever led there.
    NoOperator,
}

impl Reach {
    /// Reads it from the operator's Lease.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub(super) async fn read(client: Client, namespace: &str, now: Timestamp) -> anyhow::Result<Self> {
        let found = Api::<Lease>::namespaced(client, namespace).get_metadata_opt(lease::NAME).await;
        Ok(match found {
            Ok(Some(found)) => match lease::announced(&found.metadata) {
                Some(announced) => Self::Since { since: lease::records_since(announced, now), days: announced.0 },
                None => Self::Unknown(format!(
                    "Lease {} in namespace {namespace} does not say it: upgrade the operator",
                    lease::NAME
                )),
            },
            Ok(None) => Self::NoOperator,
            Err(error) if is_forbidden(&error) => {
                let what = format!("Lease {} in namespace {namespace}", lease::NAME);
                Self::Unknown(format!("{} (ClusterRole credreset-audit may)", why_unread(&error, &what)))
            }
            Err(error) => return Err(api_error(error)),
        })
    }

    /// The time since which every reset is on record, if it is known.
    pub(super) fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Since { since, .. } => Some(*since),
            Self::Unknown(_) | Self::NoOperator => None,
        }
    }

    /// A namespace without records must have an operator: otherwise "no resets" would be a guess.
    pub(super) fn has_operator(&self, namespace: &str) -> anyhow::Result<()> {
        match self {
            Self::Since { .. } => Ok(()),
            Self::Unknown(why) => {
                bail!("namespace {namespace} has no records, and how far back they go is not known: {why}")
            }
            Self::NoOperator => bail!(
                "there is no operator in namespace {namespace}, and no record: name the operator's namespace with --operator-namespace"
            ),
        }
    }

    /// What to tell the reader of a report that begins at `asked`.
    pub(super) fn sentence(&self, asked: Timestamp) -> String {
        match self {
            Self::Since { since, days } => {
                let gap = if asked < *since { ": what was before is not here" } else { "" };
                format!("Records go back to {since:.0} (operator.keepRecords: {days}){gap}.")
            }
            Self::Unknown(why) => format!("How far back the records go is not known: {why}."),
            Self::NoOperator => {
                "How far back the records go is not known: the namespace has records, but no operator.".to_owned()
            }
        }
    }
}
