//! Logical lines to instructions: which arguments an instruction has, and its heredocs.
//!
//! Follows `newNodeFromLine` and the line parsers of BuildKit's `parser` package. Whether the arguments
//! make sense is for `command` to say.

use std::ops::Range;

use crate::diagnostic::Span;
use crate::dockerfile::heredoc::{self, Opening};
use crate::dockerfile::instruction::{Arguments, Heredoc, Instruction, Joint, Keyword, Pair, Word};
use crate::dockerfile::json::{self, Reading};
use crate::dockerfile::lexer::{Lexer, Logical};
use crate::dockerfile::problem::{self, Problems};
use crate::dockerfile::words::{self, BLANKS, Unquoted};

/// All instructions, one after the other.
pub(crate) fn instructions(lexer: &mut Lexer<'_>) -> Vec<Instruction> {
    let mut found = Vec::new();
    while let Some(logical) = lexer.next_logical() {
        let escape = lexer.directives.escape();
        let line = Line { logical: &logical, escape, nested: 0 };
        let mut instruction = line.instruction(0..logical.text.len(), &mut lexer.problems);
        read_heredocs(lexer, &logical, &mut instruction);
        found.push(instruction);
    }
    found
}

/// Reads the bodies of the heredocs that an instruction, or its ONBUILD trigger, begins.
fn read_heredocs(lexer: &mut Lexer<'_>, logical: &Logical, instruction: &mut Instruction) {
    let inner = match &instruction.arguments {
        Arguments::Trigger { instruction, .. } => instruction,
        _ => &*instruction,
    };
    let may_have = inner.keyword.takes_heredocs()
        && !matches!(inner.arguments, Arguments::Json(_) | Arguments::Unread);
    if !may_have {
        return;
    }
    let openings = heredoc::openings(&logical.text).unwrap_or_else(|error| {
        lexer.problems.error(
            problem::HEREDOC,
            instruction.span,
            format!("the delimiter of a heredoc cannot be read: {error}"),
            "quote the delimiter as a whole, or not at all",
        );
        instruction.arguments = Arguments::Unread;
        Vec::new()
    });
    for Opening { name, expands, strips_tabs } in openings {
        let Some((content, odd_bytes)) = lexer.heredoc_body(&name, strips_tabs) else {
            lexer.problems.error(
                problem::HEREDOC,
                instruction.span,
                format!("the heredoc `{name}` has no end"),
                format!("end it with a line `{name}`"),
            );
            instruction.arguments = Arguments::Unread;
            break;
        };
        instruction.odd_bytes.extend(odd_bytes);
        instruction.heredocs.push(Heredoc { name, expands, strips_tabs, content });
    }
    instruction.last_line = lexer.line();
}

/// How deep ONBUILD may stand behind ONBUILD and be read; it is a mistake from the second on.
const MAX_NESTED: usize = 4;

/// A logical line that is read as an instruction.
#[derive(Clone, Copy)]
struct Line<'a> {
    logical: &'a Logical,
    escape: char,
    /// How many ONBUILD stand before it.
    nested: usize,
}

