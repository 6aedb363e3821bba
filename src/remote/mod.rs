//! Images and what is known of them in registries: looked up, sent, tagged.
//!
//! Joins `registry`, which knows how to ask, and `published`, which knows what is written. Decides
//! nothing about images. The order of writing is what makes it safe to be killed at any time: first
//! the image under its key tag, then the note beside it, then the tags that people use, and last the
//! state of the branch. So whatever can be found is whole.
//!
//! | file | knows |
//! |---|---|
//! | `image` | one image: its note, its tags |
//! | [`branch`] | the state of a branch, and which run may move tags |

pub mod branch;
mod image;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, OnceLock};

use crate::cancel::Cancel;
use crate::git::{self, Head};
use crate::published::note::Origin;
use crate::registry::{Registry, RegistryError, Watch};
use crate::remote::branch::{Branch, Guard};

/// What of earlier builds is read and written where, as `--cache` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether registries are asked for earlier builds.
    pub reads: bool,
    /// Whether notes and states are written beside what is pushed.
    pub writes: bool,
}

/// Registries as a place for images and for what is known of them.
#[derive(Debug)]
pub struct Remote {
    registry: Registry,
    access: Access,
    tree: WorkTree,
    /// What it was built from, found out when it is first written.
    origin: OnceLock<Origin>,
    branch: Option<Branch>,
    guard: Mutex<Guard>,
    /// A directory for what is on its way, absolute.
    scratch: PathBuf,
    number: AtomicU32,
}

/// The work tree whose images are built.
#[derive(Clone, Debug)]
pub struct WorkTree {
    /// Its directory, absolute.
    pub directory: PathBuf,
    /// Its commit, if it has one.
    pub head: Option<Head>,
}

impl WorkTree {
    /// Where it comes from.
    fn source(&self) -> Option<&String> {
        self.head.as_ref()?.source.as_ref()
    }
}

/// Who watches: ends it, and is told why it takes longer.
pub(crate) struct Listener<'a> {
    pub(crate) cancel: &'a Cancel,
    pub(crate) say: &'a mut dyn FnMut(String),
}

impl Listener<'_> {
    fn watch(&mut self) -> Watch<'_> {
        Watch { cancel: self.cancel, say: &mut *self.say }
    }
}

impl Remote {
    /// Registries; `branch` is where the state is, if anything says so. Asks nothing yet.
    pub fn new(
        registry: Registry,
        access: Access,
        (tree, branch): (WorkTree, Option<Branch>),
        scratch: PathBuf,
    ) -> Self {
        let (guard, origin, number) = Default::default();
        Self { registry, access, tree, origin, branch, guard, scratch, number }
    }

    /// What images are built from. Whether files differ from the commit takes git some time where
    /// there are many: it is asked once, and not if nothing is written.
    fn origin(&self) -> &Origin {
        self.origin.get_or_init(|| {
            let WorkTree { directory, head } = &self.tree;
            let dirty = || if git::is_dirty(directory) { "-dirty" } else { "" };
            Origin {
                revision: head.as_ref().map(|head| format!("{}{}", head.commit, dirty())),
                source: self.tree.source().cloned(),
                base: None,
            }
        })
    }

    /// What is read and written.
    pub fn access(&self) -> Access {
        self.access
    }
}

/// What `--cache` takes: `local:rw,registry:r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caches {
    /// Registries.
    pub registry: Access,
}

impl FromStr for Caches {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut registry = Access { reads: false, writes: false };
        for part in text.split(',') {
            let (place, how) = part.split_once(':').unwrap_or((part, "rw"));
            let access = match how {
                "r" => Access { reads: true, writes: false },
                "w" => Access { reads: false, writes: true },
                "rw" => Access { reads: true, writes: true },
                _ => return Err(format!("`{part}` is not `{place}:` and r, w or rw")),
            };
            match place {
                "registry" => registry = access,
                "local" if how == "rw" => (),
                "local" => {
                    let text = "what is known locally is always read and written: local:rw; \
                                `--force` builds in spite of it";
                    return Err(text.to_owned());
                }
                _ => return Err(format!("`{place}` is neither local nor registry")),
            }
        }
        Ok(Self { registry })
    }
}

/// Whether what a registry answers only means that it cannot be read there: many say "denied" of a
/// repository that does not exist yet.
pub fn is_denied(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Auth { .. })
}
