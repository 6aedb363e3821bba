//! The command line: what was typed becomes settings, settings become one verb, its outcome becomes
//! an exit code. Only this module chooses exit codes.

pub mod args;
pub mod failure;
pub mod settings;

mod check;
mod completions;
mod doctor;
mod engines;
mod graph;
mod init;
mod inputs;
mod ls;
mod plan;
mod rebuild;
mod session;
mod why;

use std::ffi::OsString;
use std::io;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::args::{Arguments, Verb};
use crate::cli::failure::{Exit, Failure};
use crate::cli::settings::{Settings, write};
use crate::report::style::Tone;

/// Runs imgraph with the given arguments, the program's name first; returns the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A reader of the help that has gone is no failure.
            error.print().unwrap_or_default();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::OK,
                _ => Exit::USAGE,
            };
        }
    };
    match Settings::new(&arguments).and_then(|settings| {
        let outcome = dispatch(&arguments.verb, &settings);
        Ok((outcome, settings))
    }) {
        Ok((Ok(exit), _)) => exit,
        Ok((Err(failure), settings)) => complain(&failure, Some(&settings)),
        Err(failure) => complain(&failure, None),
    }
}

fn dispatch(verb: &Verb, settings: &Settings) -> Result<u8, Failure> {
    match verb {
        Verb::Rebuild(arguments) => rebuild::run(arguments, settings),
        Verb::Plan(arguments) => plan::run(arguments, settings),
        Verb::Why(arguments) => why::run(arguments, settings),
        Verb::Inputs(arguments) => inputs::run(arguments, settings),
        Verb::Ls(arguments) => ls::run(arguments, settings),
        Verb::Graph(arguments) => graph::run(arguments, settings),
        Verb::Check(arguments) => check::run(arguments, settings),
        Verb::Init(arguments) => init::run(arguments, settings),
        Verb::Doctor(arguments) => doctor::run(arguments, settings),
        Verb::Completions(arguments) => completions::run(arguments),
    }
}

fn complain(failure: &Failure, settings: Option<&Settings>) -> u8 {
    if !failure.message.is_empty() {
        let style = settings.map(Settings::style_err).unwrap_or_default();
        let word = style.paint(Tone::Bad, "error");
        let mut text = format!("{word}: {}\n", failure.message);
        if let Some(help) = &failure.help {
            text.push_str(&format!("  help: {help}\n"));
        }
        write(&mut io::stderr(), &text);
    }
    failure.exit
}
