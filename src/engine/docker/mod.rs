//! What Docker brings along: where daemons are, and the API of its engine.
//!
//! Knows nothing of builds; `buildkit` and `buildx` use it.

pub mod api;
pub mod credentials;
pub mod endpoint;
pub mod stream;
