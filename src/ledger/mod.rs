//! What imgraph remembers between two runs, kept so that no crash can make it believe a lie.
//!
//! A ledger is one append-only file, `.imgraph/ledger`: a header, then one frame for each append of
//! things that happened ([`Entry`]). What they add up to is a [`History`]. This module knows neither how images
//! are built nor how it is decided which; `docs/ledger-format.md` has the bytes.
//!
//! ```text
//! .imgraph/ledger           the entries
//! .imgraph/ledger.new       a snapshot being written; means nothing, removed by the next writer
//! .imgraph/ledger.damaged   what was cut off the last time that damage was found
//! .imgraph/lock             who is writing
//! ```
//!
//! # The one promise
//!
//! What is read is the history after the first so many appends, in their order: never an entry that
//! nobody appended, never a changed one, never one without those before it or appended with it.
//! *So many* is all of them, unless a disk or the power failed. A record that is lost costs a build.
//! A record that is not true would skip one, and nobody would notice: everything below prefers the
//! first. Deleting the whole directory, at any moment, costs only time.
//!
//! # How a lie could get in, and why it does not
//!
//! 1. imgraph is killed, or the power goes, in the middle of an append. The file ends with a part of
//!    a frame. The next writer sees that the frame is shorter than its length says, cuts it off, and
//!    says so in one sentence. It does not refuse to start: n2 does, for ever, when the last byte of
//!    its database is missing.
//! 2. The power goes after the file grew, but before its blocks were written: it ends with zeros, or
//!    with what those blocks held before, perhaps frames of a ledger that was deleted. A frame's
//!    check covers the check of the frame before it, so a frame is good in one place only.
//! 3. A bit flips in an old record. The frames behind it are whole, and it is tempting to skip one
//!    and go on. But a later entry may lean on it: an end needs its run, an older output of a key is
//!    only older because a newer one follows. Everything from there on is cut off, counted, and kept
//!    in `ledger.damaged`.
//! 4. The disk is full. Part of a frame is written, then nothing. The caller gets the error and the
//!    file its old length. If even that fails, the next append goes to the same place, over the
//!    remains, and what still sticks out behind it fails its check.
//! 5. `fdatasync` fails. The kernel may have dropped the pages and will call the next sync a success,
//!    so trying again proves nothing. The entry counts as not written: the file gets its old length,
//!    and the caller the error.
//! 6. imgraph is killed while it writes a snapshot. Up to the rename, `ledger` is the old file;
//!    after it, the new one; they say the same.
//! 7. A build ends, its record is written, the tag is not moved yet, and the power goes. The ledger
//!    is right, the store is not what it says. Not a question for this module: nothing is fresh
//!    before the engine was asked whether the recorded output is there.
//!
//! What is synced when: an entry that somebody will be told of, such as a build, is on the disk
//! before [`Ledger::append`] returns. An intent is not waited for: it survives a killed imgraph,
//! because the kernel has it, and a power cut only makes it forgotten which builds were running.
//!
//! # Writers and readers
//!
//! One writer at a time ([`Lock`]); readers take no lock and never wait. A reader that comes while a
//! frame is being written sees its first part, and leaves it out without a word.

mod entry;
mod error;
mod frame;
mod lock;
mod memory;
mod recover;
mod rest;
mod run_id;
mod skim;
mod store;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::history::{History, Run};
use crate::ledger::entry::Durability;
pub use crate::ledger::entry::Entry;
pub use crate::ledger::error::{LedgerError, Warning};
pub use crate::ledger::frame::FORMAT;
use crate::ledger::frame::{Check, HEADER_LENGTH};
use crate::ledger::lock::Guard;
pub use crate::ledger::lock::{Holder, Lock};
use crate::ledger::memory::Memory;
use crate::ledger::recover::{End, Tail, Trusted, Unreadable};
pub use crate::ledger::rest::Resting;
pub use crate::ledger::skim::Partial;

/// A ledger smaller than this many bytes is never rewritten: it is read in a few milliseconds.
const COMPACT_FROM: u64 = 1 << 20;

/// A ledger is rewritten when it is this many times as long as it was after the last time, so that
/// rewriting costs a constant share of what was appended, and no estimate is needed.
const COMPACT_GROWTH: u64 = 3;

/// The ledger, open for writing. Others wait until it is dropped.
#[derive(Debug)]
pub struct Ledger {
    state: PathBuf,
    file: File,
    end: End,
    /// How long the file was when it was last written as a whole.
    snapshot: u64,
    memory: Memory,
    warnings: Vec<Warning>,
    _guard: Guard,
}

