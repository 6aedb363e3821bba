//! The state of a branch in the registry, and whether this run may move tags.
//!
//! Two runs on one branch can end in another order than their commits have: then a tag would move
//! back. So who pushes writes its commit into the state first, and whoever finds a later one there
//! leaves the tags alone. Of two runs that are going to push the same image the one that began later
//! moves its tags. What the other one builds is found by its key all the same.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

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
    /// What we said in the beginning.
    claim: Option<Claimed>,
    /// Who moves tags now: of each image the number of who began last.
    last: BTreeMap<ImageName, u64>,
}

/// What a run said in the beginning.
#[derive(Clone, Debug)]
struct Claimed {
    /// Its number in the list of those who move tags.
    turn: u64,
    /// The images whose tags it moves.
    images: BTreeSet<ImageName>,
    /// The state as it was then.
    before: State,
}

/// Whose turn it is to move the tags of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Ours.
    Ours,
    /// That of a run of this commit, which is later than ours.
    Later(String),
    /// That of a run that began after ours.
    Others,
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

/// What a run has to say in the end.
pub struct News<'a> {
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

    /// Whether the state of the branch is written.
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
        let state = state::decode(&self.bytes(branch, layer, listener)?).unwrap_or_default();
        // What cannot be read may name any of them.
        let all = || state.keys().map(|image| (image.clone(), 0)).collect();
        let open = self.open(branch, &layers, listener)?.unwrap_or_else(all);
        Ok(Found { state, open, blob: Some((layer.digest.clone(), layer.size)) })
    }

    /// Who moves tags; none where that cannot be read.
    fn open(
        &self,
        branch: &Branch,
        layers: &[Layer],
        listener: &mut Listener<'_>,
    ) -> Result<Option<Open>, RegistryError> {
        let Some(layer) = layers.iter().find(|layer| layer.media_type == state::OPEN_TYPE) else {
            return Ok(Some(Open::new()));
        };
        Ok(state::decode_open(&self.bytes(branch, layer, listener)?))
    }

    fn bytes(
        &self,
        branch: &Branch,
        layer: &Layer,
        listener: &mut Listener<'_>,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut bytes = Vec::new();
        let blob = (&layer.digest, layer.size);
        self.registry.read_blob(&branch.repository, blob, &mut bytes, listener.watch())?;
        Ok(bytes)
    }

    /// Says for which commit tags will be moved, unless a later one has been named, and of which
    /// images.
    pub(crate) fn claim(
        &self,
        images: BTreeSet<ImageName>,
        mut listener: Listener<'_>,
    ) -> Result<(), RegistryError> {
        let Some((branch, tag)) = self.own() else { return Ok(()) };
        self.look(&mut listener)?;
        if self.guard().ahead.is_some() {
            return Ok(());
        }
        let found = self.newest(branch, tag, &mut listener)?;
        let blob = match found.blob {
            Some(blob) => blob,
            None => self.send_state(branch, &found.state, &mut listener)?,
        };
        let turn = found.open.iter().map(|(_, turn)| turn + 1).max().unwrap_or(1);
        let ours = images.iter().map(|image| (image.clone(), turn));
        let open = found.open.into_iter().chain(ours).collect();
        self.guard().claim = Some(Claimed { turn, images, before: found.state });
        self.put((branch, tag), &blob, &open, &mut listener)
    }

    /// What is in the registry now.
    fn newest(
        &self,
        branch: &Branch,
        tag: &str,
        listener: &mut Listener<'_>,
    ) -> Result<Found, RegistryError> {
        if let Some(manifest) = self.artefact(branch, tag, listener)? {
            return self.read(branch, &manifest, listener);
        }
        // A new branch goes on from its base, whose runs are no business of ours.
        let base = branch.base.as_ref().filter(|base| *base != tag);
        let Some(base) = base else { return Ok(Found::default()) };
        match self.artefact(branch, base, listener)? {
            Some(manifest) => {
                Ok(Found { open: Open::new(), ..self.read(branch, &manifest, listener)? })
            }
            None => Ok(Found::default()),
        }
    }

    /// Who moves the tags of an image now.
    pub(crate) fn turn(
        &self,
        image: &ImageName,
        listener: &mut Listener<'_>,
    ) -> Result<Turn, RegistryError> {
        self.look(listener)?;
        let guard = self.guard();
        if let Some(commit) = &guard.ahead {
            return Ok(Turn::Later(commit.clone()));
        }
        let Some(claim) = &guard.claim else { return Ok(Turn::Ours) };
        match guard.last.get(image).map(|last| last.cmp(&claim.turn)) {
            Some(Ordering::Equal) => Ok(Turn::Ours),
            Some(Ordering::Greater) => Ok(Turn::Others),
            Some(Ordering::Less) | None => {
                drop(guard);
                self.claim_again(image, listener)
            }
        }
    }

    /// We are not in the list any more: either somebody who began later has been through with the
    /// image, or two wrote at the same time, and what we had written was lost.
    fn claim_again(
        &self,
        image: &ImageName,
        listener: &mut Listener<'_>,
    ) -> Result<Turn, RegistryError> {
        let Some((branch, tag)) = self.own() else { return Ok(Turn::Ours) };
        let Some(claim) = self.guard().claim.clone() else { return Ok(Turn::Ours) };
        let newest = self.newest(branch, tag, listener)?;
        let is_unchanged = |it: &ImageName| claim.before.get(it) == newest.state.get(it);
        if !is_unchanged(image) {
            return Ok(Turn::Others);
        }
        let Some(blob) = &newest.blob else { return Ok(Turn::Ours) };
        let ours = claim.images.iter().filter(|it| is_unchanged(it));
        let lost = ours.map(|it| (it.clone(), claim.turn));
        let open = newest.open.iter().cloned().chain(lost).collect();
        self.put((branch, tag), blob, &open, listener)?;
        Ok(Turn::Ours)
    }

    /// Looks whether the state was written by somebody else, and what that means for us.
    fn look(&self, listener: &mut Listener<'_>) -> Result<(), RegistryError> {
        let Some((branch, tag)) = self.own() else { return Ok(()) };
        let reference = Reference { tag: Some(tag.to_owned()), ..branch.repository.clone() };
        let now = found(self.registry.find(&reference, listener.watch()))?.map(|it| it.digest);
        if now.is_none() || self.guard().seen == now {
            return Ok(());
        }
        let Some(manifest) = self.artefact(branch, tag, listener)? else { return Ok(()) };
        let artefact = serde_json::from_slice::<Artefact>(&manifest.bytes).ok();
        let Some(artefact) = artefact else { return Ok(()) };
        let open = self.open(branch, &artefact.layers, listener)?.unwrap_or_default();
        let head = self.tree.head.as_ref().filter(|_| !branch.allows_older);
        let source = self.tree.source();
        let ahead = head
            .and_then(|head| ahead(&artefact.annotations, (&self.tree.directory, head), source));
        let mut guard = self.guard();
        (guard.last, guard.ahead, guard.seen) = (last(&open), ahead, Some(manifest.digest));
        Ok(())
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the state of the branch: the newest one in the registry with what is new. Records of
    /// images that are not in `known` and older than `oldest`, in milliseconds since the Unix epoch,
    /// are dropped.
    pub(crate) fn write_state(
        &self,
        news: &News<'_>,
        (known, oldest): (&dyn Fn(&ImageName) -> bool, u64),
        mut listener: Listener<'_>,
    ) -> Result<(), RegistryError> {
        let Some((branch, tag)) = self.own() else { return Ok(()) };
        let Some(Claimed { turn, images, before }) = self.guard().claim.take() else {
            return Ok(());
        };
        let newest = self.newest(branch, tag, &mut listener)?;
        let mut state = newest.state.clone();
        let last = last(&newest.open);
        // Whose turn came later will say itself what is there, or has said so.
        let is_ours = |image: &ImageName| {
            let is_last = match last.get(image).map(|last| last.cmp(&turn)) {
                Some(Ordering::Equal) => true,
                Some(Ordering::Greater) => false,
                Some(Ordering::Less) | None => before.get(image) == newest.state.get(image),
            };
            is_last && !news.unsettled.contains(image)
        };
        let new = news.records.iter().filter(|(image, _)| is_ours(image));
        state.extend(new.map(|(image, record)| (image.clone(), Arc::clone(record))));
        state.retain(|image, record| known(image) || record.finished >= oldest);
        // Where our tags are the last, those who began earlier are dead, or leave them alone.
        let is_closed = |(image, of): &(ImageName, u64)| {
            let is_settled = is_ours(image) && news.records.contains_key(image);
            let is_own = *of == turn && images.contains(image);
            is_settled || is_own && !news.unsettled.contains(image)
        };
        let open = newest.open.iter().filter(|it| !is_closed(it)).cloned().collect();
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
            "annotations": annotations(self.tree.head.as_ref(), self.tree.source()),
        });
        let bytes = manifest.to_string().into_bytes();
        let to = Reference { tag: Some(tag.to_owned()), ..branch.repository.clone() };
        self.registry.put_manifest(&to, (note::MANIFEST, &bytes), listener.watch())?;
        let mut guard = self.guard();
        (guard.seen, guard.ahead) = (Some(OciDigest::of_content(&bytes)), None);
        guard.last = last(open);
        Ok(())
    }
}

