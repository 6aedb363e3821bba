//! A file that is read as a whole.
//!
//! Reading a file of some megabytes into fresh memory costs more for the memory than for the file:
//! the kernel clears it page by page. In huge pages it does so at once, where it has them.
#![expect(clippy::disallowed_methods, reason = "this module reads files")]

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::{MmapMut, MmapOptions};

/// Below this many bytes ordinary memory does as well.
const LARGE: usize = 256 * 1024;
/// The size of a huge page on most machines; another one only wastes some addresses.
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// The bytes of a file.
#[derive(Debug)]
pub struct Whole(Memory);

#[derive(Debug)]
enum Memory {
    Ordinary(Vec<u8>),
    /// Memory of its own, and where in it the bytes are.
    Huge(MmapMut, Range<usize>),
}

/// Reads a file: what it has when it is opened.
pub fn read(path: &Path) -> io::Result<Whole> {
    let mut file = File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length < LARGE {
        return Ok(Whole::from(fs::read(path)?));
    }
    Ok(Whole(read_large(&mut file, length)?))
}

fn read_large(file: &mut File, length: usize) -> io::Result<Memory> {
    let too_large = || io::Error::from(io::ErrorKind::FileTooLarge);
    let pages = length.checked_next_multiple_of(HUGE_PAGE).ok_or_else(too_large)?;
    let size = pages.checked_add(HUGE_PAGE).ok_or_else(too_large)?;
    let mut memory = MmapOptions::new().len(size).map_anon()?;
    advise(&memory);
    let start = memory.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
    let mut end = start;
    while end < start + length {
        match file.read(&mut memory[end..start + length]) {
            Ok(0) => break, // somebody has cut it off meanwhile
            Ok(count) => end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(Memory::Huge(memory, start..end))
}

/// Asks for huge pages; without them everything is the same, only slower.
#[cfg(target_os = "linux")]
fn advise(memory: &MmapMut) {
    memory.advise(memmap2::Advice::HugePage).unwrap_or_default();
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &MmapMut) {}

impl Default for Whole {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl From<Vec<u8>> for Whole {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Memory::Ordinary(bytes))
    }
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Ordinary(bytes) => bytes,
            Memory::Huge(memory, range) => &memory[range.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_length_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for length in [0, 1, LARGE - 1, LARGE, HUGE_PAGE - 1, HUGE_PAGE, 2 * HUGE_PAGE + 1] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            fs::write(&path, &bytes).unwrap();
            assert!(*read(&path).unwrap() == *bytes, "{length}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_while_it_is_read_ends_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, vec![1; LARGE]).unwrap();
        let read = read_large(&mut File::open(&path).unwrap(), LARGE + 7).unwrap();
        assert!(*Whole(read) == *vec![1; LARGE]);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let error = read(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
