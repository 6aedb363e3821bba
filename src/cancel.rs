//! A flag that ends work early, shared by the one who raises it and those who look.

use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often an asynchronous wait looks at the flag.
const TICK: Duration = Duration::from_millis(20);

/// The flag; clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<(Mutex<bool>, Condvar)>);

impl Cancel {
    /// Raises it.
    pub fn raise(&self) {
        *self.lock() = true;
        self.0.1.notify_all();
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        *self.lock()
    }

    /// Waits until it is raised, at most so long; says whether it was.
    pub fn wait(&self, at_most: Duration) -> bool {
        let waited = self.0.1.wait_timeout_while(self.lock(), at_most, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for something inside an asynchronous runtime, but not longer than until the flag is
    /// raised: then it is dropped, and there is nothing.
    pub async fn unless_raised<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                _ = tick.tick() => {
                    if self.is_raised() {
                        return None;
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
