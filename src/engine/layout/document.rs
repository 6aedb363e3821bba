//! Manifests and indexes, as far as they say what belongs to an image.
//!
//! Reads the OCI's and Docker's, which have the same fields (image-spec `manifest.md`,
//! `image-index.md`; distribution "Image Manifest V 2, Schema 2").

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::OciDigest;

/// How BuildKit marks a manifest that says something of another one (moby/buildkit
/// `docs/attestations/attestation-storage.md`).
const ABOUT: &str = "vnd.docker.reference.type";

/// A manifest or an index.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    media_type: Option<String>,
    pub(crate) config: Option<Blob>,
    #[serde(default)]
    pub(crate) layers: Vec<Blob>,
    #[serde(default)]
    pub(crate) manifests: Vec<Blob>,
}

/// What a document says of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Blob {
    pub(crate) media_type: String,
    pub(crate) digest: OciDigest,
    pub(crate) size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Its media type, which the OCI's documents need not have.
    pub(crate) fn media_type(&self) -> &str {
        let usual = if self.is_index() {
            "application/vnd.oci.image.index.v1+json"
        } else {
            "application/vnd.oci.image.manifest.v1+json"
        };
        self.media_type.as_deref().unwrap_or(usual)
    }

    fn is_index(&self) -> bool {
        self.config.is_none()
    }

    /// The manifest of the image in an index: the first that is not about another one.
    pub(crate) fn image(&self) -> Option<&Blob> {
        let is_image = |blob: &&Blob| {
            blob.annotations.as_ref().is_none_or(|annotations| !annotations.contains_key(ABOUT))
        };
        self.manifests.iter().find(is_image)
    }
}
