//! Cuts what a program prints into the lines that a terminal would show.

/// A longer line is handed on in pieces: a program that never ends its line must not fill memory.
const LONGEST: usize = 64 * 1024;

/// Takes bytes as they come and hands on lines, without their ends.
///
/// Of a line, only what follows the last carriage return is kept: it begins the line again. Bytes
/// that are not UTF-8 are replaced.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes more bytes and hands on the lines that end in them.
    pub fn push(&mut self, bytes: &[u8], line: &mut dyn FnMut(String)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.rest.extend_from_slice(piece);
            if self.rest.last() == Some(&b'\n') {
                line(shown(&self.rest));
                self.rest.clear();
            } else if self.rest.len() >= LONGEST {
                let begun = self.rest.split_off(whole(&self.rest));
                line(shown(&self.rest));
                self.rest = begun;
            }
        }
    }

    /// Hands on what is left, a line without an end.
    pub fn finish(&mut self, line: &mut dyn FnMut(String)) {
        if !self.rest.is_empty() {
            line(shown(&self.rest));
            self.rest.clear();
        }
    }
}

/// How many of the bytes come before a character that is not all there yet.
fn whole(bytes: &[u8]) -> usize {
    let last = bytes.len().saturating_sub(3);
    let begins =
        bytes[last..].iter().rposition(|&byte| byte >= 0xc0).map_or(bytes.len(), |at| last + at);
    match str::from_utf8(&bytes[begins..]) {
        Err(error) if error.error_len().is_none() => begins,
        _ => bytes.len(),
    }
}

fn shown(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let last = line.rsplit(|&byte| byte == b'\r').next().unwrap_or(line);
    String::from_utf8_lossy(last).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.push(piece, &mut |line| seen.push(line));
        }
        lines.finish(&mut |line| seen.push(line));
        seen
    }

    #[test]
    fn a_line_is_joined_from_its_pieces() {
        assert_eq!(cut(&[b"on", b"e\ntwo\nth", b"ree"]), ["one", "two", "three"]);
        assert_eq!(cut(&[b"\n", b""]), [""]);
    }

    #[test]
    fn a_carriage_return_begins_the_line_again() {
        assert_eq!(cut(&[b"10%\r5", b"0%\r100%\n", b"dos\r\n"]), ["100%", "dos"]);
    }

    #[test]
    fn a_line_without_an_end_comes_in_pieces_of_whole_characters() {
        let text = format!("x{}", "\u{20ac}".repeat(LONGEST));
        let pieces = cut(&text.as_bytes().chunks(1000).collect::<Vec<_>>());
        assert!(pieces.len() > 2);
        assert_eq!(pieces.concat(), text);
        assert_eq!(cut(&[&vec![b'\xff'; LONGEST]]).concat().chars().count(), LONGEST);
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(cut(&[b"a\xffb\n"]), ["a\u{fffd}b"]);
        assert_eq!(cut(&[b"\xc3", b"\xa9\n"]), ["\u{e9}"]);
    }
}
