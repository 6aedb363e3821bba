//! Ignore files: which paths of a build context an engine does not see, and which line says so.
//!
//! The rules are those of `.dockerignore` and not of `.gitignore`: every pattern is anchored at the
//! root of the context; a pattern matches a path or any directory above it; the last pattern that
//! matches wins; `!` takes a path in again, even below a directory that is left out. `**` is any
//! number of directories, `*` and `?` stop at a slash, a backslash escapes.
//!
//! Sources: moby/patternmatcher `patternmatcher.go`, `ignorefile/ignorefile.go`; the look-up in
//! BuildKit `frontend/dockerui/config.go` and buildah `pkg/parse/parse.go`. buildah reads the lines
//! differently ([`Reader`]); what a line matches is taken to be the same. Nothing here reads files.

mod class;
mod expression;
mod pattern;
mod patterns;
mod reader;

use std::sync::Arc;

pub use pattern::PatternError;
pub use patterns::{Patterns, Rule, Trail, Verdict};

use crate::diagnostic::{Diagnostic, Place, Span};

/// Whose reading of lines is followed, and whose look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// BuildKit: lines are trimmed and cleaned, `!` may be followed by blanks.
    BuildKit,
    /// buildah and podman: slashes are trimmed at both ends, and nothing else.
    Buildah,
}

/// A read ignore file.
#[derive(Clone, Debug)]
pub struct IgnoreFile {
    /// Its path relative to the workspace root, for messages; empty where there is no file.
    pub path: Arc<str>,
    /// Its patterns, in order.
    pub patterns: Patterns,
}

impl IgnoreFile {
    /// The file that is not there: nothing is ignored.
    pub fn absent() -> Self {
        Self { path: Arc::from(""), patterns: Patterns::default() }
    }

    /// Reads a file. Every line that cannot be used is an error (`IG301`, `IG302`); the others are
    /// returned nevertheless.
    ///
    /// BuildKit refuses a class such as `[b-a]` only when a path gets as far as that line; here it
    /// is refused at once.
    pub fn parse(path: &str, text: &[u8], reader: Reader) -> (Self, Vec<Diagnostic>) {
        let path: Arc<str> = Arc::from(path);
        let mut patterns = Patterns::default();
        let mut diagnostics = Vec::new();
        for line in reader::lines(text, reader) {
            let span = Span::from(line.start..line.start + line.text.trim_ascii_end().len());
            let place = Place { path: Arc::clone(&path), span: Some(span) };
            if reader == Reader::BuildKit && line.is_too_long() {
                let problem = Diagnostic::error("IG302", "line longer than 64 KiB");
                diagnostics.push(problem.at_place(place).help("split the line"));
                continue;
            }
            if let Err(error) = patterns.push(line.number, span, &line.pattern) {
                let written = String::from_utf8_lossy(line.text.trim_ascii());
                let message = format!("pattern `{written}`: {error}");
                let problem = Diagnostic::error("IG301", message).at_place(place);
                diagnostics.push(problem.help(help(&error)));
            }
        }
        (Self { path, patterns }, diagnostics)
    }
}

fn help(error: &PatternError) -> &'static str {
    match error {
        PatternError::LoneNegation => {
            "write what to take in again behind the `!`, or drop the line"
        }
        PatternError::UnicodeClass => "list the characters instead",
        _ => "escape `[`, `]`, `*`, `?` and `\\` with a backslash where they are meant literally",
    }
}

/// Where an ignore file may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// In the directory of the Dockerfile, under this name.
    BesideDockerfile(String),
    /// At the root of the context, under this name.
    ContextRoot(&'static str),
}

/// Where to look for the ignore file of a Dockerfile: the first that exists is read, alone, even
/// if it is empty.
///
/// `dockerfile_name` is the name of the file without its directory. For buildah this is the order
/// without `--ignorefile`.
pub fn candidates(dockerfile_name: &str, reader: Reader) -> Vec<Candidate> {
    let beside = |ending: &str| Candidate::BesideDockerfile(format!("{dockerfile_name}.{ending}"));
    match reader {
        Reader::BuildKit => vec![beside("dockerignore"), Candidate::ContextRoot(".dockerignore")],
        Reader::Buildah => vec![
            beside("dockerignore"),
            beside("containerignore"),
            Candidate::ContextRoot(".containerignore"),
            Candidate::ContextRoot(".dockerignore"),
        ],
    }
}

#[cfg(test)]
mod tests;
