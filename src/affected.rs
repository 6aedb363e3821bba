//! Which images a set of changed paths can concern: what a version control system knows, turned into
//! what has to be built.
//!
//! An image is affected if a path differs that it is made of, and so is everything that depends on
//! it. Where that cannot be known, it is taken to be: an image reads a file that the version control
//! system ignores, or rules changed that concern all. What a path looked like before is not known
//! here, so a path that is gone counts where it could have been read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use globset::GlobSet;

use crate::context::Entry;
use crate::dockerfile::ContextRead;
use crate::gopath;
use crate::graph::{Image, ImageGraph};
use crate::ignorefile::Patterns;
use crate::image::ImageId;

/// Paths that differ from an earlier state, relative to the workspace root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What they are compared with.
    pub base: String,
    /// What is different or new.
    pub changed: BTreeSet<Vec<u8>>,
    /// What is there no more.
    pub deleted: BTreeSet<Vec<u8>>,
    /// Files and whole directories of which it cannot be known.
    pub ignored: BTreeSet<Vec<u8>>,
    /// Whether rules above the workspace root changed, of what is ignored.
    pub has_other_rules: bool,
}

/// Why an image is affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// This path of it changed, or is gone.
    Path(Vec<u8>),
    /// It reads this path, of which nobody knows whether it changed.
    Unknown(Vec<u8>),
    /// It depends on this image.
    Parent(ImageId),
}

/// What an image is made of beside its Dockerfile.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// Its context directory, without links on the way; empty is the workspace root.
    pub context: Vec<u8>,
    /// What its build may see of it; `None`: that is not known yet.
    pub entries: Option<&'a [Entry]>,
    /// What it reads of it.
    pub reads: &'a [ContextRead],
    /// What of it is not seen.
    pub ignored: &'a Patterns,
    /// Files that decide what is read, whether they are there or not: ignore files, the version.
    pub rules: Vec<Vec<u8>>,
    /// What its `prepare` makes, relative to the image's directory: what that is made of counts.
    pub made: GlobSet,
}

/// The images that changes concern, each with the first reason.
pub fn affected<'a>(
    graph: &ImageGraph,
    changes: &Changes,
    inputs: impl Fn(ImageId) -> Inputs<'a>,
) -> BTreeMap<ImageId, Why> {
    let mut found = BTreeMap::new();
    let of_all = changes.of_all();
    for id in graph.order() {
        let image = graph.image(*id);
        let why = of_all.clone().map(Why::Path).or_else(|| own(image, changes, &inputs(*id)));
        let inherited = || {
            image.parents.iter().map(|edge| edge.parent).find(|parent| found.contains_key(parent))
        };
        if let Some(why) = why.or_else(|| inherited().map(Why::Parent)) {
            found.insert(*id, why);
        }
    }
    found
}

impl Changes {
    /// A path that can concern every image.
    fn of_all(&self) -> Option<Vec<u8>> {
        let concerns_all = |path: &&Vec<u8>| {
            matches!(path.as_slice(), b"layers.toml" | b"imgraph.lock")
                || path.as_slice() == b".gitignore"
                || path.ends_with(b"/.gitignore")
        };
        let found = self.all().find(concerns_all).cloned();
        found.or_else(|| self.has_other_rules.then(|| b"../.gitignore".to_vec()))
    }

    fn all(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.changed.iter().chain(&self.deleted)
    }

    fn has(&self, path: &[u8]) -> bool {
        self.changed.contains(path) || self.deleted.contains(path)
    }
}

