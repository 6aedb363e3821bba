//! The engine that drives BuildKit itself, over gRPC: the one in a Docker Engine, or a `buildkitd`.
//!
//! One connection and one session serve all builds of a run. BuildKit asks the session for what a
//! build reads, and gets exactly the files that were fingerprinted. No program is started.
//!
//! What is asynchronous stays in here: every call of [`Engine`] blocks on the runtime of this engine.

mod abilities;
mod build;
mod caches;
mod given;
mod images;
mod layers;
mod leftovers;
mod link;
pub(crate) mod pins;
mod served;
mod session;
mod solve;
mod store;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Mutex;

use crate::digest::{Digest, OciDigest};
use crate::dockerconfig::credentials::Credentials;
use crate::engine::buildkit::abilities::Abilities;
use crate::engine::buildkit::images::Images;
use crate::engine::buildkit::link::{Daemon, Link};
use crate::engine::buildkit::session::content::Stores;
use crate::engine::buildkit::store::Store;
use crate::engine::docker::api::Api;
use crate::engine::docker::endpoint::Endpoint;
use crate::engine::layout::Layout;
use crate::engine::warned::Warned;
use crate::engine::{
    Built, Cancel, Capabilities, Content, Engine, EngineError, Presence, Progress, Request,
};
use crate::history::Output;
use crate::registry::Registry;

/// What a record calls this engine with the store of a Docker Engine.
pub const DOCKER: &str = "buildkit docker";
/// What a record calls it with an OCI image layout of our own.
pub const LAYOUT: &str = "buildkit layout";

/// Threads of the runtime: they only pass bytes on.
const THREADS: usize = 1;
/// Threads that read files and ask credential helpers. Each has memory of its own.
const BLOCKING: usize = 4;

/// Which BuildKit builds, and where images are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The one in a Docker Engine, which keeps them.
    Docker(Endpoint),
    /// A `buildkitd`, which keeps none.
    Buildkitd {
        /// Where it is.
        endpoint: Endpoint,
        /// The directory of the OCI image layout that keeps them, absolute; made where it is not
        /// there.
        layout: PathBuf,
    },
}

impl Target {
    /// What a record calls this engine with this store.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Docker(_) => DOCKER,
            Self::Buildkitd { .. } => LAYOUT,
        }
    }
}

/// How BuildKit is to be used.
#[derive(Debug)]
pub struct Options {
    /// Which, and where images are kept.
    pub target: Target,
    /// Registry credentials.
    pub credentials: Credentials,
    /// Where images go that no daemon keeps.
    pub registry: Arc<Registry>,
    /// The environment that this process was started with.
    pub environment: BTreeMap<String, String>,
    /// The root of the workspace, absolute: what secrets are relative to, and what names the
    /// contexts of its images apart from those of others.
    pub root: PathBuf,
}

/// The engine.
#[derive(Debug)]
pub struct BuildKit {
    runtime: Runtime,
    class: &'static str,
    daemon: Daemon,
    images: Images,
    /// What a daemon reads and writes through its session.
    stores: Arc<Stores>,
    link: Mutex<Option<Arc<Link>>>,
    abilities: OnceLock<Abilities>,
    credentials: Arc<Credentials>,
    registry: Arc<Registry>,
    environment: Arc<BTreeMap<String, String>>,
    root: PathBuf,
    warned: Warned,
}

impl BuildKit {
    /// The engine with these options. Connects to nothing yet.
    pub fn new(options: Options) -> Result<Self, EngineError> {
        let mut builder = Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(THREADS).max_blocking_threads(BLOCKING).enable_all().build();
        let runtime = runtime.map_err(|error| {
            EngineError::Unavailable(format!("cannot start the threads of the engine: {error}"))
        })?;
        let class = options.target.class();
        let (daemon, images, stores) = match options.target {
            Target::Docker(endpoint) => {
                let api = Arc::new(Api::new(endpoint));
                let images = Images::Docker(Store::new(Arc::clone(&api)));
                (Daemon::Docker(api), images, Stores::default())
            }
            Target::Buildkitd { endpoint, layout } => {
                let layout = Arc::new(Layout::new(layout));
                let stores = Stores::with_images(&layout);
                (Daemon::Buildkitd(endpoint), Images::Layout(layout), stores)
            }
        };
        Ok(Self {
            runtime,
            class,
            daemon,
            images,
            stores: Arc::new(stores),
            link: Mutex::default(),
            abilities: OnceLock::new(),
            credentials: Arc::new(options.credentials),
            registry: options.registry,
            environment: Arc::new(options.environment),
            root: options.root,
            warned: Warned::default(),
        })
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The connection: the one that is open, else a new one.
    async fn link(&self) -> Result<Arc<Link>, EngineError> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| link.is_open()) {
            return Ok(Arc::clone(link));
        }
        let opened = Arc::new(Link::open(&self.daemon).await?);
        *link = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// What the daemon can do; asked once.
    async fn abilities(&self) -> Result<&Abilities, EngineError> {
        if let Some(abilities) = self.abilities.get() {
            return Ok(abilities);
        }
        let abilities = abilities::probe(&self.daemon, &*self.link().await?).await?;
        Ok(self.abilities.get_or_init(|| abilities))
    }
}

impl Engine for BuildKit {
    fn capabilities(&self) -> Result<Capabilities, EngineError> {
        let abilities = self.wait(self.abilities())?;
        Ok(Capabilities {
            class: self.class.to_owned(),
            version: abilities.version.clone(),
            platform: abilities.platform.clone(),
            reproducible: abilities.rewrites_times,
            lacks: abilities.lacks(),
        })
    }

    fn build(
        &self,
        request: &Request,
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Built, EngineError> {
        self.wait(build::run(self, request, cancel, progress))
    }

    fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError> {
        self.wait(self.images.present(outputs))
    }

    fn content(
        &self,
        built: &Built,
        known: &BTreeMap<OciDigest, Digest>,
        cancel: &Cancel,
    ) -> Result<Content, EngineError> {
        self.wait(solve::unless_cancelled(cancel, async {
            let files = self.abilities().await?.files.as_ref();
            self.images.content(built, known, files).await
        }))
    }

    fn tag(&self, id: &OciDigest, references: &[String]) -> Result<(), EngineError> {
        self.wait(self.images.tag(id, references))
    }

    fn push(
        &self,
        id: &OciDigest,
        references: &[String],
        cancel: &Cancel,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), EngineError> {
        let watched = (cancel, progress);
        match &self.images {
            Images::Docker(store) => self.wait(store.push(references, &self.credentials, watched)),
            // The daemon keeps nothing that it could push.
            Images::Layout(layout) => layout.push(id, references, &self.registry, watched),
        }
    }

    fn remove(&self, id: &OciDigest) -> Result<(), EngineError> {
        self.wait(self.images.remove(id))
    }

    fn recover(&self) -> Result<(), EngineError> {
        self.images.recover()
    }
}

/// An id for a build or a session: as good as never the same twice.
fn random_id() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    Digest::from_bytes(bytes).to_string()
}
