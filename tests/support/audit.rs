//! The API server's audit log: what operators have asked of it.
use std::fs;

use serde_json::Value;

use super::Site;

/// A line of the API server's audit log: one call of an operator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Audited {
    pub verb: String,
    /// Path and query.
    pub uri: String,
    pub group: String,
    /// With its subresource, as in `credentialresets/status`.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub code: u64,
}

impl Audited {
    pub fn writes(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

impl Site {
    /// All calls of operators to the API server. Panics on a foreign cluster.
    pub fn audit(&self) -> Vec<Audited> {
        let text = fs::read_to_string(self.dir.join("audit.log")).expect("the audit log of a cluster of our own");
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .map(|line| {
                let of = |name: &str| line["objectRef"][name].as_str().unwrap_or_default().to_owned();
                let sub = of("subresource");
                Audited {
                    verb: line["verb"].as_str().unwrap_or_default().to_owned(),
                    uri: line["requestURI"].as_str().unwrap_or_default().to_owned(),
                    group: of("apiGroup"),
                    resource: if sub.is_empty() { of("resource") } else { format!("{}/{sub}", of("resource")) },
                    namespace: of("namespace"),
                    name: of("name"),
                    code: line["responseStatus"]["code"].as_u64().unwrap_or_default(),
                }
            })
            .collect()
    }
}
