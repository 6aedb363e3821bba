//! Everything of a directory that the build sees and an instruction wants.
//!
//! A directory is seen if it is not left out or something in it is not (fsutil `filter.go`), and
//! taken if it is wanted or something in it is taken (moby/buildkit `checksum.go`,
//! `includedPaths`); so both are judged when the walk is over. Depth costs no stack and no
//! descriptors.

use crate::digest::Digest;
use crate::gather::context::problem::Problems;
use crate::gather::context::tree::{self, Detail, Found, Tree};
use crate::gather::context::{below, join, split};
use crate::gather::hash;
use crate::gather::root::{Folder, Kind, Status};
use crate::gather::stat::Known;
use crate::ignorefile::{Patterns, Trail};

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

impl Tree<'_> {
    /// Walks a directory; `status` is what it is, `None` for the root.
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
            let link = folder.descriptor().and_then(|above| tree::link(above, name));
            link.map_err(|error| problems.unreadable(path, &error)).ok()
        }
        Kind::Channel | Kind::Device => {
            problems.skipped(path, kind);
            None
        }
    }
}
