//! The one seam: what imgraph asks of whatever builds images.
//!
//! imgraph decides; an engine builds. An engine knows nothing of keys, plans or records: it is
//! given exactly the files that were fingerprinted and the parents by their ids in its own store.

pub mod agents;
pub mod archive;
pub mod buildah;
pub mod buildkit;
pub mod buildx;
pub mod cause;
pub mod command_line;
pub mod content;
pub mod docker;
mod epoch;
#[cfg(test)]
mod fixture;
pub mod given;
pub mod instructions;
pub mod layout;
pub mod message;
pub mod program;
pub mod scratch;
pub mod secrets;
pub mod simulate;
pub mod staging;
pub mod tarsplit;
pub mod vertex;
pub mod warned;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use crate::cancel::Cancel;
use crate::context::Entry;
use crate::digest::{Digest, OciDigest};
use crate::engine::scratch::ScratchDir;
use crate::history::Output;
pub use crate::history::Presence;
use crate::image::{ImageName, Platform};

/// Something that builds images and keeps them in a store.
pub trait Engine: Send + Sync {
    /// What it is and what it can do. Probed once, never assumed.
    fn capabilities(&self) -> Result<Capabilities, EngineError>;

    /// Builds an image. Blocks until it ended or `cancel` was raised and everything that it had
    /// started is gone. The result has the references of the request and nothing else moved.
    fn build(
        &self,
        request: &Request,
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Built, EngineError>;

    /// Where recorded outputs are now: one batched question. The answers are in the order of the
    /// question.
    fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError>;

    /// The content id of an image, engine-independent. Layers in `known` are not read again; what
    /// was read is returned, to be remembered. Gives up when `cancel` is raised, at the latest when
    /// what it is reading has been read.
    fn content(
        &self,
        built: &Built,
        known: &BTreeMap<OciDigest, Digest>,
        cancel: &Cancel,
    ) -> Result<Content, EngineError>;

    /// Points references at an image of the store, moving them where they exist.
    fn tag(&self, id: &OciDigest, references: &[String]) -> Result<(), EngineError>;

    /// Sends an image of the store to the registries of references that point at it, which may be
    /// there already. Blocks like [`Engine::build`]; the references move in the order in which they
    /// are given.
    fn push(
        &self,
        id: &OciDigest,
        references: &[String],
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError>;

    /// Removes an image that nothing shall refer to any more. References of others stay: an image
    /// that still has one stays too. May be put off until no build runs.
    fn remove(&self, id: &OciDigest) -> Result<(), EngineError>;

    /// Clears away what earlier processes left in the store when they were killed. Called once,
    /// before the first build.
    fn recover(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// What an engine is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The class of engine and store that a record names, for example `buildah`.
    pub class: String,
    /// The version, for people.
    pub version: String,
    /// The platform that it runs builds on.
    pub platform: Platform,
    /// Whether images come out with the same bytes when built again from the same inputs.
    pub reproducible: bool,
    /// What it cannot do that others of its kind can, for people: "it cannot ..".
    pub lacks: Vec<&'static str>,
}

/// One image to build.
#[derive(Clone, Debug)]
pub struct Request {
    /// The image.
    pub image: ImageName,
    /// The Dockerfile, absolute; only for messages. The bytes to build are in `dockerfile`.
    pub dockerfile_path: PathBuf,
    /// The bytes of the Dockerfile that were fingerprinted.
    pub dockerfile: Vec<u8>,
    /// The context directory, absolute.
    pub context: PathBuf,
    /// Everything of the context that the build may see, sorted by path, directories included.
    pub files: Vec<Entry>,
    /// What of the context the build reads, as sources of COPY, ADD and mounts: paths from its root,
    /// beginning with `/`, wildcards among them.
    pub sources: Vec<String>,
    /// The stage to build; `None` is the last.
    pub target: Option<String>,
    /// The platform to build for.
    pub platform: Platform,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The images of the workspace that the Dockerfile names, and what stands for them.
    pub parents: Vec<Parent>,
    /// The images from outside that are pinned: exactly these are read, whatever their tags point at.
    pub locked: Vec<Locked>,
    /// Secrets, as `--secret` takes them (`id=npm,env=NPM_TOKEN`).
    pub secrets: Vec<String>,
    /// SSH agents, as `--ssh` takes them.
    pub ssh: Vec<String>,
    /// The network of RUN: `default`, `none` or `host`; `None` is what the engine does untold. One
    /// that cannot be had is [`EngineError::Unsupported`].
    pub network: Option<String>,
    /// Names that RUN finds an address for, as `--add-host` takes them (`db:10.0.0.7`).
    pub hosts: Vec<String>,
    /// Whether registries are asked for images from outside although the store has them. Parents
    /// never are: they are pinned.
    pub pull: bool,
    /// Caches of steps to read, none with [`CacheUse::Bypass`], as buildx takes them (`type=registry,ref=..`, `type=local,src=..`);
    /// a bare reference means `type=registry,ref=REFERENCE`. One that cannot be used is no failure
    /// but a [`Progress::Warning`].
    pub cache_from: Vec<String>,
    /// Caches of steps to write, likewise (`type=inline`, `type=local,dest=..`).
    pub cache_to: Vec<String>,
    /// Whether a list of what is in the image is attached to it; never part of its identity. An
    /// engine that attaches none says so in a [`Progress::Warning`].
    pub sbom: bool,
    /// How much of how it was built is attached to the image, `min` or `max`; likewise.
    pub provenance: Option<String>,
    /// What RUN may do that not every RUN may: `network.host`, `security.insecure`. That the network
    /// of all is that of the machine is allowed by saying so.
    pub allow: Vec<String>,
    /// The references that shall point at the result: the key tag only, as long as it is not known
    /// whether the result will be kept.
    pub references: Vec<String>,
    /// The time that everything in the image gets, files included where the engine can give them
    /// one, in seconds since the Unix epoch.
    pub epoch: u64,
    /// Whether the engine's own cache is left unused.
    pub cache: CacheUse,
    /// A directory of this build alone; made by an engine that wants it, and removed by the caller.
    pub scratch: ScratchDir,
}

impl Request {
    /// Whether something is known to stand for a reference of the Dockerfile: a parent, or a pin.
    pub(crate) fn pins(&self, reference: &str) -> bool {
        self.parents.iter().any(|parent| parent.reference == reference)
            || self.locked.iter().any(|locked| locked.reference == reference)
    }
}

/// Whether the engine may use its cache of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// As usual.
    Use,
    /// `--no-cache`.
    Bypass,
}

/// A parent, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The reference as the Dockerfile has it after expansion.
    pub reference: String,
    /// The id in the engine's store of what stands for it.
    pub id: OciDigest,
    /// An immutable reference to the same: its key tag.
    pub pinned: String,
}

/// An image from outside, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The reference as the Dockerfile has it after expansion.
    pub reference: String,
    /// The same image by its digest: `docker.io/library/debian@sha256:..`.
    pub pinned: String,
    /// The platform that it is read for; `None`: several, and the digest is that of their index.
    pub platform: Option<Platform>,
}

