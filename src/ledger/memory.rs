//! What a ledger remembers: the history that its entries add up to, what of it a snapshot keeps,
//! and what it forgets.
//!
//! Knows nothing of files. The history of a memory is at every moment what reading the same entries
//! again would give; only [`Memory::forget`] is allowed to let go of something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::history::{History, NoRun, Record};
use crate::image::ImageName;
use crate::ledger::entry::Entry;
use crate::ledger::frame;

/// How many outputs of one image a snapshot keeps, the last included: going back and forth between
/// a few branches is restored, not built.
pub(super) const OUTPUTS_PER_IMAGE: usize = 8;

/// How many outputs that are not the last of their image a snapshot keeps at least; where there are
/// more images, as many as images. Without a common bound, an active workspace of 10,000 images
/// would reach 80,000 records, and every plan of the whole would read them.
pub(super) const OLDER_OUTPUTS: usize = 1_024;

/// How many entries a snapshot puts into a frame: enough for BLAKE3 to use wide registers, which it
/// can from a few kilobytes on, and few enough for all cores to share the decoding.
const PER_FRAME: usize = 64;

/// A history, and the order in which its records were written.
#[derive(Debug, Default)]
pub(super) struct Memory {
    history: History,
    /// Every record that the history may still hold, oldest first.
    written: Vec<Arc<Record>>,
}

impl Memory {
    /// The history.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// The history alone.
    pub(super) fn into_history(self) -> History {
        self.history
    }

    /// Fails where these entries cannot have happened, in this order, after all before them.
    pub(super) fn check(&self, entries: &[Entry]) -> Result<(), NoRun> {
        Entry::check(entries, &self.history)
    }

    /// Repeats entries, all of them or, where they cannot have happened, none.
    pub(super) fn apply(&mut self, entries: Vec<Entry>) -> Result<(), NoRun> {
        self.check(&entries)?;
        for entry in entries {
            if let Entry::Built(record) | Entry::Recorded(record) = &entry {
                self.written.push(Arc::clone(record));
            }
            entry.apply(&mut self.history)?;
        }
        Ok(())
    }

    /// Forgets outputs beyond the bounds, oldest first, and layers that no remaining record has.
    /// The last record of an image, its duration, its `prepare`, its push and its failures are never
    /// forgotten.
    pub(super) fn forget(&mut self) {
        let older_limit = self.history.records.len().max(OLDER_OUTPUTS);
        let mut older = 0;
        let mut of_image: BTreeMap<ImageName, usize> = BTreeMap::new();
        let mut kept = Vec::new();
        for record in self.written.drain(..).rev() {
            let is_last = is_at(&self.history.records, &record.image, &record);
            let is_newest = is_at(&self.history.by_key, &record.build_key, &record);
            if !is_last && !is_newest {
                continue;
            }
            let outputs = of_image.entry(record.image.clone()).or_default();
            if is_last || (*outputs < OUTPUTS_PER_IMAGE && older < older_limit) {
                *outputs += 1;
                older += usize::from(!is_last);
                kept.push(record);
            }
        }
        kept.reverse();
        self.written = kept;
        self.history.by_key =
            self.written.iter().map(|record| (record.build_key, Arc::clone(record))).collect();
        self.forget_layers();
    }

    /// The payloads of frames that add up to this memory, after [`Memory::forget`].
    pub(super) fn snapshot(&self) -> impl Iterator<Item = Vec<u8>> {
        let History {
            prepared, pushed, widened, layers, durations, aged, failing, last_run, ..
        } = &self.history;
        let records = self.written.iter().cloned().map(Entry::Recorded);
        let layers = layers.iter().map(|(diff_id, digest)| (diff_id.clone(), *digest));
        let durations = durations
            .iter()
            .map(|(image, millis)| Entry::Duration { image: image.clone(), millis: *millis });
        let widened = widened.iter().map(|(image, dockerfile)| Entry::Widened {
            image: image.clone(),
            dockerfile: *dockerfile,
        });
        let aged =
            aged.iter().map(|(image, since)| Entry::Aged { image: image.clone(), since: *since });
        let entries = records
            .chain(durations)
            .chain(in_parts(layers).map(Entry::Layers))
            .chain(prepared.values().cloned().map(Entry::Prepared))
            .chain(pushed.values().cloned().map(Entry::Pushed))
            .chain(widened)
            .chain(aged)
            .chain(failing.values().cloned().map(Entry::Failing))
            .chain(last_run.clone().map(Entry::LastRun));
        in_parts(entries).map(frame::payload)
    }

    fn forget_layers(&mut self) {
        let used: BTreeSet<_> =
            self.written.iter().flat_map(|record| &record.output.diff_ids).collect();
        self.history.layers.retain(|diff_id, _| used.contains(diff_id));
    }
}

/// Whether it is this very record that a map has under a key, not one that is equal to it.
fn is_at<K: Ord>(records: &BTreeMap<K, Arc<Record>>, key: &K, record: &Arc<Record>) -> bool {
    records.get(key).is_some_and(|there| Arc::ptr_eq(there, record))
}

fn in_parts<T>(mut things: impl Iterator<Item = T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let part: Vec<T> = things.by_ref().take(PER_FRAME).collect();
        (!part.is_empty()).then_some(part)
    })
}
