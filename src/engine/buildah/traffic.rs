//! How many builds run at once in this process, and what has to wait until none does.
//!
//! buildah may take any image of the store as its cache and fails if it is gone when it gets there
//! (containers/buildah#5674), so no image is removed while a build runs. And a working container
//! that was just being made when its build was stopped looks like one that another build is just
//! making, until no other build runs.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::digest::OciDigest;

/// The builds of one engine.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: u32,
    doomed: Vec<OciDigest>,
    before: BTreeSet<String>,
    interrupted: Interrupted,
}

/// Whether a build was stopped or killed, so that it may have left something half made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interrupted {
    /// All ended by themselves.
    #[default]
    No,
    /// At least one did not.
    Yes,
}

/// What the last of the running builds leaves to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chores {
    /// Images to remove.
    pub doomed: Vec<OciDigest>,
    /// If a build was interrupted: the containers that were there before all of them.
    pub before: Option<BTreeSet<String>>,
}

impl Traffic {
    /// A build begins. `containers` are those that are there now.
    pub fn enter(&self, containers: BTreeSet<String>) {
        let mut state = self.state();
        if state.running == 0 {
            state.before = containers;
            state.interrupted = Interrupted::No;
        }
        state.running += 1;
    }

    /// A build ended. The last one gets the chores.
    pub fn leave(&self, interrupted: Interrupted) -> Chores {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        if interrupted == Interrupted::Yes {
            state.interrupted = interrupted;
        }
        if state.running > 0 {
            return Chores::default();
        }
        let before = std::mem::take(&mut state.before);
        let before = (state.interrupted == Interrupted::Yes).then_some(before);
        Chores { doomed: std::mem::take(&mut state.doomed), before }
    }

    /// Puts the removal of an image off until no build runs; `false` if none does now.
    pub fn postpone(&self, id: &OciDigest) -> bool {
        let mut state = self.state();
        if state.running > 0 {
            state.doomed.push(id.clone());
        }
        state.running > 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn containers(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn chores_wait_for_the_last_build() {
        let traffic = Traffic::default();
        let id: OciDigest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        assert!(!traffic.postpone(&id));
        traffic.enter(containers(&["old"]));
        traffic.enter(containers(&["old", "half made"]));
        assert!(traffic.postpone(&id));
        assert_eq!(traffic.leave(Interrupted::Yes), Chores::default());
        let chores = traffic.leave(Interrupted::No);
        assert_eq!(chores, Chores { doomed: vec![id], before: Some(containers(&["old"])) });
    }

    #[test]
    fn nothing_is_looked_for_after_builds_that_ended_by_themselves() {
        let traffic = Traffic::default();
        traffic.enter(containers(&[]));
        assert_eq!(traffic.leave(Interrupted::Yes).before, Some(containers(&[])));
        traffic.enter(containers(&[]));
        assert_eq!(traffic.leave(Interrupted::No), Chores::default());
    }
}
