//! What a build may ask its session for: its Dockerfile, or its context.
//!
//! A context is served from the disk, but as it was fingerprinted: what is read there is hashed
//! while it is sent, and withheld where it differs. Knows no protocol.
#![expect(clippy::disallowed_methods, reason = "sends files of the context")]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bollard_buildkit_proto::fsutil::types::Stat;

use crate::context::{Entry, EntryKind, xattr_counts, xattrs_digest};
use crate::digest::{ContentHasher, Digest};
use crate::engine::{EngineError, Request};

/// The file of patterns that a context may have.
const IGNORE_FILE: &str = ".dockerignore";
/// Bytes sent at once.
const CHUNK: usize = 256 * 1024;

/// Bits of Go's `os.FileMode`, which fsutil sends.
mod go_mode {
    pub(super) const DIRECTORY: u32 = 1 << 31;
    pub(super) const SYMLINK: u32 = 1 << 27;
    pub(super) const SETUID: u32 = 1 << 23;
    pub(super) const SETGID: u32 = 1 << 22;
    pub(super) const STICKY: u32 = 1 << 20;
}

/// What a daemon asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Paths, wildcards among them, with what they lead to; empty: everything.
    pub(crate) follow: Vec<String>,
    /// Patterns, likewise.
    pub(crate) include: Vec<String>,
}

/// Something to serve.
#[derive(Debug)]
pub(crate) enum Served {
    /// Files that exist only here.
    Memory(Vec<(String, Vec<u8>)>),
    /// A context.
    Context(Context),
}

/// A context as it was fingerprinted.
#[derive(Debug)]
pub(crate) struct Context {
    directory: PathBuf,
    /// In the order of a walk, with the directories above every entry.
    entries: Vec<Entry>,
    /// What the build reads, by our own reading of the Dockerfile.
    sources: Vec<String>,
    epoch: u64,
    /// The first thing that went wrong.
    trouble: Mutex<Option<EngineError>>,
}

impl Context {
    /// The context of a request.
    pub(crate) fn new(request: &Request) -> Self {
        Self {
            directory: request.context.clone(),
            entries: in_walk_order(&request.files),
            sources: request.sources.clone(),
            epoch: request.epoch,
            trouble: Mutex::new(None),
        }
    }

    /// What went wrong while it was served, if anything did.
    pub(crate) fn take_trouble(&self) -> Option<EngineError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Remembers what went wrong, and says it in a line for the daemon's log.
    fn note(&self, error: EngineError) -> String {
        let text = error.to_string();
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        text
    }

    /// What a daemon asks for that our reading of the Dockerfile does not have.
    fn unread(&self, asked: &Asked) -> Vec<String> {
        if self.sources.iter().any(|source| source == "/") {
            return Vec::new();
        }
        let all = asked.follow.iter().chain(&asked.include);
        let unread: Vec<String> = all.filter(|path| !self.reads(path)).cloned().collect();
        if asked.follow.is_empty() && asked.include.is_empty() {
            return vec!["the whole context".to_owned()];
        }
        unread
    }

    /// Whether a path is one of the sources or lies below one.
    fn reads(&self, path: &str) -> bool {
        let path = path.trim_start_matches('/');
        self.sources.iter().any(|source| {
            let source = source.trim_start_matches('/');
            let rest = path.strip_prefix(source);
            rest.is_some_and(|rest| source.is_empty() || rest.is_empty() || rest.starts_with('/'))
        })
    }

