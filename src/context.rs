//! What a build may see of its context: entries, as BuildKit's content checksum counts them.
//!
//! Counted: path, type, permission bits, size, link target, extended attributes, content. Not
//! counted: mtime, owner, inode (moby/buildkit `cache/contenthash/filehash.go`, `tarsum.go`;
//! `client/solve.go` `resetUIDAndGID`).

use std::path::PathBuf;

use crate::digest::{Digest, Hasher};

/// One file, directory or link that a build may see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The path below the context, without a leading slash, as the bytes of the file system.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// The digest of its extended attributes, names and values, sorted; `None` where there are none.
    pub xattrs: Option<Digest>,
}

/// What an entry of a context is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// The digest of its content.
        content: Digest,
    },
    /// A symbolic link, with its text.
    Symlink(PathBuf),
}

/// Whether an extended attribute counts: all but `security.*` and `system.*`, with
/// `security.capability` nevertheless (moby/buildkit `tarsum.go`); `com.apple.*` is never sent
/// (fsutil `stat_unix.go`).
pub fn xattr_counts(name: &[u8]) -> bool {
    let left_out = [&b"security."[..], b"system.", b"com.apple."];
    name == b"security.capability"
        || (!name.is_empty() && !left_out.iter().any(|prefix| name.starts_with(prefix)))
}

/// The digest of extended attributes that count, names and values; `None` where there are none.
pub fn xattrs_digest(mut xattrs: Vec<(&[u8], Vec<u8>)>) -> Option<Digest> {
    if xattrs.is_empty() {
        return None;
    }
    xattrs.sort_unstable();
    let mut hasher = Hasher::new("imgraph xattrs 1");
    for (name, value) in xattrs {
        hasher.bytes(name).bytes(&value);
    }
    Some(hasher.finish())
}
