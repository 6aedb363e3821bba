//! A problem that a user can mend: what, where (path and span), and the way out.
//!
//! Diagnostics are collected, never thrown at the first: whoever finds one goes on looking. They
//! are data; `report::diagnostics` draws them with the text underlined.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// How much a problem weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Probably not what was meant; the work goes on.
    Warning,
    /// The workspace cannot be used until it is mended.
    Error,
}

/// A range of bytes in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The span as a range of `usize`.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl From<Range<usize>> for Span {
    /// Offsets beyond 4 GiB are cut to the largest span.
    fn from(range: Range<usize>) -> Self {
        let cut = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Self { start: cut(range.start), end: cut(range.end) }
    }
}

/// A place in a file of the workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The path relative to the workspace root, with `/` between its parts.
    pub path: Arc<str>,
    /// The bytes in question; `None` means the whole file.
    pub span: Option<Span>,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it weighs.
    pub severity: Severity,
    /// A stable code, `IG` and three digits; the table is in `docs/diagnostics.md`.
    pub code: &'static str,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// Where. A parser, which knows no path, leaves [`Place::path`] empty and
    /// [`Diagnostic::in_file`] fills it in.
    pub place: Option<Place>,
    /// What to do about it: an imperative sentence without full stop.
    pub help: Option<String>,
    /// Other places that belong to it, each with a few words.
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message.into())
    }

    /// A warning.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message.into())
    }

    /// A note.
    pub fn note(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, message.into())
    }

    fn new(severity: Severity, code: &'static str, message: String) -> Self {
        Self { severity, code, message, place: None, help: None, related: Vec::new() }
    }

    /// Points at bytes of a file that is not known yet: see [`Diagnostic::in_file`].
    #[must_use]
    pub fn at(mut self, span: impl Into<Span>) -> Self {
        self.place = Some(Place { path: Arc::from(""), span: Some(span.into()) });
        self
    }

    /// Points at a place.
    #[must_use]
    pub fn at_place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place, with a few words.
    #[must_use]
    pub fn and(mut self, place: Place, words: impl Into<String>) -> Self {
        self.related.push((place, words.into()));
        self
    }

    /// Fills in the path of every place that has none.
    #[must_use]
    pub fn in_file(mut self, path: &Arc<str>) -> Self {
        let related = self.related.iter_mut().map(|(place, _)| place);
        for place in self.place.iter_mut().chain(related) {
            if place.path.is_empty() {
                place.path = Arc::clone(path);
            }
        }
        if self.place.is_none() {
            self.place = Some(Place { path: Arc::clone(path), span: None });
        }
        self
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The texts that diagnostics may point into, by path.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<Arc<str>, Arc<str>>);

impl Sources {
    /// Adds the text of a file.
    pub fn insert(&mut self, path: Arc<str>, text: Arc<str>) {
        self.0.insert(path, text);
    }

    /// Adds the texts of others, in the place of those that are here.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The text of a file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(AsRef::as_ref)
    }

    /// The line and the column (both from 1, the column in characters) where a place begins.
    pub fn line_column(&self, place: &Place) -> Option<(usize, usize)> {
        let start = place.span?.start as usize;
        let before = self.text(&place.path)?.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Some((line, before[line_start..].chars().count() + 1))
    }

    /// `path:line:column`, or as much of it as is known.
    pub fn locate(&self, place: &Place) -> String {
        match self.line_column(place) {
            Some((line, column)) => format!("{}:{line}:{column}", place.path),
            None => place.path.to_string(),
        }
    }
}

/// The candidate nearest to a misspelt word, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let limit = (length / 3).max(1);
    // Words cannot be nearer than their lengths are, and a text full of mistakes asks often.
    let plausible = |candidate: &&str| candidate.chars().count().abs_diff(length) <= limit;
    let measured = |candidate: &'a str| (strsim::osa_distance(word, candidate), candidate);
    let near = candidates.into_iter().filter(plausible).map(measured);
    let near = near.filter(|(distance, _)| *distance <= limit);
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_in_lines_and_characters() {
        let mut sources = Sources::default();
        sources.insert(Arc::from("a"), Arc::from("one\nzwölf x\n"));
        let place = Place { path: Arc::from("a"), span: Some(Span { start: 11, end: 12 }) };
        assert_eq!(sources.locate(&place), "a:2:7");
        assert_eq!(sources.locate(&Place { path: Arc::from("b"), span: None }), "b");
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(nearest("contxt", ["context", "target"]), Some("context"));
        assert_eq!(nearest("zzz", ["context", "target"]), None);
    }
}
