//! From the bytes of a ledger to what can be believed of them.
//!
//! Knows nothing of files, and changes nothing: the result says how far the bytes can be trusted,
//! and the caller cuts there. What is believed is always the history after the first so many
//! entries that were written, never a changed entry, never one without those before it.

use rayon::prelude::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::ledger::entry::Entry;
use crate::ledger::frame::{self, Check, Frame, HEADER_LENGTH, Header, Rest};
use crate::ledger::memory::Memory;

/// How many frames a thread takes at a time, so that small ledgers stay on one.
const FRAMES_AT_ONCE: usize = 256;

/// Why nothing of a file can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is a ledger of a newer version.
    Newer(u32),
    /// It has no header, or not any more.
    Headless {
        /// How many frames there seem to be.
        frames: usize,
    },
}

/// The part of a ledger that can be believed.
#[derive(Debug)]
pub(super) struct Trusted {
    /// What its entries add up to.
    pub(super) memory: Memory,
    /// Where it ends.
    pub(super) end: End,
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
    /// The beginning of one frame.
    Torn,
    /// Damage, and whatever was written behind it.
    Damaged {
        /// How many frames there seem to be; those behind a damaged length cannot be counted.
        frames: usize,
    },
}

/// Reads a whole ledger.
pub(super) fn recover(file: &[u8]) -> Result<Trusted, Unreadable> {
    let snapshot = match frame::read_header(file) {
        Header::Known { snapshot } => snapshot,
        Header::Newer(version) => return Err(Unreadable::Newer(version)),
        Header::Damaged => {
            return Err(Unreadable::Headless { frames: frame::split(file).0.len() });
        }
    };
    let (frames, rest) = frame::split(file);
    let (memory, good) = remember(&frames);
    let end = frames[..good].last().map_or(
        End { offset: HEADER_LENGTH as u64, check: Check::default() },
        |frame| End { offset: frame.end as u64, check: frame.check },
    );
    let tail = match rest {
        _ if good < frames.len() => Tail::Damaged { frames: frames.len() - good },
        Rest::Nothing => Tail::Clean,
        Rest::Torn => Tail::Torn,
        Rest::Damaged => Tail::Damaged { frames: 1 },
    };
    Ok(Trusted { memory, end, snapshot, tail })
}

/// Adds up the frames before the first that cannot be believed, and says how many they are.
///
/// Checking and decoding is nearly all of the work and needs no order, so all cores do it.
fn remember(frames: &[Frame<'_>]) -> (Memory, usize) {
    let entries: Vec<Option<Entry>> =
        frames.par_iter().with_min_len(FRAMES_AT_ONCE).map(Frame::entry).collect();
    let mut memory = Memory::default();
    let mut good = 0;
    for entry in entries {
        let Some(entry) = entry else { break };
        if memory.apply(entry).is_err() {
            break;
        }
        good += 1;
    }
    (memory, good)
}
