//! The operator on a real API server: as its own process, under its own `ServiceAccount`'s token, with what the chart
//! grants. What is asserted is seen at the API server and at the directory.
#![cfg(test)]
#![allow(
    clippy::needless_pass_by_value,
    clippy::single_match_else,
    clippy::format_push_string,
    reason = "json!(..) arguments and short helpers read better so"
)]
#[path = "../env/ber.rs"]
mod ber;
#[path = "../env/mod.rs"]
mod env;
#[path = "../env/etcd.rs"]
mod etcd;
#[path = "../env/figures.rs"]
mod figures;
#[path = "../env/proxy.rs"]
mod proxy;
#[path = "../env/smtp.rs"]
mod smtp;
#[path = "../env/texts.rs"]
mod texts;

/// The image that tests run, and its program.
const IMAGE: &str = "target/image-tested";

mod accounting;
mod admission;
mod approvals;
mod book;
mod chaos;
mod charts;
mod clocks;
mod commands;
mod console_form;
mod crashes;
mod endless;
mod flux;
mod gitops;
mod hostile;
mod image;
mod incident;
mod leaders;
mod lost_state;
mod monitoring;
mod operations;
mod outages;
mod plan;
mod recovery;
mod refusals;
mod settle;
mod status_tools;
mod tutorial;
