//! What a build may see of its context: entries, as BuildKit's content checksum counts them.
//!
//! Counted: path, type, permission bits, size, link target, extended attributes, content. Not
//! counted: mtime, owner, inode (moby/buildkit `cache/contenthash/filehash.go`, `tarsum.go`;
//! `client/solve.go` `resetUIDAndGID`).

use std::path::PathBuf;

use crate::digest::Digest;

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
