//! The stat cache: digests of files that are as they were, without reading them; and whether
//! everything that a run looked at is as it was, without looking at anything else.
//!
//! A file is as it was if size, both times, inode and mode are. That is trusted only of a file that
//! had been left alone for a while when it was read: file systems stamp in ticks, and what is
//! written twice within one tick looks the same (git's "racily clean"). Such a file is not written
//! down, so that the next run reads it again. The clock is the file system's own: a file is written
//! in the state directory before the scan, and its time is when the scan began.
//!
//! Beside files whose content counts it has whatever else a decision rests on: directories that were
//! listed, files that were read for another reason, paths that were not there ([`Directory::note`]).
//! A run that looked at everything writes down exactly that ([`Keep::Seen`]). If all of it could be
//! written down, [`StatCache::save`] names the file by its digest, and whoever finds the same file
//! and [`Changed::Nothing`] knows that another run would see the same.
//!
//! The cache is one file that is read in one go and written beside and renamed. It only ever saves
//! time: one that is missing, torn, foreign or newer is an empty one. Look-ups take no lock; what a
//! run reads is kept apart until it is saved.

mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

pub use file::replace;

use crate::digest::Digest;
use crate::gather::root::{Identity, Look, Nearby, Root, Time};

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

/// A path as it was, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    /// What it was; `None`: it was not there.
    identity: Option<Identity>,
    /// Its content, if that was asked for.
    known: Option<Known>,
}

/// What was learnt, by path and end.
type Learnt = BTreeMap<(Vec<u8>, Look), Record>;

/// What has changed of everything that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Nothing.
    Nothing,
    /// These files, relative to the workspace root and sorted, whose content somebody has asked for:
    /// they still are files, and whatever else a decision rests on is as it was.
    Files(Vec<Vec<u8>>),
    /// More than that.
    More,
}

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
    new: Vec<Mutex<Learnt>>,
    scan_began: Option<Time>,
    /// The first path that was looked at and could not be written down.
    unsettled: OnceLock<Vec<u8>>,
}

/// The records of the files in one directory.
#[derive(Clone, Copy, Debug)]
pub struct Directory<'a> {
    cache: &'a StatCache,
    path: &'a [u8],
    old: Option<&'a file::Group>,
}

impl StatCache {
    /// Reads the cache of a state directory and begins a scan.
    ///
    /// Never fails: what cannot be read is empty, and where nothing can be written, nothing will be
    /// remembered.
    pub fn load(state: &Path) -> Self {
        Self::read(state).begin(state)
    }

    /// Reads the cache of a state directory. Before [`StatCache::begin`] nothing is written down.
    pub fn read(state: &Path) -> Self {
        Self::new(file::load(state), None)
    }

    /// Begins a scan.
    #[must_use]
    pub fn begin(self, state: &Path) -> Self {
        Self { scan_began: file::touch(state).ok(), ..self }
    }

    /// A cache that knows nothing and remembers nothing.
    pub fn empty() -> Self {
        Self::new(file::Records::default(), None)
    }

    fn new(old: file::Records, scan_began: Option<Time>) -> Self {
        let seen = (0..old.len()).map(|_| AtomicBool::new(false)).collect();
        let new = (0..SHARDS).map(|_| Mutex::new(BTreeMap::new())).collect();
        Self { old, seen, new, scan_began, unsettled: OnceLock::new() }
    }

    /// The records of a directory; the empty path is the workspace root.
    pub fn directory<'a>(&'a self, path: &'a [u8]) -> Directory<'a> {
        Directory { cache: self, path, old: self.old.group(path) }
    }

    /// How many records were read from the disk.
    pub fn len(&self) -> usize {
        self.old.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.old.len() == 0
    }

    /// Notes what a path is now, that a decision rests on: relative to the workspace root.
    pub fn note(&self, path: &[u8], look: Look, identity: Option<Identity>) {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (directory, name) = slash.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
        self.directory(directory).note(name, look, identity);
    }

    /// Looks at a path and notes what it is: relative to the workspace root, which is `root`.
    pub fn observe(&self, root: &Root, path: &[u8], look: Look) -> Option<Identity> {
        let Ok(identity) = root.look(path, look) else {
            self.give_up(path);
            return None;
        };
        self.note(path, look, identity);
        identity
    }

    /// A decision rests on a path that cannot be written down.
    pub fn give_up(&self, path: &[u8]) {
        self.unsettled.get_or_init(|| path.to_vec());
    }

    /// The first path that could not be written down: it cannot be looked at, or was changed within
    /// the last moments.
    pub fn unsettled(&self) -> Option<&[u8]> {
        self.unsettled.get().map(Vec::as_slice)
    }

    /// Looks once at everything that is written down. `root` is the workspace's.
    pub fn changed(&self, root: &Path) -> Changed {
        let Ok(root) = Root::open(root) else { return Changed::More };
        // One descriptor for all would go from core to core with each look.
        let begin = || Nearby::new(&root);
        let changed = self.old.try_collect(begin, |nearby, path, rows| {
            let (root, skip) = nearby.of(path);
            let mut changed = Vec::new();
            let mut full = path.to_vec();
            if !full.is_empty() {
                full.push(b'/');
            }
            let start = full.len();
            for row in rows {
                let (name, look, record) = row.ok()?;
                full.truncate(start);
                full.extend(name);
                let now = root.look(&full[skip..], look).ok()?;
                if now == record.identity {
                    continue;
                }
                if !record.is_of_content(look, now) {
                    return None;
                }
                changed.push(full.clone());
            }
            Some(changed)
        });
        match changed {
            None => Changed::More,
            Some(changed) if changed.is_empty() => Changed::Nothing,
            Some(mut changed) => {
                changed.sort_unstable();
                Changed::Files(changed)
            }
        }
    }

