//! `--atomic`: the tags of all images of a run move in the end, or none does.
//!
//! A registry moves one tag at a time. What can be had is this: nothing moves before every image is
//! in its registry; then the tags move one after the other, parents first, and where one cannot be
//! moved those before it go back to where they were.

use crate::digest::OciDigest;
use crate::engine::{Cancel, EngineError};
use crate::image::{ImageId, ImageName};
use crate::registry::RegistryError;
use crate::remote::{Listener, Remote, Turn};

/// Tags that wait.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: ImageId,
    pub(crate) image: ImageName,
    pub(crate) repository: String,
    /// What they shall point at.
    pub(crate) manifest: OciDigest,
    pub(crate) tags: Vec<String>,
}

/// A tag, and what it pointed at.
type Before = (String, Option<OciDigest>);
/// Tags that have been moved, or may have been.
type Moved<'a> = (&'a Held, Vec<Before>);

/// What became of all tags.
#[derive(Debug)]
pub(crate) enum Together {
    /// They have moved.
    Moved,
    /// They stay: a run of a later commit, or one that began later, moves them.
    Stay,
    /// One could not be moved, and the others are where they were, but for these images.
    Failed(EngineError, Vec<ImageName>),
}

/// Moves the tags of all images, or none.
pub(crate) fn move_all(
    remote: &Remote,
    held: &[Held],
    (cancel, say): (&Cancel, &mut dyn FnMut(String)),
) -> Together {
    let mut moved: Vec<Moved<'_>> = Vec::new();
    for it in held {
        let mut listener = Listener { cancel, say };
        match remote.turn(&it.image, &mut listener) {
            Ok(Turn::Ours) => (),
            Ok(_) if moved.is_empty() => return Together::Stay,
            Ok(_) => return back(remote, moved, say, stopped()),
            Err(error) => return back(remote, moved, say, error.into()),
        }
        let before = match before(remote, it, (cancel, say)) {
            Ok(before) => before,
            Err(error) => return back(remote, moved, say, error.into()),
        };
        moved.push((it, before));
        let listener = Listener { cancel, say };
        if let Err(error) = remote.point((&it.repository, &it.manifest), &it.tags, listener) {
            return back(remote, moved, say, error.into());
        }
    }
    Together::Moved
}

fn stopped() -> EngineError {
    EngineError::Unavailable("another run began to move tags meanwhile".to_owned())
}

/// Where the tags of an image point now.
fn before(
    remote: &Remote,
    held: &Held,
    (cancel, say): (&Cancel, &mut dyn FnMut(String)),
) -> Result<Vec<Before>, RegistryError> {
    let mut before = Vec::new();
    for tag in &held.tags {
        let digest = match remote.digest_of(tag, Listener { cancel, say }) {
            Ok(digest) => Some(digest),
            Err(error) if error.is_missing() => None,
            Err(error) => return Err(error),
        };
        before.push((tag.clone(), digest));
    }
    Ok(before)
}

/// Points tags at what they pointed at before, the last one first.
fn back(
    remote: &Remote,
    moved: Vec<Moved<'_>>,
    say: &mut dyn FnMut(String),
    error: EngineError,
) -> Together {
    // Whoever interrupts wants them to be where they were.
    let cancel = &Cancel::default();
    let mut astray = Vec::new();
    for (held, tags) in moved.into_iter().rev() {
        let mut is_back = true;
        for (tag, digest) in tags {
            is_back &= match digest {
                Some(digest) => {
                    let (listener, tag) = (Listener { cancel, say }, std::slice::from_ref(&tag));
                    remote.point((&held.repository, &digest), tag, listener).is_ok()
                }
                // A tag that was not there cannot be taken away again everywhere.
                None => remote
                    .digest_of(&tag, Listener { cancel, say })
                    .is_err_and(|error| error.is_missing()),
            };
        }
        if !is_back {
            astray.push(held.image.clone());
        }
    }
    Together::Failed(error, astray)
}
