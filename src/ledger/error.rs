//! What can go wrong with a ledger: errors, after which there is none, and warnings, after which
//! there is.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::history::NoRun;
use crate::ledger::frame::{FORMAT, TooLong};
use crate::ledger::lock::Holder;

/// Why a ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Somebody else is writing, and the caller did not want to wait.
    #[error("another imgraph is at work here{}", Named(holder.as_ref()))]
    Locked {
        /// Who, where its name could be read.
        holder: Option<Holder>,
    },
    /// The caller stopped waiting.
    #[error("stopped waiting for another imgraph")]
    Cancelled,
    /// A newer imgraph wrote it.
    #[error(
        "{} has format {version}, written by a newer imgraph; this one knows format {FORMAT}: use \
         the newer one, or delete the file, which costs only time",
        path.display()
    )]
    Newer {
        /// The ledger.
        path: PathBuf,
        /// The version of its format.
        version: u32,
    },
    /// A file or directory could not be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// An entry of a run was to be appended outside of one.
    #[error("cannot record this")]
    NoRun(#[from] NoRun),
    /// The entries of one append have more than four gigabytes.
    #[error("cannot record more than 4 GiB at once")]
    TooLong(#[from] TooLong),
}

impl LedgerError {
    /// For `map_err`: what was tried on which path.
    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}

/// Something the user should know; the ledger is open and good. Each is one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// The last entry was not completely written.
    #[error(
        "the last record of {} was not completely written, because imgraph or the machine was \
         stopped at that moment; it is left out, and its image may be built again",
        path.display()
    )]
    Torn {
        /// The ledger.
        path: PathBuf,
    },
    /// A part of the ledger is not what was written.
    #[error(
        "{} is damaged from byte {at} on; {} left out{}, and images may be built again",
        path.display(), Counted(*records), Kept(kept.as_deref())
    )]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// Where the damage begins.
        at: u64,
        /// How many whole records could be found behind the damage.
        records: usize,
        /// Where they are kept; `None` where they stay in place or could not be kept.
        kept: Option<PathBuf>,
    },
    /// The ledger has grown, or is of an older format, and could not be rewritten; it is good as it
    /// is.
    #[error("the ledger stays as it is, larger or older than it need be: {error}{}", Cause(error))]
    NotCompacted {
        /// Why not.
        error: LedgerError,
    },
    /// The file system has no locks.
    #[error(
        "{} cannot be locked on this file system; let only one imgraph at a time work here",
        path.display()
    )]
    Unlocked {
        /// The lock file.
        path: PathBuf,
    },
}

struct Named<'a>(Option<&'a Holder>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |holder| write!(f, ": {holder}"))
    }
}

struct Counted(usize);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("what follows is"),
            1 => f.write_str("that and the record behind it are"),
            records => write!(f, "that and the {records} records behind it are"),
        }
    }
}

struct Kept<'a>(Option<&'a Path>);

impl fmt::Display for Kept<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |path| write!(f, " (kept in {})", path.display()))
    }
}

struct Cause<'a>(&'a LedgerError);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::error::Error::source(self.0).map_or(Ok(()), |cause| write!(f, ": {cause}"))
    }
}
