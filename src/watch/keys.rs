//! The keys that are pressed at a terminal, one by one instead of line by line.
//!
//! Only echo and line editing are switched off: Ctrl-C stays a signal, output is as ever. What was
//! set is put back when this is dropped, and before an orderly end begins, so that whoever then
//! kills the process has a terminal that works.

use std::io::{self, IsTerminal, Read};
use std::sync::Mutex;
use std::thread;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `p`: look at nothing, or again.
    Pause,
    /// `r`: look at everything, and build what is not up to date, what failed too.
    Rebuild,
    /// `f`: build again what failed.
    Failed,
    /// Enter: say how things are.
    Status,
    /// `q`: end in order.
    Quit,
    /// `?`: say which keys there are.
    Help,
}

impl Key {
    /// What a byte means, if anything.
    pub fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            b'p' | b'P' => Self::Pause,
            b'r' | b'R' => Self::Rebuild,
            b'f' | b'F' => Self::Failed,
            b'\r' | b'\n' => Self::Status,
            b'q' | b'Q' => Self::Quit,
            b'?' | b'h' => Self::Help,
            _ => return None,
        })
    }
}

/// A terminal whose keys are read one by one.
#[derive(Debug)]
pub struct Keys(Mutex<Option<Termios>>);

impl Keys {
    /// Reads the keys of standard input, on a thread of its own; `None` where that is no terminal,
    /// or one that somebody else has at the moment.
    pub fn of_stdin(tell: impl Fn(Key) + Send + 'static) -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() || tcgetpgrp(&stdin).ok()? != rustix::process::getpgrp() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut ours = before.clone();
        ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        ours.special_codes[SpecialCodeIndex::VMIN] = 1;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &ours).ok()?;
        // It ends with the process: nothing can wake a thread that reads a terminal.
        thread::spawn(move || {
            let mut byte = [0];
            let mut stdin = io::stdin().lock();
            while stdin.read(&mut byte).is_ok_and(|length| length == 1) {
                if let Some(key) = Key::of(byte[0]) {
                    tell(key);
                }
            }
        });
        Some(Self(Mutex::new(Some(before))))
    }

    /// Puts the terminal back as it was.
    pub fn put_back(&self) {
        let mut before = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(before) = before.take() {
            tcsetattr(io::stdin(), OptionalActions::Now, &before).unwrap_or_default();
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.put_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_help_says_and_others_nothing() {
        let meant = b"prf\nq?".map(Key::of);
        let all =
            [Key::Pause, Key::Rebuild, Key::Failed, Key::Status, Key::Quit, Key::Help].map(Some);
        assert_eq!(meant, all);
        assert_eq!(Key::of(b'x'), None);
        assert_eq!(Key::of(0x1b), None);
    }
}
