//! What a worker is given: one image, with everything that its build takes, and its log file.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::Cache;
use crate::digest::{Digest, OciDigest};
use crate::engine::scratch::ScratchDir;
use crate::engine::{CacheUse, Locked, Parent, Request};
use crate::graph::{Edge, Image};
use crate::history::{Presence, Record};
use crate::image::{ImageId, ImageName, Platform};
use crate::layers::{Cutoff, Layer};
use crate::lockfile::LockFile;
use crate::plan::key_reference;
use crate::published::state::State;
use crate::published::{self};
use crate::reference::Reference;
use crate::run::Run;

/// One image to build.
pub(crate) struct Job {
    pub(crate) id: ImageId,
    /// The Dockerfile, relative to the workspace root.
    pub(crate) dockerfile: Arc<str>,
    pub(crate) request: Request,
    /// The user's references, moved when the build was a success.
    pub(crate) references: Vec<String>,
    /// The build key.
    pub(crate) key: Digest,
    /// The tag that it will have.
    pub(crate) key_reference: String,
    /// The class of the engine's store.
    pub(crate) class: String,
    /// Whether an earlier build of the key that its registry has may stand for it.
    pub(crate) adopts: bool,
    /// The record before this build whose output is still there, if its layer cuts off by content.
    pub(crate) previous: Option<Arc<Record>>,
    /// The most that its layers may weigh, in bytes, and the name of the layer that says so.
    pub(crate) size_limit: Option<(u64, String)>,
    pub(crate) log: Log,
}

/// One image to push.
pub(crate) struct Push {
    pub(crate) id: ImageId,
    pub(crate) image: ImageName,
    /// What is pushed.
    pub(crate) record: Arc<Record>,
    /// Where to: tags, then the key tag, as far as they do not point at it.
    pub(crate) references: Vec<String>,
    /// Its repository, and the key tag.
    pub(crate) home: (String, String),
    /// Whether what another runner has made of the same key may stand for it.
    pub(crate) adopts: bool,
    /// Whether tags wait for the end of the run.
    pub(crate) holds: bool,
    /// The image that its last stage begins with.
    pub(crate) base: Option<Base>,
    /// Whether the references may not point at it in the store yet.
    pub(crate) tag: bool,
    pub(crate) log: Log,
}

/// The log file of one image.
#[derive(Clone)]
pub(crate) struct Log {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// Relative to the workspace root.
    pub(crate) shown: String,
}

impl Job {
    /// The build of an image with a key; `current` has what stands for each of its parents.
    pub(crate) fn new(
        run: &Run<'_>,
        current: &[Option<Arc<Record>>],
        id: ImageId,
        key: Digest,
    ) -> Self {
        let facts = &run.facts;
        let image = facts.graph.image(id);
        let spec = &image.spec;
        let layer = spec.layer.map(|row| &facts.layers.layers[row]);
        let root = &run.disk.workspace.root;
        let options = &spec.options;
        let cache = cache_use(run, id);
        Self {
            id,
            dockerfile: Arc::clone(&spec.dockerfile),
            references: references(run, id, &key),
            key,
            key_reference: key_reference(&spec.repository, &key),
            class: facts.engine.to_owned(),
            adopts: !run.forced.contains(&id) && !run.uncached.contains(&id),
            previous: previous(run, id, layer).cloned(),
            size_limit: size_limit(run, id),
            log: Log::of(run, id),
            request: Request {
                image: spec.name.clone(),
                dockerfile_path: root.join(&*spec.dockerfile),
                dockerfile: run.disk.dockerfile(id).to_vec(),
                context: root.join(&spec.context),
                files: run.entries[id.index()].clone().unwrap_or_default(),
                sources: run.disk.reads(id).iter().map(|read| read.source.clone()).collect(),
                target: spec.target.clone(),
                platform: image.platform.clone(),
                args: spec.args.clone(),
                labels: spec.labels.clone(),
                parents: in_store(run, current, image),
                locked: [locked(image, facts.pins), in_registries(run, current, image)].concat(),
                secrets: spec.secrets.clone(),
                ssh: spec.ssh.clone(),
                network: options.network.clone(),
                hosts: options.hosts.clone(),
                pull: run.options.pull,
                cache_from: match cache {
                    CacheUse::Use => placed(options.cache_from.as_ref(), root),
                    CacheUse::Bypass => Vec::new(),
                },
                cache_to: placed(options.cache_to.as_ref(), root),
                sbom: options.sbom.unwrap_or(false),
                provenance: options.provenance.clone(),
                allow: options.allow.clone().unwrap_or_default(),
                references: Vec::new(),
                epoch: facts.layers.workspace.epoch,
                cache,
                scratch: ScratchDir::new(run.options.scratch.join(id.0.to_string())),
            },
        }
    }
}

