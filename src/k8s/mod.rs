//! At the API server: what is watched, read and written. Decisions are the core's.
pub mod admin;
pub mod controller;
pub mod directories;
mod effects;
pub mod events;
mod facts;
pub mod lease;
pub mod ledger;
pub mod reconcile;
pub mod secrets;
pub mod status;
