//! The engine that builds nothing: scripted durations, outcomes and contents.
//!
//! Everything else is real: it keeps a store on the disk, with images, references and removals, and
//! it can be cancelled. `--engine simulate` in the real program uses it; so do most tests and the
//! benches. What it does is written in `simulate.toml` at the workspace root:
//!
//! ```toml
//! registry = true         # pushes are real, to registries of this machine
//! [default]
//! duration = "20ms"
//! [image."java/jre"]
//! duration = "2s"
//! outcome = "fail"        # or "ok", "unavailable" (the engine is gone), "hang" (until cancelled)
//! content = "same"        # or "inputs": other inputs make another image
//! reads = ["/generated"]  # what it asks for of the context, beside what the Dockerfile says
//! writes = "stamp"        # a file of the context that the build writes into, each time
//! push = "fail"           # what becomes of a push, as `outcome`
//! cached = 1              # how many of its two steps come from the cache, where that may be used
//! ```
#![expect(clippy::disallowed_methods, reason = "an engine reads its script and keeps a store")]

mod send;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::context::EntryKind;
use crate::digest::{Digest, Hasher, OciDigest};
use crate::engine::{
    Built, CacheUse, Cancel, Capabilities, Content, Engine, EngineError, Presence, Progress,
    Request,
};
use crate::history::Output;
use crate::image::Platform;
use crate::registry::Registry;
use crate::whole::{self, Whole};

/// The class that records name.
pub const CLASS: &str = "simulate";
/// The script, at the workspace root.
pub const SCRIPT: &str = "simulate.toml";
/// What a simulated image weighs.
const SIZE: u64 = 1_000_000;

/// The simulated engine with its store.
#[derive(Debug)]
pub struct Simulate {
    script: Script,
    store: Mutex<Store>,
    /// What pushes go to.
    registry: Option<Registry>,
    /// Where what is pushed lies on its way, absolute.
    scratch: PathBuf,
}

/// What each image does.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Script {
    registry: bool,
    default: Behaviour,
    image: BTreeMap<String, Behaviour>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Behaviour {
    duration: Option<String>,
    outcome: Option<Outcome>,
    content: Option<ContentOf>,
    push: Option<Outcome>,
    reads: Option<Vec<String>>,
    writes: Option<PathBuf>,
    cached: Option<u32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Fail,
    Unavailable,
    Hang,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ContentOf {
    Inputs,
    Same,
}

/// What happened to the store; the file has one a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    /// There is an image, and this is what points at it now.
    Tag {
        id: OciDigest,
        references: Vec<String>,
    },
    Push {
        id: OciDigest,
        references: Vec<String>,
    },
    Remove {
        id: OciDigest,
    },
}

#[derive(Debug)]
struct Store {
    path: PathBuf,
    /// Whether the file ends in a line that a killed process did not finish.
    is_torn: bool,
    images: BTreeSet<Arc<OciDigest>>,
    tags: BTreeMap<String, Arc<OciDigest>>,
}

