//! What the tests share, and the benchmarks: each program declares this module and uses what it needs of it.
//!
//! A test on an API server starts a [`Site`]. A test on a directory server also has one of `keycloak_server` or `ldap_server`.
//! The scripts that start servers are in `servers/`, and each can be run by hand.
#![allow(dead_code, unused_imports, reason = "no program uses all of it")]
#![allow(
    clippy::needless_pass_by_value,
    clippy::single_match_else,
    clippy::format_push_string,
    reason = "json!(..) arguments and short helpers read better so"
)]
use std::{
    fs::{self, File},
    io::Write,
    os::unix::process::parent_id,
    path::{Path, PathBuf},
    sync::{LazyLock, atomic::AtomicU32},
    time::Duration,
};

mod audit;
pub mod ber;
pub mod book;
mod chart;
pub mod check_command;
mod clock;
mod cluster;
pub mod etcd;
pub mod figures;
pub mod folder;
pub mod keycloak_server;
mod kubectl;
pub mod ldap_proxy;
pub mod ldap_server;
pub mod ldap_users;
mod leaks;
pub mod merge;
mod objects;
mod operator;
pub mod person;
mod process;
pub mod proxy;
pub mod python;
pub mod readers;
mod shell;
mod site;
pub mod smtp;
pub mod sources;
pub mod tcp;
#[path = "../../src/testing.rs"]
pub mod texts;
mod watch;
pub mod webhook;
pub mod wire;

pub use audit::Audited;
pub use book::{blocks, fences, gist, pages};
pub use chart::{built, chart, filed_by, helm, template, template_of};
pub use clock::clock;
pub use cluster::Cluster;
pub use kubectl::kubeconfig_of;
pub use merge::merge;
pub use objects::{condition, message, mfa_reset, password_reset, rules, time};
pub use process::{Operator, Process, Sandbox, cpu, http_get, wait_for};
pub use site::{Setup, Site};
pub use watch::{LEASES, RECORDS, RESETS, all_ended};

/// The operator's namespace.
pub const SYSTEM: &str = "credreset-system";
/// The requesters' namespace.
pub const TEAM: &str = "helpdesk";
/// The directory's id of Annette Charbonneau.
pub const ANNETTE: &str = "700012399";
/// A label on what tests make, so that on a foreign cluster they change and delete only that.
const LABEL: &str = "credreset.dev/made-by-tests";
/// When a wait fails: longer than anything takes here.
const LIMIT: Duration = Duration::from_secs(600);

static NEXT: AtomicU32 = AtomicU32::new(0);
/// The name of what the processes of a test run share, and the id of the process that runs them (nextest or cargo), with which it ends.
pub static RUN: LazyLock<(String, u32)> = LazyLock::new(|| {
    let runner = parent_id();
    assert_ne!(runner, 1, "what has run this test is gone");
    let name = std::env::var("NEXTEST_RUN_ID").map_or_else(|_| runner.to_string(), |id| id[..13].to_owned());
    (format!("run-{name}"), runner)
});

/// A path within the project.
pub fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The program of an image, for tests whose result depends on the optimizer, or that would take too long without it.
pub fn program(image: &str) -> PathBuf {
    let binary = path(&format!("{image}/root/credreset"));
    assert!(binary.exists(), "{image} is missing: make tested-image for tests, make image for benchmarks");
    binary
}

/// Reports what a test leaves out: at once, and at the end of the run, since nextest shows nothing of a test that passes.
pub fn not_run(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
    if let Ok(profile) = std::env::var("NEXTEST_PROFILE") {
        let file = path(&format!("target/nextest/{profile}/not-run"));
        let file = File::options().create(true).append(true).open(file);
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
}

/// The text of a file of the project.
pub fn text(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|e| panic!("{relative}: {e}"))
}

/// Creates and locks the file (`flock`): waits until no other process holds it.
pub fn locked(path: &Path) -> File {
    let file = File::create(path).unwrap();
    file.lock().unwrap();
    file
}
