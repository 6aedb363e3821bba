//! The one test binary.

mod conformance;
mod engines;
