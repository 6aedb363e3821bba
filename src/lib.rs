//! imgraph rebuilds a tree of container images: only what is affected, parents first, siblings in
//! parallel, stopping early where a rebuilt parent came out the same.
//!
//! ```text
//! gather -> dockerfile -> graph -> gather -> fingerprint -> plan -> run(schedule, engine) -> ledger
//!  (disk)     (pure)      (pure)   (files)     (pure)      (pure)        (effects)           (disk)
//!                                                                           | Event
//!                                                                           v
//!                                                               report (terminal, NDJSON ...)
//! ```
//!
//! The modules below are in reading order, which is the order of dependency: a module uses only
//! modules declared above it. `ARCHITECTURE.md` has the invariants and the glossary.

// Words: no file, process, clock or environment.
pub mod digest;
pub mod image;
pub mod context;
pub mod diagnostic;
pub mod reference;
pub mod cache;
pub mod gopath;
pub mod lines;
pub mod secret;

// Core: values in, values out.
pub mod ignorefile;
pub mod dockerfile;
pub mod layers;
pub mod lockfile;
pub mod graph;
pub mod fingerprint;
pub mod history;
pub mod published;
pub mod affected;
pub mod policy;
pub mod plan;
pub mod shard;
pub mod schedule;
pub mod event;

// Effects.
pub mod clock;
pub mod whole;
pub mod cancel;
pub mod process;
pub mod git;
pub mod tls;
pub mod dockerconfig;
pub mod registry;
pub mod gather;
pub mod load;
pub mod ledger;
pub mod remote;
pub mod engine;
pub mod signal;
pub mod run;
pub mod report;
pub mod watch;
pub mod cli;
