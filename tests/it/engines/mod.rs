//! Real engines, where they are there.

mod bench;
mod buildah;
mod buildkit;
mod buildkitd;
mod buildx;
mod differential;
