//! Real engines, where they are there.

mod buildah;
mod differential;
