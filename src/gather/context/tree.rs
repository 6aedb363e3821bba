//! A context as the build sees it: the directory without what the ignore file leaves out.
//!
//! Walks it and follows links in it, by hand and within the root; knows nothing of instructions.

use std::io;
use std::os::fd::AsFd;

use crate::digest::Digest;
use crate::gather::context::problem::{Missing, Problems};
use crate::gather::context::{Context, below, join, problem, split};
use crate::gather::hash;
use crate::gather::root::{self, Folder, Kind, Root, Status};
use crate::gather::stat::Known;
use crate::gopath::{self, Wildcard};
use crate::ignorefile::{Patterns, Trail, Verdict};

/// How many links are followed for one source (moby/buildkit `path.go`, `maxSymlinkLimit`).
const MOST_LINKS: usize = 255;

/// A context directory and what is seen of it.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    root: &'a Root,
    context: &'a Context<'a>,
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

/// The end of a source, and the links on the way.
pub(super) struct Followed {
    pub(super) path: Vec<u8>,
    /// What is there; `None` for the root.
    pub(super) status: Option<Status>,
    pub(super) links: Vec<Found>,
}

/// What of a directory is wanted.
pub(super) struct Wanted {
    /// Patterns below the directory; none means everything.
    pub(super) include: Patterns,
    /// Patterns below the directory of what is not wanted.
    pub(super) exclude: Patterns,
}

/// What a walk found of a directory.
pub(super) struct Walked {
    pub(super) found: Vec<Found>,
    /// Whether the directory itself is seen: it is not left out, or something in it is not.
    pub(super) is_seen: bool,
}

/// A path of a walk that is not judged yet: what is below it has a say.
struct Node {
    found: Found,
    above: Option<usize>,
    is_seen: bool,
    is_wanted: bool,
    is_taken: bool,
}

/// A directory to be listed, with what was said of it and those above.
struct Visit {
    node: usize,
    ignore: Trail,
    include: Trail,
    exclude: Trail,
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

    fn trail(&self, directory: &[u8]) -> Trail {
        let patterns = &self.context.ignore.patterns;
        let mut trail = patterns.root();
        let ends =
            directory.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain((!directory.is_empty()).then_some(directory.len())) {
            trail = patterns.descend(&directory[..end], &trail).1;
        }
        trail
    }

