//! The command line: what was typed becomes settings, settings become one verb, its outcome becomes
//! an exit code. Only this module chooses exit codes.

pub mod args;
pub mod failure;
pub mod report_file;
pub mod selection;
pub mod settings;

mod affected;
mod at_once;
mod carry;
mod check;
mod completions;
mod doctor;
mod engines;
mod graph;
mod init;
mod inputs;
mod ls;
mod nightly;
mod parents;
mod plan;
mod promote;
mod rebuild;
mod registries;
pub mod remote;
mod session;
mod settled;
mod shards;
mod update;
mod watch;
mod why;

use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::args::{Arguments, Verb};
use crate::cli::failure::{Exit, Failure};
use crate::cli::settings::{Settings, write};
use crate::report::style::{Style, Tone};

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
    let settings = match Settings::new(&arguments) {
        Ok(settings) => settings,
        Err(failure) => return complain(&failure, Style::default(), &mut io::stderr()),
    };
    // A worker that panics takes the run down with it; its builds are stopped when it unwinds.
    match catch_unwind(AssertUnwindSafe(|| dispatch(&arguments.verb, &settings))) {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => complain(&failure, settings.style_err(), &mut io::stderr()),
        Err(_) => {
            let failure = Failure::new(Exit::BUG, "this is a bug in imgraph")
                .help("please report it with the lines above");
            complain(&failure, settings.style_err(), &mut io::stderr())
        }
    }
}

fn dispatch(verb: &Verb, settings: &Settings) -> Result<u8, Failure> {
    match verb {
        Verb::Rebuild(arguments) => rebuild::run(arguments, settings),
        Verb::Update(arguments) => update::run(arguments, settings),
        Verb::Promote(arguments) => promote::run(arguments, settings),
        Verb::Watch(arguments) => watch::run(arguments, settings),
        Verb::Plan(arguments) => plan::run(arguments, settings),
        Verb::Why(arguments) => why::run(arguments, settings),
        Verb::Inputs(arguments) => inputs::run(arguments, settings),
        Verb::Affected(arguments) => affected::run(arguments, settings),
        Verb::Ls(arguments) => ls::run(arguments, settings),
        Verb::Graph(arguments) => graph::run(arguments, settings),
        Verb::Check(arguments) => check::run(arguments, settings),
        Verb::Init(arguments) => init::run(arguments, settings),
        Verb::Doctor(arguments) => Ok(doctor::run(arguments, settings)),
        Verb::Completions(arguments) => {
            completions::run(arguments);
            Ok(Exit::OK)
        }
    }
}

/// Says why a command could not do what it was asked; returns its exit code.
fn complain(failure: &Failure, style: Style, to: &mut dyn Write) -> u8 {
    if !failure.message.is_empty() {
        let word = style.paint(Tone::Bad, "error");
        let mut text = format!("{word}: {}\n", failure.message);
        if let Some(help) = &failure.help {
            text += "  help: ";
            text += help;
            text.push('\n');
        }
        write(to, &text);
    }
    failure.exit
}
