//! The context that a program sees: a directory with exactly the files that were fingerprinted.
//!
//! Files are hard links where that is safe and possible, else copies whose bytes are hashed while
//! they are copied. A link is not safe when a RUN may mount the context: buildah mounts it writable
//! if asked to, and would write through the link into the user's source tree.
//!
//! A link has the time of the file, and BuildKit takes a file that it was sent before for the same
//! if its size, mode and time are (moby/buildkit#4950; tonistiigi/fsutil `diff_containerd.go`,
//! `sameFile`). So what it is given are copies whose time says what is in them.
#![expect(clippy::disallowed_methods, reason = "the context is staged on the disk")]

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Timespec, Timestamps};

use crate::context::{Entry, EntryKind};
use crate::digest::Digest;
use crate::engine::EngineError;

/// Bytes copied at once.
const CHUNK: usize = 128 * 1024;

/// How files come into the staged context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Hard links, and copies where there can be none.
    Link,
    /// Copies: something may write to the staged files.
    Copy,
    /// Copies with this time, in seconds since the Unix epoch, and a digest of the content in its
    /// nanoseconds.
    Stamp(u64),
}

/// A staged context; removed when dropped.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    directories: Vec<PathBuf>,
}

impl Staged {
    /// Stages `files` of `context` into the new directory `path`.
    ///
    /// Errors: [`EngineError::ContextMoved`] for a file that is not what was fingerprinted. Content
    /// is compared only when it is copied; whoever fingerprinted a linked file checks it again after
    /// the build.
    pub fn new(
        context: &Path,
        files: &[Entry],
        path: PathBuf,
        transfer: Transfer,
    ) -> Result<Self, EngineError> {
        fs::create_dir(&path).map_err(|source| file_error("create", &path, source))?;
        let mut staged = Self { path, directories: Vec::new() };
        for entry in files {
            staged.add(context, entry, transfer)?;
        }
        staged.seal(files, transfer)?;
        Ok(staged)
    }

    fn add(
        &mut self,
        context: &Path,
        entry: &Entry,
        transfer: Transfer,
    ) -> Result<(), EngineError> {
        let (from, to) = (context.join(&entry.path), self.path.join(&entry.path));
        if let Some(parent) = to.parent().filter(|parent| !parent.exists()) {
            self.create_directories(parent)?;
        }
        match &entry.kind {
            EntryKind::Directory => {
                self.create_directories(&to)?;
                copy_xattrs(&from, &to, entry)
            }
            EntryKind::Symlink(target) => {
                symlink(target, &to).map_err(|source| file_error("create", &to, source))?;
                copy_xattrs(&from, &to, entry)?;
                stamp(&to, transfer, None)
            }
            EntryKind::File { size, content } => {
                if transfer == Transfer::Link && link(&from, &to, entry, *size)? {
                    return Ok(());
                }
                copy(&from, &to, entry, content)?;
                copy_xattrs(&from, &to, entry)?;
                stamp(&to, transfer, Some(content))
            }
        }
    }

    fn create_directories(&mut self, path: &Path) -> Result<(), EngineError> {
        let missing: Vec<&Path> = path.ancestors().take_while(|part| !part.exists()).collect();
        for part in missing.into_iter().rev() {
            fs::create_dir(part).map_err(|source| file_error("create", part, source))?;
            self.directories.push(part.to_path_buf());
        }
        Ok(())
    }

