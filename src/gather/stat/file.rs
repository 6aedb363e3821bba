//! The file of the stat cache: what is in it, byte for byte.
//!
//! A line that names the format, then the directories sorted by path, each with its files sorted by
//! name, then the BLAKE3 digest of everything before. Numbers are little-endian. Nothing of it is
//! believed before the digest is checked; rows are decoded when they are asked for.
#![expect(clippy::disallowed_methods, reason = "this is the file of the stat cache")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use crate::digest::{ContentHasher, Digest};
use crate::gather::root::{Identity, Status, Time};
use crate::gather::stat::{Known, Record};

const NAME: &str = "stat";
const HEADER: &[u8] = b"imgraph stat 1\n";
const DIGEST: usize = 32;

/// What was read: the bytes, and where in them the directories and rows are.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    directories: Vec<Group>,
    rows: Vec<u32>,
}

#[derive(Debug)]
struct Group {
    path: Range<usize>,
    rows: (usize, usize),
}

impl Records {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The first row of a directory and the one behind its last.
    pub(super) fn rows_of(&self, directory: &[u8]) -> (usize, usize) {
        let path = |group: &Group| &self.bytes[group.path.clone()];
        let found = self.directories.binary_search_by(|group| path(group).cmp(directory));
        found.map_or((0, 0), |at| self.directories[at].rows)
    }

    /// The row of a name among those of a directory.
    pub(super) fn find(&self, (start, end): (usize, usize), name: &[u8]) -> Option<usize> {
        let rows = self.rows.get(start..end)?;
        let found = rows.binary_search_by(|at| self.cursor(*at).name().unwrap_or(b"").cmp(name));
        found.ok().map(|at| start + at)
    }

    /// What a row says.
    pub(super) fn row(&self, row: usize) -> Option<Record> {
        let mut cursor = self.cursor(*self.rows.get(row)?);
        cursor.name()?;
        cursor.record()
    }

    fn cursor(&self, at: u32) -> Cursor<'_> {
        Cursor(self.bytes.get(at as usize..).unwrap_or_default())
    }

    /// Finds directories and rows in bytes; `None` if they are not such a file, or not whole.
    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let (body, digest) = bytes.split_last_chunk::<DIGEST>()?;
        let checked = ContentHasher::default().update(body).finish();
        if !body.starts_with(HEADER) || checked.as_bytes() != digest {
            return None;
        }
        let mut cursor = Cursor(&body[HEADER.len()..]);
        let mut directories = Vec::new();
        let mut rows = Vec::new();
        while !cursor.0.is_empty() {
            let path = cursor.name()?;
            let end = body.len() - cursor.0.len();
            let first = rows.len();
            for _ in 0..cursor.u32()? {
                rows.push(u32::try_from(body.len() - cursor.0.len()).ok()?);
                cursor.name()?;
                cursor.record()?;
            }
            directories.push(Group { path: end - path.len()..end, rows: (first, rows.len()) });
        }
        Some(Self { bytes, directories, rows })
    }

    /// All rows, with the directories and names they are of.
    fn iter(&self) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
        self.directories.iter().flat_map(|group| {
            let path = &self.bytes[group.path.clone()];
            let name = |row: usize| self.cursor(self.rows[row]).name().unwrap_or_default();
            (group.rows.0..group.rows.1).map(move |row| (row, path, name(row)))
        })
    }
}

/// Reads the file of a state directory; whatever is wrong with it, it is empty then.
pub(super) fn load(state: &Path) -> Records {
    fs::read(state.join(NAME)).ok().and_then(Records::parse).unwrap_or_default()
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

/// Writes a file beside and renames it.
pub(super) fn save(state: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = state.join(format!("{NAME}.{}.new", std::process::id()));
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, state.join(NAME)));
    if written.is_err() {
        // What could not be written or renamed is of no use; that it stays is no further harm.
        fs::remove_file(&beside).ok();
    }
    written
}

/// The bytes of a file with the old rows that are kept and the new ones, which win.
pub(super) fn merge(
    old: &Records,
    is_kept: impl Fn(usize) -> bool,
    new: &BTreeMap<Vec<u8>, Record>,
) -> Vec<u8> {
    let mut directories: BTreeMap<&[u8], BTreeMap<&[u8], Record>> = BTreeMap::new();
    for (row, directory, name) in old.iter() {
        if let Some(record) = old.row(row).filter(|_| is_kept(row)) {
            directories.entry(directory).or_default().insert(name, record);
        }
    }
    for (path, record) in new {
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (directory, name) =
            slash.map_or((&b""[..], &path[..]), |at| (&path[..at], &path[at + 1..]));
        directories.entry(directory).or_default().insert(name, *record);
    }
    let mut bytes = HEADER.to_vec();
    for (directory, files) in directories {
        push_name(&mut bytes, directory);
        push_u32(&mut bytes, files.len());
        for (name, (identity, known)) in files {
            push_name(&mut bytes, name);
            push_record(&mut bytes, &identity, &known);
        }
    }
    let digest = ContentHasher::default().update(&bytes).finish();
    bytes.extend(digest.as_bytes());
    bytes
}

fn push_name(bytes: &mut Vec<u8>, name: &[u8]) {
    push_u32(bytes, name.len());
    bytes.extend(name);
}

fn push_u32(bytes: &mut Vec<u8>, number: usize) {
    // A path or a directory of 4 GiB does not exist; if it did, the file would read as torn.
    bytes.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

fn push_record(bytes: &mut Vec<u8>, identity: &Identity, known: &Known) {
    let Identity { size, modified, changed, inode, mode } = identity;
    bytes.extend(size.to_le_bytes());
    for time in [modified, changed] {
        bytes.extend(time.seconds.to_le_bytes());
        bytes.extend(time.nanos.to_le_bytes());
    }
    bytes.extend(inode.to_le_bytes());
    bytes.extend(mode.to_le_bytes());
    bytes.extend(known.content.as_bytes());
    bytes.push(u8::from(known.xattrs.is_some()));
    if let Some(xattrs) = &known.xattrs {
        bytes.extend(xattrs.as_bytes());
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

    fn record(&mut self) -> Option<Record> {
        let identity = Identity {
            size: self.u64()?,
            modified: self.time()?,
            changed: self.time()?,
            inode: self.u64()?,
            mode: self.u32()?,
        };
        let content = self.digest()?;
        let xattrs = match self.array()? {
            [0] => None,
            [1] => Some(self.digest()?),
            _ => return None,
        };
        Some((identity, Known { content, xattrs }))
    }
}
