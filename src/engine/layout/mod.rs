//! An OCI image layout as a store of images: a directory, which other tools can read as well.
//!
//! ```text
//! oci-layout     says that it is one
//! index.json     an entry for every reference, and what others put there; changed by who has
//!                locked index.json.lock
//! blobs/sha256/  manifests, configs and layers
//! ingest/        what is being written; it is there while a run writes, and after one was killed
//! ```
//!
//! An image is called by the digest of its manifest, or of its index where it has attestations or
//! several platforms. One without a reference is in no index: nothing but its blobs is there, and
//! they are cleared away when no build runs that may be about to refer to them, which is before the
//! first and after the last of a run.
//!
//! Source: OCI image-spec `image-layout.md`. No engine is known here.

pub(crate) mod blobs;
pub(crate) mod document;
mod index;
mod index_file;
mod push;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use serde_json::Value;

use crate::digest::{Digest, OciDigest};
use crate::engine::content::config::Config;
use crate::engine::layout::blobs::Blobs;
use crate::engine::layout::document::{Blob, Document};
use crate::engine::layout::index::{Descriptor, Index, Name};
use crate::engine::layout::index_file::IndexFile;
use crate::engine::layout::push::Homes;
use crate::engine::{Content, EngineError, Presence, archive, content};
use crate::history::Output;

/// A layout.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    blobs: Blobs,
    index: IndexFile,
    /// Whether there may be blobs that nothing refers to.
    has_waste: AtomicBool,
    /// Where blobs may be that are pushed.
    homes: OnceLock<Homes>,
}

/// An image of a layout.
struct Image {
    manifest: OciDigest,
    config: Blob,
    layers: Vec<Blob>,
    /// What is beside it in its index, with all that it has.
    beside: Vec<Blob>,
}

impl Layout {
    /// The layout in a directory, absolute. It is made when something is written.
    pub fn new(root: PathBuf) -> Self {
        let (blobs, index) = (Blobs::new(&root), IndexFile::new(&root));
        Self { root, blobs, index, has_waste: AtomicBool::new(false), homes: OnceLock::new() }
    }

    /// Its blobs.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// What is there of an image.
    pub(crate) fn output(&self, id: &OciDigest) -> Result<Output, EngineError> {
        let image = self.image(id).map_err(|error| self.broken(id, error))?;
        Ok(Output {
            id: id.clone(),
            size: image.layers.iter().map(|layer| layer.size).sum(),
            diff_ids: self.config(&image)?.diff_ids,
            manifest: Some(image.manifest),
            references: Vec::new(),
        })
    }

    /// When an image says that it was made.
    pub(crate) fn created(&self, id: &OciDigest) -> Option<String> {
        let config = self.blobs.read_json(&self.image(id).ok()?.config.digest).ok()??;
        Some(config.get("created")?.as_str()?.to_owned())
    }

