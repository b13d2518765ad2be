//! The `credreset` command.
use std::process::ExitCode;

fn main() -> ExitCode {
    match credreset::cli::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("credreset: {error:#}");
            ExitCode::FAILURE
        }
    }
}
