//! Everything that the user sees of a run: one event in, every sink out.
//!
//! Fed by [`Event`]s and [`Diagnostic`]s only. It knows no engine, no plan and no ledger, so that a
//! recorded run, read back from its NDJSON, is shown again by the same code. What a run is worth
//! showing is decided here, in words that all sinks share; where it goes, by [`Settings`].
//!
//! | sink | for | where |
//! |---|---|---|
//! | [`live`] | a person at a terminal | stderr, drawn over |
//! | [`plain`] | pipes, CI, `--ui quiet` | stderr, line by line |
//! | [`json`] | programs | stdout, one object a line |
//! | [`summary`] | all of them, at the end | stderr; Markdown for a step summary |
//! | [`document`] | who comes later | files of `--report`: Markdown, JSON, JUnit |
//!
//! [`Diagnostic`]: crate::diagnostic::Diagnostic

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, thread};

use crate::clock;
use crate::event::{Event, What};
use crate::report::channel::Channel;
use crate::report::ci::CiKind;
use crate::report::forecast::Forecast;
use crate::report::json::Json;
use crate::report::live::{Live, Terminal};
use crate::report::plain::Plain;
use crate::report::tally::Tally;

pub mod style;
pub mod text;
pub mod sentence;
pub mod tally;
pub mod outcome;
pub mod forecast;
pub mod channel;
pub mod ci;
pub mod lines;
pub mod summary;
pub mod document;
pub mod watch;
pub mod board;
pub mod json;
pub mod plain;
pub mod live;
pub mod diagnostics;

/// What the user wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How a run is shown on stderr.
    pub ui: Ui,
    /// Which logs of builds are shown.
    pub logs: Logs,
    /// Whether events go to stdout as NDJSON.
    pub json: bool,
    /// Whether colours are wanted.
    pub color: bool,
    /// The CI service that reads the text, if one does.
    pub ci: Option<CiKind>,
    /// 0 as usual; more: steps, all reasons and images that are up to date, too.
    pub verbosity: u8,
}

/// How a run is shown on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ui {
    /// Live lines; where stderr is no terminal, as [`Ui::Plain`].
    Progress,
    /// Line by line.
    Plain,
    /// Only what went wrong.
    Quiet,
}

/// Which logs of builds are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logs {
    /// All, as they come.
    All,
    /// Those of failed builds.
    Failed,
    /// None; they are in their files.
    None,
}

/// Where a report goes.
pub struct Outputs {
    /// Stdout: data.
    pub data: Box<dyn Write + Send>,
    /// Stderr: talk.
    pub talk: Box<dyn Write + Send>,
    /// The terminal that stderr is, see [`Terminal::stderr`].
    pub terminal: Option<Terminal>,
}

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outputs").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// Shows a run.
#[derive(Debug)]
pub struct Reporter {
    run: Arc<Mutex<Run>>,
    talk: Talk,
    json: Option<Json>,
}

/// What the sinks read: shared with the thread that redraws a terminal.
#[derive(Debug, Default)]
pub struct Run {
    /// What the events so far add up to.
    pub tally: Tally,
    /// How long the rest will take.
    pub forecast: Forecast,
}

impl Run {
    /// Milliseconds to the end at a time, where they can be predicted.
    pub fn remaining(&self, now: u64) -> Option<u64> {
        self.forecast.remaining(&self.tally, now)
    }
}

#[derive(Debug)]
enum Talk {
    Live(Live),
    Plain(Plain),
}

impl Reporter {
    /// Shows a run as the settings say.
    pub fn new(settings: Settings, outputs: Outputs) -> Self {
        let run = Arc::new(Mutex::new(Run::default()));
        let json = settings.json.then(|| Json::new(Channel::new(outputs.data)));
        let channel = Channel::new(outputs.talk);
        let talk = match (settings.ui, outputs.terminal) {
            (Ui::Progress, Some(terminal)) => {
                Talk::Live(Live::new(settings, channel, terminal, Arc::clone(&run)))
            }
            _ => Talk::Plain(Plain::new(settings, channel)),
        };
        Self { run, talk, json }
    }

    /// Shows an event in every sink.
    pub fn event(&mut self, event: &Event) {
        let mut run = lock(&self.run);
        let Run { tally, forecast } = &mut *run;
        tally.observe(event);
        match event.what {
            // A watch has run after run, and each has a plan of its own.
            What::RunStarted { .. } => *forecast = Forecast::default(),
            What::Started { .. } => forecast.follow(tally),
            _ => (),
        }
        if let Talk::Plain(plain) = &mut self.talk {
            plain.event(event, tally);
        }
        drop(run);
        if let Talk::Live(live) = &mut self.talk {
            live.event(event);
        }
        if let Some(json) = &mut self.json {
            json.event(event);
        }
    }

    /// Says something that is no event: above the board, where there is one.
    pub fn talk(&mut self, text: &str) {
        match &mut self.talk {
            Talk::Live(live) => live.talk(text),
            Talk::Plain(plain) => plain.talk(text),
        }
    }

    /// The terminal has another size.
    pub fn resized(&mut self) {
        if let Talk::Live(live) = &self.talk {
            live.resized();
        }
    }

    /// Leaves no board behind: nothing more is told.
    pub fn close(&mut self) {
        if let Talk::Live(live) = &self.talk {
            live.close();
        }
    }

    /// How a watch stands, in a few words; empty where this is none.
    pub fn status(&self) -> String {
        let run = lock(&self.run);
        let Some(watch) = &run.tally.watch else { return String::new() };
        let paused = if watch.paused { "paused; " } else { "" };
        let how = if watch.is_settled {
            watch::idle(&watch.stale)
        } else {
            "there is something to do".to_owned()
        };
        format!("{paused}{}; {how}\n", watch::status(watch))
    }

    /// Tells that the run is alive, where it has been silent for a minute. To be called about once
    /// a second, with milliseconds since the Unix epoch; [`attended`] does. A terminal needs none.
    pub fn tick(&mut self, now: u64) {
        if let Talk::Plain(plain) = &mut self.talk {
            let run = lock(&self.run);
            plain.tick(now, || plain::heartbeat(&run.tally, run.remaining(now), now));
        }
    }

    /// The end of the run as Markdown; empty before the run ended.
    pub fn markdown(&self) -> String {
        summary::markdown(&lock(&self.run).tally)
    }

    /// Why stdout takes nothing any more, if so: whoever read it is gone. The run was not disturbed.
    pub fn broken_stdout(&self) -> Option<&io::Error> {
        self.json.as_ref().and_then(Json::broken)
    }
}

/// Does some work while a thread calls [`Reporter::tick`] every second.
pub fn attended<T>(reporter: &Mutex<Reporter>, work: impl FnOnce() -> T) -> T {
    const SECOND: Duration = Duration::from_secs(1);
    let (done, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(SECOND) == Err(RecvTimeoutError::Timeout) {
                lock(reporter).tick(clock::now());
            }
        });
        let outcome = work();
        drop(done);
        outcome
    })
}

/// A panic elsewhere must not keep the report from being written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
