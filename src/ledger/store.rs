//! The directory of the state: making it, and replacing a file in it as a whole.
//!
//! Knows nothing of what is in the files.
#![expect(clippy::disallowed_methods, reason = "this is where the state is read and written")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use crate::ledger::LedgerError;
use crate::whole::{self, Whole};

/// So that backup programs leave the directory out. Source: bford.info/cachedir, "Cache Directory
/// Tagging Specification".
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55
# This directory holds what imgraph remembers of earlier builds. Deleting it costs only time.
";

/// So that nobody commits it.
const GITIGNORE: &str = "*\n";

/// Makes the directory where it is missing, with a tag for backup programs and one for git.
pub(super) fn prepare(state: &Path) -> Result<(), LedgerError> {
    match fs::create_dir(state) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(LedgerError::file("create", state)(error));
        }
        Ok(()) | Err(_) => (),
    }
    for (name, text) in [("CACHEDIR.TAG", CACHEDIR_TAG), (".gitignore", GITIGNORE)] {
        let path = state.join(name);
        create_missing(&path, text).map_err(LedgerError::file("write", &path))?;
    }
    Ok(())
}

/// Reads a file; `None` where it does not exist.
pub(super) fn read(path: &Path) -> Result<Option<Whole>, LedgerError> {
    match whole::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LedgerError::file("read", path)(error)),
    }
}

/// Replaces a file as a whole: whenever the power goes, there is the old one or the new one. The
/// result is the new one, open.
///
/// The order is what makes it true: renaming before the content is on the disk can leave, after a
/// power cut, the name of a file for no content. Syncing the directory keeps the old file from coming
/// back after more was appended, and synced, to the new one. Where a file system refuses that, the
/// new file is used all the same: it has the name, and going on with the other would write to a file
/// that nobody can open.
pub(super) fn replace(path: &Path, beside: &Path, bytes: &[u8]) -> Result<File, LedgerError> {
    let written = write_beside(beside, bytes).map_err(LedgerError::file("write", beside));
    let file = written.inspect_err(|_| remove(beside).unwrap_or_default())?;
    fs::rename(beside, path).map_err(LedgerError::file("replace", path))?;
    if let Some(directory) = path.parent() {
        sync_directory(directory).unwrap_or_default();
    }
    Ok(file)
}

/// Writes a file that is nice to have, in one go and without syncing it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::write(path, bytes)
}

/// Opens an existing file for reading and writing.
pub(super) fn open(path: &Path) -> Result<File, LedgerError> {
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.map_err(LedgerError::file("open", path))
}

/// Removes a file; that it does not exist is as good.
pub(super) fn remove(path: &Path) -> Result<(), LedgerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(LedgerError::file("remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn create_missing(path: &Path, text: &str) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn write_beside(beside: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(true).open(beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
