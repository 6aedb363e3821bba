//! What each COPY, ADD and bind mount takes of a context.

use crate::dockerfile::ContextRead;
use crate::dockerfile::reads::ContextKind;
use crate::gather::context::join;
use crate::gather::context::problem::{Missing, Problems};
use crate::gather::context::tree::{Detail, Found, Tree};
use crate::gather::context::walk::Wanted;
use crate::gather::root::Kind;
use crate::gopath::{self, Wildcard};
use crate::ignorefile::{Patterns, Verdict};

/// What the reads so far take.
pub(super) struct Selection<'a, 'p, 'c> {
    tree: Tree<'a>,
    problems: &'p mut Problems<'c>,
    found: Vec<Found>,
}

/// Whether a source was written as it is or came out of a wildcard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Literal,
    Wildcard,
}

impl<'a, 'p, 'c> Selection<'a, 'p, 'c> {
    pub(super) fn new(tree: Tree<'a>, problems: &'p mut Problems<'c>) -> Self {
        Self { tree, problems, found: Vec::new() }
    }

    /// Everything taken, each path once, sorted.
    pub(super) fn finish(mut self) -> Vec<Found> {
        self.found.sort_by(|left, right| left.path.cmp(&right.path));
        self.found.dedup_by(|left, right| left.path == right.path);
        self.found
    }

    /// Adds what a read takes.
    pub(super) fn add(&mut self, read: &ContextRead) {
        let Some(wanted) = self.wanted(read) else { return };
        let rooted = gopath::clean(&[b"/", read.source.as_bytes()].concat());
        let source = &rooted[1..];
        if read.kind == ContextKind::Mount || !gopath::has_wildcards(source) {
            let taken = self.take(read, source, &wanted, Origin::Literal);
            self.check_required(read, source, &taken);
            self.found.extend(taken);
        } else {
            self.add_matches(read, source, &wanted);
        }
    }

    fn wanted(&mut self, read: &ContextRead) -> Option<Wanted> {
        let mut compile = |patterns: &[String]| {
            let compiled: Result<Patterns, _> = Patterns::new(patterns);
            compiled.map_err(|error| {
                self.problems.bad_pattern(read, &patterns.join(" "), &error.to_string());
            })
        };
        let (include, exclude) = (compile(&read.include), compile(&read.exclude));
        Some(Wanted { include: include.ok()?, exclude: exclude.ok()? })
    }

    /// The part before the first wildcard must be there; links in it are followed. What matches
    /// behind it is taken as if it were written (fsutil `copy.go`, `ResolveWildcards`).
    fn add_matches(&mut self, read: &ContextRead, source: &[u8], wanted: &Wanted) {
        let parts: Vec<&[u8]> = source.split(|byte| *byte == b'/').collect();
        let first = parts.iter().position(|part| gopath::has_wildcards(part)).unwrap_or(0);
        let (base, pattern) = (parts[..first].join(&b'/'), parts[first..].join(&b'/'));
        let wildcard = match Wildcard::new(&pattern) {
            Ok(wildcard) => wildcard,
            Err(error) => {
                self.problems.bad_pattern(read, &read.source, &error.to_string());
                return;
            }
        };
        let base = match self.tree.follow(&base, self.problems) {
            Ok(base) => base,
            Err(why) => return self.problems.missing(read, &base, &why),
        };
        self.found.extend(base.links);
        if base.status.is_some_and(|status| status.kind != Kind::Directory) {
            return;
        }
        for path in self.tree.matches(&base.path, &wildcard, self.problems) {
            let taken = self.take(read, &path, wanted, Origin::Wildcard);
            self.found.extend(taken);
        }
    }

    /// One source, followed, with everything below it.
    fn take(
        &mut self,
        read: &ContextRead,
        source: &[u8],
        wanted: &Wanted,
        origin: Origin,
    ) -> Vec<Found> {
        let end = match self.tree.follow(source, self.problems) {
            Ok(end) => end,
            Err(why) => {
                self.problems.missing(read, source, &why);
                return Vec::new();
            }
        };
        let mut taken = end.links;
        let verdict = self.tree.verdict(&end.path);
        // What a wildcard matches itself is there by definition; where a link led may not be.
        let must_be_seen = origin == Origin::Literal || !taken.is_empty();
        match end.status.map_or(Kind::Directory, |status| status.kind) {
            Kind::Directory => {
                let walked = self.tree.walk(&end.path, end.status, wanted, self.problems);
                if let (Verdict::Matched(rule), false) = (verdict, walked.is_seen)
                    && must_be_seen
                    && wanted.include.is_empty()
                {
                    self.problems.missing(read, source, &Missing::LeftOut(rule));
                }
                taken.extend(walked.found);
            }
            kind @ (Kind::Channel | Kind::Device) => match origin {
                Origin::Literal => self.problems.missing(read, source, &Missing::Special),
                Origin::Wildcard => self.problems.skipped(source, kind),
            },
            Kind::File | Kind::Symlink => match (verdict, end.status) {
                (Verdict::Matched(rule), _) => {
                    self.problems.missing(read, source, &Missing::LeftOut(rule));
                }
                (_, Some(status)) => {
                    taken.push(Found { path: end.path, status, detail: Detail::File });
                }
                (_, None) => {}
            },
        }
        taken
    }

    /// Literal sources of `--parents` must be there (moby/buildkit `checksum.go`, `RequiredPaths`:
    /// something taken must begin so).
    fn check_required(&mut self, read: &ContextRead, source: &[u8], taken: &[Found]) {
        for required in &read.require {
            let cleaned = gopath::clean(&[b"/", required.as_bytes()].concat());
            let path = &cleaned[1..];
            // `source` may lead elsewhere: then what was taken lies there.
            let below =
                path.strip_prefix(source).map(|rest| rest.strip_prefix(b"/").unwrap_or(rest));
            let end = self.tree.follow(source, self.problems).map(|end| end.path);
            let (Some(below), Ok(end)) = (below, end) else { continue };
            let wanted = join(&end, below);
            if taken.iter().any(|found| found.path.starts_with(&wanted)) {
                continue;
            }
            let why = match self.tree.follow(&wanted, self.problems) {
                Err(why) => why,
                Ok(_) => match self.tree.verdict(&wanted) {
                    Verdict::Matched(rule) => Missing::LeftOut(rule),
                    _ => Missing::Absent { near: None },
                },
            };
            self.problems.missing(read, path, &why);
        }
    }
}
