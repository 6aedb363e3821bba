//! Blobs: whether a repository has one, and its bytes.
//!
//! Source: OCI distribution-spec, "Pulling blobs". Where the connection breaks, the rest is asked for
//! and not what has come already.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{MutexGuard, PoisonError};

use hyper::{Method, StatusCode, header};

use crate::digest::{OciDigest, OciHasher};
use crate::registry::auth::Scope;
use crate::registry::body::Payload;
use crate::registry::call::{Ask, Repository, To};
use crate::registry::error::{RegistryError, Trouble};
use crate::registry::manifests::LARGEST_DOCUMENT;

/// A blob that has come in part.
struct Arriving<'a> {
    to: &'a mut (dyn Write + Send),
    hasher: OciHasher,
    bytes: u64,
}

impl Repository {
    /// Whether the repository has a blob; asked by who may do what is in the scope.
    pub(crate) async fn has_blob(
        &self,
        digest: &OciDigest,
        scope: Scope,
    ) -> Result<bool, RegistryError> {
        if self.was_seen(digest) {
            return Ok(true);
        }
        let ask = Ask { scope, ..self.blob_ask(Method::HEAD, digest) };
        let asked = self.patiently(async || {
            let answered = self.attempt(&ask).await?;
            self.client.wire.done(answered.incomplete);
            Ok(())
        });
        match asked.await {
            Ok(()) => {
                self.note_seen(digest);
                Ok(true)
            }
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the bytes of a blob, which are what the digest says; those of one that is not have been
    /// written, too, when that is known.
    pub(crate) async fn read_blob(
        &self,
        (digest, size): (&OciDigest, u64),
        to: &mut (dyn Write + Send),
    ) -> Result<(), RegistryError> {
        let mut arriving = Arriving { to, hasher: OciHasher::default(), bytes: 0 };
        let mut tries = 0;
        loop {
            let before = arriving.bytes;
            match self.read_rest((digest, size), &mut arriving).await {
                Ok(()) => break,
                Err(Trouble::Passing(error, _)) => {
                    // As long as something comes there is hope.
                    tries = if arriving.bytes > before { 0 } else { tries + 1 };
                    if tries > 2 {
                        return Err(error);
                    }
                    self.notes.send(format!("{error}; asking for the rest")).unwrap_or_default();
                }
                Err(Trouble::Final(error)) => return Err(error),
            }
        }
        let is = arriving.hasher.finish();
        if is == *digest {
            return Ok(());
        }
        let what = self.blob_ask(Method::GET, digest).what;
        Err(self.wrong(&what, format!("what comes is {is}")).into_error())
    }

    async fn read_rest(
        &self,
        (digest, size): (&OciDigest, u64),
        arriving: &mut Arriving<'_>,
    ) -> Result<(), Trouble> {
        let mut ask = self.blob_ask(Method::GET, digest);
        if arriving.bytes > 0 {
            ask.headers.push((header::RANGE, format!("bytes={}-", arriving.bytes)));
        }
        let mut answer = self.attempt(&ask).await?.incomplete;
        // A server that knows no ranges begins at the beginning.
        let mut skip = match answer.status {
            StatusCode::PARTIAL_CONTENT => 0,
            _ => arriving.bytes,
        };
        loop {
            let piece = answer.piece().await;
            let Some(piece) = piece.map_err(|it| self.host.place.trouble(it))? else {
                break;
            };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(piece.len());
            skip -= known as u64;
            let piece = &piece[known..];
            arriving.bytes += piece.len() as u64;
            if arriving.bytes > size {
                return Err(Trouble::Final(
                    self.wrong(&ask.what, format!("more comes than {size} bytes")).into_error(),
                ));
            }
            arriving.hasher.update(piece);
            arriving.to.write_all(piece).map_err(|source| {
                let action = format!("write {}", ask.what);
                Trouble::Final(RegistryError::File { action, source })
            })?;
        }
        self.client.wire.done(answer);
        if arriving.bytes < size {
            let why = format!("{} of {size} bytes came", arriving.bytes);
            return Err(self.wrong(&ask.what, why));
        }
        Ok(())
    }

    /// The bytes of a small blob, for example a config.
    pub(crate) async fn document(
        &self,
        (digest, size): (&OciDigest, u64),
    ) -> Result<Vec<u8>, RegistryError> {
        let known = self.client.cache.as_ref().and_then(|cache| cache.get(digest));
        if let Some(bytes) = known {
            return Ok(bytes);
        }
        if size > LARGEST_DOCUMENT as u64 {
            let what = self.blob_ask(Method::GET, digest).what;
            return Err(self.wrong(&what, format!("it weighs {size} bytes")).into_error());
        }
        let mut bytes = Vec::new();
        self.read_blob((digest, size), &mut bytes).await?;
        if let Some(cache) = &self.client.cache {
            cache.put(digest, &bytes);
        }
        Ok(bytes)
    }

    pub(crate) fn blob_ask(&self, method: Method, digest: &OciDigest) -> Ask {
        Ask {
            method,
            to: To::Below(format!("blobs/{digest}")),
            headers: Vec::new(),
            payload: Payload::Nothing,
            scope: self.reading(),
            what: format!("blob {digest} of {}", self.path),
        }
    }

    /// Whether the repository was seen to have a blob.
    pub(crate) fn was_seen(&self, digest: &OciDigest) -> bool {
        self.seen().get(digest).is_some_and(|paths| paths.contains(&self.path))
    }

    /// Notes that the repository has a blob.
    pub(crate) fn note_seen(&self, digest: &OciDigest) {
        self.seen().entry(digest.clone()).or_default().insert(self.path.clone());
    }

    /// Another repository of the registry that was seen to have a blob.
    pub(crate) fn seen_elsewhere(&self, digest: &OciDigest) -> Option<String> {
        let seen = self.seen();
        seen.get(digest)?.iter().find(|path| **path != self.path).cloned()
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<OciDigest, BTreeSet<String>>> {
        self.host.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
