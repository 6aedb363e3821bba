//! What has to be done, and why: from graph, inputs and history to a list of steps.
//!
//! [`plan`] decides every image of a selection, parents first. Where all parents are known to be
//! fresh, the build key is known and the decision is final; below a parent that may change, it is
//! [`Decision::Pending`] and `run` asks [`decide`] again when the parent has finished.
//!
//! Knows no engine: whether an output is still there is asked through [`Facts::present`].

pub mod age;
mod found;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::context::Entry;
use crate::digest::{Digest, Hasher};
use crate::dockerfile::Flavour;
use crate::fingerprint::difference::difference;
use crate::fingerprint::reason::{PrepareCause, Reason};
use crate::fingerprint::{Inputs, Parent, key, leaf, leaves};
use crate::graph::spec::ImageSpec;
use crate::graph::{Edge, Image, ImageGraph};
use crate::history::{History, Presence, Record};
use crate::image::{ImageId, ImageName};
use crate::layers::{Cutoff, Layers};
use crate::lockfile::LockFile;
pub use crate::plan::age::decide;
use crate::published::{self, Published};
use crate::reference::names_a_registry;

/// What decisions rest on.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The images.
    pub graph: &'a ImageGraph,
    /// `layers.toml`.
    pub layers: &'a Layers,
    /// The class of the engine that will build: outputs of another one do not count.
    pub engine: &'a str,
    /// Whose rules Dockerfiles are expanded by.
    pub flavour: Flavour,
    /// What external images are pinned to.
    pub pins: &'a LockFile,
    /// Where the output of a record is in the engine's store, with the references that its image
    /// shall have.
    pub present: &'a dyn Fn(ImageId, &Record) -> Presence,
    /// What registries have; `None` where they do not count.
    pub published: Option<&'a Published>,
    /// When the ages of outputs are looked at, in milliseconds since the Unix epoch; `None`: they do
    /// not matter.
    pub aged_at: Option<u64>,
}

/// What is wanted, beside the facts.
pub struct Wanted<'a> {
    /// The images to decide: a selection with the ancestors that it needs.
    pub images: &'a BTreeSet<ImageId>,
    /// The images to build whatever their keys say.
    pub forced: &'a BTreeSet<ImageId>,
    /// The images whose `prepare` has to run first, and why.
    pub prepare: &'a BTreeMap<ImageId, PrepareCause>,
    /// Whether images shall be in their registries, too.
    pub push: bool,
}

/// A list of decisions.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// One for each image that was wanted, parents first.
    pub steps: Vec<Step>,
    /// Images that were not looked at, because nothing of their own has changed: each with the
    /// number of steps that come before it.
    pub beside: Vec<(usize, Beside)>,
}

/// An image of which nothing of its own has changed since it was up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Its name.
    pub name: ImageName,
    /// The parents that may come out different; none: it is up to date.
    pub waits_for: Vec<ImageName>,
    /// The predicted duration in milliseconds, where it waits and there is history.
    pub predicted: Option<u64>,
}

/// One image of a plan.
#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    /// It was decided.
    Step(&'a Step),
    /// It was not looked at.
    Beside(&'a Beside),
}

/// The decision about one image.
#[derive(Clone, Debug)]
pub struct Step {
    /// The image.
    pub image: ImageId,
    /// What will be done.
    pub decision: Decision,
    /// Why; empty for fresh images and for those that only wait.
    pub reasons: Vec<Reason>,
    /// The parents that may come out different.
    pub waits_for: Vec<ImageId>,
    /// The build key, where it is known.
    pub key: Option<Digest>,
    /// The key that was looked up: where parents are not known yet, with those as they were.
    sought: Option<Digest>,
    /// The predicted duration in milliseconds, where there is history.
    pub predicted: Option<u64>,
    /// The record that stands for the image if nothing is built.
    pub record: Option<Arc<Record>>,
}

/// What will be done about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the build key is that of the record and the output is there.
    Fresh,
    /// It is up to date, and is pushed.
    Push,
    /// The output of an earlier build is tagged again.
    Restore,
    /// It is built.
    Rebuild,
    /// It is decided when its parents, or its own `prepare`, have finished.
    Pending,
}

