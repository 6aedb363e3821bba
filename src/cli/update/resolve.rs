//! What a reference points at now, for the platforms that are wanted.
//!
//! The registry is asked what the tag points at, which is not much of a question; only where that is
//! not what is locked already, the document is read. An image without an index stands for every
//! platform, as it does for the engines.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::cancel::Cancel;
use crate::digest::OciDigest;
use crate::image::Platform;
use crate::lockfile::Locked;
use crate::reference::Reference;
use crate::registry::error::RegistryError;
use crate::registry::{Registry, Watch};

/// What came of looking a reference up.
#[derive(Debug)]
pub(crate) enum Answer {
    /// What is locked stands.
    Stands,
    /// It is this now.
    Is(Locked),
    /// There is no image for these platforms.
    Lacks(Vec<Platform>),
}

/// A reference to look up.
pub(crate) struct Question<'a> {
    /// By its tag.
    pub(crate) reference: &'a Reference,
    /// For which platforms.
    pub(crate) platforms: &'a BTreeSet<Platform>,
    /// What is locked.
    pub(crate) old: Option<&'a Locked>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    digest: OciDigest,
    platform: Option<Of>,
}

#[derive(Deserialize)]
struct Of {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

/// Asks a registry.
pub(crate) fn resolve(
    registry: &Registry,
    question: &Question<'_>,
    cancel: &Cancel,
    say: &mut dyn FnMut(String),
) -> Result<Answer, RegistryError> {
    let Question { reference, platforms, old } = question;
    let digest = registry.find(reference, Watch { cancel, say: &mut *say })?.digest;
    let has_all = |locked: &&Locked| platforms.iter().eq(locked.platforms.keys());
    if old.filter(has_all).is_some_and(|old| old.digest == digest) {
        return Ok(Answer::Stands);
    }
    // By its digest, which cannot move in the meantime.
    let named = Reference { tag: None, digest: Some(digest.clone()), ..(*reference).clone() };
    let manifest = registry.manifest(&named, Watch { cancel, say })?;
    let index: Index = serde_json::from_slice(&manifest.bytes).map_err(|error| {
        let (registry, what) = (reference.domain.clone(), format!("manifest {reference}"));
        RegistryError::Wrong { registry, what, why: error.to_string() }
    })?;
    let mut locked = Locked { digest: digest.clone(), platforms: BTreeMap::new() };
    let mut lacks = Vec::new();
    for platform in *platforms {
        let image = match &index.manifests {
            None => Some(&digest),
            Some(entries) => chosen(entries, platform),
        };
        match image {
            Some(image) => drop(locked.platforms.insert(platform.clone(), image.clone())),
            None => lacks.push(platform.clone()),
        }
    }
    if !lacks.is_empty() {
        return Ok(Answer::Lacks(lacks));
    }
    // A tag that moved for other platforms only has not moved for us.
    if old.is_some_and(|old| old.platforms == locked.platforms) {
        return Ok(Answer::Stands);
    }
    Ok(Answer::Is(locked))
}

/// The image of an index for a platform: the first that is it, else the best that runs on it
/// (containerd `platforms/compare.go`: an older variant of the same processor).
fn chosen<'a>(entries: &'a [Entry], platform: &Platform) -> Option<&'a OciDigest> {
    let of = |entry: &Entry| {
        let Of { os, architecture, variant } = entry.platform.as_ref()?;
        let text = match variant.as_str() {
            "" => format!("{os}/{architecture}"),
            variant => format!("{os}/{architecture}/{variant}"),
        };
        text.parse::<Platform>().ok()
    };
    let known: Vec<(Platform, &OciDigest)> =
        entries.iter().filter_map(|entry| Some((of(entry)?, &entry.digest))).collect();
    if let Some((_, digest)) = known.iter().find(|(known, _)| known == platform) {
        return Some(digest);
    }
    let older = known.iter().filter(|(known, _)| {
        known.os == platform.os
            && known.arch == platform.arch
            && rank(known).is_some_and(|known| rank(platform).is_some_and(|wanted| known < wanted))
    });
    older.max_by_key(|(known, _)| rank(known)).map(|(_, digest)| *digest)
}

/// Which of the variants of a processor is newer. None means the first of `amd64`, and `v8` of `arm64`.
fn rank(platform: &Platform) -> Option<u32> {
    match (platform.arch.as_str(), platform.variant.as_str()) {
        ("amd64", "") => Some(1),
        ("arm64", "") => Some(8),
        (_, variant) => variant.strip_prefix('v')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_of(known: &[&str], wanted: &str) -> Option<String> {
        let entry = |text: &&str| {
            let mut parts = text.split('/').map(str::to_owned);
            let mut part = || parts.next().unwrap_or_default();
            let of = Of { os: part(), architecture: part(), variant: part() };
            Entry { digest: OciDigest::of_content(text.as_bytes()), platform: Some(of) }
        };
        let entries: Vec<Entry> = known.iter().map(entry).collect();
        let digest = chosen(&entries, &wanted.parse().unwrap())?.clone();
        let is_it = |text: &&&str| OciDigest::of_content(text.as_bytes()) == digest;
        known.iter().find(is_it).map(|text| (*text).to_owned())
    }

    #[test]
    fn an_index_has_an_image_for_a_platform_or_not() {
        // containerd platforms/compare.go
        for (known, wanted, expected) in [
            (&["linux/amd64", "linux/arm64/v8"][..], "linux/arm64", Some("linux/arm64/v8")),
            (&["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", Some("linux/arm/v6")),
            (&["linux/arm/v7"], "linux/arm/v6", None),
            (&["linux/amd64"], "linux/amd64/v3", Some("linux/amd64")),
            (&["windows/amd64", "unknown/unknown"], "linux/amd64", None),
            (&[], "linux/amd64", None),
        ] {
            assert_eq!(chosen_of(known, wanted).as_deref(), expected, "{known:?} {wanted}");
        }
    }
}
