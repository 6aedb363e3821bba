//! A watch that listens and looks: hints come in, and what they are about is read again.

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::watch::tree::{Seen, State};
use crate::cli::watch::{GIT, Message, POLL, QUIET, SETTLED, SHOWN, Watch};
use crate::clock::Timer;
use crate::event::{self, What};
use crate::run::{self, Steering};
use crate::watch::batch::{Batch, Changes, Hint, REST};
use crate::watch::source::{Heard, Source, SourceError};

impl Watch<'_> {
    /// Begins to listen, before it looks: what changes in between is heard, or seen.
    pub(super) fn begin(&mut self) {
        if self.arguments.poll.is_none() {
            let sender = self.sender.clone();
            let tell = move |heard| sender.send(Message::Heard(heard)).unwrap_or_default();
            match Source::new(&self.tree.now.session.root, tell) {
                Ok(source) => self.source = Some(source),
                Err(error) => self.poll_because(&error),
            }
        }
        self.set_next_poll();
        self.listen(None);
        self.say_problems();
    }

    /// Watches the directories that are read now; where there are new ones, looks at what happened
    /// in them before they were watched.
    pub(super) fn listen(&mut self, on: Option<(&State, &Steering)>) {
        for _ in 0..SETTLED {
            let Some(mut directories) = self.tree.directories() else { break };
            if self.tree.now.session.root.join(GIT).exists() {
                directories.insert(PathBuf::from(GIT));
            }
            let Some(source) = &mut self.source else { break };
            match source.watch(&directories) {
                Ok(added) if added.is_empty() => break,
                Ok(_) => {
                    let seen = self.tree.look(&Changes::everything());
                    self.take_in(&seen.unwrap_or_default(), on);
                }
                Err(error) => {
                    self.source = None;
                    self.poll_because(&error);
                }
            }
        }
        let watching = self.watching();
        if self.told.as_ref() != Some(&watching) {
            self.teller.tell(watching.clone());
            self.told = Some(watching);
        }
    }

    pub(super) fn watching(&self) -> What {
        What::Watching {
            version: event::VERSION,
            images: self.tree.now.selected.images.len(),
            directories: self.source.as_ref().map_or(0, Source::len),
            polling: self.polling().map(|every| u64::try_from(every.as_millis()).unwrap_or(0)),
        }
    }

    /// Says why the system does not tell of changes, what could be done about it, and goes on
    /// without it.
    pub(super) fn poll_because(&mut self, error: &SourceError) {
        let every = POLL.as_secs();
        let help = match error {
            SourceError::TooFew { wanted } => {
                let enough = (wanted * 2).next_power_of_two().max(524_288);
                let sysctl = format!("sudo sysctl fs.inotify.max_user_watches={enough}");
                format!("  help: allow more with `{sysctl}`\n")
            }
            SourceError::Watch(_) => String::new(),
        };
        let why = run::with_causes(error);
        let text = format!("warning: {why}; looking every {every} s instead\n{help}");
        self.teller.talk(&text);
        self.set_next_poll();
    }

    /// How often everything is looked at, if that is needed.
    pub(super) fn polling(&self) -> Option<Duration> {
        match (&self.source, self.arguments.poll) {
            (Some(_), _) => None,
            (None, every) => Some(every.unwrap_or(POLL)),
        }
    }

    pub(super) fn set_next_poll(&mut self) {
        let every =
            self.polling().map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        self.next_poll = every.map(|every| self.timer.elapsed().saturating_add(every));
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        let now = self.timer.elapsed();
        let Heard { hint, is_gone } = heard;
        match &hint {
            Hint::Everything => return self.lost.hear(now),
            // Of what git keeps for itself, only another branch is worth a look, at everything.
            Hint::Path(path) if path.starts_with(GIT) => {
                if path.ends_with("HEAD") {
                    self.batch.add(now, Hint::Everything);
                }
                return;
            }
            Hint::Path(path) => {
                if let (true, Some(source)) = (is_gone, &mut self.source) {
                    source.forget(path);
                }
            }
        }
        self.batch.add(now, hint);
        self.retry = self.retry.map(|_| now + QUIET);
    }

    /// Looks where something may have changed, if it is time, and tells a run that is on of it.
    pub(super) fn look(&mut self, on: Option<(&State, &Steering)>) {
        let now = self.timer.elapsed();
        if self.retry.is_some_and(|retry| retry <= now) {
            self.retry = None;
            self.holds.let_go_of_restless();
            self.is_wanted = true;
        }
        let is_poll = self.next_poll.is_some_and(|poll| poll <= now);
        if is_poll {
            self.set_next_poll();
            self.batch = Batch::default();
        }
        if self.lost.take(now) {
            self.batch.add(now.saturating_sub(REST), Hint::Everything);
        }
        let changes = if is_poll { Some(Changes::everything()) } else { self.batch.take(now) };
        let Some(changes) = changes else { return };
        if !changes.everything {
            self.lost.found();
        }
        let timer = Timer::start();
        let seen = match self.tree.look(&changes) {
            Ok(seen) => seen,
            Err(failure) => {
                self.complain(&failure);
                return;
            }
        };
        if !is_poll || !seen.changed.is_empty() {
            let shown = changes.paths.iter().take(SHOWN);
            self.teller.tell(What::Rescanned {
                everything: seen.everything,
                paths: shown.map(|path| path.to_string_lossy().into_owned()).collect(),
                changed: seen.changed.iter().cloned().collect(),
                duration: timer.elapsed(),
            });
        }
        self.take_in(&seen, on);
        self.listen(on);
    }

    pub(super) fn take_in(&mut self, seen: &Seen, on: Option<(&State, &Steering)>) {
        if !seen.changed.is_empty() {
            if let Some(doubtful) = &mut self.doubtful {
                doubtful.extend(seen.changed.iter().cloned());
            }
            self.is_wanted = true;
            self.lost.found();
        }
        if let Some((state, steering)) = on {
            self.steer(state, steering, seen);
        }
        if seen.problems {
            self.say_problems();
        }
    }
}
