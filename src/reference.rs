//! References to images: `registry/repository:tag@digest`, normalised as distribution/reference does.

use crate::digest::OciDigest;

/// A normalised reference: `debian` is `docker.io/library/debian`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The registry: `docker.io`, `localhost:5000`.
    pub domain: String,
    /// The repository in it: `library/debian`.
    pub path: String,
    /// The tag as written, without the default `latest`.
    pub tag: Option<String>,
    /// The digest.
    pub digest: Option<OciDigest>,
}

impl Reference {
    /// Parses and normalises (distribution/reference `ParseNormalizedNamed`).
    pub fn parse(_text: &str) -> Result<Self, ReferenceError> {
        todo!()
    }

    /// The repository without tag and digest: `docker.io/library/debian`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// As people write it: `debian:12`, without `docker.io/library/` (reference `FamiliarString`).
    pub fn familiar(&self) -> String {
        todo!()
    }
}

/// Why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference format")]
pub struct ReferenceError;
