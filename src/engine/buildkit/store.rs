//! The image store of a Docker Engine: what a build left there.
//!
//! The graph driver calls an image by the digest of its config, the containerd store by the digest
//! of its OCI manifest; nothing here has to know which. An image of several platforms, or with
//! attestations, is called by that of its index.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;

use crate::digest::{Digest, OciDigest};
use crate::engine::buildkit::layers::Files;
use crate::engine::content::config::Config;
use crate::engine::cause::{Class, class};
use crate::engine::docker::api::{Api, Inspected, Said};
use crate::engine::docker::credentials::Credentials;
use crate::engine::message::one_line;
use crate::engine::{Built, Cancel, Content, EngineError, Presence, Progress, archive, content};
use crate::history::Output;
use crate::reference::Reference;

/// The header for a registry that is told no name: an empty object, in base64.
const ANONYMOUS: &str = "e30=";
/// How often a raised cancel is looked for.
const TICK: Duration = Duration::from_millis(50);

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    api: Arc<Api>,
    /// What was just built, and will be asked for again at once.
    fresh: Mutex<BTreeMap<OciDigest, Inspected>>,
}

impl Store {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self { api, fresh: Mutex::default() }
    }

    /// What the store has of an image that was just built.
    pub(crate) async fn output(&self, id: &OciDigest) -> Result<Output, EngineError> {
        let inspected = self.inspect(id).await?;
        let layers = inspected.root_fs.layers.as_deref().unwrap_or_default();
        let diff_ids: Result<_, _> = layers.iter().map(|layer| layer.parse()).collect();
        let diff_ids = diff_ids.map_err(|_| odd(id, "a layer without a digest"))?;
        let (size, references) = (inspected.size, Vec::new());
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), inspected);
        Ok(Output { id: id.clone(), manifest: None, references, diff_ids, size })
    }

    /// Where outputs are: one question for all.
    pub(crate) async fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError> {
        let images = self.api.images().await?;
        let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for image in &images {
            let references = image.repo_tags.iter().flatten().map(String::as_str);
            tags.entry(&image.id).or_default().extend(references);
        }
        let presence = |output: &&Output| match tags.get(output.id.as_str()) {
            Some(tags) => output.presence(|reference| tags.contains(&stored(reference).as_str())),
            None => Presence::Missing,
        };
        Ok(outputs.iter().map(presence).collect())
    }

    /// What an image is. Layers in `known` are not read.
    pub(crate) async fn content(
        &self,
        built: &Built,
        known: &BTreeMap<OciDigest, Digest>,
        files: Option<&Files>,
    ) -> Result<Content, EngineError> {
        let id = &built.output.id;
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let inspected = match fresh {
            Some(inspected) => inspected,
            None => self.inspect(id).await?,
        };
        let config = config(&inspected).map_err(|error| odd(id, &error.to_string()))?;
        let unknown = config.diff_ids.iter().filter(|layer| !known.contains_key(layer));
        let mut unknown: BTreeSet<&OciDigest> = unknown.collect();
        let mut read = BTreeMap::new();
        if let Some(files) = files.filter(|_| !unknown.is_empty()) {
            read = files.read(id, &config.diff_ids, &unknown);
            unknown.retain(|layer| !read.contains_key(layer));
        }
        if !unknown.is_empty() {
            let mut known = known.clone();
            known.extend(read.clone());
            let exported = self.api.export(id.as_str(), move |tar| archive::content(tar, &known));
            read.extend(exported.await?.layers);
        }
        let digest = |layer: &OciDigest| known.get(layer).or_else(|| read.get(layer)).copied();
        let digests: Option<Vec<Digest>> = config.diff_ids.iter().map(digest).collect();
        let digests = digests.ok_or_else(|| odd(id, "a layer is not in what it exports"))?;
        Ok(Content { id: content::id(&config, &digests), layers: read.into_iter().collect() })
    }

    /// Points references at an image.
    pub(crate) async fn tag(&self, id: &OciDigest, references: &[String]) -> Result<(), EngineError> {
        for reference in references {
            let (repository, tag) = split(reference)?;
            self.api.tag(id.as_str(), &repository, &tag).await?;
        }
        Ok(())
    }

    /// Removes an image that has no reference. One that is used stays.
    pub(crate) async fn remove(&self, id: &OciDigest) -> Result<(), EngineError> {
        let Some(inspected) = self.api.inspect(id.as_str()).await? else { return Ok(()) };
        if inspected.repo_tags.is_none_or(|tags| tags.is_empty()) {
            self.api.remove(id.as_str()).await?;
        }
        Ok(())
    }

    /// Pushes references of an image, in their order.
    pub(crate) async fn push(
        &self,
        references: &[String],
        credentials: &Arc<Credentials>,
        (cancel, progress): (&Cancel, &mut dyn FnMut(Progress)),
    ) -> Result<(), EngineError> {
        for reference in references {
            let (repository, tag) = split(reference)?;
            let header = header(credentials, reference).await?;
            progress(Progress::Log(format!("pushing {reference}")));
            let mut failure = None;
            let mut said = |said: Said| match said.error {
                Some(error) => failure = Some(error),
                None if said.id.is_empty() => progress(Progress::Log(said.status)),
                None => {}
            };
            let pushing = self.api.push((&repository, &tag), &header, &mut said);
            unless_cancelled(cancel, pushing).await??;
            if let Some(error) = failure {
                return Err(refused(reference, &error));
            }
        }
        Ok(())
    }

    async fn inspect(&self, id: &OciDigest) -> Result<Inspected, EngineError> {
        let found = self.api.inspect(id.as_str()).await?;
        found.ok_or_else(|| EngineError::Unavailable(format!("the store has no image {id}")))
    }
}

