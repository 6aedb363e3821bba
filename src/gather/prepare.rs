//! `prepare`: a command that makes context files before they are fingerprinted.
//!
//! It runs only when its command or a declared input changed, or a declared output is missing. What
//! it makes is an input like any other file, so that the same bytes rebuild nothing.
#![expect(clippy::disallowed_methods, reason = "this module lists the inputs of a command and runs it")]

use std::fs;
use std::path::{Path, PathBuf};

use globset::{GlobSet, GlobSetBuilder};

use crate::context::EntryKind;
use crate::digest::{Digest, Hasher};
use crate::fingerprint::reason::PrepareCause;
use crate::gather::GatherError;
use crate::gather::hash;
use crate::gather::stat::StatCache;
use crate::history::Prepared;
use crate::layers::Prepare;

/// Whether a `prepare` has to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The digest of its command and its inputs now.
    pub key: Digest,
    /// Why it has to run; `None`: its outputs are up to date.
    pub cause: Option<PrepareCause>,
}