    fn stat(&self, entry: &Entry) -> Result<Stat, EngineError> {
        let path = text(&entry.path)?;
        let permissions = entry.mode & 0o777;
        let special =
            [(0o4000, go_mode::SETUID), (0o2000, go_mode::SETGID), (0o1000, go_mode::STICKY)];
        let special = special.iter().filter(|(bit, _)| entry.mode & bit != 0);
        let mode = special.fold(permissions, |mode, (_, go)| mode | go);
        let seconds = i64::try_from(self.epoch).unwrap_or(i64::MAX / NANOSECONDS) * NANOSECONDS;
        let mut stat = Stat { path, mode, mod_time: seconds, ..Stat::default() };
        match &entry.kind {
            EntryKind::Directory => stat.mode |= go_mode::DIRECTORY,
            EntryKind::File { size, content } => {
                stat.size = i64::try_from(*size).unwrap_or(i64::MAX);
                stat.mod_time += nanoseconds(content);
            }
            EntryKind::Symlink(target) => {
                stat.mode = go_mode::SYMLINK | 0o777;
                stat.linkname = text(target)?;
                stat.size = i64::try_from(stat.linkname.len()).unwrap_or(i64::MAX);
                stat.mod_time += nanoseconds(&Digest::of_content(stat.linkname.as_bytes()));
            }
        }
        if let Some(expected) = entry.xattrs {
            let xattrs = xattrs(&self.directory.join(&entry.path)).map_err(|_| moved(entry))?;
            let found = xattrs.iter().map(|(name, value)| (name.as_bytes(), value.clone()));
            if xattrs_digest(found.collect()) != Some(expected) {
                return Err(moved(entry));
            }
            stat.xattrs = xattrs.into_iter().collect();
        }
        Ok(stat)
    }

    /// Sends the content of a file. The last piece goes out when all of it is known to be right.
    fn send(
        &self,
        entry: &Entry,
        piece: &mut dyn FnMut(Vec<u8>) -> bool,
    ) -> Result<(), EngineError> {
        let EntryKind::File { size, content } = &entry.kind else { return Ok(()) };
        let path = self.directory.join(&entry.path);
        let found = path.symlink_metadata().map_err(|_| moved(entry))?;
        if !found.is_file() || found.len() != *size {
            return Err(moved(entry));
        }
        let mut file = File::open(&path).map_err(|_| moved(entry))?;
        let mut hasher = ContentHasher::default();
        let mut left = *size;
        let mut last = Vec::new();
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let mut chunk = vec![0; length];
            file.read_exact(&mut chunk).map_err(|_| moved(entry))?;
            hasher.update(&chunk);
            left -= length as u64;
            let before = std::mem::replace(&mut last, chunk);
            if !before.is_empty() && !piece(before) {
                return Ok(());
            }
        }
        let is_longer = file.read(&mut [0]).map_err(|_| moved(entry))? > 0;
        if is_longer || hasher.finish() != *content {
            return Err(moved(entry));
        }
        if !last.is_empty() {
            piece(last);
        }
        Ok(())
    }
}

const NANOSECONDS: i64 = 1_000_000_000;

