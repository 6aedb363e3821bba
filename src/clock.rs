//! Now and elapsed: the only module that looks at a clock.
#![expect(clippy::disallowed_methods, reason = "this is the clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A stop-watch.
#[derive(Clone, Copy, Debug)]
pub struct Timer(Instant);

impl Timer {
    /// Starts it.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// As if it had been started so long ago.
    #[cfg(test)]
    pub(crate) fn started(ago: Duration) -> Self {
        Self(Instant::now().checked_sub(ago).expect("the machine has run for so long"))
    }

    /// The time since it was started, in milliseconds.
    pub fn elapsed(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
