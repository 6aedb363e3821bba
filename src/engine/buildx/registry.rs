//! What `docker` sends to registries and fetches from them.

use std::process::Command;

use crate::engine::cause::{Class, class};
use crate::engine::message::one_line;
use crate::engine::program::Program;
use crate::engine::{Cancel, EngineError, Progress};
use crate::process::{self, Exit};

/// Pushes one reference.
pub fn push(
    program: &Program,
    reference: &str,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), EngineError> {
    let mut command = program.command();
    command.args(["image", "push", "--quiet", reference]);
    run(program, command, &format!("push {reference}"), cancel, progress)
}

/// Runs a command that can be cancelled. If it fails its last line says why.
pub fn run(
    program: &Program,
    command: Command,
    what: &str,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), EngineError> {
    let mut last = String::new();
    let mut line = |line: &str| {
        line.clone_into(&mut last);
        progress(Progress::Log(line.to_owned()));
    };
    let exit = process::run(command, &|| cancel.is_raised(), &mut line);
    match exit.map_err(|error| program.not_run(&error))? {
        Exit::Code(0) => Ok(()),
        Exit::Stopped => Err(EngineError::Cancelled),
        Exit::Code(_) | Exit::Signal(_) => {
            let message = one_line(&format!("cannot {what}: {last}"));
            Err(match class(&last) {
                Class::Auth => EngineError::Auth(message),
                Class::User => EngineError::Unsupported(message),
                Class::Unavailable => EngineError::Unavailable(message),
            })
        }
    }
}
