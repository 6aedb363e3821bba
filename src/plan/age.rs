//! Which outputs are older than their layers allow. Only the nightly asks: see [`Facts::aged_at`].
//!
//! An output is as old as its oldest step. A build that took steps from the engine's cache makes
//! nothing new of them: a daily change of a file would otherwise keep an `apt-get upgrade` of last
//! year young for ever.

use std::collections::BTreeSet;

use crate::fingerprint::reason::Reason;
use crate::graph::ImageGraph;
use crate::history::{History, Record};
use crate::image::ImageId;
use crate::layers::Layers;
use crate::plan::{Facts, Step};

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
