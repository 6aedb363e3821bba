//! Reading a ledger for the records of a few images.
//!
//! Records are nearly all of a ledger, and making values of them is nearly all of the work of reading
//! it. Who plans a part of the images needs the records of those; of all others it is enough to know
//! under which keys there are some. Everything else is read and repeated as always.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::digest::Digest;
use crate::history::{History, NoRun};
use crate::image::ImageName;
use crate::ledger::entry::Entry;

/// The numbers of [`Entry::Built`] and [`Entry::Recorded`] in the file: the order of the variants is
/// part of the format.
const BUILT: u8 = 2;
const RECORDED: u8 = 3;

/// A history without the records of most images.
#[derive(Debug, Default)]
pub struct Partial {
    /// What was read.
    pub history: History,
    /// The build keys of the records that were not: in no order, and one can be there twice.
    pub unread: Vec<Digest>,
}

/// An entry, or what is read of a record that is not wanted.
#[derive(Debug)]
pub(super) enum Skimmed {
    Whole(Entry),
    Unwanted { image: ImageName, is_build: bool, build_key: Digest, duration: u64 },
}

impl Skimmed {
    /// Reads the next entry, and says what is behind it.
    pub(super) fn take<'a>(
        bytes: &'a [u8],
        is_wanted: &(impl Fn(&str) -> bool + ?Sized),
    ) -> Option<(Self, &'a [u8])> {
        if let Some((&kind @ (BUILT | RECORDED), fields)) = bytes.split_first() {
            let (record, behind) = postcard::take_from_bytes::<Fields<'_>>(fields).ok()?;
            if !is_wanted(record.image) {
                let unwanted = Self::Unwanted {
                    image: record.image.parse().ok()?,
                    is_build: kind == BUILT,
                    build_key: record.build_key,
                    duration: record.duration,
                };
                return Some((unwanted, behind));
            }
        }
        let (entry, behind) = Entry::take(bytes)?;
        Some((Self::Whole(entry), behind))
    }
}

impl Partial {
    /// Repeats entries, all of them or, where they cannot have happened, none.
    pub(super) fn apply(&mut self, entries: Vec<Skimmed>) -> Result<(), NoRun> {
        let whole = entries.iter().filter_map(|entry| match entry {
            Skimmed::Whole(entry) => Some(entry),
            Skimmed::Unwanted { .. } => None,
        });
        Entry::check(whole, &self.history)?;
        for entry in entries {
            match entry {
                Skimmed::Whole(entry) => entry.apply(&mut self.history)?,
                Skimmed::Unwanted { image, is_build, build_key, duration } => {
                    self.unread.push(build_key);
                    self.history.pass_record(&image, is_build.then_some(duration));
                }
            }
        }
        Ok(())
    }
}

/// A [`crate::history::Record`], in place.
#[derive(Deserialize)]
struct Fields<'a> {
    image: &'a str,
    _platform: &'a str,
    _engine: &'a str,
    _source_key: Option<Digest>,
    build_key: Digest,
    _content: Digest,
    #[serde(borrow)]
    _output: Output<'a>,
    _finished: u64,
    duration: u64,
    _leaves: &'a [u8],
}

/// A [`crate::history::Output`], in place.
#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    _id: Name<'a>,
    _manifest: Option<Name<'a>>,
    _references: Passed<&'a str>,
    _diff_ids: Passed<Name<'a>>,
    _size: u64,
}

/// A [`crate::digest::OciDigest`], in place.
#[derive(Deserialize)]
#[expect(dead_code, reason = "nobody asks for it")]
enum Name<'a> {
    Sha256(Digest),
    Other(&'a str),
}

/// A sequence that was passed over.
struct Passed<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Passed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Passed<T> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self, A::Error> {
        while sequence.next_element::<T>()?.is_some() {}
        Ok(self)
    }
}
