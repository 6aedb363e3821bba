//! What comes with a gRPC error of BuildKit besides its text: which vertex failed, and the lines of
//! the Dockerfile that it came from.
//!
//! A trailer `grpc-status-details-bin` holds a `google.rpc.Status` whose details are JSON, not
//! protobuf, under URLs such as `github.com/moby/buildkit/errdefs.Source+json`. Sources:
//! moby/buildkit `util/grpcerrors/grpcerrors.go`, `solver/errdefs/errdefs.proto`, `vertex.go`.

use prost::Message;
use serde::Deserialize;

/// The details that say where it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Lines of the Dockerfile, from 1: where the instruction begins. Several if one vertex came from
    /// several instructions.
    pub lines: Vec<u32>,
    /// The digest of the vertex.
    pub vertex: Option<String>,
}

impl Details {
    /// Reads the bytes of the trailer. What cannot be read says nothing.
    pub fn decode(trailer: &[u8]) -> Self {
        let mut found = Self::default();
        let status = Status::decode(trailer).unwrap_or_default();
        for detail in &status.details {
            match detail.type_url.rsplit('/').next() {
                Some("errdefs.Source+json") => found.lines.extend(first_line(&detail.value)),
                Some("errdefs.Vertex+json") if found.vertex.is_none() => {
                    found.vertex = vertex(&detail.value);
                }
                _ => {}
            }
        }
        found
    }
}

/// The first line of a Source. Its ranges are what one instruction covers.
fn first_line(json: &[u8]) -> Option<u32> {
    let source: Source = serde_json::from_slice(json).ok()?;
    let lines = source.ranges.into_iter().map(|range| range.start.line);
    lines.filter(|&line| line > 0).min()
}

fn vertex(json: &[u8]) -> Option<String> {
    let vertex: Vertex = serde_json::from_slice(json).ok()?;
    Some(vertex.digest).filter(|digest| !digest.is_empty())
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    start: Position,
}

#[derive(Default, Deserialize)]
struct Position {
    /// Capital before BuildKit left gogo/protobuf.
    #[serde(default, alias = "Line")]
    line: u32,
}

#[derive(Deserialize)]
struct Vertex {
    #[serde(default)]
    digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer(details: &[(&str, &str)]) -> Vec<u8> {
        let any = |(name, json): &(&str, &str)| Any {
            type_url: format!("github.com/moby/buildkit/{name}+json"),
            value: json.as_bytes().to_vec(),
        };
        Status { details: details.iter().map(any).collect() }.encode_to_vec()
    }

    #[test]
    fn the_line_of_either_generation_is_read() {
        for range in [
            r#"{"start":{"Line":3,"Character":1},"end":{"Line":4}}"#,
            r#"{"start":{"line":3},"end":{"line":4}}"#,
        ] {
            let json = format!(r#"{{"info":{{"filename":"Dockerfile"}},"ranges":[{range}]}}"#);
            let details = Details::decode(&trailer(&[
                ("stack.Stack", "{}"),
                ("errdefs.Vertex", r#"{"digest":"sha256:1"}"#),
                ("errdefs.Source", &json),
            ]));
            assert_eq!(details, Details { lines: vec![3], vertex: Some("sha256:1".into()) });
        }
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for trailer in [
            &b""[..],
            b"\xff\xff",
            &trailer(&[("errdefs.Source", "{"), ("errdefs.Vertex", "[]")]),
            &trailer(&[("errdefs.Source", r#"{"ranges":[{"start":{}}]}"#)]),
            &trailer(&[("errdefs.Source", r#"{"ranges":[]}"#)]),
        ] {
            assert_eq!(Details::decode(trailer), Details::default());
        }
    }
}
