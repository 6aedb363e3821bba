//! What `--progress=rawjson` prints: one JSON object for every change, among plain text.
//!
//! buildx 0.13 spreads an object over many lines, later versions write one a line (moby/buildkit
//! 3fb3b0781); long lines come in pieces. Errors follow as text: lines that begin with `{` only in an
//! object. Source of the fields: moby/buildkit `client/graph.go`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::engine::vertex::{Log, Vertex};

/// What a line was the end of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// An object.
    Update(Update),
    /// A line of text.
    Text(String),
}

/// A change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The vertices that are other than before.
    pub vertices: Vec<Vertex>,
    /// What was printed.
    pub logs: Vec<Log>,
}

/// Puts lines together.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    object: String,
    depth: u32,
    is_in_string: bool,
    is_escaped: bool,
}

impl Reader {
    /// Takes a line, or the next piece of a long one.
    pub fn line(&mut self, line: &str) -> Option<Piece> {
        if self.depth == 0 && !line.starts_with('{') {
            return Some(Piece::Text(line.to_owned()));
        }
        self.object.push_str(line);
        line.bytes().for_each(|byte| self.scan(byte));
        if self.depth > 0 {
            if !self.is_in_string {
                self.object.push('\n'); // no string goes over a line's end
            }
            return None;
        }
        self.finish()
    }

    /// What is left when nothing follows.
    pub fn finish(&mut self) -> Option<Piece> {
        let object = std::mem::take(self).object;
        if object.is_empty() {
            return None;
        }
        match serde_json::from_str::<Object>(&object) {
            Ok(object) => Some(Piece::Update(object.into())),
            Err(_) => Some(Piece::Text(object)),
        }
    }

    fn scan(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = self.is_in_string,
            b'"' => self.is_in_string = !self.is_in_string,
            b'{' if !self.is_in_string => self.depth += 1,
            b'}' if !self.is_in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// `SolveStatus`
#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    vertexes: Vec<RawVertex>,
    #[serde(default)]
    logs: Vec<RawLog>,
}

/// `Vertex`
#[derive(Deserialize)]
struct RawVertex {
    #[serde(default)]
    digest: String,
    #[serde(default)]
    name: String,
    started: Option<IgnoredAny>,
    completed: Option<IgnoredAny>,
    #[serde(default)]
    cached: bool,
    #[serde(default)]
    error: String,
}

/// `VertexLog`
#[derive(Deserialize)]
struct RawLog {
    #[serde(default)]
    vertex: String,
    #[serde(default)]
    data: String,
}

impl From<Object> for Update {
    fn from(object: Object) -> Self {
        let vertex = |raw: RawVertex| Vertex {
            digest: raw.digest,
            name: raw.name,
            started: raw.started.is_some(),
            completed: raw.completed.is_some(),
            cached: raw.cached,
            error: raw.error,
        };
        let log = |raw: RawLog| {
            Some(Log { vertex: raw.vertex, data: BASE64_STANDARD.decode(raw.data).ok()? })
        };
        Self {
            vertices: object.vertexes.into_iter().map(vertex).collect(),
            logs: object.logs.into_iter().filter_map(log).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Lines;

    const PRETTY: &str = include_str!("captures/pretty.txt");
    const LINES: &str = include_str!("captures/lines.txt");

    fn read(text: &str) -> (Vec<Update>, Vec<String>) {
        let (mut reader, mut updates, mut texts) = (Reader::default(), Vec::new(), Vec::new());
        let mut take = |piece| match piece {
            Some(Piece::Update(update)) => updates.push(update),
            Some(Piece::Text(text)) => texts.push(text),
            None => {}
        };
        let mut lines = Lines::default();
        lines.push(text.as_bytes(), &mut |line| take(reader.line(&line)));
        lines.finish(&mut |line| take(reader.line(&line)));
        take(reader.finish());
        (updates, texts)
    }

    #[test]
    fn both_forms_are_read_to_their_last_object() {
        for (capture, objects, error) in [(PRETTY, 24, "ERROR: "), (LINES, 21, "error: ")] {
            let (updates, texts) = read(capture);
            assert_eq!(updates.len(), objects);
            assert_eq!(texts.len(), 8, "{texts:?}");
            assert!(texts[7].starts_with(error));
            let last = updates.last().unwrap().vertices.last().unwrap();
            assert!(last.started && last.completed && !last.cached);
            assert!(last.error.ends_with("exit code: 42"));
            let logs = updates.iter().flat_map(|update| &update.logs);
            assert!(logs.into_iter().any(|log| log.data == b"10%\r20%\n"));
        }
    }

    #[test]
    fn a_long_object_comes_in_pieces() {
        let name = "\u{20ac} { \\\" ".repeat(30_000);
        let (updates, texts) = read(&format!(r#"{{"vertexes":[{{"name":"{name}"}}]}}"#));
        assert_eq!(updates[0].vertices[0].name, name.replace('\\', ""));
        assert!(texts.is_empty());
    }

    #[test]
    fn what_is_no_object_is_text() {
        let (updates, texts) = read("x {\n{\"vertexes\": 1}\n{ no\n");
        assert!(updates.is_empty());
        assert_eq!(texts, ["x {", "{\"vertexes\": 1}", "{ no\n"]);
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        let (updates, _) = read("{\"statuses\":[{\"id\":\"x\"}],\"new\":{}}\n{}");
        assert_eq!(updates, [Update::default(), Update::default()]);
    }
}
