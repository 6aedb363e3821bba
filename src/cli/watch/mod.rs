//! `imgraph watch`: brings images up to date, and again whenever something that they read changes.
//!
//! One thread waits for hints, keys and signals, looks again, and decides; while a run is on, that
//! run has a thread of its own and is told of what changes. Nothing is done for a hint but to look:
//! only where the inputs of an image are others than before is a plan made, and only where a key is
//! another one is something built.

pub(crate) mod args;
mod listening;
mod memory;
mod pass;
mod running;
mod tell;
mod tree;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use std::{io, thread};

use crate::cancel::Cancel;
use crate::cli::carry::interrupted;
use crate::cli::complain;
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::{Session, say_offline};
use crate::cli::settings::{Settings, write};
use crate::cli::watch::args::Watch as Arguments;
use crate::cli::watch::pass::Holds;
use crate::cli::watch::tell::Teller;
use crate::cli::watch::tree::Tree;
use crate::clock::Timer;
use crate::diagnostic::Diagnostic;
use crate::engine::Engine;
use crate::event::{Problem, What};
use crate::image::ImageName;
use crate::ledger::{self, Resting};
use crate::report::Reporter;
use crate::report::diagnostics::{self, Look};
use crate::signal::{on_resize, raise_on_interrupt};
use crate::watch::batch::{Batch, Hint, Lost};
use crate::watch::exec::Exec;
use crate::watch::keys::{Key, Keys};
use crate::watch::source::{Heard, Source};

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
    if arguments.selection.since.is_some() || arguments.selection.affected {
        let message = "a watch builds what changes, whatever git knows of it";
        let help = "leave out `--since` and `--affected`, or name images";
        return Err(Failure::new(Exit::USAGE, message).help(help));
    }
    memory::give_back_at_once();
    let session = Session::without_contexts(settings)?;
    if arguments.building.push {
        session.check_registries(&session.select(&arguments.selection, settings)?.images)?;
    }
    say_offline(settings);
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

#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself, at its own time")]
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

    fn press(&mut self, key: Key) {
        match key {
            Key::Pause => {
                self.is_paused = !self.is_paused;
                self.set_next_poll();
                self.teller.tell(if self.is_paused { What::Paused } else { What::Resumed });
            }
            Key::Rebuild => {
                self.engine = None;
                self.holds.clear();
                self.doubtful = None;
                self.is_wanted = true;
                self.batch.add(self.timer.elapsed(), Hint::Everything);
            }
            Key::Failed => {
                self.engine = None;
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
