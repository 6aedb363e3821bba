//! `SOURCE_DATE_EPOCH` and `# check=`: two settings that the engine validates before all else.
//!
//! Follows BuildKit's `dockerfile2llb/epoch.go` and `linter.ParseLintOptions`. Neither the time nor the
//! lint rules themselves are known here.

use std::collections::BTreeMap;

use crate::diagnostic::Span;
use crate::dockerfile::command::{self, Command, Copy};
use crate::dockerfile::expand::{Shell, Variables, expand};
use crate::dockerfile::globals::EPOCH;
use crate::dockerfile::problem::{self, Problems};
use crate::dockerfile::remote::{self, Origin};
use crate::dockerfile::stages::{SCRATCH, Scene};
use crate::dockerfile::{Dockerfile, Stage, value};

/// Checks `# check=skip=..;error=..;experimental=..`.
pub(crate) fn check_directive(dockerfile: &Dockerfile, problems: &mut Problems) {
    let Some(word) = dockerfile.directives.check() else { return };
    let options = word.text.split(' ').next().unwrap_or_default();
    let fits = |option: &str| match option.split_once('=') {
        Some((key, text)) => match key.trim() {
            "skip" | "experimental" => true,
            "error" => value::truth(text.trim()).is_some(),
            _ => false,
        },
        None => false,
    };
    if !options.is_empty() && !options.splitn(3, ';').all(fits) {
        let message = format!("`{options}` are not options of a check");
        let help = "write skip=.., error=true or experimental=.., joined by `;`";
        problems.error(problem::DIRECTIVE, word.span, message, help);
    }
}

/// Checks that `SOURCE_DATE_EPOCH` is a time, or a source that has one.
pub(crate) fn check(scene: &Scene<'_>, problems: &mut Problems) {
    let given = scene.request.args.get(EPOCH).map(String::as_str);
    let epoch = given.or_else(|| scene.globals.value(EPOCH)).unwrap_or_default();
    if epoch.is_empty() || epoch == "context" || value::integer(epoch).is_some() {
        return;
    }
    let stages = &scene.dockerfile.stages;
    let of_name = |stage: &&Stage| stage.name.as_deref() == Some(epoch.to_lowercase().as_str());
    let (span, reason) = match stages.iter().find(of_name) {
        None => (Span::default(), "neither a time in seconds, nor `context`, nor a stage"),
        Some(stage) => {
            let span = scene.dockerfile.instructions[stage.from].span;
            match source(scene, stage) {
                Ok(()) => return,
                Err(reason) => (span, reason),
            }
        }
    };
    let message = format!("{EPOCH} is `{epoch}`: {reason}");
    let help = "set it to seconds since 1970, or to a stage that is FROM scratch and has one ADD of a \
                URL or a repository";
    problems.error(problem::EPOCH, span, message, help);
}

/// Variables as a stage that is only a source sees them.
struct Overlaid<'a> {
    scene: &'a Scene<'a>,
    own: BTreeMap<String, String>,
}

impl Variables for Overlaid<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        match self.own.get(name) {
            Some(value) => Some(value),
            None if name == EPOCH => None,
            None => self.scene.globals.value(name),
        }
    }
}

/// Checks a stage that is to have a time: FROM scratch, and one ADD of one remote source.
fn source(scene: &Scene<'_>, stage: &Stage) -> Result<(), &'static str> {
    let unreadable = "its stage cannot be read";
    let instructions = &scene.dockerfile.instructions[stage.from..stage.end];
    let mut variables = Overlaid { scene, own: BTreeMap::new() };
    let mut added = false;
    for instruction in instructions {
        let command = command::read(instruction, &mut Problems::default()).ok_or(unreadable)?;
        match command {
            Command::From(from) => {
                let base =
                    expand(&from.base.text, scene.shell, &variables).map_err(|_| unreadable)?;
                if base.text != SCRATCH {
                    return Err("its stage is not FROM scratch");
                }
            }
            Command::Arg(declarations) => {
                for declaration in declarations {
                    let given = scene.request.args.get(declaration.name);
                    let value = match (given, declaration.default) {
                        (Some(given), _) => given.clone(),
                        (None, Some(default)) => {
                            let text = expand(default, scene.shell, &variables);
                            text.map_err(|_| unreadable)?.text
                        }
                        (None, None) => continue,
                    };
                    variables.own.insert(declaration.name.to_owned(), value);
                }
            }
            Command::Copy(copy) if copy.is_add && !added => {
                added = true;
                check_add(&copy, scene.shell, &variables)?;
            }
            _ => return Err("its stage has more than one ADD"),
        }
    }
    if added { Ok(()) } else { Err("its stage has no ADD") }
}

fn check_add(copy: &Copy<'_>, shell: Shell, variables: &dyn Variables) -> Result<(), &'static str> {
    let [source] = copy.sources[..] else { return Err("its stage adds more than one source") };
    if !copy.contents.is_empty() {
        return Err("its stage adds more than one source");
    }
    let unreadable = "what its stage adds cannot be read";
    let source = expand(&source.text, shell, variables).map_err(|_| unreadable)?.text;
    let origin = remote::origin(&source).map_err(|_| unreadable)?;
    if origin == Origin::Local {
        return Err("its stage adds nothing that is fetched");
    }
    let Some(checksum) = copy.flags.value("checksum") else { return Ok(()) };
    let checksum = expand(checksum.text, shell, variables).map_err(|_| unreadable)?.text;
    if origin == Origin::Http && !checksum.is_empty() && !remote::is_checksum(&checksum) {
        return Err("the checksum in its stage is none");
    }
    Ok(())
}
