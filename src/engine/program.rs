//! The program that an engine drives: one question, one answer.
//!
//! What it is and what its answers mean is not known here. Builds, which can be cancelled, go through
//! `process` themselves.
#![expect(clippy::disallowed_methods, reason = "some engines are programs")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::engine::{Cancel, EngineError};
use crate::process::{self, Exit, ProcessError};

/// How often a raised cancel is looked for.
const TICK: Duration = Duration::from_millis(50);

/// The program, always with the same arguments before those of its verbs.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    help: &'static str,
}

impl Program {
    /// The program at `path`, or in `PATH` if it has no slash, with `arguments` before all others.
    /// `help` says how to get it.
    pub fn new(path: PathBuf, arguments: Vec<OsString>, help: &'static str) -> Self {
        Self { path, arguments, help }
    }

    /// A command without arguments of its own yet.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command
    }

    /// Runs it and returns what it prints.
    pub fn answer<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<Vec<u8>, EngineError> {
        let mut command = self.command();
        command.args(arguments);
        let what = shown(&command);
        let (exit, output, error) =
            process::capture(command).map_err(|error| self.not_run(&error))?;
        if exit == Exit::Code(0) {
            return Ok(output);
        }
        Err(failed(&what, &error))
    }

    /// Runs it and hands its standard output to `read` while it runs. When `cancel` is raised, its
    /// process group is killed.
    pub fn stream<T>(
        &self,
        arguments: &[&str],
        cancel: &Cancel,
        read: impl FnOnce(&mut dyn io::Read) -> io::Result<T>,
    ) -> Result<T, EngineError> {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0);
        let what = shown(&command);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child =
            command.spawn().map_err(|source| self.not_run(&ProcessError { program, source }))?;
        let (output, mut errors) = (child.stdout.take(), child.stderr.take());
        let group = Pid::from_child(&child);
        let (reading, read_all) = mpsc::channel::<()>();
        let (answer, error) = std::thread::scope(|scope| {
            let error = scope.spawn(|| errors.as_mut().map(io::read_to_string));
            scope.spawn(move || {
                while read_all.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    if cancel.is_raised() {
                        kill_process_group(group, Signal::KILL).unwrap_or_default();
                        return;
                    }
                }
            });
            let answer = match output {
                Some(mut output) => read(&mut output), // closed then: it must not wait for a reader
                None => read(&mut io::empty()),
            };
            let error = error.join().ok().flatten().and_then(Result::ok).unwrap_or_default();
            drop(reading);
            (answer, error)
        });
        let status = child.wait().map_err(|source| broken(&what, &source))?;
        if !status.success() && cancel.is_raised() {
            return Err(EngineError::Cancelled);
        }
        if !status.success() && (answer.is_ok() || !error.is_empty()) {
            return Err(failed(&what, &error));
        }
        answer.map_err(|source| broken(&what, &source))
    }

    /// Why it could not be started, and what helps.
    pub fn not_run(&self, error: &ProcessError) -> EngineError {
        let text = match error.source.kind() {
            io::ErrorKind::NotFound => {
                format!("`{}` is not installed: {}", error.program, self.help)
            }
            _ => format!("{error}: {}", error.source),
        };
        EngineError::Unavailable(text)
    }
}

/// A failure in the program's own words.
fn failed(what: &str, error: &str) -> EngineError {
    let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
    let error = error.strip_prefix("Error: ").unwrap_or(&error);
    EngineError::Unavailable(format!("`{what}` failed: {error}"))
}

/// Why a program whose output was read as it came gave none.
fn broken(what: &str, source: &io::Error) -> EngineError {
    EngineError::Unavailable(format!("cannot read what `{what}` prints: {source}"))
}

/// The program and its verb, for messages.
fn shown(command: &Command) -> String {
    let verb = command.get_args().filter_map(OsStr::to_str).find(|word| {
        let is_verb = |c: char| c.is_ascii_lowercase();
        !word.is_empty() && word.chars().all(is_verb)
    });
    let program = command.get_program().to_string_lossy();
    match verb {
        Some(verb) => format!("{program} {verb}"),
        None => program.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_said_with_what_helps() {
        let program = Program::new("/nonexistent/x".into(), Vec::new(), "`apt-get install x`");
        let EngineError::Unavailable(text) = program.answer(["info"]).unwrap_err() else {
            panic!()
        };
        assert_eq!(text, "`/nonexistent/x` is not installed: `apt-get install x`");
    }

    #[test]
    fn what_failed_is_named_with_its_words() {
        let program = Program::new("/bin/sh".into(), Vec::new(), "");
        let words = ["-c", "echo 'Error: no   store' >&2; exit 125"];
        let EngineError::Unavailable(text) = program.answer(words).unwrap_err() else { panic!() };
        assert_eq!(text, "`/bin/sh` failed: no store");
    }
}
