//! The file `index.json`: read again when it is another one, and replaced as a whole.
//!
//! It grows with the images, and is looked at or changed with each of them. The directory of a cache may
//! be that of several processes, and of buildx: who changes the index has an exclusive `flock` on
//! `index.json.lock`, as BuildKit's client has (moby/buildkit `client/ociindex/ociindex.go`). That one does
//! not wait for it, and removes the file when it is done; we wait, and leave it. Readers need no lock
//! against us.
#![expect(clippy::disallowed_methods, reason = "reads and locks files of the layout")]

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{io, process};

use rustix::io::Errno;

use crate::engine::EngineError;
use crate::engine::layout::blobs::replace;
use crate::engine::layout::index::Index;

/// What `oci-layout` says.
pub(crate) const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The index of a layout on the disk.
#[derive(Debug)]
pub(crate) struct IndexFile {
    path: PathBuf,
    /// What it said last. Held while it is changed.
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    stamp: Option<Stamp>,
    index: Index,
}

/// What tells a file from another one in its place: inode, size and time.
type Stamp = (u64, u64, i64, i64);

impl IndexFile {
    /// The index of the layout in a directory. Nothing is read yet.
    pub(crate) fn new(layout: &Path) -> Self {
        Self { path: layout.join("index.json"), known: Mutex::default() }
    }

    /// Looks at the index; that of a layout without one is empty.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Index) -> T) -> Result<T, EngineError> {
        Ok(look(self.fresh(&mut self.lock())?))
    }

    /// Changes the index. `change` says whether it did.
    pub(crate) fn change(
        &self,
        change: impl FnOnce(&mut Index) -> bool,
    ) -> Result<(), EngineError> {
        let mut known = self.lock();
        let _others = Locked::new(&self.path.with_file_name("index.json.lock"))?;
        if !change(self.fresh(&mut known)?) {
            return Ok(());
        }
        // What could not be written did not happen: then it is read again.
        let Some(Known { index, .. }) = known.take() else { return Ok(()) };
        self.write_marker()?;
        let stamp = Some(stamp(&write(&self.path, &index.document())?));
        *known = Some(Known { stamp, index });
        Ok(())
    }

    fn fresh<'k>(&self, known: &'k mut Option<Known>) -> Result<&'k mut Index, EngineError> {
        let found = match fs::metadata(&self.path) {
            Ok(found) => Some(stamp(&found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.unreadable(error)),
        };
        if known.as_ref().is_none_or(|known| known.stamp != found) {
            let index = if found.is_some() { self.read()? } else { Index::empty() };
            *known = Some(Known { stamp: found, index });
        }
        Ok(&mut known.as_mut().expect("it was read just now").index)
    }

    fn read(&self) -> Result<Index, EngineError> {
        let bytes = fs::read(&self.path).map_err(|error| self.unreadable(error))?;
        let text = "it is not the index of an OCI image layout";
        let odd = || io::Error::new(io::ErrorKind::InvalidData, text);
        Index::parse(&bytes).ok_or_else(|| self.unreadable(odd()))
    }

    /// Writes what says that the directory is a layout, where it is not there.
    fn write_marker(&self) -> Result<(), EngineError> {
        let marker = self.path.with_file_name("oci-layout");
        if !marker.exists() {
            write(&marker, VERSION.as_bytes())?;
        }
        Ok(())
    }

    fn unreadable(&self, source: io::Error) -> EngineError {
        EngineError::File { action: "read", path: self.path.clone(), source }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps other processes from changing an index, until it is dropped.
struct Locked(File);

impl Locked {
    /// Waits for it. On a file system without locks there is none to be had.
    fn new(path: &Path) -> Result<Option<Self>, EngineError> {
        let failed = |source| EngineError::File { action: "lock", path: path.to_owned(), source };
        loop {
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(false).open(path);
            let file = file.map_err(failed)?;
            match file.lock() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if has_no_locks(&error) => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
            // Whoever had it before may have removed the file that we waited for.
            let there = path.metadata().map(|there| (there.dev(), there.ino())).ok();
            let ours = file.metadata().map_err(failed)?;
            if there == Some((ours.dev(), ours.ino())) {
                return Ok(Some(Self(file)));
            }
        }
    }
}

impl Drop for Locked {
    /// Closing the file is not always enough: a program that is being started has it open, too.
    fn drop(&mut self) {
        self.0.unlock().unwrap_or_default();
    }
}

/// NFS without a lock daemon answers ENOLCK, others ENOSYS or EOPNOTSUPP.
fn has_no_locks(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP))
}

fn write(path: &Path, bytes: &[u8]) -> Result<Metadata, EngineError> {
    let failed = |source| EngineError::File { action: "write", path: path.to_owned(), source };
    // Where there are no locks, others may be at it.
    let beside = path.with_extension(format!("{}.new", process::id()));
    replace(path, beside, bytes).map_err(failed)
}

fn stamp(file: &Metadata) -> Stamp {
    (file.ino(), file.len(), file.mtime(), file.mtime_nsec())
}
