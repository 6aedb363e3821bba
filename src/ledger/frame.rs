//! The bytes of a ledger: a header, then frames, each of which vouches for all before it.
//!
//! Knows nothing of files or of what an entry means; `docs/ledger-format.md` has the table. A frame
//! holds the entries of one append, so an append is there as a whole or not at all. Behind the last
//! good frame there can be three things, and they are told apart exactly:
//!
//! - nothing;
//! - the beginning of a frame: a writer was killed in the middle of its write, or is still writing;
//! - something else: damage.
//!
//! That is why the length of a frame is written twice, the second time inverted. With one length, a
//! flipped bit in it would make the file look torn in its middle, and ten thousand records would be
//! dropped with the shrug that one unfinished record deserves.

use std::borrow::Borrow;

use crate::digest::Hasher;
use crate::ledger::entry::Entry;

/// The version of the format that this imgraph writes. It reads those before it, too: 1 had no
/// pushes, 2 no ages and no failures, and they say everything else in the same bytes.
pub const FORMAT: u32 = 3;

/// The length of the header in bytes.
pub(super) const HEADER_LENGTH: usize = MAGIC.len() + 4 + 8 + CHECK_LENGTH;

const MAGIC: [u8; 8] = *b"imgraph\n";
const CHECK_LENGTH: usize = 16;
const FRAME_HEAD: usize = 4 + 4 + CHECK_LENGTH;

/// The first 128 bits of a BLAKE3 digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Check([u8; CHECK_LENGTH]);

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// A ledger that can be read.
    Known {
        /// Its version.
        version: u32,
        /// How long the file was when it was last written as a whole.
        snapshot: u64,
    },
    /// A ledger of a version that this imgraph does not know.
    Newer(u32),
    /// Not the header of a ledger, or not any more.
    Damaged,
}

/// One frame, as far as its lengths tell; nothing is believed of it yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    previous: Check,
    payload: &'a [u8],
    /// Its check; the next frame continues from it.
    pub(super) check: Check,
    /// Where it ends, in bytes from the beginning of the file.
    pub(super) end: usize,
}

/// What follows the last frame that could be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// The beginning of a frame.
    Torn,
    /// Bytes that no interrupted write leaves behind.
    Damaged,
}

/// Entries whose encoding does not fit into a frame.
#[derive(Debug, thiserror::Error)]
#[error("its length has no more than 32 bits")]
pub struct TooLong;

/// Writes a header over the first [`HEADER_LENGTH`] bytes of a whole new file.
pub(super) fn write_header(file: &mut [u8]) {
    let snapshot = file.len() as u64;
    let (fields, check) = file[..HEADER_LENGTH].split_at_mut(HEADER_LENGTH - CHECK_LENGTH);
    fields[..8].copy_from_slice(&MAGIC);
    fields[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    fields[12..].copy_from_slice(&snapshot.to_le_bytes());
    check.copy_from_slice(&header_check(fields).0);
}

/// Reads the header. Its first twelve bytes and its length are the same in all versions, so that an
/// older imgraph recognises a newer ledger instead of taking it for a damaged one.
pub(super) fn read_header(file: &[u8]) -> Header {
    let Some((fields, check)) =
        file.get(..HEADER_LENGTH).map(|header| header.split_at(HEADER_LENGTH - CHECK_LENGTH))
    else {
        return Header::Damaged;
    };
    if fields[..8] != MAGIC || header_check(fields).0 != check {
        return Header::Damaged;
    }
    match u32_at(fields, 8) {
        version @ 1..=FORMAT => Header::Known { version, snapshot: u64_at(fields, 12) },
        0 => Header::Damaged,
        newer => Header::Newer(newer),
    }
}

/// The payload of a frame with these entries.
pub(super) fn payload(entries: impl IntoIterator<Item = impl Borrow<Entry>>) -> Vec<u8> {
    entries.into_iter().fold(Vec::new(), |bytes, entry| {
        postcard::to_extend(entry.borrow(), bytes).expect("postcard encodes whatever entries hold")
    })
}

/// Appends the frame of a payload to `file`, behind a frame whose check is `previous`; the first of
/// a file is behind `Check::default()`. Where it does not fit, `file` stays as it was.
pub(super) fn push(file: &mut Vec<u8>, previous: Check, payload: &[u8]) -> Result<Check, TooLong> {
    let length = u32::try_from(payload.len()).map_err(|_| TooLong)?;
    let check = frame_check(previous, payload);
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(&(!length).to_le_bytes());
    file.extend_from_slice(&check.0);
    file.extend_from_slice(payload);
    Ok(check)
}

/// Finds the frames behind the header by their lengths alone, and what follows them.
pub(super) fn split(file: &[u8]) -> (Vec<Frame<'_>>, Rest) {
    let mut frames = Vec::new();
    let mut previous = Check::default();
    let mut start = HEADER_LENGTH;
    while start < file.len() {
        let Some(head) = file.get(start..start + FRAME_HEAD) else {
            return (frames, unfinished_head(&file[start..]));
        };
        let length = u32_at(head, 0);
        if !length != u32_at(head, 4) {
            return (frames, Rest::Damaged);
        }
        let payload_start = start + FRAME_HEAD;
        let Some(payload) = file[payload_start..].get(..length as usize) else {
            return (frames, Rest::Torn);
        };
        let check = check_at(head, 8);
        start = payload_start + payload.len();
        frames.push(Frame { previous, payload, check, end: start });
        previous = check;
    }
    (frames, Rest::Nothing)
}

impl Frame<'_> {
    /// The entries; `None` where a single bit of the frame, or of the check of the frame before it,
    /// is not what was written, or where the payload is not a sequence of entries.
    /// `take` reads the first of some bytes, and says what is behind it.
    pub(super) fn entries<E>(&self, take: impl Fn(&[u8]) -> Option<(E, &[u8])>) -> Option<Vec<E>> {
        if frame_check(self.previous, self.payload) != self.check {
            return None;
        }
        let mut entries = Vec::new();
        let mut rest = self.payload;
        while !rest.is_empty() {
            let (entry, behind) = take(rest)?;
            entries.push(entry);
            rest = behind;
        }
        Some(entries)
    }
}

/// A frame shorter than its head: only as much of the two lengths as is there can be compared.
fn unfinished_head(head: &[u8]) -> Rest {
    let (length, inverted) = head.split_at(head.len().min(4));
    if length.iter().zip(inverted).all(|(byte, inverted)| !byte == *inverted) {
        Rest::Torn
    } else {
        Rest::Damaged
    }
}

fn header_check(fields: &[u8]) -> Check {
    truncated(Hasher::new("imgraph ledger header").bytes(fields))
}

fn frame_check(previous: Check, payload: &[u8]) -> Check {
    truncated(Hasher::new("imgraph ledger frame").bytes(&previous.0).bytes(payload))
}

fn truncated(hasher: &Hasher) -> Check {
    check_at(hasher.finish().as_bytes(), 0)
}

fn check_at(bytes: &[u8], at: usize) -> Check {
    Check(array_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the caller has seen that many bytes")
}

/// A whole file of another version, with a header as all versions have it.
#[cfg(test)]
pub(super) fn header_of_version(version: u32, body: &[u8]) -> Vec<u8> {
    let mut fields = MAGIC.to_vec();
    fields.extend(version.to_le_bytes());
    fields.extend(0_u64.to_le_bytes());
    let check = header_check(&fields).0;
    [&fields, check.as_slice(), body].concat()
}
