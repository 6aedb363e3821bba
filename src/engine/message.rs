//! Messages of engines on one line of a terminal.

/// A message longer than this is cut.
const LONGEST: usize = 400;

/// The text with one blank between its words: engines print continued lines joined, with whatever
/// blanks they had.
pub fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text squeezed, and cut where it is too long.
pub fn one_line(text: &str) -> String {
    let text = squeezed(text);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(one_line(" a\n\t b "), "a b");
        assert_eq!(one_line(&"é".repeat(401)).chars().count(), LONGEST + 2);
    }
}
