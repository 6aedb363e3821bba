//! The state of a branch in the registry, and whether this run may move tags.
//!
//! Two runs on one branch can end in another order than their commits have: then a tag would move
//! back. So who pushes writes its commit into the state first, and whoever finds a later one there
//! leaves the tags alone. What it builds is found by its key all the same.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::digest::OciDigest;
use crate::git::{self, Head};
use crate::image::ImageName;
use crate::published::note::{self, REVISION, SOURCE};
use crate::published::state::{self, Open, State};
use crate::reference::Reference;
use crate::registry::RegistryError;
use crate::registry::manifests::Manifest;
use crate::remote::image::found;
use crate::remote::{Listener, Remote};

/// A run that began so long ago and has not ended was killed; in milliseconds.
const LONGEST: u64 = 24 * 3600 * 1000;
/// When a commit was made, in seconds since the Unix epoch.
const COMMITTED: &str = "io.imgraph.committed";

/// Where the state of a branch is.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The repository that has the states.
    pub repository: Reference,
    /// The tag of the branch; `None` where nothing says which branch it is: then none is written.
    pub own: Option<String>,
    /// The tag of the branch that is read where the own one has no state yet.
    pub base: Option<String>,
    /// The directory of the work tree, absolute.
    pub directory: PathBuf,
    /// Its commit.
    pub head: Option<Head>,
    /// Whether tags move although the branch has moved on.
    pub allows_older: bool,
}

/// What is known of who else is at work.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// The state that was seen last.
    seen: Option<OciDigest>,
    /// The commit that is ahead of ours.
    ahead: Option<String>,
}

/// A state as it was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The records.
    pub state: State,
    /// The images whose records are not to be believed.
    pub open: Open,
    /// The blob of the records.
    blob: Option<Blob>,
}

/// What a run said in the beginning.
#[derive(Debug)]
pub struct Claimed {
    /// When.
    at: u64,
    /// The state then.
    before: State,
}

/// What a run has to say in the end.
pub struct News<'a> {
    /// What it said in the beginning.
    pub claimed: Claimed,
    /// What it has put into registries, under all tags.
    pub records: &'a State,
    /// The images of which it does not know where their tags point.
    pub unsettled: &'a BTreeSet<ImageName>,
}

type Blob = (OciDigest, u64);

/// The manifest of a state.
#[derive(Deserialize)]
struct Artefact {
    layers: Vec<Layer>,
    #[serde(default)]
    annotations: Claim,
}

#[derive(Deserialize)]
struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: OciDigest,
    size: u64,
}

/// Which commit tags are moved for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Claim {
    #[serde(rename = "org.opencontainers.image.revision")]
    revision: Option<String>,
    #[serde(rename = "org.opencontainers.image.source")]
    source: Option<String>,
    #[serde(rename = "io.imgraph.committed")]
    committed: Option<String>,
}

impl Remote {
    /// The state of the branch, or of the one that it began from; an empty one where there is none.
    pub(crate) fn state(&self, mut listener: Listener<'_>) -> Result<Found, RegistryError> {
        let Some(branch) = &self.branch else { return Ok(Found::default()) };
        match branch.own.as_ref().or(branch.base.as_ref()) {
            Some(tag) => self.newest(branch, tag, &mut listener),
            None => Ok(Found::default()),
        }
    }

    /// Whether there is a place for the state of the branch.
    pub(crate) fn has_state(&self) -> bool {
        self.own().is_some()
    }

    fn artefact(
        &self,
        branch: &Branch,
        tag: &str,
        listener: &mut Listener<'_>,
    ) -> Result<Option<Manifest>, RegistryError> {
        let reference = Reference { tag: Some(tag.to_owned()), ..branch.repository.clone() };
        found(self.registry.manifest(&reference, listener.watch()))
    }