/// What a build says while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A step begins, or is known to have been cached.
    Step {
        /// Its number, from 1.
        number: u32,
        /// How many there are, where known.
        total: Option<u32>,
        /// The instruction, one line.
        text: String,
        /// Whether it was taken from the cache.
        cached: bool,
    },
    /// A line of output, without its end.
    Log(String),
    /// What people should know though the work goes on, one sentence. What concerns every image
    /// alike is said once by each engine.
    Warning(String),
}

/// A built image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// How the store calls it.
    pub output: Output,
    /// How many steps there were.
    pub steps: u32,
    /// How many of them the engine took from its cache.
    pub cached_steps: u32,
}

/// The content id of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The content id.
    pub id: Digest,
    /// The layers that had to be read, by diff id.
    pub layers: Vec<(OciDigest, Digest)>,
}

/// Why an engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A step of the user's Dockerfile failed.
    #[error("{message}")]
    Step {
        /// What failed, one line.
        message: String,
        /// The line of the instruction in the Dockerfile, from 1, where it is known.
        line: Option<u32>,
        /// The exit code of a RUN.
        exit_code: Option<i32>,
    },
    /// A file of the context changed while it was being handed over: the run reads it again.
    #[error("{} changed while the build was reading it", path.display())]
    ContextMoved {
        /// The file, below the context.
        path: PathBuf,
    },
    /// The engine reads what we did not know of: our reading of the Dockerfile is incomplete.
    #[error("the build reads {}, which the fingerprint does not have", paths.join(", "))]
    Unread {
        /// What it asks for.
        paths: Vec<String>,
    },
    /// A file or directory could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The engine refuses for lack of a permission or a credential.
    #[error("{0}")]
    Auth(String),
    /// The engine or the network is not there; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// The engine cannot do this at all.
    #[error("{0}")]
    Unsupported(String),
    /// `cancel` was raised.
    #[error("cancelled")]
    Cancelled,
}
