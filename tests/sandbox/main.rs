//! The sandbox, which stands in for Zoho: its wire format, faults, store and page.

#[cfg(test)]
mod calls;
#[cfg(test)]
mod command;
#[cfg(test)]
mod control;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod look_up;
#[cfg(test)]
mod page;
#[cfg(test)]
#[path = "../support/mod.rs"]
mod support;
