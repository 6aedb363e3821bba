//! A directory that nothing is read outside of: every path is relative to it, and the kernel follows
//! no link to what is read. Only who looks whether something has changed has links followed
//! ([`Root::look`], [`Nearby`]).
//!
//! Whoever wants to follow a link reads its text and asks again, so that `../../etc/passwd` ends at
//! the root (moby/buildkit `cache/contenthash/path.go`, `rootPath`). No descriptor but the root's
//! and that of one [`Nearby`] is held longer than one directory is listed, so that depth costs none.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// An open directory.
#[derive(Debug)]
pub struct Root(OwnedFd);

/// What the file system says of a path, itself and not what it may point at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`); `0o777` for every link, whatever
    /// the system says (moby/buildkit `filehash.go`).
    pub mode: u32,
    /// What changes when it does.
    pub identity: Identity,
}

/// A time of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Time {
    /// Seconds since the Unix epoch.
    pub seconds: i64,
    /// Nanoseconds on top.
    pub nanos: u32,
}

/// The bits of a mode that tell files from directories.
const FILE_TYPE: u32 = 0o170_000;

/// What changes when a file does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its size in bytes.
    pub size: u64,
    /// When its content was changed, as far as it tells: anybody can set it.
    pub modified: Time,
    /// When its content or anything else was changed: nobody can set it.
    pub changed: Time,
    /// Its inode. The device is left out: it differs from mount to mount.
    pub inode: u64,
    /// Its type and permission bits.
    pub mode: u32,
}

/// What of a path is looked at. Of anything but a symbolic link both ends are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Look {
    /// The path itself.
    Itself,
    /// What it leads to.
    Target,
    /// Whether the path itself is there, and whether it is a file, a directory or what else.
    Kind,
    /// The same of what it leads to.
    TargetKind,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A pipe or a socket.
    Channel,
    /// A device.
    Device,
}

/// A directory whose paths are looked at one directory after the other: the kernel walks to where
/// the last ones were only once.
#[derive(Debug)]
pub struct Nearby<'a> {
    root: &'a Root,
    /// A directory below, by its path, that contains the last ones.
    around: Option<(Vec<u8>, Root)>,
}

/// An open directory with what is in it.
pub struct Folder {
    directory: Dir,
    /// What identified it before it was listed.
    pub identity: Identity,
    /// Names and what they are, sorted by name. What vanished while it was listed is left out.
    pub children: Vec<(Box<[u8]>, Status)>,
}

impl Root {
    /// Opens a directory; links are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// What a path is; its directories must not be links.
    pub fn status(&self, path: &[u8]) -> io::Result<Status> {
        let stat = rustix::fs::statat(&self.0, or_dot(path), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Status::new(&stat))
    }

    /// What identifies a path, or what it leads to, now; `None`: it is not there, or leads nowhere.
    /// Links among its directories are followed.
    pub fn look(&self, path: &[u8], look: Look) -> io::Result<Option<Identity>> {
        let flags = match look {
            Look::Itself | Look::Kind => AtFlags::SYMLINK_NOFOLLOW,
            Look::Target | Look::TargetKind => AtFlags::empty(),
        };
        match rustix::fs::statat(&self.0, or_dot(path), flags) {
            Ok(stat) => Ok(Some(Status::new(&stat).identity.as_seen(look))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A directory to look from. Links are followed, as in [`Root::look`].
    fn below(&self, path: &[u8]) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let access = OFlags::PATH; // all that looking takes
        #[cfg(not(target_os = "linux"))]
        let access = OFlags::RDONLY;
        let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(&self.0, OsStr::from_bytes(path), flags, Mode::empty())?))
    }

    /// Lists a directory. The empty path is the root.
    pub fn list(&self, path: &[u8]) -> io::Result<Folder> {
        let opened = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let identity = Status::new(&rustix::fs::fstat(&opened)?).identity;
        let mut directory = Dir::new(opened)?;
        let mut children: Vec<(Box<[u8]>, Status)> = Vec::new();
        while let Some(entry) = directory.read() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::statat(directory.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => children.push((name.to_bytes().into(), Status::new(&stat))),
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        children.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        Ok(Folder { directory, identity, children })
    }

    /// Opens a regular file for reading; anything else that took its place is not waited for.
    pub fn open_file(&self, path: &[u8]) -> io::Result<File> {
        Ok(self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK)?.into())
    }

    fn open_beneath(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match open_at_once(&self.0, or_dot(path), flags) {
            Some(opened) => Ok(opened?),
            None => open_step_by_step(&self.0, path, flags),
        }
    }
}

impl<'a> Nearby<'a> {
    /// Looks begin at the root.
    pub fn new(root: &'a Root) -> Self {
        Self { root, around: None }
    }

    /// An open directory from which to look at what is in `directory`, and how much of the paths in
    /// there leads to it.
    pub fn of(&mut self, directory: &[u8]) -> (&Root, usize) {
        // What is behind two slashes would be a path from the root of the machine.
        let leads_to = |path: &[u8]| match directory.strip_prefix(path) {
            Some([b'/', rest @ ..]) => !rest.is_empty() && !rest.starts_with(b"/"),
            _ => false,
        };
        if !self.around.as_ref().is_some_and(|(path, _)| leads_to(path)) {
            let slash = directory.iter().rposition(|byte| *byte == b'/');
            let parent = slash.map(|at| &directory[..at]).filter(|path| leads_to(path));
            let open = |path: &[u8]| Some((path.to_vec(), self.root.below(path).ok()?));
            self.around = parent.and_then(open);
        }
        self.around.as_ref().map_or((self.root, 0), |(path, around)| (around, path.len() + 1))
    }
}