/// What the build key of an image calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: this record stands.
    Fresh(Arc<Record>),
    /// The output of this record is tagged again.
    Restore(Arc<Record>),
    /// A build.
    Rebuild(Vec<Reason>),
}

impl Step {
    /// Whether the image may come out different from what it was.
    pub fn may_change(&self) -> bool {
        matches!(self.decision, Decision::Rebuild | Decision::Pending)
    }
}

impl Beside {
    /// What is decided of it.
    pub fn decision(&self) -> Decision {
        if self.waits_for.is_empty() { Decision::Fresh } else { Decision::Pending }
    }
}

impl Plan {
    /// The steps that are not fresh.
    pub fn work(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.decision != Decision::Fresh)
    }

    /// Whether one of these is a key that was looked up for something that is to be done.
    pub fn has_sought(&self, keys: &[Digest]) -> bool {
        let sought: BTreeSet<&Digest> = self.work().filter_map(|it| it.sought.as_ref()).collect();
        keys.iter().any(|key| sought.contains(key))
    }

    /// How many images it is about.
    pub fn len(&self) -> usize {
        self.steps.len() + self.beside.len()
    }

    /// Whether it is about none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All images, parents first.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let beside = |from: usize, to: usize| {
            let start = self.beside.partition_point(|(before, _)| *before < from);
            let behind = self.beside[start..].iter();
            behind.take_while(move |(before, _)| *before < to).map(|(_, it)| Row::Beside(it))
        };
        let steps = self.steps.iter().enumerate();
        let rows = steps.flat_map(move |(at, step)| beside(at, at + 1).chain([Row::Step(step)]));
        rows.chain(beside(self.steps.len(), usize::MAX))
    }
}

/// Decides every wanted image. `entries` has the context of each, by number; an image that has to be
/// prepared first may have none.
pub fn plan(
    facts: &Facts<'_>,
    history: &History,
    entries: &[Option<Vec<Entry>>],
    wanted: &Wanted<'_>,
) -> Plan {
    // A parent that is left out (`--only`) stands as it was recorded.
    let left_out = |(id, image): (ImageId, &Image)| {
        let record = history.records.get(&image.spec.name).filter(|_| !wanted.images.contains(&id));
        record.map(|record| facts.identity(id, record))
    };
    let mut identities: Vec<Option<Digest>> = facts.graph.iter().map(left_out).collect();
    let guess = Durations::new(facts, history);
    let mut steps = Vec::with_capacity(wanted.images.len());
    for id in facts.graph.order().iter().copied().filter(|id| wanted.images.contains(id)) {
        let mut step = match (wanted.prepare.get(&id), &entries[id.index()]) {
            (Some(cause), _) => facts.aged(history, unprepared(id, cause)),
            (None, None) => unprepared(id, &PrepareCause::NeverRan),
            (None, Some(entries)) => {
                let inputs = facts.inputs(id, entries);
                decide_now_or_later(facts, history, (id, &inputs), &identities)
            }
        };
        if wanted.forced.contains(&id) && !wanted.prepare.contains_key(&id) {
            step.decision = Decision::Rebuild;
            step.reasons.insert(0, Reason::Forced);
        }
        if let (Decision::Fresh | Decision::Restore, Some(record)) = (step.decision, &step.record) {
            identities[id.index()] = Some(facts.identity(id, record));
        }
        if step.decision != Decision::Fresh {
            step.predicted = guess.of(id);
        } else if wanted.push && facts.unpushed(history, id, step.record.as_deref()).is_some() {
            step.decision = Decision::Push;
            step.reasons.push(Reason::NotPushed);
        }
        steps.push(step);
    }
    Plan { steps, beside: Vec::new() }
}

fn unprepared(image: ImageId, cause: &PrepareCause) -> Step {
    Step {
        image,
        decision: Decision::Pending,
        reasons: vec![Reason::PrepareNeeded { cause: cause.clone() }],
        waits_for: Vec::new(),
        key: None,
        sought: None,
        predicted: None,
        record: None,
    }
}

