//! credreset: password and MFA resets as reviewed Kubernetes objects, each carried out at most once.
//!
//! [`core`] decides: a pure function from what is known to the next thing to do. [`api`] has the kinds that people write,
//! [`directory`] the calls to directories.
pub mod api;
pub mod cli;
pub mod core;
pub mod directory;
pub mod k8s;
pub mod sandbox;
pub mod telemetry;
#[cfg(test)]
#[path = "../tests/env/texts.rs"]
mod texts;
