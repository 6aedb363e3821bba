//! The thread that owns the state of a run.

mod ends;
mod full;
mod prepare;
mod steer;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use crate::clock::{self, Timer};
use crate::context::Entry;
use crate::digest::Digest;
use crate::engine::Cancel;
use crate::event::{self, Summary, What};
use crate::fingerprint;
use crate::fingerprint::reason::Reason;
use crate::graph::{Edge, Image};
use crate::history::{Ended, Record};
use crate::image::{ImageId, ImageName};
use crate::ledger::{self, LedgerError};
use crate::plan::{self, Decision, Durations, Row, Step, Verdict, decide};
use crate::published::state::State;
use crate::run::dispatcher::ends::End;
use crate::run::dispatcher::prepare::Preparing;
use crate::run::dispatcher::steer::Again;
use crate::run::job::Log;
use crate::run::summary::{self, Finished};
use crate::run::together::Held as HeldTags;
use crate::run::work::{self, Failed, Message, Shared};
use crate::run::{Held, HeldPrepare, Options, Outcome, Run};
use crate::schedule::Schedule;

/// How often a raised cancel is looked for while nothing happens.
const TICK: Duration = Duration::from_millis(50);
/// How often a build is begun again because its files moved under it.
const MOVES: u32 = 3;

/// What a worker does.
pub(crate) type Task<'a> = Box<dyn FnOnce() + Send + 'a>;
/// Starts a worker.
pub(crate) type Spawn<'f, 'a> = &'f dyn Fn(Task<'a>);

/// The state of a run.
pub(crate) struct Dispatcher<'a, 'e> {
    run: Run<'a>,
    shared: Shared<'a>,
    sender: Sender<Message>,
    emit: &'e mut dyn FnMut(What),
    schedule: Schedule,
    steps: BTreeMap<ImageId, &'a Step>,
    durations: Durations,
    /// What stands for each image now: its record where it is fresh, or the one of this run.
    current: Vec<Option<Arc<Record>>>,
    source_keys: Vec<Option<Digest>>,
    /// When the work on an image began, and how often its files moved since.
    begun: BTreeMap<ImageId, (Timer, u32)>,
    /// The images that have a log: one that is only restored has none.
    logged: BTreeSet<ImageId>,
    /// The images that are being pushed, and how they end when that is done.
    pushing: BTreeMap<ImageId, (Ended, End)>,
    /// The images whose `prepare` has to run before they are decided.
    unprepared: BTreeSet<ImageId>,
    /// Those whose `prepare` is on.
    preparing: BTreeMap<ImageId, Preparing>,
    /// The builds that are on, and what stops each.
    building: BTreeMap<ImageId, Cancel>,
    /// What is done next with an image whose build was stopped.
    renewed: BTreeMap<ImageId, Again>,
    /// How often an image was begun again because of other files.
    renewals: BTreeMap<ImageId, u32>,
    /// Whether nothing more is started, because another plan is due.
    replaced: bool,
    /// The keys of what was begun to be built.
    keys: BTreeMap<ImageId, Digest>,
    /// What failed and is not to be tried again as it is.
    failed: BTreeMap<ImageName, Held>,
    /// What this run has put into registries.
    published: State,
    /// The images whose push began and has not ended well.
    unsettled: BTreeSet<ImageName>,
    /// The tags that move in the end.
    held: Vec<HeldTags>,
    /// The same of `prepare` commands.
    failed_prepares: BTreeMap<ImageName, HeldPrepare>,
    /// The images whose builds take nothing from the engine's cache of steps.
    uncached: BTreeSet<ImageId>,
    /// How many workers have not reported yet.
    workers: usize,
    finished: Vec<Finished>,
    interrupted: bool,
    /// Whether a `prepare` ran: it may have written what another image reads.
    has_prepared: bool,
}