    /// Follows every link of a path, as if the root were `/` (moby/buildkit `path.go`, `rootPath`).
    pub(super) fn follow(
        &self,
        source: &[u8],
        problems: &mut Problems<'_>,
    ) -> Result<Followed, Missing<'a>> {
        let mut links: Vec<Found> = Vec::new();
        let mut path = Vec::new();
        let mut status = None;
        let mut rest: Vec<Vec<u8>> =
            source.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect();
        while let Some(part) = rest.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => path.truncate(split(&path).0.len()),
                name => path = join(&path, name),
            }
            status = self.status(&path, problems)?;
            let Some(found) = status.filter(|status| status.kind == Kind::Symlink) else {
                continue;
            };
            if let Verdict::Matched(rule) = self.verdict(&path) {
                return Err(Missing::LeftOut(rule));
            }
            if links.len() == MOST_LINKS {
                return Err(Missing::Endless);
            }
            let link = self.link(&path, found, problems)?;
            if let Detail::Symlink { text, .. } = &link.detail {
                rest.extend(text.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                let stays = if text.starts_with(b"/") { 0 } else { split(&path).0.len() };
                path.truncate(stays);
            }
            links.push(link);
        }
        if status.is_none() && !path.is_empty() {
            return Err(self.absent(&path, links.pop()));
        }
        Ok(Followed { status: status.filter(|_| !path.is_empty()), path, links })
    }

    /// What a path is; what is not there is no error, since `..` may still lead back.
    fn status(
        &self,
        path: &[u8],
        problems: &mut Problems<'_>,
    ) -> Result<Option<Status>, Missing<'a>> {
        match self.root.status(path) {
            Ok(status) => Ok(Some(status)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => {
                problems.unreadable(path, &error);
                Err(Missing::Unreadable)
            }
        }
    }

    fn link(
        &self,
        path: &[u8],
        status: Status,
        problems: &mut Problems<'_>,
    ) -> Result<Found, Missing<'a>> {
        match link(self.root, path) {
            Ok(detail) => Ok(Found { path: path.to_vec(), status, detail }),
            Err(error) => {
                problems.unreadable(path, &error);
                Err(Missing::Unreadable)
            }
        }
    }

    fn absent(&self, path: &[u8], last_link: Option<Found>) -> Missing<'a> {
        if let Some(Found { path: link, detail: Detail::Symlink { text, .. }, .. }) = last_link {
            let above = if text.starts_with(b"/") { b"" } else { split(&link).0 };
            let target = gopath::clean(&[b"/", above, b"/", &text].concat());
            if self.root.status(&target[1..]).is_err() {
                return Missing::Dangling { link, text };
            }
        }
        // The first name that is not there, and its neighbours.
        let (mut directory, mut name) = split(path);
        while !directory.is_empty() && self.root.status(directory).is_err() {
            (directory, name) = split(directory);
        }
        let Ok(folder) = self.root.list(directory) else { return Missing::Absent { near: None } };
        let names = folder.children.iter().map(|(name, _)| &**name);
        let is_seen = |name: &&[u8]| !self.verdict(&join(directory, name)).is_matched();
        let names: Vec<&[u8]> = names.filter(is_seen).collect();
        Missing::Absent { near: problem::near(directory, name, &names) }
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

    /// Everything of a directory that is seen and wanted (fsutil `filter.go`, moby/buildkit
    /// `checksum.go` `includedPaths`).
    pub(super) fn walk(
        &self,
        top: &[u8],
        status: Option<Status>,
        wanted: &Wanted,
        problems: &mut Problems<'_>,
    ) -> Walked {
        let status = status.or_else(|| self.root.status(b"").ok());
        let Some(status) = status else { return Walked { found: Vec::new(), is_seen: false } };
        let found =
            Found { path: top.to_vec(), status, detail: Detail::Directory { xattrs: None } };
        let is_seen = !self.verdict(top).is_matched();
        let mut nodes =
            vec![Node { found, above: None, is_seen, is_wanted: true, is_taken: false }];
        let mut visits = vec![Visit {
            node: 0,
            ignore: self.trail(top),
            include: wanted.include.root(),
            exclude: wanted.exclude.root(),
        }];
        while let Some(visit) = visits.pop() {
            self.visit(&visit, wanted, (&mut nodes, &mut visits), problems);
        }
        judge(nodes)
    }

    fn visit(
        &self,
        visit: &Visit,
        wanted: &Wanted,
        (nodes, visits): (&mut Vec<Node>, &mut Vec<Visit>),
        problems: &mut Problems<'_>,
    ) {
        let Found { path: directory, status, .. } = nodes[visit.node].found.clone();
        let top = nodes[0].found.path.len();
        let Some(folder) = self.list(&directory, problems) else { return };
        let xattrs = self.directory_xattrs(&directory, status, &folder, problems);
        nodes[visit.node].found.detail = Detail::Directory { xattrs };
        for (name, status) in &folder.children {
            let path = join(&directory, name);
            let relative = path[top..].strip_prefix(b"/").unwrap_or(&path[top..]);
            let (is_seen, is_wanted, next) = match status.kind {
                Kind::Directory => self.judge_directory(visit, wanted, &path, relative),
                _ if self.takes_file(visit, wanted, &path, relative) => (true, true, None),
                _ => continue,
            };
            let Some(detail) = detail(&folder, name, &path, status.kind, problems) else {
                continue;
            };
            visits.extend(next.map(|next| Visit { node: nodes.len(), ..next }));
            let found = Found { path, status: *status, detail };
            let above = Some(visit.node);
            nodes.push(Node { found, above, is_seen, is_wanted, is_taken: false });
        }
    }

    fn takes_file(&self, visit: &Visit, wanted: &Wanted, path: &[u8], relative: &[u8]) -> bool {
        let Wanted { include, exclude } = wanted;
        !self.context.ignore.patterns.step(path, &visit.ignore).is_matched()
            && (include.is_empty() || include.step(relative, &visit.include).is_matched())
            && !exclude.step(relative, &visit.exclude).is_matched()
    }

    /// Whether a directory is seen, whether it is wanted, and the visit to it if anything in it may
    /// be both.
    fn judge_directory(
        &self,
        visit: &Visit,
        wanted: &Wanted,
        path: &[u8],
        relative: &[u8],
    ) -> (bool, bool, Option<Visit>) {
        let patterns = &self.context.ignore.patterns;
        let (ignored, ignore) = patterns.descend(path, &visit.ignore);
        let (included, include) = wanted.include.descend(relative, &visit.include);
        let (excluded, exclude) = wanted.exclude.descend(relative, &visit.exclude);
        let is_seen = !ignored.is_matched();
        let is_included = wanted.include.is_empty() || included.is_matched();
        let is_excluded = excluded.is_matched();
        let goes_on = (is_seen || patterns.may_reinclude_inside(path))
            && (is_included || wanted.include.may_match_inside(relative))
            && (!is_excluded || wanted.exclude.may_reinclude_inside(relative));
        let next = goes_on.then_some(Visit { node: 0, ignore, include, exclude });
        (is_seen, is_included && !is_excluded, next)
    }

    /// Lists a directory. One that is left out, and only looked into for what is taken in again,
    /// may be closed to us (fsutil `filter.go`).
    pub(super) fn list(&self, path: &[u8], problems: &mut Problems<'_>) -> Option<Folder> {
        match self.root.list(path) {
            Ok(folder) => Some(folder),
            Err(error) => {
                let is_closed = error.kind() == io::ErrorKind::PermissionDenied;
                if !(is_closed && self.verdict(path).is_matched()) {
                    problems.unreadable(path, &error);
                }
                None
            }
        }
    }

    fn directory_xattrs(
        &self,
        path: &[u8],
        status: Status,
        folder: &Folder,
        problems: &mut Problems<'_>,
    ) -> Option<Digest> {
        if path.is_empty() {
            return None;
        }
        let (above, name) = split(path);
        let key = below(self.context.path, above);
        let directory = self.context.cache.directory(&key);
        if let Some(known) = directory.look_up(name, &status.identity) {
            return known.xattrs;
        }
        match folder.descriptor().and_then(hash::xattrs) {
            Ok(xattrs) => {
                let known = Known { content: Digest::of_content(b""), xattrs };
                directory.remember(name, status.identity, known);
                xattrs
            }
            Err(error) => {
                problems.unreadable(path, &error);
                None
            }
        }
    }
}

