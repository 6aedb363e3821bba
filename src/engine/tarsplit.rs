//! The tar of a layer, put together again from its headers and the files of the store.
//!
//! containers/storage keeps, for every layer, the bytes of its tar that are not file contents
//! (vbatts/tar-split, one JSON object a line: `{"type":2,"payload":base64}` is bytes as they were,
//! `{"type":1,"name":path,"size":n}` is the content of that file). So the tar is read exactly as it
//! was, at the speed of reading files, and nothing is written.
#![expect(clippy::disallowed_methods, reason = "the files of the store")]

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Take};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Deserialize;

/// The tar of a layer.
pub struct LayerTar<R> {
    headers: R,
    files: PathBuf,
    line: Vec<u8>,
    current: Piece,
}

/// What is being read.
enum Piece {
    Bytes(Cursor<Vec<u8>>),
    Content(Take<File>),
}

/// A line of the headers.
#[derive(Deserialize)]
struct Segment {
    #[serde(rename = "type")]
    kind: u8,
    name: Option<String>,
    /// The bytes of a name that is not UTF-8, in base64.
    name_raw: Option<String>,
    #[serde(default)]
    size: u64,
    payload: Option<String>,
}

/// Opens the tar whose gzipped headers are in `headers` and whose files are below `files`.
pub fn open(headers: &Path, files: PathBuf) -> io::Result<impl Read> {
    Ok(LayerTar::new(BufReader::new(GzDecoder::new(File::open(headers)?)), files))
}

impl<R: BufRead> LayerTar<R> {
    /// The tar with these headers, not gzipped.
    pub fn new(headers: R, files: PathBuf) -> Self {
        Self { headers, files, line: Vec::new(), current: Piece::Bytes(Cursor::default()) }
    }

    /// Goes on to the next piece; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        if let Piece::Content(content) = &self.current
            && content.limit() > 0
        {
            return Err(wrong("a file of the store is shorter than its layer says"));
        }
        self.line.clear();
        if self.headers.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(false);
        }
        let segment: Segment = serde_json::from_slice(&self.line)?;
        let payload = segment.payload.as_deref().unwrap_or("");
        self.current = match segment.kind {
            1 if segment.size == 0 => Piece::Bytes(Cursor::default()),
            1 => Piece::Content(self.file(&segment)?.take(segment.size)),
            2 => Piece::Bytes(Cursor::new(base64(payload)?)),
            _ => return Err(wrong("a layer with an unknown kind of segment")),
        };
        Ok(true)
    }

    fn file(&self, segment: &Segment) -> io::Result<File> {
        let name = match &segment.name_raw {
            Some(raw) => base64(raw)?,
            None => segment.name.clone().unwrap_or_default().into_bytes(),
        };
        let name = path(name);
        let is_below =
            |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        let below = name.strip_prefix("/").unwrap_or(&name);
        if !below.components().all(is_below) {
            return Err(wrong("a layer with a file outside it"));
        }
        open_below(&self.files, below)
    }
}

#[cfg(unix)]
fn path(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}

impl<R: BufRead> Read for LayerTar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = match &mut self.current {
                Piece::Bytes(bytes) => bytes.read(buffer)?,
                Piece::Content(content) => content.read(buffer)?,
            };
            if read > 0 || !self.advance()? {
                return Ok(read);
            }
        }
    }
}

/// Opens a file of the layer. A link on the way is followed as it would be in the container, never
/// into the machine.
#[cfg(target_os = "linux")]
fn open_below(directory: &Path, path: &Path) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = openat(CWD, directory, flags | OFlags::DIRECTORY, Mode::empty())?;
    Ok(openat2(directory, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?.into())
}

#[cfg(not(target_os = "linux"))]
fn open_below(directory: &Path, path: &Path) -> io::Result<File> {
    File::open(directory.join(path))
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Decodes base64 with padding (RFC 4648, section 4).
fn base64(text: &str) -> io::Result<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0u32;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return Err(wrong("a layer whose headers are not base64")),
            };
            bits = bits << 6 | u32::from(value);
        }
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str, files: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        LayerTar::new(lines.as_bytes(), files.to_path_buf()).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn files() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("f"), "content and more").unwrap();
        home
    }

    #[test]
    fn headers_and_contents_are_joined_in_order() {
        let home = files();
        let lines = concat!(
            r#"{"type":2,"payload":"SEVBRA==","position":0}"#,
            "\n",
            r#"{"type":1,"name":"./f","size":7,"payload":"AAAAAAAAAAA=","position":1}"#,
            "\n",
            r#"{"type":1,"name":"d/","payload":null,"position":2}"#,
            "\n",
            r#"{"type":2,"payload":"VEFJTA==","position":3}"#,
            "\n",
            r#"{"type":1,"name":"x","name_raw":"Zg==","size":1,"position":4}"#,
        );
        assert_eq!(read(lines, home.path()).unwrap(), b"HEADcontentTAILc");
    }

    #[test]
    fn a_store_that_does_not_fit_its_headers_is_an_error() {
        let home = files();
        for wrong in [
            r#"{"type":1,"name":"f","size":99}"#,
            r#"{"type":1,"name":"gone","size":1}"#,
            r#"{"type":1,"name":"../f","size":1}"#,
            r#"{"type":7}"#,
            r#"{"type":2,"payload":"*"}"#,
            "{",
        ] {
            assert!(read(wrong, home.path()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn base64_is_decoded() {
        for (text, bytes) in
            [("", ""), ("YQ==", "a"), ("YWI=", "ab"), ("YWJj", "abc"), ("Pz8/", "???")]
        {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
    }
}
