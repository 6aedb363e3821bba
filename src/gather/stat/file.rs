//! The file of the stat cache: what is in it, byte for byte.
//!
//! A line that names the format, then the directories sorted by path, each with the number of its
//! files, their length in bytes, and those files sorted by name, then the BLAKE3 digest of everything
//! before. Numbers are little-endian. Nothing of it is believed before the digest is checked; rows
//! are decoded when they are asked for.
#![expect(clippy::disallowed_methods, reason = "this is the file of the stat cache")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use rayon::prelude::*;

use crate::digest::{ContentHasher, Digest};
use crate::gather::root::{Identity, Look, Status, Time};
use crate::gather::stat::{Known, Learnt, Record};
use crate::whole::{self, Whole};

const NAME: &str = "stat";
const HEADER: &[u8] = b"imgraph stat 3\n";
const DIGEST: usize = 32;
/// How many directories a core takes at once: few enough for all cores to end at the same time.
const GROUPS_AT_ONCE: usize = 32;

/// What a row has, as bits of one byte.
mod has {
    pub(super) const LOOK: u8 = 3;
    pub(super) const IDENTITY: u8 = 4;
    pub(super) const CONTENT: u8 = 8;
    pub(super) const XATTRS: u8 = 16;
    pub(super) const ALL: u8 = 31;
}

/// How it was looked at, by the number in that byte.
const LOOKS: [Look; 4] = [Look::Itself, Look::Target, Look::Kind, Look::TargetKind];

/// Name, end and record of a path.
type Row<'a> = (&'a [u8], Look, Record);

/// The records of a directory, by name and end.
type Directory<'a> = BTreeMap<(&'a [u8], Look), Record>;

/// What was read: the bytes, and where in them the directories and rows are.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The digest at the end; `None` where there is no file.
    pub(super) digest: Option<Digest>,
    bytes: Whole,
    directories: Vec<Group>,
    rows: usize,
}

/// A directory.
#[derive(Debug)]
pub(super) struct Group {
    path: Range<usize>,
    /// Its rows, as bytes.
    body: Range<usize>,
    /// The number of its first row, and how many it has.
    first: usize,
    count: usize,
    /// Where in the body its rows are, once somebody has looked for one.
    starts: OnceLock<Box<[u32]>>,
}

impl Records {
    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// A directory.
    pub(super) fn group(&self, directory: &[u8]) -> Option<&Group> {
        let path = |group: &Group| &self.bytes[group.path.clone()];
        let found = self.directories.binary_search_by(|group| path(group).cmp(directory));
        found.ok().map(|at| &self.directories[at])
    }

    /// The record of a name in a directory, with the number of its row.
    pub(super) fn find(&self, group: &Group, name: &[u8], look: Look) -> Option<(usize, Record)> {
        let cursor = |at: u32| {
            let body = &self.bytes[group.body.clone()];
            Cursor(body.get(at as usize..).unwrap_or_default())
        };
        let starts = group.starts.get_or_init(|| self.rows(group).starts());
        let key = |at: u32| cursor(at).key().unwrap_or((b"", Look::Itself));
        let at = starts.binary_search_by(|at| key(*at).cmp(&(name, look))).ok()?;
        Some((group.first + at, cursor(starts[at]).row()?.2))
    }

