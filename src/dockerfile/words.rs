//! The ways in which the rest of a line falls into words.
//!
//! Follows BuildKit's `parser/split_command.go` and `parser/line_parsers.go`. All ranges are bytes of
//! the text that is handed in.

use std::ops::Range;

/// The white space of BuildKit's `reWhitespace`; others, such as U+00A0, do not part words.
pub(crate) const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// A word that had quotes or escapes, and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unquoted {
    /// The word as it is meant.
    pub(crate) text: String,
    /// The word as it is written.
    pub(crate) range: Range<usize>,
}

/// A line in its parts: keyword, the rest.
pub(crate) fn split_keyword(line: &str) -> (Range<usize>, Range<usize>) {
    let line_range = trim(line, 0..line.len());
    let Some(blank) = line[line_range.clone()].find(BLANKS) else {
        return (line_range.clone(), line_range.end..line_range.end);
    };
    let keyword = line_range.start..line_range.start + blank;
    let rest = line[keyword.end..line_range.end].trim_start_matches(BLANKS);
    (keyword, line_range.end - rest.len()..line_range.end)
}

/// A range without the white space at both ends of it.
pub(crate) fn trim(line: &str, range: Range<usize>) -> Range<usize> {
    let text = &line[range.clone()];
    let start = range.start + (text.len() - text.trim_start().len());
    start..start + text.trim().len()
}

/// The words between blanks, without regard to quotes. An empty range has no words.
pub(crate) fn split_blanks(line: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = range.start;
    let text = &line[range.clone()];
    if text.is_empty() {
        return words;
    }
    for (at, separator) in text.match_indices(BLANKS) {
        let at = range.start + at;
        if at > start || at == range.start {
            words.push(start..at);
        }
        start = at + separator.len();
    }
    words.push(start..range.end);
    words
}

/// The flags at the beginning of a range, and what remains: words that begin with `--`, unquoted; a
/// lone `--` ends them. `None` if a flag ends within a character, as it may in BuildKit.
pub(crate) fn split_flags(
    line: &str,
    range: Range<usize>,
    escape: char,
) -> Option<(Vec<Unquoted>, Range<usize>)> {
    let mut flags = Vec::new();
    let mut at = range.start;
    loop {
        let rest = &line.as_bytes()[at..range.end];
        at += rest.iter().take_while(|byte| char::from(**byte).is_whitespace()).count();
        let rest = line.get(at..range.end)?;
        if !rest.starts_with("--") {
            return Some((flags, trim(line, at..range.end)));
        }
        let flag = flag_word(line, at..range.end, escape);
        at = flag.range.end;
        if flag.text == "--" {
            return Some((flags, trim(line, at..range.end)));
        }
        flags.push(flag);
    }
}

/// One flag; quotes and escapes are taken away, within single quotes too. As in BuildKit, which takes
/// its bytes for characters, what is not ASCII is garbled, and the bytes 0x85 and 0xA0 are blanks.
fn flag_word(line: &str, range: Range<usize>, escape: char) -> Unquoted {
    let mut text = String::new();
    let mut quote = None;
    let mut bytes = line.as_bytes()[range.clone()].iter().copied().map(char::from).enumerate();
    while let Some((at, c)) = bytes.next() {
        match quote {
            None if c.is_whitespace() => {
                return Unquoted { text, range: range.start..range.start + at };
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            // An escape that nothing follows is dropped.
            _ if c == escape => text.extend(bytes.next().map(|(_, escaped)| escaped)),
            _ => text.push(c),
        }
    }
    Unquoted { text, range }
}

/// The words of ENV, LABEL and ARG: quotes and escapes hold a word together and stay in it.
pub(crate) fn split_quoted(line: &str, range: Range<usize>, escape: char) -> Vec<Unquoted> {
    let mut words = Vec::new();
    let mut at = range.start;
    loop {
        let rest = &line[at..range.end];
        at += rest.len() - rest.trim_start().len();
        if at >= range.end {
            return words;
        }
        let word = quoted_word(line, at..range.end, escape);
        at = word.range.end;
        if !word.text.is_empty() {
            words.push(word);
        }
    }
}

fn quoted_word(line: &str, range: Range<usize>, escape: char) -> Unquoted {
    let mut text = String::new();
    let mut quote = None;
    let mut chars = line[range.clone()].char_indices();
    while let Some((at, c)) = chars.next() {
        let escapes = c == escape && quote != Some('\'');
        match quote {
            None if c.is_whitespace() => {
                return Unquoted { text, range: range.start..range.start + at };
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if !escapes {
            text.push(c);
        } else if let Some((_, escaped)) = chars.next() {
            // Behind an escape even a quote is an ordinary character; an escape that nothing
            // follows is dropped.
            text.push(c);
            text.push(escaped);
        }
    }
    Unquoted { text, range }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags, joined by `|`, and the rest.
    fn flags(line: &str) -> (String, &str) {
        let (flags, rest) = split_flags(line, 0..line.len(), '\\').unwrap();
        let flags: Vec<_> = flags.into_iter().map(|flag| flag.text).collect();
        (flags.join("|"), &line[rest])
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        assert_eq!(flags("--a=1  --b x --c"), ("--a=1|--b".into(), "x --c"));
        assert_eq!(flags("-- --from=x /d"), (String::new(), "--from=x /d"));
        assert_eq!(flags("--a"), ("--a".into(), ""));
        assert_eq!(flags("- x"), (String::new(), "- x"));
    }

    #[test]
    fn flags_lose_quotes_and_escapes() {
        assert_eq!(flags(r#"--a="x y"'z' q"#), ("--a=x yz".into(), "q"));
        assert_eq!(flags(r"--a=x\ y q\"), ("--a=x y".into(), r"q\"));
        assert_eq!(flags(r"--a=x\"), ("--a=x".into(), ""));
    }

    #[test]
    fn quoted_words_keep_their_quotes() {
        let line = r#"a="b c" d=e\ f g='h\' i"#;
        let words = split_quoted(line, 0..line.len(), '\\');
        let words: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(words, [r#"a="b c""#, r"d=e\ f", r"g='h\'", "i"]);
    }

    #[test]
    fn blanks_part_words_whatever_the_quotes() {
        let line = "a 'b  c'\t\u{a0}d";
        let words: Vec<_> =
            split_blanks(line, 0..line.len()).into_iter().map(|word| &line[word]).collect();
        assert_eq!(words, ["a", "'b", "c'", "\u{a0}d"]);
        assert!(split_blanks("", 0..0).is_empty());
    }

    #[test]
    fn a_keyword_ends_at_a_blank() {
        let line = "  RUN\t x  y ";
        let (keyword, rest) = split_keyword(line);
        assert_eq!((&line[keyword], &line[rest]), ("RUN", "x  y"));
        assert_eq!(split_keyword("RUN"), (0..3, 3..3));
    }
}