    /// Directories get their modes and times last: one may not be writable, and all were written to.
    fn seal(&self, files: &[Entry], transfer: Transfer) -> Result<(), EngineError> {
        for directory in self.directories.iter().rev() {
            stamp(directory, transfer, None)?;
        }
        let is_directory = |entry: &&Entry| entry.kind == EntryKind::Directory;
        for entry in files.iter().rev().filter(is_directory) {
            set_mode(&self.path.join(&entry.path), entry.mode)?;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for directory in &self.directories {
            fs::set_permissions(directory, Permissions::from_mode(0o700)).ok();
        }
        fs::remove_dir_all(&self.path).ok(); // what stays goes with the build's directory
    }
}

/// Links a file; `false` if it has to be copied instead.
fn link(from: &Path, to: &Path, entry: &Entry, size: u64) -> Result<bool, EngineError> {
    match fs::hard_link(from, to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(moved(entry)),
        Err(_) => return Ok(false), // another file system, too many links, or not ours to link
    }
    let found = fs::symlink_metadata(to).map_err(|source| file_error("read", to, source))?;
    let is_same =
        found.is_file() && found.len() == size && found.permissions().mode() & 0o7777 == entry.mode;
    if is_same { Ok(true) } else { Err(moved(entry)) }
}

fn copy(from: &Path, to: &Path, entry: &Entry, content: &Digest) -> Result<(), EngineError> {
    let is_file = fs::symlink_metadata(from).is_ok_and(|found| found.is_file());
    let Some(mut source) = File::open(from).ok().filter(|_| is_file) else {
        return Err(moved(entry));
    };
    let mut target = File::create_new(to).map_err(|source| file_error("create", to, source))?;
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = source.read(&mut chunk).map_err(|source| file_error("read", from, source))?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        target.write_all(&chunk[..read]).map_err(|source| file_error("write", to, source))?;
    }
    if Digest::from_bytes(*hasher.finalize().as_bytes()) != *content {
        return Err(moved(entry));
    }
    set_mode(to, entry.mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), EngineError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|source| file_error("set the mode of", path, source))
}

/// Gives a file, directory or link the time that the transfer asks for.
fn stamp(path: &Path, transfer: Transfer, content: Option<&Digest>) -> Result<(), EngineError> {
    let Transfer::Stamp(seconds) = transfer else { return Ok(()) };
    let time = Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        tv_nsec: content.map_or(0, nanoseconds),
    };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| file_error("set the time of", path, error.into()))
}

/// Nanoseconds below a second that say what the content is.
fn nanoseconds(content: &Digest) -> i64 {
    let [a, b, c, d, ..] = *content.as_bytes();
    i64::from(u32::from_le_bytes([a, b, c, d]) % 1_000_000_000)
}

/// Copies the extended attributes, if the entry had some. Those that only the kernel or root may
/// set are left out: they are labels of the machine, not of the source tree.
fn copy_xattrs(from: &Path, to: &Path, entry: &Entry) -> Result<(), EngineError> {
    if entry.xattrs.is_none() {
        return Ok(());
    }
    let failed =
        |source: rustix::io::Errno| file_error("copy the attributes of", from, source.into());
    let mut names = vec![0; 64 * 1024]; // XATTR_LIST_MAX
    let length = rustix::fs::llistxattr(from, &mut names).map_err(failed)?;
    let mut value = vec![0; 64 * 1024]; // XATTR_SIZE_MAX
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let length = rustix::fs::lgetxattr(from, name, &mut value[..]).map_err(failed)?;
        let set =
            rustix::fs::lsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty());
        match set {
            Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::NOTSUP) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn moved(entry: &Entry) -> EngineError {
    EngineError::ContextMoved { path: entry.path.clone() }
}

fn file_error(action: &'static str, path: &Path, source: io::Error) -> EngineError {
    EngineError::File { action, path: path.to_path_buf(), source }
}

