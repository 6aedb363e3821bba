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
//! | [`branch`] | the state of a branch |
//! | `claim` | for which commit a state was written |
//! | `turn` | which run may move tags |

pub mod branch;
mod claim;
mod image;
mod turn;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::AtomicU32;
use std::sync::{Mutex, OnceLock};

use crate::cancel::Cancel;
use crate::git;
use crate::registry::{Registry, RegistryError, Watch};
use crate::remote::branch::Branch;
use crate::remote::turn::Guard;
pub(crate) use crate::remote::turn::Turn;

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
    /// Where `origin` is.
    source: Option<String>,
    /// The commit, as far as it says what is built.
    revision: OnceLock<Option<String>>,
    branch: Option<Branch>,
    guard: Mutex<Guard>,
    /// Held by the worker that claims again.
    entering: Mutex<()>,
    /// A directory for what is on its way, absolute.
    scratch: PathBuf,
    number: AtomicU32,
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
        (source, branch): (Option<String>, Option<Branch>),
        scratch: PathBuf,
    ) -> Self {
        let (guard, entering, revision, number) = Default::default();
        Self { registry, access, source, revision, branch, guard, entering, scratch, number }
    }

    /// The commit that images are built from. Whether files differ from it takes git some time where
    /// there are many: it is asked once, and not if nothing is written.
    fn revision(&self) -> Option<String> {
        let revision = || {
            let Branch { directory, head, .. } = self.branch.as_ref()?;
            let dirty = if git::is_dirty(directory) { "-dirty" } else { "" };
            Some(format!("{}{dirty}", head.as_ref()?.commit))
        };
        self.revision.get_or_init(revision).clone()
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
