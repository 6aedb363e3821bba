//! Lines of a file to logical lines: directives, comments and continuations are dealt with here.
//!
//! Follows BuildKit's `parser/parser.go`. A logical line remembers where each of its bytes comes
//! from. It does not know instructions; heredocs are read when the parser asks for them.

use std::borrow::Cow;
use std::ops::Range;

use crate::diagnostic::Span;
use crate::dockerfile::directive::Directives;
use crate::dockerfile::instruction::Word;
use crate::dockerfile::problem::{self, Problems};

/// The longest line that BuildKit reads, without its line feed (`bufio.MaxScanTokenSize - 1`).
const MAX_LINE: usize = 65_535;

/// The byte order mark.
const MARK: char = '\u{feff}';

/// The text of a file, every byte at its offset, fit to be cut into strings.
pub(crate) struct Text<'a> {
    /// The text; a byte that is not UTF-8 is a `?`.
    whole: Cow<'a, str>,
    /// Where a byte is not UTF-8, or NUL, in order.
    bad: Vec<usize>,
    /// The length of the byte order mark.
    mark: usize,
}

impl<'a> Text<'a> {
    /// Takes the bytes of a file. A byte order mark at the beginning becomes blanks.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut bad: Vec<usize> =
            bytes.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at).collect();
        let mut text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(replaced(bytes, &mut bad)),
        };
        let mark = if text.starts_with(MARK) { MARK.len_utf8() } else { 0 };
        if mark > 0 {
            text.to_mut().replace_range(..mark, "   ");
        }
        bad.sort_unstable();
        Self { whole: text, bad, mark }
    }

    /// The text behind the byte order mark.
    pub(crate) fn without_mark(&self) -> &str {
        &self.whole[self.mark..]
    }

    fn has_bad_bytes(&self, range: Range<usize>) -> Option<usize> {
        let first = *self.bad.get(self.bad.partition_point(|at| *at < range.start))?;
        (first < range.end).then_some(first)
    }
}

/// The text with `?` for every byte that is not UTF-8, so that offsets stay what they are.
fn replaced(bytes: &[u8], bad: &mut Vec<usize>) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            bad.push(text.len());
            text.push('?');
        }
    }
    text
}

/// An instruction on one line: continuations joined, comments and empty lines dropped.
#[derive(Debug, Default)]
pub(crate) struct Logical {
    /// The joined text; white space at its beginning is gone, all other is kept.
    pub(crate) text: String,
    /// The first line, from 1.
    pub(crate) first_line: u32,
    /// The last line, from 1.
    pub(crate) last_line: u32,
    /// Where the pieces of `text` begin: in `text`, and in the file.
    pieces: Vec<(usize, usize)>,
    /// Where it stands if it is empty.
    start: usize,
}

impl Logical {
    /// Adds a piece of the file.
    fn push(&mut self, piece: &str, source: usize) {
        self.pieces.push((self.text.len(), source));
        self.text.push_str(piece);
    }

    /// Where a byte of the text stands in the file.
    fn source(&self, at: usize) -> usize {
        let next = self.pieces.partition_point(|(joined, _)| *joined <= at);
        match next.checked_sub(1).and_then(|index| self.pieces.get(index)) {
            Some((joined, source)) => source + (at - joined),
            None => self.start,
        }
    }

    /// The bytes of the file that a range of the text comes from.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let start = self.source(range.start);
        if range.is_empty() {
            return Span::from(start..start);
        }
        Span::from(start..self.source(range.end - 1) + 1)
    }

    /// A range of the text as a word.
    pub(crate) fn word(&self, range: Range<usize>) -> Word {
        Word { text: self.text[range.clone()].to_owned(), span: self.span(range) }
    }
}

/// Reads logical lines, one after the other.
pub(crate) struct Lexer<'a> {
    source: &'a Text<'a>,
    rest: &'a str,
    line: u32,
    /// What the comments at the top say.
    pub(crate) directives: Directives,
    /// What is wrong so far.
    pub(crate) problems: Problems,
}

impl<'a> Lexer<'a> {
    /// Begins at the top of a text.
    pub(crate) fn new(source: &'a Text<'a>) -> Self {
        Self {
            source,
            rest: &source.whole,
            line: 0,
            directives: Directives::default(),
            problems: Problems::default(),
        }
    }

