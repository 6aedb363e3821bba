//! Where there is an output of a key already: in the engine's store, or in a registry.

use std::sync::Arc;

use crate::digest::Digest;
use crate::history::{History, Presence, Record};
use crate::image::ImageId;
use crate::plan::{Facts, Verdict, key_reference, pushed_references};
use crate::published;

impl Facts<'_> {
    /// What is there already of a key, if anything is.
    pub(super) fn found(&self, history: &History, id: ImageId, key: &Digest) -> Option<Verdict> {
        let here = self.in_store(history, id, key);
        let there = self.in_registry(history, id, key);
        let pushes = self.published.is_some_and(published::Published::pushes);
        // Who pushes takes what is in the registry rather than to push it once more, or to build on
        // what is not there: another machine may have made something else of the same key.
        let is_there = |here: &Arc<Record>, there: &Arc<Record>| {
            self.unpushed(history, id, Some(here)).is_none()
                && self.identity(id, here) == self.identity(id, there)
        };
        match (&here, &there) {
            (
                Some(Verdict::Fresh(a) | Verdict::Restore(a)),
                Some(Verdict::Fresh(b) | Verdict::Restore(b)),
            ) if pushes && !is_there(a, b) => there,
            _ => here.or(there),
        }
    }

    /// Whether the output of a record can stand for its image in this run: it is of the engine that
    /// builds, or in a registry, and those count.
    pub fn counts(&self, record: &Record) -> bool {
        record.engine == self.engine
            || record.engine == published::CLASS && self.published.is_some()
    }

    /// Where the output of a record that counts is.
    pub fn presence(&self, id: ImageId, record: &Record) -> Presence {
        if record.engine != published::CLASS {
            return (self.present)(id, record);
        }
        let spec = &self.graph.image(id).spec;
        // Its image may have moved to another repository.
        let is_in = |reference: &String| {
            let rest = reference.strip_prefix(&spec.repository);
            rest.is_some_and(|rest| rest.starts_with(':'))
        };
        if !record.output.references.iter().any(is_in) {
            return Presence::Missing;
        }
        let references = pushed_references(spec, &record.build_key);
        let there = self.published.map(|published| published.presence(record, &references));
        there.unwrap_or(Presence::Missing)
    }

    /// What the engine's store has of a key.
    fn in_store(&self, history: &History, id: ImageId, key: &Digest) -> Option<Verdict> {
        let image = self.graph.image(id);
        let last = history.records.get(&image.spec.name);
        let last = last.filter(|it| it.engine == self.engine && it.platform == image.platform);
        if let Some(record) = last.filter(|record| record.build_key == *key) {
            return match (self.present)(id, record) {
                Presence::Present => Some(Verdict::Fresh(Arc::clone(record))),
                Presence::Untagged { .. } => Some(Verdict::Restore(Arc::clone(record))),
                Presence::Missing => None,
            };
        }
        let earlier = history.by_key.get(key).filter(|record| record.engine == self.engine)?;
        let is_there = (self.present)(id, earlier) != Presence::Missing;
        is_there.then(|| Verdict::Restore(Arc::clone(earlier)))
    }

    /// What its registry has of a key, if that is good enough.
    fn in_registry(&self, history: &History, id: ImageId, key: &Digest) -> Option<Verdict> {
        let published = self.published?;
        let image = self.graph.image(id);
        let record =
            published.find(&image.spec.name, &key_reference(&image.spec.repository, key))?;
        if record.build_key != *key || record.platform != image.platform {
            return None;
        }
        // Where nothing is pushed, people run what their store has under the tags: an old image
        // there must not pass for this one.
        let last = history.records.get(&image.spec.name);
        let is_old = |it: &&Arc<Record>| {
            it.engine == self.engine && (self.present)(id, it) != Presence::Missing
        };
        if !published.pushes() && last.as_ref().is_some_and(is_old) {
            return None;
        }
        match self.presence(id, &record) {
            Presence::Present => Some(Verdict::Fresh(record)),
            Presence::Untagged { .. } => Some(Verdict::Restore(record)),
            Presence::Missing => None,
        }
    }
}
