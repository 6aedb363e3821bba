//! `imgraph watch`: brings images up to date, and again whenever something that they read changes.
//!
//! One thread waits for hints, keys and signals, looks again, and decides; while a run is on, that
//! run has a thread of its own and is told of what changes. Nothing is done for a hint but to look:
//! only where the inputs of an image are others than before is a plan made, and only where a key is
//! another one is something built.

pub(crate) mod args;
mod pass;
mod tell;
mod tree;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::cli::carry::interrupted;
use crate::cli::complain;
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::settings::{Settings, write};
use crate::cli::watch::args::Watch as Arguments;
use crate::cli::watch::pass::{Holds, Pass, Passed};
use crate::cli::watch::tell::Teller;
use crate::cli::watch::tree::{Seen, State, Tree};
use crate::clock::Timer;
use crate::diagnostic::Diagnostic;
use crate::engine::Engine;
use crate::event::{self, Problem, What};
use crate::image::{ImageId, ImageName};
use crate::ledger::{self, Resting};
use crate::report::Reporter;
use crate::report::diagnostics::{self, Look};
use crate::run::{self, Steering};
use crate::signal::{on_resize, raise_on_interrupt};
use crate::watch::batch::{Batch, Changes, Hint, Lost, REST};
use crate::watch::exec::Exec;
use crate::watch::keys::{Key, Keys};
use crate::watch::source::{Heard, Source, SourceError};

/// How often everything is looked at where the system does not tell of changes.
const POLL: Duration = Duration::from_secs(2);

/// Where git keeps which branch it is on.
const GIT: &str = ".git";

/// How many paths an event names.
const SHOWN: usize = 100;

/// How often directories that became known by looking are looked at before the next hint is waited
/// for: what makes directories without end makes hints, too.
const SETTLED: usize = 8;

/// How long nothing has to happen until what never came to rest is tried once more.
const QUIET: u64 = 2_000;

const MENDED: &str = "nothing is wrong with the workspace any more\n";

const HELP: &str = "\
p pause, or go on   r look at everything and rebuild   f build again what failed
Enter how things are   q quit   ? this help
";

/// What the watching thread waits for.
enum Message {
    /// The system told of a change.
    Heard(Heard),
    /// A key was pressed.
    Key(Key),
    /// The user wants it to end.
    Stop,
    /// The run has ended.
    Ended,
}

/// Runs the verb.
pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let session = Session::open(settings)?;
    if arguments.building.push {
        session.check_registries(&session.select(&arguments.selection)?.images)?;
    }
    let cancel = Cancel::default();
    raise_on_interrupt(&cancel)
        .map_err(|error| Failure::new(Exit::BUG, format!("cannot listen for Ctrl-C: {error}")))?;
    let (sender, receiver) = mpsc::channel();
    forward(&cancel, &sender);
    let (history, _) = ledger::read(&session.state)?;
    let root = session.root.clone();
    let tree = Tree::new(session, settings, &arguments.selection, history)?;
    if !tree.is_usable() {
        let problems = tree.problems();
        let look = Look { style: settings.style_err(), ..Look::default() };
        let text = diagnostics::draw(&problems, &tree.sources(&problems), look);
        write(&mut io::stderr(), &text);
        return Err(Failure::said(Exit::WORKSPACE));
    }
    let (report, outputs) = settings.report(&arguments.output);
    let is_drawn_on = outputs.terminal.is_some();
    let teller = Arc::new(Teller::new(Reporter::new(report, outputs)));
    if let Some(command) = &arguments.exec {
        let to = Arc::clone(&teller);
        teller.follow(Exec::new(command, root, move |what| to.tell(what)));
    }
    if is_drawn_on {
        let to = Arc::clone(&teller);
        // A terminal that cannot tell is drawn on at the next event.
        on_resize(move || to.resized()).unwrap_or_default();
    }
    let to = sender.clone();
    let keys = if is_drawn_on {
        Keys::of_stdin(move |key| to.send(Message::Key(key)).unwrap_or_default())
    } else {
        None
    };
    let mut watch = Watch {
        arguments,
        settings,
        tree,
        source: None,
        batch: Batch::default(),
        lost: Lost::default(),
        holds: Holds::default(),
        stale: BTreeSet::new(),
        doubtful: None,
        ledger: None,
        retried: BTreeSet::new(),
        retry: None,
        engine: None,
        teller: Arc::clone(&teller),
        keys,
        told: None,
        timer: Timer::start(),
        next_poll: None,
        is_paused: false,
        is_wanted: true,
        is_first: true,
        is_quitting: false,
        owes_word: false,
        cancel,
        sender,
        receiver,
    };
    let outcome = watch.watch();
    teller.stop();
    outcome
}

