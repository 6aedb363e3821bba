//! Foreign text made safe to print, and text cut to the columns of a terminal.
//!
//! What builds print and how files are called is not ours: it may hold escape sequences that move
//! the cursor, carriage returns and other control characters. None of them reaches a terminal.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use unicode_width::UnicodeWidthChar;

/// A line as a terminal would have shown it in the end, without what could move the cursor: escape
/// sequences (ECMA-48) and control characters are gone, and of a line that was drawn over with
/// carriage returns the last drawing stays. Tabs stay.
pub fn clean(line: &str) -> Cow<'_, str> {
    if !line.contains(|c: char| c.is_control() && c != '\t') {
        return Cow::Borrowed(line);
    }
    let mut drawings = line.split(['\r', '\n']).rev().map(without_controls);
    Cow::Owned(drawings.find(|drawing| !drawing.is_empty()).unwrap_or_default())
}

fn without_controls(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => skip_sequence(&mut chars),
            '\t' => kept.push(c),
            _ if c.is_control() => (),
            _ => kept.push(c),
        }
    }
    kept
}

/// Skips what follows an escape character: a control sequence up to its final byte, a string up to
/// its terminator, intermediate bytes up to theirs, or one character.
fn skip_sequence(chars: &mut Peekable<Chars<'_>>) {
    match chars.next() {
        Some('[') => while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {},
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(chars),
        Some('\x20'..='\x2f') => while chars.next().is_some_and(|c| c < '\x30') {},
        _ => (),
    }
}

fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next() {
        match c {
            '\x07' => return,
            '\x1b' if chars.next_if_eq(&'\\').is_some() => return,
            _ => (),
        }
    }
}

/// A name or a path on one line, whole: every control character is shown as `?`, as `ls` does.
pub fn printable(name: &str) -> Cow<'_, str> {
    if !name.contains(char::is_control) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.replace(char::is_control, "?"))
}

/// How many columns a text takes. Control characters take none.
pub fn width(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// A text in at most so many columns. Where something had to go, `…` stands at its end. Tabs become
/// spaces, because what they take depends on where they stand.
pub fn cut(text: &str, columns: usize) -> String {
    let text = text.replace('\t', " ");
    if width(&text) <= columns {
        return text;
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        kept.push(c);
    }
    kept.truncate(kept.trim_end().len());
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_and_drawn_over_text_are_gone() {
        assert_eq!(clean("plain\ttext"), "plain\ttext");
        assert_eq!(clean("\x1b[31mred\x1b[0m \x1b[2Kx"), "red x");
        assert_eq!(clean("10 %\r50 %\r100 %\r"), "100 %");
        assert_eq!(clean("\x1b]0;title\x07a\x1b]8;;url\x1b\\b"), "ab");
        assert_eq!(clean("a\x07\u{9b}b\x1b(Bc"), "abc");
        assert_eq!(clean("cut \x1b["), "cut ");
        assert_eq!(clean("\x1b"), "");
    }

    #[test]
    fn a_name_stays_whole_on_one_line() {
        assert_eq!(printable("src/Main.java"), "src/Main.java");
        assert_eq!(printable("a\x1b[2Jb\nc"), "a?[2Jb?c");
    }

    #[test]
    fn wide_characters_count_twice_when_a_line_is_cut() {
        assert_eq!(cut("RUN make", 8), "RUN make");
        assert_eq!(cut("RUN make all", 8), "RUN mak…");
        assert_eq!(cut("RUN 漢字漢字", 9), "RUN 漢字…");
        assert_eq!(cut("RUN 漢字漢字", 8), "RUN 漢…");
        assert_eq!(cut("a b", 0), "");
        assert_eq!(cut("one two", 5), "one…");
    }

    proptest! {
        #[test]
        fn nothing_is_wider_than_the_columns_and_nothing_clean_has_controls(
            text in any::<String>(),
            columns in 0_usize..100,
        ) {
            let clean = clean(&text);
            prop_assert!(!clean.contains(|c: char| c.is_control() && c != '\t'));
            prop_assert!(width(&cut(&clean, columns)) <= columns);
        }
    }
}
