//! The dispatcher: carries out a plan with an engine, and tells what happens as events.
//!
//! One thread owns the schedule, the decisions and the ledger; workers own one request each and a
//! sender. An image that waited for its parents is decided here when they have finished, with the
//! same [`decide`] that made the plan: where its inputs came out the same it is cut off.
//!
//! A record is written after its output is in the store under all its references; if imgraph is
//! killed in between, the next run finds an unknown key and builds again, which the engine's own
//! cache makes cheap.

mod dispatcher;
mod job;
mod publish;
mod steering;
mod summary;
mod together;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::Sender;
use std::thread::{self, Scope};

pub use steering::{Mailbox, Renewal, Steering, steering};
pub use work::with_causes;

use crate::clock::Timer;
use crate::context::Entry;
use crate::digest::Digest;
use crate::engine::{Cancel, Engine, EngineError};
use crate::event::{self, Failure, Summary, What};
use crate::gather::inputs::Disk;
use crate::history::Failing;
use crate::image::{ImageId, ImageName};
use crate::ledger::{Ledger, LedgerError};
use crate::plan::{Facts, Plan};
use crate::published::state::State;
use crate::remote::Remote;
use crate::run::dispatcher::{Dispatcher, Task};
use crate::run::work::Message;

/// How a run goes about its plan.
#[derive(Clone, Debug)]
pub struct Options {
    /// The id of the run, from the ledger.
    pub run: String,
    /// Why this engine, for people.
    pub engine_note: String,
    /// Running since the user asked for it.
    pub timer: Timer,
    /// How many builds run at once; at least one.
    pub jobs: usize,
    /// After how many failures nothing more is started; `None`: never.
    pub failure_limit: Option<usize>,
    /// How often a build or a push is tried again when the engine or the network fails.
    pub retries: u32,
    /// Whether registries are asked again for images from outside.
    pub pull: bool,
    /// Whether images are pushed that are not in their registries yet.
    pub push: bool,
    /// Whether the tags of all images move in the end, or none does.
    pub atomic: bool,
    /// Where full logs are written, absolute.
    pub logs: PathBuf,
    /// The same, relative to the workspace root.
    pub logs_shown: String,
    /// A directory for what only lives during a build, absolute.
    pub scratch: PathBuf,
}

/// What is told of a run that has nothing to do: see [`Options`].
#[derive(Clone, Debug)]
pub struct Started {
    /// The id of the run.
    pub run: String,
    /// Why this engine, for people.
    pub engine_note: String,
    /// How many builds would have run at once.
    pub jobs: usize,
    /// Running since the user asked for it.
    pub timer: Timer,
}

/// A plan with all that it takes to carry it out.
pub struct Run<'a> {
    /// What decisions rest on.
    pub facts: Facts<'a>,
    /// The plan. What was not looked at is up to date.
    pub plan: &'a Plan,
    /// The contexts that the plan was made with, by image.
    pub entries: Vec<Option<Vec<Entry>>>,
    /// Images to build whatever their keys say.
    pub forced: &'a BTreeSet<ImageId>,
    /// Images that are built, if they are, without the engine's cache of steps.
    pub uncached: &'a BTreeSet<ImageId>,
    /// Images that failed with a key, and how: they are not built with it again.
    pub held: &'a BTreeMap<ImageName, Held>,
    /// Images that failed too often with a key: they are not built with it again, and what stands on
    /// them is built on their last good outputs.
    pub quarantine: &'a BTreeMap<ImageName, Failing>,
    /// Builds.
    pub engine: &'a dyn Engine,
    /// Reads contexts again.
    pub disk: &'a Disk<'a>,
    /// Has what others built, and gets what is built here; `None` where registries are none of our
    /// business but to push to.
    pub remote: Option<&'a Remote>,
    /// Remembers.
    pub ledger: &'a mut Ledger,
    /// How.
    pub options: Options,
}

/// A build that failed for a reason that only other inputs can mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The build key that it failed with.
    pub key: Digest,
    /// How.
    pub failure: Failure,
    /// Whether it was given up because its files changed whenever it was built.
    pub restless: bool,
}

/// A `prepare` that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldPrepare {
    /// What it was run with.
    pub key: Digest,
    /// Whether it was given up because its inputs changed whenever it ran.
    pub restless: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The totals.
    pub summary: Summary,
    /// The builds that failed for a reason that only other inputs can mend.
    pub failed: BTreeMap<ImageName, Held>,
    /// What this run has put into registries.
    pub published: State,
    /// The images of which it is not known where their tags point.
    pub unsettled: BTreeSet<ImageName>,
    /// Why the tags of all images could not be moved together, if they were to be.
    pub astray: Option<EngineError>,
    /// The `prepare` commands that failed.
    pub unprepared: BTreeMap<ImageName, HeldPrepare>,
}

/// Carries out a plan. Returns when every started build has ended; after `cancel` was raised nothing
/// new starts, and what runs is stopped. `mailbox` is one of [`steering`].
pub fn run(
    run: Run<'_>,
    mailbox: Mailbox,
    cancel: &Cancel,
    emit: &mut dyn FnMut(What),
) -> Result<Outcome, LedgerError> {
    let layers = Mutex::new(run.ledger.history().layers.clone());
    let Mailbox { sender, receiver } = mailbox;
    thread::scope(|scope| {
        let spawn = spawner(scope, sender.clone());
        let shared = work::Shared {
            engine: run.engine,
            disk: run.disk,
            remote: run.remote,
            layers: &layers,
            cancel,
            retries: run.options.retries,
        };
        Dispatcher::new(run, shared, sender, emit).run(&receiver, &spawn)
    })
}

/// Tells of a run that has nothing to do: these images, parents first, are up to date.
pub fn nothing_to_do(
    images: impl ExactSizeIterator<Item = ImageName>,
    started: Started,
    emit: &mut dyn FnMut(What),
) -> Summary {
    let selected = images.len();
    emit(What::RunStarted {
        version: event::VERSION,
        run: started.run,
        engine: started.engine_note,
        selected,
        planned: 0,
        jobs: started.jobs,
        predicted: None,
    });
    images.for_each(|image| emit(What::Fresh { image }));
    let duration = started.timer.elapsed();
    let summary = Summary { selected, fresh: selected, duration, ..Summary::default() };
    emit(What::RunFinished { summary: summary.clone() });
    summary
}

/// Starts workers. One that panics says so: the dispatcher would wait for its report for ever.
fn spawner<'scope, 'env: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    sender: Sender<Message>,
) -> impl Fn(Task<'env>) {
    move |task| {
        let sender = sender.clone();
        scope.spawn(move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(task)) {
                sender.send(Message::Panicked(panic)).unwrap_or_default();
            }
        });
    }
}