/// Sends a message when the user wants an end: nobody has to look at the flag.
fn forward(cancel: &Cancel, sender: &Sender<Message>) {
    let (cancel, sender) = (cancel.clone(), sender.clone());
    thread::spawn(move || {
        while !cancel.wait(Duration::from_hours(24)) {}
        sender.send(Message::Stop).unwrap_or_default();
    });
}

struct Watch<'a> {
    arguments: &'a Arguments,
    settings: &'a Settings,
    tree: Tree<'a>,
    /// `None`: everything is looked at from time to time.
    source: Option<Source>,
    batch: Batch,
    lost: Lost,
    holds: Holds,
    stale: BTreeSet<ImageName>,
    /// What may be out of date; `None`: anything.
    doubtful: Option<BTreeSet<ImageName>>,
    ledger: Option<Resting>,
    /// The images that were given up because their files kept changing, and are tried once more.
    retried: BTreeSet<ImageName>,
    /// When that is, if nothing happens until then.
    retry: Option<u64>,
    engine: Option<Box<dyn Engine>>,
    teller: Arc<Teller>,
    keys: Option<Keys>,
    /// What was last told of what is watched.
    told: Option<What>,
    /// All times of the watch count from its start.
    timer: Timer,
    next_poll: Option<u64>,
    is_paused: bool,
    /// Whether a plan is due.
    is_wanted: bool,
    is_first: bool,
    is_quitting: bool,
    /// Whether something was done since it was last said that nothing is left to do.
    owes_word: bool,
    cancel: Cancel,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

