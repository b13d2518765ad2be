//! The `credreset` command.
use std::process::ExitCode;

use credreset::core::text::{MESSAGE, printable};

fn main() -> ExitCode {
    match credreset::cli::main() {
        Ok(code) => code,
        // As for a program that the signal SIGPIPE ends.
        Err(error) if credreset::cli::reader_has_gone(&error) => ExitCode::from(141),
        Err(error) => {
            // One line, whatever names and answers are in it.
            eprintln!("credreset: {}", printable(&format!("{error:#}"), MESSAGE));
            ExitCode::FAILURE
        }
    }
}