    /// Writes the cache back, if there is anything to write: beside, then renamed. Returns the digest
    /// of the file if it has everything that was looked at.
    ///
    /// It is not synced: after a power loss a torn file is an empty one.
    pub fn save(&self, state: &Path, keep: Keep) -> io::Result<Option<Digest>> {
        let new = self.learnt();
        let is_kept = |row: usize| keep == Keep::All || self.seen[row].load(Ordering::Relaxed);
        let digest = if new.is_empty() && (0..self.old.len()).all(is_kept) {
            self.old.digest
        } else {
            let (bytes, digest) = file::merge(&self.old, is_kept, &new);
            file::save(state, &bytes)?;
            Some(digest)
        };
        Ok(digest.filter(|_| self.unsettled().is_none()))
    }

    /// The digest of the file that was read.
    pub fn digest(&self) -> Option<Digest> {
        self.old.digest
    }

    /// Whether a path that looks like this was left alone for long enough before the scan began; one
    /// that was not cannot be written down. What is not there is seen when it comes.
    pub fn is_settled(&self, identity: Option<&Identity>) -> bool {
        self.scan_began
            .is_some_and(|began| identity.is_none_or(|identity| identity.is_settled_at(began)))
    }

    /// What this run learnt.
    fn learnt(&self) -> Learnt {
        let mut learnt = BTreeMap::new();
        for shard in &self.new {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            learnt.extend(shard.iter().map(|(path, record)| (path.clone(), *record)));
        }
        learnt
    }

    fn shard(&self, path: &[u8]) -> MutexGuard<'_, Learnt> {
        let sum = path
            .iter()
            .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        self.new[sum % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory<'_> {
    /// What is known of a file in it, if it is as it was.
    pub fn look_up(&self, name: &[u8], identity: &Identity) -> Option<Known> {
        let record = self.find_old(name, Look::Itself, Some(identity));
        if let Some(known) = record.and_then(|record| record.known) {
            return Some(known);
        }
        let path = self.join(name);
        let shard = self.cache.shard(&path);
        let record = shard.get(&(path, Look::Itself))?;
        record.known.filter(|_| record.identity.as_ref() == Some(identity))
    }

    /// Remembers what was read of a file in it, for this run and the next, unless it was changed so
    /// recently that a further change might not show. `identity` is what it was before and after.
    pub fn remember(&self, name: &[u8], identity: Identity, known: Known) {
        let path = self.join(name);
        if self.cache.is_settled(Some(&identity)) {
            let record = Record { identity: Some(identity), known: Some(known) };
            self.cache.shard(&path).insert((path, Look::Itself), record);
        } else {
            self.cache.give_up(&path);
        }
    }

    /// Notes what a path in it is now, that a decision rests on; `None`: it is not there.
    pub fn note(&self, name: &[u8], look: Look, identity: Option<Identity>) {
        let greater = match look {
            Look::Itself | Look::Target => None,
            Look::Kind => Some(Look::Itself),
            Look::TargetKind => Some(Look::Target),
        };
        let knows_more = |look| self.find_old(name, look, identity.as_ref()).is_some();
        if greater.is_some_and(knows_more) {
            return;
        }
        let identity = identity.map(|identity| identity.as_seen(look));
        if self.find_old(name, look, identity.as_ref()).is_some() {
            return;
        }
        let path = self.join(name);
        if !self.cache.is_settled(identity.as_ref()) {
            self.cache.give_up(&path);
            return;
        }
        let mut shard = self.cache.shard(&path);
        let record = shard.entry((path, look)).or_insert(Record { identity, known: None });
        if record.identity != identity {
            *record = Record { identity, known: None };
        }
    }

    /// The record of an earlier run, if the path is as it was then.
    fn find_old(&self, name: &[u8], look: Look, identity: Option<&Identity>) -> Option<Record> {
        let (row, record) = self.cache.old.find(self.old?, name, look)?;
        if record.identity.as_ref() != identity {
            return None;
        }
        self.cache.seen[row].store(true, Ordering::Relaxed);
        Some(record)
    }

    fn join(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [self.path, b"/", name].concat() }
    }
}

impl Record {
    /// Whether nothing but the content of a file rests on it, even if that is this now. Who looked
    /// for its kind alone has no record of its own ([`Look::Kind`]): that must be the same.
    fn is_of_content(&self, look: Look, now: Option<Identity>) -> bool {
        let is_file = |identity: Option<Identity>| identity.is_some_and(Identity::is_file);
        look == Look::Itself && self.known.is_some() && is_file(self.identity) && is_file(now)
    }
}

impl Identity {
    /// Whether a file that looks like this was left alone for long enough before a scan began, so
    /// that any later change shows.
    fn is_settled_at(&self, scan_began: Time) -> bool {
        // Nobody sets the time of the last change; a time of writing that is to come says nothing.
        let is_to_come = self.modified > scan_began;
        let newest = if is_to_come { self.changed } else { self.modified.max(self.changed) };
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
