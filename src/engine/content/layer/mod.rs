//! The digest of one image layer: its entries, sorted by path, without times.
//!
//! Reads the tar form of a layer (OCI image-spec, layer.md), in which a deleted file is an entry
//! `.wh.name` and a replaced directory holds `.wh..wh..opq`. Two tars that unpack to the same files
//! have the same digest, however they order their entries, encode their headers, and whichever of
//! several hard links carries the data.

use std::collections::BTreeMap;
use std::io::{self, Read};

use tar::{Archive, Entry, EntryType};

use crate::digest::{Digest, Hasher};

const DOMAIN: &str = "imgraph layer 1";

/// How the PAX records of extended attributes begin (Go `archive/tar`, star).
const XATTR_RECORD: &str = "SCHILY.xattr.";

/// How the name of a deleted file begins, and that of the mark of a replaced directory.
const WHITEOUT: &[u8] = b".wh.";

/// Bytes read at once.
const CHUNK: usize = 128 * 1024;

/// The digest of the layer whose uncompressed tar `tar` is. Memory grows with the number of
/// entries, not with their size.
pub fn digest(tar: impl Read) -> io::Result<Digest> {
    let mut entries = BTreeMap::new();
    let mut archive = Archive::new(tar);
    let mut chunk = vec![0; CHUNK];
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            continue;
        }
        let path = clean(&entry.path_bytes());
        let item = Item::read(&mut entry, &path, &mut chunk)?;
        entries.insert(path, item); // of two entries with one path, unpacking leaves the later
    }
    name_link_groups_by_their_first_path(&mut entries);
    Ok(hash(&entries))
}

/// The digest of a layer without entries.
pub fn empty() -> Digest {
    hash(&BTreeMap::new())
}

/// An entry of a layer, without its path.
struct Item {
    kind: Kind,
    mode: u32,
    owner: (u64, u64),
    xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(PartialEq, Eq)]
enum Kind {
    File { size: u64, content: Digest },
    Directory,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Device { letter: u8, major: u32, minor: u32 },
    Fifo,
    Whiteout,
}

impl Item {
    fn read(entry: &mut Entry<'_, impl Read>, path: &[u8], chunk: &mut [u8]) -> io::Result<Self> {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        if name.starts_with(WHITEOUT) {
            return Ok(Self::whiteout());
        }
        let kind = Kind::read(entry, chunk)?;
        let header = entry.header();
        let mode = or_zero(header.mode()) & 0o7777;
        let owner = (or_zero(header.uid()), or_zero(header.gid()));
        // The mode of a symbolic link means nothing; engines write 0777 or 0.
        let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { mode };
        Ok(Self { kind, mode, owner, xattrs: xattrs(entry)? })
    }

    /// Only its path means something.
    fn whiteout() -> Self {
        Self { kind: Kind::Whiteout, mode: 0, owner: (0, 0), xattrs: BTreeMap::new() }
    }
}

impl Kind {
    fn read(entry: &mut Entry<'_, impl Read>, chunk: &mut [u8]) -> io::Result<Self> {
        let device = |entry: &Entry<'_, _>, letter| {
            let header = entry.header();
            let major = or_zero(header.device_major()).unwrap_or(0);
            let minor = or_zero(header.device_minor()).unwrap_or(0);
            Self::Device { letter, major, minor }
        };
        match entry.header().entry_type() {
            EntryType::Directory => Ok(Self::Directory),
            EntryType::Symlink => Ok(Self::Symlink(link(entry)?)),
            EntryType::Link => Ok(Self::HardLink(clean(&link(entry)?))),
            EntryType::Char => Ok(device(entry, b'c')),
            EntryType::Block => Ok(device(entry, b'b')),
            EntryType::Fifo => Ok(Self::Fifo),
            // POSIX: a type that is not known is a regular file.
            _ => {
                let (size, content) = content(entry, chunk)?;
                Ok(Self::File { size, content })
            }
        }
    }
}

/// A field that was left empty is zero, as Go's `archive/tar` reads it.
fn or_zero<T: Default>(field: io::Result<T>) -> T {
    field.unwrap_or_default()
}

