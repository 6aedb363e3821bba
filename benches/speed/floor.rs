//! The least that anybody can do who looks whether files have changed: list every directory and ask
//! for the status of every file in it, on all cores.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};

/// Walks a tree and returns how many files it has, and how many bytes they are.
pub(crate) fn walk(root: PathBuf) -> io::Result<(u64, u64)> {
    let mut level = vec![root];
    let mut sum = (0, 0);
    while !level.is_empty() {
        let listed: io::Result<Vec<_>> = level.par_iter().map(list).collect();
        level.clear();
        for (directories, files, bytes) in listed? {
            level.extend(directories);
            sum = (sum.0 + files, sum.1 + bytes);
        }
    }
    Ok(sum)
}

fn list(path: &PathBuf) -> io::Result<(Vec<PathBuf>, u64, u64)> {
    let directory =
        File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, 0.into())?);
    let (mut directories, mut files, mut bytes) = (Vec::new(), 0, 0);
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            directories.push(path.join(OsStr::from_bytes(name.to_bytes())));
            continue;
        }
        let status = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        files += 1;
        bytes += u64::try_from(status.st_size).unwrap_or(0);
    }
    Ok((directories, files, bytes))
}
