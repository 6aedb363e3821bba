//! The directory for what lives only as long as a build.
#![expect(clippy::disallowed_methods, reason = "makes and removes a directory")]

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::engine::EngineError;

/// A directory of one build alone. It is not there until an engine wants it: most need none, and
/// thousands of directories are most of what a quick build costs.
#[derive(Clone, Debug)]
pub struct ScratchDir(PathBuf);

impl ScratchDir {
    /// The one at an absolute path.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is, or would be.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it, without anything in it. An engine does so once in each build; whoever asked for the
    /// build removes it.
    pub fn create(&self) -> Result<(), EngineError> {
        let failed =
            |action| move |source| EngineError::File { action, path: self.0.clone(), source };
        self.remove().map_err(failed("remove"))?;
        fs::create_dir_all(&self.0).map_err(failed("create"))
    }

    /// Removes it with all that is in it, if it is there.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_there_only_when_it_was_wanted_and_then_it_is_empty() {
        let home = tempfile::tempdir().unwrap();
        let scratch = ScratchDir::new(home.path().join("tmp/1"));
        scratch.remove().unwrap();
        assert!(!scratch.path().exists());
        for _ in 0..2 {
            scratch.create().unwrap();
            assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
            fs::write(scratch.path().join("left"), "").unwrap();
        }
        scratch.remove().unwrap();
        assert!(!scratch.path().exists());
    }
}
