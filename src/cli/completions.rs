//! `imgraph completions`: a script for a shell.

use std::io;

use clap::CommandFactory;

use crate::cli::args::{Arguments, Completions};
use crate::cli::settings::write;

/// Runs the verb.
pub(crate) fn run(arguments: &Completions) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "imgraph", &mut script);
    write(&mut io::stdout(), &String::from_utf8_lossy(&script));
}
