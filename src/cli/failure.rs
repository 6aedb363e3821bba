//! How a command ends: exit codes, and what is said when it could not do what it was asked.

use crate::engine::EngineError;
use crate::gather::GatherError;
use crate::graph::select::SelectError;
use crate::ledger::LedgerError;
use crate::run::with_causes;

/// The exit codes of imgraph. If several apply: 130 before 70 before 69 before 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {}

impl Exit {
    /// Done, or nothing to do.
    pub const OK: u8 = 0;
    /// An image failed.
    pub const IMAGE_FAILED: u8 = 1;
    /// Bad arguments or selector.
    pub const USAGE: u8 = 2;
    /// The workspace is not valid: a Dockerfile or `layers.toml`, a cycle, a broken rule.
    pub const WORKSPACE: u8 = 3;
    /// Nothing matched and `--fail-if-no-match` was given.
    pub const NO_MATCH: u8 = 4;
    /// The engine, the registry, the network or the disk is unavailable; a retry may help.
    pub const UNAVAILABLE: u8 = 69;
    /// A bug in imgraph.
    pub const BUG: u8 = 70;
    /// Another imgraph holds the lock and `--no-wait` was given.
    pub const LOCKED: u8 = 75;
    /// Interrupted by Ctrl-C, in order.
    pub const INTERRUPTED: u8 = 130;
    /// Ended by SIGTERM, in order.
    pub const TERMINATED: u8 = 143;
}

/// Why a command could not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    /// A sentence; empty where everything has been said.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Failure {
    /// A failure with a sentence.
    pub fn new(exit: u8, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), help: None }
    }

    /// A failure of which everything has been said.
    pub fn said(exit: u8) -> Self {
        Self::new(exit, "")
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<SelectError> for Failure {
    fn from(error: SelectError) -> Self {
        Self::new(Exit::USAGE, error.to_string()).help("`imgraph ls` lists the images")
    }
}

impl From<GatherError> for Failure {
    fn from(error: GatherError) -> Self {
        Self::new(Exit::WORKSPACE, with_causes(&error))
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::new(Exit::UNAVAILABLE, with_causes(&error))
            .help("`imgraph doctor` looks for the cause")
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let exit = match &error {
            LedgerError::Locked { .. } => Exit::LOCKED,
            LedgerError::Cancelled => Exit::INTERRUPTED,
            _ => Exit::UNAVAILABLE,
        };
        Self::new(exit, with_causes(&error))
    }
}
