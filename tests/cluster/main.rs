//! The operator on a real API server: as its own process, under its own `ServiceAccount`'s token, with what the chart
//! grants. What is asserted is seen at the API server and at the directory.
//!
//! * `request/`: put it here if it shows what becomes of a request, or what a command says or does about one.
//! * `approvals/`: put it here if it shows who may write which object, and which approvals count.
//! * `faults/`: put it here if something breaks on the way: a process, a leader, a clock, a server, an answer, a stored object.
//! * `install/`: put it here if it shows the charts, the image, rights, monitoring, or a `GitOps` tool beside the operator.
//! * `docs/`: put it here if it follows a page.
#![cfg(test)]
#![allow(
    clippy::needless_pass_by_value,
    clippy::single_match_else,
    clippy::format_push_string,
    reason = "json!(..) arguments and short helpers read better so"
)]
#[path = "../support/mod.rs"]
mod support;
use support::{ber, etcd, figures, folder, person, proxy, smtp, texts};

/// The image that tests run, and its program.
const IMAGE: &str = "target/image-tested";

mod approvals;
mod docs;
mod faults;
mod install;
mod request;
