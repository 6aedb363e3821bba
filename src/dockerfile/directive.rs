//! The comments at the top that are more than comments: `# syntax=`, `# escape=`, `# check=`.
//!
//! Follows BuildKit's `parser/directives.go`. They stand above everything else; the first line that
//! is no known directive ends them, be it blank or a comment.

use crate::diagnostic::Span;
use crate::dockerfile::instruction::Word;
use crate::dockerfile::problem::{self, Problems};

/// The directives that are known.
const NAMES: [&str; 3] = ["syntax", "escape", "check"];

/// The escape character where no directive names another.
pub const DEFAULT_ESCAPE: char = '\\';

/// The directives of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    found: [Option<Word>; NAMES.len()],
    over: bool,
}

impl Directives {
    /// The escape character, which also continues lines: `\` or a backtick.
    pub fn escape(&self) -> char {
        match &self.found[1] {
            Some(word) if word.text == "`" => '`',
            _ => DEFAULT_ESCAPE,
        }
    }

    /// The value of `# check=`.
    pub fn check(&self) -> Option<&Word> {
        self.found[2].as_ref()
    }

    /// The value of `# escape=`.
    pub fn escape_word(&self) -> Option<&Word> {
        self.found[1].as_ref()
    }

    /// Reads a line without its end and without the white space at its beginning.
    pub(crate) fn read(&mut self, line: &str, at: usize, problems: &mut Problems) {
        if self.over {
            return;
        }
        let Some((name, value)) = directive(line, "#") else {
            self.over = true;
            return;
        };
        let start = at + (value.as_ptr() as usize - line.as_ptr() as usize);
        let span = Span::from(start..start + value.len());
        let slot = &mut self.found[name];
        if slot.is_some() {
            problems.error(
                problem::DIRECTIVE,
                Span::from(at..at + line.trim_end().len()),
                format!("the directive `{}` is given twice", NAMES[name]),
                "keep one of them",
            );
            return;
        }
        if NAMES[name] == "escape" && value != "\\" && value != "`" {
            problems.error(
                problem::DIRECTIVE,
                span,
                format!("`{value}` cannot be the escape character"),
                "write `\\` or a backtick",
            );
        }
        *slot = Some(Word { text: value.to_owned(), span });
    }
}

/// A line that is a known directive: its place in [`NAMES`], and its value.
fn directive<'a>(line: &'a str, comment: &str) -> Option<(usize, &'a str)> {
    let line = line.strip_prefix(comment)?.trim_start();
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end_matches(REGEXP_SPACE);
    let value = match value.trim_matches(REGEXP_SPACE) {
        // A blank that nothing follows is a value to the regular expression `=\s*(.+?)\s*$`.
        "" => &value[value.len().checked_sub(1)?..],
        trimmed => trimmed,
    };
    let place = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    Some((place, value))
}

/// What `\s` means in a regular expression of Go.
const REGEXP_SPACE: [char; 5] = ['\t', '\n', '\u{c}', '\r', ' '];

/// The image of the frontend that a file asks for, by `# syntax=`, `// syntax=`, or, where it is a
/// JSON document, by its member `syntax` (`DetectSyntax`). A first line `#!` is passed over; a byte
/// order mark is not expected.
pub(crate) fn syntax(text: &str) -> Option<String> {
    let text = match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") => rest,
        None if text.starts_with("#!") => "",
        _ => text,
    };
    syntax_comment(text, "#").or_else(|| syntax_comment(text, "//")).or_else(|| syntax_json(text))
}

fn syntax_comment(text: &str, comment: &str) -> Option<String> {
    let mut seen = [false; NAMES.len()];
    for line in text.lines() {
        let (name, value) = directive(line, comment)?;
        if std::mem::replace(&mut seen[name], true) {
            return None;
        }
        if NAMES[name] == "syntax" {
            return value.split(' ').next().map(str::to_owned);
        }
    }
    None
}

fn syntax_json(text: &str) -> Option<String> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let document: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    document.get("syntax")?.as_str().map(str::to_owned)
}
