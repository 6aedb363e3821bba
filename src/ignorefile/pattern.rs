//! One pattern, compiled to the cheapest thing that matches as moby/patternmatcher does.
//!
//! Knows single paths only; the order of patterns and the parents of a path are `patterns`' matter.
//! Most patterns are text (`node_modules`), a start (`docs/**`) or an end (`**/.git`); what is left
//! is an `Expression`, behind a look at its literal start and end.

use crate::gopath::{self, BadWildcard, Wildcard};
use crate::ignorefile::expression::Expression;
use crate::ignorefile::reader::trim;

/// A compiled pattern, without its `!`.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: Vec<u8>,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    /// The path itself.
    Exact,
    /// `a**`: a path that begins so.
    Prefix,
    /// `**a`, `**/a`: a path that ends so; `a` itself too.
    Suffix,
    /// Anything else, with so many bytes of plain text at its start and at its end.
    Expression { expression: Expression, head: usize, tail: usize },
}

/// Reads a pattern as `patternmatcher.New` does: trimmed, cleaned, `!` split off, syntax checked.
/// `None` where it is blank; the flag is whether it had a `!`.
pub(crate) fn read(text: &[u8]) -> Result<Option<(bool, Pattern)>, PatternError> {
    let text = trim(text);
    if text.is_empty() {
        return Ok(None);
    }
    let cleaned = gopath::clean(text);
    let negation = cleaned.strip_prefix(b"!");
    let body = negation.unwrap_or(&cleaned);
    if body.is_empty() {
        return Err(PatternError::LoneNegation);
    }
    Pattern::new(body).map(|pattern| Some((negation.is_some(), pattern)))
}

impl Pattern {
    fn new(text: &[u8]) -> Result<Self, PatternError> {
        Wildcard::new(text)?;
        Ok(Self { text: text.to_vec(), shape: Shape::new(text)? })
    }

    /// Whether it matches a path, by itself: the parents of the path are not looked at.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let text = self.text.as_slice();
        match &self.shape {
            Shape::Exact => path == text,
            Shape::Prefix => path.starts_with(&text[..text.len() - 2]),
            Shape::Suffix => {
                let end = &text[2..];
                path.ends_with(end) || end.strip_prefix(b"/") == Some(path)
            }
            Shape::Expression { expression, head, tail } => {
                path.starts_with(&text[..*head])
                    && path.ends_with(&text[text.len() - *tail..])
                    && expression.matches(path)
            }
        }
    }

    /// Whether it could match a path below a directory; a yes may be wrong, a no is not.
    pub(crate) fn may_match_inside(&self, directory: &[u8]) -> bool {
        let inside = [directory, b"/"].concat();
        match &self.shape {
            Shape::Exact => self.text.starts_with(&inside),
            Shape::Prefix => {
                let start = &self.text[..self.text.len() - 2];
                start.starts_with(&inside) || inside.starts_with(start)
            }
            Shape::Suffix => true,
            Shape::Expression { expression, .. } => expression.may_continue(&inside),
        }
    }
}

impl Shape {
    /// Finds the shape as `Pattern.compile` does: a `**` at the very start makes a suffix, one at
    /// the very end a prefix, and anything else with a meaning an expression.
    fn new(text: &[u8]) -> Result<Self, PatternError> {
        let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\');
        let is_plain = |text: &[u8]| !text.iter().any(special);
        if is_plain(text) {
            return Ok(Self::Exact);
        }
        if text.strip_prefix(b"**").is_some_and(is_plain) {
            return Ok(Self::Suffix);
        }
        if text.strip_suffix(b"**").is_some_and(is_plain) {
            return Ok(Self::Prefix);
        }
        let expression = Expression::new(text)?;
        if std::str::from_utf8(text).is_err() {
            // To the expression all bytes that are no text are the same.
            return Ok(Self::Expression { expression, head: 0, tail: 0 });
        }
        // `^` means something to the expression, and so does what stands before and behind it.
        let marks = |byte: &u8| special(byte) || *byte == b'^';
        let head = text.iter().position(marks).unwrap_or(0);
        // Behind `**` a slash may match nothing, and behind a backslash or within a class text is
        // no text; a literal end is only taken behind a `*` or `?`.
        let tail = match text.iter().rposition(marks) {
            Some(last) if matches!(text[last], b'*' | b'?') && is_outside(&text[..last]) => {
                let end = &text[last + 1..];
                if text[..last].ends_with(b"*") { end.len().saturating_sub(1) } else { end.len() }
            }
            _ => 0,
        };
        Ok(Self::Expression { expression, head, tail })
    }
}

/// Whether the position behind `text` is plain: no class is open and nothing is escaped there.
fn is_outside(text: &[u8]) -> bool {
    !text.iter().any(|byte| matches!(byte, b'[' | b']' | b'\\'))
}

/// Why a pattern is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Go's `filepath.Match` or `regexp` refuses it.
    #[error("syntax error in pattern")]
    Syntax,
    /// There is nothing behind the `!`.
    #[error("`!` alone re-includes nothing")]
    LoneNegation,
    /// A range of a class runs backwards.
    #[error("the range `{0}-{1}` runs backwards")]
    Range(char, char),
    /// A backslash before something that has no escape.
    #[error("`\\{0}` is no escape")]
    Escape(char),
    /// A class that does not exist.
    #[error("there is no class `[:{0}:]`")]
    NamedClass(String),
    /// `\p` or `\P`: Go knows it, but no real file was ever seen to use it.
    #[error("classes of Unicode (`\\p`) are not supported in patterns")]
    UnicodeClass,
}

impl From<BadWildcard> for PatternError {
    fn from(_: BadWildcard) -> Self {
        Self::Syntax
    }
}
