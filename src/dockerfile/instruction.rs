//! Instructions as they are written: keyword, flags, arguments, heredocs, each with its place.
//!
//! This is what BuildKit's `parser` package knows. What an instruction means, and whether it may say
//! what it says, is for `command` to find out.

use std::fmt;
use std::str::FromStr;

use crate::diagnostic::Span;

/// A piece of an instruction, unquoted where its place asks for that, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The text; continuation characters and line ends are gone.
    pub text: String,
    /// The bytes of the file, from the first to the last of it.
    pub span: Span,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Which one.
    pub keyword: Keyword,
    /// The keyword as it is written.
    pub name: Word,
    /// The leading words that begin with `--`, unquoted.
    pub flags: Vec<Word>,
    /// What stands behind the flags.
    pub arguments: Arguments,
    /// The heredocs, in order.
    pub heredocs: Vec<Heredoc>,
    /// Its first line, from 1.
    pub first_line: u32,
    /// Its last line, from 1, that of the last heredoc's delimiter if it has heredocs.
    pub last_line: u32,
    /// From the keyword to the last argument, without heredocs.
    pub span: Span,
    /// The bytes that are no UTF-8, in order; its texts have U+FFFD in their place.
    pub odd_bytes: Vec<u8>,
}

impl Instruction {
    /// Whether the arguments are a JSON array (the exec form).
    pub fn is_json(&self) -> bool {
        match &self.arguments {
            Arguments::Json(_) => true,
            Arguments::Health { command, .. } => matches!(**command, Arguments::Json(_)),
            _ => false,
        }
    }
}

/// What stands behind the flags of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing.
    None,
    /// The rest of the line: RUN, CMD, ENTRYPOINT, SHELL in shell form; MAINTAINER, STOPSIGNAL,
    /// USER, WORKDIR.
    Line(Word),
    /// Words between blanks: FROM, EXPOSE; ADD, COPY, VOLUME where they are no JSON array; ARG.
    Words(Vec<Word>),
    /// The strings of a JSON array.
    Json(Vec<Word>),
    /// ENV and LABEL.
    Pairs(Vec<Pair>),
    /// HEALTHCHECK: `CMD` or `NONE`, and the command.
    Health {
        /// `CMD` or `NONE`.
        kind: Word,
        /// A line, a JSON array, or nothing.
        command: Box<Arguments>,
    },
    /// ONBUILD: the instruction to be run later, as text and as it is read.
    Trigger {
        /// The line behind ONBUILD, without heredocs.
        text: String,
        /// The same as an instruction, without heredocs.
        instruction: Box<Instruction>,
    },
    /// Not read: the keyword is unknown, or a mistake was reported.
    Unread,
}

/// A name and a value of ENV or LABEL, quotes and variables as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: Word,
    /// The value.
    pub value: Word,
    /// Whether they are joined by `=` or by a blank, as was usual once (`ENV name the rest`).
    pub joint: Joint,
}

/// What stands between a name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// `name=value`
    Equals,
    /// `name value`
    Blank,
}

/// A heredoc of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, unquoted: `EOF`.
    pub name: String,
    /// Whether variables are expanded, in COPY and ADD: the delimiter is not quoted.
    pub expands: bool,
    /// Whether leading tabs are stripped: `<<-EOF`.
    pub strips_tabs: bool,
    /// The lines between, with their ends, as written.
    pub content: String,
}

/// The keyword of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keyword {
    /// ADD
    Add,
    /// ARG
    Arg,
    /// CMD
    Cmd,
    /// COPY
    Copy,
    /// ENTRYPOINT
    Entrypoint,
    /// ENV
    Env,
    /// EXPOSE
    Expose,
    /// FROM
    From,
    /// HEALTHCHECK
    Healthcheck,
    /// LABEL
    Label,
    /// MAINTAINER
    Maintainer,
    /// ONBUILD
    Onbuild,
    /// RUN
    Run,
    /// SHELL
    Shell,
    /// STOPSIGNAL
    Stopsignal,
    /// USER
    User,
    /// VOLUME
    Volume,
    /// WORKDIR
    Workdir,
    /// None of these.
    Unknown,
}

impl Keyword {
    /// All that are known.
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::Onbuild,
        Self::Run,
        Self::Shell,
        Self::Stopsignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    /// As it is written usually, in upper case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::Onbuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::Stopsignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
            Self::Unknown => "?",
        }
    }

    /// Whether it may have heredocs.
    pub const fn takes_heredocs(self) -> bool {
        matches!(self, Self::Add | Self::Copy | Self::Run)
    }
}

impl FromStr for Keyword {
    type Err = std::convert::Infallible;

    /// Case does not matter; what is not known is [`Keyword::Unknown`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_it = |keyword: &Self| keyword.as_str().eq_ignore_ascii_case(text);
        Ok(Self::ALL.into_iter().find(is_it).unwrap_or(Self::Unknown))
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
