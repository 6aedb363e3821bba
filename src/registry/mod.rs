//! Registries: manifests, blobs, uploads and tags, by the OCI distribution-spec over HTTP.
//!
//! [`Registry`] blocks, and may be asked by many threads at once; what is asynchronous stays in
//! here. What it says is exact: refused, missing and not available are three things
//! ([`RegistryError`]). It decides nothing: which images there are, and which are pushed, is not
//! known here.
//!
//! | file | knows |
//! |---|---|
//! | `host`, `wire`, `proxy`, `body` | where a registry is and on which terms; connections, and the way there; what they carry |
//! | `challenge`, `auth` | what it wants to be shown; logins and tokens |
//! | `call`, `location`, [`error`] | one question: redirects, tries, and what an answer means |
//! | [`manifests`], `blobs`, [`upload`], `tags` | the questions |
//! | [`copy`] | an image from one repository to another |
//! | `cache` | documents that never change, on this machine |
//!
//! It is our own on hyper, which is here for BuildKit anyway: a client crate would bring a second
//! HTTP stack and takes the tokens, tries and notes that are told out of our hands.

mod auth;
mod blobs;
mod body;
mod cache;
mod call;
mod challenge;
pub mod copy;
pub mod error;
mod host;
mod location;
pub mod manifests;
mod proxy;
mod tags;
pub mod upload;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::unbounded_channel;

use crate::cancel::Cancel;
use crate::digest::OciDigest;
use crate::dockerconfig::credentials::Credentials;
use crate::layers::RegistryTerms;
use crate::reference::Reference;
use crate::registry::cache::Cache;
use crate::registry::call::{Client, Repository};
use crate::registry::copy::{Copied, Route};
pub use crate::registry::error::RegistryError;
use crate::registry::host::Terms;
use crate::registry::manifests::{Found, Manifest};
use crate::registry::proxy::Proxies;
use crate::registry::upload::{Parcel, Sent};
use crate::registry::wire::Wire;

/// Threads of the runtime: they only pass bytes on.
const THREADS: usize = 1;
/// Threads that read files, look names up and ask credential helpers.
const BLOCKING: usize = 32;

/// How registries are to be asked.
#[derive(Debug)]
pub struct Options {
    /// Logins.
    pub credentials: Credentials,
    /// What `layers.toml` says of them, by host.
    pub terms: BTreeMap<String, RegistryTerms>,
    /// The environment, for what it says of proxies.
    pub environment: BTreeMap<String, String>,
    /// The directories of docker's `certs.d`, the first one first.
    pub certificates: Vec<PathBuf>,
    /// Where documents that never change are kept, absolute; `None`: nowhere.
    pub cache: Option<PathBuf>,
}

/// All registries.
pub struct Registry {
    /// Made when something is asked.
    runtime: OnceLock<Runtime>,
    client: Arc<Client>,
}

/// Who watches a question.
pub struct Watch<'a> {
    /// Ends it.
    pub cancel: &'a Cancel,
    /// Is told why it takes longer: a sentence.
    pub say: &'a mut dyn FnMut(String),
}

impl Options {
    /// Without terms, certificates, proxies and a cache.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            terms: BTreeMap::new(),
            environment: BTreeMap::new(),
            certificates: Vec::new(),
            cache: None,
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// Registries with these options. Connects to none yet.
    pub fn new(options: Options) -> Self {
        let terms = Terms { said: options.terms, certificates: options.certificates };
        let cache = options.cache.map(Cache::new);
        let wire = Wire::new(Proxies::new(&options.environment));
        let client = Arc::new(Client::new(options.credentials, terms, cache, wire));
        Self { runtime: OnceLock::new(), client }
    }