impl Simulate {
    /// Opens the engine of a workspace: its script at the root, its store in the state directory.
    /// Where the script says that pushes are real they go to `registry`.
    pub fn open(
        root: &Path,
        state: &Path,
        registry: Option<Registry>,
    ) -> Result<Self, EngineError> {
        let path = root.join(SCRIPT);
        let script = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|error| EngineError::Unsupported(format!("{SCRIPT}: {error}")))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Script::default(),
            Err(source) => return Err(EngineError::File { action: "read", path, source }),
        };
        let registry = registry.filter(|_| script.registry);
        let store = Mutex::new(Store::open(state)?);
        Ok(Self { script, store, registry, scratch: state.join("simulated") })
    }

    /// Whether pushes of a workspace's script are real.
    pub fn is_real(root: &Path) -> bool {
        let text = fs::read_to_string(root.join(SCRIPT)).unwrap_or_default();
        toml::from_str(&text).is_ok_and(|script: Script| script.registry)
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behaviour(&self, image: &str) -> Behaviour {
        let usual = &self.script.default;
        let own = self.script.image.get(image).cloned().unwrap_or_default();
        Behaviour {
            duration: own.duration.or_else(|| usual.duration.clone()),
            outcome: own.outcome.or(usual.outcome),
            content: own.content.or(usual.content),
            push: own.push.or(usual.push),
            reads: own.reads.or_else(|| usual.reads.clone()),
            writes: own.writes.or_else(|| usual.writes.clone()),
            cached: own.cached.or(usual.cached),
        }
    }

    /// What becomes of a push: the script knows images, and a push only what they are called.
    fn push_outcome(&self, references: &[String]) -> Outcome {
        let is_of = |image: &String| {
            let start = format!("/{image}:");
            references.iter().any(|reference| reference.contains(&start))
        };
        let image = self.script.image.keys().find(|image| is_of(image));
        let behaviour = self.behaviour(image.map_or("", String::as_str));
        behaviour.push.unwrap_or(Outcome::Ok)
    }
}

impl Engine for Simulate {
    fn capabilities(&self) -> Result<Capabilities, EngineError> {
        Ok(Capabilities {
            class: CLASS.to_owned(),
            version: "scripted".to_owned(),
            platform: Platform::host(),
            reproducible: true,
            lacks: Vec::new(),
        })
    }

