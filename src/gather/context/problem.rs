//! What can be wrong with the reads of a context, in words: place, reason, way out.

use std::sync::Arc;

use crate::context::Entry;
use crate::diagnostic::{Diagnostic, Place, nearest};
use crate::dockerfile::ContextRead;
use crate::dockerfile::reads::ContextKind;
use crate::gather::context::{Context, Listing, below, join};
use crate::gather::root::Kind;
use crate::ignorefile::Rule;

/// Why a source of a read is not there.
#[derive(Debug)]
pub(super) enum Missing<'a> {
    /// There is no such path; `near` is a name in the same directory that may be meant.
    Absent { near: Option<String> },
    /// It is there, but the ignore file leaves it out.
    LeftOut(&'a Rule),
    /// A link leads to it.
    Dangling { link: Vec<u8>, text: Vec<u8> },
    /// The links that lead to it are more than BuildKit follows.
    Endless,
    /// It is nothing that can be copied.
    Special,
    /// It could not be looked at; that is said already.
    Unreadable,
}

/// Problems, collected.
pub(super) struct Problems<'a> {
    context: &'a Context<'a>,
    pub(super) all: Vec<Diagnostic>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(context: &'a Context<'a>) -> Self {
        Self { context, all: Vec::new() }
    }

    /// The listing, unless there is an error.
    pub(super) fn settle(self, entries: Vec<Entry>) -> Result<Listing, Vec<Diagnostic>> {
        if self.all.iter().any(Diagnostic::is_error) {
            return Err(self.all);
        }
        Ok(Listing { entries, notes: self.all })
    }

    /// A file or directory cannot be read.
    pub(super) fn unreadable(&mut self, path: &[u8], error: &dyn std::error::Error) {
        let message = format!("cannot read `{}`: {error}", self.shown(path));
        let problem = Diagnostic::error("IG315", message).at_place(self.place(path));
        self.all.push(problem.help("make it readable, or leave it out in `.dockerignore`"));
    }

    /// A pattern of a read cannot be used.
    pub(super) fn bad_pattern(&mut self, read: &ContextRead, pattern: &str, why: &str) {
        let message = format!("{} has the pattern `{pattern}`: {why}", instruction(read));
        let help = "escape `[` with a backslash where it is meant literally";
        self.all.push(Diagnostic::error("IG312", message).at(read.span).help(help));
    }

    /// A directory or a wildcard brings something that cannot be copied: it is skipped.
    pub(super) fn skipped(&mut self, path: &[u8], kind: Kind) {
        let name = self.shown(path);
        let problem = match kind {
            Kind::Device => Diagnostic::warning("IG317", format!("`{name}` is a device: skipped")),
            _ => Diagnostic::note("IG316", format!("`{name}` is a pipe or a socket: skipped")),
        };
        let help = "leave it out in `.dockerignore`: images are built from files, directories and \
                    links";
        self.all.push(problem.at_place(self.place(path)).help(help));
    }

    /// A source is not there.
    pub(super) fn missing(&mut self, read: &ContextRead, path: &[u8], why: &Missing<'_>) {
        let name = shown(path);
        let what = format!("{} cannot find `{name}` in the build context", instruction(read));
        let problem = match why {
            Missing::Absent { near } => self.absent(what, near.as_deref()),
            Missing::LeftOut(rule) => self.left_out(read, &name, rule),
            Missing::Dangling { link, text } => {
                let (link, text) = (shown(link), shown(text));
                let message = format!("{what}: the link `{link}` leads to `{text}`");
                let help = "links are followed within the build context only; \
                            copy the file itself into it";
                Diagnostic::error("IG314", message).help(help)
            }
            Missing::Endless => {
                let message = format!("{what}: there are too many symbolic links on the way");
                Diagnostic::error("IG313", message).help("break the circle of links")
            }
            Missing::Special => {
                let message = format!("`{name}` is no file, directory or link");
                Diagnostic::error("IG318", message).help("copy something else")
            }
            Missing::Unreadable => return,
        };
        self.all.push(problem.at(read.span));
    }

    fn absent(&self, what: String, near: Option<&str>) -> Diagnostic {
        let problem = Diagnostic::error("IG310", what);
        let directory = below(self.context.path, b"");
        match (near, directory.is_empty()) {
            (Some(near), _) => problem.help(format!("did you mean `{near}`?")),
            (None, true) => problem.help("paths are relative to the root of the workspace here"),
            (None, false) => problem.help(format!("paths are relative to `{}`", shown(&directory))),
        }
    }

    fn left_out(&self, read: &ContextRead, name: &str, rule: &Rule) -> Diagnostic {
        let file = &self.context.ignore.path;
        let message = format!(
            "{} cannot find `{name}` in the build context: line {} of `{file}` leaves it out",
            instruction(read),
            rule.line,
        );
        let place = Place { path: Arc::clone(file), span: Some(rule.span) };
        let help = format!("add `!{name}` below that line, or make `{}` narrower", rule.text);
        Diagnostic::error("IG311", message).and(place, "left out here").help(help)
    }

    fn shown(&self, path: &[u8]) -> String {
        let path = below(self.context.path, path);
        if path.is_empty() { ".".to_owned() } else { shown(&path) }
    }

    fn place(&self, path: &[u8]) -> Place {
        let path = String::from_utf8_lossy(&below(self.context.path, path)).into_owned();
        Place { path: Arc::from(path), span: None }
    }
}

/// The name nearest to that of a missing path, with its directory.
pub(super) fn near(directory: &[u8], missing: &[u8], names: &[&[u8]]) -> Option<String> {
    let missing = std::str::from_utf8(missing).ok()?;
    let names = names.iter().filter_map(|name| std::str::from_utf8(name).ok());
    let name = nearest(missing, names)?;
    Some(shown(&join(directory, name.as_bytes())))
}

fn instruction(read: &ContextRead) -> &'static str {
    match read.kind {
        ContextKind::Copy => "COPY",
        ContextKind::Add => "ADD",
        ContextKind::Mount => "RUN --mount",
    }
}

/// A path for people: on one line, whatever it holds.
fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let escape = |c: char| c.is_control().then(|| c.escape_default().to_string());
    text.chars().map(|c| escape(c).unwrap_or_else(|| c.to_string())).collect()
}
