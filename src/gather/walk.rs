//! Discovery: finds the Dockerfiles below the images directory.
//!
//! Directory by directory, all of one depth at once on all cores; nothing recurses. `.gitignore` and
//! `ignore = [..]` are respected, hidden directories are passed over. A symbolic link to a directory
//! is another name for what it leads to, never a way to walk, so that it cannot loop.
#![expect(
    clippy::disallowed_methods,
    reason = "this module lists directories and reads Dockerfiles"
)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::GlobSet;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rayon::prelude::*;

use crate::diagnostic::{Diagnostic, Place};
use crate::gather::GatherError;
use crate::gather::root::{Look, Root};
use crate::gather::stat::StatCache;
use crate::graph::spec::Found;
use crate::layers::Layers;

/// A link that leads nowhere, or out of the images directory.
const ODD_LINK: &str = "IG006";
/// A file that cannot be read, or whose name is not UTF-8.
const UNREADABLE: &str = "IG007";

/// Endings that are never Dockerfiles: what makes one, and what stands beside one.
const NOT_DOCKERFILES: &[&str] = &[
    ".template",
    ".j2",
    ".jinja2",
    ".in",
    ".tmpl",
    ".tpl",
    ".gotpl",
    ".em",
    ".dockerignore",
    ".containerignore",
    ".orig",
    ".rej",
    ".bak",
    ".swp",
    "~",
];

/// The file beside a Dockerfile that has the version of its image.
const VERSION: &str = "VERSION";

/// What discovery found.
#[derive(Debug, Default)]
pub struct Tree {
    /// The Dockerfiles, sorted by path.
    pub found: Vec<Found>,
    /// The bytes of each.
    pub texts: Vec<Arc<[u8]>>,
    /// The directories that were listed, below the images directory, which is the empty path.
    pub directories: Vec<String>,
    /// Directories that were left out, below the images directory, and why.
    pub hidden: BTreeMap<String, String>,
    /// What could not be read.
    pub problems: Vec<Diagnostic>,
}

/// Walks the images directory of a workspace, and notes what it rests on. A missing directory is an
/// empty tree.
pub fn walk(
    opened: &Root,
    (root, layers): (&Path, &Layers),
    seen: &StatCache,
) -> Result<Tree, GatherError> {
    let images = root.join(&layers.workspace.images);
    let mut tree = Tree::default();
    seen.observe(opened, layers.workspace.images.as_bytes(), Look::Target);
    if !images.is_dir() {
        return Ok(tree);
    }
    let above = ignores_above(root, &images, (opened, seen));
    let rules = Rules {
        root: opened,
        seen,
        images: &images,
        prefix: match layers.workspace.images.as_str() {
            "." => String::new(),
            images => format!("{images}/"),
        },
        ignore: &layers.workspace.ignore,
        dockerfiles: layers.workspace.dockerfiles.as_ref(),
    };
    let mut links = Vec::new();
    let mut found: Vec<(Found, Vec<u8>)> = Vec::new();
    let mut level = vec![Directory { path: String::new(), ignores: above }];
    while !level.is_empty() {
        let listed: Vec<Listing> = level.par_iter().map(|dir| rules.list(dir)).collect();
        tree.directories.extend(level.drain(..).map(|dir| dir.path));
        for listing in listed {
            level.extend(listing.directories);
            links.extend(listing.links);
            found.extend(listing.dockerfiles);
            tree.hidden.extend(listing.hidden);
            tree.problems.extend(listing.problems);
        }
    }
    found.sort_by(|(one, _), (two, _)| one.path.cmp(&two.path));
    for (found, text) in found {
        tree.found.push(found);
        tree.texts.push(Arc::from(text));
    }
    follow_links(&rules, links, &mut tree);
    Ok(tree)
}

/// The `.gitignore` files from the repository's root down to the images directory.
fn ignores_above(
    root: &Path,
    images: &Path,
    (opened, seen): (&Root, &StatCache),
) -> Vec<Arc<Gitignore>> {
    let mut up = String::new();
    let mut repository = None;
    for dir in root.ancestors() {
        seen.observe(opened, format!("{up}.git").as_bytes(), Look::TargetKind);
        if dir.join(".git").exists() {
            repository = Some(dir);
            break;
        }
        up.push_str("../");
    }
    let mut above: Vec<&Path> = images.ancestors().skip(1).collect();
    above.retain(|dir| dir.starts_with(repository.unwrap_or(root)));
    above.reverse();
    for dir in &above {
        // Below the root, or so many directories above it.
        let steps = root.components().count().saturating_sub(dir.components().count());
        let directory =
            dir.strip_prefix(root).map_or_else(|_| "../".repeat(steps).into(), PathBuf::from);
        let path = directory.join(".gitignore");
        seen.observe(opened, path.as_os_str().as_bytes(), Look::Target);
    }
    above.into_iter().filter_map(gitignore).collect()
}

