//! Reads the disk once and returns values: the texts of a workspace, the context of each image.
//!
//! Decides nothing: what a Dockerfile means is `dockerfile`'s, what is stale is `plan`'s.

pub mod context;
pub mod hash;
pub mod inputs;
pub mod prepare;
pub mod root;
pub mod stat;
pub mod walk;
pub mod workspace;

use std::io;
use std::path::PathBuf;

/// The directory of the state, below the workspace root.
pub const STATE_DIR: &str = ".imgraph";

/// Something on the disk that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct GatherError {
    /// What was tried: `read`, `list` ..
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl GatherError {
    /// Names what was tried on which path.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self { action, path: path.into(), source }
    }
}
