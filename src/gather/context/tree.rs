//! A context as the build sees it: the directory without what the ignore file leaves out.
//!
//! Knows nothing of instructions; `follow` and `walk` go on where this ends.

use std::io;
use std::os::fd::AsFd;

use crate::digest::Digest;
use crate::gather::context::problem::Problems;
use crate::gather::context::{Context, below, join, split};
use crate::gather::root::{self, Folder, Identity, Kind, Look, Root, Status};
use crate::gather::{STATE_DIR, hash};
use crate::gopath::Wildcard;
use crate::ignorefile::{Trail, Verdict};

/// A context directory and what is seen of it.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    pub(super) root: &'a Root,
    pub(super) context: &'a Context<'a>,
}

/// Something that is read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its path below the root, without links in its directories.
    pub(super) path: Vec<u8>,
    pub(super) status: Status,
    pub(super) detail: Detail,
}

/// What had to be read to list it.
#[derive(Clone, Debug)]
pub(super) enum Detail {
    File,
    Directory { xattrs: Option<Digest> },
    Symlink { text: Vec<u8>, xattrs: Option<Digest> },
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: &'a Root, context: &'a Context<'a>) -> Self {
        Self { root, context }
    }

    /// Whether a path is seen, judged by itself; a directory that is not may still hold some that
    /// are.
    pub(super) fn verdict(&self, path: &[u8]) -> Verdict<'a> {
        let patterns = &self.context.ignore.patterns;
        if path.is_empty() {
            Verdict::Unmatched
        } else {
            patterns.step(path, &self.trail(split(path).0))
        }
    }

    /// What the ignore file says of a directory and those above it.
    pub(super) fn trail(&self, directory: &[u8]) -> Trail {
        let patterns = &self.context.ignore.patterns;
        let mut trail = patterns.root();
        let ends =
            directory.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain((!directory.is_empty()).then_some(directory.len())) {
            trail = patterns.descend(&directory[..end], &trail).1;
        }
        trail
    }

    /// What a wildcard matches below a directory, in order; a directory that matches is not looked
    /// into, and may be one that is not seen.
    pub(super) fn matches(
        &self,
        base: &[u8],
        wildcard: &Wildcard,
        problems: &mut Problems<'_>,
    ) -> Vec<Vec<u8>> {
        let ignore = &self.context.ignore.patterns;
        let mut matches = Vec::new();
        let mut visits = vec![(base.to_vec(), self.trail(base))];
        while let Some((path, above)) = visits.pop() {
            let Some(folder) = self.list(&path, problems) else { continue };
            for (name, status) in &folder.children {
                let path = join(&path, name);
                let relative = path[base.len()..].strip_prefix(b"/").unwrap_or(&path[base.len()..]);
                let is_directory = status.kind == Kind::Directory;
                let (verdict, trail) = ignore.descend(&path, &above);
                if verdict.is_matched() && !(is_directory && ignore.may_reinclude_inside(&path)) {
                    continue;
                }
                if wildcard.matches(relative) {
                    matches.push(path);
                } else if is_directory && wildcard.may_match_below(relative) {
                    visits.push((path, trail));
                }
            }
        }
        matches.sort_unstable();
        matches
    }

    /// Lists a directory. One that is left out, and only looked into for what is taken in again,
    /// may be closed to us (fsutil `filter.go`).
    pub(super) fn list(&self, path: &[u8], problems: &mut Problems<'_>) -> Option<Folder> {
        match self.root.list(path) {
            Ok(mut folder) => {
                self.note(path, folder.identity);
                if below(self.context.path, path).is_empty() {
                    // What is remembered is no input, and changes with every run.
                    folder.children.retain(|(name, _)| **name != *STATE_DIR.as_bytes());
                }
                Some(folder)
            }
            Err(error) => {
                let is_closed = error.kind() == io::ErrorKind::PermissionDenied;
                if let Ok(Some(identity)) = self.root.look(path, Look::Itself) {
                    self.note(path, identity);
                }
                if !(is_closed && self.verdict(path).is_matched()) {
                    problems.unreadable(path, &error);
                }
                None
            }
        }
    }
}

impl Tree<'_> {
    /// A decision rests on what is in this directory.
    fn note(&self, path: &[u8], identity: Identity) {
        // The way to a context may be a link; within it, none is walked through.
        let look = if path.is_empty() { Look::Target } else { Look::Itself };
        self.context.cache.note(&below(self.context.path, path), look, Some(identity));
    }

    /// A decision rests on what this path is, on the way to another.
    pub(super) fn note_kind(&self, path: &[u8], status: Option<Status>) {
        let identity = status.map(|status| status.identity);
        self.context.cache.note(&below(self.context.path, path), Look::Kind, identity);
    }
}

/// Reads a link below an open directory.
pub(super) fn link(above: impl AsFd, path: &[u8]) -> io::Result<Detail> {
    Ok(Detail::Symlink { text: root::link(&above, path)?, xattrs: hash::link_xattrs(above, path)? })
}
