//! The lines of an ignore file, as the reader of each engine passes them on.
//!
//! Knows nothing of what a pattern matches. Sources: moby/patternmatcher `ignorefile/ignorefile.go`
//! (`ReadAll`), openshift/imagebuilder `builder.go` (`ParseIgnoreReader`).

use crate::gopath;
use crate::ignorefile::Reader;

/// The longest line that BuildKit reads (Go `bufio.MaxScanTokenSize`, with the end of the line).
const LONGEST_LINE: usize = 64 * 1024;

/// A line that holds a pattern.
pub(crate) struct Line<'a> {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// Where it begins in the file.
    pub(crate) start: usize,
    /// The line as written, without its end.
    pub(crate) text: &'a [u8],
    /// The pattern that the matcher is given.
    pub(crate) pattern: Vec<u8>,
}

impl Line<'_> {
    /// Whether BuildKit would refuse the file for the length of the line.
    pub(crate) fn is_too_long(&self) -> bool {
        self.text.len() >= LONGEST_LINE
    }
}

/// The lines that hold a pattern.
pub(crate) fn lines(text: &[u8], reader: Reader) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    text.split(|byte| *byte == b'\n').enumerate().filter_map(move |(index, text)| {
        let line_start = start;
        start += text.len() + 1;
        let pattern = match reader {
            Reader::BuildKit => buildkit(text, index == 0),
            Reader::Buildah => buildah(text),
        }?;
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        Some(Line { number, start: line_start, text, pattern })
    })
}

fn buildkit(line: &[u8], is_first: bool) -> Option<Vec<u8>> {
    let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    if line.starts_with(b"#") {
        return None;
    }
    let line = trim(line);
    let (mark, body) = match line.strip_prefix(b"!") {
        Some(body) => (&b"!"[..], trim(body)),
        None => (&b""[..], line),
    };
    if body.is_empty() {
        return (!mark.is_empty()).then(|| mark.to_vec());
    }
    let cleaned = gopath::clean(body);
    let relative = if cleaned.len() > 1 { cleaned.strip_prefix(b"/") } else { None };
    Some([mark, relative.unwrap_or(&cleaned)].concat())
}

fn buildah(line: &[u8]) -> Option<Vec<u8>> {
    if line.starts_with(b"#") {
        return None;
    }
    let start = line.iter().position(|byte| *byte != b'/')?;
    let end = line.iter().rposition(|byte| *byte != b'/')?;
    Some(line[start..=end].to_vec())
}

/// Trims white space as Go's `TrimSpace` does; bytes that are no text are kept.
pub(crate) fn trim(text: &[u8]) -> &[u8] {
    if let Ok(text) = std::str::from_utf8(text) {
        return text.trim().as_bytes();
    }
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t'..=b'\r');
    let Some(start) = text.iter().position(is_text) else { return b"" };
    let end = text.iter().rposition(is_text).map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], reader: Reader) -> Vec<String> {
        let shown =
            |line: Line<'_>| format!("{} {}", line.number, String::from_utf8_lossy(&line.pattern));
        lines(text, reader).map(shown).collect()
    }

    #[test]
    fn buildkit_trims_cleans_and_unroots() {
        // ignorefile.go: ReadAll
        let text = b"\xef\xbb\xbfa\n#b\n #c\n\n  d/../e/  \r\n! /f//g \n/\n!\n!/\n./h";
        let wanted = ["1 a", "3 #c", "5 e", "6 !f/g", "7 /", "8 !", "9 !/", "10 h"];
        assert_eq!(read(text, Reader::BuildKit), wanted);
    }

    #[test]
    fn buildah_trims_slashes_and_nothing_else() {
        // builder.go: ParseIgnoreReader
        let text = b"/a/\n#b\n #c\n\n  d/../e/  \n! /f\n//\n!/";
        let wanted = ["1 a", "3  #c", "5   d/../e/  ", "6 ! /f", "8 !"];
        assert_eq!(read(text, Reader::Buildah), wanted);
    }

    #[test]
    fn bytes_that_are_no_text_are_patterns_too() {
        let patterns: Vec<_> = lines(b" \xff* \n", Reader::BuildKit).map(|l| l.pattern).collect();
        assert_eq!(patterns, [b"\xff*"]);
    }
}
