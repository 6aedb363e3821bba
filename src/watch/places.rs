//! Where a workspace is read: which directories are worth a watch, and whose inputs a hint is about.
//!
//! A directory is read if discovery lists it, or if a build could see, or would look for, something
//! in it. The ones above it up to the root belong to it: if one of them is replaced, so is it.
#![expect(clippy::disallowed_methods, reason = "lists directories")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::context::{Entry, EntryKind};
use crate::dockerfile::ContextRead;
use crate::gather::inputs::Disk;
use crate::gather::workspace::{LAYERS_FILE, Workspace};
use crate::gopath;
use crate::ignorefile::{IgnoreFile, Trail};
use crate::image::ImageId;
use crate::lockfile::LOCK_FILE;

/// The directories that are read; all paths are relative to the workspace root.
#[derive(Debug, Default)]
pub struct Places {
    /// Those that discovery lists.
    searched: BTreeSet<PathBuf>,
    /// The Dockerfiles that there are.
    dockerfiles: BTreeSet<PathBuf>,
    /// Those that lead to others, or would, if they were there.
    above: BTreeSet<PathBuf>,
    /// Those that images read.
    readers: BTreeMap<PathBuf, BTreeSet<ImageId>>,
    of: BTreeMap<ImageId, BTreeSet<PathBuf>>,
    is_news: bool,
}

impl Places {
    /// Those of a workspace, before anything is known of its images.
    pub fn new(workspace: &Workspace) -> Self {
        let images = match workspace.layers.workspace.images.as_str() {
            "." => PathBuf::new(),
            images => PathBuf::from(images),
        };
        let searched = workspace.directories.iter().map(|directory| images.join(directory));
        let searched = searched.collect();
        let above = images.ancestors().map(Path::to_path_buf).collect();
        let dockerfiles = 0..workspace.found.len();
        let dockerfiles =
            dockerfiles.map(|found| PathBuf::from(workspace.dockerfile_path(found))).collect();
        Self { searched, above, dockerfiles, is_news: true, ..Self::default() }
    }

    /// Learns where an image reads, from what was read for it. `None`: that could not be read, or
    /// is made only before it is built.
    pub fn learn(&mut self, disk: &Disk<'_>, id: ImageId, entries: Option<&[Entry]>) {
        let Directories { read: new, above } = directories(disk, id, entries);
        self.is_news |= !above.is_subset(&self.above);
        self.above.extend(above);
        let old = self.of.insert(id, new.clone()).unwrap_or_default();
        self.is_news |= old != new;
        for directory in old.difference(&new) {
            let readers = self.readers.get_mut(directory);
            if readers.is_some_and(|readers| readers.remove(&id) && readers.is_empty()) {
                self.readers.remove(directory);
            }
        }
        for directory in new.difference(&old) {
            self.readers.entry(directory.clone()).or_default().insert(id);
        }
    }

    /// All that are worth a watch, if they may be others than when this was last asked.
    pub fn news(&mut self) -> Option<BTreeSet<PathBuf>> {
        std::mem::take(&mut self.is_news).then(|| self.all())
    }

    /// All that are worth a watch.
    pub fn all(&self) -> BTreeSet<PathBuf> {
        let mut all = self.searched.clone();
        all.extend(self.readers.keys().chain(&self.above).cloned());
        all
    }

    /// The images whose inputs a hint may be about.
    pub fn readers(&self, path: &Path) -> BTreeSet<ImageId> {
        let directories = path.parent().into_iter().chain([path]);
        directories.filter_map(|directory| self.readers.get(directory)).flatten().copied().collect()
    }

    /// Whether a hint may be about the workspace as a whole: which images there are, what their
    /// Dockerfiles and ignore files say, which directories there are.
    pub fn concerns_all(&self, workspace: &Workspace, path: &Path) -> bool {
        let above = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default().as_bytes();
        let is_read = self.searched.contains(above) || self.readers.contains_key(above);
        path == Path::new(LAYERS_FILE)
            || path == Path::new(LOCK_FILE)
            || self.dockerfiles.contains(path)
            || ((is_read || self.above.contains(above)) && is_telling(name))
            || (is_read && is_dockerfile(workspace, path, name))
            || self.searched.contains(path)
            || self.above.contains(path)
            || self.readers.contains_key(path)
            || (is_read && workspace.root.join(path).is_dir())
    }
}

/// Names of files that say more than what is in them.
fn is_telling(name: &[u8]) -> bool {
    [&b"VERSION"[..], b".gitignore"].contains(&name)
        || [&b".dockerignore"[..], b".containerignore"].iter().any(|end| name.ends_with(end))
}

fn is_dockerfile(workspace: &Workspace, path: &Path, name: &[u8]) -> bool {
    if let Some(globs) = &workspace.layers.workspace.dockerfiles {
        let images = Path::new(&workspace.layers.workspace.images);
        let below = path.strip_prefix(images).unwrap_or(path);
        return globs.is_match(below) || globs.is_match(OsStr::from_bytes(name));
    }
    let name = String::from_utf8_lossy(name);
    name.contains("Dockerfile") || name.contains("Containerfile")
}