impl<'a, 'e> Dispatcher<'a, 'e> {
    pub(crate) fn new(
        run: Run<'a>,
        shared: Shared<'a>,
        sender: Sender<Message>,
        emit: &'e mut dyn FnMut(What),
    ) -> Self {
        let plan = run.plan;
        let history = run.ledger.history();
        let durations = Durations::new(&run.facts, history);
        let graph = run.facts.graph;
        // How long a push takes is not known: it is the least of the work.
        let cost = |step: &Step| match step.decision {
            Decision::Push => (step.image, 0),
            _ => (step.image, durations.or_guess(step.image, graph.image(step.image).spec.layer)),
        };
        let work: Vec<(ImageId, u64)> = plan.work().map(cost).collect();
        let steps: BTreeMap<ImageId, &Step> = plan.work().map(|step| (step.image, step)).collect();
        // What is fresh, and parents that are left out, stand as they were recorded.
        let stands = |(id, image): (ImageId, &Image)| {
            let record = history.records.get(&image.spec.name);
            record.filter(|_| !steps.contains_key(&id)).cloned()
        };
        let mut current: Vec<Option<Arc<Record>>> = graph.iter().map(stands).collect();
        for step in plan.steps.iter().filter(|step| step.decision == Decision::Fresh) {
            if let Some(record) = &step.record {
                current[step.image.index()] = Some(Arc::clone(record));
            }
        }
        let unprepared = steps.values().filter(|step| prepare::is_due(step));
        Self {
            unprepared: unprepared.map(|step| step.image).collect(),
            preparing: BTreeMap::new(),
            schedule: Schedule::new(graph, &work),
            steps,
            source_keys: plan::source_keys(&run.facts, &run.entries),
            durations,
            current,
            begun: BTreeMap::new(),
            logged: BTreeSet::new(),
            pushing: BTreeMap::new(),
            building: BTreeMap::new(),
            renewed: BTreeMap::new(),
            renewals: BTreeMap::new(),
            replaced: false,
            keys: BTreeMap::new(),
            failed: BTreeMap::new(),
            published: State::new(),
            unsettled: BTreeSet::new(),
            held: Vec::new(),
            failed_prepares: BTreeMap::new(),
            uncached: BTreeSet::new(),
            workers: 0,
            finished: Vec::new(),
            interrupted: false,
            has_prepared: false,
            run,
            shared,
            sender,
            emit,
        }
    }

    pub(crate) fn run(
        mut self,
        messages: &Receiver<Message>,
        spawn: Spawn<'_, 'a>,
    ) -> Result<Outcome, LedgerError> {
        let timer = self.run.options.timer;
        self.announce()?;
        let result = self.work_off(messages, spawn);
        if result.is_err() {
            // The workers must end before the scope can; what they still say is not recorded.
            self.shared.cancel.raise();
            while self.workers > 0 {
                match messages.recv() {
                    Ok(
                        Message::Tell(_)
                        | Message::Preparing(..)
                        | Message::Renewed(_)
                        | Message::Replaced(_),
                    ) => (),
                    Ok(_) => self.workers -= 1,
                    Err(_) => break,
                }
            }
            result?;
        }
        let astray = self.move_together()?;
        let summary = self.summary(timer.elapsed());
        if !self.steps.is_empty() {
            self.run.ledger.append([ledger::Entry::RunFinished { finished: clock::now() }])?;
        }
        (self.emit)(What::RunFinished { summary: summary.clone() });
        Ok(Outcome {
            summary,
            failed: self.failed,
            published: self.published,
            unsettled: self.unsettled,
            astray,
            unprepared: self.failed_prepares,
        })
    }

    fn announce(&mut self) -> Result<(), LedgerError> {
        if !self.steps.is_empty() {
            let run = self.run.options.run.clone();
            let started = ledger::Entry::RunStarted { run, started: clock::now() };
            self.run.ledger.append([started])?;
        }
        let predicted = self.predicted();
        let Options { run, engine_note, jobs, .. } = &self.run.options;
        (self.emit)(What::RunStarted {
            version: event::VERSION,
            run: run.clone(),
            engine: engine_note.clone(),
            selected: self.run.plan.len(),
            planned: self.steps.len(),
            jobs: *jobs,
            predicted,
        });
        for row in self.run.plan.rows() {
            let what = match row {
                Row::Step(step) => self.announcement(step),
                Row::Beside(beside) => What::Fresh { image: beside.name.clone() },
            };
            (self.emit)(what);
        }
        Ok(())
    }

    /// What is told of a step before anything is done.
    fn announcement(&self, step: &Step) -> What {
        let image = self.name(step.image);
        if step.decision == Decision::Fresh {
            return What::Fresh { image };
        }
        What::Planned {
            image,
            reasons: step.reasons.clone(),
            waits_for: step.waits_for.iter().map(|id| self.name(*id)).collect(),
            predicted: self.predicted_of(step.image),
        }
    }

    /// How long the build of an image will take, where its history tells.
    fn predicted_of(&self, id: ImageId) -> Option<u64> {
        let is_built = self.steps.get(&id).is_some_and(|step| step.decision != Decision::Push);
        self.durations.of(id).filter(|_| is_built)
    }

