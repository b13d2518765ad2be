//! A wrong clock for a process (clock.c).
use std::{path::PathBuf, process::Command};

use super::{Site, path};

/// Builds a library that, loaded into a process (`LD_PRELOAD`), shifts its wall clock. The monotonic clock is not changed.
pub fn clock(site: &Site) -> PathBuf {
    let library = site.dir.join("clock.so");
    let source = path("tests/support/clock.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
    assert!(compiler.status().expect("cc, the linker of Rust itself").success());
    library
}