    fn build(
        &self,
        request: &Request,
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Built, EngineError> {
        let behaviour = self.behaviour(request.image.as_str());
        let duration = duration(behaviour.duration.as_deref().unwrap_or("0ms"))?;
        let step = |number, text: &str| Progress::Step {
            number,
            total: Some(2),
            text: text.to_owned(),
            cached: false,
        };
        progress(step(1, "FROM simulated"));
        progress(step(2, &format!("RUN wait {} ms", duration.as_millis())));
        let outcome = behaviour.outcome.unwrap_or(Outcome::Ok);
        let long_enough = match outcome {
            Outcome::Hang => Duration::from_hours(1),
            Outcome::Ok | Outcome::Fail | Outcome::Unavailable => duration,
        };
        if cancel.wait(long_enough) {
            return Err(EngineError::Cancelled);
        }
        progress(Progress::Log(format!("simulated {}{}", request.image, options(request))));
        if let Some(path) = behaviour.writes {
            let path = request.context.join(path);
            let failed = |source| EngineError::File { action: "write", path: path.clone(), source };
            let file = File::options().create(true).append(true).open(&path);
            file.and_then(|mut file| file.write_all(b"built\n")).map_err(failed)?;
        }
        match outcome {
            Outcome::Ok | Outcome::Hang => (),
            Outcome::Fail => {
                progress(Progress::Log("it was told to fail".to_owned()));
                let message = "RUN wait: exit code 1".to_owned();
                return Err(EngineError::Step { message, line: Some(1), exit_code: Some(1) });
            }
            Outcome::Unavailable => {
                return Err(EngineError::Unavailable("the simulated engine is gone".to_owned()));
            }
        }
        let unread = behaviour.reads.unwrap_or_default().into_iter().filter(|path| {
            request.sources.iter().all(|source| !Path::new(path).starts_with(source))
        });
        let paths: Vec<String> = unread.collect();
        if !paths.is_empty() {
            return Err(EngineError::Unread { paths });
        }
        let id = match behaviour.content {
            Some(ContentOf::Same) => Digest::of_content(request.image.as_str().as_bytes()),
            Some(ContentOf::Inputs) | None => identity(request),
        };
        let id = oci(&id);
        let mut store = self.store();
        let references = request.references.clone();
        store.change(Change::Tag { id: id.clone(), references: references.clone() })?;
        let diff_ids = vec![id.clone()];
        let manifest = Some(send::digest(&id));
        let output = Output { id, manifest, references, diff_ids, size: SIZE };
        let cached = behaviour.cached.filter(|_| request.cache == CacheUse::Use);
        Ok(Built { output, steps: 2, cached_steps: cached.unwrap_or(0) })
    }

    fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError> {
        let store = self.store();
        let presence = |output: &&Output| {
            if store.images.contains(&output.id) {
                output.presence(|reference| store.points_at(reference, &output.id))
            } else {
                Presence::Missing
            }
        };
        Ok(outputs.iter().map(presence).collect())
    }

    fn content(
        &self,
        built: &Built,
        known: &BTreeMap<OciDigest, Digest>,
        _: &Cancel,
    ) -> Result<Content, EngineError> {
        let mut hasher = Hasher::new("simulated content");
        let mut layers = Vec::new();
        for diff_id in &built.output.diff_ids {
            let layer = known.get(diff_id).copied();
            let layer = layer.unwrap_or_else(|| {
                let layer = Digest::of_content(diff_id.as_str().as_bytes());
                layers.push((diff_id.clone(), layer));
                layer
            });
            hasher.digest(&layer);
        }
        Ok(Content { id: hasher.finish(), layers })
    }

    fn tag(&self, id: &OciDigest, references: &[String]) -> Result<(), EngineError> {
        let mut store = self.store();
        if !store.images.contains(id) {
            return Err(EngineError::Unavailable(format!("there is no image {id} in the store")));
        }
        store.change(Change::Tag { id: id.clone(), references: references.to_vec() })
    }

    fn push(
        &self,
        id: &OciDigest,
        references: &[String],
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        let outcome = self.push_outcome(references);
        let hangs = matches!(outcome, Outcome::Hang);
        if cancel.wait(if hangs { Duration::from_hours(1) } else { Duration::ZERO }) {
            return Err(EngineError::Cancelled);
        }
        match outcome {
            Outcome::Ok | Outcome::Hang => (),
            Outcome::Fail => {
                progress(Progress::Log("the registry was told to refuse".to_owned()));
                return Err(EngineError::Auth("the simulated registry refuses".to_owned()));
            }
            Outcome::Unavailable => {
                return Err(EngineError::Unavailable("the simulated registry is gone".to_owned()));
            }
        }
        if let Some(registry) = &self.registry {
            send::send(registry, id, references, &self.scratch, (cancel, progress))?;
        }
        let mut store = self.store();
        let strangers = references.iter().find(|reference| !store.points_at(reference, id));
        if let Some(reference) = strangers {
            let text = format!("`{reference}` is not image {id} in the store");
            return Err(EngineError::Unavailable(text));
        }
        for reference in references {
            progress(Progress::Log(format!("simulated push of {reference}")));
        }
        store.change(Change::Push { id: id.clone(), references: references.to_vec() })
    }

    fn remove(&self, id: &OciDigest) -> Result<(), EngineError> {
        self.store().change(Change::Remove { id: id.clone() })
    }
}

impl Store {
    fn open(state: &Path) -> Result<Self, EngineError> {
        let path = state.join("simulate.ndjson");
        let mut store =
            Self { path, is_torn: false, images: BTreeSet::new(), tags: BTreeMap::new() };
        let bytes = match whole::read(&store.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Whole::default(),
            Err(source) => {
                return Err(EngineError::File { action: "read", path: store.path, source });
            }
        };
        store.is_torn = !bytes.is_empty() && !bytes.ends_with(b"\n");
        // A line that a killed process did not finish never happened.
        let lines = bytes.split(|byte| *byte == b'\n');
        for change in lines.filter_map(|line| serde_json::from_slice(line).ok()) {
            store.apply(change);
        }
        Ok(store)
    }

    fn points_at(&self, reference: &str, id: &OciDigest) -> bool {
        self.tags.get(reference).is_some_and(|tagged| **tagged == *id)
    }