    fn rows<'a>(&'a self, group: &Group) -> Rows<'a> {
        let cursor = Cursor(&self.bytes[group.body.clone()]);
        Rows { cursor, left: group.count }
    }

    /// What is found in all directories with their rows, looked for on all cores; nothing, if that
    /// is what is found in one. Each of the looks begins with something of its own.
    pub(super) fn try_collect<'a, W: Send, T: Send>(
        &'a self,
        begin: impl Fn() -> W + Sync + Send,
        find: impl Fn(&mut W, &'a [u8], Rows<'a>) -> Option<Vec<T>> + Sync,
    ) -> Option<Vec<T>> {
        let groups = self.directories.par_iter().with_max_len(GROUPS_AT_ONCE);
        let add = |(mut with, mut all): (W, Vec<T>), group: &'a Group| {
            all.extend(find(&mut with, &self.bytes[group.path.clone()], self.rows(group))?);
            Some((with, all))
        };
        let join = |mut one: Vec<T>, other: Vec<T>| {
            one.extend(other);
            Some(one)
        };
        let found = groups.try_fold(|| (begin(), Vec::new()), add);
        found.map(|found| found.map(|(_, all)| all)).try_reduce(Vec::new, join)
    }

    /// Finds the directories in bytes; `None` if they are not such a file, or not whole.
    fn parse(bytes: Whole) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<DIGEST>()?;
        let checked = ContentHasher::default().update(body).finish();
        if !body.starts_with(HEADER) || checked.as_bytes() != digest {
            return None;
        }
        let mut cursor = Cursor(&body[HEADER.len()..]);
        let mut directories = Vec::new();
        let mut rows: usize = 0;
        while !cursor.0.is_empty() {
            let path = cursor.name()?.len();
            let path = body.len() - cursor.0.len() - path..body.len() - cursor.0.len();
            let (first, count) = (rows, cursor.u32()? as usize);
            let length = cursor.name()?.len();
            let body = body.len() - cursor.0.len() - length..body.len() - cursor.0.len();
            // No row is shorter than its length and the byte that says what it has.
            rows = rows.checked_add(count).filter(|_| count <= length / 5)?;
            directories.push(Group { path, body, first, count, starts: OnceLock::new() });
        }
        Some(Self { digest: Some(checked), bytes, directories, rows })
    }

    /// All rows, with their numbers and the directories they are of.
    fn iter(&self) -> impl Iterator<Item = (usize, &[u8], Row<'_>)> {
        self.directories.iter().flat_map(move |group| {
            let path = &self.bytes[group.path.clone()];
            let rows = self.rows(group).map_while(Result::ok);
            (group.first..).zip(rows).map(move |(number, row)| (number, path, row))
        })
    }
}

/// The rows of one directory.
pub(super) struct Rows<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

/// What is no row, in a file that is whole.
#[derive(Debug)]
pub(super) struct NoRow;

impl Rows<'_> {
    /// Where they start.
    fn starts(mut self) -> Box<[u32]> {
        let length = self.cursor.0.len();
        let mut starts = Vec::with_capacity(self.left);
        loop {
            let at = u32::try_from(length - self.cursor.0.len());
            match (at, self.next()) {
                (Ok(at), Some(Ok(_))) => starts.push(at),
                _ => return starts.into(),
            }
        }
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<Row<'a>, NoRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self.left.checked_sub(1) {
            None if self.cursor.0.is_empty() => return None,
            None => Err(NoRow),
            Some(left) => {
                self.left = left;
                self.cursor.row().ok_or(NoRow)
            }
        };
        if row.is_err() {
            *self = Self { cursor: Cursor(&[]), left: 0 };
        }
        Some(row)
    }
}

/// Reads the file of a state directory; whatever is wrong with it, it is empty then.
pub(super) fn load(state: &Path) -> Records {
    whole::read(&state.join(NAME)).ok().and_then(Records::parse).unwrap_or_default()
}

/// The time of the file system that a state directory is on: that of a file written just now.
pub(super) fn touch(state: &Path) -> io::Result<Time> {
    let path = state.join(format!("{NAME}.{}.now", std::process::id()));
    let touched = File::create(&path).and_then(|mut file| {
        file.write_all(b"\n")?;
        Ok(Status::new(&rustix::fs::fstat(&file)?).identity.modified)
    });
    fs::remove_file(&path).and(touched)
}

/// Writes the file of a state directory.
pub(super) fn save(state: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(&state.join(NAME), bytes)
}

/// Writes a file beside and renames it. It is not synced.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What could not be written or renamed is of no use; that it stays is no further harm.
        fs::remove_file(&beside).ok();
    }
    written
}

