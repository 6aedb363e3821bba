//! The text of a file, where not every byte need be text.
//!
//! BuildKit takes bytes as they come, and an old Dockerfile may hold a name in Latin-1. Such bytes are
//! read as U+FFFD, as Go shows them, and remembered beside the instruction.

use std::borrow::Cow;
use std::ops::Range;

/// What stands for a byte that is not UTF-8 in the words of an instruction.
pub(crate) const NO_TEXT: &str = "\u{fffd}";

/// The byte order mark.
const MARK: char = '\u{feff}';

/// The text of a file, every byte at its offset.
pub(crate) struct Text<'a> {
    bytes: &'a [u8],
    /// The text; a byte that is not UTF-8 is a `?`, a byte order mark is blank.
    whole: Cow<'a, str>,
    /// Where a byte is not UTF-8, or NUL, in order.
    bad: Vec<usize>,
    /// The length of the byte order mark.
    mark: usize,
}

impl<'a> Text<'a> {
    /// Takes the bytes of a file.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut bad = Vec::new();
        // Hardly any file has one, and to look for one is far cheaper than to list all.
        if bytes.contains(&0) {
            bad.extend(bytes.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at));
        }
        let mut whole = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(replaced(bytes, &mut bad)),
        };
        let mark = if whole.starts_with(MARK) { MARK.len_utf8() } else { 0 };
        if mark > 0 {
            whole.to_mut().replace_range(..mark, "   ");
        }
        bad.sort_unstable();
        Self { bytes, whole, bad, mark }
    }

    /// The text, byte order mark and all.
    pub(crate) fn whole(&self) -> &str {
        &self.whole
    }

    /// The text behind the byte order mark.
    pub(crate) fn without_mark(&self) -> &str {
        &self.whole[self.mark..]
    }

    /// Where a part of the text begins.
    pub(crate) fn offset(&self, part: &str) -> usize {
        part.as_ptr() as usize - self.whole.as_ptr() as usize
    }

    /// The bytes of a range that are NUL or no UTF-8, and where they stand.
    pub(crate) fn bad_bytes(&self, range: Range<usize>) -> impl Iterator<Item = (usize, u8)> {
        let first = self.bad.partition_point(|at| *at < range.start);
        let end = self.bad.partition_point(|at| *at < range.end);
        self.bad[first..end].iter().map(|at| (*at, self.bytes[*at]))
    }

    /// A part of the text with U+FFFD for every byte that is not UTF-8.
    pub(crate) fn shown<'b>(&self, part: &'b str) -> Cow<'b, str> {
        let start = self.offset(part);
        let mut shown = String::new();
        let mut copied = 0;
        for (at, _) in self.bad_bytes(start..start + part.len()).filter(|bad| bad.1 != 0) {
            shown.extend([&part[copied..at - start], NO_TEXT]);
            copied = at - start + 1;
        }
        if copied == 0 {
            return Cow::Borrowed(part);
        }
        shown.push_str(&part[copied..]);
        Cow::Owned(shown)
    }
}

/// The text with `?` for every byte that is not UTF-8, so that offsets stay what they are.
fn replaced(bytes: &[u8], bad: &mut Vec<usize>) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            bad.push(text.len());
            text.push('?');
        }
    }
    text
}
