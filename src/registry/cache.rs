//! Documents that never change, kept on this machine: manifests, indexes and configs, by digest.
//!
//! What a tag points at is asked each time and never kept. A file is called by the digest of what is
//! in it and believed only if it is that; the whole is never larger than it may be.
#![expect(clippy::disallowed_methods, reason = "reads and writes the files of the cache")]

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::clock;
use crate::digest::OciDigest;

/// How many bytes are kept: some ten thousand documents.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The documents of a directory.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    limit: u64,
    /// What is there, as far as is known; `u64::MAX`: not looked at yet.
    size: AtomicU64,
}

impl Cache {
    /// The cache in a directory, which is made when something is kept.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, limit: LARGEST, size: AtomicU64::new(u64::MAX) }
    }

    /// A document, if it is here.
    pub(crate) fn get(&self, digest: &OciDigest) -> Option<Vec<u8>> {
        let path = self.path(digest)?;
        let bytes = fs::read(&path).ok()?;
        if OciDigest::of_content(&bytes) != *digest {
            fs::remove_file(path).unwrap_or_default();
            return None;
        }
        // What is used stays: the oldest goes first.
        let now = UNIX_EPOCH + Duration::from_millis(clock::now());
        let file = File::options().append(true).open(path).ok();
        let times = FileTimes::new().set_modified(now);
        file.and_then(|file| file.set_times(times).ok()).unwrap_or_default();
        Some(bytes)
    }

    /// Keeps a document. That it cannot be kept is no failure: it is asked for again.
    pub(crate) fn put(&self, digest: &OciDigest, bytes: &[u8]) {
        let Some(path) = self.path(digest) else { return };
        if path.exists() || self.write(&path, bytes).is_err() {
            return;
        }
        let size = match self.size.load(Ordering::Relaxed) {
            u64::MAX => self.files().iter().map(|(_, size, _)| size).sum(),
            size => size + bytes.len() as u64,
        };
        let size = if size > self.limit { self.shrink() } else { size };
        self.size.store(size, Ordering::Relaxed);
    }

    fn path(&self, digest: &OciDigest) -> Option<PathBuf> {
        Some(self.directory.join(digest.as_str().strip_prefix("sha256:")?))
    }

    /// Beside, then renamed: others may read.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.directory)?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let beside = self.directory.join(format!(".{}-{number}", process::id()));
        let mut file = File::create(&beside)?;
        let written = file.write_all(bytes).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            fs::remove_file(beside).unwrap_or_default();
        }
        written
    }

    /// What is there, with size and last use.
    fn files(&self) -> Vec<(PathBuf, u64, SystemTime)> {
        let listed = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        let known = |entry: fs::DirEntry| {
            let found = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((entry.path(), found.len(), found.modified().ok()?))
        };
        listed.filter_map(known).collect()
    }

    /// Removes what was not used for the longest time, down to half; returns what is left.
    fn shrink(&self) -> u64 {
        let mut files = self.files();
        files.sort_unstable_by_key(|(_, _, used)| *used);
        let mut size: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (path, bytes, _) in files {
            if size <= self.limit / 2 {
                break;
            }
            if fs::remove_file(path).is_ok() {
                size -= bytes;
            }
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> OciDigest {
        OciDigest::of_content(bytes)
    }

    #[test]
    fn what_is_kept_is_found_by_another_process() {
        let home = tempfile::tempdir().unwrap();
        let open = || Cache::new(home.path().join("deep/registry"));
        assert_eq!(open().get(&digest(b"one")), None);
        open().put(&digest(b"one"), b"one");
        assert_eq!(open().get(&digest(b"one")), Some(b"one".to_vec()));
    }

    #[test]
    fn a_file_that_is_not_what_its_name_says_is_not_believed() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::new(home.path().into());
        cache.put(&digest(b"one"), b"one");
        let path = home.path().join(digest(b"one").hex());
        fs::write(&path, "two").unwrap();
        assert_eq!(cache.get(&digest(b"one")), None);
        assert!(!path.exists());
    }

    #[test]
    fn it_never_grows_beyond_its_limit_and_loses_the_oldest_first() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache { limit: 100, ..Cache::new(home.path().into()) };
        let document = |number: u8| vec![number; 30];
        for number in 0..3 {
            cache.put(&digest(&document(number)), &document(number));
            let path = home.path().join(digest(&document(number)).hex());
            let time = UNIX_EPOCH + Duration::from_secs(u64::from(number));
            File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        }
        assert!(cache.get(&digest(&document(0))).is_some(), "it is used");
        cache.put(&digest(&document(3)), &document(3));
        assert_eq!(cache.get(&digest(&document(1))), None);
        assert_eq!(cache.get(&digest(&document(2))), None);
        let left: u64 = cache.files().iter().map(|(_, size, _)| size).sum();
        assert!(left <= 50, "{left}");
    }
}
