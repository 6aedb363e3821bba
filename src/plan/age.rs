//! Which outputs are older than their layers allow. Only the nightly asks: see [`Facts::aged_at`].
//!
//! An output is as old as its oldest step. A build that took steps from the engine's cache makes
//! nothing new of them: a daily change of a file would otherwise keep an `apt-get upgrade` of last
//! year young for ever.

use std::collections::BTreeSet;

use crate::digest::Digest;
use crate::fingerprint::reason::Reason;
use crate::fingerprint::{Inputs, Parent};
use crate::graph::{Edge, ImageGraph};
use crate::history::{History, Record};
use crate::image::ImageId;
use crate::layers::Layers;
use crate::plan::{Facts, Step, Verdict, by_key};

/// The images whose recorded outputs are too old at a time.
pub fn too_old_images(
    (graph, layers): (&ImageGraph, &Layers),
    history: &History,
    now: u64,
) -> BTreeSet<ImageId> {
    let is_old = |id: ImageId| {
        let record = history.records.get(graph.name(id))?;
        too_old((graph, layers), history, (id, record), now)
    };
    graph.iter().map(|(id, _)| id).filter(|id| is_old(*id).is_some()).collect()
}

/// What a build key calls for. What stands by its key is built again where it is too old.
pub fn decide<'a>(
    facts: &Facts<'_>,
    history: &History,
    (id, inputs): (ImageId, &Inputs<'a>),
    key: Digest,
    parent: &dyn Fn(&Edge) -> Parent<'a>,
) -> Verdict {
    match by_key(facts, history, (id, inputs), key, parent) {
        Verdict::Fresh(record) => match facts.too_old(history, id, &record) {
            Some(age) => Verdict::Rebuild(vec![age]),
            None => Verdict::Fresh(record),
        },
        Verdict::Restore(record) => match facts.too_old(history, id, &record) {
            Some(age) => Verdict::Rebuild(vec![age]),
            None => Verdict::Restore(record),
        },
        Verdict::Rebuild(mut reasons) => {
            let record = history.records.get(&inputs.image.spec.name);
            let record = record.filter(|record| record.engine == facts.engine);
            reasons.splice(0..0, record.and_then(|record| facts.too_old(history, id, record)));
            Verdict::Rebuild(reasons)
        }
    }
}

fn too_old(
    (graph, layers): (&ImageGraph, &Layers),
    history: &History,
    (id, record): (ImageId, &Record),
    now: u64,
) -> Option<Reason> {
    let max_age = layers.layers[graph.image(id).spec.layer?].max_age?;
    let age = now.saturating_sub(history.oldest_step(record));
    (age > max_age).then_some(Reason::TooOld { age, max_age })
}

impl Facts<'_> {
    /// That an output is older than its layer allows, if it is, and if that matters.
    pub fn too_old(&self, history: &History, id: ImageId, record: &Record) -> Option<Reason> {
        too_old((self.graph, self.layers), history, (id, record), self.aged_at?)
    }

    /// Whether what is recorded of an image is older than its layer allows, if that matters.
    pub fn is_too_old(&self, history: &History, id: ImageId) -> bool {
        let record = history.records.get(self.graph.name(id));
        record.is_some_and(|record| self.too_old(history, id, record).is_some())
    }

    /// A step with its age among the reasons: that of an image that has to be prepared first.
    pub(super) fn aged(&self, history: &History, mut step: Step) -> Step {
        let record = history.records.get(self.graph.name(step.image));
        if let Some(reason) = record.and_then(|record| self.too_old(history, step.image, record)) {
            step.reasons.insert(0, reason);
        }
        step
    }
}
