//! The client of registries: with a registry in memory, and with real ones where
//! `IMGRAPH_TEST_REGISTRY` and its sisters name them (`tests/engines/engines`).

mod copy;
mod faults;
pub(crate) mod front;
mod login;
pub(crate) mod memory;
mod questions;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use imgraph::cancel::Cancel;
use imgraph::digest::OciDigest;
use imgraph::dockerconfig::credentials::Credentials;
use imgraph::reference::Reference;
use imgraph::registry::error::RegistryError;
use imgraph::registry::upload::{Parcel, Sent};
use imgraph::registry::{Options, Registry, Watch};
use serde_json::json;
use tempfile::TempDir;

use self::front::{Behind, Front};
use crate::conformance::aloud;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry behind a front, and a client of it.
pub(crate) struct Bench {
    home: TempDir,
    pub(crate) front: Front,
    pub(crate) registry: Registry,
    /// The first part of the names of all repositories: real registries remember those of others.
    place: String,
}

/// An image whose layers say who it is.
struct Image {
    blobs: Vec<Vec<u8>>,
    manifest: Vec<u8>,
}

impl Image {
    /// One with a layer for each word.
    fn new(words: &[&str]) -> Self {
        let config =
            json!({ "architecture": "amd64", "os": "linux", "config": { "Labels": words } });
        let layers = words.iter().map(|word| word.as_bytes().to_vec());
        let blobs: Vec<_> = [config.to_string().into_bytes()].into_iter().chain(layers).collect();
        let descriptor = |(row, blob): (usize, &Vec<u8>)| {
            let kind = if row == 0 { "config.v1+json" } else { "layer.v1.tar" };
            json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": OciDigest::of_content(blob).as_str(),
                "size": blob.len(),
            })
        };
        let described: Vec<_> = blobs.iter().enumerate().map(descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described[0],
            "layers": described[1..],
        });
        // A blank, so that a spoilt one is JSON, too.
        let manifest = format!("{manifest} ").into_bytes();
        Self { blobs, manifest }
    }

    fn digest(&self) -> OciDigest {
        OciDigest::of_content(&self.manifest)
    }
}

impl Bench {
    /// With a registry in memory.
    pub(crate) fn new() -> Self {
        Self::with(Behind::Memory(Arc::default()), &BTreeMap::new())
    }

    /// In memory, and with a real one where there is one.
    fn each(test: impl Fn(&Self)) {
        test(&Self::new());
        match std::env::var("IMGRAPH_TEST_REGISTRY") {
            Ok(host) => test(&Self::with(Behind::Registry(host), &BTreeMap::new())),
            Err(_) => aloud("registry  skipped: a real one: IMGRAPH_TEST_REGISTRY is not set"),
        }
    }