/// The part of a sent time below the second: by content, so that two files of one size and one time
/// differ for BuildKit, which compares nothing else (moby/buildkit#2592). Image layers have whole
/// seconds.
fn nanoseconds(content: &Digest) -> i64 {
    let bytes = content.as_bytes();
    let number = bytes[..8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    i64::try_from(number % (NANOSECONDS.unsigned_abs() - 1)).unwrap_or(0) + 1
}

impl Served {
    /// The entries to announce. Errors are lines for the daemon.
    pub(crate) fn answer(&self, asked: &Asked) -> Result<Vec<Stat>, String> {
        match self {
            Self::Memory(files) => Ok(files.iter().map(memory_stat).collect()),
            // The frontend's own question: its patterns came with the Dockerfile.
            Self::Context(context)
                if asked.follow == [IGNORE_FILE] && !context.reads(IGNORE_FILE) =>
            {
                Ok(Vec::new())
            }
            Self::Context(context) => {
                let paths = context.unread(asked);
                if !paths.is_empty() {
                    return Err(context.note(EngineError::Unread { paths }));
                }
                let stats = context.entries.iter().map(|entry| context.stat(entry));
                stats.collect::<Result<_, _>>().map_err(|error| context.note(error))
            }
        }
    }

    /// Sends the content of an entry piece by piece, and an empty piece at the end. A piece that is
    /// not taken ends it. Errors are lines for the daemon.
    pub(crate) fn send(
        &self,
        number: usize,
        piece: &mut dyn FnMut(Vec<u8>) -> bool,
    ) -> Result<(), String> {
        match self {
            Self::Memory(files) => {
                let bytes = files.get(number).map(|(_, bytes)| bytes.as_slice());
                for chunk in bytes.unwrap_or_default().chunks(CHUNK) {
                    piece(chunk.to_vec());
                }
            }
            Self::Context(context) => {
                let entry = context.entries.get(number).ok_or("there is no such entry")?;
                context.send(entry, piece).map_err(|error| context.note(error))?;
            }
        }
        piece(Vec::new());
        Ok(())
    }
}

fn memory_stat((path, bytes): &(String, Vec<u8>)) -> Stat {
    Stat {
        path: path.clone(),
        mode: 0o644,
        size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        mod_time: nanoseconds(&Digest::of_content(bytes)),
        ..Stat::default()
    }
}

/// Sorted as a walk meets them, a directory before what is in it, with the directories above every
/// entry, which no build can look at but for their names.
fn in_walk_order(files: &[Entry]) -> Vec<Entry> {
    let mut entries = files.to_vec();
    let mut known: std::collections::BTreeSet<PathBuf> =
        files.iter().map(|entry| entry.path.clone()).collect();
    for entry in files {
        let above = entry.path.ancestors().skip(1);
        for directory in above.take_while(|path| !path.as_os_str().is_empty()) {
            if !known.insert(directory.to_owned()) {
                break;
            }
            let (path, kind) = (directory.to_owned(), EntryKind::Directory);
            entries.push(Entry { path, kind, mode: 0o755, xattrs: None });
        }
    }
    // The context itself is never sent.
    entries.retain(|entry| !entry.path.as_os_str().is_empty());
    entries.sort_by(|left, right| left.path.components().cmp(right.path.components()));
    entries
}

fn xattrs(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 64 * 1024]; // XATTR_LIST_MAX
    let length = rustix::fs::llistxattr(path, &mut names)?;
    let mut value = vec![0; 64 * 1024]; // XATTR_SIZE_MAX
    let names = names[..length].split(|byte| *byte == 0).filter(|name| xattr_counts(name));
    names
        .map(|name| {
            let length = rustix::fs::lgetxattr(path, name, &mut value[..])?;
            let name = str::from_utf8(name).map_err(|_| io::ErrorKind::InvalidData)?;
            Ok((name.to_owned(), value[..length].to_vec()))
        })
        .collect()
}

/// A path as BuildKit's messages have it, which are UTF-8.
fn text(path: &Path) -> Result<String, EngineError> {
    let wrong = || {
        let shown = path.display();
        EngineError::Unsupported(format!("BuildKit takes no path that is not UTF-8: {shown}"))
    };
    str::from_utf8(path.as_os_str().as_bytes()).map(str::to_owned).map_err(|_| wrong())
}

