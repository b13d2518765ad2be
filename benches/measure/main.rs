//! `make bench`: how close the operator comes to what the API server and the directories can do. Each figure stands beside that of a
//! bare client, measured in the same run and in turns with it. docs/benchmarks.md says how to read them.
#![allow(
    clippy::needless_pass_by_value,
    clippy::single_match_else,
    clippy::format_push_string,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "shared with the tests: json!(..) arguments read better so, and what cannot be measured ends it"
)]
#[path = "../../tests/support/mod.rs"]
mod support;
use support::{etcd, keycloak_server, ldap_proxy, ldap_server, ldap_users, proxy};

/// The image that is measured, and its program.
const IMAGE: &str = "target/image";

mod api_calls;
mod bare;
mod failover;
mod figures;
mod history;
mod keycloak_rate;
mod latency;
mod ldap_rate;
mod load;
mod openldap_rate;
mod plan;
mod samba_rate;
mod throughput;

use std::process::ExitCode;

use figures::Figures;

/// Names of figures that are measured in one go, as `ONLY` knows them.
type Measure = (&'static [&'static str], fn(&mut Figures));

/// In the order of the table.
const ALL: [Measure; 10] = [
    (&["throughput_mfa", "cpu"], throughput::mfa),
    (&["throughput_password"], throughput::password),
    (&["keycloak_rate"], keycloak_rate::measure),
    (&["ldap_rate"], openldap_rate::measure),
    (&["samba_rate"], samba_rate::measure),
    (&["latency_p50", "latency_p99"], latency::measure),
    (&["failover_kill", "failover_term"], failover::measure),
    (&["memory_0", "memory_10k", "memory_100k", "start_10k", "size_etcd"], history::measure),
    (&["size_image"], history::image),
    (&["plan"], plan::measure),
];

fn main() -> ExitCode {
    // `cargo bench` adds a flag of its own.
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let known = |name: &String| ALL.iter().any(|(names, _)| names.iter().any(|known| known.starts_with(name.as_str())));
    if let Some(unknown) = only.iter().find(|name| !known(name)) {
        let all: Vec<&str> = ALL.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        eprintln!("ONLY: {unknown} is not one of: {}", all.join(" "));
        return ExitCode::from(2);
    }
    let mut figures = Figures::default();
    for (names, measure) in ALL {
        if only.is_empty() || only.iter().any(|only| names.iter().any(|name| name.starts_with(only.as_str()))) {
            measure(&mut figures);
        }
    }
    figures.print();
    ExitCode::SUCCESS
}
