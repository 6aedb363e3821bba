//! Real engines, where they are there, and one that is made here.

mod bench;
mod buildah;
mod buildx;
mod differential;
mod fake;