    fn read(
        &self,
        branch: &Branch,
        manifest: &Manifest,
        listener: &mut Listener<'_>,
    ) -> Result<Found, RegistryError> {
        let artefact = serde_json::from_slice::<Artefact>(&manifest.bytes).ok();
        let layers = artefact.map(|artefact| artefact.layers).unwrap_or_default();
        let of_type = |kind: &str| layers.iter().find(|layer| layer.media_type == kind);
        let Some(layer) = of_type(state::MEDIA_TYPE) else {
            let at = branch.repository.familiar();
            (listener.say)(format!("{at} has no state that this imgraph can read: none is used"));
            return Ok(Found::default());
        };
        let mut bytes = |layer: &Layer| {
            let (mut bytes, blob) = (Vec::new(), (&layer.digest, layer.size));
            let read =
                self.registry.read_blob(&branch.repository, blob, &mut bytes, listener.watch());
            read.map(|()| bytes)
        };
        let state = state::decode(&bytes(layer)?).unwrap_or_default();
        let open = match of_type(state::OPEN_TYPE) {
            None => Open::new(),
            Some(open) => match state::decode_open(&bytes(open)?) {
                Some(open) => open,
                None => state.keys().map(|image| (image.clone(), 0)).collect(),
            },
        };
        Ok(Found { state, open, blob: Some((layer.digest.clone(), layer.size)) })
    }

    /// Says for which commit tags will be moved, unless a later one has been named, and of which
    /// images; `now` is in milliseconds since the Unix epoch.
    pub(crate) fn claim(
        &self,
        images: BTreeSet<ImageName>,
        now: u64,
        mut listener: Listener<'_>,
    ) -> Result<Option<Claimed>, RegistryError> {
        let Some((branch, tag)) = self.own() else { return Ok(None) };
        if self.is_behind(&mut listener)?.is_some() {
            return Ok(None);
        }
        let found = self.newest(branch, tag, &mut listener)?;
        let blob = match found.blob {
            Some(blob) => blob,
            None => self.send_state(branch, &found.state, &mut listener)?,
        };
        let images = images.into_iter().map(|image| (image, now));
        let open = found.open.into_iter().chain(images).collect();
        self.put((branch, tag), &blob, &open, &mut listener)?;
        Ok(Some(Claimed { at: now, before: found.state }))
    }

    /// What is in the registry now.
    fn newest(
        &self,
        branch: &Branch,
        tag: &str,
        listener: &mut Listener<'_>,
    ) -> Result<Found, RegistryError> {
        match self.artefact(branch, tag, listener)? {
            Some(manifest) => self.read(branch, &manifest, listener),
            // A new branch goes on from its base.
            None => match branch.base.as_ref() {
                Some(base) => match self.artefact(branch, base, listener)? {
                    Some(manifest) => self.read(branch, &manifest, listener),
                    None => Ok(Found::default()),
                },
                None => Ok(Found::default()),
            },
        }
    }

    /// The commit for which tags are moved now, if it is later than ours.
    pub(crate) fn is_behind(
        &self,
        listener: &mut Listener<'_>,
    ) -> Result<Option<String>, RegistryError> {
        let Some((branch, tag)) = self.own() else { return Ok(None) };
        let Some(head) = branch.head.as_ref().filter(|_| !branch.allows_older) else {
            return Ok(None);
        };
        let reference = Reference { tag: Some(tag.to_owned()), ..branch.repository.clone() };
        let now = found(self.registry.find(&reference, listener.watch()))?.map(|it| it.digest);
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.seen != now || now.is_none() {
            let manifest = self.artefact(branch, tag, listener)?;
            let artefact = manifest.and_then(|it| {
                Some((serde_json::from_slice::<Artefact>(&it.bytes).ok()?.annotations, it.digest))
            });
            let (claim, digest) = artefact.unzip();
            guard.ahead =
                claim.and_then(|claim| ahead(&claim, (branch, head), self.origin.source.as_ref()));
            guard.seen = digest;
        }
        Ok(guard.ahead.clone())
    }

