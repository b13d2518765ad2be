//! credreset: a Kubernetes operator that resets passwords and MFA in directories, each approved request at most once.
//!
//! [`core`] decides: [`core::decide`] is a pure function from the known facts to the next thing to do. [`api`] defines the custom
//! resources that users write and the operator stores. [`directory`] makes the calls to Zoho, Keycloak, `OpenLDAP` and Active
//! Directory. [`k8s`] runs the operator: it watches the API server, reads facts, carries decisions out and stores the records.
//! [`cli`] has the commands, of which `run` starts the operator. [`sandbox`] is a stand-in for Zoho, for tests and demos, and
//! [`telemetry`] sets logging up. Dependencies point one way: cli, k8s, directory, api, core. `sandbox` imports none of them.
pub mod api;
pub mod cli;
pub mod core;
pub mod directory;
mod html;
pub mod http;
pub mod k8s;
pub mod mail;
pub mod password;
pub mod sandbox;
pub mod sealing;
pub mod telemetry;
#[cfg(test)]
mod testing;
