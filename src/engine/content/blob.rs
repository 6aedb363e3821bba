//! A layer as registries and layouts keep it: a tar, compressed as its media type says.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;

use crate::digest::Digest;
use crate::engine::content::layer;

/// The digest of the layer in a blob of this media type (image-spec `layer.md`; Docker calls its
/// gzipped layers `..tar.gzip`).
pub fn digest(media_type: &str, blob: impl Read) -> io::Result<Digest> {
    let blob = BufReader::with_capacity(256 * 1024, blob);
    match media_type.rsplit(['.', '+']).next() {
        Some("gzip") => layer::digest(MultiGzDecoder::new(blob)),
        Some("tar") => layer::digest(blob),
        _ => {
            let text = format!("layers of type {media_type} cannot be read");
            Err(io::Error::new(io::ErrorKind::Unsupported, text))
        }
    }
}
