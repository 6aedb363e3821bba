//! Where the images are kept that BuildKit builds: by a Docker Engine, or in an OCI image layout of
//! our own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::digest::{Digest, OciDigest};
use crate::engine::buildkit::layers::Files;
use crate::engine::buildkit::store::Store;
use crate::engine::layout::Layout;
use crate::engine::{Built, Content, EngineError, Presence};
use crate::history::Output;

/// The images.
#[derive(Debug)]
pub(crate) enum Images {
    /// In the store of a Docker Engine.
    Docker(Store),
    /// In an OCI image layout.
    Layout(Arc<Layout>),
}

impl Images {
    /// What is there of an image that was just built.
    pub(crate) async fn output(&self, id: &OciDigest) -> Result<Output, EngineError> {
        match self {
            Self::Docker(store) => store.output(id).await,
            Self::Layout(layout) => Ok(layout.output(id)?.0),
        }
    }

    /// Where outputs are: one question for all.
    pub(crate) async fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError> {
        match self {
            Self::Docker(store) => store.present(outputs).await,
            Self::Layout(layout) => layout.present(outputs),
        }
    }

    /// What an image is. Layers in `known` are not read.
    pub(crate) async fn content(
        &self,
        built: &Built,
        known: &BTreeMap<OciDigest, Digest>,
        files: Option<&Files>,
    ) -> Result<Content, EngineError> {
        match self {
            Self::Docker(store) => store.content(built, known, files).await,
            Self::Layout(layout) => layout.content(&built.output.id, known),
        }
    }

    /// Points references at an image.
    pub(crate) async fn tag(
        &self,
        id: &OciDigest,
        references: &[String],
    ) -> Result<(), EngineError> {
        match self {
            Self::Docker(store) => store.tag(id, references).await,
            Self::Layout(layout) => layout.tag(id, references),
        }
    }

    /// Removes an image that has no reference.
    pub(crate) async fn remove(&self, id: &OciDigest) -> Result<(), EngineError> {
        match self {
            Self::Docker(store) => store.remove(id).await,
            Self::Layout(layout) => layout.remove(id),
        }
    }

    /// Clears away what a killed process left.
    pub(crate) fn recover(&self) -> Result<(), EngineError> {
        match self {
            Self::Docker(_) => Ok(()),
            Self::Layout(layout) => layout.recover(),
        }
    }
}
