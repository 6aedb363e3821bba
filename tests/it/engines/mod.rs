//! Real engines, where they are there, and one that is made here.

mod bench;
mod buildah;
mod buildkit;
mod buildkitd;
mod buildx;
mod differential;
mod fake;
mod published;
