//! Blobs on their way into a repository: not sent where they are, mounted where they are in another
//! repository, and else uploaded, in pieces where they are large.
//!
//! Source: OCI distribution-spec, "Pushing blobs", "Mounting a blob from another repository". An
//! upload that was interrupted goes on where the registry says it stands; one that the registry has
//! forgotten, or that came out as something else, begins anew.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::{Method, StatusCode, header};
use tokio::task::JoinSet;

use crate::digest::OciDigest;
use crate::registry::auth::escaped;
use crate::registry::body::{OnDisk, Payload};
use crate::registry::call::{Answered, Ask, Repository, To};
use crate::registry::error::{RegistryError, Trouble};
use crate::registry::location::Location;

/// What is not larger is sent with one request.
const SMALL: u64 = 4 * 1024 * 1024;
/// How much is sent with one request of a larger blob: what was sent before the connection breaks
/// need not be sent again.
const CHUNK: u64 = 64 * 1024 * 1024;
/// How often one piece is tried before the whole upload counts as failed.
const TRIES: u32 = 3;
/// How long is waited before a piece is tried again.
const WAIT: Duration = Duration::from_millis(500);

/// A blob to send: a file.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What it is called by.
    pub digest: OciDigest,
    /// Its bytes.
    pub size: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Repositories of the same registry that may have it.
    pub elsewhere: Vec<String>,
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The repository had it.
    There,
    /// Another repository of the registry had it.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// What a blob takes to be in a repository.
pub(crate) enum Need {
    /// Nothing more: it is there, or was mounted.
    Nothing(Sent),
    /// Its bytes, perhaps in an upload that was begun already.
    Bytes(Option<Location>),
}

/// The bytes of a blob.
pub(crate) struct Load {
    pub(crate) digest: OciDigest,
    pub(crate) size: u64,
    pub(crate) file: OnDisk,
}

impl Repository {
    /// Sends blobs, several at once.
    pub(crate) async fn send(&self, parcels: Vec<Parcel>) -> Result<Vec<Sent>, RegistryError> {
        let mut going = JoinSet::new();
        let mut ended = vec![Sent::There; parcels.len()];
        for (row, parcel) in parcels.into_iter().enumerate() {
            let repository = self.clone();
            // The set ends them where one has failed, or all of it was given up.
            going.spawn(async move { (row, repository.send_one(&parcel).await) });
        }
        while let Some(joined) = going.join_next().await {
            let (row, sent) = joined.map_err(|error| {
                let (registry, why) = (self.host.place.name.clone(), error.to_string());
                RegistryError::Unavailable { registry, why }
            })?;
            ended[row] = sent?;
        }
        Ok(ended)
    }

    async fn send_one(&self, parcel: &Parcel) -> Result<Sent, RegistryError> {
        let begun = match self.without_bytes(&parcel.digest, &parcel.elsewhere).await? {
            Need::Nothing(sent) => return Ok(sent),
            Need::Bytes(begun) => begun,
        };
        let file = OnDisk::Path(Arc::new(parcel.path.clone()));
        let load = Load { digest: parcel.digest.clone(), size: parcel.size, file };
        self.upload(&load, begun).await?;
        Ok(Sent::Uploaded)
    }

    /// Tries to have a blob without sending its bytes: it may be there, or in a repository of the
    /// same registry.
    pub(crate) async fn without_bytes(
        &self,
        digest: &OciDigest,
        elsewhere: &[String],
    ) -> Result<Need, RegistryError> {
        // Who is about to write asks with the same token.
        if self.has_blob(digest, self.writing()).await? {
            return Ok(Need::Nothing(Sent::There));
        }
        let seen = self.seen_elsewhere(digest);
        let from = seen.or_else(|| elsewhere.iter().find(|path| **path != self.path).cloned());
        let Some(from) = from else { return Ok(Need::Bytes(None)) };
        let need = self.mount(digest, &from).await?;
        if let Need::Nothing(_) = need {
            self.note_seen(digest);
        }
        Ok(need)
    }

    /// Has the registry take a blob from another repository, if it does, and we may read that one.
    async fn mount(&self, digest: &OciDigest, from: &str) -> Result<Need, RegistryError> {
        let query = format!("?mount={}&from={}", escaped(digest.as_str()), escaped(from));
        let mut ask = self.upload_ask(Method::POST, To::Below(format!("blobs/uploads/{query}")));
        ask.scope.insert(format!("repository:{from}:pull"));
        let mounted = self.patiently(async || {
            let answered = self.attempt(&ask).await?;
            if answered.incomplete.status == StatusCode::CREATED {
                self.client.wire.done(answered.incomplete);
                return Ok(Need::Nothing(Sent::Mounted));
            }
            self.next(answered).map(|at| Need::Bytes(Some(at)))
        });
        match mounted.await {
            Ok(need) => Ok(need),
            // A registry that mounts nothing, or not from there; whether we may write is seen next.
            Err(
                RegistryError::Auth { .. }
                | RegistryError::Missing { .. }
                | RegistryError::Refused { .. },
            ) => Ok(Need::Bytes(None)),
            Err(error) => Err(error),
        }
    }

    /// Uploads a blob, perhaps into an upload that was begun already.
    pub(crate) async fn upload(
        &self,
        load: &Load,
        begun: Option<Location>,
    ) -> Result<(), RegistryError> {
        let begun = Mutex::new(begun);
        let uploaded = self.patiently(async || {
            let begun = begun.lock().unwrap_or_else(PoisonError::into_inner).take();
            let at = match begun {
                Some(at) => at,
                None => self.begin().await?,
            };
            if load.size <= SMALL {
                let payload = load.part(0, load.size);
                return self.finish(load, at, payload).await;
            }
            let at = self.send_pieces(load, at).await?;
            self.finish(load, at, Payload::Nothing).await
        });
        uploaded.await?;
        self.note_seen(&load.digest);
        Ok(())
    }