fn gitignore(dir: &Path) -> Option<Arc<Gitignore>> {
    let file = dir.join(".gitignore");
    if !file.is_file() {
        return None;
    }
    let mut builder = GitignoreBuilder::new(dir);
    // A bad line is skipped, as git does; the good ones hold.
    drop(builder.add(file));
    builder.build().ok().map(Arc::new)
}

struct Rules<'a> {
    /// The workspace root, and what was looked at in it.
    root: &'a Root,
    seen: &'a StatCache,
    images: &'a Path,
    /// The images directory relative to the workspace root, with a slash behind.
    prefix: String,
    ignore: &'a GlobSet,
    dockerfiles: Option<&'a GlobSet>,
}

/// A directory to list: its path below the images directory, and the ignore files above it.
struct Directory {
    path: String,
    ignores: Vec<Arc<Gitignore>>,
}

#[derive(Default)]
struct Listing {
    directories: Vec<Directory>,
    links: Vec<String>,
    dockerfiles: Vec<(Found, Vec<u8>)>,
    hidden: Vec<(String, String)>,
    problems: Vec<Diagnostic>,
}

impl Rules<'_> {
    fn list(&self, dir: &Directory) -> Listing {
        let mut listing = Listing::default();
        let here = self.images.join(&dir.path);
        self.observe(&dir.path, Look::Itself);
        let entries = match fs::read_dir(&here) {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("cannot list this directory: {error}");
                listing.problems.push(self.problem(UNREADABLE, &dir.path, message));
                return listing;
            }
        };
        let entries: Vec<fs::DirEntry> = entries.filter_map(Result::ok).collect();
        let names = entries.iter().map(fs::DirEntry::file_name);
        let beside = Beside::new(names);
        let mut ignores = dir.ignores.clone();
        if entries.iter().any(|entry| entry.file_name() == ".gitignore") {
            self.observe(&below(&dir.path, ".gitignore"), Look::Target);
            ignores.extend(gitignore(&here));
        }
        for entry in entries {
            self.sort_entry(&entry, dir, (&ignores, &beside), &mut listing);
        }
        listing
    }

    fn sort_entry(
        &self,
        entry: &fs::DirEntry,
        dir: &Directory,
        (ignores, beside): (&[Arc<Gitignore>], &Beside),
        listing: &mut Listing,
    ) {
        let Ok(kind) = entry.file_type() else { return };
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            // Only a name that could matter is worth a word: contexts may hold any bytes.
            let is_image = ["Dockerfile", "Containerfile"].map(|file| {
                let inside = Path::new(&self.prefix).join(&dir.path).join(&name).join(file);
                let inside = inside.as_os_str().as_bytes();
                self.seen.observe(self.root, inside, Look::TargetKind);
                entry.path().join(file).is_file()
            });
            if name.to_string_lossy().contains("Dockerfile") || is_image.contains(&true) {
                let name = name.to_string_lossy();
                let message = format!("`{name}` is passed over: its name is not UTF-8");
                listing.problems.push(self.problem(UNREADABLE, &dir.path, message));
            }
            return;
        };
        let path = below(&dir.path, name);
        let is_link = kind.is_symlink();
        if is_link {
            self.observe(&path, Look::TargetKind);
        }
        let is_dir = kind.is_dir() || is_link && entry.path().is_dir();
        if !is_dir && !self.is_dockerfile(name, &path) || is_dir && name.starts_with('.') {
            return;
        }
        if let Some(why) = self.ignored(&path, is_dir, ignores) {
            listing.hidden.push((hidden_name(&path, is_dir), why));
        } else if is_dir && is_link {
            listing.links.push(path);
        } else if is_dir {
            listing.directories.push(Directory { path, ignores: ignores.to_vec() });
        } else {
            self.read(&entry.path(), &path, beside, listing);
        }
    }

    fn observe(&self, path: &str, look: Look) {
        let full = format!("{}{path}", self.prefix);
        self.seen.observe(self.root, full.trim_end_matches('/').as_bytes(), look);
    }

    fn read(&self, file: &Path, path: &str, beside: &Beside, listing: &mut Listing) {
        self.observe(path, Look::Target);
        if beside.has_version {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            self.observe(&below(directory, VERSION), Look::Target);
        }
        if !file.is_file() {
            let message = "this is not a file".to_owned();
            listing.problems.push(self.problem(ODD_LINK, path, message));
            return;
        }
        match fs::read(file) {
            Ok(text) => {
                let found = Found {
                    path: Arc::from(path),
                    version: file.parent().filter(|_| beside.has_version).and_then(version),
                    ignore_files: beside.ignore_files.clone(),
                    aliases: Vec::new(),
                };
                listing.dockerfiles.push((found, text));
            }
            Err(error) => {
                let message = format!("cannot read this file: {error}");
                listing.problems.push(self.problem(UNREADABLE, path, message));
            }
        }
    }

    fn is_dockerfile(&self, name: &str, path: &str) -> bool {
        if let Some(globs) = self.dockerfiles {
            return globs.is_match(path) || globs.is_match(name);
        }
        let usual = ["Dockerfile", "Containerfile"].iter().any(|word| {
            name == *word
                || name
                    .strip_prefix(word)
                    .is_some_and(|rest| rest.len() > 1 && rest.starts_with('.'))
                || name.strip_suffix(word).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        });
        usual && !NOT_DOCKERFILES.iter().any(|ending| name.ends_with(ending))
    }

    fn ignored(&self, path: &str, is_dir: bool, ignores: &[Arc<Gitignore>]) -> Option<String> {
        if self.ignore.is_match(path) {
            return Some("`ignore` of layers.toml".to_owned());
        }
        let full = self.images.join(path);
        for ignore in ignores.iter().rev() {
            match ignore.matched(&full, is_dir) {
                ignore::Match::None => (),
                ignore::Match::Whitelist(_) => return None,
                ignore::Match::Ignore(glob) => {
                    return Some(format!("`{}` of .gitignore", glob.original()));
                }
            }
        }
        None
    }

    fn problem(&self, code: &'static str, path: &str, message: String) -> Diagnostic {
        let path = format!("{}{path}", self.prefix);
        let place = Place { path: Arc::from(path.trim_end_matches('/')), span: None };
        Diagnostic::error(code, message).at_place(place)
    }
}