/// The directories that an image reads.
fn directories(disk: &Disk<'_>, id: ImageId, entries: Option<&[Entry]>) -> Directories {
    let image = disk.graph.image(id);
    let spec = &image.spec;
    let (own, context) = (Path::new(&spec.directory), Path::new(&spec.context));
    let mut found = Directories::default();
    found.add(own);
    if spec.prepare.is_some() {
        found.add_below(&disk.workspace.root, own, usize::MAX, None);
    }
    let reads = disk.reads(id);
    if reads.is_empty() {
        return found;
    }
    found.add(context);
    for entry in entries.unwrap_or_default() {
        let path = context.join(&entry.path);
        found.add(path.parent().unwrap_or(context));
        if entry.kind == EntryKind::Directory {
            found.add(&path);
        }
    }
    let ignore = disk.ignore_file(image).ok();
    for read in reads.iter() {
        let (base, depth) = searched(read, ignore.as_ref());
        // An empty base is the context itself.
        let base = match base.as_slice() {
            b"" => context.to_owned(),
            base => context.join(OsStr::from_bytes(base)),
        };
        if base != context {
            found.add(base.parent().unwrap_or(context));
        }
        if let Some(depth) = depth {
            let patterns = ignore.as_ref().map(|ignore| (ignore, context));
            found.add_below(&disk.workspace.root, &base, depth, patterns);
        }
    }
    found
}

/// The part of a source before its first wildcard, and how many levels of directories below it are
/// listed beside those of which something is taken.
fn searched(read: &ContextRead, ignore: Option<&IgnoreFile>) -> (Vec<u8>, Option<usize>) {
    let rooted = gopath::clean(&[b"/", read.source.as_bytes()].concat());
    let parts: Vec<&[u8]> = rooted[1..].split(|byte| *byte == b'/').collect();
    let first = parts.iter().position(|part| gopath::has_wildcards(part));
    let base = parts[..first.unwrap_or(parts.len())].join(&b'/');
    let is_filtered = !read.include.is_empty() || !read.exclude.is_empty();
    let takes_in_again = ignore.is_some_and(|ignore| ignore.patterns.may_reinclude_inside(&base));
    let depth = match first {
        _ if is_filtered || takes_in_again => Some(usize::MAX),
        Some(first) => Some(parts.len() - first),
        None => None,
    };
    (base, depth)
}

/// Directories that are read, and those that lead to them.
#[derive(Default)]
struct Directories {
    read: BTreeSet<PathBuf>,
    above: BTreeSet<PathBuf>,
}

impl Directories {
    fn add(&mut self, directory: &Path) {
        if !self.read.contains(directory) {
            self.read.insert(directory.to_owned());
            self.lead_to(directory);
        }
    }

    fn lead_to(&mut self, path: &Path) {
        for directory in path.ancestors().skip(1) {
            if self.above.contains(directory) {
                return;
            }
            self.above.insert(directory.to_owned());
        }
    }

    /// Adds so many levels of directories: the given one, what is in it, and so on. Links are not
    /// followed, and what an ignore file leaves out for good is not looked into.
    fn add_below(
        &mut self,
        root: &Path,
        top: &Path,
        levels: usize,
        ignore: Option<(&IgnoreFile, &Path)>,
    ) {
        let trail = ignore.map(|(ignore, context)| trail(ignore, context, top));
        let mut todo = vec![(top.to_owned(), levels, trail)];
        while let Some((directory, levels, trail)) = todo.pop() {
            let Ok(listed) = fs::read_dir(root.join(&directory)) else { continue };
            self.add(&directory);
            if levels <= 1 {
                continue;
            }
            for entry in listed.filter_map(Result::ok) {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let path = directory.join(entry.file_name());
                let trail = match (&ignore, &trail) {
                    (Some((ignore, context)), Some(above)) => {
                        let Some(trail) = seen(ignore, context, &path, above) else { continue };
                        Some(trail)
                    }
                    _ => None,
                };
                todo.push((path, levels - 1, trail));
            }
        }
    }
}

/// What an ignore file says of a directory and those above it.
fn trail(ignore: &IgnoreFile, context: &Path, directory: &Path) -> Trail {
    let mut trail = ignore.patterns.root();
    let below = directory.strip_prefix(context).unwrap_or(directory);
    let mut above: Vec<&Path> = below.ancestors().collect();
    above.reverse();
    for directory in above.into_iter().filter(|path| !path.as_os_str().is_empty()) {
        trail = ignore.patterns.descend(directory.as_os_str().as_bytes(), &trail).1;
    }
    trail
}

/// Goes on into a directory, if a build can see anything in it.
fn seen(ignore: &IgnoreFile, context: &Path, directory: &Path, above: &Trail) -> Option<Trail> {
    let below = directory.strip_prefix(context).unwrap_or(directory).as_os_str().as_bytes();
    let (verdict, trail) = ignore.patterns.descend(below, above);
    (!verdict.is_matched() || ignore.patterns.may_reinclude_inside(below)).then_some(trail)
}
