//! A watch that builds, and goes on watching meanwhile.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use crate::cli::failure::Failure;
use crate::cli::watch::pass::{Pass, Passed};
use crate::cli::watch::tree::{Seen, State};
use crate::cli::watch::{Message, QUIET, Watch};
use crate::event::What;
use crate::image::{ImageId, ImageName};
use crate::run::{self, Renewal, Steering};

impl Watch<'_> {
    /// Plans and builds, and goes on watching meanwhile.
    pub(super) fn bring_up_to_date(&mut self) -> Result<(), Failure> {
        self.is_wanted = false;
        let retry = self.retry.take();
        let was_kept = self.engine.is_some();
        let state = Arc::clone(&self.tree.now);
        let doubtful = self.doubtful.replace(BTreeSet::new());
        let teller = Arc::clone(&self.teller);
        let cancel = self.cancel.clone();
        let pass = Pass {
            arguments: self.arguments,
            settings: self.settings,
            state: &state,
            entries: self.tree.entries.clone(),
            prepare: self.tree.prepare.clone(),
            doubtful: doubtful.as_ref(),
            unusable: self.tree.unusable(),
            holds: self.holds.clone(),
            last_run: self.tree.last_run.clone(),
            is_first: self.is_first,
            ledger: self.ledger.take(),
            engine: self.engine.take(),
            teller: &teller,
            cancel: &cancel,
        };
        let (steering, mailbox) = run::steering();
        let ended = Ended(self.sender.clone());
        let passed = thread::scope(|scope| {
            let running = scope.spawn(move || {
                let _ended = ended;
                pass.run(mailbox)
            });
            self.attend(&state, &steering);
            running.join().unwrap_or_else(|panic| resume_unwind(panic))
        });
        self.retry = retry.map(|_| self.timer.elapsed() + QUIET);
        if passed.is_err() {
            // What was to be looked into still is.
            let meanwhile = self.doubtful.take();
            self.doubtful = doubtful.zip(meanwhile).map(|(mut all, more)| {
                all.extend(more);
                all
            });
        }
        match passed {
            Ok(passed) => self.settle(&state, passed),
            Err(_) if self.cancel.is_raised() => (),
            Err(failure) if self.is_first => return Err(failure),
            // An engine that was started anew has to be called anew.
            Err(_) if was_kept => self.is_wanted = true,
            Err(failure) => self.complain(&failure),
        }
        self.is_first = false;
        Ok(())
    }

    /// Goes on watching until the run has ended.
    pub(super) fn attend(&mut self, state: &State, steering: &Steering) {
        loop {
            match self.next() {
                Some(Message::Ended) => return,
                Some(Message::Stop) => {
                    if let Some(keys) = &self.keys {
                        keys.put_back();
                    }
                }
                Some(message) => self.receive(message),
                None => self.look(Some((state, steering))),
            }
        }
    }

    /// Takes in what came of a run.
    pub(super) fn settle(&mut self, state: &State, passed: Passed) {
        let Passed { ledger, has_run, holds, stale, touched, engine, .. } = passed;
        self.engine = engine;
        if let Some(ledger) = &ledger {
            self.tree.learn(ledger.history());
        }
        self.ledger = ledger;
        if has_run {
            self.holds = holds;
            // The workspace may be another one by now, with other numbers.
            let graph = &self.tree.now.session.loaded.graph;
            let find = |id: &ImageId| graph.find(state.name(*id).as_str());
            let mut touched: BTreeSet<ImageId> = touched.iter().filter_map(find).collect();
            // What a `prepare` of the run made can be read only now that it is known to have run.
            touched.extend(self.tree.prepare.keys());
            if !touched.is_empty() {
                let seen = self.tree.look_at(&touched);
                self.take_in(&seen, None);
            }
        }
        if let Some(doubtful) = &mut self.doubtful {
            doubtful.extend(stale.iter().cloned());
        }
        self.retried.retain(|name| stale.contains(name));
        let restless = self.holds.restless();
        if !restless.is_subset(&self.retried) {
            self.retried.extend(restless);
            self.retry = Some(self.timer.elapsed() + QUIET);
        }
        self.owes_word |= has_run || self.is_first || stale != self.stale;
        self.stale = stale;
        if self.owes_word && !self.is_wanted && !self.cancel.is_raised() {
            self.owes_word = false;
            let stale = self.stale.iter().cloned().collect();
            self.teller.tell(What::Idle { stale });
        }
    }

    /// Tells a run what changed. Its images have the numbers of the state that it began with.
    pub(super) fn steer(&self, state: &State, steering: &Steering, seen: &Seen) {
        let find = |name: &ImageName| state.session.loaded.graph.find(name.as_str());
        if !Arc::ptr_eq(&state.session, &self.tree.now.session) {
            steering.replace(seen.changed.iter().filter_map(find).collect());
            return;
        }
        let mut renewed = Vec::new();
        let mut outdated = BTreeSet::new();
        let changed = seen.changed.iter().map(|name| (name, true));
        for (name, is_other) in changed.chain(seen.unsure.iter().map(|name| (name, false))) {
            let Some(image) = find(name) else { continue };
            let files = self.tree.entries[image.index()].as_ref().map(|files| files.to_vec());
            if files.is_none() && !self.tree.prepare.contains_key(&image) {
                outdated.insert(image);
                continue;
            }
            let prepare = self.tree.prepare_keys.get(&image).copied();
            renewed.push(Renewal { image, files, prepare, is_other });
        }
        if !renewed.is_empty() {
            steering.renew(renewed);
        }
        if !outdated.is_empty() {
            steering.replace(outdated);
        }
    }
}

/// Says that a run has ended, however it does.
struct Ended(Sender<Message>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send(Message::Ended).unwrap_or_default();
    }
}