    pub(crate) fn with(behind: Behind, environment: &BTreeMap<String, String>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let home = tempfile::tempdir().unwrap();
        let front = Front::new(behind);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let place = format!("t{now}-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let registry = client(&home, &front.host, environment);
        Self { home, front, registry, place }
    }

    /// Forgets everything that the client knows.
    fn forget(&mut self) {
        self.registry = client(&self.home, &self.front.host, &BTreeMap::new());
    }

    /// Has the client wait for no more than an instant.
    fn is_impatient(&mut self) {
        self.registry = patient(&self.home, (&self.front.host, "300ms"), &BTreeMap::new());
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{}/{rest}", self.front.host, self.place).parse().unwrap()
    }

    /// Puts an image of each word, for its platform, behind a tag.
    pub(crate) fn publish(&self, rest: &str, words: &[(&str, &str)]) -> OciDigest {
        let tag = self.reference(rest);
        let mut entries = Vec::new();
        for (platform, word) in words {
            let image = Image::new(&[word]);
            let digest = Some(image.digest());
            self.push(&image, &Reference { tag: None, digest, ..tag.clone() }).unwrap();
            let (os, architecture) = platform.split_once('/').unwrap();
            entries.push(json!({
                "mediaType": MANIFEST,
                "digest": image.digest().as_str(),
                "size": image.manifest.len(),
                "platform": { "os": os, "architecture": architecture },
            }));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let index = index.to_string().into_bytes();
        let put = |watch: Watch<'_>| self.registry.put_manifest(&tag, (INDEX, &index), watch);
        self.ask(put).0.unwrap();
        self.front.asked();
        OciDigest::of_content(&index)
    }

    /// A reference of this registry, as Dockerfiles have it.
    pub(crate) fn name(&self, rest: &str) -> String {
        self.reference(rest).to_string()
    }

    /// What a tag points at.
    pub(crate) fn digest_of(&self, rest: &str) -> String {
        self.digest(&self.reference(rest)).unwrap().to_string()
    }

    /// The manifest that a tag points at.
    pub(crate) fn json(&self, rest: &str) -> serde_json::Value {
        let found = self.ask(|watch| self.registry.manifest(&self.reference(rest), watch)).0;
        serde_json::from_slice(&found.unwrap().bytes).unwrap()
    }

    /// Points a tag at what it points at now, when it is asked to.
    pub(crate) fn rewinds(&self, rest: &str) -> impl Fn() {
        let at = self.reference(rest);
        let there = self.ask(|watch| self.registry.manifest(&at, watch)).0.unwrap();
        move || {
            let manifest = (&*there.media_type, &*there.bytes);
            self.ask(|watch| self.registry.put_manifest(&at, manifest, watch)).0.unwrap();
        }
    }

    /// The tags of a repository, sorted.
    pub(crate) fn tags_of(&self, rest: &str) -> Vec<String> {
        self.ask(|watch| self.registry.tags(&self.reference(rest), watch)).0.unwrap()
    }

    /// The same, none where there is no repository.
    pub(crate) fn tags_or_none(&self, rest: &str) -> Vec<String> {
        self.ask(|watch| self.registry.tags(&self.reference(rest), watch)).0.unwrap_or_default()
    }

    fn parcels(&self, blobs: &[Vec<u8>]) -> Vec<Parcel> {
        let parcel = |blob: &Vec<u8>| {
            let digest = OciDigest::of_content(blob);
            let path = self.home.path().join(digest.hex());
            fs::write(&path, blob).unwrap();
            Parcel { digest, size: blob.len() as u64, path, elsewhere: Vec::new() }
        };
        blobs.iter().map(parcel).collect()
    }

    fn send(&self, to: &Reference, blobs: &[Vec<u8>]) -> Result<Vec<Sent>, RegistryError> {
        let cancel = Cancel::default();
        let watch = Watch { cancel: &cancel, say: &mut |_| {} };
        self.registry.send(to, self.parcels(blobs), watch)
    }

    fn push(&self, image: &Image, to: &Reference) -> Result<Vec<Sent>, RegistryError> {
        let sent = self.send(to, &image.blobs)?;
        self.ask(|watch| self.registry.put_manifest(to, (MANIFEST, &image.manifest), watch)).0?;
        Ok(sent)
    }

    /// Asks, and returns what was told meanwhile as well.
    fn ask<T>(
        &self,
        ask: impl FnOnce(Watch<'_>) -> Result<T, RegistryError>,
    ) -> (Result<T, RegistryError>, Vec<String>) {
        let (cancel, mut notes) = (Cancel::default(), Vec::new());
        let asked = ask(Watch { cancel: &cancel, say: &mut |note| notes.push(note) });
        let host = &self.front.host;
        (asked, notes.into_iter().map(|note| note.replace(host, "HOST")).collect())
    }

    pub(crate) fn digest(&self, reference: &Reference) -> Result<OciDigest, RegistryError> {
        self.ask(|watch| self.registry.find(reference, watch)).0.map(|found| found.digest)
    }

    /// The words of an error, without what differs from run to run.
    fn words(&self, error: &RegistryError) -> String {
        error.to_string().replace(&self.front.host, "HOST").replace(&self.place, "PLACE")
    }
}

fn client(home: &TempDir, host: &str, environment: &BTreeMap<String, String>) -> Registry {
    patient(home, (host, "30s"), environment)
}

fn patient(
    home: &TempDir,
    (host, timeout): (&str, &str),
    environment: &BTreeMap<String, String>,
) -> Registry {
    let credentials = Credentials::load(environment, home.path()).unwrap();
    let terms = format!("[[registry]]\nhost = '{host}'\ntimeout = '{timeout}'\n");
    Registry::new(Options {
        terms: imgraph::layers::parse(&terms).0.registries,
        cache: Some(home.path().join("cache")),
        ..Options::new(credentials)
    })
}
