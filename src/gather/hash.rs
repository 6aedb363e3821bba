//! Reading files: content and extended attributes to digests.
//!
//! A file that changes while it is read is read once more and then given up. Memory is bounded: big
//! files pass through one buffer, hashed on all cores. They are not mapped, since a file that is
//! cut short while it is mapped kills the process.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use crate::context::{xattr_counts, xattrs_digest};
use crate::digest::{ContentHasher, Digest};
use crate::gather::root::{Kind, Root, Status};

/// The most bytes of a file that are in memory at once.
const BUFFER: usize = 4 * 1024 * 1024;

/// What was read of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// What it was before and after it was read.
    pub status: Status,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The digest of its extended attributes, if it has any that count.
    pub xattrs: Option<Digest>,
}

/// Reads a file below a root.
pub fn file(root: &Root, path: &[u8]) -> Result<Content, ReadError> {
    attempts(root, path, || ())
}

/// Reads a file at most twice; `meanwhile` stands for the rest of the world.
fn attempts(root: &Root, path: &[u8], mut meanwhile: impl FnMut()) -> Result<Content, ReadError> {
    for _ in 0..2 {
        let mut file = root.open_file(path)?;
        let before = status(&file)?;
        if before.kind != Kind::File {
            return Err(ReadError::Replaced);
        }
        let read = content(&mut file, before.identity.size)?;
        let xattrs = xattrs(&file)?;
        meanwhile();
        if let (Some(digest), true) = (read, status(&file)? == before) {
            return Ok(Content { status: before, digest, xattrs });
        }
    }
    Err(ReadError::Moving)
}

fn status(file: &File) -> io::Result<Status> {
    Ok(Status::new(&rustix::fs::fstat(file)?))
}

/// The digest of the first `size` bytes; `None` if there are fewer. Whether there are more, the
/// status behind tells.
fn content(file: &mut File, size: u64) -> io::Result<Option<Digest>> {
    let mut hasher = ContentHasher::default();
    let mut left = size;
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(BUFFER).min(BUFFER)];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        let filled = fill(file, &mut buffer[..wanted])?;
        if filled < wanted {
            return Ok(None);
        }
        hasher.update(&buffer[..filled]);
        left -= filled as u64;
    }
    Ok(Some(hasher.finish()))
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The digest of the extended attributes that count.
pub fn xattrs(file: impl AsFd) -> io::Result<Option<Digest>> {
    let file = file.as_fd();
    let read = |name: &[u8]| grown(|buffer| rustix::fs::fgetxattr(file, name, buffer));
    digest_of(&grown(|buffer| rustix::fs::flistxattr(file, buffer))?, read)
}