    /// The least that the run can take, where every image has a history.
    fn predicted(&self) -> Option<u64> {
        let builds = self.steps.values().filter(|step| step.decision != Decision::Push);
        let known: Option<Vec<u64>> = builds.map(|step| self.durations.of(step.image)).collect();
        let known = known.filter(|known| !known.is_empty())?;
        let work: u64 = known.iter().sum();
        let longest = self.steps.keys().map(|id| self.schedule.remaining(*id)).max()?;
        Some(longest.max(work / self.run.options.jobs as u64))
    }

    fn work_off(
        &mut self,
        messages: &Receiver<Message>,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        loop {
            self.stop_if_told()?;
            while self.workers < self.run.options.jobs
                && let Some(id) = self.schedule.start()
            {
                self.begin(id, spawn)?;
            }
            if self.workers == 0 && self.schedule.open() == 0 {
                return Ok(());
            }
            match messages.recv_timeout(TICK) {
                Ok(message) => self.receive(message, spawn)?,
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// Starts nothing more once the user, or the limit of failures, says so.
    fn stop_if_told(&mut self) -> Result<(), LedgerError> {
        let failures = self.finished.iter().filter(|end| end.ended == Ended::Failed).count();
        let limit = self.run.options.failure_limit.is_some_and(|limit| failures >= limit);
        if self.shared.cancel.is_raised() && !self.interrupted {
            self.interrupted = true;
            (self.emit)(What::Interrupted);
        }
        if self.interrupted || self.replaced || limit {
            for id in self.schedule.abandon() {
                self.end(id, Ended::NotReached, End::default())?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, id: ImageId, spawn: Spawn<'_, 'a>) -> Result<(), LedgerError> {
        let step = self.steps[&id];
        if step.decision == Decision::Push {
            self.current[id.index()] =
                self.run.ledger.history().records.get(&self.name(id)).cloned();
            return self.stand(id, Ended::Pushed, End::default(), spawn);
        }
        if self.unprepared.contains(&id) { self.prepare(id, spawn) } else { self.decide(id, spawn) }
    }

    /// The parents have ended: what does the image need now?
    fn decide(&mut self, id: ImageId, spawn: Spawn<'_, 'a>) -> Result<(), LedgerError> {
        let facts = self.run.facts;
        if self.has_prepared && !self.begun.contains_key(&id) {
            match self.shared.disk.entries(id) {
                Ok(entries) => self.run.entries[id.index()] = Some(entries),
                Err(problems) => {
                    return self.fail(id, work::passing(&work::first_error(&problems)));
                }
            }
        }
        let Some(entries) = self.run.entries[id.index()].take() else {
            return self.fail(id, work::passing("its context was not read: run again"));
        };
        let (key, mut verdict) = {
            let parent = |edge: &Edge| self.parent_identity(edge);
            let inputs = facts.inputs(id, &entries);
            let key = fingerprint::key(&inputs, &parent);
            (key, decide(&facts, self.run.ledger.history(), (id, &inputs), key, &parent))
        };
        if self.run.forced.contains(&id) {
            verdict = match verdict {
                Verdict::Rebuild(reasons) => Verdict::Rebuild(reasons),
                Verdict::Fresh(_) | Verdict::Restore(_) => Verdict::Rebuild(vec![Reason::Forced]),
            };
        }
        self.run.entries[id.index()] = Some(entries);
        match verdict {
            Verdict::Fresh(record) => self.cut_off(id, record, spawn),
            Verdict::Restore(record) => self.restore(id, &record, key, spawn),
            Verdict::Rebuild(reasons) => match self.run.held.get(&self.name(id)) {
                Some(held) if held.key == key && !self.run.forced.contains(&id) => {
                    self.fail_again(id, held.clone())
                }
                _ if self.is_quarantined(id, key) => self.quarantine(id),
                _ => self.build(id, key, reasons, spawn),
            },
        }
    }

    fn parent_identity(&self, edge: &Edge) -> fingerprint::Parent<'a> {
        let record = self.current[edge.parent.index()].as_ref();
        let record = record.expect("an image is decided after its parents have ended well");
        (self.run.facts.graph.name(edge.parent), self.run.facts.identity(edge.parent, record))
    }

    fn build(
        &mut self,
        id: ImageId,
        key: Digest,
        reasons: Vec<Reason>,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        let job = self.job(id, key, &reasons);
        if !self.logged.contains(&id) {
            self.started(id, reasons);
        }
        self.run.ledger.append([ledger::Entry::Intent { image: self.name(id) }])?;
        let (shared, sender) = (self.shared, self.sender.clone());
        let cancel = shared.cancel.child();
        self.building.insert(id, cancel.clone());
        self.keys.insert(id, key);
        self.workers += 1;
        spawn(Box::new(move || work::build(Shared { cancel: &cancel, ..shared }, &job, &sender)));
        Ok(())
    }

    fn started(&mut self, id: ImageId, reasons: Vec<Reason>) {
        self.begun.entry(id).or_insert_with(|| (Timer::start(), 0));
        self.logged.insert(id);
        let log = Log::of(&self.run, id);
        let (image, predicted) = (self.name(id), self.predicted_of(id));
        (self.emit)(What::Started { image, reasons, log: log.shown, predicted });
    }

    fn receive(&mut self, message: Message, spawn: Spawn<'_, 'a>) -> Result<(), LedgerError> {
        match message {
            Message::Tell(what) => {
                (self.emit)(what);
                return Ok(());
            }
            Message::Preparing(id, key) => {
                self.prepare_begun(id, key);
                return Ok(());
            }
            Message::Renewed(images) => return self.renew(images),
            Message::Replaced(outdated) => {
                self.replace(&outdated);
                return Ok(());
            }
            _ => self.workers -= 1,
        }
        match message {
            Message::Tell(_)
            | Message::Preparing(..)
            | Message::Renewed(_)
            | Message::Replaced(_) => Ok(()),
            Message::Panicked(panic) => {
                self.shared.cancel.raise();
                resume_unwind(panic)
            }
            Message::Prepared(id, ended) => self.prepare_ended(id, ended, spawn),
            Message::Built(id, ended) => self.build_ended(id, ended, spawn),
            Message::Tagged(id, Ok(())) => self.restored(id, spawn),
            Message::Pushed(id, Ok(sent)) => self.pushed(id, sent),
            Message::Tagged(id, Err(failed)) | Message::Pushed(id, Err(failed)) => match failed {
                Failed::Cancelled => self.end(id, Ended::NotReached, End::default()),
                Failed::Image(failure) => self.fail(id, failure),
            },
        }
    }

    /// Decides once more with other files.
    fn again(
        &mut self,
        id: ImageId,
        entries: Vec<Entry>,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        self.source_keys[id.index()] =
            plan::source_key(&self.run.facts, id, &entries, &self.source_keys);
        self.run.entries[id.index()] = Some(entries);
        if self.shared.cancel.is_raised() {
            return self.end(id, Ended::NotReached, End::default());
        }
        self.decide(id, spawn)
    }

    /// Our reading of the Dockerfile was incomplete: the whole context counts until the Dockerfile
    /// changes.
    fn widened(&mut self, id: ImageId, paths: &[String]) -> Result<(), LedgerError> {
        let image = self.name(id);
        let dockerfile = Digest::of_content(&self.shared.disk.dockerfile(id));
        self.run.ledger.append([ledger::Entry::Widened { image: image.clone(), dockerfile }])?;
        let message = format!(
            "the build reads {}, which imgraph does not find in its Dockerfile: please report that. \
             Its whole context counts from now on; building again",
            paths.join(", ")
        );
        (self.emit)(What::Warning { image: Some(image), message });
        Ok(())
    }

    fn moved(
        &mut self,
        id: ImageId,
        entries: Vec<Entry>,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        let image = Some(self.name(id));
        if self.moves_too_often(id) {
            return self.fail_moving(id, &entries);
        }
        let message = "its files changed while it was built; building again".to_owned();
        (self.emit)(What::Warning { image, message });
        self.again(id, entries, spawn)
    }

    /// Counts that the files of an image moved under its build, or its `prepare`.
    fn moves_too_often(&mut self, id: ImageId) -> bool {
        let moves = self.begun.get_mut(&id).map_or(0, |(_, moves)| {
            *moves += 1;
            *moves
        });
        moves >= MOVES
    }

    fn name(&self, id: ImageId) -> ImageName {
        self.run.facts.graph.name(id).clone()
    }

    fn summary(&self, duration: u64) -> Summary {
        let logs = (!self.logged.is_empty()).then(|| self.run.options.logs_shown.clone());
        let (interrupted, replaced) = (self.interrupted, self.replaced);
        Summary {
            logs,
            interrupted,
            replaced,
            ..summary::summary(&self.run, &self.finished, duration)
        }
    }
}