fn link(entry: &Entry<'_, impl Read>) -> io::Result<Vec<u8>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a link without a target");
    entry.link_name_bytes().map(std::borrow::Cow::into_owned).ok_or_else(wrong)
}

fn content(entry: &mut impl Read, chunk: &mut [u8]) -> io::Result<(u64, Digest)> {
    let mut hasher = blake3::Hasher::new();
    let mut size = 0;
    loop {
        let read = entry.read(chunk)?;
        if read == 0 {
            return Ok((size, Digest::from_bytes(*hasher.finalize().as_bytes())));
        }
        hasher.update(&chunk[..read]);
        size += read as u64;
    }
}

fn xattrs(entry: &mut Entry<'_, impl Read>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let Some(name) = record.key().ok().and_then(|key| key.strip_prefix(XATTR_RECORD)) else {
            continue;
        };
        if xattr_counts(name) {
            found.insert(name.to_owned(), record.value_bytes().to_vec());
        }
    }
    Ok(found)
}

/// Labels of the machine that built the image, and an overlay file system's own notes, are no
/// content.
fn xattr_counts(name: &str) -> bool {
    let of_the_machine = name.starts_with("security.") && name != "security.capability";
    let of_overlay = name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.");
    !of_the_machine && !of_overlay
}

/// A path without leading `/` and `./`, without trailing `/`, without empty or `.` parts. The root
/// is the empty path.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
}

/// Of files that are hard links to each other the one with the first path gets the data, and the
/// others link to it.
fn name_link_groups_by_their_first_path(entries: &mut BTreeMap<Vec<u8>, Item>) {
    let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for path in entries.keys() {
        if let Some(data) = file_behind(entries, path)
            && data != path
        {
            groups.entry(data.clone()).or_default().push(path.clone());
        }
    }
    for (data, links) in groups {
        let first = links.iter().min().filter(|link| **link < data).unwrap_or(&data).clone();
        if first != data
            && let Some(item) = entries.remove(&data)
        {
            entries.insert(first.clone(), item);
        }
        for path in links.into_iter().chain([data]).filter(|path| *path != first) {
            entries.insert(path, Item { kind: Kind::HardLink(first.clone()), ..Item::whiteout() });
        }
    }
}

/// The regular file of this layer that a hard link leads to, over other links if need be; the path
/// itself if it is no link; nothing for a link to a file of another layer.
fn file_behind<'a>(entries: &'a BTreeMap<Vec<u8>, Item>, path: &'a Vec<u8>) -> Option<&'a Vec<u8>> {
    let mut path = path;
    for _ in 0..entries.len() {
        let (key, item) = entries.get_key_value(path)?;
        match &item.kind {
            Kind::HardLink(target) => path = target,
            _ => return Some(key),
        }
    }
    None // a ring of links: no engine writes one
}

fn hash(entries: &BTreeMap<Vec<u8>, Item>) -> Digest {
    let mut hasher = Hasher::new(DOMAIN);
    for (path, item) in entries {
        hasher.bytes(path).number(u64::from(item.mode));
        hasher.number(item.owner.0).number(item.owner.1);
        hash_kind(&mut hasher, &item.kind);
        hasher.number(item.xattrs.len() as u64);
        for (name, value) in &item.xattrs {
            hasher.text(name).bytes(value);
        }
    }
    hasher.finish()
}

fn hash_kind(hasher: &mut Hasher, kind: &Kind) {
    match kind {
        Kind::File { size, content } => hasher.text("file").number(*size).digest(content),
        Kind::Directory => hasher.text("directory"),
        Kind::Symlink(target) => hasher.text("symlink").bytes(target),
        Kind::HardLink(target) => hasher.text("link").bytes(target),
        Kind::Device { letter, major, minor } => hasher
            .text("device")
            .number(u64::from(*letter))
            .number(u64::from(*major))
            .number(u64::from(*minor)),
        Kind::Fifo => hasher.text("fifo"),
        Kind::Whiteout => hasher.text("whiteout"),
    };
}

#[cfg(test)]
mod tests;
