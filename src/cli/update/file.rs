//! Writing `imgraph.lock`: whoever reads it sees the one before or the one after.
#![expect(clippy::disallowed_methods, reason = "writes the lock file")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::cli::failure::{Exit, Failure};
use crate::lockfile::LOCK_FILE;

/// Writes the lock file of the workspace in `root`: beside it, synced, renamed.
pub(crate) fn write(root: &Path, text: &str) -> Result<(), Failure> {
    let path = root.join(LOCK_FILE);
    let beside = root.join(format!(".{LOCK_FILE}.{}", std::process::id()));
    let written = (|| -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    })();
    written.map_err(|error| {
        fs::remove_file(&beside).unwrap_or_default();
        Failure::new(Exit::UNAVAILABLE, format!("cannot write {}: {error}", path.display()))
    })
}