    /// Begins an upload: where it is.
    async fn begin(&self) -> Result<Location, Trouble> {
        let ask = self.upload_ask(Method::POST, To::Below("blobs/uploads/".to_owned()));
        let answered = self.attempt(&ask).await?;
        self.next(answered)
    }

    /// Sends all bytes; returns where the upload is then.
    async fn send_pieces(&self, load: &Load, mut at: Location) -> Result<Location, Trouble> {
        let (mut sent, mut tries) = (0, 1);
        while sent < load.size {
            let length = CHUNK.min(load.size - sent);
            let mut ask = self.upload_ask(Method::PATCH, To::Led(at.clone()));
            let range = format!("{sent}-{}", sent + length - 1);
            ask.headers.push((header::CONTENT_RANGE, range));
            ask.payload = load.part(sent, length);
            match self.attempt(&ask).await {
                Ok(answered) => {
                    let stands = answered.incomplete.header("range").and_then(received);
                    at = self.next(answered)?;
                    // A registry may take less than it was sent.
                    let took = stands.filter(|stands| (sent + 1..=sent + length).contains(stands));
                    sent = took.unwrap_or(sent + length);
                    tries = 1;
                }
                Err(trouble) => {
                    let error = interrupted(trouble, tries)?;
                    tries += 1;
                    let note = format!("{error}; going on with the upload");
                    self.notes.send(note).unwrap_or_default();
                    tokio::time::sleep(WAIT).await;
                    (at, sent) = self.resume(at).await?;
                }
            }
        }
        Ok(at)
    }

    /// Where an upload is, and how many bytes of it have come.
    async fn resume(&self, at: Location) -> Result<(Location, u64), Trouble> {
        let ask = self.upload_ask(Method::GET, To::Led(at.clone()));
        let answered = self.attempt(&ask).await.map_err(forgotten)?;
        let stands = answered.incomplete.header("range").and_then(received).unwrap_or(0);
        let at = if answered.incomplete.header("location").is_some() {
            self.next(answered)?
        } else {
            self.client.wire.done(answered.incomplete);
            at
        };
        // "0-0" is one byte, and also none: then it is better to begin at the beginning.
        Ok((at, if stands == 1 { 0 } else { stands }))
    }

    /// Ends an upload: the registry compares the digest.
    async fn finish(&self, load: &Load, at: Location, payload: Payload) -> Result<(), Trouble> {
        let at = at.with("digest", &escaped(load.digest.as_str()));
        let ask = Ask { payload, ..self.upload_ask(Method::PUT, To::Led(at)) };
        match self.attempt(&ask).await {
            Ok(answered) => {
                self.client.wire.done(answered.incomplete);
                Ok(())
            }
            // Other bytes have come than were sent: that may be better with the next upload.
            Err(Trouble::Final(RegistryError::Refused { status: 400 | 416, why, .. })) => {
                let what = format!("what it got as blob {}", load.digest);
                Err(self.wrong(&what, why))
            }
            Err(trouble) => Err(forgotten(trouble)),
        }
    }

    /// Where the next request of an upload goes.
    fn next(&self, answered: Answered) -> Result<Location, Trouble> {
        let led = answered.incomplete.header("location");
        let led = led.and_then(|location| answered.from.resolve(location));
        self.client.wire.done(answered.incomplete);
        led.ok_or_else(|| self.wrong("an upload", "it does not say where to".to_owned()))
    }

    fn upload_ask(&self, method: Method, to: To) -> Ask {
        let headers = if method == Method::GET {
            Vec::new()
        } else {
            vec![(header::CONTENT_TYPE, "application/octet-stream".to_owned())]
        };
        Ask {
            method,
            to,
            headers,
            payload: Payload::Nothing,
            scope: self.writing(),
            what: format!("an upload to {}", self.path),
        }
    }
}

impl Load {
    fn part(&self, from: u64, length: u64) -> Payload {
        Payload::Part { file: self.file.clone(), from, length }
    }
}

/// What an upload may go on after.
fn interrupted(trouble: Trouble, tries: u32) -> Result<RegistryError, Trouble> {
    match trouble {
        Trouble::Passing(error, None) if tries < TRIES => Ok(error),
        // It has other bytes than we think.
        Trouble::Final(error @ RegistryError::Refused { status: 416, .. }) if tries < TRIES => {
            Ok(error)
        }
        trouble => Err(forgotten(trouble)),
    }
}

/// An upload that the registry does not know any more may be begun anew.
fn forgotten(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Final(RegistryError::Missing { registry, .. }) => {
            let why = "it has forgotten an upload".to_owned();
            Trouble::Passing(RegistryError::Unavailable { registry, why }, None)
        }
        trouble => trouble,
    }
}

/// How many bytes have come: `Range: 0-1023`, with or without a unit.
fn received(range: &str) -> Option<u64> {
    let range = range.rsplit('=').next().unwrap_or(range);
    let end: u64 = range.trim().strip_prefix("0-")?.parse().ok()?;
    end.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_is_read_from_a_range() {
        assert_eq!(received("0-1023"), Some(1024));
        assert_eq!(received("bytes=0-9"), Some(10));
        for odd in ["", "0-", "1-2", "0-18446744073709551615"] {
            assert_eq!(received(odd), None, "{odd}");
        }
    }
}
