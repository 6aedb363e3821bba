//! What registries hold of earlier builds, as a value.
//!
//! A record of the class [`CLASS`] is of an image in its registry: `output.manifest` is what the
//! registry calls it, `output.references` what is known to point at it there, and `output.id` what
//! it was called by the store that it was built in, because keys of children may rest on that.
//!
//! | file | knows |
//! |---|---|
//! | [`note`] | what is written beside an image: the key that it was built from, and what came out |
//! | [`state`] | the last record of every image, as one document for each branch |
//!
//! How any of it gets into a registry is not known here.

pub mod note;
pub mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::{Digest, OciDigest};
use crate::history::{History, Presence, Record};
use crate::image::ImageName;
use crate::published::state::{Open, State};

/// The class of records whose output is in a registry, whatever built it.
pub const CLASS: &str = "registry";

/// Where images have to be in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Anywhere.
    #[default]
    Anywhere,
    /// In their registries, under all their references.
    Pushed,
    /// The same, and everybody who pushes them writes so into the state.
    Noted,
}

/// What is known to be in registries, and what is wanted there.
#[derive(Debug, Default)]
pub struct Published {
    /// By key tag, which names the repository, too.
    by_key: BTreeMap<String, Arc<Record>>,
    last: State,
    /// Images whose tags somebody is moving, or was when he was killed.
    open: BTreeSet<ImageName>,
    wanted: Wanted,
    /// Images whose tags turned out to point elsewhere.
    strayed: Mutex<BTreeSet<ImageName>>,
    /// Manifests that their registry turned out to have lost.
    gone: Mutex<BTreeSet<OciDigest>>,
    /// Records that their registry turned out to have, by key tag.
    found: Mutex<BTreeMap<String, Arc<Record>>>,
}

impl Published {
    /// What a state says.
    pub fn new((state, open): (State, &Open), wanted: Wanted) -> Self {
        let open: BTreeSet<ImageName> = open.iter().map(|(image, _)| image.clone()).collect();
        let mut by_key = BTreeMap::new();
        for record in state.values().filter(|record| !open.contains(&record.image)) {
            let keys = record.output.references.iter().filter(|it| it.contains(":ig-"));
            by_key.extend(keys.map(|reference| (reference.clone(), Arc::clone(record))));
        }
        let (strayed, gone, found) = Default::default();
        Self { by_key, last: state, open, wanted, strayed, gone, found }
    }

    /// Whether nothing speaks against what was pushed with a key being the last that was pushed of
    /// an image.
    pub fn agrees(&self, image: &ImageName, key: &Digest) -> bool {
        let is_last = || self.last.get(image).is_some_and(|record| record.build_key == *key);
        self.wanted != Wanted::Noted || is_last() && !self.is_doubted(image)
    }

    /// What a history knows of registries, though nobody has asked them.
    pub fn recorded(history: &History) -> Self {
        let records = history.records.values().filter(|record| record.engine == CLASS);
        let state = records.map(|record| (record.image.clone(), Arc::clone(record))).collect();
        Self::new((state, &Open::new()), Wanted::Anywhere)
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Whether images have to be in their registries.
    pub fn pushes(&self) -> bool {
        self.wanted != Wanted::Anywhere
    }

    /// The record of what a key tag points at: that of the image itself, if its last is one, since
    /// images of one repository may share a key.
    pub fn find(&self, image: &ImageName, key_reference: &str) -> Option<Arc<Record>> {
        if let Some(found) = lock(&self.found).get(key_reference) {
            return Some(Arc::clone(found)).filter(|record| !self.is_gone(record));
        }
        let has = |record: &&Arc<Record>| {
            record.output.references.iter().any(|reference| reference == key_reference)
        };
        let own = self.last.get(image).filter(has);
        let there = own.filter(|record| !self.is_doubted(&record.image));
        let there = there.or_else(|| self.by_key.get(key_reference)).cloned();
        there.filter(|record| !self.is_gone(record) && !self.is_doubted(&record.image))
    }

    /// Notes what a key tag turned out to point at; says whether that is news.
    pub fn gain(&self, key_reference: &str, record: Record) -> bool {
        lock(&self.found).insert(key_reference.to_owned(), Arc::new(record)).is_none()
    }

    /// What is under the tags of an image, if that is the output of this record.
    pub fn last(&self, record: &Record) -> Option<&Arc<Record>> {
        let last = self.last.get(&record.image).filter(|_| !self.is_doubted(&record.image))?;
        Some(last).filter(|last| last.output.manifest == record.output.manifest)
    }

    /// The last records of images that a history knows nothing of.
    pub fn unknown_to(&self, history: &History) -> Vec<Arc<Record>> {
        let unknown = self.last.values().filter(|it| !history.records.contains_key(&it.image));
        unknown.cloned().collect()
    }

    /// Tells a history of the images that it knows nothing of.
    pub fn tell(&self, history: &mut History) {
        for record in self.unknown_to(history) {
            history.durations.entry(record.image.clone()).or_insert(record.duration);
            history.add_record(record);
        }
    }

    /// Where the output of a record of [`CLASS`] is, whose image shall have these references.
    pub fn presence(&self, record: &Record, wanted: &[String]) -> Presence {
        if record.output.manifest.is_none() || self.is_gone(record) {
            return Presence::Missing;
        }
        let astray = wanted.iter().filter(|it| !record.output.references.contains(it));
        let references: Vec<String> = astray.cloned().collect();
        if references.is_empty() || !self.pushes() {
            Presence::Present
        } else {
            Presence::Untagged { references }
        }
    }

    /// Notes that the tags of an image do not point where the state says.
    pub fn doubt(&self, image: &ImageName) {
        lock(&self.strayed).insert(image.clone());
    }

    fn is_doubted(&self, image: &ImageName) -> bool {
        self.open.contains(image) || lock(&self.strayed).contains(image)
    }

    /// The last records of images, unless their tags are being moved.
    pub fn settled(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.last.values().filter(|record| !self.is_doubted(&record.image))
    }

    /// Notes that a registry has lost a manifest.
    pub fn lose(&self, manifest: &OciDigest) {
        lock(&self.gone).insert(manifest.clone());
    }

    fn is_gone(&self, record: &Record) -> bool {
        let gone = lock(&self.gone);
        record.output.manifest.as_ref().is_some_and(|manifest| gone.contains(manifest))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
