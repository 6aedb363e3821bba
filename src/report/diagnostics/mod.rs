//! Diagnostics drawn with the text underlined, and as JSON.
//!
//! Places are mended before they are drawn: a span may lie outside of its text or within a
//! character, and the text may be unknown. None of that is a reason not to show a problem.

use std::collections::BTreeMap;
use std::ops::Range;

use annotate_snippets::{
    AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, Place, Severity, Sources};
use crate::report::sentence;
use crate::report::style::Style;
use crate::report::text::printable;

/// The width that long lines of a source are cut to where the terminal's is not known.
pub const WIDTH: usize = 120;

/// How many lines of a span are drawn; of a longer one, the first.
const SPAN_LINES: usize = 6;

/// How a drawing looks.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Colours.
    pub style: Style,
    /// The columns that long lines are cut to.
    pub width: usize,
}

impl Default for Look {
    fn default() -> Self {
        Self { style: Style::default(), width: WIDTH }
    }
}

/// All diagnostics in the order of their places, each with the text that it points at, and a last
/// line that counts them. Empty where there are none.
pub fn draw(diagnostics: &[Diagnostic], sources: &Sources, look: Look) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let renderer = if look.style.color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(look.width);
    let mut files = Files::new(sources);
    let mut text = String::new();
    for diagnostic in sorted(diagnostics) {
        text += &draw_one(diagnostic, &mut files, &renderer);
        text += "\n\n";
    }
    text + &counted(diagnostics) + "\n"
}

/// All diagnostics as a JSON array, in the order of their places, with a line end.
/// `docs/events.md` has its fields.
pub fn json(diagnostics: &[Diagnostic], sources: &Sources) -> String {
    let mut files = Files::new(sources);
    let objects: Vec<_> =
        sorted(diagnostics).into_iter().map(|it| JsonDiagnostic::of(it, &mut files)).collect();
    let mut text = serde_json::to_string(&objects).expect("a diagnostic has only text keys");
    text.push('\n');
    text
}

/// `3 errors, 1 warning`: how many there are of each severity, the worst first.
pub fn counted(diagnostics: &[Diagnostic]) -> String {
    let severities = [Severity::Error, Severity::Warning, Severity::Note];
    let counts = severities.map(|severity| {
        let number = diagnostics.iter().filter(|it| it.severity == severity).count();
        (number > 0).then(|| sentence::count(number, word(severity)))
    });
    counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// By path and position; what has no place comes first. Equal places keep their order.
fn sorted(diagnostics: &[Diagnostic]) -> Vec<&Diagnostic> {
    let mut sorted: Vec<_> = diagnostics.iter().collect();
    sorted.sort_by(|left, right| left.place.cmp(&right.place));
    sorted
}

/// The word for a severity.
pub const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

const fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    }
}

fn draw_one<'a>(diagnostic: &'a Diagnostic, files: &mut Files<'a>, renderer: &Renderer) -> String {
    let title =
        level(diagnostic.severity).primary_title(diagnostic.message.as_str()).id(diagnostic.code);
    let related = diagnostic.related.iter().map(|(place, words)| (place, Some(words.as_str())));
    let places = diagnostic.place.iter().map(|place| (place, None)).chain(related);
    let elements: Vec<_> = places.map(|(place, words)| element(place, words, files)).collect();
    let has_lines = elements.iter().any(|element| matches!(element, Element::Cause(_)));
    let mut group = Group::with_title(title).elements(elements);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
    }
    let drawing = renderer.render(&[group]);
    // Without a line number there is no column of them, and nothing would be indented.
    if has_lines { drawing } else { drawing.replace('\n', "\n ") }
}

/// A place, with the lines that it points at where they are known.
fn element<'a>(place: &'a Place, words: Option<&'a str>, files: &mut Files<'a>) -> Element<'a> {
    let path = printable(&place.path);
    let Some(excerpt) = files.excerpt(place) else {
        let path = match words {
            Some(words) => format!("{path}: {}", normalize_untrusted_str(words)),
            None => path.into_owned(),
        };
        return Origin::path(path).into();
    };
    let kind = match words {
        Some(_) => AnnotationKind::Context,
        None => AnnotationKind::Primary,
    };
    let words = words.map(normalize_untrusted_str);
    let annotation = kind.span(excerpt.span).label(words);
    Snippet::source(excerpt.text).line_start(excerpt.line).path(path).annotation(annotation).into()
}