/// A path below a directory, which may be the images directory itself.
fn below(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// What stands beside a Dockerfile: asked of the listing, it costs no system call.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    has_version: bool,
    /// The names of ignore files.
    pub(crate) ignore_files: Vec<String>,
}

impl Beside {
    fn new(names: impl Iterator<Item = OsString>) -> Self {
        let mut beside = Self::default();
        for name in names.filter_map(|name| name.into_string().ok()) {
            beside.has_version |= name == VERSION;
            if name.ends_with(".dockerignore") || name.ends_with(".containerignore") {
                beside.ignore_files.push(name);
            }
        }
        beside
    }
}

/// What stands in a directory. One that cannot be listed has nothing.
pub(crate) fn beside(directory: &Path) -> Beside {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    Beside::new(entries.map(|entry| entry.file_name()))
}

fn version(directory: &Path) -> Option<String> {
    let text = fs::read_to_string(directory.join(VERSION)).ok()?;
    Some(text.trim().to_owned()).filter(|version| !version.is_empty())
}

/// The image that a hidden entry would have been, or the directory of several.
fn hidden_name(path: &str, is_dir: bool) -> String {
    match path.rsplit_once('/') {
        Some((dir, _)) if !is_dir => dir.to_owned(),
        _ => path.to_owned(),
    }
}

/// Gives every image behind a linked directory the linked path as another one.
fn follow_links(rules: &Rules<'_>, links: Vec<String>, tree: &mut Tree) {
    let Ok(images) = fs::canonicalize(rules.images) else { return };
    for link in links {
        let target = fs::canonicalize(rules.images.join(&link));
        let inside = target.ok().and_then(|target| inside(&images, &target));
        let Some(target) = inside else {
            let message =
                "this link leads out of the images directory and is passed over".to_owned();
            let mut problem = rules.problem(ODD_LINK, &link, message);
            problem.severity = crate::diagnostic::Severity::Note;
            tree.problems.push(problem);
            continue;
        };
        for found in &mut tree.found {
            let rest = match target.as_str() {
                "" => Some(&*found.path),
                target => found.path.strip_prefix(target).and_then(|rest| rest.strip_prefix('/')),
            };
            if let Some(rest) = rest {
                found.aliases.push(format!("{link}/{rest}"));
            }
        }
    }
}

fn inside(images: &Path, target: &Path) -> Option<String> {
    let relative: PathBuf = target.strip_prefix(images).ok()?.to_path_buf();
    relative.to_str().map(str::to_owned)
}
