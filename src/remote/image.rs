//! One image in its registry: found by its key, noted, tagged.
#![expect(clippy::disallowed_methods, reason = "what is sent lies in a file")]

use std::sync::atomic::Ordering;
use std::{fs, io};

use crate::digest::{Digest, OciDigest};
use crate::history::{Output, Record};
use crate::published::note::{self, Descriptor, Origin};
use crate::reference::Reference;
use crate::registry::RegistryError;
use crate::registry::copy::Route;
use crate::registry::manifests::Manifest;
use crate::registry::upload::Parcel;
use crate::remote::{Listener, Remote};

impl Remote {
    /// What an earlier build of a key came out as, if its image and the note on it are there. The
    /// record has no leaves.
    pub(crate) fn look_up(
        &self,
        key_reference: &str,
        key: &Digest,
        mut listener: Listener<'_>,
    ) -> Result<Option<Record>, RegistryError> {
        let beside = note::reference(key_reference).parse().map_err(wrong(key_reference))?;
        let there = key_reference.parse().map_err(wrong(key_reference))?;
        let Some(note) = found(self.registry.manifest(&beside, listener.watch()))? else {
            return Ok(None);
        };
        let Some(image) = found(self.registry.find(&there, listener.watch()))? else {
            return Ok(None);
        };
        Ok(note::decode(&note.bytes, (key_reference, key), &image.digest))
    }

    /// Whether a repository has a manifest.
    pub(crate) fn has(
        &self,
        repository: &str,
        manifest: &OciDigest,
        mut listener: Listener<'_>,
    ) -> Result<bool, RegistryError> {
        let reference = by_digest(repository, manifest)?;
        Ok(found(self.registry.find(&reference, listener.watch()))?.is_some())
    }

    /// Whether a manifest of a repository is of this output of a store: stores call an image by its
    /// manifest or by its config.
    pub(crate) fn is_of(
        &self,
        (repository, manifest): (&str, &OciDigest),
        output: &Output,
        mut listener: Listener<'_>,
    ) -> Result<bool, RegistryError> {
        if *manifest == output.id || output.manifest.as_ref() == Some(manifest) {
            return Ok(true);
        }
        let there = self.registry.manifest(&by_digest(repository, manifest)?, listener.watch())?;
        let document: Option<serde_json::Value> = serde_json::from_slice(&there.bytes).ok();
        let config = document.as_ref().and_then(|it| it["config"]["digest"].as_str());
        Ok(config == Some(output.id.as_str()))
    }

    /// What a reference points at now.
    pub(crate) fn digest_of(
        &self,
        reference: &str,
        mut listener: Listener<'_>,
    ) -> Result<OciDigest, RegistryError> {
        let reference = reference.parse().map_err(wrong(reference))?;
        Ok(self.registry.find(&reference, listener.watch())?.digest)
    }

    /// Points references at a manifest of a repository, in their order. Into other repositories it is
    /// copied, by mount where it can be.
    pub(crate) fn point(
        &self,
        (repository, manifest): (&str, &OciDigest),
        references: &[String],
        mut listener: Listener<'_>,
    ) -> Result<(), RegistryError> {
        let Manifest { media_type, bytes, .. } =
            self.registry.manifest(&by_digest(repository, manifest)?, listener.watch())?;
        let from = by_digest(repository, manifest)?;
        for reference in references {
            let to: Reference = reference.parse().map_err(wrong(reference))?;
            if to.repository() == from.repository() {
                self.registry.put_manifest(&to, (&media_type, &bytes), listener.watch())?;
                continue;
            }
            let tags = to.tag_or_latest().map(str::to_owned).into_iter().collect::<Vec<_>>();
            let scratch = &self.scratch;
            fs::create_dir_all(scratch).map_err(|source| RegistryError::File {
                action: format!("create {}", scratch.display()),
                source,
            })?;
            let route = Route { from: &from, to: &to, tags: &tags, scratch };
            self.registry.copy(&route, listener.watch())?;
        }
        Ok(())
    }

    /// Writes the note on a record whose image is in its repository, beside its key tag.
    pub(crate) fn note(
        &self,
        record: &Record,
        (repository, key_reference): (&str, &str),
        base: Option<(String, Option<OciDigest>)>,
        mut listener: Listener<'_>,
    ) -> Result<(), RegistryError> {
        let Some(digest) = record.output.manifest.clone() else { return Ok(()) };
        let Manifest { media_type, bytes, .. } =
            self.registry.manifest(&by_digest(repository, &digest)?, listener.watch())?;
        let image = Descriptor { media_type, digest, size: bytes.len() };
        let origin = Origin { revision: self.revision(), source: self.source.clone(), base };
        let note = note::encode(record, &image, &origin);
        let to: Reference = note::reference(key_reference).parse().map_err(wrong(key_reference))?;
        self.send(&to, note::EMPTY, &mut listener)?;
        self.registry.put_manifest(&to, (note::MANIFEST, &note), listener.watch())
    }

    /// Brings bytes into a repository as a blob.
    pub(super) fn send(
        &self,
        to: &Reference,
        bytes: &[u8],
        listener: &mut Listener<'_>,
    ) -> Result<OciDigest, RegistryError> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.join(format!("blob-{number}"));
        let failed = |source: io::Error| RegistryError::File {
            action: format!("write {}", path.display()),
            source,
        };
        fs::create_dir_all(&self.scratch).map_err(failed)?;
        fs::write(&path, bytes).map_err(failed)?;
        let digest = OciDigest::of_content(bytes);
        let parcel = Parcel {
            digest: digest.clone(),
            size: bytes.len() as u64,
            path: path.clone(),
            elsewhere: Vec::new(),
        };
        let sent = self.registry.send(to, vec![parcel], listener.watch());
        fs::remove_file(&path).unwrap_or_default();
        sent.map(|_| digest)
    }
}

/// What is missing is none.
pub(super) fn found<T>(answer: Result<T, RegistryError>) -> Result<Option<T>, RegistryError> {
    match answer {
        Err(error) if error.is_missing() => Ok(None),
        answer => answer.map(Some),
    }
}

fn by_digest(repository: &str, manifest: &OciDigest) -> Result<Reference, RegistryError> {
    format!("{repository}@{manifest}").parse().map_err(wrong(repository))
}

/// A text that is no reference.
pub(super) fn wrong(text: &str) -> impl Fn(crate::reference::ReferenceError) -> RegistryError {
    move |error| RegistryError::Reference { reference: text.to_owned(), why: error.to_string() }
}
