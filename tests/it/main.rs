//! The one test binary.

mod engines;
