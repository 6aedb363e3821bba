//! The files of a build context that an image can read, as BuildKit would hand them out.
//!
//! What a build may see is what the ignore file leaves of the context directory; what an image reads
//! of it is the union of its COPY, ADD and bind mounts. Sources: moby/buildkit
//! `cache/contenthash/checksum.go` (what counts), `frontend/dockerfile/dockerfile2llb/
//! convert_copy.go` (how COPY asks for it), fsutil `filter.go` and `copy/copy.go` (how it is sent
//! and copied). In short:
//!
//! - A source is a path from the root of the context, whatever its dots say, or a wildcard. A
//!   wildcard may match nothing; a path must be there.
//! - A source that is a link, or lies behind one, is followed, but never out of the context: the
//!   link counts and what it leads to. Links further down stay links, dangling or not.
//! - A directory counts with everything below it that is not left out, and its own mode; the
//!   directories above it do not.
//! - Pipes, sockets and devices are left out, and that is said.
//!
//! Nothing outside the context directory is read, and nothing but files is opened. All problems are
//! found, not only the first.

mod follow;
mod ignored;
mod problem;
mod select;
mod tree;
mod walk;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

pub use ignored::{Ignored, ignored};
use rayon::prelude::*;

use crate::context::{Entry, EntryKind};
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::dockerfile::ContextRead;
use crate::gather::context::problem::Problems;
use crate::gather::context::select::Selection;
use crate::gather::context::tree::{Detail, Found, Tree};
use crate::gather::hash;
use crate::gather::root::{Look, Root};
use crate::gather::stat::{Known, StatCache};
use crate::ignorefile::IgnoreFile;

/// A build context.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Its directory, absolute. If it is a link itself, that is followed.
    pub directory: &'a Path,
    /// The same relative to the workspace root, empty if it is that: for messages, and the key of
    /// the stat cache.
    pub path: &'a Path,
    /// What of it is not seen.
    pub ignore: &'a IgnoreFile,
    /// What is known of its files.
    pub cache: &'a StatCache,
}

/// What an image reads of its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Every path once, sorted by its bytes.
    pub entries: Vec<Entry>,
    /// What is worth knowing: notes and warnings.
    pub notes: Vec<Diagnostic>,
}

/// Lists what an image reads of its context.
///
/// Places in the Dockerfile have an empty path ([`Diagnostic::in_file`]). Fails with every problem
/// if there is an error among them.
pub fn entries(context: &Context<'_>, reads: &[ContextRead]) -> Result<Listing, Vec<Diagnostic>> {
    let mut problems = Problems::new(context);
    if reads.is_empty() {
        return Ok(Listing { entries: Vec::new(), notes: Vec::new() });
    }
    let root = match Root::open(context.directory) {
        Ok(root) => root,
        Err(error) => {
            problems.unreadable(b"", &error);
            return Err(problems.all);
        }
    };
    let mut selection = Selection::new(Tree::new(&root, context), &mut problems);
    for read in reads {
        selection.add(read);
    }
    let found = selection.finish();
    let entries = identify(context, &root, &found, &mut problems);
    problems.settle(entries)
}

/// Gives every file its digest: a known one, or that of what it holds now.
fn identify(
    context: &Context<'_>,
    root: &Root,
    found: &[Found],
    problems: &mut Problems<'_>,
) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(found.len());
    let mut unknown = Vec::new();
    for group in found.chunk_by(|left, right| split(&left.path).0 == split(&right.path).0) {
        let key = below(context.path, split(&group[0].path).0);
        let directory = context.cache.directory(&key);
        for found in group {
            let name = split(&found.path).1;
            match &found.detail {
                Detail::File => match directory.look_up(name, &found.status.identity) {
                    Some(known) => entries.push(file_entry(found, &known)),
                    None => unknown.push(found),
                },
                Detail::Directory { xattrs } => {
                    directory.note(name, Look::Itself, Some(found.status.identity));
                    entries.push(entry(found, EntryKind::Directory, *xattrs));
                }
                Detail::Symlink { text, xattrs } => {
                    directory.note(name, Look::Itself, Some(found.status.identity));
                    entries.push(entry(found, EntryKind::Symlink(path_of(text)), *xattrs));
                }
            }
        }
    }
    let read: Vec<_> = unknown.par_iter().map(|found| read(context, root, found)).collect();
    let is_complete = unknown.is_empty();
    for (found, read) in unknown.into_iter().zip(read) {
        match read {
            Ok(entry) => entries.push(entry),
            Err(error) => problems.unreadable(&found.path, &error),
        }
    }
    if !is_complete {
        entries.sort_unstable_by(|left, right| bytes_of(&left.path).cmp(bytes_of(&right.path)));
    }
    entries
}

fn read(context: &Context<'_>, root: &Root, found: &Found) -> Result<Entry, hash::ReadError> {
    let content = hash::file(root, &found.path)?;
    let known = Known { content: content.digest, xattrs: content.xattrs };
    let (directory, name) = split(&found.path);
    let key = below(context.path, directory);
    context.cache.directory(&key).remember(name, content.status.identity, known);
    // What was read is what counts, even if it is not what was listed.
    Ok(file_entry(&Found { status: content.status, ..found.clone() }, &known))
}

fn file_entry(found: &Found, known: &Known) -> Entry {
    let kind = EntryKind::File { size: found.status.identity.size, content: known.content };
    entry(found, kind, known.xattrs)
}

fn entry(found: &Found, kind: EntryKind, xattrs: Option<Digest>) -> Entry {
    Entry { path: path_of(&found.path), kind, mode: found.status.mode, xattrs }
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// The directory and the name of a path.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    slash.map_or((b"", path), |at| (&path[..at], &path[at + 1..]))
}

/// A path below a directory; either may be empty.
fn join(directory: &[u8], path: &[u8]) -> Vec<u8> {
    if directory.is_empty() || path.is_empty() {
        return [directory, path].concat();
    }
    [directory, b"/", path].concat()
}

fn below(context: &Path, path: &[u8]) -> Vec<u8> {
    join(bytes_of(context), path)
}

#[cfg(test)]
mod tests;
