//! From the bytes of a ledger to what can be believed of them.
//!
//! Knows nothing of files, and changes nothing: the result says how far the bytes can be trusted,
//! and the caller cuts there. What is believed is always the history after the first so many
//! entries that were written, never a changed entry, never one without those before it.

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::history::NoRun;
use crate::ledger::entry::Entry;
use crate::ledger::frame::{self, Check, HEADER_LENGTH, Header, Rest};
use crate::ledger::memory::Memory;
use crate::ledger::skim::{Partial, Skimmed};

/// Why nothing of a file can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is a ledger of a newer version.
    Newer(u32),
    /// It has no header, or not any more.
    Headless {
        /// How many whole entries there are all the same.
        entries: usize,
    },
}

/// The part of a ledger that can be believed.
#[derive(Debug)]
pub(super) struct Trusted<M = Memory> {
    /// What its entries add up to.
    pub(super) memory: M,
    /// Where it ends.
    pub(super) end: End,
    /// The version of its format.
    pub(super) version: u32,
    /// How long the file was when it was last written as a whole.
    pub(super) snapshot: u64,
    /// What comes behind it.
    pub(super) tail: Tail,
}

/// Where the next frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// In bytes from the beginning of the file.
    pub(super) offset: u64,
    /// The check of the frame before it.
    pub(super) check: Check,
}

/// What comes behind the part that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Clean,
    /// The beginning of a frame.
    Torn,
    /// Damage, and whatever was written behind it.
    Damaged {
        /// How many whole entries there are behind the damage; those behind a damaged length cannot
        /// be found, nor counted.
        entries: usize,
    },
}

/// Reads a whole ledger.
pub(super) fn recover(file: &[u8]) -> Result<Trusted, Unreadable> {
    add_up(file, Entry::take, Memory::apply)
}

/// Reads a whole ledger, but only the records of images that are wanted.
pub(super) fn skim(
    file: &[u8],
    is_wanted: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Trusted<Partial>, Unreadable> {
    add_up(file, |bytes| Skimmed::take(bytes, is_wanted), Partial::apply)
}

fn add_up<M: Default, E: Send>(
    file: &[u8],
    take: impl Fn(&[u8]) -> Option<(E, &[u8])> + Sync,
    apply: impl Fn(&mut M, Vec<E>) -> Result<(), NoRun>,
) -> Result<Trusted<M>, Unreadable> {
    let header = frame::read_header(file);
    if let Header::Newer(version) = header {
        return Err(Unreadable::Newer(version));
    }
    let (frames, rest) = frame::split(file);
    // Checking and decoding is nearly all of the work and needs no order, so all cores do it.
    let entries: Vec<Option<Vec<E>>> =
        frames.par_iter().map(|frame| frame.entries(&take)).collect();
    let Header::Known { version, snapshot } = header else {
        return Err(Unreadable::Headless { entries: count(&entries) });
    };
    let (memory, good, entries) = remember(entries, apply);
    let end = frames[..good].last().map_or(
        End { offset: HEADER_LENGTH as u64, check: Check::default() },
        |frame| End { offset: frame.end as u64, check: frame.check },
    );
    let tail = match rest {
        _ if good < frames.len() => Tail::Damaged { entries },
        Rest::Nothing => Tail::Clean,
        Rest::Torn => Tail::Torn,
        Rest::Damaged => Tail::Damaged { entries: 0 },
    };
    Ok(Trusted { memory, end, version, snapshot, tail })
}

/// Adds up the frames before the first that cannot be believed, and says how many they are, and how
/// many whole entries there are from there on.
fn remember<M: Default, E>(
    frames: Vec<Option<Vec<E>>>,
    apply: impl Fn(&mut M, Vec<E>) -> Result<(), NoRun>,
) -> (M, usize, usize) {
    let mut memory = M::default();
    let mut good = 0;
    let mut frames = frames.into_iter();
    for frame in frames.by_ref() {
        let Some(entries) = frame else { break };
        if apply(&mut memory, entries).is_err() {
            break;
        }
        good += 1;
    }
    (memory, good, count(frames.as_slice()))
}

fn count<E>(frames: &[Option<Vec<E>>]) -> usize {
    frames.iter().flatten().map(Vec::len).sum()
}
