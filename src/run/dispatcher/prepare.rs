//! Images that are prepared before they are decided: begun, stopped and begun again because the
//! inputs of the command changed, and ended.

use crate::cancel::Cancel;
use crate::context::Entry;
use crate::digest::Digest;
use crate::event::{Failure, What};
use crate::fingerprint::reason::{PrepareCause, Reason};
use crate::history::{Ended, Prepared};
use crate::image::ImageId;
use crate::ledger::{self, LedgerError};
use crate::plan::Step;
use crate::run::HeldPrepare;
use crate::run::dispatcher::ends::End;
use crate::run::dispatcher::{Dispatcher, Spawn};
use crate::run::job::Log;
use crate::run::work::{self, Failed, Shared, Unprepared};

/// A `prepare` that is on.
pub(super) struct Preparing {
    cancel: Cancel,
    /// What it was begun with, once that is known.
    key: Option<Digest>,
    /// Whether it was stopped because that is outdated.
    is_outdated: bool,
}

/// Whether a step says that the `prepare` of its image has to run.
pub(super) fn is_due(step: &Step) -> bool {
    step.reasons.iter().any(|reason| matches!(reason, Reason::PrepareNeeded { .. }))
}

impl<'a> Dispatcher<'a, '_> {
    pub(super) fn prepare(&mut self, id: ImageId, spawn: Spawn<'_, 'a>) -> Result<(), LedgerError> {
        if !self.logged.contains(&id) {
            let step = self.steps[&id];
            // One that waited may have become due only while it did.
            let news = (!is_due(step))
                .then_some(Reason::PrepareNeeded { cause: PrepareCause::InputsChanged });
            self.started(id, news.into_iter().chain(step.reasons.iter().cloned()).collect());
        }
        let (name, log) = (self.name(id), Log::of(&self.run, id));
        self.run.ledger.append([ledger::Entry::Intent { image: name.clone() }])?;
        let (shared, sender) = (self.shared, self.sender.clone());
        let cancel = shared.cancel.child();
        let preparing = Preparing { cancel: cancel.clone(), key: None, is_outdated: false };
        self.preparing.insert(id, preparing);
        self.workers += 1;
        spawn(Box::new(move || {
            work::prepare(Shared { cancel: &cancel, ..shared }, id, &name, &log, &sender);
        }));
        Ok(())
    }

    pub(super) fn prepare_begun(&mut self, id: ImageId, key: Digest) {
        if let Some(preparing) = self.preparing.get_mut(&id) {
            preparing.key = Some(key);
        }
    }

    /// Stops a `prepare` if its inputs are others than those that it was begun with. As long as those
    /// are not known, it looks itself whether they move.
    pub(super) fn outdate_prepare(&mut self, id: ImageId, key: Option<Digest>) {
        let Some(preparing) = self.preparing.get_mut(&id) else { return };
        if preparing.is_outdated || preparing.key.is_none() || preparing.key == key {
            return;
        }
        preparing.is_outdated = true;
        preparing.cancel.raise();
        let image = self.name(id);
        (self.emit)(What::Outdated { image, again: true });
    }

    /// Stops a `prepare` for good. Says whether it was on.
    pub(super) fn stop_prepare(&mut self, id: ImageId) -> bool {
        let Some(preparing) = self.preparing.get_mut(&id) else { return false };
        preparing.is_outdated = false;
        preparing.cancel.raise();
        true
    }

    /// A `prepare` ended: well, badly, or because it was stopped.
    pub(super) fn prepare_ended(
        &mut self,
        id: ImageId,
        ended: Result<(Prepared, Vec<Entry>), Unprepared>,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        let Some(preparing) = self.preparing.remove(&id) else { return Ok(()) };
        let entries = match ended {
            Ok((prepared, entries)) => {
                self.has_prepared = true;
                self.run.ledger.append([ledger::Entry::Prepared(prepared)])?;
                Ok(entries)
            }
            Err(failed) => Err(failed),
        };
        match entries {
            _ if preparing.is_outdated => self.prepare_again(id, spawn),
            // It was quicker than what stopped it.
            Ok(_) if preparing.cancel.is_raised() => {
                self.end(id, Ended::NotReached, End::default())
            }
            Ok(entries) => self.again(id, entries, spawn),
            Err(Unprepared::Moved(failure)) => self.prepare_moved(id, failure, spawn),
            Err(Unprepared::Failed(Failed::Cancelled)) => {
                self.end(id, Ended::NotReached, End::default())
            }
            Err(Unprepared::Failed(Failed::Image(failure))) => {
                self.fail_prepare(id, preparing.key, false, failure)
            }
        }
    }

    /// Prepares again what was stopped, unless that was so too often.
    pub(super) fn prepare_again(
        &mut self,
        id: ImageId,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        if self.shared.cancel.is_raised() {
            return self.end(id, Ended::NotReached, End::default());
        }
        if self.is_renewed_too_often(id) {
            let failure =
                work::passing("the inputs of its prepare command keep changing; run again");
            return self.fail_prepare(id, self.prepare_key(id), true, failure);
        }
        self.prepare(id, spawn)
    }

    fn prepare_moved(
        &mut self,
        id: ImageId,
        failure: Failure,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        if self.shared.cancel.is_raised() {
            return self.end(id, Ended::NotReached, End::default());
        }
        if self.moves_too_often(id) {
            return self.fail_prepare(id, self.prepare_key(id), true, failure);
        }
        let image = Some(self.name(id));
        let message = "the inputs of its prepare command changed while it ran; running it again";
        (self.emit)(What::Warning { image, message: message.to_owned() });
        self.prepare(id, spawn)
    }

    /// Where it was given up, the key is that of its inputs as they are now: if nobody but the command
    /// itself changes them, it is not run again.
    fn fail_prepare(
        &mut self,
        id: ImageId,
        key: Option<Digest>,
        restless: bool,
        failure: Failure,
    ) -> Result<(), LedgerError> {
        if let Some(key) = key {
            self.failed_prepares.insert(self.name(id), HeldPrepare { key, restless });
        }
        self.fail(id, failure)
    }

    fn prepare_key(&self, id: ImageId) -> Option<Digest> {
        self.shared.disk.prepare_key(id)
    }

    /// What the outputs of an image's `prepare` were last made from.
    pub(super) fn prepared_with(&self, id: ImageId) -> Option<Digest> {
        let prepared = &self.run.ledger.history().prepared;
        prepared.get(self.run.facts.graph.name(id)).map(|prepared| prepared.key)
    }
}