fn moved(entry: &Entry) -> EngineError {
    EngineError::ContextMoved { path: entry.path.clone() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::engine::fixture;

    /// What a context with one file `f` of this content was fingerprinted as.
    fn served(directory: &Path, content: &[u8]) -> Served {
        fs::write(directory.join("f"), content).unwrap();
        let (size, content) = (content.len() as u64, Digest::of_content(content));
        let kind = EntryKind::File { size, content };
        let file = Entry { path: "f".into(), kind, mode: 0o640, xattrs: None };
        let (context, sources) = (directory.to_owned(), vec!["/f".to_owned()]);
        let request = Request { context, files: vec![file], sources, ..fixture::request() };
        Served::Context(Context::new(&request))
    }

    fn trouble(served: &Served) -> Option<String> {
        let Served::Context(context) = served else { return None };
        context.take_trouble().map(|error| error.to_string())
    }

    fn asked(follow: &[&str]) -> Asked {
        Asked {
            follow: follow.iter().map(|path| (*path).to_owned()).collect(),
            include: Vec::new(),
        }
    }

    #[test]
    fn a_file_goes_out_in_pieces_and_an_empty_one_ends_it() {
        let home = tempfile::tempdir().unwrap();
        for size in [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let content: Vec<u8> = (0..=250u8).cycle().take(size).collect();
            let served = served(home.path(), &content);
            let mut pieces = Vec::new();
            let taken = served.send(0, &mut |piece| {
                pieces.push(piece);
                true
            });
            assert_eq!(taken, Ok(()));
            assert_eq!(pieces.pop(), Some(Vec::new()));
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.len() <= CHUNK));
            assert!(pieces.concat() == content, "{size}");
            assert_eq!(trouble(&served), None);
        }
    }

    #[test]
    fn the_last_piece_of_a_file_that_changes_while_it_is_sent_is_withheld() {
        let home = tempfile::tempdir().unwrap();
        let content = vec![b'a'; 3 * CHUNK];
        let mut changed = content.clone();
        changed[3 * CHUNK - 1] = b'b';
        let longer = [&content[..], b"c"].concat();
        for after in [&changed[..], &longer, &content[..CHUNK]] {
            let served = served(home.path(), &content);
            let mut sent = 0;
            let ended = served.send(0, &mut |piece| {
                if sent == 0 {
                    fs::write(home.path().join("f"), after).unwrap();
                }
                sent += piece.len();
                true
            });
            assert_eq!(ended, Err("f changed while the build was reading it".to_owned()));
            assert!(sent < content.len(), "{sent}");
            assert_eq!(trouble(&served), ended.err());
        }
    }

    #[test]
    fn of_a_file_that_is_another_nothing_is_sent() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        let removed = || fs::remove_file(&path).unwrap();
        let replacements: [&dyn Fn(); 4] = [
            &|| fs::write(&path, "two").unwrap(),
            &|| fs::write(&path, "longer").unwrap(),
            &removed,
            &|| {
                removed();
                fs::write(home.path().join("g"), "one").unwrap();
                symlink("g", &path).unwrap();
            },
        ];
        for replace in replacements {
            let served = served(home.path(), b"one");
            replace();
            let mut pieces = 0;
            let ended = served.send(0, &mut |_| {
                pieces += 1;
                true
            });
            assert!(ended.is_err() && pieces == 0, "{pieces} pieces");
            assert!(trouble(&served).is_some());
        }
    }

    #[test]
    fn what_the_build_was_not_known_to_read_is_refused_by_its_name() {
        let home = tempfile::tempdir().unwrap();
        let served = served(home.path(), b"one");
        assert_eq!(served.answer(&asked(&[".dockerignore"])).unwrap().len(), 0);
        assert_eq!(served.answer(&asked(&["f"])).unwrap().len(), 1);
        for (asked, named) in [
            (asked(&["f", "g", "sub/*"]), "g, sub/*"),
            (asked(&["fg"]), "fg"),
            (Asked { include: vec!["h".to_owned()], ..Asked::default() }, "h"),
            (Asked::default(), "the whole context"),
        ] {
            let said = format!("the build reads {named}, which the fingerprint does not have");
            assert_eq!(served.answer(&asked).unwrap_err(), said);
            assert_eq!(trouble(&served), Some(said));
        }
    }

    #[test]
    fn a_file_of_the_same_size_has_another_time_within_the_same_second() {
        let home = tempfile::tempdir().unwrap();
        let stat = |content: &[u8]| served(home.path(), content).answer(&asked(&["f"])).unwrap();
        let (one, two) = (stat(b"one").remove(0), stat(b"two").remove(0));
        assert_eq!((one.size, one.mode), (3, 0o640));
        assert_ne!(one.mod_time, two.mod_time);
        assert_eq!(one.mod_time / NANOSECONDS, 7);
        assert_eq!(two.mod_time / NANOSECONDS, 7);
        assert_eq!(stat(b"one")[0].mod_time, one.mod_time);
    }

    #[test]
    fn directories_above_come_before_what_is_in_them() {
        let entry = |path: &str| Entry {
            path: path.into(),
            kind: EntryKind::Symlink("x".into()),
            mode: 0o777,
            xattrs: None,
        };
        let sorted = in_walk_order(&[entry("b/c/d"), entry("b.txt"), entry("a"), entry("b/c.x")]);
        let paths: Vec<_> = sorted.iter().map(|entry| entry.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["a", "b", "b/c", "b/c/d", "b/c.x", "b.txt"]);
    }
}
