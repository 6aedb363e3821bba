//! A writer whose reader may go away.

use std::fmt;
use std::io::{self, Write};

/// Writes whole texts and flushes each. After the first error (most often a closed pipe) it writes
/// nothing more and keeps the error for whoever asks: losing a reader must not end a build.
pub struct Channel {
    writer: Box<dyn Write + Send>,
    broken: Option<io::Error>,
}

impl Channel {
    /// Around a writer.
    pub fn new(writer: Box<dyn Write + Send>) -> Self {
        Self { writer, broken: None }
    }

    /// Writes a text and flushes it.
    pub fn write(&mut self, text: &str) {
        if self.broken.is_some() || text.is_empty() {
            return;
        }
        let written = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush());
        self.broken = written.err();
    }

    /// Why nothing is written any more.
    pub fn broken(&self) -> Option<&io::Error> {
        self.broken.as_ref()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("broken", &self.broken).finish_non_exhaustive()
    }
}