    fn change(&mut self, change: Change) -> Result<(), EngineError> {
        let failed =
            |source| EngineError::File { action: "write", path: self.path.clone(), source };
        let open = || File::options().create(true).append(true).open(&self.path);
        let file = match (open(), self.path.parent()) {
            (Err(error), Some(dir)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(dir).and_then(|()| open())
            }
            (file, _) => file,
        };
        let mut line = serde_json::to_string(&change).expect("a change is plain data");
        line.push('\n');
        if std::mem::take(&mut self.is_torn) {
            line.insert(0, '\n');
        }
        file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(failed)?;
        self.apply(change);
        Ok(())
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Tag { id, references } => {
                let id = Arc::new(id);
                for reference in references {
                    self.tags.insert(reference, Arc::clone(&id));
                }
                self.images.insert(id);
            }
            // The registries are not kept: nothing asks what they have.
            Change::Push { .. } => (),
            Change::Remove { id } => {
                self.tags.retain(|_, tagged| **tagged != id);
                self.images.remove(&id);
            }
        }
    }
}

/// The options of a build as they would be typed, for whoever looks into its log.
fn options(request: &Request) -> String {
    let flag = |is_set: bool, flag: &str| is_set.then(|| flag.to_owned());
    let valued = |flag: &'static str, values: &[String]| {
        values.iter().map(|value| format!("{flag}={value}")).collect::<Vec<_>>()
    };
    let network = request.network.as_slice();
    let provenance = request.provenance.as_slice();
    let flags = [
        flag(request.cache == CacheUse::Bypass, "--no-cache"),
        flag(request.pull, "--pull"),
        flag(request.sbom, "--sbom"),
    ];
    let words = flags
        .into_iter()
        .flatten()
        .chain(valued("--network", network))
        .chain(valued("--add-host", &request.hosts))
        .chain(valued("--cache-from", &request.cache_from))
        .chain(valued("--cache-to", &request.cache_to))
        .chain(valued("--provenance", provenance))
        .chain(valued("--allow", &request.allow));
    words.fold(String::new(), |text, word| text + " " + &word)
}

/// The id of an image that depends on everything that its build could read.
fn identity(request: &Request) -> Digest {
    let mut hasher = Hasher::new("simulated image");
    hasher.bytes(&request.dockerfile).text(request.target.as_deref().unwrap_or(""));
    hasher.text(&request.platform.to_string());
    for (name, value) in request.args.iter().chain(&request.labels) {
        hasher.text(name).text(value);
    }
    for option in request.network.iter().chain(&request.hosts) {
        hasher.text(option);
    }
    // A parent is the same one in the store and in a registry.
    let parents =
        request.parents.iter().map(|it| (&it.reference, send::digest(&it.id).to_string()));
    let locked = request.locked.iter().map(|it| {
        let digest = it.pinned.rsplit_once('@').map_or(&*it.pinned, |(_, digest)| digest);
        (&it.reference, digest.to_owned())
    });
    let read: BTreeMap<&String, String> = parents.chain(locked).collect();
    for (reference, digest) in read {
        hasher.text(reference).text(&digest);
    }
    for entry in &request.files {
        hasher.bytes(entry.path.as_os_str().as_bytes()).number(u64::from(entry.mode));
        match &entry.kind {
            EntryKind::Directory => hasher.number(0),
            EntryKind::File { size, content } => hasher.number(*size).digest(content),
            EntryKind::Symlink(target) => hasher.bytes(target.as_os_str().as_bytes()),
        };
    }
    hasher.finish()
}

fn oci(digest: &Digest) -> OciDigest {
    format!("sha256:{digest}").parse().expect("64 hexadecimal digits are a digest")
}

/// `20ms` or `2s`.
fn duration(text: &str) -> Result<Duration, EngineError> {
    let number = |unit: &str| text.strip_suffix(unit).and_then(|number| number.parse().ok());
    number("ms")
        .map(Duration::from_millis)
        .or_else(|| number("s").map(Duration::from_secs))
        .ok_or_else(|| {
            EngineError::Unsupported(format!(
                "{SCRIPT}: `{text}` is not a duration such as 20ms or 2s"
            ))
        })
}