/// Of each image the number of who began last.
fn last(open: &Open) -> BTreeMap<ImageName, u64> {
    // They are in order: of one image the last is the largest.
    open.iter().cloned().collect()
}

fn annotations(head: Option<&Head>, source: Option<&String>) -> Value {
    let mut notes = serde_json::Map::new();
    let mut add = |name: &str, value: String| notes.insert(name.to_owned(), value.into());
    if let Some(head) = head {
        add(REVISION, head.commit.clone());
        add(COMMITTED, head.committed.to_string());
    }
    if let Some(source) = source {
        add(SOURCE, source.clone());
    }
    notes.into()
}

/// The commit of a claim, if it is later than ours. Of a commit that this clone does not have, the
/// time tells: it came after the clone, or is of history that was thrown away.
fn ahead(
    claim: &Claim,
    (directory, head): (&Path, &Head),
    source: Option<&String>,
) -> Option<String> {
    let theirs = claim.revision.as_ref().filter(|theirs| **theirs != head.commit)?;
    if claim.source.as_ref() != source {
        return None;
    }
    let is_later = match git::is_ancestor(directory, &head.commit, theirs) {
        Some(is_ancestor) => is_ancestor,
        None => claim.committed.as_ref()?.parse::<u64>().ok()? >= head.committed,
    };
    is_later.then(|| theirs.clone())
}
