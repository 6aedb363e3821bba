//! An image from one repository to another: what the other one lacks, what is named before what names
//! it, the tags last.
//!
//! Within one registry blobs are mounted and no bytes move. Where a registry mounts nothing, or is
//! another one, they come to a file of this machine first, which has no name any more: nothing goes
//! out that is not what its digest says, an upload that breaks can go on, and a process that is
//! killed leaves nothing behind. Manifests stay as they are, byte for byte.
#![expect(clippy::disallowed_methods, reason = "keeps blobs in files on their way")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::digest::OciDigest;
use crate::reference::Reference;
use crate::registry::body::OnDisk;
use crate::registry::call::Repository;
use crate::registry::error::RegistryError;
use crate::registry::manifests::Manifest;
use crate::registry::upload::{Load, Need, Sent};

/// How many blobs lie on this machine at once.
const ON_DISK: usize = 4;

/// From where to where.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The repository that has it, and the digest of its manifest or index.
    pub from: &'a Reference,
    /// The repository that gets it.
    pub to: &'a Reference,
    /// The tags that are to point at it there; they move in this order.
    pub tags: &'a [String],
    /// A directory for blobs whose bytes have to pass through this machine.
    pub scratch: &'a Path,
}

/// What a copy has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Blobs that the repository had.
    pub present: usize,
    /// Blobs that the registry took from another of its repositories.
    pub mounted: usize,
    /// Blobs whose bytes were sent.
    pub sent: usize,
    /// Those bytes.
    pub bytes: u64,
}

/// A manifest or an index, and what it names.
struct Page {
    manifest: Manifest,
    blobs: Vec<Blob>,
    inner: Vec<OciDigest>,
}

#[derive(Clone, Debug, Deserialize)]
struct Blob {
    digest: OciDigest,
    size: u64,
    /// Where a layer is that no registry may give away.
    #[serde(default)]
    urls: Vec<String>,
}

/// What a manifest or an index names, as far as it matters here.
#[derive(Deserialize)]
struct Named {
    config: Option<Blob>,
    #[serde(default)]
    layers: Vec<Blob>,
    #[serde(default)]
    manifests: Vec<Blob>,
}

/// What is still to do with a document.
enum Step {
    Open(OciDigest),
    Close(Page),
}

impl Repository {
    /// Copies an image of this repository to another one.
    pub(crate) async fn copy(
        &self,
        target: &Self,
        route: &Route<'_>,
    ) -> Result<Copied, RegistryError> {
        let Some(digest) = &route.from.digest else {
            let why = "a copy needs a digest".to_owned();
            return Err(RegistryError::Reference { reference: route.from.to_string(), why });
        };
        let at = |digest: &OciDigest| Reference {
            tag: None,
            digest: Some(digest.clone()),
            ..route.to.clone()
        };
        let mut copied = Copied::default();
        let is_elsewhere = !self.is_in(&target.host.place.name) || self.path != target.path;
        let pages = if is_elsewhere {
            self.pages(route.from, digest).await?
        } else {
            vec![self.page(route.from, digest).await?]
        };
        if is_elsewhere {
            let (mut wanted, mut lacking) = (BTreeMap::new(), Vec::new());
            for page in &pages {
                if target.has_page(&at(&page.manifest.digest)).await? {
                    page.blobs.iter().for_each(|blob| target.note_seen(&blob.digest));
                } else {
                    lacking.push(&page.manifest);
                }
                wanted.extend(page.blobs.iter().map(|blob| (blob.digest.clone(), blob)));
            }
            copied = self.bring(target, wanted.into_values(), route.scratch).await?;
            for page in lacking {
                let to = at(&page.digest);
                target.put_manifest(&to, &page.media_type, &page.bytes).await?;
            }
        }
        let Some(Page { manifest: top, .. }) = pages.last() else { return Ok(copied) };
        for tag in route.tags {
            let to = Reference { tag: Some(tag.clone()), digest: None, ..route.to.clone() };
            target.put_manifest(&to, &top.media_type, &top.bytes).await?;
        }
        Ok(copied)
    }

    /// Which tags do not point at a digest. Who is about to move them asks with the same token.
    pub(crate) async fn lacking(
        &self,
        reference: &Reference,
        (tags, digest): (&[String], &OciDigest),
    ) -> Result<Vec<String>, RegistryError> {
        let mut lacking = Vec::new();
        for tag in tags {
            let tagged = Reference { tag: Some(tag.clone()), digest: None, ..reference.clone() };
            match self.find(&tagged, self.writing()).await {
                Ok(found) if found.digest == *digest => {}
                Ok(_) => lacking.push(tag.clone()),
                Err(error) if error.is_missing() => lacking.push(tag.clone()),
                Err(error) => return Err(error),
            }
        }
        Ok(lacking)
    }

