//! The texts of a workspace: `layers.toml` and every Dockerfile.
#![expect(clippy::disallowed_methods, reason = "this module reads the workspace")]

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::diagnostic::{Diagnostic, Place, Sources};
use crate::gather::GatherError;
use crate::gather::root::{Look, Root};
use crate::gather::stat::StatCache;
use crate::gather::walk::{self, Tree};
use crate::graph::spec::Found;
use crate::layers::{self, Layers};
use crate::lockfile::{LOCK_FILE, LockFile};

/// The file that marks the root of a workspace.
pub const LAYERS_FILE: &str = "layers.toml";
/// The directory of the images where `layers.toml` says nothing else.
pub const IMAGES_DIR: &str = "images";
/// The images directory has no Dockerfile, or is not there.
const NO_IMAGES: &str = "IG005";

/// What the disk says of a workspace.
#[derive(Debug)]
pub struct Workspace {
    /// Its root, absolute.
    pub root: PathBuf,
    /// `layers.toml`, or the defaults.
    pub layers: Layers,
    /// `imgraph.lock`; `None` where there is none.
    pub lock: Option<LockFile>,
    /// The Dockerfiles, sorted by path.
    pub found: Vec<Found>,
    /// The bytes of each.
    pub texts: Vec<Arc<[u8]>>,
    /// The directories that were searched, below the images directory, which is the empty path.
    pub directories: Vec<String>,
    /// Directories below the images directory that were left out, and why.
    pub hidden: BTreeMap<String, String>,
    /// What is wrong so far.
    pub problems: Vec<Diagnostic>,
    layers_text: Arc<str>,
    lock_text: Arc<str>,
}

/// The root of the workspace around a directory: the nearest one upward with `layers.toml`, else the
/// nearest with `images/`.
pub fn find_root(start: &Path) -> Option<PathBuf> {
    let marked = |dir: &&Path| dir.join(LAYERS_FILE).is_file();
    let plain = |dir: &&Path| dir.join(IMAGES_DIR).is_dir();
    let root = start.ancestors().find(marked).or_else(|| start.ancestors().find(plain));
    root.map(Path::to_path_buf)
}

/// Reads a workspace, and notes what it rests on.
pub fn read(root: &Path, seen: &StatCache) -> Result<Workspace, GatherError> {
    let opened = Root::open(root).map_err(|error| GatherError::new("open", root, error))?;
    for file in [LAYERS_FILE, LOCK_FILE] {
        seen.observe(&opened, file.as_bytes(), Look::Target);
    }
    let mut workspace = bare(root)?;
    let tree = walk::walk(&opened, (root, &workspace.layers), seen)?;
    workspace.problems.extend(tree.problems.iter().cloned());
    if tree.found.is_empty() && workspace.problems.is_empty() {
        workspace.problems.push(no_images(root, &workspace.layers));
    }
    let Tree { found, texts, directories, hidden, problems: _ } = tree;
    Ok(Workspace { found, texts, directories, hidden, ..workspace })
}

/// Reads a part of a workspace in which these Dockerfiles were found before. Nothing is noted.
pub fn part(root: &Path, found: Vec<Found>) -> Result<Workspace, GatherError> {
    let mut workspace = Workspace { found, ..bare(root)? };
    let read = |index: usize| {
        let path = root.join(workspace.dockerfile_path(index));
        let text = fs::read(&path).map_err(|error| GatherError::new("read", path, error))?;
        Ok(Arc::from(text))
    };
    let texts: Result<_, GatherError> =
        (0..workspace.found.len()).into_par_iter().map(read).collect();
    workspace.texts = texts?;
    Ok(workspace)
}

/// Reads `layers.toml` and the lock file of a workspace, and no Dockerfile.
fn bare(root: &Path) -> Result<Workspace, GatherError> {
    let path = root.join(LAYERS_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(GatherError::new("read", path, error)),
    };
    let layers_text: Arc<str> = Arc::from(String::from_utf8_lossy(&bytes));
    let (layers, problems) = layers::parse(&layers_text);
    let file: Arc<str> = Arc::from(LAYERS_FILE);
    let mut problems: Vec<Diagnostic> =
        problems.into_iter().map(|problem| problem.in_file(&file)).collect();
    let (lock, lock_text) = read_lock(root, &mut problems)?;
    Ok(Workspace {
        root: root.to_path_buf(),
        layers,
        lock,
        found: Vec::new(),
        texts: Vec::new(),
        directories: Vec::new(),
        hidden: BTreeMap::new(),
        problems,
        layers_text,
        lock_text,
    })
}