/// The lines around a span, so that nobody has to read the whole file again for each.
struct Excerpt<'a> {
    text: &'a str,
    line: usize,
    span: Range<usize>,
}

/// The texts, with the beginnings of their lines found once.
struct Files<'a> {
    sources: &'a Sources,
    line_starts: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Files<'a> {
    fn new(sources: &'a Sources) -> Self {
        Self { sources, line_starts: BTreeMap::new() }
    }

    /// The text of a file with its lines' beginnings.
    fn lines(&mut self, path: &'a str) -> Option<(&'a str, &[usize])> {
        let text = self.sources.text(path)?;
        let starts = self.line_starts.entry(path).or_insert_with(|| {
            let after = text.match_indices('\n').map(|(newline, _)| newline + 1);
            std::iter::once(0).chain(after).collect()
        });
        Some((text, starts))
    }

    fn excerpt(&mut self, place: &'a Place) -> Option<Excerpt<'a>> {
        let range = place.span?.range();
        let (text, starts) = self.lines(&place.path)?;
        let range = mended(text, range);
        let first = line_of(starts, range.start);
        let last = line_of(starts, range.end.max(range.start + 1) - 1);
        let last = last.max(first).min(first + SPAN_LINES - 1);
        let from = starts[first];
        let to = starts.get(last + 1).map_or(text.len(), |next| next - 1);
        let to = if text[from..to].ends_with('\r') { to - 1 } else { to };
        let span = range.start.min(to) - from..range.end.clamp(range.start.min(to), to) - from;
        Some(Excerpt { text: &text[from..to], line: first + 1, span })
    }

    /// The line and the column of both ends, from 1, columns in characters.
    fn position(&mut self, place: &'a Place) -> Option<[(usize, usize); 2]> {
        let range = place.span?.range();
        let (text, starts) = self.lines(&place.path)?;
        let range = mended(text, range);
        Some([range.start, range.end].map(|offset| {
            let line = line_of(starts, offset);
            (line + 1, text[starts[line]..offset].chars().count() + 1)
        }))
    }
}

/// The line, from 0, that an offset lies in.
fn line_of(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset).saturating_sub(1)
}

/// A span that lies within its text, on the boundaries of characters, and does not end before it
/// begins.
fn mended(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start);
    let end = text.ceil_char_boundary(range.end.min(text.len()));
    start..end.max(start)
}

/// The form for programs; `docs/events.md` is the contract.
#[derive(Serialize)]
struct JsonDiagnostic<'a> {
    severity: &'static str,
    code: &'static str,
    message: &'a str,
    #[serde(flatten)]
    place: JsonPlace<'a>,
    help: Option<&'a str>,
    related: Vec<JsonRelated<'a>>,
}

#[derive(Serialize)]
struct JsonRelated<'a> {
    message: &'a str,
    #[serde(flatten)]
    place: JsonPlace<'a>,
}

#[derive(Default, Serialize)]
struct JsonPlace<'a> {
    path: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
}

impl<'a> JsonDiagnostic<'a> {
    fn of(diagnostic: &'a Diagnostic, files: &mut Files<'a>) -> Self {
        let place = diagnostic.place.as_ref();
        Self {
            severity: word(diagnostic.severity),
            code: diagnostic.code,
            message: &diagnostic.message,
            place: place.map(|place| JsonPlace::of(place, files)).unwrap_or_default(),
            help: diagnostic.help.as_deref(),
            related: diagnostic
                .related
                .iter()
                .map(|(place, message)| JsonRelated { message, place: JsonPlace::of(place, files) })
                .collect(),
        }
    }
}

impl<'a> JsonPlace<'a> {
    fn of(place: &'a Place, files: &mut Files<'a>) -> Self {
        let position = files.position(place);
        let start = position.map(|[start, _]| start);
        let end = position.map(|[_, end]| end);
        Self {
            path: Some(&place.path),
            line: start.map(|(line, _)| line),
            column: start.map(|(_, column)| column),
            end_line: end.map(|(line, _)| line),
            end_column: end.map(|(_, column)| column),
        }
    }
}

#[cfg(test)]
mod tests;