    /// The next logical line.
    pub(crate) fn next_logical(&mut self) -> Option<Logical> {
        loop {
            let raw = self.next_line()?;
            let line = trim_newline(raw).trim_start();
            let at = self.offset(line);
            self.directives.read(line, at, &mut self.problems);
            let line = if is_comment(line) { "" } else { line };
            let (content, continues) = self.split_continuation(line);
            if content.is_empty() && !continues {
                continue;
            }
            let mut logical = Logical { first_line: self.line, start: at, ..Logical::default() };
            logical.push(content, at);
            if continues {
                self.continue_logical(&mut logical);
            }
            logical.last_line = self.line;
            self.check_bytes(&logical);
            return Some(logical);
        }
    }

    /// The body of a heredoc up to its delimiter; `None` if there is no such line.
    pub(crate) fn heredoc_body(&mut self, name: &str, strips_tabs: bool) -> Option<String> {
        let (start, mut length) = (self.offset(self.rest), 0);
        let mut content = String::new();
        while let Some(line) = self.next_line() {
            let bare = trim_newline(line);
            let bare = if strips_tabs { bare.trim_start_matches('\t') } else { bare };
            if bare == name {
                self.report_bytes(start..start + length);
                return Some(content);
            }
            content.push_str(line);
            length = self.offset(self.rest) - start;
        }
        None
    }

    /// The number of the line that was read last, from 1.
    pub(crate) fn line(&self) -> u32 {
        self.line
    }

    fn continue_logical(&mut self, logical: &mut Logical) {
        let mut empty_line = None;
        let mut continues = true;
        while continues {
            let Some(raw) = self.next_line() else { break };
            let line = trim_newline(raw);
            if is_comment(line) {
                continue;
            }
            if line.trim_start().is_empty() {
                empty_line.get_or_insert(self.offset(raw)..self.offset(raw) + raw.len());
                continue;
            }
            let (content, goes_on) = self.split_continuation(line);
            logical.push(content, self.offset(line));
            continues = goes_on;
        }
        if let Some(range) = empty_line {
            self.problems.warning(
                problem::EMPTY_LINE,
                range.into(),
                "a continued instruction holds an empty line",
                "remove the line, or make it a comment: it will become an error",
            );
        }
    }

    /// The next line with its end; one that is too long is reported and left out.
    fn next_line(&mut self) -> Option<&'a str> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let length = self.rest.find('\n').map_or(self.rest.len(), |newline| newline + 1);
            let (line, rest) = self.rest.split_at(length);
            let start = self.offset(line);
            self.rest = rest;
            self.line += 1;
            if line.strip_suffix('\n').unwrap_or(line).len() <= MAX_LINE {
                return Some(line);
            }
            self.problems.error(
                problem::LONG_LINE,
                (start..start + length).into(),
                format!("a line of {length} bytes is longer than the {MAX_LINE} that are allowed"),
                "break the line with a continuation character",
            );
        }
    }

    /// Takes the continuation character, and the blanks behind it, from the end of a line: it
    /// counts only if none stands before it.
    fn split_continuation<'b>(&self, line: &'b str) -> (&'b str, bool) {
        let escape = self.directives.escape();
        match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
            Some(before) if !before.ends_with(escape) => (before, true),
            _ => (line, false),
        }
    }

    fn offset(&self, part: &str) -> usize {
        part.as_ptr() as usize - self.source.whole.as_ptr() as usize
    }

    fn check_bytes(&mut self, logical: &Logical) {
        if self.source.bad.is_empty() {
            return;
        }
        let ends = logical.pieces.iter().skip(1).map(|piece| piece.0).chain([logical.text.len()]);
        let ranges = logical.pieces.iter().zip(ends);
        for range in ranges.map(|((joined, source), end)| *source..source + (end - joined)) {
            if self.report_bytes(range) {
                return;
            }
        }
    }

    fn report_bytes(&mut self, range: Range<usize>) -> bool {
        let Some(at) = self.source.has_bad_bytes(range) else { return false };
        self.problems.error(
            problem::NOT_UTF8,
            (at..at + 1).into(),
            "an instruction holds a byte that is NUL or no UTF-8",
            "save the file as UTF-8",
        );
        true
    }
}

/// Whether a line is a comment, however far it is indented.
fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// A line without its end.
fn trim_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}
