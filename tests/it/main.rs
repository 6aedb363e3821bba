//! The one test binary.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests write files, start programs, and fail by panicking"
)]

mod affected;
mod check;
mod cli;
mod conformance;
mod docs;
mod engines;
mod events;
mod failures;
mod init;
mod interrupt;
mod layering;
mod look;
mod naming;
mod nightly;
mod options;
mod prepare;
mod promote;
mod push;
mod rebuild;
mod reports;
mod registry;
mod remote;
mod scale;
mod selection;
mod settled;
mod shards;
mod support;
mod update;
mod watch;
mod widened;