impl Ledger {
    /// Takes the lock and reads the ledger; makes both, and the directory, where they are missing.
    /// The parent of the directory must exist.
    ///
    /// What cannot be believed is cut off, with one warning. A ledger that has grown, or is of an
    /// older format, is rewritten without what the history has no use for.
    pub fn open(state: &Path, me: &Holder, lock: Lock<'_>) -> Result<Self, LedgerError> {
        store::prepare(state)?;
        let (guard, unlocked) = lock::acquire(&state.join("lock"), me, lock)?;
        Self::open_locked(state, guard, unlocked.into_iter().collect())
    }

    fn open_locked(
        state: &Path,
        guard: Guard,
        mut warnings: Vec<Warning>,
    ) -> Result<Self, LedgerError> {
        store::remove(&beside(state))?;
        let (file, trusted) = load(state, &mut warnings)?;
        let Trusted { memory, end, version, snapshot, tail: _ } = trusted;
        let state = state.to_owned();
        let mut ledger = Self { state, file, end, snapshot, memory, warnings, _guard: guard };
        if has_grown(end, snapshot) || version < FORMAT {
            ledger.try_to_compact();
        }
        Ok(ledger)
    }

    /// Rewrites the ledger; one that cannot be is good all the same.
    fn try_to_compact(&mut self) {
        if let Err(error) = self.compact() {
            self.warnings.push(Warning::NotCompacted { error });
        }
    }

    /// What is known: everything that was appended, by this process or by those before it.
    pub fn history(&self) -> &History {
        self.memory.history()
    }

