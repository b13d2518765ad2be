//! The operator on a real API server: as its own process, under its own ServiceAccount's token, with the RBAC of
//! examples/operator. What is asserted is seen at the API server and at the directory.
#[path = "../env/mod.rs"]
mod env;

mod accounting;
mod console_form;
mod operations;
mod recovery;
mod refusals;
