//! A layer as registries and layouts keep it: a tar, compressed as its media type says.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;

use crate::digest::Digest;
use crate::engine::content::layer;

/// The digest of the layer in a blob of this media type (image-spec `layer.md`; Docker calls its
/// gzipped layers `..tar.gzip`); `None` where it is packed in a way that is not known here.
pub fn digest(media_type: &str, blob: impl Read) -> io::Result<Option<Digest>> {
    let blob = BufReader::with_capacity(256 * 1024, blob);
    match media_type.rsplit(['.', '+']).next() {
        Some("gzip") => layer::digest(MultiGzDecoder::new(blob)).map(Some),
        Some("tar") => layer::digest(blob).map(Some),
        _ => Ok(None),
    }
}