#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a skipped test is said aloud")]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn file(path: &str, content: &str) -> Entry {
        let kind = EntryKind::File {
            size: content.len() as u64,
            content: Digest::of_content(content.as_bytes()),
        };
        Entry { path: path.into(), kind, mode: 0o640, xattrs: None }
    }

    fn directory(path: &str, mode: u32) -> Entry {
        Entry { path: path.into(), kind: EntryKind::Directory, mode, xattrs: None }
    }

    /// A source tree with `d/a` and `d/b`, and a place for the staged context.
    fn tree() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let context = home.path().join("source");
        fs::create_dir_all(context.join("d")).unwrap();
        for name in ["d/a", "d/b"] {
            fs::write(context.join(name), name).unwrap();
            fs::set_permissions(context.join(name), Permissions::from_mode(0o640)).unwrap();
        }
        let staged = home.path().join("staged");
        (home, context, staged)
    }

    #[test]
    fn exactly_the_given_entries_are_there_with_their_modes() {
        let (_home, context, path) = tree();
        let link = Entry { kind: EntryKind::Symlink("a".into()), ..directory("d/l", 0o777) };
        let entries = [directory("d", 0o550), file("d/a", "d/a"), link, directory("e", 0o711)];
        let staged = Staged::new(&context, &entries, path.clone(), Transfer::Link).unwrap();
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("d"), mode("d/a"), mode("e")), (0o550, 0o640, 0o711));
        assert_eq!(fs::read_link(path.join("d/l")).unwrap(), Path::new("a"));
        assert!(!path.join("d/b").exists());
        drop(staged);
        assert!(!path.exists());
    }

    #[test]
    fn linked_files_are_the_same_inode_and_copied_ones_are_not() {
        for (transfer, same) in [(Transfer::Link, true), (Transfer::Copy, false)] {
            let (_home, context, path) = tree();
            let _staged =
                Staged::new(&context, &[file("d/a", "d/a")], path.clone(), transfer).unwrap();
            let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
            assert_eq!(inode(context.join("d/a")) == inode(path.join("d/a")), same, "{transfer:?}");
        }
    }

    #[test]
    fn the_time_of_a_stamped_file_says_what_is_in_it() {
        let (_home, context, path) = tree();
        let link = Entry { kind: EntryKind::Symlink("a".into()), ..directory("d/l", 0o777) };
        let entries = [directory("d", 0o550), file("d/a", "d/a"), file("d/b", "d/b"), link];
        let _staged = Staged::new(&context, &entries, path.clone(), Transfer::Stamp(7)).unwrap();
        let time = |name: &str| {
            let found = fs::symlink_metadata(path.join(name)).unwrap();
            (found.mtime(), found.mtime_nsec())
        };
        assert_eq!((time("d"), time("d/l")), ((7, 0), (7, 0)));
        assert_eq!((time("d/a").0, time("d/b").0), (7, 7));
        assert_ne!(time("d/a").1, time("d/b").1, "equal sizes and modes, other contents");
    }

    #[test]
    fn a_file_that_is_not_what_was_fingerprinted_is_named() {
        let gone = file("d/x", "x");
        let resized = file("d/a", "longer");
        let rewritten = file("d/a", "d/b");
        let mode = Entry { mode: 0o755, ..file("d/a", "d/a") };
        let not_a_file = file("d", "d");
        for (entry, transfer) in [
            (&gone, Transfer::Link),
            (&gone, Transfer::Copy),
            (&resized, Transfer::Link),
            (&resized, Transfer::Copy),
            (&rewritten, Transfer::Copy),
            (&mode, Transfer::Link),
            (&not_a_file, Transfer::Link),
            (&not_a_file, Transfer::Copy),
        ] {
            let (_home, context, path) = tree();
            let error =
                Staged::new(&context, std::slice::from_ref(entry), path, transfer).unwrap_err();
            let EngineError::ContextMoved { path } = error else { panic!("{entry:?} {error:?}") };
            assert_eq!(path, entry.path);
        }
    }

    #[test]
    fn extended_attributes_are_copied() {
        let (_home, context, path) = tree();
        let set = |path: &Path| {
            rustix::fs::lsetxattr(path, "user.x", b"1", rustix::fs::XattrFlags::empty())
        };
        if set(&context.join("d/a")).is_err() {
            eprintln!("skipped: no extended attributes on this file system");
            return;
        }
        let entry = Entry { xattrs: Some(Digest::of_content(b"any")), ..file("d/a", "d/a") };
        let _staged = Staged::new(&context, &[entry], path.clone(), Transfer::Copy).unwrap();
        let mut value = [0; 8];
        let length = rustix::fs::lgetxattr(path.join("d/a"), "user.x", &mut value).unwrap();
        assert_eq!(&value[..length], b"1");
    }
}
