//! The engine that drives the `buildah` program: no daemon, `apt-get install buildah` is all it
//! takes.
//!
//! A build is one `buildah build` in its own process group, on a staged context, with its parents
//! pinned. Everything that is only asked is read from the store's own files, because starting the
//! program takes longer than a whole run in which nothing is to be done. Verified with buildah 1.28;
//! nothing is used that later versions do not have.
//!
//! What it cannot do: with chroot isolation buildah 1.28 itself sometimes loses the last lines of a
//! command; and a trigger `ONBUILD RUN --mount=..,rw` of a base image may write to a context whose
//! files are links (see [`crate::engine::staging`]).

pub mod arguments;
pub mod build;
pub mod failure;
pub mod isolation;
pub mod layers;
pub mod leftovers;
pub mod names;
pub mod options;
pub mod output;
pub mod pins;
pub mod pull;
pub mod push;
pub mod storage;
pub mod store;
pub mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use crate::digest::{Digest, OciDigest};
use crate::engine::buildah::isolation::Isolation;
use crate::engine::buildah::storage::{Location, Storage, Surroundings};
use crate::engine::buildah::store::{Image, Layer, Store};
use crate::engine::buildah::traffic::Traffic;
use crate::engine::program::Program;
use crate::engine::warned::Warned;
use crate::engine::{
    Built, Cancel, Capabilities, Content, Engine, EngineError, Presence, Progress, Request, content,
};
use crate::history::Output;
use crate::image::Platform;

/// What a record calls this engine and its store.
pub const CLASS: &str = "buildah";

/// How buildah is to be used.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program; looked up in `PATH` if it has no slash.
    pub program: PathBuf,
    /// The store; `None` is buildah's default.
    pub storage: Option<Storage>,
    /// How RUN commands are isolated; `None`: found out by trying.
    pub isolation: Option<Isolation>,
    /// Where files of secrets and keys are looked for: the root of the workspace.
    pub root: PathBuf,
    /// The environment that this process was started with.
    pub environment: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        let (storage, isolation, environment) = (None, None, BTreeMap::new());
        Self { program: "buildah".into(), storage, isolation, root: PathBuf::new(), environment }
    }
}

/// The engine.
#[derive(Debug)]
pub struct Buildah {
    options: Options,
    program: Program,
    version: OnceLock<String>,
    store: OnceLock<Store>,
    isolation: Mutex<Option<Isolation>>,
    traffic: Traffic,
    warned: Warned,
    /// The images from outside that were pulled, with their platforms.
    pulled: Mutex<BTreeSet<(String, String)>>,
    /// What the lock file pins, with its id in the store.
    locked: Mutex<BTreeMap<String, String>>,
}

impl Buildah {
    /// The engine with these options. Starts nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            program: program(options.program.clone(), options.storage.as_ref()),
            version: OnceLock::new(),
            store: OnceLock::new(),
            isolation: Mutex::new(options.isolation),
            traffic: Traffic::default(),
            warned: Warned::default(),
            pulled: Mutex::default(),
            locked: Mutex::default(),
            options,
        }
    }

    /// The version of the program, for example `1.28.2`.
    fn version(&self) -> Result<&str, EngineError> {
        if let Some(version) = self.version.get() {
            return Ok(version);
        }
        let answer = self.program.answer(["--version"])?;
        let answer = String::from_utf8_lossy(&answer);
        let version = answer.split_whitespace().nth(2).unwrap_or("unknown").to_owned();
        Ok(self.version.get_or_init(|| version))
    }

    /// The files of the store, found without the program where that is possible.
    fn store(&self) -> Result<&Store, EngineError> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let known = match &self.options.storage {
            Some(storage) => storage::location(&storage.root, None),
            None => storage::default_location(&Surroundings {
                environment: self.options.environment.clone(),
                is_root: rustix::process::geteuid().is_root(),
                system: vec!["/etc".into(), "/usr/share".into()],
            }),
        };
        let location = match known {
            Some(location) => location,
            None => self.asked_location()?,
        };
        Ok(self.store.get_or_init(|| Store::new(location)))
    }

    fn asked_location(&self) -> Result<Location, EngineError> {
        let answer: serde_json::Value = serde_json::from_slice(&self.program.answer(["info"])?)
            .map_err(|error| EngineError::Unavailable(format!("`buildah info`: {error}")))?;
        let text = |name: &str| answer["store"][name].as_str().map(str::to_owned);
        match (text("GraphRoot"), text("GraphDriverName")) {
            (Some(root), Some(driver)) => Ok(Location { root: root.into(), driver }),
            _ => Err(EngineError::Unavailable("`buildah info` names no store".into())),
        }
    }

    /// What the store knows of an image.
    fn output(&self, id: &OciDigest, references: &[String]) -> Result<Output, EngineError> {
        let store = self.store()?;
        let images = store.images()?;
        let image = find(&images, id)?;
        let layers = store.layers()?;
        let size = store.chain(image, &layers)?.iter().map(|layer| layer.size).sum();
        Ok(Output {
            id: id.clone(),
            manifest: image.digest.clone(),
            references: references.to_vec(),
            diff_ids: store.config(id)?.diff_ids,
            size,
        })
    }

    /// Removes an image if nothing refers to it. An image that somebody still uses stays.
    fn remove_unreferenced(&self, id: &OciDigest) -> Result<(), EngineError> {
        let images = self.store()?.images()?;
        match images.iter().find(|image| image.id == id.hex()) {
            Some(image) if image.names.is_empty() => {}
            _ => return Ok(()),
        }
        match self.program.answer(["rmi", id.hex()]) {
            Err(EngineError::Unavailable(text)) if text.contains("in use") => Ok(()),
            answer => answer.map(|_| ()),
        }
    }
}

