//! What a ledger can say, and what each of it means for the history.
//!
//! Knows nothing of files: [`Entry`] is the payload of a frame (see `frame`), and the order of its
//! variants is part of the format.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, OciDigest};
use crate::history::{Ended, Failing, History, NoRun, Prepared, Pushed, Record, Run};
use crate::image::ImageName;

/// One thing that happened, or, in a snapshot, the sum of many.
///
/// An intent, an end and the end of the run belong to the last run that started: what comes before
/// an entry in the file is always known, so it needs no name for it.
///
/// A change here, other than a new variant at the end, raises [`crate::ledger::FORMAT`]; so does a
/// new variant, because an older imgraph would take it for damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A run begins.
    RunStarted {
        /// Its id.
        run: String,
        /// Milliseconds since the Unix epoch.
        started: u64,
    },
    /// The build of an image is about to begin.
    Intent {
        /// The image.
        image: ImageName,
    },
    /// An image was built, its output is in the engine's store. It is an end, too.
    Built(Arc<Record>),
    /// A record without a build: the same output under a new key (cut off), or an older output
    /// that was tagged again (restored).
    Recorded(Arc<Record>),
    /// An image ended in another way, or as a part of what its record says.
    Ended {
        /// The image.
        image: ImageName,
        /// How.
        ended: Ended,
    },
    /// A `prepare` command succeeded.
    Prepared(Prepared),
    /// The contents of layers that were read, by diff id.
    Layers(Vec<(OciDigest, Digest)>),
    /// The run ended.
    RunFinished {
        /// Milliseconds since the Unix epoch.
        finished: u64,
    },
    /// The average duration of an image; only in snapshots.
    Duration {
        /// The image.
        image: ImageName,
        /// In milliseconds.
        millis: u64,
    },
    /// The last run as a whole; only in snapshots.
    LastRun(Run),
    /// An image was pushed; since format 2.
    Pushed(Pushed),
    /// An engine read more of an image's context than we know of: all of it counts from now on.
    Widened {
        /// The image.
        image: ImageName,
        /// The digest of its Dockerfile.
        dockerfile: Digest,
    },
    /// Since when an image has steps that were not run again; since format 3.
    Aged {
        /// The image.
        image: ImageName,
        /// Milliseconds since the Unix epoch.
        since: u64,
    },
    /// The build of an image keeps failing; since format 3.
    Failing(Failing),
}

/// Whether an entry has to be on the disk before [`crate::ledger::Ledger::append`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Yes: somebody will be told that it happened.
    Synced,
    /// No: losing it to a power cut loses a remark, never a decision.
    Lazy,
}

impl Entry {
    /// Reads the first of some bytes, and says what is behind it.
    pub(super) fn take(bytes: &[u8]) -> Option<(Self, &[u8])> {
        postcard::take_from_bytes(bytes).ok()
    }

    /// Whether it has to survive a power cut. A killed process loses neither kind: the bytes are
    /// with the kernel when `append` returns.
    ///
    /// What is lazy is written down by the next entry that is not, since a file is synced as a
    /// whole. An intent is lazy because it comes before every build and no decision reads it; the
    /// contents of layers because they can be read again; an age comes with the record that it belongs to;
    /// and a failure that is forgotten is tried once more.
    pub(super) fn durability(&self) -> Durability {
        match self {
            Self::Built(_)
            | Self::Recorded(_)
            | Self::Prepared(_)
            | Self::Pushed(_)
            | Self::Widened { .. }
            | Self::RunFinished { .. } => Durability::Synced,
            Self::RunStarted { .. }
            | Self::Intent { .. }
            | Self::Ended { .. }
            | Self::Layers(_)
            | Self::Duration { .. }
            | Self::Aged { .. }
            | Self::Failing(_)
            | Self::LastRun(_) => Durability::Lazy,
        }
    }

    /// Fails where entries cannot have happened, in this order, after a history.
    pub(super) fn check<'a>(
        entries: impl IntoIterator<Item = &'a Self>,
        history: &History,
    ) -> Result<(), NoRun> {
        let is_open = history.last_run.as_ref().is_some_and(|run| run.finished.is_none());
        entries.into_iter().try_fold(is_open, |is_open, entry| entry.leaves_run_open(is_open))?;
        Ok(())
    }

    /// Whether a run is open after it, where one was or was not before.
    fn leaves_run_open(&self, is_open: bool) -> Result<bool, NoRun> {
        match self {
            Self::RunStarted { .. } => Ok(true),
            Self::LastRun(run) => Ok(run.finished.is_none()),
            Self::Intent { .. } | Self::Ended { .. } | Self::RunFinished { .. } if !is_open => {
                Err(NoRun)
            }
            Self::RunFinished { .. } => Ok(false),
            Self::Intent { .. }
            | Self::Ended { .. }
            | Self::Built(_)
            | Self::Recorded(_)
            | Self::Prepared(_)
            | Self::Pushed(_)
            | Self::Widened { .. }
            | Self::Layers(_)
            | Self::Aged { .. }
            | Self::Failing(_)
            | Self::Duration { .. } => Ok(is_open),
        }
    }

    /// Repeats it on a history. Where it cannot have happened, the history stays as it was.
    pub(super) fn apply(self, history: &mut History) -> Result<(), NoRun> {
        match self {
            Self::RunStarted { run, started } => history.start_run(run, started),
            Self::Intent { image } => history.intend(image)?,
            Self::Built(record) => history.add_build(record),
            Self::Recorded(record) => history.add_record(record),
            Self::Ended { image, ended } => history.end(&image, ended)?,
            Self::Prepared(prepared) => history.add_prepared(prepared),
            Self::Pushed(pushed) => history.add_pushed(pushed),
            Self::Widened { image, dockerfile } => {
                history.widened.insert(image, dockerfile);
            }
            Self::Layers(layers) => history.layers.extend(layers),
            Self::RunFinished { finished } => history.finish_run(finished)?,
            Self::Duration { image, millis } => {
                history.durations.insert(image, millis);
            }
            Self::Aged { image, since } => {
                history.aged.insert(image, since);
            }
            Self::Failing(failing) => {
                history.failing.insert(failing.image.clone(), failing);
            }
            Self::LastRun(run) => history.last_run = Some(run),
        }
        Ok(())
    }
}
