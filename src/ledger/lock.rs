//! One writer at a time: an exclusive `flock` on a file that names who has it.
//!
//! The kernel drops such a lock with the last descriptor of its holder, so a killed imgraph leaves
//! none behind: there is no stale lock to detect and none to delete. The name in the file is only
//! for people; nothing is decided by it. Knows nothing of the ledger.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{fmt, thread};

use rustix::io::Errno;

use crate::ledger::{LedgerError, Warning};

/// How long a waiting caller is left alone before it is asked again whether to go on.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// No name is longer; whatever else is in the file is not read.
const NAME_LIMIT: u64 = 4_096;

/// What to do while somebody else has the lock.
pub enum Lock<'a> {
    /// Wait. Called at once, and then ten times a second, with the holder where its name can be
    /// read; `Break` ends the waiting with [`LedgerError::Cancelled`].
    Wait(&'a mut dyn FnMut(Option<&Holder>) -> ControlFlow<()>),
    /// Give up with [`LedgerError::Locked`].
    NoWait,
}

/// Who has the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Milliseconds since the Unix epoch when it took the lock.
    pub started: u64,
    /// The command as people know it, such as `imgraph rebuild`, without values of arguments.
    pub command: String,
}

impl Holder {
    /// This process.
    pub fn this_process(command: &str, now: u64) -> Self {
        Self { pid: std::process::id(), started: now, command: command.to_owned() }
    }

    /// How people are told of it: `imgraph rebuild (pid 4711, 3m)`.
    pub fn describe(&self, now: u64) -> String {
        let seconds = now.saturating_sub(self.started) / 1_000;
        let age = match seconds {
            0..60 => format!("{seconds}s"),
            60..3_600 => format!("{}m", seconds / 60),
            _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        };
        format!("{} (pid {}, {age})", self.command, self.pid)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let pid = field("pid")?.parse().ok()?;
        let started = field("started")?.parse().ok()?;
        let command = field("command")?.to_owned();
        Some(Self { pid, started, command })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.command, self.pid)
    }
}

/// The lock, held until this is dropped.
#[derive(Debug)]
pub(super) struct Guard(File);

#[cfg(test)]
impl Guard {
    /// The descriptor as a forked process has it.
    pub(super) fn copy(&self) -> File {
        self.0.try_clone().unwrap()
    }
}

impl Drop for Guard {
    /// Takes the name away first, so that whoever finds the file locked next does not read the name
    /// of somebody who has long ended; a failure leaves only that name. Closing the file would not
    /// always be enough: a program that is being started has a copy of the descriptor for the
    /// moment between `fork` and `exec`, and with it the lock.
    fn drop(&mut self) {
        self.0.set_len(0).unwrap_or_default();
        self.0.unlock().unwrap_or_default();
    }
}

/// Takes the lock, and writes `me` into it.
///
/// On a file system without locks the result says so, and nothing is locked: the ledger survives two
/// writers (its frames are chained), but two runs may do the same work.
pub(super) fn acquire(
    path: &Path,
    me: &Holder,
    mut lock: Lock<'_>,
) -> Result<(Guard, Option<Warning>), LedgerError> {
    loop {
        let file = open(path)?;
        let (file, warning) = match file.try_lock() {
            Ok(()) => (file, None),
            Err(TryLockError::WouldBlock) => (wait(file, path, &mut lock)?, None),
            Err(TryLockError::Error(error)) if is_unsupported(&error) => {
                (file, Some(Warning::Unlocked { path: path.to_owned() }))
            }
            Err(TryLockError::Error(error)) => return Err(LedgerError::file("lock", path)(error)),
        };
        // Whoever deletes the directory while we wait leaves us with the lock on a file that nobody
        // else will ever open.
        if is_at(&file, path) {
            write_name(&file, me).map_err(LedgerError::file("write", path))?;
            return Ok((Guard(file), warning));
        }
    }
}

fn open(path: &Path) -> Result<File, LedgerError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(LedgerError::file("open", path))
}

/// Waits in another thread, which is woken in the moment in which the lock is free; this one stays
/// able to answer a Ctrl-C. Where the caller gives up, that thread stays behind, and gives the lock
/// back as soon as it gets it.
fn wait(file: File, path: &Path, lock: &mut Lock<'_>) -> Result<File, LedgerError> {
    let Lock::Wait(ask) = lock else {
        return Err(LedgerError::Locked { holder: holder(path) });
    };
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(block(&file).map(|()| file)));
    loop {
        if ask(holder(path).as_ref()).is_break() {
            return Err(LedgerError::Cancelled);
        }
        match receiver.recv_timeout(ASK_AGAIN) {
            Ok(locked) => return locked.map_err(LedgerError::file("lock", path)),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => unreachable!("it sends before it ends"),
        }
    }
}

fn block(file: &File) -> io::Result<()> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            outcome => return outcome,
        }
    }
}

/// NFS without a lock daemon answers ENOLCK, others ENOSYS or EOPNOTSUPP.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP))
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), path.metadata()) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

fn write_name(mut file: &File, me: &Holder) -> io::Result<()> {
    let command = me.command.replace(['\n', '\r'], " ");
    file.set_len(0)?;
    file.write_all(
        format!("pid {}\nstarted {}\ncommand {command}\n", me.pid, me.started).as_bytes(),
    )
}

/// The name in the file: `None` in the moment between somebody's taking the lock and writing it.
fn holder(path: &Path) -> Option<Holder> {
    let file = OpenOptions::new().read(true).open(path).ok()?;
    let mut text = String::new();
    file.take(NAME_LIMIT).read_to_string(&mut text).ok()?;
    Holder::parse(&text)
}