fn decide_now_or_later(
    facts: &Facts<'_>,
    history: &History,
    (image, inputs): (ImageId, &Inputs<'_>),
    identities: &[Option<Digest>],
) -> Step {
    let mut waits_for: Vec<ImageId> = inputs.image.parents.iter().map(|edge| edge.parent).collect();
    waits_for.retain(|parent| identities[parent.index()].is_none());
    waits_for.sort_unstable();
    waits_for.dedup();
    // A parent that is not known yet stands as it was: what is left to differ is the image's own.
    let recorded = |edge: &Edge| {
        let record = history.records.get(facts.graph.name(edge.parent));
        record.map(|record| facts.identity(edge.parent, record))
    };
    let identity = |edge: &Edge| {
        let known = identities[edge.parent.index()].or_else(|| recorded(edge));
        (facts.graph.name(edge.parent), known.unwrap_or(Digest::from_bytes([0; 32])))
    };
    let key = key(inputs, &identity);
    let verdict = decide(facts, history, (image, inputs), key, &identity);
    let is_final = waits_for.is_empty();
    let (decision, reasons, record) = match verdict {
        Verdict::Fresh(record) if is_final => (Decision::Fresh, Vec::new(), Some(record)),
        Verdict::Restore(record) if is_final => (Decision::Restore, Vec::new(), Some(record)),
        Verdict::Fresh(_) | Verdict::Restore(_) => (Decision::Pending, Vec::new(), None),
        Verdict::Rebuild(reasons) => (Decision::Rebuild, reasons, None),
    };
    let (key, sought) = (is_final.then_some(key), Some(key));
    Step { image, decision, reasons, waits_for, key, sought, predicted: None, record }
}

/// What a build key calls for, whatever the age.
fn by_key<'a>(
    facts: &Facts<'_>,
    history: &History,
    (id, inputs): (ImageId, &Inputs<'a>),
    key: Digest,
    parent: &dyn Fn(&Edge) -> Parent<'a>,
) -> Verdict {
    let record = history.records.get(&inputs.image.spec.name);
    let ours = record.filter(|it| facts.counts(it) && it.platform == inputs.image.platform);
    if let Some(verdict) = facts.found(history, id, &key) {
        return verdict;
    }
    if ours.is_some_and(|record| record.build_key == key) {
        return Verdict::Rebuild(vec![Reason::OutputMissing]);
    }
    Verdict::Rebuild(match (record, ours) {
        (None, _) => vec![Reason::NeverBuilt],
        (Some(record), None) if record.engine != facts.engine => {
            vec![Reason::OtherEngine { engine: record.engine.clone() }]
        }
        (Some(record), _) => since(record, inputs, parent),
    })
}

/// Everything that changed since a record.
fn since<'a>(
    record: &Record,
    inputs: &Inputs<'a>,
    parent: &dyn Fn(&Edge) -> Parent<'a>,
) -> Vec<Reason> {
    let unknown_rules = || vec![Reason::SettingChanged { name: "rules".to_owned() }];
    let Some(old) = leaf::decode(&record.leaves) else { return unknown_rules() };
    let reasons = difference(&old, &leaves(inputs, parent), &inputs.image.spec.dockerfile);
    if reasons.is_empty() { unknown_rules() } else { reasons }
}

