//! Paths as Go's `path/filepath` sees them on Unix: `Clean` and `Match`.
//!
//! BuildKit uses both for what a COPY source and a line of `.dockerignore` mean, so their corners
//! are part of the meaning: `*` and `?` stop at a slash but a class such as `[^a]` does not, dot
//! files are nothing special, and a broken pattern is an error even where it is not reached. Paths
//! are bytes: a context may hold names that are no text.

/// Cleans a path (`filepath.Clean`): no empty part, no `.`, no `..` behind a name, no slash at the
/// end; nothing is `.`, and `..` above `/` vanishes.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => _ = parts.pop(),
            b".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// Whether a path has an unescaped `*`, `?` or `[`: else BuildKit takes it literally, backslashes
/// included (fsutil `containsWildcards`).
pub fn has_wildcards(path: &[u8]) -> bool {
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next(),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A pattern of `filepath.Match`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// `*`: any bytes but slashes.
    Star,
    /// `?`: one character but a slash.
    One,
    /// A byte of text, escaped or not.
    Byte(u8),
    /// `[a-z]`, `[^a-z]`: one character, a slash included.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Wildcard {
    /// Checks a pattern.
    pub fn new(pattern: &[u8]) -> Result<Self, BadWildcard> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let [first, tail @ ..] = rest {
            rest = tail;
            match first {
                b'*' if tokens.last() == Some(&Token::Star) => {}
                b'*' => tokens.push(Token::Star),
                b'?' => tokens.push(Token::One),
                b'[' => tokens.push(class(&mut rest)?),
                b'\\' => {
                    let (escaped, tail) = rest.split_first().ok_or(BadWildcard)?;
                    tokens.push(Token::Byte(*escaped));
                    rest = tail;
                }
                byte => tokens.push(Token::Byte(*byte)),
            }
        }
        Ok(Self(tokens))
    }

    /// Whether the pattern matches the whole of a path. Takes at most the product of both lengths.
    pub fn matches(&self, path: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // Where to go on if the text behind the last star does not fit here: one byte further on.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.0.get(token) {
                None if at == path.len() => return true,
                Some(Token::Star) => {
                    token += 1;
                    retry = Some((token, at));
                    continue;
                }
                Some(one) => {
                    if let Some(length) = one.fits(&path[at..]) {
                        (token, at) = (token + 1, at + length);
                        continue;
                    }
                }
                None => {}
            }
            match retry {
                // The star may grow, but not over a slash.
                Some((behind, from)) if path.get(from).is_some_and(|byte| *byte != b'/') => {
                    (token, at) = (behind, from + 1);
                    retry = Some((behind, from + 1));
                }
                _ => return false,
            }
        }
    }

    /// Whether the pattern could match a path below a directory; a yes may be wrong, a no is not.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        // A class may take a slash, so that parts of the pattern are no parts of a path.
        if self.0.iter().any(|token| matches!(token, Token::Class { .. })) {
            return true;
        }
        let parts: Vec<_> = self.0.split(|token| *token == Token::Byte(b'/')).collect();
        let names: Vec<_> = directory.split(|byte| *byte == b'/').collect();
        names.len() < parts.len()
            && names.iter().zip(parts).all(|(name, part)| Self(part.to_vec()).matches(name))
    }
}

impl Token {
    /// How many bytes at the start of `text` it takes, if it fits.
    fn fits(&self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Star => None,
            Self::Byte(byte) => (text.first() == Some(byte)).then_some(1),
            Self::One => first_char(text).filter(|(c, _)| *c != '/').map(|(_, length)| length),
            Self::Class { negated, ranges } => {
                let (c, length) = first_char(text)?;
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                (inside != *negated).then_some(length)
            }
        }
    }
}

/// Reads a class behind its `[`.
fn class(rest: &mut &[u8]) -> Result<Token, BadWildcard> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if rest.first() == Some(&b']') && !ranges.is_empty() {
            *rest = &rest[1..];
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_char(rest)?;
        let mut high = low;
        if rest.first() == Some(&b'-') {
            *rest = &rest[1..];
            high = class_char(rest)?;
        }
        ranges.push((low, high));
    }
}

