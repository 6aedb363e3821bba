//! `$name` and `${name...}` in a word, quotes and escapes: the shell that Dockerfiles speak.
//!
//! Follows BuildKit's `frontend/dockerfile/shell/lex.go`. It knows neither where the values come from
//! nor what the result is used for.
//!
//! Two bounds are ours, so that no file can exhaust the stack or the memory: `${a:-${b:-...}}` nests
//! at most [`MAX_DEPTH`] deep, and values add at most [`MAX_GROWTH`] bytes to a word.

use std::collections::BTreeSet;

use crate::dockerfile::pattern;

/// How deep `${..}` may stand in `${..}`.
pub const MAX_DEPTH: usize = 100;

/// How many bytes a result may be longer than its word: what Linux hands to a program as one variable
/// (`MAX_ARG_STRLEN`).
pub const MAX_GROWTH: usize = 1 << 17;

/// The variables of a place.
pub trait Variables {
    /// The value of a variable; `None` if it is not set.
    fn value(&self, name: &str) -> Option<&str>;
}

/// No variables at all.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Variables for Nothing {
    fn value(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// What happens to quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// They quote, and are taken away.
    Strip,
    /// They quote, and stay.
    Keep,
    /// They are ordinary characters.
    Ignore,
}

/// What happens to escape characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// They escape, and are taken away.
    Strip,
    /// They escape, and stay.
    Keep,
}

/// What happens to a variable that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It is empty, unless the word says otherwise.
    Empty,
    /// Its use stays as it is written.
    Keep,
}

/// How a word is read.
#[derive(Clone, Copy, Debug)]
pub struct Shell {
    /// The escape character.
    pub escape: char,
    /// What happens to quotes.
    pub quotes: Quotes,
    /// What happens to escape characters.
    pub escapes: Escapes,
    /// What happens to a variable that is not set.
    pub unset: Unset,
}

impl Shell {
    /// As most words are read.
    pub const fn new(escape: char) -> Self {
        Self { escape, quotes: Quotes::Strip, escapes: Escapes::Strip, unset: Unset::Empty }
    }
}

/// What a word becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The whole of it.
    pub text: String,
    /// Its parts between white space that is not quoted; some uses want these.
    ///
    /// As in BuildKit, what stands before `${name:-word}` in the same part is lost.
    pub words: Vec<String>,
    /// The variables that were asked for and are set.
    pub matched: BTreeSet<String>,
    /// The variables that were asked for and are not set.
    pub unmatched: BTreeSet<String>,
}

/// Why a word cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote is never closed.
    #[error("the quote {0} is not closed")]
    OpenQuote(char),
    /// A `${` is never closed.
    #[error("a `${{` is not closed with `}}`")]
    OpenBrace,
    /// A `${name/pattern` has no replacement.
    #[error("`${{name/pattern/replacement}}` lacks its second `/`")]
    NoReplacement,
    /// Nothing that could be the name of a variable follows `${`.
    #[error("no name follows `${{`")]
    NoName,
    /// What follows the name means nothing.
    #[error("`{0}` cannot follow the name of a variable")]
    Modifier(String),
    /// `${name?message}` of a variable that is not set, or `${name:?message}` of an empty one.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message.
        message: String,
    },
    /// A pattern escapes something that needs no escape.
    #[error("the pattern `{0}` escapes something that cannot be escaped")]
    Pattern(String),
    /// The bound of depth.
    #[error("`${{` stands in `${{` more than {MAX_DEPTH} times")]
    TooDeep,
    /// The bound of growth.
    #[error("the values make more than {MAX_GROWTH} bytes")]
    TooLong,
}

/// Expands a word.
pub fn expand(
    word: &str,
    shell: Shell,
    variables: &dyn Variables,
) -> Result<Expansion, ExpandError> {
    let mut reader = Reader {
        // The scanner that BuildKit uses passes over a byte order mark.
        rest: word.strip_prefix('\u{feff}').unwrap_or(word),
        shell,
        variables,
        part: String::new(),
        limit: word.len() + MAX_GROWTH,
        depth: 0,
        matched: BTreeSet::new(),
        unmatched: BTreeSet::new(),
    };
    let (text, words) = reader.until(None, shell.escapes)?;
    let Reader { matched, unmatched, .. } = reader;
    Ok(Expansion { text, words, matched, unmatched })
}

/// Splits text into words at white space.
struct Words {
    found: Vec<String>,
    inside: bool,
}

impl Words {
    fn split(&mut self, part: &mut String, text: &str) {
        for c in text.chars() {
            if !c.is_whitespace() {
                part.push(c);
                self.inside = true;
            } else if self.inside && !part.is_empty() {
                self.found.push(std::mem::take(part));
                self.inside = false;
            }
        }
    }