impl Line<'_> {
    fn instruction(&self, range: Range<usize>, problems: &mut Problems) -> Instruction {
        let text = &self.logical.text;
        let (keyword_range, rest) = words::split_keyword(&text[range.clone()]);
        let shift = |inner: Range<usize>| range.start + inner.start..range.start + inner.end;
        let (keyword_range, rest) = (shift(keyword_range), shift(rest));
        let split = words::split_flags(text, rest.clone(), self.escape);
        let keyword = text[keyword_range.clone()].parse().unwrap_or(Keyword::Unknown);
        let end = rest.end.max(keyword_range.end);
        let mut instruction = Instruction {
            keyword,
            name: self.logical.word(keyword_range.clone()),
            flags: Vec::new(),
            arguments: Arguments::Unread,
            heredocs: Vec::new(),
            first_line: self.logical.first_line,
            last_line: self.logical.last_line,
            span: self.logical.span(keyword_range.start..end),
            odd_bytes: self.logical.odd_bytes.clone(),
        };
        let Some((flags, arguments)) = split else {
            problems.error(
                problem::FLAG_ASCII,
                self.logical.span(rest),
                "BuildKit garbles flags that are not ASCII, and takes a part of this one for the \
                 first argument",
                "write it in ASCII, for example by renaming what it refers to",
            );
            return instruction;
        };
        instruction.arguments = self.arguments(keyword, arguments, problems);
        instruction.flags = flags.into_iter().map(|flag| self.unquoted(flag)).collect();
        instruction
    }

    fn arguments(
        &self,
        keyword: Keyword,
        range: Range<usize>,
        problems: &mut Problems,
    ) -> Arguments {
        if keyword == Keyword::Unknown {
            return Arguments::Unread;
        }
        if range.is_empty() {
            return Arguments::None;
        }
        match keyword {
            Keyword::Add | Keyword::Copy | Keyword::Volume => {
                let words = |range| Arguments::Words(self.blank_words(range));
                self.json_or(range, words, problems)
            }
            Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell => {
                self.json_or(range, |range| Arguments::Line(self.logical.word(range)), problems)
            }
            Keyword::Expose | Keyword::From => Arguments::Words(self.blank_words(range)),
            Keyword::Arg => {
                let words = words::split_quoted(&self.logical.text, range, self.escape);
                let words: Vec<_> = words.into_iter().map(|word| self.unquoted(word)).collect();
                if words.is_empty() { Arguments::None } else { Arguments::Words(words) }
            }
            Keyword::Env | Keyword::Label => self.pairs(keyword, range, problems),
            Keyword::Healthcheck => self.health(range, problems),
            Keyword::Onbuild => self.trigger(range, problems),
            Keyword::Maintainer | Keyword::Stopsignal | Keyword::User | Keyword::Workdir => {
                Arguments::Line(self.logical.word(range))
            }
            Keyword::Unknown => Arguments::Unread,
        }
    }

    fn json_or(
        &self,
        range: Range<usize>,
        otherwise: impl FnOnce(Range<usize>) -> Arguments,
        problems: &mut Problems,
    ) -> Arguments {
        match json::read(&self.logical.text[range.clone()]) {
            Reading::NotJson => otherwise(range),
            Reading::Strings(strings) => {
                let word = |(text, at): (String, Range<usize>)| Word {
                    text,
                    span: self.logical.span(range.start + at.start..range.start + at.end),
                };
                Arguments::Json(strings.into_iter().map(word).collect())
            }
            Reading::OtherThings => {
                problems.error(
                    problem::JSON,
                    self.logical.span(range),
                    "a JSON array of arguments holds something else than strings",
                    "put double quotes around every element",
                );
                Arguments::Unread
            }
        }
    }

    /// The pairs of ENV and LABEL: `name=value ...`, or, if there is no `=` in the first word, one
    /// name and the rest of the line.
    fn pairs(&self, keyword: Keyword, range: Range<usize>, problems: &mut Problems) -> Arguments {
        let text = &self.logical.text;
        let words = words::split_quoted(text, range.clone(), self.escape);
        let Some(first) = words.first() else { return Arguments::None };
        if !first.text.contains('=') {
            return self.legacy_pair(keyword, range, problems);
        }
        let mut pairs = Vec::with_capacity(words.len());
        for word in words {
            let Unquoted { text, range } = word;
            let span = self.logical.span(range.clone());
            let Some((name, value)) = text.split_once('=') else {
                problems.error(
                    problem::PAIR,
                    span,
                    format!("`{text}` is not of the form name=value"),
                    format!("write `{text}=...`, or quote the value that it belongs to"),
                );
                return Arguments::Unread;
            };
            let equals = self.logical.text[range.clone()].find('=').unwrap_or(0) + range.start;
            let at = |range| self.logical.span(range);
            pairs.push(Pair {
                name: Word { text: name.to_owned(), span: at(range.start..equals) },
                value: Word { text: value.to_owned(), span: at(equals + 1..range.end) },
                joint: Joint::Equals,
            });
        }
        Arguments::Pairs(pairs)
    }

    fn legacy_pair(
        &self,
        keyword: Keyword,
        range: Range<usize>,
        problems: &mut Problems,
    ) -> Arguments {
        let text = &self.logical.text[range.clone()];
        let Some(blank) = text.find(BLANKS) else {
            problems.error(
                problem::PAIR,
                self.logical.span(range),
                format!("{keyword} wants a name and a value"),
                format!("write `{keyword} {text}=value`"),
            );
            return Arguments::Unread;
        };
        let value = text[blank..].trim_start_matches(BLANKS);
        let name = range.start..range.start + blank;
        Arguments::Pairs(vec![Pair {
            name: self.logical.word(name),
            value: self.logical.word(range.end - value.len()..range.end),
            joint: Joint::Blank,
        }])
    }

    fn health(&self, range: Range<usize>, problems: &mut Problems) -> Arguments {
        let text = &self.logical.text[range.clone()];
        let end = text.find(BLANKS).unwrap_or(text.len());
        let rest = text[end..].trim_start_matches(BLANKS);
        let command = range.end - rest.len()..range.end;
        let kind = self.logical.word(range.start..range.start + end);
        let command = if command.is_empty() {
            Arguments::None
        } else {
            self.json_or(command, |range| Arguments::Line(self.logical.word(range)), problems)
        };
        if command == Arguments::Unread {
            return Arguments::Unread;
        }
        Arguments::Health { kind, command: Box::new(command) }
    }

    /// The instruction behind ONBUILD. No line makes a tree of any depth: [`MAX_NESTED`].
    fn trigger(&self, range: Range<usize>, problems: &mut Problems) -> Arguments {
        if self.nested == MAX_NESTED {
            return Arguments::Unread;
        }
        let text = self.logical.text[range.clone()].to_owned();
        let inner = Self { nested: self.nested + 1, ..*self };
        Arguments::Trigger { text, instruction: Box::new(inner.instruction(range, problems)) }
    }

    fn blank_words(&self, range: Range<usize>) -> Vec<Word> {
        let ranges = words::split_blanks(&self.logical.text, range);
        ranges.into_iter().map(|range| self.logical.word(range)).collect()
    }

    fn unquoted(&self, word: Unquoted) -> Word {
        let span: Span = self.logical.span(word.range);
        Word { text: word.text, span }
    }
}