    async fn has_page(&self, reference: &Reference) -> Result<bool, RegistryError> {
        match self.find(reference, self.writing()).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_in(&self, registry: &str) -> bool {
        self.host.place.name == registry
    }

    /// A document and all that it leads to, each behind what it names.
    async fn pages(
        &self,
        reference: &Reference,
        digest: &OciDigest,
    ) -> Result<Vec<Page>, RegistryError> {
        let (mut pages, mut met) = (Vec::new(), BTreeSet::new());
        let mut steps = vec![Step::Open(digest.clone())];
        while let Some(step) = steps.pop() {
            match step {
                Step::Close(page) => pages.push(page),
                Step::Open(digest) if met.insert(digest.clone()) => {
                    let page = self.page(reference, &digest).await?;
                    let inner = page.inner.clone();
                    steps.push(Step::Close(page));
                    steps.extend(inner.into_iter().map(Step::Open));
                }
                Step::Open(_) => {}
            }
        }
        Ok(pages)
    }

    async fn page(&self, reference: &Reference, digest: &OciDigest) -> Result<Page, RegistryError> {
        let at = Reference { tag: None, digest: Some(digest.clone()), ..reference.clone() };
        let manifest = self.manifest(&at).await?;
        let named: Named = serde_json::from_slice(&manifest.bytes).map_err(|error| {
            let what = format!("manifest {}", manifest.digest);
            self.wrong(&what, format!("what comes is none: {error}")).into_error()
        })?;
        let mut blobs: Vec<Blob> = named.config.into_iter().chain(named.layers).collect();
        blobs.retain(|blob| blob.urls.is_empty());
        let inner = named.manifests.into_iter().map(|it| it.digest).collect();
        Ok(Page { manifest, blobs, inner })
    }

    /// Brings blobs to another repository, several at once.
    async fn bring<'a>(
        &self,
        target: &Self,
        blobs: impl Iterator<Item = &'a Blob>,
        scratch: &Path,
    ) -> Result<Copied, RegistryError> {
        let gate = Arc::new(Semaphore::new(ON_DISK));
        let scratch: Arc<Path> = Arc::from(scratch);
        let mut going = JoinSet::new();
        for blob in blobs {
            let (source, target, blob) = (self.clone(), target.clone(), blob.clone());
            let (gate, scratch) = (Arc::clone(&gate), Arc::clone(&scratch));
            // The set ends them where one has failed, or all of it was given up.
            going.spawn(async move {
                let sent = source.bring_one(&target, &blob, (&gate, &scratch)).await;
                sent.map(|sent| (sent, blob.size))
            });
        }
        let mut copied = Copied::default();
        while let Some(joined) = going.join_next().await {
            let (sent, size) = joined.map_err(|error| {
                let (registry, why) = (target.host.place.name.clone(), error.to_string());
                RegistryError::Unavailable { registry, why }
            })??;
            copied.add(sent, size);
        }
        Ok(copied)
    }

    async fn bring_one(
        &self,
        target: &Self,
        blob: &Blob,
        (gate, scratch): (&Semaphore, &Path),
    ) -> Result<Sent, RegistryError> {
        let is_near = self.is_in(&target.host.place.name);
        let elsewhere = if is_near { vec![self.path.clone()] } else { Vec::new() };
        let begun = match target.without_bytes(&blob.digest, &elsewhere).await? {
            Need::Nothing(sent) => return Ok(sent),
            Need::Bytes(begun) => begun,
        };
        let _place = gate.acquire().await.map_err(|error| {
            let (registry, why) = (target.host.place.name.clone(), error.to_string());
            RegistryError::Unavailable { registry, why }
        })?;
        let file = Arc::new(self.fetch(blob, scratch).await?);
        let (digest, size) = (blob.digest.clone(), blob.size);
        target.upload(&Load { digest, size, file: OnDisk::Open(file) }, begun).await?;
        Ok(Sent::Uploaded)
    }

    /// The bytes of a blob, in a file without a name.
    async fn fetch(&self, blob: &Blob, scratch: &Path) -> Result<File, RegistryError> {
        let failed = |source| {
            let action = format!("keep a blob in {}", scratch.display());
            RegistryError::File { action, source }
        };
        let file = nameless(scratch).map_err(failed)?;
        let mut to = BufWriter::new(&file);
        self.read_blob((&blob.digest, blob.size), &mut to).await?;
        to.flush().map_err(failed)?;
        drop(to);
        Ok(file)
    }
}

impl Copied {
    fn add(&mut self, sent: Sent, size: u64) {
        match sent {
            Sent::There => self.present += 1,
            Sent::Mounted => self.mounted += 1,
            Sent::Uploaded => {
                self.sent += 1;
                self.bytes += size;
            }
        }
    }
}

/// A new file of a directory, which no directory has any more.
fn nameless(directory: &Path) -> io::Result<File> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = directory.join(format!(".copy-{}-{count}", std::process::id()));
    fs::create_dir_all(directory)?;
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
