//! Where the images are kept that BuildKit builds: by a Docker Engine, or in an OCI image layout of
//! our own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::v1::Exporter;

use crate::digest::{Digest, OciDigest};
use crate::dockerconfig::credentials::Credentials;
use crate::engine::buildkit::abilities::Abilities;
use crate::engine::buildkit::layers::Files;
use crate::engine::buildkit::session::content::STORE;
use crate::engine::buildkit::store::{Store, utc};
use crate::engine::layout::Layout;
use crate::engine::{Built, Cancel, Content, EngineError, Parent, Presence};
use crate::history::Output;
use crate::image::Platform;

/// The images.
#[derive(Debug)]
pub(crate) enum Images {
    /// In the store of a Docker Engine.
    Docker(Store),
    /// In an OCI image layout.
    Layout(Arc<Layout>),
}

impl Images {
    /// Where BuildKit finds a parent: in the daemon's store under its immutable key tag, or in our
    /// layout, which it asks the session for (moby/buildkit `frontend/dockerui/namedcontext.go`).
    pub(crate) fn locate(&self, parent: &Parent) -> String {
        match self {
            Self::Docker(_) => format!("docker-image://{}", parent.pinned),
            Self::Layout(_) => format!("oci-layout://{STORE}@{}", parent.id),
        }
    }

    /// What makes an image of a result and puts it there, without a name: it gets names when it is
    /// known what it is.
    ///
    /// A layout gets files and no tar (`exporter/oci`, `tar`), which come blob by blob, and only
    /// those that it does not have. Layers are gzipped, so that they are pushed as they are and under
    /// the digest that is recorded, and go over a network once; but lightly, because rewriting times
    /// packs them twice. 300 MB of programs on two cores: unpacked 3 s, level 1 8 s and 122 MB, the
    /// usual level 17 s and 108 MB.
    pub(crate) fn exporter(&self, abilities: &Abilities, epoch: u64) -> Exporter {
        let mut attributes = BTreeMap::new();
        let mut attribute = |name: &str, value: &str| {
            attributes.insert(name.to_owned(), value.to_owned());
        };
        let kind = match self {
            Self::Docker(_) => "moby",
            Self::Layout(_) => {
                attribute("tar", "false");
                attribute("compression", "gzip");
                attribute("compression-level", "1");
                "oci"
            }
        };
        if abilities.has_epoch {
            attribute("source-date-epoch", &epoch.to_string());
        }
        if abilities.rewrites_times {
            attribute("rewrite-timestamp", "true");
        }
        Exporter { r#type: kind.to_owned(), attrs: attributes.into_iter().collect() }
    }

    /// What is there of an image that was just built.
    pub(crate) async fn output(&self, id: &OciDigest) -> Result<Output, EngineError> {
        match self {
            Self::Docker(store) => store.output(id).await,
            Self::Layout(layout) => layout.output(id),
        }
    }

    /// Clears away what a build left that was given up, and what it had written before.
    pub(crate) async fn clear(&self, written: &[OciDigest]) {
        match self {
            Self::Docker(store) => {
                for id in written {
                    // Who has given a build up is not told that an image without a name is left.
                    store.remove(id).await.unwrap_or_default();
                }
            }
            Self::Layout(layout) => layout.note_waste(),
        }
    }

    /// Whether an image that was just built says it was made at this time, in seconds since the Unix
    /// epoch.
    pub(crate) fn has_time(&self, id: &OciDigest, epoch: u64) -> bool {
        match self {
            Self::Docker(store) => store.has_time(id, epoch),
            Self::Layout(layout) => {
                layout.created(id).is_some_and(|time| time.starts_with(&utc(epoch)))
            }
        }
    }

    /// Pulls images, although they may be there. A daemon that keeps none is told to with the build.
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