/// Why an image is affected by itself.
fn own(image: &Image, changes: &Changes, inputs: &Inputs<'_>) -> Option<Why> {
    let spec = &image.spec;
    let dockerfile = spec.dockerfile.as_bytes().to_vec();
    let mut rules = std::iter::once(&dockerfile).chain(&inputs.rules);
    if let Some(path) = rules.find(|path| changes.has(path)) {
        return Some(Why::Path(path.clone()));
    }
    let directory = spec.directory.as_bytes();
    if spec.prepare.is_some() {
        let near = below(&changes.changed, directory).chain(below(&changes.deleted, directory));
        if let Some((path, _)) = near.into_iter().find(|(_, path)| !inputs.is_made(path)) {
            return Some(Why::Path(path.to_vec()));
        }
    }
    let read =
        below(&changes.changed, &inputs.context).find(|(_, path)| inputs.has(path, directory));
    let gone =
        || below(&changes.deleted, &inputs.context).find(|(_, path)| inputs.could_have(path));
    if let Some((path, _)) = read.or_else(gone) {
        return Some(Why::Path(path.to_vec()));
    }
    if let Some(path) = changes.deleted.iter().find(|path| was_a_parent(image, path)) {
        return Some(Why::Path(path.clone()));
    }
    let inside =
        below(&changes.ignored, &inputs.context).find(|(_, path)| inputs.has(path, directory));
    let around = || changes.ignored.iter().find(|path| is_below(&inputs.context, path));
    let unknown = inside.map(|(path, _)| path).or_else(|| around().map(Vec::as_slice));
    unknown.filter(|_| !inputs.reads.is_empty()).map(|path| Why::Unknown(path.to_vec()))
}

impl Inputs<'_> {
    /// Whether a path of the context is read, or one below it is, that no `prepare` makes.
    fn has(&self, path: &[u8], directory: &[u8]) -> bool {
        let is_made = |path: &[u8]| {
            let full = join(&self.context, path);
            relative(&full, directory).is_some_and(|path| self.is_made(path))
        };
        let Some(entries) = self.entries else { return !self.reads.is_empty() && !is_made(path) };
        let from = entries.partition_point(|entry| bytes(entry) < path);
        let mut behind = entries[from..].iter().map(bytes).take_while(|it| it.starts_with(path));
        behind.any(|it| is_below(it, path) && !is_made(it))
    }

    /// Whether a path of the image's directory is what its `prepare` makes.
    fn is_made(&self, path: &[u8]) -> bool {
        self.made.is_match(OsStr::from_bytes(path))
    }

    /// Whether a path of the context that is gone could have been read.
    fn could_have(&self, path: &[u8]) -> bool {
        let is_wanted = |read: &ContextRead| {
            let source = read.source.as_bytes();
            let literal = source[1..].split(|byte| *byte == b'/');
            let literal: Vec<&[u8]> =
                literal.take_while(|part| !gopath::has_wildcards(part)).collect();
            is_below(path, &literal.join(&b'/'))
        };
        self.reads.iter().any(is_wanted) && !self.ignored.verdict(path).is_matched()
    }
}

fn bytes(entry: &Entry) -> &[u8] {
    entry.path.as_os_str().as_bytes()
}

/// Whether a Dockerfile that is gone may have made what an image now takes from elsewhere.
fn was_a_parent(image: &Image, path: &[u8]) -> bool {
    let path = String::from_utf8_lossy(path);
    let Some((directory, name)) = path.rsplit_once('/') else { return false };
    if !name.contains("Dockerfile") && !name.contains("Containerfile") {
        return false;
    }
    let last = |text: &str| text.rsplit('/').next().unwrap_or(text).to_owned();
    image.externals.iter().any(|it| last(&it.normalised.repository()) == last(directory))
}

/// The paths below a directory, whole and relative to it.
fn below<'a>(
    paths: &'a BTreeSet<Vec<u8>>,
    directory: &'a [u8],
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let behind = paths.range(join(directory, b"")..).map(Vec::as_slice);
    behind.map_while(move |path| Some((path, relative(path, directory)?)))
}

/// A path below a directory; the empty one is above all.
fn join(directory: &[u8], path: &[u8]) -> Vec<u8> {
    if directory.is_empty() { path.to_vec() } else { [directory, b"/", path].concat() }
}

/// What of a path is below a directory.
fn relative<'a>(path: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    if directory.is_empty() {
        return Some(path);
    }
    path.strip_prefix(directory)?.strip_prefix(b"/")
}

/// Whether a path is a directory or below it.
fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path == directory || relative(path, directory).is_some()
}
