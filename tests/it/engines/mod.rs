//! Real engines, where they are there.

mod buildah;
mod buildkit;
mod differential;
