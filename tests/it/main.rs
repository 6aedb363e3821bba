//! The one test binary.

mod conformance;
mod docs;
mod engines;
