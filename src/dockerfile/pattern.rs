//! The patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/replacement}`.
//!
//! `*` and `?` are wild, brackets are not; a backslash may stand before `*`, `?`, `\`, `}` and `/`
//! (`convertShellPatternToRegex` of BuildKit's `shell/lex.go`).

use std::sync::LazyLock;

use regex::Regex;

use crate::dockerfile::expand::ExpandError;

/// How much a `*` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Star {
    Least,
    Most,
}

/// Whether a character is a decimal digit of any script.
pub(crate) fn is_decimal(c: char) -> bool {
    static DECIMAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\d$").ok());
    let decimal = DECIMAL.as_ref();
    decimal.is_some_and(|decimal| decimal.is_match(c.encode_utf8(&mut [0; 4])))
}

/// The value without the shortest beginning that matches, or, if the pattern begins with another
/// `#`, the longest.
pub(crate) fn trim_start(value: &str, pattern: &str) -> Result<String, ExpandError> {
    let (star, pattern) = star(pattern, '#');
    without_start(value, pattern, star)
}

/// The value without the shortest end that matches, or, if the pattern begins with another `%`, the
/// longest.
pub(crate) fn trim_end(value: &str, pattern: &str) -> Result<String, ExpandError> {
    let (star, pattern) = star(pattern, '%');
    // The shortest end is the shortest beginning of the reversed value.
    let value: String = value.chars().rev().collect();
    let trimmed = without_start(&value, &reversed(pattern), star)?;
    Ok(trimmed.chars().rev().collect())
}

/// The value with the first match replaced.
pub(crate) fn replace_first(value: &str, from: &str, to: &str) -> Result<String, ExpandError> {
    let found = regex(from, Star::Most, "")?.find(value).map(|found| found.range());
    Ok(match found {
        Some(range) => [&value[..range.start], to, &value[range.end..]].concat(),
        None => value.to_owned(),
    })
}

/// The value with all matches replaced; `$0` in the replacement is what matched.
///
/// The result is refused where it could have more than `limit` bytes: as many as each `$` of the
/// replacement being the match would make.
pub(crate) fn replace_all(
    value: &str,
    from: &str,
    to: &str,
    limit: usize,
) -> Result<String, ExpandError> {
    let regex = regex(from, Star::Most, "")?;
    let references = to.bytes().filter(|byte| *byte == b'$').count();
    let mut text = String::new();
    let mut end = 0;
    for found in regex.captures_iter(value) {
        let whole = found.get_match();
        text.push_str(&value[end..whole.start()]);
        if text.len() + to.len() + references.saturating_mul(whole.len()) > limit {
            return Err(ExpandError::TooLong);
        }
        found.expand(to, &mut text);
        end = whole.end();
    }
    text.push_str(&value[end..]);
    Ok(text)
}

fn star(pattern: &str, sign: char) -> (Star, &str) {
    match pattern.strip_prefix(sign) {
        Some(pattern) => (Star::Most, pattern),
        None => (Star::Least, pattern),
    }
}

fn without_start(value: &str, pattern: &str, star: Star) -> Result<String, ExpandError> {
    let found = regex(pattern, star, "^")?.find(value).map_or(0, |found| found.end());
    Ok(value[found..].to_owned())
}

/// The pattern from its end to its beginning; a backslash stays before what it escapes.
fn reversed(pattern: &str) -> String {
    let mut pieces: Vec<&str> = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let escaped = if c == '\\' { rest[1..].chars().next() } else { None };
        let (piece, after) = rest.split_at(c.len_utf8() + escaped.map_or(0, char::len_utf8));
        pieces.push(piece);
        rest = after;
    }
    pieces.into_iter().rev().collect()
}

fn regex(pattern: &str, star: Star, anchor: &str) -> Result<Regex, ExpandError> {
    let wrong = || ExpandError::Pattern(pattern.to_owned());
    let mut expression = anchor.to_owned();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let literal = match c {
            '*' => {
                expression.push_str(if star == Star::Most { ".*" } else { ".*?" });
                continue;
            }
            '?' => {
                expression.push('.');
                continue;
            }
            // `}` and `/` are escaped for the sake of `${..}`, not of the pattern.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => continue,
            '\\' => chars.next().filter(|c| matches!(c, '*' | '?' | '\\')).ok_or_else(wrong)?,
            c => c,
        };
        expression.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
    }
    Regex::new(&expression).map_err(|_| wrong())
}
