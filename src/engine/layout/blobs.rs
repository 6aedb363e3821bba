//! Blobs: files that are called by the digest of what is in them.
//!
//! A blob is written beside, checked, synced and renamed. A process that is killed leaves a file in
//! `ingest/`, and never a blob that is not what its name says.
#![expect(clippy::disallowed_methods, reason = "reads and writes the files of a layout")]

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use serde_json::Value;

use crate::digest::{OciDigest, OciHasher};

/// No manifest, index or config weighs more: registries and engines refuse larger ones.
const LARGEST_DOCUMENT: u64 = 4 * 1024 * 1024;

/// The blobs of a layout.
#[derive(Debug)]
pub struct Blobs {
    /// `blobs/sha256`.
    directory: PathBuf,
    /// Where they are written.
    ingest: PathBuf,
    /// Whether this process wrote there.
    has_written: AtomicBool,
}

impl Blobs {
    /// The blobs of the layout in a directory. Nothing is touched yet.
    pub(crate) fn new(layout: &Path) -> Self {
        let (directory, ingest) = (layout.join("blobs/sha256"), layout.join("ingest"));
        Self { directory, ingest, has_written: AtomicBool::new(false) }
    }

    /// Where a blob is or would be; `None` for a digest of another kind than those that are kept. The
    /// name is digits alone, so that nothing else can be meant.
    pub(crate) fn path(&self, digest: &OciDigest) -> Option<PathBuf> {
        let hex = digest.as_str().strip_prefix("sha256:")?;
        Some(self.directory.join(hex))
    }

    /// How many bytes a blob has; `None` where there is none.
    pub fn size(&self, digest: &OciDigest) -> Option<u64> {
        let found = self.path(digest)?.symlink_metadata().ok()?;
        found.is_file().then_some(found.len())
    }

    /// Opens a blob. A link that somebody put in its place is not followed.
    pub fn open(&self, digest: &OciDigest) -> io::Result<File> {
        let path = self.path(digest).ok_or(io::ErrorKind::NotFound)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// The bytes of a manifest, an index or a config, which are what the digest says.
    pub(crate) fn read(&self, digest: &OciDigest) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(digest)?.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes)?;
        if OciDigest::of_content(&bytes) != *digest {
            let text = format!("it is not what its name {digest} says");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(bytes)
    }

    /// Begins to write a blob.
    pub fn begin(&self) -> io::Result<Ingest> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.has_written.store(true, Ordering::Relaxed);
        fs::create_dir_all(&self.directory)?;
        fs::create_dir_all(&self.ingest)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let beside = Beside(self.ingest.join(format!("{}-{number}", process::id())));
        let file = File::create(&beside.0)?;
        let (hasher, written) = (OciHasher::default(), 0);
        Ok(Ingest { file, beside, hasher, written, directory: self.directory.clone() })
    }

    /// What a blob says, if it is JSON.
    pub(crate) fn read_json(&self, digest: &OciDigest) -> io::Result<Option<Value>> {
        let mut blob = self.open(digest)?.take(LARGEST_DOCUMENT + 1);
        let mut bytes = vec![0];
        if blob.read(&mut bytes)? == 0 || bytes != *b"{" {
            return Ok(None);
        }
        blob.read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// Whether something is being written by this process.
    pub(crate) fn has_written(&self) -> bool {
        self.has_written.load(Ordering::Relaxed)
    }

    /// Whether something is being written, or was by a process that was killed.
    pub(crate) fn has_leftovers(&self) -> bool {
        self.ingest.exists()
    }

    /// Removes what was being written.
    pub(crate) fn clear_ingest(&self) -> io::Result<()> {
        absent_is_fine(fs::remove_dir_all(&self.ingest))
    }

    /// Removes the place where blobs are written, if nothing is being written: there may be others who
    /// write into a cache.
    pub(crate) fn leave_ingest(&self) {
        fs::remove_dir(&self.ingest).unwrap_or_default();
    }

    /// Removes the blobs that are not to be kept.
    pub(crate) fn sweep(&self, keep: &BTreeSet<OciDigest>) -> io::Result<()> {
        let listed = match fs::read_dir(&self.directory) {
            Ok(listed) => listed,
            Err(error) => return absent_is_fine(Err(error)),
        };
        for entry in listed {
            let name = entry?.file_name();
            let digest = name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
            if digest.is_some_and(|digest| !keep.contains(&digest)) {
                absent_is_fine(fs::remove_file(self.directory.join(name)))?;
            }
        }
        Ok(())
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Writes a file so that a reader sees the old one or the new one, and after a crash as well.
/// Returns what is known of the new one.
pub(crate) fn replace(path: &Path, beside: PathBuf, bytes: &[u8]) -> io::Result<Metadata> {
    let beside = Beside(beside);
    let mut file = File::create(&beside.0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let metadata = file.metadata()?;
    fs::rename(&beside.0, path)?;
    Ok(metadata)
}

/// A file beside the place where it belongs; gone when it is dropped there.
#[derive(Debug)]
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        // It was renamed, or the next run clears it away.
        fs::remove_file(&self.0).unwrap_or_default();
    }
}

/// A blob that is being written.
#[derive(Debug)]
pub struct Ingest {
    file: File,
    beside: Beside,
    hasher: OciHasher,
    written: u64,
    directory: PathBuf,
}

/// Why what was written is no blob.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It has another size than was said.
    #[error("{found} bytes came instead of {expected}")]
    Size {
        /// What was said.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// It is not what was said.
    #[error("{found} came instead of {expected}")]
    Digest {
        /// What was said.
        expected: OciDigest,
        /// What came.
        found: OciDigest,
    },
    /// It cannot be written.
    #[error("cannot write a blob")]
    Io(#[from] io::Error),
}

impl Ingest {
    /// How many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Adds the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Makes a blob of it, if it is what was said. Where there is one already, that one stays.
    pub fn commit(
        self,
        size: Option<u64>,
        expected: Option<&OciDigest>,
    ) -> Result<OciDigest, CommitError> {
        if let Some(expected) = size.filter(|size| *size != self.written) {
            return Err(CommitError::Size { expected, found: self.written });
        }
        let found = self.hasher.finish();
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(CommitError::Digest { expected: expected.clone(), found });
        }
        // The data before the name. That the name itself may be lost in a crash costs a build: an
        // image with a missing blob is missing.
        self.file.sync_data()?;
        fs::rename(&self.beside.0, self.directory.join(found.hex()))?;
        Ok(found)
    }
}