/// The config document, as far as it counts, from what the API tells.
fn config(inspected: &Inspected) -> Result<Config, content::config::ConfigError> {
    let document = json!({
        "architecture": inspected.architecture,
        "variant": inspected.variant,
        "os": inspected.os,
        "author": inspected.author,
        "config": inspected.config,
        "rootfs": { "diff_ids": inspected.root_fs.layers },
    });
    Config::parse(document.to_string().as_bytes())
}

/// What the daemon is to tell the registry of a reference.
async fn header(credentials: &Arc<Credentials>, reference: &str) -> Result<String, EngineError> {
    let parsed = Reference::parse(reference);
    let parsed = parsed.map_err(|error| EngineError::Unsupported(format!("{reference}: {error}")))?;
    let credentials = Arc::clone(credentials);
    // A credential helper is a program.
    let asked = tokio::task::spawn_blocking(move || credentials.for_host(&parsed.domain));
    let found = asked.await.map_err(|error| EngineError::Unavailable(error.to_string()))?;
    let found = found.map_err(|error| EngineError::Auth(error.to_string()))?;
    Ok(found.map_or_else(|| ANONYMOUS.to_owned(), |credential| credential.header()))
}

/// A push that failed, by the words of daemon and registry.
fn refused(reference: &str, error: &str) -> EngineError {
    let message = one_line(&format!("cannot push {reference}: {error}"));
    match class(error) {
        Class::Auth => EngineError::Auth(message),
        Class::User => EngineError::Unsupported(message),
        Class::Unavailable => EngineError::Unavailable(message),
    }
}

/// Waits for something, but not longer than until `cancel` is raised: then it is dropped.
async fn unless_cancelled<T>(
    cancel: &Cancel,
    work: impl Future<Output = T>,
) -> Result<T, EngineError> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            () = tokio::time::sleep(TICK) => {
                if cancel.is_raised() {
                    return Err(EngineError::Cancelled);
                }
            }
        }
    }
}

/// A reference as the store lists it.
fn stored(reference: &str) -> String {
    let Ok(parsed) = Reference::parse(reference) else { return reference.to_owned() };
    let tag = parsed.tag_or_latest().unwrap_or_default();
    format!("{}:{tag}", parsed.familiar_repository())
}

/// Repository and tag, as the API takes them.
pub(crate) fn split(reference: &str) -> Result<(String, String), EngineError> {
    let wrong = |error| EngineError::Unsupported(format!("`{reference}`: {error}"));
    let parsed = Reference::parse(reference).map_err(|error| wrong(error.to_string()))?;
    let tag = parsed.tag_or_latest().ok_or_else(|| wrong("there is no tag".to_owned()))?;
    Ok((parsed.familiar_repository(), tag.to_owned()))
}

fn odd(id: &OciDigest, what: &str) -> EngineError {
    EngineError::Unavailable(format!("the store's image {id} is odd: {what}"))
}
