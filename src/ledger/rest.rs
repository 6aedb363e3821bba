//! A ledger that is put down between two runs of one process, and taken up again without being read
//! where nobody else has written meanwhile.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::history::History;
use crate::ledger::lock::{Holder, Lock};
use crate::ledger::memory::Memory;
use crate::ledger::recover::End;
use crate::ledger::{Ledger, LedgerError, beside, file, has_grown, lock, store};

/// A ledger without the lock: others may write.
#[derive(Debug)]
pub struct Resting {
    state: PathBuf,
    file: File,
    end: End,
    snapshot: u64,
    memory: Memory,
}

impl Ledger {
    /// Gives back the lock, and keeps what is known.
    pub fn rest(self) -> Resting {
        let Self { state, file, end, snapshot, memory, warnings: _, _guard } = self;
        Resting { state, file, end, snapshot, memory }
    }
}

impl Resting {
    /// What was known when it was put down.
    pub fn history(&self) -> &History {
        self.memory.history()
    }

    /// Takes the lock again, as [`Ledger::open`] does, and reads the ledger if it is another one, or
    /// is longer or shorter, than when it was put down. One that has grown is rewritten from what is
    /// known.
    pub fn wake(self, me: &Holder, lock: Lock<'_>) -> Result<Ledger, LedgerError> {
        store::prepare(&self.state)?;
        let (guard, unlocked) = lock::acquire(&self.state.join("lock"), me, lock)?;
        let warnings = Vec::from_iter(unlocked);
        let is_unchanged = self.is_unchanged();
        let Self { state, file, end, snapshot, memory } = self;
        if !is_unchanged {
            // It is most of what a watch holds, and of no use while all is read again.
            drop(memory);
            return Ledger::open_locked(&state, guard, warnings);
        }
        store::remove(&beside(&state))?;
        let mut ledger = Ledger { state, file, end, snapshot, memory, warnings, _guard: guard };
        if has_grown(end, snapshot) {
            ledger.try_to_compact();
        }
        Ok(ledger)
    }

    /// Whether the file is the one that is open here, and ends where it did. Writers only append to
    /// it or put another in its place, and one that is open keeps its number to itself.
    fn is_unchanged(&self) -> bool {
        let (Ok(there), Ok(here)) = (file(&self.state).metadata(), self.file.metadata()) else {
            return false;
        };
        (there.dev(), there.ino()) == (here.dev(), here.ino()) && there.len() == self.end.offset
    }
}
