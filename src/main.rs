//! Arguments to the library, outcome to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(imgraph::cli::main(std::env::args_os()))
}
