//! The image store of a Docker Engine: what a build left there.
//!
//! The graph driver calls an image by the digest of its config, the containerd store by the digest
//! of its OCI manifest; nothing here has to know which. An image of several platforms, or with
//! attestations, is called by that of its index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::digest::{Digest, OciDigest};
use crate::dockerconfig::credentials::Credentials;
use crate::engine::buildkit::layers::Files;
use crate::engine::cause::{Class, class};
use crate::engine::content::config::Config;
use crate::engine::docker::api::Api;
use crate::engine::docker::documents::{Inspected, Said};
use crate::engine::message::one_line;
use crate::engine::{Built, Cancel, Content, EngineError, Presence, Progress, archive, content};
use crate::history::Output;
use crate::image::Platform;
use crate::reference::Reference;

/// The header for a registry that is told no name: an empty object, in base64.
const ANONYMOUS: &str = "e30=";
/// With more patterns than this the store takes longer to match than to tell of all images.
const MOST_PATTERNS: usize = 16;

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

    /// Whether an image that was just built says it was made at this time, in seconds.
    pub(crate) fn has_time(&self, id: &OciDigest, epoch: u64) -> bool {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let created = fresh.get(id).and_then(|image| image.created.as_deref());
        created.is_some_and(|created| created.starts_with(&utc(epoch)))
    }

    /// Where outputs are: one question for all.
    pub(crate) async fn present(&self, outputs: &[&Output]) -> Result<Vec<Presence>, EngineError> {
        let images = self.api.images(&patterns(outputs)).await?;
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
    pub(crate) async fn tag(
        &self,
        id: &OciDigest,
        references: &[String],
    ) -> Result<(), EngineError> {
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
            cancel.unless_raised(pushing).await.ok_or(EngineError::Cancelled)??;
            if let Some(error) = failure {
                return Err(refused("push", reference, &error));
            }
        }
        Ok(())
    }

    /// Pulls images.
    pub(crate) async fn pull(
        &self,
        references: &[String],
        platform: &Platform,
        (credentials, cancel): (&Arc<Credentials>, &Cancel),
    ) -> Result<(), EngineError> {
        for reference in references {
            let header = header(credentials, reference).await?;
            let mut failure = None;
            let mut said = |said: Said| failure = said.error.or(failure.take());
            let platform = platform.to_string();
            let pulling = self.api.pull((reference, &platform), &header, &mut said);
            cancel.unless_raised(pulling).await.ok_or(EngineError::Cancelled)??;
            if let Some(error) = failure {
                return Err(refused("pull", reference, &error));
            }
        }
        Ok(())
    }

    async fn inspect(&self, id: &OciDigest) -> Result<Inspected, EngineError> {
        let found = self.api.inspect(id.as_str()).await?;
        found.ok_or_else(|| EngineError::Unavailable(format!("the store has no image {id}")))
    }
}

/// A time without fractions, as config documents begin with it: `1970-01-01T00:00:00`.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
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
    let parsed =
        parsed.map_err(|error| EngineError::Unsupported(format!("{reference}: {error}")))?;
    let credentials = Arc::clone(credentials);
    // A credential helper is a program.
    let asked = tokio::task::spawn_blocking(move || credentials.for_host(&parsed.domain));
    let found = asked.await.map_err(|error| EngineError::Unavailable(error.to_string()))?;
    let found = found.map_err(|error| EngineError::Auth(error.to_string()))?;
    Ok(found.map_or_else(|| ANONYMOUS.to_owned(), |credential| credential.header()))
}

/// A push or pull that failed, by the words of daemon and registry.
fn refused(what: &str, reference: &str, error: &str) -> EngineError {
    let message = one_line(&format!("cannot {what} {reference}: {error}"));
    match class(error) {
        Class::Auth => EngineError::Auth(message),
        Class::User => EngineError::Unsupported(message),
        Class::Unavailable => EngineError::Unavailable(message),
    }
}

/// Patterns over the repositories of outputs, by first part and depth (`acme/*/*`): a repository for
/// each would be a list as long as the store's. None where that is so.
fn patterns(outputs: &[&Output]) -> Vec<String> {
    let mut patterns = BTreeSet::new();
    for reference in outputs.iter().flat_map(|output| &output.references) {
        let Ok(parsed) = Reference::parse(reference) else { return Vec::new() };
        let repository = parsed.familiar_repository();
        let (first, rest) = repository.split_once('/').unwrap_or((&repository, ""));
        let depth = rest.split('/').filter(|part| !part.is_empty()).count();
        patterns.insert(format!("{first}{}", "/*".repeat(depth)));
        if patterns.len() > MOST_PATTERNS {
            return Vec::new();
        }
    }
    patterns.into_iter().collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_config_documents_have_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_826_154, "2000-02-29T12:09:14"),
            (1_700_000_000, "2023-11-14T22:13:20"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn the_store_is_asked_for_the_repositories_of_the_outputs() {
        let output = |reference: &str| Output {
            id: OciDigest::of_content(b""),
            manifest: None,
            references: vec![reference.to_owned()],
            diff_ids: Vec::new(),
            size: 0,
        };
        let all =
            ["acme/base:1", "acme/java/jre:ig-1", "acme/java/jdk:1", "base:1", "r:5000/a/b:1"];
        let all = all.map(output);
        let patterns = patterns(&all.iter().collect::<Vec<_>>());
        assert_eq!(patterns, ["acme/*", "acme/*/*", "base", "r:5000/*/*"]);
    }

    #[test]
    fn references_are_compared_as_the_store_lists_them() {
        assert_eq!(stored("docker.io/library/debian"), "debian:latest");
        assert_eq!(stored("localhost:5000/a/b:1"), "localhost:5000/a/b:1");
        assert_eq!(split("acme/base:ig-1").unwrap(), ("acme/base".into(), "ig-1".into()));
    }
}