/// The same for a link, which cannot be opened: by its path below an open directory, where the
/// system has a way to say that.
#[cfg(target_os = "linux")]
pub fn link_xattrs(directory: impl AsFd, name: &[u8]) -> io::Result<Option<Digest>> {
    use std::os::fd::AsRawFd;

    let directory = directory.as_fd().as_raw_fd();
    let path = [format!("/proc/self/fd/{directory}/").as_bytes(), name].concat();
    let path = path.as_slice();
    let read = |name: &[u8]| grown(|buffer| rustix::fs::lgetxattr(path, name, buffer));
    match grown(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Ok(names) => digest_of(&names, read),
        // Without /proc there is no way; on links only the superuser could have set any.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same for a link: elsewhere than on Linux they are not read.
#[cfg(not(target_os = "linux"))]
pub fn link_xattrs(_: impl AsFd, _: &[u8]) -> io::Result<Option<Digest>> {
    Ok(None)
}

fn digest_of(
    names: &[u8],
    read: impl Fn(&[u8]) -> io::Result<Vec<u8>>,
) -> io::Result<Option<Digest>> {
    let names = names.split(|byte| *byte == 0).filter(|name| xattr_counts(name));
    let xattrs: io::Result<Vec<_>> = names.map(|name| Ok((name, read(name)?))).collect();
    Ok(xattrs_digest(xattrs?))
}

/// Calls with a buffer that grows until the answer fits; a file system without attributes has none.
fn grown(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(rustix::io::Errno::RANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system says why.
    #[error(transparent)]
    System(#[from] io::Error),
    /// It was no regular file any more.
    #[error("it is no longer a file")]
    Replaced,
    /// It changed during both of two attempts.
    #[error("it keeps changing while it is read")]
    Moving,
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixtures are files")]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_of_any_size_has_the_digest_of_its_bytes() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Root::open(temporary.path()).unwrap();
        for size in [0, 1, 1000, BUFFER - 1, BUFFER, BUFFER + 1, 2 * BUFFER] {
            let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
            fs::write(temporary.path().join("file"), &bytes).unwrap();
            assert_eq!(file(&root, b"file").unwrap().digest, Digest::of_content(&bytes), "{size}");
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_it_said_is_not_taken() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        for (size, wanted) in [(3, Some(Digest::of_content(b"abc"))), (4, None)] {
            io::Seek::rewind(&mut file).unwrap();
            assert_eq!(content(&mut file, size).unwrap(), wanted, "{size}");
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_is_read_again_and_then_given_up() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("file");
        fs::write(&path, "one").unwrap();
        let root = Root::open(temporary.path()).unwrap();
        // The change comes between content and status, as often as it is told.
        let changing = |times: u32| {
            let mut left = times;
            attempts(&root, b"file", || {
                if left > 0 {
                    left -= 1;
                    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                    file.write_all(b"+").unwrap();
                }
            })
        };
        assert_eq!(changing(0).unwrap().digest, Digest::of_content(b"one"));
        assert_eq!(changing(1).unwrap().digest, Digest::of_content(b"one+"));
        assert!(matches!(changing(2), Err(ReadError::Moving)));
    }

    #[test]
    fn what_is_no_file_is_neither_read_nor_waited_for() {
        let temporary = tempfile::tempdir().unwrap();
        let pipe = temporary.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let root = Root::open(temporary.path()).unwrap();
        assert!(matches!(file(&root, b"pipe"), Err(ReadError::Replaced)));
        assert!(matches!(file(&root, b"gone"), Err(ReadError::System(_))));
    }

    #[test]
    fn attributes_are_counted_as_buildkit_does() {
        // tarsum.go: v1TarHeaderSelect; stat_unix.go: skipXattr
        for (name, is_counted) in [
            ("user.a", true),
            ("trusted.overlay.opaque", true),
            ("security.capability", true),
            ("security.selinux", false),
            ("system.posix_acl_access", false),
            ("com.apple.quarantine", false),
        ] {
            assert_eq!(xattr_counts(name.as_bytes()), is_counted, "{name}");
        }
    }

    #[test]
    fn names_and_values_of_attributes_make_their_digest() {
        let read = |value: &'static [u8]| move |_: &[u8]| Ok(value.to_vec());
        let one = digest_of(b"user.a\0security.selinux\0", read(b"1")).unwrap();
        assert_eq!(one, digest_of(b"user.a\0", read(b"1")).unwrap());
        assert_ne!(one, digest_of(b"user.a\0", read(b"2")).unwrap());
        assert_ne!(one, digest_of(b"user.b\0", read(b"1")).unwrap());
        assert_eq!(digest_of(b"security.selinux\0", read(b"1")).unwrap(), None);
        let two = digest_of(b"user.a\0user.b\0", read(b"1")).unwrap();
        assert_eq!(two, digest_of(b"user.b\0user.a\0", read(b"1")).unwrap());
    }

    #[test]
    fn attributes_of_files_and_directories_are_read() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("file");
        fs::write(&path, "x").unwrap();
        let root = Root::open(temporary.path()).unwrap();
        let bare = file(&root, b"file").unwrap().xattrs;
        let flags = rustix::fs::XattrFlags::empty();
        let long = "v".repeat(2000);
        if rustix::fs::setxattr(&path, "user.imgraph", long.as_bytes(), flags).is_err() {
            return; // the file system of the temporary directory has none
        }
        rustix::fs::setxattr(temporary.path(), "user.imgraph", long.as_bytes(), flags).unwrap();
        assert_ne!(file(&root, b"file").unwrap().xattrs, bare);
        let folder = root.list(b"").unwrap();
        assert!(xattrs(folder.descriptor().unwrap()).unwrap().is_some());
    }
}
