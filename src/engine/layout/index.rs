//! `index.json`: which references point at which images, and what others put there.
//!
//! Every reference of ours is an entry of its own, called in both ways that tools know: by
//! `org.opencontainers.image.ref.name` (image-spec `annotations.md`; skopeo, podman, buildah) as
//! people write it, and by `io.containerd.image.name` (containerd `images.AnnotationImageName`;
//! ctr, nerdctl, docker) in full. What is not known stays as it is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::digest::OciDigest;
use crate::engine::EngineError;
use crate::reference::Reference;

const NAME: &str = "org.opencontainers.image.ref.name";
const FULL_NAME: &str = "io.containerd.image.name";

/// The index of a layout.
#[derive(Debug)]
pub(crate) struct Index(Value);

impl Index {
    /// The index of a layout without images.
    pub(crate) fn empty() -> Self {
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
        });
        Self(index)
    }

    /// Reads a document; `None` where it is no index.
    pub(crate) fn parse(document: &[u8]) -> Option<Self> {
        let mut index: Value = serde_json::from_slice(document).ok()?;
        index.as_object_mut()?.entry("manifests").or_insert_with(|| json!([])).as_array()?;
        Some(Self(index))
    }

    /// The document.
    pub(crate) fn document(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    fn entries(&self) -> &[Value] {
        self.0.get("manifests").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// What every name points at.
    pub(crate) fn names(&self) -> BTreeMap<&str, &str> {
        let name = |entry| Some((name(entry)?, digest(entry)?));
        self.entries().iter().filter_map(name).collect()
    }

    /// Everything that is pointed at, with a name or without.
    pub(crate) fn digests(&self) -> impl Iterator<Item = &str> {
        self.entries().iter().filter_map(digest)
    }

    /// Points a reference at an image, if it does not already, and says so. The image before, if
    /// there was one, loses this name and nothing else.
    pub(crate) fn point(&mut self, called: &Name, image: &Descriptor) -> bool {
        let mut annotations = json!({ NAME: called.short });
        if let Some(full) = &called.full {
            annotations[FULL_NAME] = json!(full);
        }
        let entry = json!({
            "mediaType": image.media_type,
            "digest": image.digest,
            "size": image.size,
            "annotations": annotations,
        });
        let Some(Value::Array(entries)) = self.0.get_mut("manifests") else { return false };
        let known = entries.iter().position(|entry| name(entry) == Some(&*called.short));
        match known {
            Some(row) if digest(&entries[row]) == Some(image.digest.as_str()) => return false,
            Some(row) => entries[row] = entry,
            None => entries.push(entry),
        }
        true
    }
}

/// The image to point at.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: OciDigest,
    pub(crate) size: u64,
}

/// How a reference is called in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// As people write it, with its tag.
    pub(crate) short: String,
    /// In full, where it is a reference.
    full: Option<String>,
}

impl Name {
    /// The name of a reference, which has a tag.
    pub(crate) fn new(reference: &str) -> Result<Self, EngineError> {
        let wrong = |error| EngineError::Unsupported(format!("`{reference}`: {error}"));
        let parsed = Reference::parse(reference).map_err(|error| wrong(error.to_string()))?;
        let tag = parsed.tag_or_latest().ok_or_else(|| wrong("there is no tag".to_owned()))?;
        Ok(Self {
            short: format!("{}:{tag}", parsed.familiar_repository()),
            full: Some(format!("{}:{tag}", parsed.repository())),
        })
    }

    /// A name that is no reference.
    pub(crate) fn tag(tag: &str) -> Self {
        Self { short: tag.to_owned(), full: None }
    }
}

fn name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(NAME)?.as_str()
}

fn digest(entry: &Value) -> Option<&str> {
    entry.get("digest")?.as_str()
}