impl Engine for Buildah {
    fn capabilities(&self) -> Result<Capabilities, EngineError> {
        Ok(Capabilities {
            class: CLASS.into(),
            version: self.version()?.into(),
            platform: Platform::host(),
            // Layers are; the config of an image in Docker's format names the working container.
            reproducible: false,
            lacks: Vec::new(),
        })
    }

    fn build(
        &self,
        request: &Request,
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Built, EngineError> {
        build::run(self, request, cancel, progress)
    }

    fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError> {
        let images = self.store()?.images()?;
        let by_id: BTreeMap<&str, &Image> =
            images.iter().map(|image| (image.id.as_str(), image)).collect();
        let presence = |output: &&Output| match by_id.get(output.id.hex()) {
            Some(image) => {
                output.presence(|reference| image.names.contains(&names::stored(reference)))
            }
            None => Presence::Missing,
        };
        Ok(outputs.iter().map(presence).collect())
    }

    fn content(
        &self,
        built: &Built,
        known: &BTreeMap<OciDigest, Digest>,
        cancel: &Cancel,
    ) -> Result<Content, EngineError> {
        let store = self.store()?;
        let images = store.images()?;
        let all_layers = store.layers()?;
        let config = store.config(&built.output.id)?;
        let chain = store.chain(find(&images, &built.output.id)?, &all_layers)?;
        let fits = chain.len() == config.diff_ids.len()
            && chain
                .iter()
                .zip(&config.diff_ids)
                .all(|(layer, id)| layer.diff_id.as_ref() == Some(id));
        if !fits {
            let text =
                format!("the layers of image {} are not those of its config", built.output.id);
            return Err(EngineError::Unavailable(text));
        }
        let unknown: BTreeMap<&OciDigest, &Layer> =
            config.diff_ids.iter().zip(chain).filter(|(id, _)| !known.contains_key(id)).collect();
        let (mut read, unread) = layers::from_store(store, &unknown);
        if !unread.is_empty() {
            let id = &built.output.id;
            read.append(&mut layers::from_program(&self.program, id, &unread, cancel)?);
        }
        let digest = |id: &OciDigest| known.get(id).or_else(|| read.get(id)).copied();
        let digests: Vec<Digest> = config.diff_ids.iter().filter_map(digest).collect();
        let id = content::id(&config, &digests);
        Ok(Content { id, layers: read.into_iter().collect() })
    }

    fn tag(&self, id: &OciDigest, references: &[String]) -> Result<(), EngineError> {
        if references.is_empty() {
            return Ok(());
        }
        let arguments = ["tag", id.hex()].into_iter().chain(references.iter().map(String::as_str));
        self.program.answer(arguments).map(|_| ())
    }

    fn push(
        &self,
        id: &OciDigest,
        references: &[String],
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        push::run(self, id, references, cancel, progress)
    }

    fn remove(&self, id: &OciDigest) -> Result<(), EngineError> {
        if self.traffic.postpone(id) { Ok(()) } else { self.remove_unreferenced(id) }
    }

    fn recover(&self) -> Result<(), EngineError> {
        let dead = leftovers::of_the_dead(self.store()?)?;
        build::remove_containers(self, &dead)
    }
}

/// The program on this store, or on its default one.
fn program(path: PathBuf, storage: Option<&Storage>) -> Program {
    let arguments = storage.map(Storage::arguments).unwrap_or_default();
    Program::new(path, arguments, "`apt-get install buildah`")
}

fn find<'a>(images: &'a [Image], id: &OciDigest) -> Result<&'a Image, EngineError> {
    let missing = || EngineError::Unavailable(format!("image {id} is not in buildah's store"));
    images.iter().find(|image| image.id == id.hex()).ok_or_else(missing)
}
