//! The stat cache: digests of files that are as they were, without reading them.
//!
//! A file is as it was if size, both times, inode and mode are. That is trusted only of a file that
//! had been left alone for a while when it was read: file systems stamp in ticks, and what is
//! written twice within one tick looks the same (git's "racily clean"). Such a file is not written
//! down, so that the next run reads it again. The clock is the file system's own: a file is written
//! in the state directory before the scan, and its time is when the scan began.
//!
//! The cache is one file that is read in one go and written beside and renamed. It only ever saves
//! time: one that is missing, torn, foreign or newer is an empty one. Look-ups take no lock; what a
//! run reads is kept apart until it is saved.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::digest::Digest;
use crate::gather::root::{Identity, Time};

/// The slack of file systems that stamp in parts of seconds: several ticks of any kernel.
const SLACK_NANOS: u32 = 20_000_000;
/// The slack, in seconds, of those that do not: FAT stamps every other second.
const COARSE_SLACK_SECONDS: i64 = 2;
/// Into how many parts what is new is divided, so that workers rarely meet.
const SHARDS: usize = 16;

/// What is remembered of a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The digest of its content; of a directory, that of nothing.
    pub content: Digest,
    /// The digest of its extended attributes.
    pub xattrs: Option<Digest>,
}

/// A file as it was, and what is known of it.
type Record = (Identity, Known);

/// Which of the old records are written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All: the run looked at a part of the workspace only.
    All,
    /// Those that were looked up and found: the run looked at everything.
    Seen,
}

/// Digests by path relative to the workspace root.
#[derive(Debug)]
pub struct StatCache {
    old: file::Records,
    seen: Vec<AtomicBool>,
    new: Vec<Mutex<BTreeMap<Vec<u8>, Record>>>,
    scan_began: Option<Time>,
}

/// The records of the files in one directory.
#[derive(Clone, Copy, Debug)]
pub struct Directory<'a> {
    cache: &'a StatCache,
    path: &'a [u8],
    rows: (usize, usize),
}

impl StatCache {
    /// Reads the cache of a state directory and begins a scan.
    ///
    /// Never fails: what cannot be read is empty, and where nothing can be written, nothing will be
    /// remembered.
    pub fn load(state: &Path) -> Self {
        Self::new(file::load(state), file::touch(state).ok())
    }

    /// A cache that knows nothing and remembers nothing.
    pub fn empty() -> Self {
        Self::new(file::Records::default(), None)
    }

    fn new(old: file::Records, scan_began: Option<Time>) -> Self {
        let seen = (0..old.len()).map(|_| AtomicBool::new(false)).collect();
        let new = (0..SHARDS).map(|_| Mutex::new(BTreeMap::new())).collect();
        Self { old, seen, new, scan_began }
    }

    /// The records of a directory; the empty path is the workspace root.
    pub fn directory<'a>(&'a self, path: &'a [u8]) -> Directory<'a> {
        Directory { cache: self, path, rows: self.old.rows_of(path) }
    }

    /// How many records were read from the disk.
    pub fn len(&self) -> usize {
        self.old.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.old.len() == 0
    }

    /// Writes the cache back, if there is anything to write: beside, then renamed.
    ///
    /// It is not synced: after a power loss a torn file is an empty one.
    pub fn save(&self, state: &Path, keep: Keep) -> io::Result<()> {
        let new = self.learnt();
        let is_kept = |row: usize| keep == Keep::All || self.seen[row].load(Ordering::Relaxed);
        if new.is_empty() && (0..self.old.len()).all(is_kept) {
            return Ok(());
        }
        file::save(state, &file::merge(&self.old, is_kept, &new))
    }

    /// What this run read.
    fn learnt(&self) -> BTreeMap<Vec<u8>, Record> {
        let mut learnt = BTreeMap::new();
        for shard in &self.new {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            learnt.extend(shard.iter().map(|(path, record)| (path.clone(), *record)));
        }
        learnt
    }

    fn shard(&self, path: &[u8]) -> &Mutex<BTreeMap<Vec<u8>, Record>> {
        let sum = path
            .iter()
            .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        &self.new[sum % SHARDS]
    }
}

impl Directory<'_> {
    /// What is known of a file in it, if it is as it was.
    pub fn look_up(&self, name: &[u8], identity: &Identity) -> Option<Known> {
        let old = &self.cache.old;
        if let Some(row) = old.find(self.rows, name)
            && let Some((was, known)) = old.row(row)
            && was == *identity
        {
            self.cache.seen[row].store(true, Ordering::Relaxed);
            return Some(known);
        }
        let path = self.join(name);
        let shard = self.cache.shard(&path).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(&path).filter(|(was, _)| was == identity).map(|(_, known)| *known)
    }

    /// Remembers what was read of a file in it, for this run and the next, unless it was changed so
    /// recently that a further change might not show. `identity` is what it was before and after.
    pub fn remember(&self, name: &[u8], identity: Identity, known: Known) {
        if !self.cache.scan_began.is_some_and(|began| identity.is_settled_at(began)) {
            return;
        }
        let path = self.join(name);
        let mut shard = self.cache.shard(&path).lock().unwrap_or_else(PoisonError::into_inner);
        shard.insert(path, (identity, known));
    }

    fn join(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [self.path, b"/", name].concat() }
    }
}

impl Identity {
    /// Whether a file that looks like this was left alone for long enough before a scan began, so
    /// that any later change shows.
    fn is_settled_at(&self, scan_began: Time) -> bool {
        let newest = self.modified.max(self.changed);
        let is_coarse = self.modified.nanos == 0 && self.changed.nanos == 0;
        newest.plus_slack(is_coarse).is_some_and(|settled| settled < scan_began)
    }
}

impl Time {
    fn plus_slack(self, is_coarse: bool) -> Option<Self> {
        if is_coarse {
            let seconds = self.seconds.checked_add(COARSE_SLACK_SECONDS)?;
            return Some(Self { seconds, ..self });
        }
        let nanos = self.nanos.checked_add(SLACK_NANOS)?;
        let seconds = self.seconds.checked_add(i64::from(nanos / 1_000_000_000))?;
        Some(Self { seconds, nanos: nanos % 1_000_000_000 })
    }
}

#[cfg(test)]
mod tests;
