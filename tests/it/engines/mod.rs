//! Real engines, where they are there.

mod bench;
mod buildah;
mod buildx;
mod differential;
