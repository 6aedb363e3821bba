//! What is on the disk: discovery, and the files that an image reads.
//!
//! Everything here is reading; nothing decides what to build.

pub mod context;
pub mod hash;
pub mod root;
pub mod stat;