    /// What the user should know of how it was opened. Asked a second time, there is nothing.
    pub fn take_warnings(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.warnings)
    }

    /// An id for a run that begins now: about sixteen characters, unique, and behind the ids of all
    /// runs before it when sorted, even where the clock was set back.
    pub fn next_run_id(&self, now: u64) -> String {
        let last = self.history().last_run.as_ref().map(|run: &Run| run.id.as_str());
        run_id_after(last, now)
    }

    /// Appends entries with one write: all of them or, where imgraph is killed in the middle of it,
    /// none. When it returns, whatever anybody will be told of is on the disk.
    ///
    /// After an error nothing was appended, and the next call may well succeed.
    pub fn append(&mut self, entries: impl IntoIterator<Item = Entry>) -> Result<(), LedgerError> {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if entries.is_empty() {
            return Ok(());
        }
        self.memory.check(&entries)?;
        let mut bytes = Vec::new();
        let payload = frame::payload(&entries);
        let check = frame::push(&mut bytes, self.end.check, &payload)?;
        if let Err(error) = self.write(&bytes, &entries) {
            // The next append goes to the same place. Shortening the file spares the next writer a
            // warning about the remains, and it may fail: a part of a frame is never believed, and
            // a whole one that could only not be synced is true.
            self.file.set_len(self.end.offset).unwrap_or_default();
            return Err(LedgerError::file("write", &file(&self.state))(error));
        }
        self.end = End { offset: self.end.offset + bytes.len() as u64, check };
        self.memory.apply(entries)?;
        Ok(())
    }

    /// Rewrites the ledger without what the history has no use for: superseded records, outputs
    /// beyond the last eight of an image, layers of none of the outputs. [`Ledger::open`] does it
    /// when it pays.
    pub fn compact(&mut self) -> Result<(), LedgerError> {
        self.memory.forget();
        (self.file, self.end) = write_snapshot(&self.state, &self.memory)?;
        self.snapshot = self.end.offset;
        Ok(())
    }

    fn write(&self, bytes: &[u8], entries: &[Entry]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.end.offset)?;
        if entries.iter().any(|entry| entry.durability() == Durability::Synced) {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// An id for a run that begins now: see [`Ledger::next_run_id`]. `last` is that of the last run.
pub fn run_id_after(last: Option<&str>, now: u64) -> String {
    run_id::after(last, now, std::process::id())
}

/// Reads what is known, without a lock: a writer neither waits for this nor makes it wait. Where
/// nothing is known yet, the history is empty.
///
/// Nothing is changed on the disk: damage is said, and stays for the next writer to cut off.
pub fn read(state: &Path) -> Result<(History, Vec<Warning>), LedgerError> {
    let (memory, warnings) = read_with(state, recover::recover)?;
    Ok((memory.into_history(), warnings))
}

/// The same without the records of images that are not wanted.
pub fn skim(
    state: &Path,
    is_wanted: &(dyn Fn(&str) -> bool + Sync),
) -> Result<(Partial, Vec<Warning>), LedgerError> {
    read_with(state, |file| recover::skim(file, is_wanted))
}

fn read_with<M: Default>(
    state: &Path,
    recover: impl Fn(&[u8]) -> Result<Trusted<M>, Unreadable>,
) -> Result<(M, Vec<Warning>), LedgerError> {
    // Cutting and appending at the same place, a writer can show us half of either. The second look
    // finds such a file whole, and a damaged one damaged.
    match read_once(state, &recover)? {
        (_, Some(_)) => {
            let (memory, damage) = read_once(state, recover)?;
            Ok((memory, Vec::from_iter(damage)))
        }
        (memory, None) => Ok((memory, Vec::new())),
    }
}

fn read_once<M: Default>(
    state: &Path,
    recover: impl Fn(&[u8]) -> Result<Trusted<M>, Unreadable>,
) -> Result<(M, Option<Warning>), LedgerError> {
    let path = file(state);
    let Some(bytes) = store::read(&path)? else { return Ok((M::default(), None)) };
    let damaged = |at, records| Warning::Damaged { path: path.clone(), at, records, kept: None };
    match recover(&bytes) {
        Err(Unreadable::Newer(version)) => Err(LedgerError::Newer { path, version }),
        Err(Unreadable::Headless { entries }) => Ok((M::default(), Some(damaged(0, entries)))),
        Ok(Trusted { memory, end, tail, .. }) => match tail {
            Tail::Damaged { entries } => Ok((memory, Some(damaged(end.offset, entries)))),
            Tail::Clean | Tail::Torn => Ok((memory, None)),
        },
    }
}

/// Opens the file and reads what can be believed of it; cuts off the rest, and says so.
fn load(state: &Path, warnings: &mut Vec<Warning>) -> Result<(File, Trusted), LedgerError> {
    let path = file(state);
    let Some(bytes) = store::read(&path)? else { return create(state) };
    let trusted = match recover::recover(&bytes) {
        Ok(trusted) => trusted,
        Err(Unreadable::Newer(version)) => return Err(LedgerError::Newer { path, version }),
        Err(Unreadable::Headless { entries }) => {
            warnings.push(set_aside(state, &bytes, 0, entries));
            return create(state);
        }
    };
    let file = store::open(&path)?;
    let offset = trusted.end.offset;
    warnings.extend(match trusted.tail {
        Tail::Clean => return Ok((file, trusted)),
        Tail::Torn => Some(Warning::Torn { path: path.clone() }),
        Tail::Damaged { entries } => Some(set_aside(state, &bytes, offset, entries)),
    });
    file.set_len(offset).map_err(LedgerError::file("shorten", &path))?;
    Ok((file, trusted))
}

/// Keeps what is about to be cut off, for somebody who wants to know what happened. A disk that
/// cannot take it is no reason not to start.
fn set_aside(state: &Path, bytes: &[u8], at: u64, records: usize) -> Warning {
    let aside = state.join("ledger.damaged");
    let cut = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let kept = store::write(&aside, cut).is_ok().then_some(aside);
    Warning::Damaged { path: file(state), at, records, kept }
}

fn create(state: &Path) -> Result<(File, Trusted), LedgerError> {
    let memory = Memory::default();
    let (file, end) = write_snapshot(state, &memory)?;
    let (version, snapshot) = (FORMAT, end.offset);
    Ok((file, Trusted { memory, end, version, snapshot, tail: Tail::Clean }))
}

fn write_snapshot(state: &Path, memory: &Memory) -> Result<(File, End), LedgerError> {
    let mut bytes = vec![0; HEADER_LENGTH];
    let mut check = Check::default();
    for payload in memory.snapshot() {
        check = frame::push(&mut bytes, check, &payload)?;
    }
    frame::write_header(&mut bytes);
    let file = store::replace(&file(state), &beside(state), &bytes)?;
    Ok((file, End { offset: bytes.len() as u64, check }))
}

/// Whether a ledger is so long that rewriting it pays.
fn has_grown(end: End, snapshot: u64) -> bool {
    end.offset > COMPACT_FROM.max(snapshot.saturating_mul(COMPACT_GROWTH))
}

/// The file of a ledger. Whatever is appended changes what identifies it.
pub fn file(state: &Path) -> PathBuf {
    state.join("ledger")
}

fn beside(state: &Path) -> PathBuf {
    state.join("ledger.new")
}

#[cfg(test)]
mod tests;
