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
    pub(crate) output: OciDigest,
    pub(crate) references: Vec<String>,
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
                parents: image.parents.iter().map(|edge| parent(run, current, edge)).collect(),
                locked: locked(image, facts.pins),
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
    let stands = layer.is_none_or(|layer| layer.cutoff == Cutoff::Content)
        && record.engine == facts.engine
        && record.platform == image.platform
        && (facts.present)(id, record) != Presence::Missing;
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

fn parent(run: &Run<'_>, current: &[Option<Arc<Record>>], edge: &Edge) -> Parent {
    let record = current[edge.parent.index()].as_ref();
    let record = record.expect("an image is built after its parents have ended well");
    let spec = &run.facts.graph.image(edge.parent).spec;
    Parent {
        reference: edge.reference.clone(),
        id: record.output.id.clone(),
        pinned: key_reference(&spec.repository, &record.build_key),
    }
}
