//! Real engines, where they are there.

mod bench;
mod buildah;
mod buildkit;
mod buildx;
mod differential;
