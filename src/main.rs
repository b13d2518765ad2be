//! The `credreset` command.
use std::process::ExitCode;

use credreset::core::text::{MESSAGE, printable};

fn main() -> ExitCode {
    match credreset::cli::main() {
        Ok(code) => code,
        Err(error) => {
            // One line, whatever names and answers are in it.
            eprintln!("credreset: {}", printable(&format!("{error:#}"), MESSAGE));
            ExitCode::FAILURE
        }
    }
}