    fn add(&mut self, part: &mut String, text: &str) {
        part.push_str(text);
        self.inside = true;
    }

    fn finish(mut self, part: &mut String) -> Vec<String> {
        if !part.is_empty() {
            self.found.push(std::mem::take(part));
        }
        self.found
    }
}

struct Reader<'a> {
    rest: &'a str,
    shell: Shell,
    variables: &'a dyn Variables,
    /// The word that is being made. BuildKit has one for all depths, so that reading
    /// `${name:-word}` loses what stands before it; heredocs are found with these words.
    part: String,
    limit: usize,
    depth: usize,
    matched: BTreeSet<String>,
    unmatched: BTreeSet<String>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    /// Reads up to a character, or to the end.
    fn until(
        &mut self,
        stop: Option<char>,
        escapes: Escapes,
    ) -> Result<(String, Vec<String>), ExpandError> {
        if self.depth > MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        let outer = std::mem::replace(&mut self.shell.escapes, escapes);
        self.depth += 1;
        let read = self.until_stop(stop);
        self.depth -= 1;
        self.shell.escapes = outer;
        read.and_then(
            |read| if read.0.len() > self.limit { Err(ExpandError::TooLong) } else { Ok(read) },
        )
    }

    fn until_stop(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut text = String::new();
        let mut words = Words { found: Vec::new(), inside: false };
        self.part.clear();
        while let Some(c) = self.peek() {
            if text.len() > self.limit {
                return Err(ExpandError::TooLong);
            }
            if Some(c) == stop {
                self.next();
                return Ok((text, words.finish(&mut self.part)));
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    words.split(&mut self.part, &value);
                    text.push_str(&value);
                }
                '<' => {
                    let sign = self.possible_heredoc();
                    words.add(&mut self.part, &sign);
                    text.push_str(&sign);
                }
                '\'' | '"' if self.shell.quotes != Quotes::Ignore => {
                    let quoted = if c == '"' { self.double_quote()? } else { self.single_quote()? };
                    words.add(&mut self.part, &quoted);
                    text.push_str(&quoted);
                }
                _ if !self.plain(&mut text, &mut words) => break,
                _ => {}
            }
        }
        match stop {
            None => Ok((text, words.finish(&mut self.part))),
            Some('/') => Err(ExpandError::NoReplacement),
            Some(_) => Err(ExpandError::OpenBrace),
        }
    }

    /// One character that is not special, or an escaped one; `false` if nothing follows an escape.
    fn plain(&mut self, text: &mut String, words: &mut Words) -> bool {
        let Some(c) = self.next() else { return false };
        let mut buffer = [0; 4];
        if c != self.shell.escape {
            words.split(&mut self.part, c.encode_utf8(&mut buffer));
            text.push(c);
            return true;
        }
        if self.shell.escapes == Escapes::Keep {
            words.add(&mut self.part, c.encode_utf8(&mut buffer));
            text.push(c);
        }
        let Some(escaped) = self.next() else { return false };
        words.add(&mut self.part, escaped.encode_utf8(&mut buffer));
        text.push(escaped);
        true
    }

    /// Everything is literal up to the next single quote.
    fn single_quote(&mut self) -> Result<String, ExpandError> {
        let close = self.rest[1..].find('\'').ok_or(ExpandError::OpenQuote('\''))? + 1;
        let (quoted, rest) = self.rest.split_at(close + 1);
        self.rest = rest;
        Ok(match self.shell.quotes {
            Quotes::Keep => quoted.to_owned(),
            _ => quoted[1..close].to_owned(),
        })
    }

    /// Variables are expanded; the escape character escapes only `"`, `$` and itself.
    fn double_quote(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        let keep = self.shell.quotes == Quotes::Keep;
        text.extend(self.next().filter(|_| keep));
        loop {
            if text.len() > self.limit {
                return Err(ExpandError::TooLong);
            }
            match self.peek().ok_or(ExpandError::OpenQuote('"'))? {
                '"' => {
                    text.extend(self.next().filter(|_| keep));
                    return Ok(text);
                }
                '$' => text.push_str(&self.dollar()?),
                c if c == self.shell.escape => self.escape_in_quotes(&mut text),
                c => {
                    self.next();
                    text.push(c);
                }
            }
        }
    }

    fn escape_in_quotes(&mut self, text: &mut String) {
        let escape = self.shell.escape;
        self.next();
        if self.shell.escapes == Escapes::Keep {
            text.push(escape);
        }
        match self.peek() {
            None => {}
            Some(c) if c == '"' || c == '$' || c == escape => {
                self.next();
                text.push(c);
            }
            Some(_) => text.push(escape),
        }
    }

    /// `<`, or `<<` with the blanks behind it, which do not end a word.
    fn possible_heredoc(&mut self) -> String {
        self.next();
        if self.peek() != Some('<') {
            return "<".to_owned();
        }
        self.next();
        let rest = self.rest.trim_start_matches(['\t', '\r', ' ']);
        let blanks = &self.rest[..self.rest.len() - rest.len()];
        self.rest = rest;
        format!("<<{blanks}")
    }

    /// A variable, or a lone dollar sign.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.next();
        if self.peek() == Some('{') {
            self.next();
            return self.braces();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.look_up(&name) {
            None if self.shell.unset == Unset::Keep => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    fn braces(&mut self) -> Result<String, ExpandError> {
        match self.peek() {
            None => return Err(ExpandError::OpenBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::NoName),
            Some(_) => {}
        }
        let name = self.name();
        match self.next().ok_or_else(|| ExpandError::Modifier(String::new()))? {
            '}' => match self.look_up(&name) {
                None if self.shell.unset == Unset::Keep => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            ':' => {
                let modifier = self.next().ok_or(ExpandError::OpenBrace)?;
                if modifier == '#' || modifier == '%' {
                    return Err(ExpandError::Modifier(format!(":{modifier}")));
                }
                self.modified(&name, modifier, Empty::IsUnset)
            }
            modifier @ ('+' | '-' | '?' | '#' | '%') => {
                self.modified(&name, modifier, Empty::IsSet)
            }
            '/' => self.replaced(&name),
            other => Err(ExpandError::Modifier(other.to_string())),
        }
    }

    /// `${name-word}` and its like, from behind the modifier.
    fn modified(
        &mut self,
        name: &str,
        modifier: char,
        empty: Empty,
    ) -> Result<String, ExpandError> {
        let trims = modifier == '#' || modifier == '%';
        let escapes = if trims { Escapes::Keep } else { Escapes::Strip };
        let (word, _) = self.until(Some('}'), escapes)?;
        let value = self.look_up(name);
        let colon = if empty == Empty::IsUnset { ":" } else { "" };
        if value.is_none() && self.shell.unset == Unset::Keep {
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let counts =
            value.as_deref().is_some_and(|value| empty == Empty::IsSet || !value.is_empty());
        let value_or_empty = || value.clone().unwrap_or_default();
        match modifier {
            '-' => Ok(if counts { value_or_empty() } else { word }),
            '+' => Ok(if counts { word } else { String::new() }),
            '?' if counts => Ok(value_or_empty()),
            '?' => {
                let state = if value.is_some() { "empty" } else { "unset" };
                let usual = || format!("is not allowed to be {state}");
                let message = if word.is_empty() { usual() } else { word };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
            '#' => pattern::trim_start(&value_or_empty(), &word),
            '%' => pattern::trim_end(&value_or_empty(), &word),
            other => Err(ExpandError::Modifier(format!("{colon}{other}"))),
        }
    }

    /// `${name/pattern/replacement}`, from behind the first slash.
    fn replaced(&mut self, name: &str) -> Result<String, ExpandError> {
        let everywhere = self.peek() == Some('/');
        if everywhere {
            self.next();
        }
        let (from, _) = self.until(Some('/'), Escapes::Keep)?;
        let (to, _) = self.until(Some('}'), Escapes::Keep)?;
        match self.look_up(name) {
            None if self.shell.unset == Unset::Keep => Ok(format!("${{{name}/{from}/{to}}}")),
            value if everywhere => {
                pattern::replace_all(&value.unwrap_or_default(), &from, &to, self.limit)
            }
            value => pattern::replace_first(&value.unwrap_or_default(), &from, &to),
        }
    }

    /// A name: letters, digits and `_`; a number; or one of the special parameters.
    fn name(&mut self) -> String {
        let length = match self.peek() {
            Some(c) if is_digit(c) => self.rest.find(|c| !is_digit(c)),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => Some(1),
            _ => self.rest.find(|c: char| !(c.is_alphabetic() || c == '_' || is_digit(c))),
        };
        let (name, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        self.rest = rest;
        name.to_owned()
    }

    fn look_up(&mut self, name: &str) -> Option<String> {
        let value = self.variables.value(name);
        let names = if value.is_some() { &mut self.matched } else { &mut self.unmatched };
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
        value.map(str::to_owned)
    }
}

/// Whether an empty variable is as good as none: what the colon in `${name:-word}` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    IsSet,
    IsUnset,
}

/// Whether a character is a decimal digit, of any script (Unicode category Nd).
fn is_digit(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && c.is_numeric() && pattern::is_decimal(c))
}

#[cfg(test)]
mod tests;