/// The references of an image that was built from a key: the user's, then the key tag.
pub(crate) fn references(run: &Run<'_>, id: ImageId, key: &Digest) -> Vec<String> {
    let spec = &run.facts.graph.image(id).spec;
    let mut references = spec.references();
    references.push(key_reference(&spec.repository, key));
    references
}

/// The most that an image may weigh, in bytes, and the layer that says so.
pub(crate) fn size_limit(run: &Run<'_>, id: ImageId) -> Option<(u64, String)> {
    let layer = &run.facts.layers.layers[run.facts.graph.image(id).spec.layer?];
    Some((layer.rules.max_size?, layer.name.clone()))
}

impl Log {
    /// The log file of an image in a run.
    pub(crate) fn of(run: &Run<'_>, id: ImageId) -> Self {
        let name = run.facts.graph.name(id).as_str();
        // `a__b` is a name, too, and must not write into the log of `a/b`.
        let number = if name.contains("__") { format!("-{}", id.0) } else { String::new() };
        let file = format!("{}{number}.log", name.replace('/', "__"));
        let options = &run.options;
        Self { path: options.logs.join(&file), shown: format!("{}/{file}", options.logs_shown) }
    }
}

fn previous<'r>(run: &'r Run<'_>, id: ImageId, layer: Option<&Layer>) -> Option<&'r Arc<Record>> {
    let facts = &run.facts;
    let image = facts.graph.image(id);
    let record = run.ledger.history().records.get(&image.spec.name)?;
    let record = match facts.published {
        // The ledger knows what its tags pointed at when this machine last looked.
        Some(published) if record.engine == published::CLASS => published.last(record)?,
        _ => record,
    };
    let stands = layer.is_none_or(|layer| layer.cutoff == Cutoff::Content)
        // Where nothing is pushed it has to be in the store.
        && (record.engine == facts.engine || run.options.push && facts.counts(record))
        && record.platform == image.platform
        && facts.presence(id, record) != Presence::Missing;
    stands.then_some(record)
}

/// `--no-cache` is for what was asked for, not for the ancestors that it needs.
fn cache_use(run: &Run<'_>, id: ImageId) -> CacheUse {
    if run.uncached.contains(&id) { CacheUse::Bypass } else { CacheUse::Use }
}

/// Caches as engines take them: what is no cache was said when `layers.toml` was read.
fn placed(caches: Option<&Vec<String>>, root: &Path) -> Vec<String> {
    let caches = caches.into_iter().flatten();
    let caches = caches.filter_map(|text| text.parse::<Cache>().ok());
    caches.map(|cache| cache.below(root).to_string()).collect()
}

