//! Which run may move the tags of an image.
//!
//! Who pushes writes its commit and its images into the state first. Whoever finds a later commit there
//! leaves the tags alone, and of two runs that push the same image the one that began later moves them.
//! A claim can be written over by who wrote at the same moment: it is looked for before each tag, and
//! made again where it is gone though nobody has settled the image since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use crate::clock::now;
use crate::digest::OciDigest;
use crate::history::Record;
use crate::image::ImageName;
use crate::published::state::{Open, State, last_turn};
use crate::registry::RegistryError;
use crate::remote::branch::{Found, News};
use crate::remote::{Listener, Remote, is_denied};

/// What is known of who else is at work.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// The state that was seen last.
    pub(super) seen: Option<OciDigest>,
    /// The commit that is ahead of ours.
    pub(super) ahead: Option<String>,
    /// The list of those who move tags.
    pub(super) open: Open,
    /// Our number in it.
    turn: Option<u64>,
    /// The images that we move, with what the state said of them when we began.
    before: BTreeMap<ImageName, Option<Arc<Record>>>,
}

/// Whose turn it is to move the tags of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Ours.
    Ours,
    /// That of a run of this commit, which is later than ours.
    Later(String),
    /// That of a run that began after ours.
    Others,
}

impl Guard {
    /// Whose turn it is; `None` where nobody has one as late as ours, though we took it.
    fn turn_of(&self, image: &ImageName) -> Option<Turn> {
        if let Some(ahead) = &self.ahead {
            return Some(Turn::Later(ahead.clone()));
        }
        let Some(turn) = self.turn else { return Some(Turn::Ours) };
        match last_turn(&self.open, image) {
            Some(last) if last == turn => Some(Turn::Ours),
            Some(last) if last > turn => Some(Turn::Others),
            _ => None,
        }
    }

    /// Whether others are in a list, who may be at work.
    pub(super) fn has_others(&self, open: &Open) -> bool {
        open.iter().any(|(_, turn)| Some(*turn) != self.turn)
    }

    /// Whether a state says of an image what it said when we began.
    fn is_unsettled(&self, image: &ImageName, state: &State) -> bool {
        self.before.get(image).is_some_and(|before| before.as_ref() == state.get(image))
    }

    /// Whether what we have done to an image is the last that was done to it.
    fn is_ours(&self, image: &ImageName, newest: &Found) -> bool {
        match last_turn(&newest.open, image) {
            Some(last) if Some(last) >= self.turn => Some(last) == self.turn,
            _ => self.is_unsettled(image, &newest.state),
        }
    }

    /// The list with a turn of ours for images.
    fn enter(&mut self, images: &BTreeSet<ImageName>, newest: &Found) -> Open {
        let has = |turn: u64| images.iter().all(|it| newest.open.contains(&(it.clone(), turn)));
        if self.turn.is_some_and(has) {
            return newest.open.clone();
        }
        let last = newest.open.iter().map(|(_, turn)| *turn).max();
        // Not one that was given to somebody before, even where he is not in the list any more.
        let turn = last.map_or(0, |last| last + 1).max(now());
        let others = newest.open.iter().filter(|(_, of)| Some(*of) != self.turn).cloned();
        let open = others.chain(images.iter().map(|image| (image.clone(), turn))).collect();
        self.turn = Some(turn);
        open
    }
}

impl Remote {
    /// Says for which commit tags will be moved, unless a later one has been named, and of which
    /// images.
    pub(crate) fn claim(
        &self,
        images: &BTreeSet<ImageName>,
        mut listener: Listener<'_>,
    ) -> Result<(), RegistryError> {
        self.look(&mut listener)?;
        if self.guard().ahead.is_some() {
            return Ok(());
        }
        let mut enter = |newest: &Found| {
            let mut guard = self.guard();
            let before = |image: &ImageName| (image.clone(), newest.state.get(image).cloned());
            guard.before = images.iter().map(before).collect();
            (newest.state.clone(), guard.enter(images, newest))
        };
        let entered = self.change(&mut enter, &mut listener);
        if entered.is_err() {
            self.guard().turn = None;
        }
        entered
    }

    /// Who moves the tags of an image now.
    pub(crate) fn turn(
        &self,
        image: &ImageName,
        listener: &mut Listener<'_>,
    ) -> Result<Turn, RegistryError> {
        match self.look(listener) {
            // Nothing could be claimed there, and that was said.
            Err(error) if is_denied(&error) && self.guard().turn.is_none() => {
                return Ok(Turn::Ours);
            }
            looked => looked?,
        }
        if let Some(turn) = self.guard().turn_of(image) {
            return Ok(turn);
        }
        // Workers would write over each other's.
        let _alone = self.entering.lock().unwrap_or_else(PoisonError::into_inner);
        self.look(listener)?;
        if let Some(turn) = self.guard().turn_of(image) {
            return Ok(turn);
        }
        let mut enter = |newest: &Found| {
            let mut guard = self.guard();
            let claimed = guard.before.keys();
            let images = claimed.filter(|it| guard.is_unsettled(it, &newest.state)).cloned();
            let images = images.collect();
            (newest.state.clone(), guard.enter(&images, newest))
        };
        self.change(&mut enter, listener)?;
        Ok(self.guard().turn_of(image).unwrap_or(Turn::Others))
    }

    /// Writes the state of the branch: the newest one in the registry with what is new. Records of
    /// images that are not in `known` and older than `oldest`, in milliseconds since the Unix epoch,
    /// are dropped.
    pub(crate) fn write_state(
        &self,
        news: &News<'_>,
        (known, oldest): (&dyn Fn(&ImageName) -> bool, u64),
        mut listener: Listener<'_>,
    ) -> Result<(), RegistryError> {
        let Some(turn) = self.guard().turn else { return Ok(()) };
        let mut settle = |newest: &Found| {
            let guard = self.guard();
            // Whose turn came later will say itself what is there.
            let is_ours =
                |image: &ImageName| !news.unsettled.contains(image) && guard.is_ours(image, newest);
            let mut state = newest.state.clone();
            let new = news.records.iter().filter(|(image, _)| is_ours(image));
            state.extend(new.map(|(image, record)| (image.clone(), Arc::clone(record))));
            state.retain(|image, record| known(image) || record.finished >= oldest);
            // Where our tags are the last, those who began earlier are dead, or leave them alone.
            let is_closed = |(image, of): &(ImageName, u64)| {
                let is_settled = is_ours(image) && news.records.contains_key(image);
                is_settled || *of == turn && !news.unsettled.contains(image)
            };
            let mut open: Open = newest.open.iter().filter(|it| !is_closed(it)).cloned().collect();
            let astray = news.unsettled.iter().filter(|image| guard.is_ours(image, newest));
            open.extend(astray.map(|image| (image.clone(), turn)));
            (state, open)
        };
        self.change(&mut settle, &mut listener)
    }

    pub(super) fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