/// The bytes of a file with the old rows that are kept and the new ones, which win; and its digest.
pub(super) fn merge(
    old: &Records,
    is_kept: impl Fn(usize) -> bool,
    new: &Learnt,
) -> (Vec<u8>, Digest) {
    let mut directories: BTreeMap<&[u8], Directory<'_>> = BTreeMap::new();
    for (row, directory, (name, look, record)) in old.iter() {
        if is_kept(row) {
            directories.entry(directory).or_default().insert((name, look), record);
        }
    }
    for ((path, look), record) in new {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (directory, name) =
            slash.map_or((&b""[..], &path[..]), |at| (&path[..at], &path[at + 1..]));
        directories.entry(directory).or_default().insert((name, *look), *record);
    }
    for rows in directories.values_mut() {
        drop_lesser(rows);
    }
    let mut bytes = HEADER.to_vec();
    for (directory, rows) in directories {
        push_name(&mut bytes, directory);
        push_u32(&mut bytes, rows.len());
        let mut body = Vec::new();
        for ((name, look), record) in rows {
            push_name(&mut body, name);
            push_record(&mut body, look, &record);
        }
        push_name(&mut bytes, &body);
    }
    let digest = ContentHasher::default().update(&bytes).finish();
    bytes.extend(digest.as_bytes());
    (bytes, digest)
}

/// Who knows what identifies a path knows its kind.
fn drop_lesser(rows: &mut Directory<'_>) {
    for (lesser, greater) in [(Look::Kind, Look::Itself), (Look::TargetKind, Look::Target)] {
        let known: Vec<&[u8]> =
            rows.keys().filter(|(_, look)| *look == greater).map(|(name, _)| *name).collect();
        for name in known {
            rows.remove(&(name, lesser));
        }
    }
}

/// Its length, then the name, or whatever else it is.
fn push_name(bytes: &mut Vec<u8>, name: &[u8]) {
    push_u32(bytes, name.len());
    bytes.extend(name);
}

fn push_u32(bytes: &mut Vec<u8>, number: usize) {
    // A path or a directory of 4 GiB does not exist; if it did, the file would read as torn.
    bytes.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn push_record(bytes: &mut Vec<u8>, look: Look, record: &Record) {
    let Record { identity, known } = record;
    let xattrs = known.and_then(|known| known.xattrs);
    let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    bytes.push(
        look as u8
            | bit(identity.is_some(), has::IDENTITY)
            | bit(known.is_some(), has::CONTENT)
            | bit(xattrs.is_some(), has::XATTRS),
    );
    if let Some(Identity { size, modified, changed, inode, mode }) = identity {
        bytes.extend(size.to_le_bytes());
        for time in [modified, changed] {
            bytes.extend(time.seconds.to_le_bytes());
            bytes.extend(time.nanos.to_le_bytes());
        }
        bytes.extend(inode.to_le_bytes());
        bytes.extend(mode.to_le_bytes());
    }
    for digest in known.map(|known| known.content).iter().chain(&xattrs) {
        bytes.extend(digest.as_bytes());
    }
}

/// What is still to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn time(&mut self) -> Option<Time> {
        Some(Time { seconds: self.array().map(i64::from_le_bytes)?, nanos: self.u32()? })
    }

    fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest::from_bytes)
    }

    fn identity(&mut self) -> Option<Identity> {
        Some(Identity {
            size: self.u64()?,
            modified: self.time()?,
            changed: self.time()?,
            inode: self.u64()?,
            mode: self.u32()?,
        })
    }

    /// What a row is sorted by.
    fn key(&mut self) -> Option<(&'a [u8], Look)> {
        let name = self.name()?;
        let [bits] = *self.0.first_chunk()?;
        Some((name, LOOKS[usize::from(bits & has::LOOK)]))
    }

    fn row(&mut self) -> Option<Row<'a>> {
        let (name, look) = self.key()?;
        let [bits] = self.array()?;
        if bits & !has::ALL != 0 {
            return None;
        }
        let has = |bit| bits & bit != 0;
        let identity = if has(has::IDENTITY) { Some(self.identity()?) } else { None };
        let content = if has(has::CONTENT) { Some(self.digest()?) } else { None };
        let xattrs = if has(has::XATTRS) { Some(self.digest()?) } else { None };
        let known = content.map(|content| Known { content, xattrs });
        Some((name, look, Record { identity, known }))
    }
}
