//! Pushes for real: an image of one small layer, to a registry of this machine.
//!
//! What is decided from registries can be tried out with it, thousands of images a minute. Another
//! machine's registry is refused: what was never built must not be found where people deploy from.
#![expect(clippy::disallowed_methods, reason = "what is sent lies in files")]

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::digest::OciDigest;
use crate::engine::{Cancel, EngineError, Progress};
use crate::image::Platform;
use crate::reference::{Reference, is_loopback};
use crate::registry::upload::Parcel;
use crate::registry::{Registry, Watch};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A simulated image as a registry has it.
struct Image {
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Vec<u8>,
}

impl Image {
    fn new(id: &OciDigest) -> Self {
        let platform = Platform::host();
        let layer = format!("simulated {id}\n").into_bytes();
        let config = json!({
            "os": platform.os,
            "architecture": platform.arch,
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [OciDigest::of_content(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let blob = |kind: &str, bytes: &[u8]| {
            let digest = OciDigest::of_content(bytes);
            json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": blob(CONFIG, &config),
            "layers": [blob(LAYER, &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        Self { config, layer, manifest }
    }
}

/// What a registry calls the image with an id.
pub(super) fn digest(id: &OciDigest) -> OciDigest {
    OciDigest::of_content(&Image::new(id).manifest)
}

/// Sends the image with an id under references, whose tags move in this order.
pub(super) fn send(
    registry: &Registry,
    id: &OciDigest,
    references: &[String],
    scratch: &Path,
    (cancel, progress): (&Cancel, &mut dyn FnMut(Progress)),
) -> Result<(), EngineError> {
    let Image { config, layer, manifest } = Image::new(id);
    for text in references {
        let to: Reference = text.parse().map_err(|error| {
            EngineError::Unsupported(format!("`{text}` is no reference: {error}"))
        })?;
        if !is_loopback(&to.domain) {
            let text = format!("simulated images are not pushed to {}", to.domain);
            return Err(EngineError::Unsupported(text));
        }
        let parcels = [&config, &layer].map(|bytes| parcel(scratch, bytes));
        let parcels: Vec<Parcel> = parcels.into_iter().collect::<Result<_, _>>()?;
        let say = &mut |note| progress(Progress::Warning(note));
        registry.send(&to, parcels, Watch { cancel, say })?;
        let say = &mut |note| progress(Progress::Warning(note));
        registry.put_manifest(&to, (MANIFEST, &manifest), Watch { cancel, say })?;
    }
    Ok(())
}

/// A blob as a file, which several pushes may share: it is called by its digest.
fn parcel(scratch: &Path, bytes: &[u8]) -> Result<Parcel, EngineError> {
    let digest = OciDigest::of_content(bytes);
    let path = scratch.join(digest.hex());
    let failed = |source| EngineError::File { action: "write", path: path.clone(), source };
    fs::create_dir_all(scratch).map_err(failed)?;
    if !path.exists() {
        let new = scratch.join(format!("{}.{:?}", digest.hex(), std::thread::current().id()));
        fs::write(&new, bytes).and_then(|()| fs::rename(&new, &path)).map_err(failed)?;
    }
    Ok(Parcel { digest, size: bytes.len() as u64, path, elsewhere: Vec::new() })
}