/// Reads the lock file, if there is one.
fn read_lock(
    root: &Path,
    problems: &mut Vec<Diagnostic>,
) -> Result<(Option<LockFile>, Arc<str>), GatherError> {
    let path = root.join(LOCK_FILE);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((None, Arc::from(""))),
        Err(error) => return Err(GatherError::new("read", path, error)),
    };
    let text: Arc<str> = Arc::from(String::from_utf8_lossy(&bytes));
    let (lock, found) = LockFile::parse(&text);
    let file: Arc<str> = Arc::from(LOCK_FILE);
    problems.extend(found.into_iter().map(|problem| problem.in_file(&file)));
    Ok((Some(lock), text))
}

/// A workspace of one Dockerfile, which may lie anywhere; its directory is root and context.
pub fn lone(file: &Path) -> Result<Workspace, GatherError> {
    let text = fs::read(file).map_err(|error| GatherError::new("read", file, error))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let mut layers = Layers::default();
    ".".clone_into(&mut layers.workspace.images);
    let beside = file.parent().map(walk::beside).unwrap_or_default();
    let found = Found {
        path: Arc::from(&*name),
        version: None,
        ignore_files: beside.ignore_files,
        aliases: Vec::new(),
    };
    let root = match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    Ok(Workspace {
        root,
        layers,
        lock: None,
        found: vec![found],
        texts: vec![Arc::from(text)],
        directories: Vec::new(),
        hidden: BTreeMap::new(),
        problems: Vec::new(),
        layers_text: Arc::from(""),
        lock_text: Arc::from(""),
    })
}

fn no_images(root: &Path, layers: &Layers) -> Diagnostic {
    let images = &layers.workspace.images;
    let place = Place { path: Arc::from(images.as_str()), span: None };
    let message = if root.join(images).is_dir() {
        format!("there is no Dockerfile below `{images}`")
    } else {
        format!("there is no directory `{images}`")
    };
    let help =
        "put a Dockerfile into images/<layer>/<name>/, or set [workspace] images in layers.toml";
    Diagnostic::error(NO_IMAGES, message).at_place(place).help(help)
}

impl Workspace {
    /// What images from outside are pinned to.
    pub fn pins(&self) -> &LockFile {
        static NOTHING: LockFile = LockFile::new();
        self.lock.as_ref().unwrap_or(&NOTHING)
    }

    /// Whether another reading of the same root found the same: the same texts in the same places.
    pub fn is_like(&self, other: &Self) -> bool {
        self.problems.is_empty()
            && self.layers_text == other.layers_text
            && self.lock == other.lock
            && self.found == other.found
            && self.texts == other.texts
            && self.hidden == other.hidden
    }

    /// The path of a Dockerfile relative to the root.
    pub fn dockerfile_path(&self, found: usize) -> String {
        let path = &self.found[found].path;
        match self.layers.workspace.images.as_str() {
            "." => path.to_string(),
            images => format!("{images}/{path}"),
        }
    }

    /// The text of one Dockerfile.
    pub fn sources_of(&self, dockerfile: &str) -> Sources {
        let place = Place { path: Arc::from(dockerfile), span: None };
        self.sources(&[Diagnostic::note("", "").at_place(place)])
    }

    /// The texts that the given diagnostics point into.
    pub fn sources(&self, problems: &[Diagnostic]) -> Sources {
        let mut sources = Sources::default();
        sources.insert(Arc::from(LAYERS_FILE), Arc::clone(&self.layers_text));
        sources.insert(Arc::from(LOCK_FILE), Arc::clone(&self.lock_text));
        let related = |problem: &Diagnostic| {
            let related: Vec<Place> =
                problem.related.iter().map(|(place, _)| place.clone()).collect();
            problem.place.iter().cloned().chain(related).map(|place| place.path).collect::<Vec<_>>()
        };
        let wanted: std::collections::BTreeSet<Arc<str>> =
            problems.iter().flat_map(related).collect();
        if wanted.is_empty() {
            return sources;
        }
        for (index, text) in self.texts.iter().enumerate() {
            let path = self.dockerfile_path(index);
            if wanted.contains(path.as_str()) {
                sources.insert(Arc::from(path), Arc::from(String::from_utf8_lossy(text)));
            }
        }
        sources
    }
}

/// What the `layers.toml` of a workspace says, right or wrong: engine, builders and registries are
/// needed before anything else is read.
pub fn configured(root: &Path) -> Layers {
    let Ok(text) = fs::read_to_string(root.join(LAYERS_FILE)) else { return Layers::default() };
    layers::parse(&text).0
}
