//! A run whose inputs change while it is on, and builds that end because of it.
//!
//! Files of an image that is being built or waits, and the inputs of its `prepare`, are taken up in
//! place. What cannot be (another
//! graph, an image that has ended or was never part of the run) ends the run early instead: nothing
//! more starts, what is being built goes on to its end, and whoever watches plans again. So a graph
//! never changes under a run, and at most the builds that are on are waited for.

use std::collections::BTreeSet;

use crate::context::Entry;
use crate::event::{Failure, What};
use crate::fingerprint::key;
use crate::graph::Edge;
use crate::history::Ended;
use crate::image::ImageId;
use crate::ledger::LedgerError;
use crate::plan::source_key;
use crate::run::dispatcher::ends::End;
use crate::run::dispatcher::{Dispatcher, Spawn};
use crate::run::work::{self, Failed, Outcome};
use crate::run::{Held, Renewal};
use crate::schedule::State;

/// How often an image is stopped and begun again in one run.
const RENEWALS: u32 = 10;

/// What is done next with an image whose build was stopped.
pub(super) enum Again {
    /// It is built from these files.
    Build(Vec<Entry>),
    /// Its `prepare` runs first, because its inputs are others.
    Prepare,
}

impl<'a> Dispatcher<'a, '_> {
    pub(super) fn renew(&mut self, images: Vec<Renewal>) -> Result<(), LedgerError> {
        for renewal in images {
            let id = renewal.image;
            match self.schedule.state(id) {
                State::Waiting { .. } | State::Ready => self.take_up(renewal),
                State::Running if self.building.contains_key(&id) => self.outdate(renewal),
                State::Running if self.preparing.contains_key(&id) => {
                    self.outdate_prepare(id, renewal.prepare);
                }
                State::Running
                | State::Absent
                | State::Done
                | State::Failed
                | State::Blocked { .. } => self.replaced |= renewal.is_other,
            }
        }
        self.stop_if_told()
    }

    pub(super) fn replace(&mut self, outdated: &BTreeSet<ImageId>) {
        self.replaced = true;
        for id in outdated {
            self.renewed.remove(id);
            let building = self.building.get(id);
            building.inspect(|cancel| cancel.raise());
            if building.is_some() || self.stop_prepare(*id) {
                let image = self.name(*id);
                (self.emit)(What::Outdated { image, again: false });
            }
        }
    }

    fn take_up(&mut self, renewal: Renewal) {
        let id = renewal.image;
        let Some(entries) = renewal.files else {
            self.unprepared.insert(id);
            return;
        };
        self.unprepared.remove(&id);
        self.source_keys[id.index()] = source_key(&self.run.facts, id, &entries, &self.source_keys);
        self.run.entries[id.index()] = Some(entries);
    }

    /// Stops a build if its files are others than those that it was begun with, or some of them were
    /// made from something else.
    fn outdate(&mut self, renewal: Renewal) {
        let id = renewal.image;
        let was_renewed = self.renewed.contains_key(&id);
        let Some(next) = self.next(renewal) else { return };
        let is_outdated = match &next {
            Again::Build(entries) => self.run.entries[id.index()].as_ref() != Some(entries),
            Again::Prepare => true,
        };
        if (is_outdated || was_renewed)
            && let Some(cancel) = self.building.get(&id)
        {
            cancel.raise();
            self.renewed.insert(id, next);
            if !was_renewed {
                let image = self.name(id);
                (self.emit)(What::Outdated { image, again: true });
            }
        }
    }

    /// What an image that is being built should be made from now. Where a `prepare` of this run made
    /// some of its files, nobody outside of the run can tell which they are.
    fn next(&self, renewal: Renewal) -> Option<Again> {
        let id = renewal.image;
        if renewal.prepare.is_some() && renewal.prepare != self.prepared_with(id) {
            return Some(Again::Prepare);
        }
        let entries = renewal.files.or_else(|| self.shared.disk.entries(id).ok());
        entries.map(Again::Build)
    }

    /// A build ended: well, badly, or because it was stopped.
    pub(super) fn build_ended(
        &mut self,
        id: ImageId,
        ended: Result<Outcome, Failed>,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        self.building.remove(&id);
        let renewed = self.renewed.remove(&id);
        match (ended, renewed) {
            // It was quicker than the message: what it was built from counts, and the rest comes
            // with the next plan.
            (Ok(Outcome::Done(done)), renewed) => {
                self.replaced |= renewed.is_some();
                self.built(id, *done, spawn)
            }
            (Ok(Outcome::Adopted(record)), renewed) => {
                self.replaced |= renewed.is_some();
                self.adopted(id, *record, spawn)
            }
            (Ok(Outcome::Widened(paths, entries)), renewed) => {
                self.widened(id, &paths)?;
                match renewed {
                    Some(Again::Prepare) => self.prepare_again(id, spawn),
                    _ => self.again(id, entries, spawn),
                }
            }
            (_, Some(Again::Prepare)) => self.prepare_again(id, spawn),
            (Ok(Outcome::Moved(entries)), None) => self.moved(id, entries, spawn),
            (Ok(Outcome::Moved(entries)), Some(Again::Build(_)))
            | (Err(_), Some(Again::Build(entries))) => self.begin_again(id, entries, spawn),
            (Err(Failed::Cancelled), None) => self.end(id, Ended::NotReached, End::default()),
            (Err(Failed::Image(failure)), None) => {
                if let (false, Some(key)) = (failure.transient, self.keys.get(&id)) {
                    let held = Held { key: *key, failure: failure.clone(), restless: false };
                    self.failed.insert(self.name(id), held);
                }
                self.fail(id, failure)
            }
        }
    }

    /// Builds again what was stopped, unless that was so too often: then it may be the build itself
    /// that changes what it is made from.
    fn begin_again(
        &mut self,
        id: ImageId,
        entries: Vec<Entry>,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        if self.is_renewed_too_often(id) && !self.shared.cancel.is_raised() {
            return self.fail_moving(id, &entries);
        }
        self.again(id, entries, spawn)
    }

    /// Counts that an image is begun again.
    pub(super) fn is_renewed_too_often(&mut self, id: ImageId) -> bool {
        let renewals = self.renewals.entry(id).or_default();
        *renewals += 1;
        *renewals > RENEWALS
    }

    /// It failed with this key before, and would again.
    pub(super) fn fail_again(&mut self, id: ImageId, held: Held) -> Result<(), LedgerError> {
        let failure = held.failure.clone();
        self.failed.insert(self.name(id), held);
        self.fail(id, failure)
    }

    /// Its files changed every time that it was built. The key is that of the last ones: if nobody
    /// but the build itself changes them, it is not begun again.
    pub(super) fn fail_moving(
        &mut self,
        id: ImageId,
        entries: &[Entry],
    ) -> Result<(), LedgerError> {
        let failure: Failure =
            work::passing("its files keep changing while it is built; run again");
        let key = {
            let parent = |edge: &Edge| self.parent_identity(edge);
            key(&self.run.facts.inputs(id, entries), &parent)
        };
        let held = Held { key, failure: failure.clone(), restless: true };
        self.failed.insert(self.name(id), held);
        self.fail(id, failure)
    }
}