impl Watch<'_> {
    fn watch(&mut self) -> Result<u8, Failure> {
        self.begin();
        loop {
            while self.is_wanted && !self.is_paused && !self.cancel.is_raised() {
                self.bring_up_to_date()?;
            }
            if self.cancel.is_raised() {
                return Ok(if self.is_quitting { Exit::OK } else { interrupted() });
            }
            match self.next() {
                Some(message) => self.receive(message),
                None => {
                    self.look(None);
                }
            }
        }
    }

    /// Begins to listen, before it looks: what changes in between is heard, or seen.
    fn begin(&mut self) {
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
    fn listen(&mut self, on: Option<(&State, &Steering)>) {
        for _ in 0..SETTLED {
            let Some(mut directories) = self.tree.directories() else { break };
            directories.insert(PathBuf::from(GIT));
            let Some(source) = &mut self.source else { break };
            match source.watch(&directories) {
                Ok(added) if added.is_empty() => break,
                Ok(_) => {
                    let seen = self.tree.look(&Changes::everything());
                    self.take_in(seen.unwrap_or_default(), on);
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

    fn watching(&self) -> What {
        What::Watching {
            version: event::VERSION,
            images: self.tree.now.selected.images.len(),
            directories: self.source.as_ref().map_or(0, Source::len),
            polling: self.polling().map(|every| u64::try_from(every.as_millis()).unwrap_or(0)),
        }
    }

    /// Says why the system does not tell of changes, what could be done about it, and goes on
    /// without it.
    fn poll_because(&mut self, error: &SourceError) {
        let every = POLL.as_secs();
        let mut text =
            format!("warning: {}; looking every {every} s instead\n", run::with_causes(error));
        if let SourceError::TooFew { wanted } = error {
            let enough = (wanted * 2).next_power_of_two().max(524_288);
            text += &format!(
                "  help: allow more with `sudo sysctl fs.inotify.max_user_watches={enough}`\n"
            );
        }
        self.teller.talk(&text);
        self.set_next_poll();
    }

    /// How often everything is looked at, if that is needed.
    fn polling(&self) -> Option<Duration> {
        match (&self.source, self.arguments.poll) {
            (Some(_), _) => None,
            (None, every) => Some(every.unwrap_or(POLL)),
        }
    }

    fn set_next_poll(&mut self) {
        let every = self.polling().map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        self.next_poll = every.map(|every| self.timer.elapsed().saturating_add(every));
    }

    /// The next message; `None` where it is time to look.
    fn next(&self) -> Option<Message> {
        let due = if self.is_paused { None } else { self.batch.due() };
        let poll = self.next_poll;
        let others = [poll, self.retry, self.lost.due()].into_iter().flatten();
        let others = others.filter(|_| !self.is_paused);
        let Some(until) = due.into_iter().chain(others).min() else {
            return Some(self.receiver.recv().unwrap_or(Message::Stop));
        };
        let wait = Duration::from_millis(until.saturating_sub(self.timer.elapsed()));
        match self.receiver.recv_timeout(wait) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Heard(heard) => self.hear(heard),
            Message::Key(key) => self.press(key),
            Message::Stop | Message::Ended => {}
        }
    }

    fn hear(&mut self, heard: Heard) {
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

    fn press(&mut self, key: Key) {
        match key {
            Key::Pause => {
                self.is_paused = !self.is_paused;
                self.set_next_poll();
                self.teller.tell(if self.is_paused { What::Paused } else { What::Resumed });
            }
            Key::Rebuild => {
                self.holds.clear();
                self.doubtful = None;
                self.is_wanted = true;
                self.batch.add(self.timer.elapsed(), Hint::Everything);
            }
            Key::Failed => {
                self.holds.clear();
                self.is_wanted = true;
            }
            Key::Status => self.teller.talk_of_status(),
            Key::Help => self.teller.talk(HELP),
            Key::Quit => {
                self.is_quitting = true;
                self.cancel.raise();
            }
        }
    }

    /// Looks where something may have changed, if it is time, and tells a run that is on of it.
    fn look(&mut self, on: Option<(&State, &Steering)>) {
        let now = self.timer.elapsed();
        if self.retry.is_some_and(|retry| retry <= now) {
            self.retry = None;
            self.holds.builds.retain(|_, held| !held.restless);
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
        self.take_in(seen, on);
        self.listen(on);
    }

    fn take_in(&mut self, seen: Seen, on: Option<(&State, &Steering)>) {
        if !seen.changed.is_empty() {
            if let Some(doubtful) = &mut self.doubtful {
                doubtful.extend(seen.changed.iter().cloned());
            }
            self.is_wanted = true;
            self.lost.found();
            if let Some((state, steering)) = on {
                self.steer(state, steering, &seen);
            }
        }
        if seen.problems {
            self.say_problems();
        }
    }

    /// Tells a run what changed. Its images have the numbers of the state that it began with.
    fn steer(&self, state: &State, steering: &Steering, seen: &Seen) {
        let find = |name: &ImageName| state.session.loaded.graph.find(name.as_str());
        let changed = seen.changed.iter().filter_map(find);
        if !Arc::ptr_eq(&state.session, &self.tree.now.session) {
            steering.replace(changed.collect());
            return;
        }
        let mut renewed = Vec::new();
        let mut outdated = BTreeSet::new();
        for id in changed {
            match &self.tree.entries[id.index()] {
                Some(entries) => renewed.push((id, entries.to_vec())),
                None if self.tree.prepare.contains_key(&id) => {}
                None => {
                    outdated.insert(id);
                }
            }
        }
        if !renewed.is_empty() {
            steering.renew(renewed);
        }
        if !outdated.is_empty() {
            steering.replace(outdated);
        }
    }

    /// Plans and builds, and goes on watching meanwhile.
    fn bring_up_to_date(&mut self) -> Result<(), Failure> {
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
            running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
    fn attend(&mut self, state: &State, steering: &Steering) {
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
    fn settle(&mut self, state: &State, passed: Passed) {
        let Passed { ledger, has_run, holds, stale, touched, engine, .. } = passed;
        self.engine = engine;
        if let Some(ledger) = &ledger {
            self.tree.learn(ledger.history());
        }
        self.ledger = ledger;
        if has_run {
            self.holds = holds;
            let is_same = Arc::ptr_eq(&state.session, &self.tree.now.session);
            let touched: BTreeSet<ImageId> = if is_same { touched } else { BTreeSet::new() };
            if !touched.is_empty() {
                let seen = self.tree.look_at(&touched);
                self.take_in(seen, None);
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

    fn say_problems(&self) {
        let problems = self.tree.problems();
        let sources = self.tree.sources(&problems);
        let look = Look { style: self.settings.style_err(), ..Look::default() };
        let text = diagnostics::draw(&problems, &sources, look);
        self.teller.talk(if text.is_empty() && !self.is_first { MENDED } else { &text });
        let problem = |it: &Diagnostic| {
            let place = it.place.as_ref();
            let line = place.and_then(|place| sources.line_column(place));
            Problem {
                severity: diagnostics::word(it.severity).to_owned(),
                code: it.code.to_owned(),
                message: it.message.clone(),
                path: place.map(|place| place.path.to_string()),
                line: line.and_then(|(line, _)| u32::try_from(line).ok()),
            }
        };
        let problems: Vec<Problem> = problems.iter().map(problem).collect();
        if !(self.is_first && problems.is_empty()) {
            self.teller.tell(What::Problems { problems });
        }
    }

    fn complain(&self, failure: &Failure) {
        let mut text = Vec::new();
        complain(failure, self.settings.style_err(), &mut text);
        self.teller.talk(&String::from_utf8_lossy(&text));
    }
}

/// Says that a run has ended, however it does.
struct Ended(Sender<Message>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send(Message::Ended).unwrap_or_default();
    }
}