impl Folder {
    /// The directory itself, opened.
    pub fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        Ok(self.directory.fd()?)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The text of a link below an open directory.
pub fn link(directory: impl AsFd, path: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(directory, path, Vec::new())?.into_bytes())
}

impl Identity {
    /// Whether it is that of a regular file.
    pub fn is_file(self) -> bool {
        FileType::from_raw_mode(self.mode) == FileType::RegularFile
    }

    /// What of it counts for who looks like this.
    #[must_use]
    pub fn as_seen(self, look: Look) -> Self {
        match look {
            Look::Itself | Look::Target => self,
            Look::Kind | Look::TargetKind => {
                let kind = self.mode & FILE_TYPE;
                Self { mode: kind, ..Self::default() }
            }
        }
    }
}

impl Status {
    /// Reads what `stat` fills in.
    pub fn new(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice | FileType::BlockDevice => Kind::Device,
            _ => Kind::Channel,
        };
        let permissions = Mode::from_raw_mode(stat.st_mode).bits();
        let mode =
            if kind == Kind::Symlink { 0o777 } else { 0o7777 & number::<_, u32>(permissions) };
        let identity = Identity {
            size: number(stat.st_size),
            modified: Time { seconds: seconds(stat.st_mtime), nanos: number(stat.st_mtime_nsec) },
            changed: Time { seconds: seconds(stat.st_ctime), nanos: number(stat.st_ctime_nsec) },
            inode: number(stat.st_ino),
            mode: number(stat.st_mode),
        };
        Self { kind, mode, identity }
    }
}

/// The types of `stat` differ between systems; what does not fit is as good as any other value
/// that never changes.
fn number<From: TryInto<To>, To: Default>(value: From) -> To {
    value.try_into().unwrap_or_default()
}

fn seconds<From: TryInto<i64>>(value: From) -> i64 {
    number(value)
}

fn or_dot(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(if path.is_empty() { b"." } else { path })
}

/// Opens a path in one call in which the kernel follows no link; `None` where it cannot.
#[cfg(target_os = "linux")]
fn open_at_once(
    root: &OwnedFd,
    path: &OsStr,
    flags: OFlags,
) -> Option<rustix::io::Result<OwnedFd>> {
    use rustix::fs::ResolveFlags;

    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        // Before Linux 5.6, or forbidden by a sandbox, or longer than a path may be.
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => None,
        opened => Some(opened),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_at_once(_: &OwnedFd, _: &OsStr, _: OFlags) -> Option<rustix::io::Result<OwnedFd>> {
    None
}

/// Opens a path one name at a time.
fn open_step_by_step(root: &OwnedFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let step = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut above: Option<OwnedFd> = None;
    let mut rest = path;
    while let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
        let from = above.as_ref().unwrap_or(root);
        above =
            Some(rustix::fs::openat(from, OsStr::from_bytes(&rest[..slash]), step, Mode::empty())?);
        rest = &rest[slash + 1..];
    }
    let from = above.as_ref().unwrap_or(root);
    Ok(rustix::fs::openat(from, or_dot(rest), flags, Mode::empty())?)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "fixtures are files")]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn neither_way_of_opening_follows_a_link() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        fs::create_dir_all(path.join("root/real")).unwrap();
        fs::write(path.join("secret"), "s").unwrap();
        fs::write(path.join("root/real/file"), "f").unwrap();
        symlink("..", path.join("root/up")).unwrap();
        symlink("real/file", path.join("root/link")).unwrap();
        let root = Root::open(&path.join("root")).unwrap();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        for (name, opens) in [("real/file", true), ("up/secret", false), ("link", false)] {
            assert_eq!(root.open_file(name.as_bytes()).is_ok(), opens, "{name}");
            let stepped = open_step_by_step(&root.0, name.as_bytes(), flags);
            assert_eq!(stepped.is_ok(), opens, "{name}");
        }
    }

    #[test]
    fn what_is_near_looks_as_from_the_root() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        fs::create_dir_all(path.join("a/b/c")).unwrap();
        fs::create_dir_all(path.join("ab/c")).unwrap();
        for file in ["a/b/c/f", "a/b/f", "ab/c/f", "f"] {
            fs::write(path.join(file), file).unwrap();
        }
        symlink("a/b", path.join("link")).unwrap();
        let root = Root::open(path).unwrap();
        let mut nearby = Nearby::new(&root);
        let odd = ["link/c", "gone/x", "a/b/f/x", "a/", "a//b", "a/b", "a/b//c", "a//", "/"];
        for directory in ["", "a", "a/b", "a/b/c", "ab/c", "a/b"].iter().chain(&odd) {
            let name = if directory.is_empty() { "f".to_owned() } else { format!("{directory}/f") };
            let (from, skip) = nearby.of(directory.as_bytes());
            let found = from.look(&name.as_bytes()[skip..], Look::Itself).unwrap();
            assert_eq!(found, root.look(name.as_bytes(), Look::Itself).unwrap(), "{name}");
        }
    }

    #[test]
    fn a_directory_deeper_than_a_path_is_long_can_be_listed() {
        let temporary = tempfile::tempdir().unwrap();
        let name = "d".repeat(250);
        let mut above =
            rustix::fs::open(temporary.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..20 {
            rustix::fs::mkdirat(&above, name.as_str(), Mode::RWXU).unwrap();
            let flags = OFlags::DIRECTORY;
            above = rustix::fs::openat(&above, name.as_str(), flags, Mode::empty()).unwrap();
        }
        let deepest = vec![name.as_str(); 20].join("/");
        let root = Root::open(temporary.path()).unwrap();
        assert!(root.list(deepest.as_bytes()).unwrap().children.is_empty());
    }
}
