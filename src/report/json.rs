//! Events as NDJSON: one object a line, flushed with each. `docs/events.md` is the contract.

use std::io;

use crate::event::Event;
use crate::report::channel::Channel;

/// The sink for programs.
#[derive(Debug)]
pub struct Json(Channel);

impl Json {
    /// Writes to a channel.
    pub fn new(channel: Channel) -> Self {
        Self(channel)
    }

    /// Writes an event.
    pub fn event(&mut self, event: &Event) {
        self.0.write(&line(event));
    }

    /// Why nothing is written any more.
    pub fn broken(&self) -> Option<&io::Error> {
        self.0.broken()
    }
}

/// An event as one line, with its end. JSON escapes every line break within.
pub fn line(event: &Event) -> String {
    let mut line = serde_json::to_string(event).expect("an event has only text keys");
    line.push('\n');
    line
}
