//! The buildah program.
