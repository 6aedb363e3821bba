//! Sending an image of the layout to a registry: its blobs, then its manifests, then its tags.
//!
//! Blobs that the repository has are not sent, and those that another repository of the registry has
//! are mounted: where images of this layout are called by it that have the blob, they may have been
//! pushed there. A tag moves when all that it leads to is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::digest::OciDigest;
use crate::engine::layout::document::{Blob, Document};
use crate::engine::layout::{Layout, parsed};
use crate::engine::{Cancel, EngineError, Progress};
use crate::reference::Reference;
use crate::registry::error::RegistryError;
use crate::registry::upload::{Parcel, Sent};
use crate::registry::{Registry, Watch};

/// A manifest or an index, as it goes out.
struct Page {
    digest: OciDigest,
    media_type: String,
    bytes: Vec<u8>,
}

/// All that belongs to an image.
struct Whole {
    /// Manifests before what names them: the image's own is the last.
    pages: Vec<Page>,
    blobs: Vec<Blob>,
}

/// Repositories, as registry and path, that images with a blob are called by.
pub(crate) type Homes = BTreeMap<OciDigest, BTreeSet<(String, String)>>;

impl Layout {
    /// Pushes an image under each of the references; their tags move in this order.
    pub(crate) fn push(
        &self,
        id: &OciDigest,
        references: &[String],
        registry: &Registry,
        (cancel, progress): (&Cancel, &mut dyn FnMut(Progress)),
    ) -> Result<(), EngineError> {
        let wrong = |text: &String| {
            let parsed = Reference::parse(text);
            parsed.map_err(|error| EngineError::Unsupported(format!("`{text}`: {error}")))
        };
        let references: Vec<Reference> = references.iter().map(wrong).collect::<Result<_, _>>()?;
        let whole = self.whole(id).map_err(|error| self.broken(id, error))?;
        let mut done = BTreeSet::new();
        let mut sending = Sending { registry, cancel, progress };
        for reference in &references {
            if done.insert(reference.repository()) {
                let parcels = self.parcels(&whole.blobs, reference)?;
                sending.blobs(reference, parcels)?;
                for page in &whole.pages {
                    let (tag, digest) = (None, Some(page.digest.clone()));
                    sending.page(&Reference { tag, digest, ..reference.clone() }, page)?;
                }
            }
        }
        let Some(top) = whole.pages.last() else { return Ok(()) };
        for reference in &references {
            (sending.progress)(Progress::Log(format!("pushing {}", reference.familiar())));
            sending.page(&Reference { digest: None, ..reference.clone() }, top)?;
        }
        Ok(())
    }

    /// Follows an image to everything that belongs to it.
    fn whole(&self, id: &OciDigest) -> io::Result<Whole> {
        let (mut pages, mut blobs) = (Vec::new(), BTreeMap::new());
        let mut waiting = vec![(id.clone(), None)];
        while let Some((digest, named)) = waiting.pop() {
            let bytes = self.blobs.read(&digest)?;
            let document: Document = parsed(&bytes)?;
            let media_type = named.unwrap_or_else(|| document.media_type().to_owned());
            pages.push(Page { digest, media_type, bytes });
            for blob in document.config.into_iter().chain(document.layers) {
                blobs.insert(blob.digest.clone(), blob);
            }
            let inner = document.manifests.into_iter();
            waiting.extend(inner.map(|blob| (blob.digest, Some(blob.media_type))));
        }
        // What an index names was met after it.
        pages.reverse();
        Ok(Whole { pages, blobs: blobs.into_values().collect() })
    }

    fn parcels(&self, blobs: &[Blob], to: &Reference) -> Result<Vec<Parcel>, EngineError> {
        let homes = self.homes()?;
        let parcel = |blob: &Blob| {
            let absent = || self.broken(&blob.digest, io::ErrorKind::NotFound.into());
            let path = self.blobs.path(&blob.digest).ok_or_else(absent)?;
            if self.blobs.size(&blob.digest) != Some(blob.size) {
                return Err(absent());
            }
            let known = homes.get(&blob.digest).into_iter().flatten();
            let here = known.filter(|(registry, _)| *registry == to.domain);
            let elsewhere = here.map(|(_, path)| path.clone()).collect();
            Ok(Parcel { digest: blob.digest.clone(), size: blob.size, path, elsewhere })
        };
        blobs.iter().map(parcel).collect()
    }

    /// Where the blobs of all images that have a name may be; found out once.
    fn homes(&self) -> Result<&Homes, EngineError> {
        if let Some(homes) = self.homes.get() {
            return Ok(homes);
        }
        let named = self.index.look(|index| -> Vec<(String, String)> {
            let names = index.names().into_iter();
            names.map(|(name, digest)| (name.to_owned(), digest.to_owned())).collect()
        })?;
        let mut homes = Homes::new();
        for (name, digest) in named {
            let (Ok(name), Ok(digest)) = (Reference::parse(&name), digest.parse()) else {
                continue;
            };
            // What others put there need not be an image.
            let Ok(image) = self.image(&digest) else { continue };
            for (blob, _) in image.blobs() {
                let homes = homes.entry(blob.clone()).or_default();
                homes.insert((name.domain.clone(), name.path.clone()));
            }
        }
        Ok(self.homes.get_or_init(|| homes))
    }
}

/// A push on its way.
struct Sending<'a> {
    registry: &'a Registry,
    cancel: &'a Cancel,
    progress: &'a mut dyn FnMut(Progress),
}

impl Sending<'_> {
    fn blobs(&mut self, to: &Reference, parcels: Vec<Parcel>) -> Result<(), EngineError> {
        let named: Vec<(OciDigest, u64)> =
            parcels.iter().map(|parcel| (parcel.digest.clone(), parcel.size)).collect();
        let progress = &mut *self.progress;
        let say = &mut |note| progress(Progress::Warning(note));
        let sent = self.registry.send(to, parcels, Watch { cancel: self.cancel, say })?;
        for ((digest, size), sent) in named.iter().zip(sent) {
            let what = match sent {
                Sent::There => continue,
                Sent::Mounted => "mounted".to_owned(),
                Sent::Uploaded => format!("sent, {size} bytes"),
            };
            (self.progress)(Progress::Log(format!("{digest}: {what}")));
        }
        Ok(())
    }

    fn page(&mut self, to: &Reference, page: &Page) -> Result<(), EngineError> {
        let progress = &mut *self.progress;
        let say = &mut |note| progress(Progress::Warning(note));
        let watch = Watch { cancel: self.cancel, say };
        Ok(self.registry.put_manifest(to, (&page.media_type, &page.bytes), watch)?)
    }
}

impl From<RegistryError> for EngineError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Cancelled => Self::Cancelled,
            error if error.is_transient() => Self::Unavailable(error.to_string()),
            error @ (RegistryError::Auth { .. }
            | RegistryError::Untrusted { .. }
            | RegistryError::Credentials(_)) => Self::Auth(error.to_string()),
            RegistryError::File { action, source } => {
                Self::Unavailable(format!("cannot {action}: {source}"))
            }
            error => Self::Unsupported(error.to_string()),
        }
    }
}
