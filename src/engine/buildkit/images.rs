//! Where the images are kept that BuildKit builds: by a Docker Engine, or in an OCI image layout of
//! our own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::{Digest, OciDigest};
use crate::engine::buildkit::layers::Files;
use crate::engine::buildkit::store::Store;
use crate::engine::docker::credentials::Credentials;
use crate::engine::{Built, Cancel, Content, EngineError, Presence, Progress};
use crate::history::Output;
use crate::image::Platform;

/// The images.
#[derive(Debug)]
pub(crate) enum Images {
    /// In the store of a Docker Engine.
    Docker(Store),
    /// In an OCI image layout.
    Layout(PathBuf),
}

impl Images {
    /// What is there of an image that was just built.
    pub(crate) async fn output(&self, id: &OciDigest) -> Result<Output, EngineError> {
        match self {
            Self::Docker(store) => store.output(id).await,
            Self::Layout(_) => Err(not_yet()),
        }
    }

    /// Whether an image that was just built says it was made at this time, in seconds since the Unix
    /// epoch.
    pub(crate) fn has_time(&self, id: &OciDigest, epoch: u64) -> bool {
        match self {
            Self::Docker(store) => store.has_time(id, epoch),
            Self::Layout(_) => true,
        }
    }

    /// Pulls images, although they may be there.
    pub(crate) async fn pull(
        &self,
        references: &[String],
        platform: &Platform,
        (credentials, cancel): (&Arc<Credentials>, &Cancel),
    ) -> Result<(), EngineError> {
        match self {
            Self::Docker(store) => store.pull(references, platform, (credentials, cancel)).await,
            Self::Layout(_) => Ok(()),
        }
    }

    /// Where outputs are: one question for all.
    pub(crate) async fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError> {
        match self {
            Self::Docker(store) => store.present(outputs).await,
            Self::Layout(_) => Err(not_yet()),
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
            Self::Layout(_) => Err(not_yet()),
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
            Self::Layout(_) => Err(not_yet()),
        }
    }

    /// Pushes references of an image, in their order.
    pub(crate) async fn push(
        &self,
        references: &[String],
        credentials: &Arc<Credentials>,
        watched: (&Cancel, &mut dyn FnMut(Progress)),
    ) -> Result<(), EngineError> {
        match self {
            Self::Docker(store) => store.push(references, credentials, watched).await,
            Self::Layout(_) => Err(not_yet()),
        }
    }

    /// Removes an image that has no reference.
    pub(crate) async fn remove(&self, id: &OciDigest) -> Result<(), EngineError> {
        match self {
            Self::Docker(store) => store.remove(id).await,
            Self::Layout(_) => Err(not_yet()),
        }
    }
}

fn not_yet() -> EngineError {
    EngineError::Unsupported("images of a buildkitd cannot be kept yet".to_owned())
}
