//! The operator against real directory servers, seen from the user's side.
#![cfg(test)]
#![allow(clippy::needless_pass_by_value, reason = "json!(..) arguments read better so")]
#[path = "../env/mod.rs"]
mod env;
#[path = "../env/keycloak.rs"]
mod keycloak_server;
#[path = "../env/proxy.rs"]
mod proxy;

mod keycloak;
