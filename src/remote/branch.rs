//! The state of a branch in the registry: read and written.
//!
//! A registry has no "write this unless somebody has written since". So it is looked just before
//! whether anybody has, and right after whether it is there; whoever comes too late begins again with
//! what is there then.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::clock::now;
use crate::digest::OciDigest;
use crate::git::Head;
use crate::image::ImageName;
use crate::published::note;
use crate::published::state::{self, Open, State};
use crate::reference::Reference;
use crate::registry::RegistryError;
use crate::registry::manifests::Manifest;
use crate::remote::claim::Claim;
use crate::remote::image::found;
use crate::remote::{Listener, Remote};

/// How often a state is written while others write it, too.
const TRIES: u32 = 10;
/// Longer than others take from their last look to their write.
const SETTLING: Duration = Duration::from_millis(200);

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

/// A state as it was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The records.
    pub state: State,
    /// The images whose records are not to be believed.
    pub open: Open,
    /// The blob of the records.
    blob: Option<Blob>,
    /// Its manifest; `None` where the branch has no state of its own yet.
    manifest: Option<OciDigest>,
    /// For which commit it was written.
    claim: Claim,
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
#[derive(Default, Deserialize)]
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
        let Artefact { layers, annotations: claim } = artefact.unwrap_or_default();
        let manifest = Some(manifest.digest.clone());
        let layer = layers.iter().find(|layer| layer.media_type == state::MEDIA_TYPE);
        let bytes = match layer {
            Some(layer) => found(self.bytes(branch, layer, listener))?,
            None => None,
        };
        let state = bytes.and_then(|bytes| state::decode(&bytes));
        let (Some(layer), Some(state)) = (layer, state) else {
            let at = branch.repository.familiar();
            (listener.say)(format!("{at} has no state that this imgraph can read: none is used"));
            return Ok(Found { manifest, claim, ..Found::default() });
        };
        // What cannot be read may name any of them.
        let all = || state.keys().map(|image| (image.clone(), 0)).collect();
        let open = self.open(branch, &layers, listener)?.unwrap_or_else(all);
        let blob = Some((layer.digest.clone(), layer.size));
        Ok(Found { state, open, blob, manifest, claim })
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
        let Some(manifest) = self.artefact(branch, base, listener)? else {
            return Ok(Found::default());
        };
        let Found { state, blob, .. } = self.read(branch, &manifest, listener)?;
        Ok(Found { state, blob, ..Found::default() })
    }

    /// Looks whether the state was written by somebody else, and what that means for us.
    pub(super) fn look(&self, listener: &mut Listener<'_>) -> Result<(), RegistryError> {
        let Some((branch, tag)) = self.own() else { return Ok(()) };
        let now = self.stands_at((branch, tag), listener)?;
        if now.is_none() || self.guard().seen == now {
            return Ok(());
        }
        let Some(manifest) = self.artefact(branch, tag, listener)? else { return Ok(()) };
        let artefact = serde_json::from_slice::<Artefact>(&manifest.bytes).ok();
        let Some(artefact) = artefact else { return Ok(()) };
        let open = self.open(branch, &artefact.layers, listener)?.unwrap_or_default();
        let ahead = artefact.annotations.ahead(branch, self.source.as_ref());
        let mut guard = self.guard();
        (guard.open, guard.ahead, guard.seen) = (open, ahead, Some(manifest.digest));
        Ok(())
    }

    /// The manifest of the state in the registry now.
    fn stands_at(
        &self,
        (branch, tag): (&Branch, &str),
        listener: &mut Listener<'_>,
    ) -> Result<Option<OciDigest>, RegistryError> {
        let reference = Reference { tag: Some(tag.to_owned()), ..branch.repository.clone() };
        Ok(found(self.registry.find(&reference, listener.watch()))?.map(|it| it.digest))
    }

    /// Makes another state of the newest one in the registry, until nobody has written meanwhile.
    pub(super) fn change(
        &self,
        make: &mut dyn FnMut(&Found) -> (State, Open),
        listener: &mut Listener<'_>,
    ) -> Result<(), RegistryError> {
        let Some((branch, tag)) = self.own() else { return Ok(()) };
        for attempt in 1..=TRIES {
            let newest = self.newest(branch, tag, listener)?;
            let (state, open) = make(&newest);
            // The tags are where a later commit has put them, whoever writes last.
            let ahead = newest.claim.ahead(branch, self.source.as_ref());
            let claim = match &ahead {
                Some(_) => newest.claim.clone(),
                None => Claim::ours(branch, self.source.as_ref()),
            };
            let is_same = newest.state == state && newest.open == open && newest.claim == claim;
            let blob = match newest.blob {
                Some(_) if is_same && newest.manifest.is_some() => return Ok(()),
                Some(blob) if newest.state == state => blob,
                _ => self.send_state(branch, &state, listener)?,
            };
            let bytes = self.document(branch, (&blob, &open, &claim), listener)?;
            if attempt < TRIES && self.stands_at((branch, tag), listener)? != newest.manifest {
                listener.cancel.wait(Duration::from_millis(u64::from(attempt) * (now() % 50)));
                continue;
            }
            let ours = OciDigest::of_content(&bytes);
            let to = Reference { tag: Some(tag.to_owned()), ..branch.repository.clone() };
            self.registry.put_manifest(&to, (note::MANIFEST, &bytes), listener.watch())?;
            if attempt > 1 || self.guard().has_others(&newest.open) {
                listener.cancel.wait(SETTLING);
            }
            let is_there = self.stands_at((branch, tag), listener)?.as_ref() == Some(&ours);
            let mut guard = self.guard();
            (guard.seen, guard.ahead, guard.open) = (Some(ours), ahead, open);
            if is_there {
                break;
            }
        }
        Ok(())
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

    /// The manifest of a state, whose blobs are sent.
    fn document(
        &self,
        branch: &Branch,
        ((blob, size), open, claim): (&Blob, &Open, &Claim),
        listener: &mut Listener<'_>,
    ) -> Result<Vec<u8>, RegistryError> {
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
            "annotations": claim,
        });
        Ok(manifest.to_string().into_bytes())
    }
}
