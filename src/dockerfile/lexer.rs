//! Lines of a file to logical lines: directives, comments and continuations are dealt with here.
//!
//! Follows BuildKit's `parser/parser.go`. A logical line remembers where each of its bytes comes
//! from. It does not know instructions; heredocs are read when the parser asks for them.

use std::ops::Range;

use crate::diagnostic::Span;
use crate::dockerfile::directive::Directives;
use crate::dockerfile::instruction::Word;
use crate::dockerfile::problem::{self, Problems};
use crate::dockerfile::text::{NO_TEXT, Text};

/// The longest line that BuildKit reads, without its line feed (`bufio.MaxScanTokenSize - 1`).
const MAX_LINE: usize = 65_535;

/// An instruction on one line: continuations joined, comments and empty lines dropped.
#[derive(Debug, Default)]
pub(crate) struct Logical {
    /// The joined text; white space at its beginning is gone, all other is kept.
    pub(crate) text: String,
    /// The first line, from 1.
    pub(crate) first_line: u32,
    /// The last line, from 1.
    pub(crate) last_line: u32,
    /// The bytes that are no UTF-8, in order.
    pub(crate) odd_bytes: Vec<u8>,
    /// Where the pieces of `text` begin: in `text`, and in the file.
    pieces: Vec<(usize, usize)>,
    /// Where the last piece ends in the file.
    end: usize,
}

impl Logical {
    fn push(&mut self, piece: &str, source: Range<usize>) {
        self.pieces.push((self.text.len(), source.start));
        self.text.push_str(piece);
        self.end = source.end;
    }

    /// The bytes of the file that a range of the text comes from.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let start = self.source(range.start).start;
        if range.is_empty() {
            return Span::from(start..start);
        }
        Span::from(start..self.source(range.end - 1).end)
    }

    /// Where a byte of the text stands in the file. A character that stands for a byte is longer.
    fn source(&self, at: usize) -> Range<usize> {
        let next = self.pieces.partition_point(|(joined, _)| *joined <= at);
        let limit = self.pieces.get(next).map_or(self.end, |piece| piece.1);
        let (joined, source) = self.pieces[..next].last().copied().unwrap_or((at, self.end));
        let start = source + (at - joined);
        start.min(limit)..(start + 1).min(limit)
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
            rest: source.whole(),
            line: 0,
            directives: Directives::default(),
            problems: Problems::default(),
        }
    }

    /// The next logical line.
    pub(crate) fn next_logical(&mut self) -> Option<Logical> {
        loop {
            let line = trim_newline(self.next_line()?).trim_start();
            self.directives.read(line, self.source.offset(line), &mut self.problems);
            let line = if is_comment(line) { "" } else { line };
            let (content, continues) = self.split_continuation(line);
            if content.is_empty() && !continues {
                continue;
            }
            let mut logical = Logical { first_line: self.line, ..Logical::default() };
            self.push(&mut logical, content);
            if continues {
                self.continue_logical(&mut logical);
            }
            logical.last_line = self.line;
            return Some(logical);
        }
    }

    /// The body of a heredoc up to its delimiter, and its bytes that are no UTF-8; `None` if there
    /// is no such line.
    pub(crate) fn heredoc_body(
        &mut self,
        name: &str,
        strips_tabs: bool,
    ) -> Option<(String, Vec<u8>)> {
        let start = self.source.offset(self.rest);
        let mut content = String::new();
        while let Some(line) = self.next_line() {
            let shown = self.source.shown(line);
            let bare = trim_newline(&shown);
            let bare = if strips_tabs { bare.trim_start_matches('\t') } else { bare };
            if bare == name {
                let odd_bytes = self.report_bytes(start..self.source.offset(line));
                return Some((content, odd_bytes));
            }
            content.push_str(&shown);
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
                let start = self.source.offset(raw);
                empty_line.get_or_insert(start..start + raw.len());
                continue;
            }
            let (content, goes_on) = self.split_continuation(line);
            self.push(logical, content);
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
            self.rest = rest;
            self.line += 1;
            if line.strip_suffix('\n').unwrap_or(line).len() <= MAX_LINE {
                return Some(line);
            }
            let start = self.source.offset(line);
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

    /// Adds a part of a line to a logical one.
    fn push(&mut self, logical: &mut Logical, part: &str) {
        let start = self.source.offset(part);
        let range = start..start + part.len();
        let mut pushed = range.start;
        for (at, _) in self.source.bad_bytes(range.clone()).filter(|bad| bad.1 != 0) {
            logical.push(&part[pushed - start..at - start], pushed..at);
            logical.push(NO_TEXT, at..at + 1);
            pushed = at + 1;
        }
        logical.push(&part[pushed - start..], pushed..range.end);
        logical.odd_bytes.extend(self.report_bytes(range));
    }

    /// Reports the first byte of a range that is NUL or no UTF-8; gives all that are no UTF-8.
    fn report_bytes(&mut self, range: Range<usize>) -> Vec<u8> {
        let mut bad = self.source.bad_bytes(range).peekable();
        let help = "save the file as UTF-8";
        match bad.peek() {
            Some((at, 0)) => {
                let message = "an instruction holds a NUL byte";
                self.problems.error(problem::NOT_UTF8, (*at..at + 1).into(), message, help);
            }
            Some((at, _)) => {
                let message = "an instruction holds a byte that is no UTF-8";
                self.problems.warning(problem::NOT_UTF8, (*at..at + 1).into(), message, help);
            }
            None => {}
        }
        bad.map(|(_, byte)| byte).filter(|byte| *byte != 0).collect()
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
