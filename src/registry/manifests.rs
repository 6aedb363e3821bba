//! Manifests and indexes: what a tag points at, and where tags are moved.
//!
//! Source: OCI distribution-spec, "Pulling manifests", "Pushing Manifests"; image-spec
//! `manifest.md`, `image-index.md`; distribution "Image Manifest V 2, Schema 2". A document is what
//! its digest says, and of the type that it says itself, or it is not believed.

use hyper::{Method, header};
use serde::Deserialize;

use crate::digest::OciDigest;
use crate::reference::Reference;
use crate::registry::auth::Scope;
use crate::registry::body::Payload;
use crate::registry::call::{Answered, Ask, Repository, To};
use crate::registry::error::{RegistryError, Trouble};

/// The documents that we understand.
const TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// No document weighs more: registries refuse larger ones.
pub(crate) const LARGEST_DOCUMENT: usize = 4 * 1024 * 1024;
/// What a registry calls a document by.
const DIGEST: &str = "docker-content-digest";

/// What a registry says of a manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is called by.
    pub digest: OciDigest,
    /// Its media type.
    pub media_type: String,
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// What it is called by.
    pub digest: OciDigest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes, which are what the digest says.
    pub bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Repository {
    /// What a reference points at; asked by who may do what is in the scope.
    pub(crate) async fn find(
        &self,
        reference: &Reference,
        scope: Scope,
    ) -> Result<Found, RegistryError> {
        let ask = Ask { scope, ..self.manifest_ask(Method::HEAD, reference) };
        let found = self.patiently(async || {
            let answered = self.attempt(&ask).await?;
            let digest = self.named(&answered, &ask.what)?;
            let digest = digest.or_else(|| reference.digest.clone());
            let media_type = self.media_type(&answered, &ask.what)?;
            if let (Some(wanted), Some(digest)) = (&reference.digest, &digest)
                && wanted != digest
            {
                return Err(self.wrong(&ask.what, format!("it is {digest}")));
            }
            self.client.wire.done(answered.incomplete);
            Ok(digest.map(|digest| Found { digest, media_type }))
        });
        match found.await? {
            Some(found) => Ok(found),
            // A registry need not name the digest: then the document does.
            None => self
                .manifest(reference)
                .await
                .map(|it| Found { digest: it.digest, media_type: it.media_type }),
        }
    }

    /// The document that a reference points at.
    pub(crate) async fn manifest(&self, reference: &Reference) -> Result<Manifest, RegistryError> {
        if let (Some(digest), Some(cache)) = (&reference.digest, &self.client.cache)
            && let Some(bytes) = cache.get(digest)
            && let Ok(typed) = serde_json::from_slice::<Typed>(&bytes)
        {
            let (digest, media_type) = (digest.clone(), typed.media_type());
            return Ok(Manifest { digest, media_type, bytes });
        }
        let ask = self.manifest_ask(Method::GET, reference);
        let manifest = self.patiently(async || {
            let answered = self.attempt(&ask).await?;
            let media_type = self.media_type(&answered, &ask.what)?;
            let named = self.named(&answered, &ask.what)?;
            let read = self.client.wire.read(answered.incomplete, LARGEST_DOCUMENT).await;
            let bytes = read.map_err(|error| self.host.place.trouble(error))?;
            let digest = OciDigest::of_content(&bytes);
            for wanted in reference.digest.iter().chain(&named) {
                if wanted.as_str().starts_with("sha256:") && *wanted != digest {
                    return Err(self.wrong(&ask.what, format!("what comes is {digest}")));
                }
            }
            let typed = serde_json::from_slice::<Typed>(&bytes);
            let typed =
                typed.map_err(|_| self.wrong(&ask.what, "what comes is no JSON".to_owned()))?;
            if typed.media_type.as_ref().is_some_and(|own| *own != media_type) {
                let why = format!("what comes as {media_type} says that it is another type");
                return Err(self.wrong(&ask.what, why));
            }
            Ok(Manifest { digest, media_type, bytes: bytes.to_vec() })
        });
        let manifest = manifest.await?;
        if let Some(cache) = &self.client.cache {
            cache.put(&manifest.digest, &manifest.bytes);
        }
        Ok(manifest)
    }

    /// Puts a document where a reference points, by tag or by digest; all that it names is there.
    pub(crate) async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        let mut ask = self.manifest_ask(Method::PUT, reference);
        ask.headers = vec![(header::CONTENT_TYPE, media_type.to_owned())];
        ask.payload = Payload::Bytes(bytes.to_vec().into());
        ask.scope = self.writing();
        let digest = OciDigest::of_content(bytes);
        let put = self.patiently(async || {
            let answered = self.attempt(&ask).await?;
            let named = self.named(&answered, &ask.what)?;
            self.client.wire.done(answered.incomplete);
            match named {
                Some(other) if other != digest => {
                    Err(self.wrong(&ask.what, format!("it has made {other} of {digest}")))
                }
                _ => Ok(()),
            }
        });
        put.await
    }

    fn manifest_ask(&self, method: Method, reference: &Reference) -> Ask {
        let tag = reference.tag_or_latest();
        let called = reference.digest.as_ref().map(OciDigest::as_str).or(tag).unwrap_or_default();
        Ask {
            method,
            to: To::Below(format!("manifests/{called}")),
            headers: vec![(header::ACCEPT, TYPES.join(", "))],
            payload: Payload::Nothing,
            scope: self.reading(),
            what: format!("manifest {}", reference.familiar()),
        }
    }

    /// The type of a document, which is one that we understand.
    fn media_type(&self, answered: &Answered, what: &str) -> Result<String, Trouble> {
        let written = answered.incomplete.header("content-type").unwrap_or_default();
        let media_type = written.split(';').next().unwrap_or_default().trim();
        if TYPES.contains(&media_type) {
            return Ok(media_type.to_owned());
        }
        let why = match media_type {
            "" => "what comes has no type".to_owned(),
            other => format!("what comes is {other}"),
        };
        Err(self.wrong(what, why))
    }

    /// The digest that an answer names.
    fn named(&self, answered: &Answered, what: &str) -> Result<Option<OciDigest>, Trouble> {
        let Some(named) = answered.incomplete.header(DIGEST) else { return Ok(None) };
        let digest = named.parse();
        digest.map(Some).map_err(|_| self.wrong(what, "it is called by no digest".to_owned()))
    }

    /// An answer that is not what was asked for.
    pub(crate) fn wrong(&self, what: &str, why: String) -> Trouble {
        let (registry, what) = (self.host.place.name.clone(), what.to_owned());
        RegistryError::Wrong { registry, what, why }.into()
    }
}

impl Typed {
    /// Its media type, which the OCI's documents need not have.
    fn media_type(self) -> String {
        let usual = if self.manifests.is_some() { TYPES[0] } else { TYPES[1] };
        self.media_type.unwrap_or_else(|| usual.to_owned())
    }
}
