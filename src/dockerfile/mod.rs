//! The front end: Dockerfile text to what building one target of it can read.
//!
//! It reads as BuildKit does (or, where they differ, as buildah does: see [`Flavour`]). It knows no
//! files: neither the context nor the parents; `gather` lists the first, `graph` finds the second.

pub mod reads;

pub use reads::{ContextRead, ImageUse, Reads, Request, Step, UseKind};

use crate::diagnostic::Diagnostic;

/// Which engine's rules of expansion and of `.dockerignore` look-up are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// BuildKit: the later of ARG and ENV wins.
    BuildKit,
    /// buildah and podman: ENV wins over ARG.
    Buildah,
}

/// A parsed Dockerfile.
#[derive(Clone, Debug, Default)]
pub struct Dockerfile {}

/// Parses; all mistakes are reported, and what could be read is returned.
pub fn parse(_text: &[u8]) -> (Dockerfile, Vec<Diagnostic>) {
    todo!()
}
