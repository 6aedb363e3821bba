//! What the system tells of changes: `notify` turned into hints.
//!
//! An event is never more than a hint to look again, so most of what it says is dropped. What was
//! only read is no hint at all: looking at the files would call for looking at them.
//!
//! On Linux each directory is watched by itself, so that those that nothing reads cost no watch.
//! Elsewhere the system watches whole trees, and what is wanted is brought down to their roots.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::watch::batch::Hint;

/// What a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Where to look.
    pub hint: Hint,
    /// Whether what was at the path is gone or another thing now, so that a watch of it is void.
    pub is_gone: bool,
}

/// The watches of a workspace.
pub struct Source {
    watcher: RecommendedWatcher,
    root: PathBuf,
    watched: BTreeSet<PathBuf>,
}

/// Why the system does not tell of changes.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There are more directories than it allows watches.
    #[error("the system does not allow as many watches as there are directories ({wanted})")]
    TooFew {
        /// How many are wanted.
        wanted: usize,
    },
    /// It does not watch at all.
    #[error("the system does not watch files")]
    Watch(#[from] notify::Error),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directories = self.watched.len();
        f.debug_struct("Source").field("directories", &directories).finish_non_exhaustive()
    }
}

impl Source {
    /// Watches nothing yet. `tell` is called on a thread of its own.
    pub fn new(root: &Path, tell: impl Fn(Heard) + Send + 'static) -> Result<Self, SourceError> {
        let below = root.to_owned();
        let handler = move |event: notify::Result<notify::Event>| {
            for heard in heard(event, &below) {
                tell(heard);
            }
        };
        let watcher = RecommendedWatcher::new(handler, Config::default())?;
        Ok(Self { watcher, root: root.to_owned(), watched: BTreeSet::new() })
    }

    /// Watches these directories, relative to the root, and no others. Returns those that were not
    /// watched before: what happened in them until now is not told. A directory that is not there
    /// is left out.
    pub fn watch(&mut self, wanted: &BTreeSet<PathBuf>) -> Result<BTreeSet<PathBuf>, SourceError> {
        let wanted = &roots(wanted);
        let old: Vec<PathBuf> = self.watched.difference(wanted).cloned().collect();
        for directory in old {
            // One that is gone is not watched any more anyway.
            self.watcher.unwatch(&self.root.join(&directory)).unwrap_or_default();
            self.watched.remove(&directory);
        }
        let mut added = BTreeSet::new();
        for directory in wanted {
            if self.watched.contains(directory) {
                continue;
            }
            match self.watcher.watch(&self.root.join(directory), MODE) {
                Ok(()) => {
                    self.watched.insert(directory.clone());
                    added.insert(directory.clone());
                }
                Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => {
                    return Err(SourceError::TooFew { wanted: wanted.len() });
                }
                Err(_) => (),
            }
        }
        Ok(added)
    }

    /// Forgets the watches at and below a path that is gone, so that what comes in its place is
    /// watched anew.
    pub fn forget(&mut self, path: &Path) {
        // Paths are ordered part by part: what is below a path comes right behind it.
        let behind = self.watched.range(path.to_owned()..);
        let gone: Vec<PathBuf> =
            behind.take_while(|watched| watched.starts_with(path)).cloned().collect();
        for directory in gone {
            self.watcher.unwatch(&self.root.join(&directory)).unwrap_or_default();
            self.watched.remove(&directory);
        }
    }

    /// How many directories are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }
}

#[cfg(target_os = "linux")]
const MODE: RecursiveMode = RecursiveMode::NonRecursive;

#[cfg(not(target_os = "linux"))]
const MODE: RecursiveMode = RecursiveMode::Recursive;

#[cfg(target_os = "linux")]
fn roots(wanted: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    wanted.clone()
}

/// The directories that have no other one above them.
#[cfg(not(target_os = "linux"))]
fn roots(wanted: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut roots: BTreeSet<PathBuf> = BTreeSet::new();
    for directory in wanted {
        if !directory.ancestors().skip(1).any(|above| roots.contains(above)) {
            roots.insert(directory.clone());
        }
    }
    roots
}

/// The hints in an event; `root` is the workspace's.
fn heard(event: notify::Result<notify::Event>, root: &Path) -> Vec<Heard> {
    let everything = || vec![Heard { hint: Hint::Everything, is_gone: false }];
    let Ok(event) = event else { return everything() };
    if event.need_rescan() {
        return everything();
    }
    let is_gone = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => return Vec::new(),
        // One name is told by itself; both come once more together.
        EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => return Vec::new(),
        EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => true,
        _ => false,
    };
    let paths = event.paths.iter().filter_map(|path| path.strip_prefix(root).ok());
    paths.map(|path| Heard { hint: Hint::Path(path.to_owned()), is_gone }).collect()
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, RemoveKind};

    use super::*;

    fn told(kind: EventKind, path: &str) -> Vec<Heard> {
        heard(Ok(notify::Event::new(kind).add_path(PathBuf::from(path))), Path::new("/work"))
    }

    fn at(path: &str, is_gone: bool) -> Vec<Heard> {
        vec![Heard { hint: Hint::Path(PathBuf::from(path)), is_gone }]
    }

    #[test]
    fn what_is_written_made_removed_or_renamed_is_a_hint() {
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert_eq!(told(written, "/work/a/b"), at("a/b", false));
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert_eq!(told(closed, "/work/a"), at("a", false));
        assert_eq!(told(EventKind::Create(CreateKind::File), "/work/a"), at("a", false));
        assert_eq!(told(EventKind::Remove(RemoveKind::Folder), "/work/a"), at("a", true));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
        assert_eq!(told(renamed, "/work/a"), at("a", true));
    }

    #[test]
    fn what_is_read_is_none() {
        assert_eq!(told(EventKind::Access(AccessKind::Open(AccessMode::Any)), "/work/a"), []);
        assert_eq!(told(EventKind::Access(AccessKind::Close(AccessMode::Read)), "/work/a"), []);
        assert_eq!(told(EventKind::Create(CreateKind::File), "/elsewhere"), []);
    }

    #[test]
    fn where_events_were_lost_everything_is_looked_at() {
        let lost = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        let everything = vec![Heard { hint: Hint::Everything, is_gone: false }];
        assert_eq!(heard(Ok(lost), Path::new("/work")), everything);
        let failed = notify::Error::generic("read");
        assert_eq!(heard(Err(failed), Path::new("/work")), everything);
    }

    #[test]
    fn directories_are_watched_once_and_only_while_they_are_wanted() {
        let home = tempfile::tempdir().unwrap();
        let (sender, told) = std::sync::mpsc::channel();
        let mut source =
            Source::new(home.path(), move |heard| sender.send(heard).unwrap_or_default()).unwrap();
        let set = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
        assert_eq!(source.watch(&set(&["", "absent"])).unwrap(), set(&[""]));
        assert_eq!(source.watch(&set(&["", "absent"])).unwrap(), set(&[]));
        tempfile::Builder::new().prefix("new").tempfile_in(home.path()).unwrap();
        let heard: Heard = told.recv_timeout(std::time::Duration::from_mins(1)).unwrap();
        let Hint::Path(path) = heard.hint else { panic!("{heard:?}") };
        assert!(path.to_str().unwrap().starts_with("new"));
        source.forget(Path::new(""));
        assert!(source.is_empty());
        assert_eq!(source.watch(&set(&[""])).unwrap(), set(&[""]), "it is another one now");
    }
}
