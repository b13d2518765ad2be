//! What becomes of a request, and the commands that people run for it.
mod accounting;
mod auditor;
mod commands;
mod console_form;
mod habits;
mod incident;
mod injection;
mod password;
mod plan;
mod refusals;
mod set;
mod settle;