    /// Writes the state of the branch: the newest one in the registry with what is new. Records of images that are not in `known` and older than `oldest`, in
    /// milliseconds since the Unix epoch, are dropped.
    pub(crate) fn write_state(
        &self,
        news: &News<'_>,
        (known, oldest): (&dyn Fn(&ImageName) -> bool, u64),
        mut listener: Listener<'_>,
    ) -> Result<(), RegistryError> {
        let Some((branch, tag)) = self.own() else { return Ok(()) };
        if self.is_behind(&mut listener)?.is_some() {
            return Ok(());
        }
        let newest = self.newest(branch, tag, &mut listener)?;
        let mut state = newest.state.clone();
        let Claimed { at, before } = &news.claimed;
        // Somebody else has written what he pushed meanwhile: whose tags are the last is not known.
        let is_ours = |image: &ImageName| before.get(image) == newest.state.get(image);
        let new = news.records.iter().filter(|(image, _)| is_ours(image));
        state.extend(new.map(|(image, record)| (image.clone(), Arc::clone(record))));
        state.retain(|image, record| known(image) || record.finished >= oldest);
        let is_open = |(image, since): &(ImageName, u64)| {
            let is_settled = is_ours(image) && !news.unsettled.contains(image);
            let is_dead = since + LONGEST < *at && news.records.contains_key(image);
            !(is_settled && (since == at || is_dead))
        };
        let open = newest.open.iter().filter(|it| is_open(it)).cloned().collect();
        let blob = match newest.blob {
            Some(blob) if state == newest.state => blob,
            _ => self.send_state(branch, &state, &mut listener)?,
        };
        self.put((branch, tag), &blob, &open, &mut listener)
    }

    /// The branch whose state is written, and its tag.
    fn own(&self) -> Option<(&Branch, &str)> {
        let branch = self.branch.as_ref().filter(|_| self.access.writes)?;
        Some((branch, branch.own.as_deref()?))
    }

    fn send_state(
        &self,
        branch: &Branch,
        state: &State,
        listener: &mut Listener<'_>,
    ) -> Result<Blob, RegistryError> {
        let bytes = state::encode(state);
        let digest = self.send(&branch.repository, &bytes, listener)?;
        Ok((digest, bytes.len() as u64))
    }

    fn put(
        &self,
        (branch, tag): (&Branch, &str),
        (blob, size): &Blob,
        open: &Open,
        listener: &mut Listener<'_>,
    ) -> Result<(), RegistryError> {
        self.send(&branch.repository, note::EMPTY, listener)?;
        let mut layers =
            vec![json!({ "mediaType": state::MEDIA_TYPE, "digest": blob, "size": size })];
        if !open.is_empty() {
            let bytes = state::encode_open(open);
            let digest = self.send(&branch.repository, &bytes, listener)?;
            let size = bytes.len();
            layers.push(json!({ "mediaType": state::OPEN_TYPE, "digest": digest, "size": size }));
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": note::MANIFEST,
            "artifactType": state::ARTIFACT_TYPE,
            "config": note::empty(),
            "layers": layers,
            "annotations": annotations(branch.head.as_ref(), self.origin.source.as_deref()),
        });
        let bytes = manifest.to_string().into_bytes();
        let to = Reference { tag: Some(tag.to_owned()), ..branch.repository.clone() };
        self.registry.put_manifest(&to, (note::MANIFEST, &bytes), listener.watch())?;
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard.seen = Some(OciDigest::of_content(&bytes));
        guard.ahead = None;
        Ok(())
    }
}

fn annotations(head: Option<&Head>, source: Option<&str>) -> Value {
    let mut notes = serde_json::Map::new();
    let mut add = |name: &str, value: String| notes.insert(name.to_owned(), value.into());
    if let Some(head) = head {
        add(REVISION, head.commit.clone());
        add(COMMITTED, head.committed.to_string());
    }
    if let Some(source) = source {
        add(SOURCE, source.to_owned());
    }
    notes.into()
}

/// The commit of a claim, if it is later than ours. Of a commit that this clone does not have, the
/// time tells: it came after the clone, or is of history that was thrown away.
fn ahead(
    claim: &Claim,
    (branch, head): (&Branch, &Head),
    source: Option<&String>,
) -> Option<String> {
    let theirs = claim.revision.as_ref().filter(|theirs| **theirs != head.commit)?;
    if claim.source.as_ref() != source {
        return None;
    }
    let is_later = match git::is_ancestor(&branch.directory, &head.commit, theirs) {
        Some(is_ancestor) => is_ancestor,
        None => claim.committed.as_ref()?.parse::<u64>().ok()? >= head.committed,
    };
    is_later.then(|| theirs.clone())
}
