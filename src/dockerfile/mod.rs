//! The front end: Dockerfile text to what building one target of it can read.
//!
//! It reads as BuildKit does (or, where they differ, as buildah does: see [`Flavour`]). It knows no
//! files: neither the context nor the parents; `gather` lists the first, `graph` finds the second.
//!
//! ```text
//! bytes -> lexer -> parser -> Dockerfile -> stages -> reads
//!          lines    words     (command)    who needs  ARG, ENV, COPY, mounts
//!                                          whom
//! ```
//! What can be wrong is listed in [`problem`].

pub mod directive;
pub mod expand;
pub mod instruction;
pub mod problem;
pub mod reads;
pub mod remote;

mod canonical;
mod command;
mod environment;
mod epoch;
mod flags;
mod globals;
mod heredoc;
mod json;
mod lexer;
mod location;
pub(crate) mod mount;
mod parser;
mod pattern;
mod platform;
mod stages;
mod text;
mod transfer;
mod value;
mod walk;
mod words;

pub use instruction::{Arguments, Instruction, Keyword, Word};
pub use reads::{
    BaseConfig, ContextRead, ImageUse, Reads, Request, Step, UseKind, resolve, resolve_with,
};

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::directive::Directives;
use crate::dockerfile::lexer::Lexer;
use crate::dockerfile::problem::Problems;
use crate::dockerfile::text::Text;

/// Which engine's rules of expansion and of `.dockerignore` look-up are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// BuildKit: the later of ARG and ENV wins.
    BuildKit,
    /// buildah and podman: ENV wins over ARG.
    Buildah,
}

/// A parsed Dockerfile.
#[derive(Clone, Debug, Default)]
pub struct Dockerfile {
    /// The frontend image that the file asks for: `docker/dockerfile:1` of `# syntax=`.
    pub syntax: Option<String>,
    /// The directives at the top, `# escape=` among them.
    pub directives: Directives,
    /// All instructions, also those with mistakes.
    pub instructions: Vec<Instruction>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
}

/// A stage: FROM and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The name behind AS, in lower case.
    pub name: Option<String>,
    /// Its FROM: an index into [`Dockerfile::instructions`].
    pub from: usize,
    /// One past its last instruction.
    pub end: usize,
}

/// How much of a file is looked at to see whether it is text.
const PROBE: usize = 8192;

/// Parses; all mistakes are reported, and what could be read is returned.
pub fn parse(text: &[u8]) -> (Dockerfile, Vec<Diagnostic>) {
    let mut problems = Problems::default();
    if let Some(at) = text.iter().take(PROBE).position(|byte| *byte == 0) {
        let message = "this is no text, and no Dockerfile";
        let help = "save the file as UTF-8, or leave it out of the images";
        problems.error(problem::NOT_TEXT, Span::from(at..at + 1), message, help);
        return (Dockerfile::default(), problems.into_diagnostics());
    }
    let text = Text::new(text);
    let mut lexer = Lexer::new(&text);
    let instructions = parser::instructions(&mut lexer);
    let Lexer { directives, problems: found, .. } = lexer;
    problems = found;
    let stages = stages(&instructions, &mut problems);
    if stages.is_empty() && !problems.has_errors() {
        let what = if instructions.is_empty() { "instruction" } else { "stage to build" };
        let message = format!("there is no {what}");
        let help = "begin with FROM and the image to build on";
        problems.error(problem::EMPTY, Span::default(), message, help);
    }
    let syntax = directive::syntax(text.without_mark());
    (Dockerfile { syntax, directives, instructions, stages }, problems.into_diagnostics())
}

/// Checks all instructions, and finds the stages.
fn stages(instructions: &[Instruction], problems: &mut Problems) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (index, instruction) in instructions.iter().enumerate() {
        let command = command::read(instruction, problems);
        if instruction.keyword == Keyword::From {
            let name = match &command {
                Some(command::Command::From(from)) => {
                    from.name.map(|name| name.text.to_lowercase())
                }
                _ => None,
            };
            stages.push(Stage { name, from: index, end: index + 1 });
            continue;
        }
        match stages.last_mut() {
            Some(stage) => stage.end = index + 1,
            None if instruction.keyword == Keyword::Arg || command.is_none() => {}
            None => problems.error(
                problem::BEFORE_FROM,
                instruction.span,
                format!("{} stands before the first FROM", instruction.keyword),
                "move it behind FROM; only ARG may stand before",
            ),
        }
    }
    stages
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
