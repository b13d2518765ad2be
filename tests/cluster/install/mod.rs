//! How the operator is installed and run, and the tools around it.
mod charts;
mod flux;
mod gitops;
mod image;
mod monitoring;
mod notifications;
mod operations;
mod platform;
mod status_tools;
mod values;
