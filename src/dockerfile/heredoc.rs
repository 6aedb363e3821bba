//! The words that begin a heredoc: `<<EOF`, `<<-"EOF"`, `3<<EOF`.
//!
//! Follows `heredocFromMatch` and `heredocsFromLine` of BuildKit's `parser/parser.go`. As there, blanks
//! may stand between `<<` and the delimiter since dockerfile 1.16 (commit 0b77373ab). The escape
//! character here is always `\`, whatever the directive says.

use std::borrow::Cow;

use crate::dockerfile::directive::DEFAULT_ESCAPE;
use crate::dockerfile::expand::{Escapes, ExpandError, Nothing, Quotes, Shell, Unset, expand};

/// How a word of a line is read where a heredoc is looked for.
const PLAIN: Shell = Shell {
    escape: DEFAULT_ESCAPE,
    quotes: Quotes::Strip,
    escapes: Escapes::Strip,
    unset: Unset::Keep,
};

/// The beginning of a heredoc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The delimiter, unquoted.
    pub(crate) name: String,
    /// Whether no part of the delimiter is quoted.
    pub(crate) expands: bool,
    /// Whether leading tabs are stripped.
    pub(crate) strips_tabs: bool,
}

/// The heredocs that a line begins, in order. A line that cannot be split into words has none.
pub(crate) fn openings(line: &str) -> Result<Vec<Opening>, ExpandError> {
    if !line.contains("<<") {
        return Ok(Vec::new());
    }
    let shell = Shell { quotes: Quotes::Keep, escapes: Escapes::Keep, ..PLAIN };
    let Ok(line) = expand(line, shell, &Nothing) else { return Ok(Vec::new()) };
    line.words.iter().filter_map(|word| opening(word).transpose()).collect()
}

/// The heredoc that a word begins, if it begins one.
pub(crate) fn opening(word: &str) -> Result<Option<Opening>, ExpandError> {
    let Some(rest) = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")
    else {
        return Ok(None);
    };
    let strips_tabs = rest.starts_with('-');
    let delimiter = rest.strip_prefix('-').unwrap_or(rest);
    let delimiter = delimiter.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    if delimiter.is_empty() || delimiter.contains('<') {
        return Ok(None);
    }
    let bare = expand(delimiter, PLAIN, &Nothing)?;
    let [name] = &bare.words[..] else { return Ok(None) };
    let raw = expand(delimiter, Shell { quotes: Quotes::Keep, ..PLAIN }, &Nothing)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expands = raw.words.first().is_some_and(|raw| quotes(raw) == quotes(name));
    Ok(Some(Opening { name: name.clone(), expands, strips_tabs }))
}

/// The content of `<<-` as it is meant: without the tabs at the beginning of its lines.
pub(crate) fn without_tabs(content: &str) -> Cow<'_, str> {
    if !content.contains('\t') {
        return Cow::Borrowed(content);
    }
    let lines = content.split_inclusive('\n').map(|line| line.trim_start_matches('\t'));
    Cow::Owned(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<String> {
        openings(line).unwrap().into_iter().map(|opening| opening.name).collect()
    }

    #[test]
    fn any_word_of_a_line_may_begin_one() {
        assert_eq!(names("RUN cat <<EOF > /x"), ["EOF"]);
        assert_eq!(names("RUN 3<<A cat 4<<-B"), ["A", "B"]);
        assert_eq!(names("RUN cat << EOF"), ["EOF"]);
        assert_eq!(names("RUN echo \"<<EOF\" '<<EOF' <<<word a<<EOF"), [""; 0]);
        assert_eq!(names("RUN echo \"open <<EOF"), [""; 0], "the line cannot be split");
    }

    #[test]
    fn a_quoted_delimiter_stops_expansion() {
        let one = |word: &str| opening(word).unwrap().unwrap();
        assert!(one("<<EOF").expands);
        assert!(!one("<<'EOF'").expands);
        assert!(!one("<<E\"O\"F").expands);
        assert_eq!(one("<<E\"O\"F").name, "EOF");
        assert!(one("<<-EOF").strips_tabs);
        assert!(opening("<<'EOF").is_err());
        assert_eq!(opening("<<"), Ok(None));
    }
}
