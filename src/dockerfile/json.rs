//! The JSON arrays of instructions (the exec form), read as Go's `encoding/json` does.
//!
//! Follows `parseJSON` of BuildKit's `parser/line_parsers.go`: what is no JSON array is left to the
//! shell form, an array of other things than strings is a mistake.

use std::ops::Range;

use serde::de::IgnoredAny;

/// What a text is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// An array of strings: each as it is meant, and where it stands, quotes included.
    Strings(Vec<(String, Range<usize>)>),
    /// An array that holds something else.
    OtherThings,
    /// No JSON array.
    NotJson,
}

/// Reads a text.
pub(crate) fn read(text: &str) -> Reading {
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with('[') {
        return Reading::NotJson;
    }
    if let Some(strings) = strings(text, start + 1) {
        return Reading::Strings(strings);
    }
    match serde_json::from_str::<IgnoredAny>(&text[start..]) {
        Ok(_) => Reading::OtherThings,
        Err(_) => Reading::NotJson,
    }
}

/// The strings of an array, from behind its bracket; `None` if it is anything else.
fn strings(text: &str, mut at: usize) -> Option<Vec<(String, Range<usize>)>> {
    let mut found = Vec::new();
    at = skip_space(text, at);
    if text[at..].starts_with(']') {
        return ends(text, at + 1).then_some(found);
    }
    loop {
        at = skip_space(text, at);
        let (string, end) = string(text, at)?;
        found.push((string, at..end));
        at = skip_space(text, end);
        match text.as_bytes().get(at)? {
            b',' => at += 1,
            b']' => return ends(text, at + 1).then_some(found),
            _ => return None,
        }
    }
}

/// Whether only white space follows.
fn ends(text: &str, at: usize) -> bool {
    skip_space(text, at) == text.len()
}

fn skip_space(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start_matches([' ', '\t', '\r', '\n']).len()
}

/// The string that begins with the quote at a place, and the place behind it.
fn string(text: &str, at: usize) -> Option<(String, usize)> {
    let body = text[at..].strip_prefix('"')?;
    let mut meant = String::new();
    let mut chars = body.char_indices();
    while let Some((place, c)) = chars.next() {
        match c {
            '"' => return Some((meant, at + 1 + place + 1)),
            '\0'..='\u{1f}' => return None,
            '\\' => {
                let escaped = chars.next()?.1;
                if escaped == 'u' {
                    let (unit, rest) = unicode(chars.as_str())?;
                    meant.push(unit);
                    let skip = chars.as_str().len() - rest.len();
                    // Hexadecimal digits and backslashes are one byte each.
                    for _ in 0..skip {
                        chars.next();
                    }
                } else {
                    meant.push(simple_escape(escaped)?);
                }
            }
            _ => meant.push(c),
        }
    }
    None
}

fn simple_escape(escaped: char) -> Option<char> {
    Some(match escaped {
        '"' | '\\' | '/' => escaped,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        _ => return None,
    })
}

/// The character whose `\u` has been read, and what follows; half of a pair is U+FFFD.
fn unicode(text: &str) -> Option<(char, &str)> {
    let (first, rest) = hexadecimal(text)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, rest));
    }
    let second = rest.strip_prefix("\\u").and_then(hexadecimal);
    if let (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, rest))) = (first, second) {
        let c = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00));
        return Some((c.unwrap_or(char::REPLACEMENT_CHARACTER), rest));
    }
    Some((char::REPLACEMENT_CHARACTER, rest))
}

fn hexadecimal(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    Some((u32::from_str_radix(digits, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(text: &str) -> Option<Vec<String>> {
        match read(text) {
            Reading::Strings(strings) => Some(strings.into_iter().map(|(text, _)| text).collect()),
            _ => None,
        }
    }

    #[test]
    fn strings_are_read_as_go_reads_them() {
        assert_eq!(meant(r#" ["a", "b c" ] "#), Some(vec!["a".into(), "b c".into()]));
        assert_eq!(meant("[]"), Some(vec![]));
        assert_eq!(meant(r#"["\u00e9\n\"\ud83d\ude00"]"#), Some(vec!["é\n\"😀".into()]));
        assert_eq!(meant(r#"["\ud800x"]"#), Some(vec!["\u{fffd}x".into()]), "half a pair");
    }

    #[test]
    fn what_is_no_json_is_for_the_shell() {
        for text in
            ["", "a", r#"["a""#, r#"["a",]"#, "['a']", r#"["a"] b"#, "[ -f x ]", r#"["\q"]"#]
        {
            assert_eq!(read(text), Reading::NotJson, "{text}");
        }
    }

    #[test]
    fn arrays_of_other_things_are_a_mistake() {
        for text in ["[1]", r#"["a", null]"#, "[[]]", r#"[{"a": 1}]"#] {
            assert_eq!(read(text), Reading::OtherThings, "{text}");
        }
        let deep = "[".repeat(20_000) + &"]".repeat(20_000);
        assert_eq!(read(&deep), Reading::OtherThings, "without recursion");
    }
}
