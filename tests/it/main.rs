//! The one test binary.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests write files, start programs, and fail by panicking"
)]

mod check;
mod conformance;
mod docs;
mod engines;
mod failures;
mod interrupt;
mod rebuild;
mod selection;
mod support;