impl<'a> Facts<'a> {
    /// The inputs of an image with the context that it has.
    pub fn inputs(&self, id: ImageId, entries: &'a [Entry]) -> Inputs<'a> {
        Inputs {
            image: self.graph.image(id),
            entries,
            flavour: self.flavour,
            epoch: self.layers.workspace.epoch,
            pins: self.pins,
        }
    }

    /// The references under which the output of a record has to be pushed, if it was not yet.
    pub fn unpushed(
        &self,
        history: &History,
        id: ImageId,
        record: Option<&Record>,
    ) -> Option<Vec<String>> {
        let record = record?;
        let spec = &self.graph.image(id).spec;
        let mut references = pushed_references(spec, &record.build_key);
        if record.engine == published::CLASS {
            references.retain(|reference| !record.output.references.contains(reference));
            return (!references.is_empty()).then_some(references);
        }
        let agrees = |it: &Published| !it.pushes() || it.agrees(&spec.name, &record.build_key);
        let agrees = self.published.is_none_or(agrees);
        let is_pushed = agrees && history.is_pushed(&spec.name, &record.output.id, &references);
        (!is_pushed).then_some(references)
    }

    /// What stands for an image in the build keys of its children, by the `cutoff` of its layer.
    pub fn identity(&self, id: ImageId, record: &Record) -> Digest {
        let layer = self.graph.image(id).spec.layer;
        match layer.map_or(Cutoff::Content, |row| self.layers.layers[row].cutoff) {
            Cutoff::Content => record.content,
            Cutoff::Digest => Hasher::new("output id").text(record.output.id.as_str()).finish(),
            Cutoff::Inputs => Hasher::new("built from").digest(&record.build_key).finish(),
        }
    }
}

/// The immutable reference of what is built with a key.
pub fn key_reference(repository: &str, key: &Digest) -> String {
    format!("{repository}:ig-{}", &key.to_string()[..32])
}

/// What an image is pushed as: its tags, those aliases that name a registry, and its key tag, which is
/// what other machines look for.
pub fn pushed_references(spec: &ImageSpec, key: &Digest) -> Vec<String> {
    let mut references = spec.references();
    references.retain(|reference| names_a_registry(reference));
    references.push(key_reference(&spec.repository, key));
    references
}

/// The source keys of the images whose context is known and whose parents have one, by number.
pub fn source_keys(facts: &Facts<'_>, entries: &[Option<Vec<Entry>>]) -> Vec<Option<Digest>> {
    let mut keys: Vec<Option<Digest>> = vec![None; facts.graph.len()];
    for id in facts.graph.order() {
        let Some(entries) = &entries[id.index()] else { continue };
        keys[id.index()] = source_key(facts, *id, entries, &keys);
    }
    keys
}

/// The source key of one image, if those of its parents are known.
pub fn source_key(
    facts: &Facts<'_>,
    id: ImageId,
    entries: &[Entry],
    keys: &[Option<Digest>],
) -> Option<Digest> {
    let image = facts.graph.image(id);
    if image.parents.iter().any(|edge| keys[edge.parent.index()].is_none()) {
        return None;
    }
    let inputs = Facts { graph: facts.graph, ..*facts };
    let parent = |edge: &Edge| {
        let key = keys[edge.parent.index()].unwrap_or(Digest::from_bytes([0; 32]));
        (facts.graph.name(edge.parent), key)
    };
    Some(key(&inputs.inputs(id, entries), &parent))
}

/// How long a build takes with its `prepare`, in milliseconds, where there is history.
pub fn predicted(history: &History, name: &ImageName) -> Option<u64> {
    let built = history.durations.get(name).copied()?;
    Some(built + history.prepared.get(name).map_or(0, |prepared| prepared.duration))
}

/// How long builds take, from history.
pub struct Durations {
    own: Vec<Option<u64>>,
    by_layer: BTreeMap<Option<usize>, u64>,
}

impl Durations {
    /// Looks every image up; an unknown one counts as a slow one of its layer.
    pub fn new(facts: &Facts<'_>, history: &History) -> Self {
        let own: Vec<Option<u64>> =
            facts.graph.iter().map(|(_, image)| predicted(history, &image.spec.name)).collect();
        let mut known: BTreeMap<Option<usize>, Vec<u64>> = BTreeMap::new();
        for (id, image) in facts.graph.iter() {
            if let Some(duration) = own[id.index()] {
                known.entry(image.spec.layer).or_default().push(duration);
            }
        }
        let slow = |mut durations: Vec<u64>| {
            durations.sort_unstable();
            durations[(durations.len() * 9).div_ceil(10) - 1]
        };
        Self {
            own,
            by_layer: known.into_iter().map(|(layer, known)| (layer, slow(known))).collect(),
        }
    }

    /// The recorded duration of an image in milliseconds.
    pub fn of(&self, id: ImageId) -> Option<u64> {
        self.own[id.index()]
    }

    /// The recorded duration, or what stands in for it: a slow image of the same layer, else a minute.
    pub fn or_guess(&self, id: ImageId, layer: Option<usize>) -> u64 {
        self.of(id).or_else(|| self.by_layer.get(&layer).copied()).unwrap_or(60_000)
    }
}

#[cfg(test)]
mod tests;
