//! The stand-in directory, seen from outside: its wire format, its faults, its memory and its page.

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
