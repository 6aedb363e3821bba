//! The file `index.json`: read again when it is another one, and replaced as a whole.
//!
//! It grows with the images, and is looked at or changed with each of them.
#![expect(clippy::disallowed_methods, reason = "reads a file of the layout")]

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

fn write(path: &Path, bytes: &[u8]) -> Result<Metadata, EngineError> {
    let failed = |source| EngineError::File { action: "write", path: path.to_owned(), source };
    replace(path, path.with_extension("new"), bytes).map_err(failed)
}

fn stamp(file: &Metadata) -> Stamp {
    (file.ino(), file.len(), file.mtime(), file.mtime_nsec())
}
