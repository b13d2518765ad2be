//! The `credreset` command.
use std::process::ExitCode;

/// A quarter of the operator's time was spent in the usual one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match credreset::cli::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("credreset: {error:#}");
            ExitCode::FAILURE
        }
    }
}
