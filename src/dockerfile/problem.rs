//! The codes of what can be wrong with a Dockerfile, and a place to collect what is.
//!
//! Every mistake is reported, the reading goes on behind it. Messages are lower case; each comes with
//! the bytes in question and with a way out.
//!
//! | code | what is wrong | found by |
//! |---|---|---|
//! | IG101 | the file is not text | `parse` |
//! | IG102 | an instruction holds a NUL byte, or is not UTF-8 (a warning) | `parse` |
//! | IG103 | a line is longer than 65,535 bytes | `parse` |
//! | IG104 | there is no instruction, or no stage | `parse` |
//! | IG105 | a directive (`# escape=`, `# syntax=`, `# check=`) is repeated or has no such value | `parse` |
//! | IG106 | a continued instruction holds an empty line (a warning) | `parse` |
//! | IG107 | a heredoc has no end, or its delimiter cannot be read | `parse` |
//! | IG108 | a heredoc stands where none may stand | `parse` |
//! | IG109 | the instruction is not known | `parse` |
//! | IG110 | a JSON array holds something else than strings | `parse` |
//! | IG111 | `name=value` is wanted | `parse` |
//! | IG112 | too many or too few arguments | `parse` |
//! | IG113 | the flag is not known here, is repeated, or has no such value | `parse` |
//! | IG114 | a flag is not ASCII, which BuildKit garbles (a warning, if it can be read at all) | `parse` |
//! | IG115 | the name of a stage is not one | `parse` |
//! | IG116 | an instruction stands before the first FROM | `parse` |
//! | IG117 | the instruction cannot be an ONBUILD trigger | `parse` |
//! | IG118 | the arguments of an instruction have no such form | `parse` |
//! | IG119 | a mount, or a device, is not well formed | both |
//! | IG140 | there is no stage of the name asked for | `resolve` |
//! | IG141 | a variable cannot be expanded | `resolve` |
//! | IG142 | the base of a stage is blank or no reference | `resolve` |
//! | IG143 | the platform is blank or none | `resolve` |
//! | IG144 | `COPY --from` cannot be followed | `resolve` |
//! | IG145 | stages need each other, or one that comes later | `resolve` |
//! | IG146 | a source cannot be copied this way | `resolve` |
//! | IG147 | the value of a flag or an argument is not valid | `resolve` |
//! | IG148 | an inherited ONBUILD trigger cannot be run | `resolve` |
//! | IG149 | `SOURCE_DATE_EPOCH` means nothing | `resolve` |
//! | IG150 | a name that only the base image could set chooses what is read (a warning) | `resolve` |

use crate::diagnostic::{Diagnostic, Span};

/// The file is not text.
pub const NOT_TEXT: &str = "IG101";
/// An instruction holds a NUL byte, or is not UTF-8.
pub const NOT_UTF8: &str = "IG102";
/// A line is longer than 65,535 bytes.
pub const LONG_LINE: &str = "IG103";
/// There is no instruction, or no stage.
pub const EMPTY: &str = "IG104";
/// A directive is repeated or has no such value.
pub const DIRECTIVE: &str = "IG105";
/// A continued instruction holds an empty line.
pub const EMPTY_LINE: &str = "IG106";
/// A heredoc has no end, or its delimiter cannot be read.
pub const HEREDOC: &str = "IG107";
/// A heredoc stands where none may stand.
pub const HEREDOC_PLACE: &str = "IG108";
/// The instruction is not known.
pub const UNKNOWN_INSTRUCTION: &str = "IG109";
/// A JSON array holds something else than strings.
pub const JSON: &str = "IG110";
/// `name=value` is wanted.
pub const PAIR: &str = "IG111";
/// Too many or too few arguments.
pub const ARGUMENTS: &str = "IG112";
/// The flag is not known here, is repeated, or has no such value.
pub const FLAG: &str = "IG113";
/// A flag is not ASCII.
pub const FLAG_ASCII: &str = "IG114";
/// The name of a stage is not one.
pub const STAGE_NAME: &str = "IG115";
/// An instruction stands before the first FROM.
pub const BEFORE_FROM: &str = "IG116";
/// The instruction cannot be an ONBUILD trigger.
pub const TRIGGER: &str = "IG117";
/// The arguments of an instruction have no such form.
pub const FORM: &str = "IG118";
/// A mount, or a device, is not well formed.
pub const MOUNT: &str = "IG119";
/// There is no stage of the name asked for.
pub const TARGET: &str = "IG140";
/// A variable cannot be expanded.
pub const EXPANSION: &str = "IG141";
/// The base of a stage is blank or no reference.
pub const BASE: &str = "IG142";
/// The platform is blank or none.
pub const PLATFORM: &str = "IG143";
/// `COPY --from` cannot be followed.
pub const COPY_FROM: &str = "IG144";
/// Stages need each other, or one that comes later.
pub const STAGE_ORDER: &str = "IG145";
/// A source cannot be copied this way.
pub const SOURCE: &str = "IG146";
/// The value of a flag or an argument is not valid.
pub const VALUE: &str = "IG147";
/// An inherited ONBUILD trigger cannot be run.
pub const ONBUILD: &str = "IG148";
/// `SOURCE_DATE_EPOCH` means nothing.
pub const EPOCH: &str = "IG149";
/// A name that only the base image could set chooses what is read.
pub const UNKNOWN_NAME: &str = "IG150";

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Diagnostic>,
}

impl Problems {
    /// Adds an error: what is wrong where, and what to do about it.
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.push(Diagnostic::error(code, message).at(span).help(help));
    }

    /// Adds a warning.
    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.push(Diagnostic::warning(code, message).at(span).help(help));
    }

    /// Whether an error is among them.
    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(Diagnostic::is_error)
    }

    /// All of them, in the order of the text.
    pub(crate) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|problem| problem.place.as_ref().and_then(|place| place.span));
        self.found
    }
}