/// Takes what is seen and wanted, and the directories above it up to the top.
fn judge(mut nodes: Vec<Node>) -> Walked {
    // What is below comes behind what is above, so one pass backwards sees every child first.
    for at in (0..nodes.len()).rev() {
        let node = &mut nodes[at];
        node.is_taken |= node.is_seen && node.is_wanted;
        let (is_seen, is_taken) = (node.is_seen, node.is_taken);
        if let Some(above) = node.above {
            nodes[above].is_seen |= is_seen;
            nodes[above].is_taken |= is_taken;
        }
    }
    let is_seen = nodes[0].is_seen;
    let is_listed = |node: &Node| node.is_taken && !node.found.path.is_empty();
    let found = nodes.into_iter().filter(is_listed).map(|node| node.found).collect();
    Walked { found, is_seen }
}

/// What has to be read of a path to list it; `None` for what cannot be listed, which is said.
fn detail(
    folder: &Folder,
    name: &[u8],
    path: &[u8],
    kind: Kind,
    problems: &mut Problems<'_>,
) -> Option<Detail> {
    match kind {
        Kind::Directory => Some(Detail::Directory { xattrs: None }),
        Kind::File => Some(Detail::File),
        Kind::Symlink => {
            let link = folder.descriptor().and_then(|above| link(above, name));
            link.map_err(|error| problems.unreadable(path, &error)).ok()
        }
        Kind::Channel | Kind::Device => {
            problems.skipped(path, kind);
            None
        }
    }
}

fn link(above: impl AsFd, path: &[u8]) -> io::Result<Detail> {
    Ok(Detail::Symlink { text: root::link(&above, path)?, xattrs: hash::link_xattrs(above, path)? })
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
