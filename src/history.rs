//! What is known of earlier builds, as a value.
//!
//! `ledger` reads it from the disk and writes it there; `plan` decides with it. Nothing here holds
//! the value of an argument or of a secret.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, OciDigest};
use crate::image::{ImageName, Platform};

/// One successful build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The image.
    pub image: ImageName,
    /// The platform it was built for.
    pub platform: Platform,
    /// The engine and its store (`buildah`, `buildkit docker`): outputs of one are not in another.
    pub engine: String,
    /// The key with every parent given by its source key.
    pub source_key: Digest,
    /// The key with every parent given by its content id.
    pub build_key: Digest,
    /// What came out, independent of engine and time.
    pub content: Digest,
    /// How the engine calls what came out.
    pub output: Output,
    /// Milliseconds since the Unix epoch when the build ended.
    pub finished: u64,
    /// How long the build itself took, in milliseconds.
    pub duration: u64,
    /// The leaves of the manifest (see `fingerprint`), encoded; decoded only to explain.
    pub leaves: Vec<u8>,
}

/// A built image in an engine's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The id in the store: for buildah and Docker's graph driver the config digest.
    pub id: OciDigest,
    /// The digest of the OCI manifest, where the store has one.
    pub manifest: Option<OciDigest>,
    /// The references that point at it: those the user asked for, then the key tag.
    pub references: Vec<String>,
    /// The digests of the uncompressed layers, base first.
    pub diff_ids: Vec<OciDigest>,
    /// The size of all layers in bytes.
    pub size: u64,
}

/// Where a recorded output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In the store, with all its references pointing at it.
    Present,
    /// In the store, but some references are missing or point elsewhere.
    Untagged {
        /// Those references.
        references: Vec<String>,
    },
    /// Not in the store.
    Missing,
}

/// The last run of a `prepare` command that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The image that it belongs to.
    pub image: ImageName,
    /// The digest of its command and its inputs.
    pub key: Digest,
    /// How long it took, in milliseconds.
    pub duration: u64,
}

/// How an image ended in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// It was built.
    Built,
    /// It was planned, but its inputs came out the same: nothing was built.
    CutOff,
    /// An earlier output was tagged again.
    Restored,
    /// Its build or its prepare failed.
    Failed,
    /// An ancestor failed.
    Blocked,
    /// The run ended before its turn.
    NotReached,
}

/// A run that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Milliseconds since the Unix epoch when it began.
    pub started: u64,
    /// How its images ended; an image that was begun and has no end was interrupted.
    pub ended: BTreeMap<ImageName, Ended>,
    /// The images whose build was begun and never ended: the process was killed.
    pub interrupted: Vec<ImageName>,
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The last success of each image.
    pub records: BTreeMap<ImageName, Record>,
    /// Older successes by build key, for `restore`: the newest of each key.
    pub by_key: BTreeMap<Digest, Record>,
    /// The last `prepare` of each image.
    pub prepared: BTreeMap<ImageName, Prepared>,
    /// The content digest of each layer ever read, by its diff id.
    pub layers: BTreeMap<OciDigest, Digest>,
    /// The moving average of the build durations of each image, in milliseconds.
    pub durations: BTreeMap<ImageName, u64>,
    /// The last run.
    pub last_run: Option<Run>,
}
