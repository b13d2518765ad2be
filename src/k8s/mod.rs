//! At the API server: what is watched, read and written. Decisions are the core's.
pub mod admin;
pub mod controller;
pub mod directories;
pub mod events;
pub mod lease;
pub mod ledger;
pub mod reconcile;
pub mod secrets;
pub mod status;
