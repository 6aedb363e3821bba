//! What only `rebuild --full` asks of a run: builds that make an image young again, and images that are
//! left alone because they keep failing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::digest::Digest;
use crate::engine::CacheUse;
use crate::event::{Failure, What};
use crate::fingerprint::reason::Reason;
use crate::graph::External;
use crate::history::{Ended, Failing, Presence, Record};
use crate::image::{ImageId, ImageName};
use crate::ledger::{Entry, LedgerError};
use crate::run::dispatcher::Dispatcher;
use crate::run::dispatcher::ends::End;
use crate::run::job::Job;

impl Dispatcher<'_, '_> {
    /// What is built of an image, for these reasons. One that is too old takes nothing from the
    /// engine's cache of steps, and nothing from the store that a registry may have in a newer form.
    pub(super) fn job(&mut self, id: ImageId, key: Digest, reasons: &[Reason]) -> Job {
        let mut job = Job::new(&self.run, &self.current, id, key);
        if reasons.iter().any(|reason| matches!(reason, Reason::TooOld { .. })) {
            job.request.cache = CacheUse::Bypass;
            job.request.cache_from = Vec::new();
            // What is pinned cannot have moved: its registry need not even be there.
            let pins = self.run.facts.pins;
            let may_move = |it: &External| {
                it.normalised.digest.is_none()
                    && pins.digest(&it.normalised, &it.platform).is_none()
            };
            job.request.pull |= self.run.facts.graph.image(id).externals.iter().any(may_move);
        }
        job.adopts &= job.request.cache == CacheUse::Use;
        match job.request.cache {
            CacheUse::Bypass => self.uncached.insert(id),
            CacheUse::Use => self.uncached.remove(&id),
        };
        job
    }

    /// Since when the image of a new record has steps that were not run again, if that is not the time
    /// of the record, or not any more.
    pub(super) fn aged(&self, id: ImageId, record: &Record, cached_steps: u32) -> Option<Entry> {
        let history = self.run.ledger.history();
        let is_whole = cached_steps == 0 || self.uncached.contains(&id);
        let before = history.records.get(&record.image).filter(|_| !is_whole);
        let since = before.map_or(record.finished, |before| history.oldest_step(before));
        let is_news = since != record.finished || history.aged.contains_key(&record.image);
        is_news.then(|| Entry::Aged { image: record.image.clone(), since })
    }

    /// Whether an image failed too often with this key.
    pub(super) fn is_quarantined(&self, id: ImageId, key: Digest) -> bool {
        let failing = self.run.quarantine.get(self.run.facts.graph.name(id));
        failing.is_some_and(|failing| failing.key == key) && !self.run.forced.contains(&id)
    }

    /// Leaves an image alone. What stands on it is built on its last good output; where there is none
    /// it is blocked.
    pub(super) fn quarantine(&mut self, id: ImageId) -> Result<(), LedgerError> {
        let image = self.name(id);
        let Some(failing) = self.run.quarantine.get(&image) else { return Ok(()) };
        self.current[id.index()] = self.last_good(id);
        let stands = self.current[id.index()].as_ref().map(|record| record.finished);
        let dependents = stands.map_or_else(Vec::new, |_| self.dependents(id));
        (self.emit)(What::Quarantined {
            image,
            runs: failing.runs,
            since: failing.since,
            stands,
            dependents,
        });
        let failure = Some(failure(failing, &self.run.facts.graph.image(id).spec.dockerfile));
        self.end(id, Ended::Quarantined, End { failure, ..End::default() })
    }

    /// The record of an image whose output is still there.
    fn last_good(&self, id: ImageId) -> Option<Arc<Record>> {
        let facts = &self.run.facts;
        let image = facts.graph.image(id);
        let record = self.run.ledger.history().records.get(&image.spec.name)?;
        let is_ours = facts.counts(record) && record.platform == image.platform;
        let is_good = is_ours && facts.presence(id, record) != Presence::Missing;
        is_good.then(|| record.clone())
    }

    /// The images of the run that stand on an image, parents first.
    fn dependents(&self, id: ImageId) -> Vec<ImageName> {
        let below = self.run.facts.graph.with_descendants(&BTreeSet::from([id]));
        let steps = self.run.plan.steps.iter().map(|step| step.image);
        let below = steps.filter(|step| *step != id && below.contains(step));
        below.map(|id| self.name(id)).collect()
    }
}

/// What is told of an image that is left alone.
fn failure(failing: &Failing, dockerfile: &str) -> Failure {
    Failure {
        message: format!("it failed in {} full runs with the same inputs", failing.runs),
        path: failing.line.map(|_| dockerfile.to_owned()),
        line: failing.line,
        tail: Vec::new(),
        transient: false,
        log: failing.log.clone(),
    }
}