/// The pins of what an image reads from outside, one for each way in which it is written. One that is
/// read for several platforms is pinned to the index that has them.
fn locked(image: &Image, pins: &LockFile) -> Vec<Locked> {
    let mut locked: BTreeMap<&str, Locked> = BTreeMap::new();
    for used in &image.reads.images {
        let Ok(reference) = Reference::parse(&used.reference) else { continue };
        let is_external = image.externals.iter().any(|external| external.normalised == reference);
        let Some(row) = pins.row(&reference).filter(|_| is_external) else { continue };
        let Some(digest) = row.platforms.get(&used.platform) else { continue };
        let pin = |digest: &OciDigest, platform: Option<&Platform>| Locked {
            reference: used.reference.clone(),
            pinned: format!("{}@{digest}", reference.repository()),
            platform: platform.cloned(),
        };
        let one = pin(digest, Some(&used.platform));
        match locked.entry(&used.reference) {
            Entry::Vacant(entry) => {
                entry.insert(one);
            }
            Entry::Occupied(mut entry) => {
                if entry.get().platform != one.platform {
                    entry.insert(pin(&row.digest, None));
                }
            }
        }
    }
    locked.into_values().collect()
}

/// The parents that are in the engine's store.
fn in_store(run: &Run<'_>, current: &[Option<Arc<Record>>], image: &Image) -> Vec<Parent> {
    let parent = |edge: &Edge| {
        let record = parent(current, edge);
        let repository = &run.facts.graph.image(edge.parent).spec.repository;
        (record.engine != published::CLASS).then(|| Parent {
            reference: edge.reference.clone(),
            id: record.output.id.clone(),
            pinned: key_reference(repository, &record.build_key),
        })
    };
    image.parents.iter().filter_map(parent).collect()
}

/// The parents that are in a registry: for an engine they are like any other image from outside.
fn in_registries(run: &Run<'_>, current: &[Option<Arc<Record>>], image: &Image) -> Vec<Locked> {
    let parent = |edge: &Edge| {
        let record = parent(current, edge);
        let manifest = record.output.manifest.as_ref()?;
        let repository = &run.facts.graph.image(edge.parent).spec.repository;
        (record.engine == published::CLASS).then(|| Locked {
            reference: edge.reference.clone(),
            pinned: format!("{repository}@{manifest}"),
            platform: Some(record.platform.clone()),
        })
    };
    let mut parents: Vec<Locked> = image.parents.iter().filter_map(parent).collect();
    // An image that is read twice is pinned once.
    parents.sort_by(|a, b| a.reference.cmp(&b.reference));
    parents.dedup_by(|a, b| a.reference == b.reference);
    parents
}

fn parent<'r>(current: &'r [Option<Arc<Record>>], edge: &Edge) -> &'r Arc<Record> {
    let record = current[edge.parent.index()].as_ref();
    record.expect("an image is built after its parents have ended well")
}

/// The image that the last stage of an image begins with.
pub(crate) struct Base {
    /// Its reference, as the Dockerfile has it.
    pub(crate) name: String,
    /// What its registry calls it, where that is known.
    pub(crate) digest: Option<OciDigest>,
    /// What else points at it there.
    pub(crate) key_reference: Option<String>,
}

/// What an image begins with, as far as it is known; `pushed` has what this run put into registries.
pub(crate) fn base(
    run: &Run<'_>,
    (current, pushed): (&[Option<Arc<Record>>], &State),
    id: ImageId,
) -> Option<Base> {
    let image = run.facts.graph.image(id);
    let name = image.reads.base.clone()?;
    let Some(edge) = image.parents.iter().find(|edge| edge.reference == name) else {
        let locked = locked(image, run.facts.pins);
        let pin = locked.into_iter().find(|locked| locked.reference == name);
        let digest = pin.and_then(|locked| locked.pinned.rsplit_once('@')?.1.parse().ok());
        return Some(Base { name, digest, key_reference: None });
    };
    let spec = &run.facts.graph.image(edge.parent).spec;
    let record = current[edge.parent.index()].as_ref()?;
    let there =
        if record.engine == published::CLASS { Some(record) } else { pushed.get(&spec.name) };
    let there = there.filter(|it| it.build_key == record.build_key);
    let digest = there.and_then(|record| record.output.manifest.clone());
    let key_reference = Some(key_reference(&spec.repository, &record.build_key));
    Some(Base { name, digest, key_reference })
}
