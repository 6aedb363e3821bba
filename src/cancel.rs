//! A flag that ends work early, shared by the one who raises it and those who look.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often an asynchronous wait looks at the flag.
const TICK: Duration = Duration::from_millis(20);

/// The flag; clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    raised: Arc<AtomicBool>,
    /// The flags that count as this one, too.
    above: Vec<Arc<AtomicBool>>,
    bell: Arc<(Mutex<()>, Condvar)>,
}

impl Cancel {
    /// A flag of its own that is raised with this one, too: for one piece of work among several.
    #[must_use]
    pub fn child(&self) -> Self {
        let mut above = self.above.clone();
        above.push(Arc::clone(&self.raised));
        Self { raised: Arc::default(), above, bell: Arc::clone(&self.bell) }
    }

    /// Raises it.
    pub fn raise(&self) {
        let guard = self.lock();
        self.raised.store(true, Ordering::SeqCst);
        drop(guard);
        self.bell.1.notify_all();
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.above.iter().chain([&self.raised]).any(|flag| flag.load(Ordering::SeqCst))
    }

    /// Waits until it is raised, at most so long; says whether it was.
    pub fn wait(&self, at_most: Duration) -> bool {
        let waited = self.bell.1.wait_timeout_while(self.lock(), at_most, |()| !self.is_raised());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.is_raised()
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

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.bell.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_child_is_raised_alone_or_with_what_is_above_it() {
        let all = Cancel::default();
        let (one, other) = (all.child(), all.child());
        one.raise();
        assert_eq!((all.is_raised(), one.is_raised(), other.is_raised()), (false, true, false));
        all.raise();
        assert!(other.is_raised() && other.child().is_raised());
    }

    #[test]
    fn who_waits_for_a_child_is_woken_by_what_is_above_it() {
        let all = Cancel::default();
        let one = all.child();
        let waiting = std::thread::spawn(move || one.wait(LONG));
        all.raise();
        assert!(waiting.join().unwrap());
        assert!(!Cancel::default().wait(Duration::ZERO));
    }
}