/// One end of a range. Something must follow it: at least the `]`.
fn class_char(rest: &mut &[u8]) -> Result<char, BadWildcard> {
    match rest.first() {
        None | Some(b'-' | b']') => return Err(BadWildcard),
        Some(b'\\') => *rest = &rest[1..],
        Some(_) => {}
    }
    let (c, length) = first_char(rest).ok_or(BadWildcard)?;
    let is_text = c != char::REPLACEMENT_CHARACTER || length > 1;
    *rest = &rest[length..];
    if is_text && !rest.is_empty() { Ok(c) } else { Err(BadWildcard) }
}

/// The first character and its length; a byte that begins none is U+FFFD of length 1, as in Go.
pub fn first_char(text: &[u8]) -> Option<(char, usize)> {
    let first = *text.first()?;
    if first.is_ascii() {
        return Some((char::from(first), 1));
    }
    let valid = text[..text.len().min(4)].utf8_chunks().next()?.valid();
    Some(valid.chars().next().map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, c.len_utf8())))
}

/// A pattern that `filepath.Match` refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadWildcard;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, cleaned) in [
            ("", "."),
            (".", "."),
            ("a//b/./c/", "a/b/c"),
            ("a/../b", "b"),
            ("a/..", "."),
            ("../a/../..", "../.."),
            ("/../a", "/a"),
            ("/", "/"),
            ("//..//", "/"),
        ] {
            assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path}");
        }
    }

    #[test]
    fn wildcards_match_as_in_go() {
        // path/filepath match.go: the doc comment of Match
        for (pattern, path, wanted) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*", ".dot", true),
            ("*", "a/b", false),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[^c]", "abc", false),
            ("a[^b]c", "a/c", true),
            ("a?c", "a/c", false),
            ("a?c", "a\u{e9}c", true),
            ("[a-\u{3b6}]*", "\u{3b1}", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("[\\]a]", "]", true),
            ("[x\\-]", "-", true),
            ("[b-a]", "a", false),
            ("**", "ab", true),
            ("", "", true),
            ("*", "", true),
            ("*x", "xxx", true),
        ] {
            let wildcard = Wildcard::new(pattern.as_bytes()).unwrap();
            assert_eq!(wildcard.matches(path.as_bytes()), wanted, "{pattern} {path}");
        }
    }

    #[test]
    fn a_broken_pattern_is_an_error_wherever_it_breaks() {
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "a\\", "[a", "[a-"]
        {
            assert_eq!(Wildcard::new(pattern.as_bytes()), Err(BadWildcard), "{pattern}");
        }
        assert_eq!(Wildcard::new(b"[\xff]"), Err(BadWildcard));
    }

    #[test]
    fn names_that_are_no_text_are_matched_byte_by_byte() {
        let matches = |pattern: &[u8], path: &[u8]| Wildcard::new(pattern).unwrap().matches(path);
        assert!(matches(b"?", b"\xff"));
        assert!(!matches(b"?", b"\xe2\x82"));
        assert!(matches(b"??", b"\xe2\x82"));
        assert!(matches(b"\xff*", b"\xffabc"));
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = "a*".repeat(500) + "b";
        assert!(!Wildcard::new(pattern.as_bytes()).unwrap().matches("a".repeat(5000).as_bytes()));
    }

    #[test]
    fn a_directory_is_looked_into_only_where_a_pattern_could_match_below() {
        let looks = |pattern: &str, directory: &str| {
            Wildcard::new(pattern.as_bytes()).unwrap().may_match_below(directory.as_bytes())
        };
        assert!(looks("*/b", "a"));
        assert!(!looks("*.c", "a"));
        assert!(!looks("a*/b", "b"));
        assert!(!looks("*/b", "a/b"));
        assert!(looks("a[^x]b", "a"));
    }

    #[test]
    fn a_source_without_wildcards_is_literal() {
        assert!(has_wildcards(b"a*"));
        assert!(has_wildcards(b"[[]x"));
        assert!(!has_wildcards(b"a\\*b"));
    }
}
