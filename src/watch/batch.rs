//! When to look: changes that come one after the other are one batch.
//!
//! A batch is due after [`REST`] without a further change, and [`MOST`] after its first one however
//! many follow: under a steady stream of saves something is built now and then. Too many paths, or
//! a hint that some were lost, make it a batch of everything. Knows no clock: times, in
//! milliseconds, come from whoever adds and asks.

use std::collections::BTreeSet;
use std::path::PathBuf;

/// How long nothing has to happen.
pub const REST: u64 = 50;
/// The longest that a change waits.
pub const MOST: u64 = 2_000;
/// How many paths are looked at one by one: a branch switch, or a package that was unpacked, is
/// quicker looked at as a whole.
pub const MANY: usize = 256;

/// A hint that something may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// At a path relative to the workspace root, or directly below it.
    Path(PathBuf),
    /// Anywhere: hints were lost, or there are none where something changed.
    Everything,
}

/// Hints that wait.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    times: Option<(u64, u64)>,
    everything: bool,
    paths: BTreeSet<PathBuf>,
}

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Whether anything may have, whatever the paths say.
    pub everything: bool,
    /// Where.
    pub paths: BTreeSet<PathBuf>,
}

impl Changes {
    /// Anything may have changed.
    pub fn everything() -> Self {
        Self { everything: true, paths: BTreeSet::new() }
    }
}

impl Batch {
    /// Adds a hint.
    pub fn add(&mut self, now: u64, hint: Hint) {
        let first = self.times.map_or(now, |(first, _)| first);
        self.times = Some((first, now));
        match hint {
            Hint::Everything => self.everything = true,
            Hint::Path(path) if self.paths.len() < MANY => {
                self.paths.insert(path);
            }
            Hint::Path(path) => self.everything |= !self.paths.contains(&path),
        }
    }

    /// When it is due; `None` where nothing waits.
    pub fn due(&self) -> Option<u64> {
        let (first, last) = self.times?;
        Some((last + REST).min(first + MOST))
    }

    /// Takes what waits, if it is due.
    pub fn take(&mut self, now: u64) -> Option<Changes> {
        if self.due()? > now {
            return None;
        }
        let Self { everything, paths, .. } = std::mem::take(self);
        Some(Changes { everything, paths })
    }
}

/// When to look at everything because hints were lost.
///
/// Looking at very many directories makes so many events that hints may be lost again, although
/// nothing has changed: each time that this was so in a row, the next look has to wait longer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    in_vain: u32,
    due: Option<u64>,
}

impl Lost {
    /// Hints were lost.
    pub fn hear(&mut self, now: u64) {
        let wait = if self.in_vain == 0 { 0 } else { 1_000 << self.in_vain.min(6) };
        self.due.get_or_insert(now + wait);
    }

    /// When to look, if hints were lost.
    pub fn due(&self) -> Option<u64> {
        self.due
    }

    /// Whether it is time to look.
    pub fn take(&mut self, now: u64) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.in_vain += 1;
        }
        is_due
    }

    /// A look found something, or nothing was lost for a while.
    pub fn found(&mut self) {
        self.in_vain = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(name: &str) -> Hint {
        Hint::Path(PathBuf::from(name))
    }

    fn changes(paths: &[&str]) -> Changes {
        Changes { everything: false, paths: paths.iter().map(PathBuf::from).collect() }
    }

    #[test]
    fn nothing_is_due_where_nothing_happened() {
        let mut batch = Batch::default();
        assert_eq!((batch.due(), batch.take(1_000)), (None, None));
    }

    #[test]
    fn a_save_is_due_after_a_rest_and_what_belongs_to_it_comes_along() {
        let mut batch = Batch::default();
        batch.add(1_000, path("a"));
        batch.add(1_049, path("b"));
        batch.add(1_049, path("a"));
        assert_eq!((batch.due(), batch.take(1_098)), (Some(1_099), None));
        assert_eq!(batch.take(1_099), Some(changes(&["a", "b"])));
        assert_eq!(batch.take(9_999), None, "it was taken");
    }

    #[test]
    fn a_steady_stream_is_looked_at_after_two_seconds() {
        let mut batch = Batch::default();
        for now in (0..1_990).step_by(10) {
            batch.add(now, path("a"));
            assert_eq!(batch.take(now), None, "at {now}");
        }
        assert_eq!(batch.due(), Some(2_000));
        assert_eq!(batch.take(2_000), Some(changes(&["a"])));
        batch.add(2_001, path("a"));
        assert_eq!(batch.due(), Some(2_051), "the next stream counts anew");
    }

    #[test]
    fn many_paths_and_lost_hints_are_everything() {
        let mut batch = Batch::default();
        for number in 0..MANY {
            batch.add(0, path(&number.to_string()));
            batch.add(0, path("0"));
        }
        assert!(!batch.clone().take(50).unwrap().everything);
        batch.add(0, path("one more"));
        assert!(batch.take(50).unwrap().everything);
        batch.add(60, Hint::Everything);
        assert_eq!(batch.take(110), Some(Changes::everything()));
    }

    #[test]
    fn looking_because_hints_were_lost_does_not_go_on_by_itself() {
        let mut lost = Lost::default();
        assert!(!lost.take(0));
        lost.hear(10);
        assert!(lost.take(10), "the first time at once");
        lost.hear(20);
        lost.hear(30);
        assert_eq!((lost.take(2_019), lost.due()), (false, Some(2_020)));
        assert!(lost.take(2_020));
        lost.hear(2_030);
        assert_eq!(lost.due(), Some(6_030));
        lost.found();
        lost.take(6_030);
        lost.found();
        lost.hear(7_000);
        assert!(lost.take(7_000));
    }

    proptest! {
        #[test]
        fn no_hint_waits_longer_than_two_seconds_nor_is_lost(
            pauses in prop::collection::vec(0_u64..300, 1..200),
        ) {
            let mut batch = Batch::default();
            let (mut now, mut added, mut taken) = (0, Vec::new(), BTreeSet::new());
            for (number, pause) in pauses.into_iter().enumerate() {
                // Whoever waits wakes up in time.
                while let Some(due) = batch.due().filter(|due| *due <= now + pause) {
                    for path in batch.take(due).unwrap().paths {
                        let at: u64 = added[path.to_str().unwrap().parse::<usize>().unwrap()];
                        prop_assert!(due - at <= MOST);
                        taken.insert(path);
                    }
                }
                now += pause;
                batch.add(now, path(&number.to_string()));
                added.push(now);
            }
            taken.extend(batch.take(now + MOST).unwrap().paths);
            prop_assert_eq!(taken.len(), added.len());
        }
    }
}