    fn runtime(&self) -> Result<&Runtime, RegistryError> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let mut builder = Builder::new_multi_thread();
        let runtime =
            builder.worker_threads(THREADS).max_blocking_threads(BLOCKING).enable_all().build();
        let runtime = runtime.map_err(|source| {
            let action = "start the threads that ask registries".to_owned();
            RegistryError::File { action, source }
        })?;
        Ok(self.runtime.get_or_init(|| runtime))
    }

    /// What a reference points at now.
    pub fn find(&self, reference: &Reference, watch: Watch<'_>) -> Result<Found, RegistryError> {
        self.wait(reference, watch, async |repository| {
            repository.find(reference, repository.reading()).await
        })
    }

    /// The manifest or index that a reference points at.
    pub fn manifest(
        &self,
        reference: &Reference,
        watch: Watch<'_>,
    ) -> Result<Manifest, RegistryError> {
        self.wait(reference, watch, async |repository| repository.manifest(reference).await)
    }

    /// Puts a manifest or an index where a reference points: under its digest, or under a tag, which
    /// moves. All that it names has to be there.
    pub fn put_manifest(
        &self,
        reference: &Reference,
        (media_type, bytes): (&str, &[u8]),
        watch: Watch<'_>,
    ) -> Result<(), RegistryError> {
        self.wait(reference, watch, async |repository| {
            repository.put_manifest(reference, media_type, bytes).await
        })
    }

    /// Writes the bytes of a blob of the repository of a reference. Where they are not what the
    /// digest says that is an error, but they have been written.
    pub fn read_blob(
        &self,
        reference: &Reference,
        blob: (&OciDigest, u64),
        to: &mut (dyn Write + Send),
        watch: Watch<'_>,
    ) -> Result<(), RegistryError> {
        self.wait(reference, watch, async |repository| repository.read_blob(blob, to).await)
    }

    /// The bytes of a small blob, for example a config.
    pub fn document(
        &self,
        reference: &Reference,
        blob: (&OciDigest, u64),
        watch: Watch<'_>,
    ) -> Result<Vec<u8>, RegistryError> {
        self.wait(reference, watch, async |repository| repository.document(blob).await)
    }

    /// Brings blobs into the repository of a reference, several at once.
    pub fn send(
        &self,
        reference: &Reference,
        parcels: Vec<Parcel>,
        watch: Watch<'_>,
    ) -> Result<Vec<Sent>, RegistryError> {
        self.wait(reference, watch, async |repository| repository.send(parcels).await)
    }

    /// Copies an image from one repository to another, or to other tags of the same one.
    pub fn copy(&self, route: &Route<'_>, watch: Watch<'_>) -> Result<Copied, RegistryError> {
        self.wait(route.to, watch, async |target| {
            let source = target.client.repository(route.from, target.notes.clone())?;
            source.copy(target, route).await
        })
    }

    /// Which of these tags of the repository of a reference do not point at a digest.
    pub fn lacking(
        &self,
        reference: &Reference,
        (tags, digest): (&[String], &OciDigest),
        watch: Watch<'_>,
    ) -> Result<Vec<String>, RegistryError> {
        self.wait(reference, watch, async |repository| {
            repository.lacking(reference, (tags, digest)).await
        })
    }

    /// The tags of the repository of a reference, sorted.
    pub fn tags(
        &self,
        reference: &Reference,
        watch: Watch<'_>,
    ) -> Result<Vec<String>, RegistryError> {
        self.wait(reference, watch, async |repository| repository.tags().await)
    }

    /// Waits for an answer, and tells what there is to tell meanwhile.
    fn wait<T>(
        &self,
        reference: &Reference,
        watch: Watch<'_>,
        ask: impl AsyncFnOnce(&Repository) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let (sender, mut notes) = unbounded_channel();
        let repository = self.client.repository(reference, sender)?;
        let Watch { cancel, say } = watch;
        self.runtime()?.block_on(async {
            let mut answer = pin!(cancel.unless_raised(ask(&repository)));
            let answer = loop {
                tokio::select! {
                    Some(note) = notes.recv() => say(note),
                    answer = &mut answer => break answer,
                }
            };
            // What was noted last may have come together with the answer.
            while let Ok(note) = notes.try_recv() {
                say(note);
            }
            answer.unwrap_or(Err(RegistryError::Cancelled))
        })
    }
}
