//! The flags of an instruction: a closed set for each, none of them twice.
//!
//! Follows BuildKit's `instructions/bflag.go`.

use crate::diagnostic::{Span, nearest};
use crate::dockerfile::instruction::Instruction;
use crate::dockerfile::problem::{self, Problems};

/// What a flag may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing, `true` or `false`.
    Switch,
    /// One value.
    Value,
    /// A value each time it is given.
    Values,
}

/// The flags that an instruction knows.
pub(crate) type Known = &'static [(&'static str, Kind)];

/// The value of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    /// The text behind `=`, unquoted.
    pub(crate) text: &'a str,
    /// The whole flag.
    pub(crate) span: Span,
}

/// The flags that an instruction has.
#[derive(Debug, Default)]
pub(crate) struct Flags<'a> {
    found: Vec<(&'static str, Value<'a>)>,
}

impl<'a> Flags<'a> {
    /// The value of a flag; `None` if it is not given, or empty.
    pub(crate) fn value(&self, name: &str) -> Option<Value<'a>> {
        self.values(name).find(|value| !value.text.is_empty())
    }

    /// The values of a flag that may be given many times.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = Value<'a>> {
        self.found.iter().filter(move |flag| flag.0 == name).map(|flag| flag.1)
    }

    /// Whether a switch is on; `None` if it is not given.
    pub(crate) fn switch(&self, name: &str) -> Option<bool> {
        self.values(name).next().map(|value| !value.text.eq_ignore_ascii_case("false"))
    }
}

/// Reads the flags; `None` if something is wrong with them.
pub(crate) fn read<'a>(
    instruction: &'a Instruction,
    known: Known,
    problems: &mut Problems,
) -> Option<Flags<'a>> {
    let mut flags = Flags::default();
    let mut good = true;
    for word in &instruction.flags {
        let flag = Written { text: &word.text, span: word.span };
        match flag.check(instruction, known, &flags) {
            Ok(found) => {
                flags.found.push(found);
                if !word.text.is_ascii() {
                    let message = "BuildKit garbles flags that are not ASCII";
                    let help = "write it in ASCII, for example by renaming what it refers to";
                    problems.warning(problem::FLAG_ASCII, word.span, message, help);
                }
            }
            Err((code, message, help)) => {
                good = false;
                problems.error(code, word.span, message, help);
            }
        }
    }
    good.then_some(flags)
}

struct Written<'a> {
    text: &'a str,
    span: Span,
}

type Wrong = (&'static str, String, String);

impl<'a> Written<'a> {
    fn check(
        &self,
        instruction: &Instruction,
        known: Known,
        before: &Flags<'_>,
    ) -> Result<(&'static str, Value<'a>), Wrong> {
        let (flag, value) = match self.text.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (self.text, None),
        };
        let name = flag.strip_prefix("--").unwrap_or(flag);
        let Some((known_name, kind)) = known.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(instruction, name, known));
        };
        if *kind != Kind::Values && before.values(known_name).next().is_some() {
            let message = format!("the flag {flag} is given twice");
            return Err((problem::FLAG, message, "keep one of them".to_owned()));
        }
        let text = match (kind, value) {
            (Kind::Switch, None) => "true",
            (Kind::Switch, Some(value)) if is_truth(value) => value,
            (Kind::Switch, Some(value)) => {
                let message = format!("{flag} cannot be `{value}`");
                let help = format!("write {flag}, {flag}=true or {flag}=false");
                return Err((problem::FLAG, message, help));
            }
            (Kind::Value | Kind::Values, Some(value)) => value,
            (Kind::Value | Kind::Values, None) => {
                let message = format!("{flag} has no value");
                return Err((problem::FLAG, message, format!("write {flag}=...")));
            }
        };
        Ok((known_name, Value { text, span: self.span }))
    }
}

fn is_truth(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false")
}

fn unknown(instruction: &Instruction, name: &str, known: Known) -> Wrong {
    let keyword = instruction.keyword;
    let message = format!("{keyword} knows no flag --{name}");
    let names = || known.iter().map(|(name, _)| *name);
    let help = match nearest(name, names()) {
        Some(near) => format!("write --{near}"),
        None if known.is_empty() => format!("remove it: {keyword} has no flags"),
        None => format!("use one of --{}", names().collect::<Vec<_>>().join(", --")),
    };
    (problem::FLAG, message, help)
}