    /// Where outputs are: present with every blob, or missing.
    pub(crate) fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError> {
        let images = outputs.par_iter().map(|output| match self.image(&output.id) {
            Ok(image) => Ok(Some(image)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(self.broken(&output.id, error)),
        });
        let images: Vec<Option<Image>> = images.collect::<Result<_, _>>()?;
        let blobs: BTreeMap<&OciDigest, u64> =
            images.iter().flatten().flat_map(Image::blobs).collect();
        let missing =
            blobs.par_iter().filter(|(digest, size)| self.blobs.size(digest) != Some(**size));
        let missing: BTreeSet<&OciDigest> = missing.map(|(digest, _)| *digest).collect();
        let is_whole = |image: &Image| image.blobs().all(|(digest, _)| !missing.contains(digest));
        self.index.look(|index| {
            let names = index.names();
            let points_at = |reference: &str, id: &OciDigest| {
                let name = Name::new(reference).ok();
                name.and_then(|name| names.get(&*name.short).copied()) == Some(id.as_str())
            };
            let presence = |(output, image): (&&Output, &Option<Image>)| match image {
                Some(image) if is_whole(image) => {
                    output.presence(|reference| points_at(reference, &output.id))
                }
                _ => Presence::Missing,
            };
            outputs.iter().zip(&images).map(presence).collect()
        })
    }

    /// What an image is. Layers in `known` are not read.
    pub(crate) fn content(
        &self,
        id: &OciDigest,
        known: &BTreeMap<OciDigest, Digest>,
    ) -> Result<Content, EngineError> {
        let image = self.image(id).map_err(|error| self.broken(id, error))?;
        let config = self.config(&image)?;
        if config.diff_ids.len() != image.layers.len() {
            let odd = io::Error::new(io::ErrorKind::InvalidData, "its config has other layers");
            return Err(self.broken(id, odd));
        }
        let layers: BTreeMap<&OciDigest, &Blob> =
            config.diff_ids.iter().zip(&image.layers).collect();
        let unknown = layers.par_iter().filter(|(diff_id, _)| !known.contains_key(diff_id));
        let read = unknown.filter_map(|(diff_id, layer)| {
            let digest = self.blobs.open(&layer.digest);
            let digest = digest.and_then(|blob| content::blob::digest(&layer.media_type, blob));
            let digest = digest.map_err(|error| self.broken(&layer.digest, error)).transpose()?;
            Some(digest.map(|digest| ((*diff_id).clone(), digest)))
        });
        let read: BTreeMap<OciDigest, Digest> = read.collect::<Result<_, EngineError>>()?;
        let digest = |diff_id: &OciDigest| {
            let digest = known.get(diff_id).or_else(|| read.get(diff_id)).copied();
            digest.unwrap_or_else(|| archive::unread(diff_id))
        };
        let digests: Vec<Digest> = config.diff_ids.iter().map(digest).collect();
        Ok(Content { id: content::id(&config, &digests), layers: read.into_iter().collect() })
    }

    /// Points references at an image, moving them where they exist.
    pub(crate) fn tag(&self, id: &OciDigest, references: &[String]) -> Result<(), EngineError> {
        let names: Vec<Name> =
            references.iter().map(|it| Name::new(it)).collect::<Result<_, _>>()?;
        let bytes = self.blobs.read(id).map_err(|error| self.broken(id, error))?;
        let document: Document = parsed(&bytes).map_err(|error| self.broken(id, error))?;
        let image = Descriptor {
            media_type: document.media_type().to_owned(),
            digest: id.clone(),
            size: bytes.len() as u64,
        };
        self.index.change(|index| {
            let moved = names.iter().filter(|name| index.point(name, &image));
            moved.count() > 0
        })
    }

    /// What a tag points at that is no reference; `None` where it is not there.
    pub(crate) fn find(&self, tag: &str) -> Result<Option<OciDigest>, EngineError> {
        let digest = self
            .index
            .look(|index| index.names().get(tag).and_then(|digest| digest.parse().ok()))?;
        Ok(digest.filter(|digest| self.blobs.size(digest).is_some()))
    }

    /// Points a tag that is no reference at what a descriptor says, which has to be here.
    pub(crate) fn point(&self, tag: &str, descriptor: &str) -> Result<(), EngineError> {
        let blob: Blob = serde_json::from_str(descriptor)
            .map_err(|error| failure("write", &self.root.join("index.json"), invalid(error)))?;
        if self.blobs.size(&blob.digest) != Some(blob.size) {
            return Err(self.broken(&blob.digest, io::ErrorKind::NotFound.into()));
        }
        let Blob { media_type, digest, size, .. } = blob;
        let named = Descriptor { media_type, digest, size };
        self.index.change(|index| index.point(&Name::tag(tag), &named))
    }

    /// Removes an image that nothing refers to any more: its blobs go when no build runs.
    pub(crate) fn remove(&self, id: &OciDigest) -> Result<(), EngineError> {
        let is_named = |index: &Index| index.digests().any(|digest| digest == id.as_str());
        if !self.index.look(is_named)? {
            self.note_waste();
        }
        Ok(())
    }

    /// Notes that there may be blobs now that nothing refers to: a build was given up.
    pub(crate) fn note_waste(&self) {
        self.has_waste.store(true, Ordering::Relaxed);
    }

    /// Clears away what a killed process left.
    pub(crate) fn recover(&self) -> Result<(), EngineError> {
        if self.blobs.has_leftovers() { self.collect() } else { Ok(()) }
    }

    /// Removes every blob that nothing refers to, and what was being written. No build may run.
    fn collect(&self) -> Result<(), EngineError> {
        let kept = self.reachable()?;
        let failed = |source| failure("clear away the blobs of", &self.root, source);
        self.blobs.sweep(&kept).map_err(failed)?;
        self.blobs.clear_ingest().map_err(failed)
    }

    /// Everything that the index leads to. What a blob that is JSON names is led to, whatever kind
    /// of document it is: others may keep here what is not known to us.
    fn reachable(&self) -> Result<BTreeSet<OciDigest>, EngineError> {
        let digests = |index: &Index| -> Vec<OciDigest> {
            index.digests().filter_map(|digest| digest.parse().ok()).collect()
        };
        let mut waiting = self.index.look(digests)?;
        let mut reached = BTreeSet::new();
        while let Some(digest) = waiting.pop() {
            if self.blobs.size(&digest).is_none() || !reached.insert(digest.clone()) {
                continue;
            }
            let document = self.blobs.read_json(&digest);
            let document = document.map_err(|error| self.broken(&digest, error))?;
            waiting.extend(document.iter().flat_map(named_digests));
        }
        Ok(reached)
    }

    /// Follows an image to its blobs.
    fn image(&self, id: &OciDigest) -> io::Result<Image> {
        let top: Document = parsed(&self.blobs.read(id)?)?;
        if let Some(config) = top.config {
            let (manifest, layers, beside) = (id.clone(), top.layers, Vec::new());
            return Ok(Image { manifest, config, layers, beside });
        }
        let none = || invalid("it is no image");
        let manifest = top.image().ok_or_else(none)?.digest.clone();
        let document: Document = parsed(&self.blobs.read(&manifest)?)?;
        let config = document.config.ok_or_else(none)?;
        let mut beside = top.manifests;
        for row in 0..beside.len() {
            let document: Document = parsed(&self.blobs.read(&beside[row].digest)?)?;
            beside.extend(document.config.into_iter().chain(document.layers));
        }
        Ok(Image { manifest, config, layers: document.layers, beside })
    }

    fn config(&self, image: &Image) -> Result<Config, EngineError> {
        let digest = &image.config.digest;
        let config = self.blobs.read(digest);
        let config = config.and_then(|bytes| Config::parse(&bytes).map_err(invalid));
        config.map_err(|error| self.broken(digest, error))
    }

    /// A blob that cannot be used.
    fn broken(&self, digest: &OciDigest, source: io::Error) -> EngineError {
        failure("use", &self.root.join("blobs/sha256").join(digest.hex()), source)
    }
}

impl Drop for Layout {
    /// After the last build. What goes wrong is tried again by the next run.
    fn drop(&mut self) {
        if self.has_waste.load(Ordering::Relaxed) {
            self.collect().unwrap_or_default();
        } else if self.blobs.has_written() {
            self.blobs.leave_ingest();
        }
    }
}

impl Image {
    /// All that belongs to it, with its size.
    fn blobs(&self) -> impl Iterator<Item = (&OciDigest, u64)> {
        let blobs = std::iter::once(&self.config).chain(&self.layers).chain(&self.beside);
        blobs.map(|blob| (&blob.digest, blob.size))
    }
}

/// Every digest that a document names, anywhere.
fn named_digests(document: &Value) -> Vec<OciDigest> {
    let mut waiting = vec![document];
    let mut named = Vec::new();
    while let Some(value) = waiting.pop() {
        match value {
            Value::String(text) => named.extend(text.parse()),
            Value::Array(values) => waiting.extend(values),
            Value::Object(fields) => waiting.extend(fields.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    named
}

/// Whether an image that cannot be read is one that has to be built again.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData)
}

fn parsed(bytes: &[u8]) -> io::Result<Document> {
    serde_json::from_slice(bytes).map_err(invalid)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn failure(action: &'static str, path: &Path, source: io::Error) -> EngineError {
    EngineError::File { action, path: path.to_owned(), source }
}
