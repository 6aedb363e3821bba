//! What a worker does: prepares, builds, tags or pushes one image, and sends what came of it.
//!
//! A worker decides nothing about other images and writes no record; its log file is its own.
#![expect(clippy::disallowed_methods, reason = "workers write log files")]

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timer;
use crate::context::Entry;
use crate::diagnostic::Diagnostic;
use crate::digest::{Digest, OciDigest};
use crate::engine::{Built, Cancel, Content, Engine, EngineError, Progress, Request};
use crate::event::{Failure, What};
use crate::gather::inputs::Disk;
use crate::history::{Output, Prepared, Record};
use crate::image::{ImageId, ImageName};
use crate::published;
use crate::remote::Remote;
use crate::run::job::{Job, Log};
use crate::run::publish::{self, Sent};
use crate::run::steering::Renewal;

/// The longest wait before a build or a push is tried again.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// How many lines of a log a failure shows.
const TAIL: usize = 20;

/// What all workers of a run share.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) disk: &'a Disk<'a>,
    pub(crate) remote: Option<&'a Remote>,
    /// The layers that were ever read, by diff id.
    pub(crate) layers: &'a Mutex<BTreeMap<OciDigest, Digest>>,
    pub(crate) cancel: &'a Cancel,
    /// How often what the engine or the network failed to do is tried again.
    pub(crate) retries: u32,
}

/// What a worker sends to the dispatcher.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something to tell on.
    Tell(What),
    /// A `prepare` was begun with this key.
    Preparing(ImageId, Digest),
    /// A `prepare` ended.
    Prepared(ImageId, Result<(Prepared, Vec<Entry>), Unprepared>),
    /// A build ended.
    Built(ImageId, Result<Outcome, Failed>),
    /// An output was tagged again.
    Tagged(ImageId, Result<(), Failed>),
    /// An image was pushed.
    Pushed(ImageId, Result<Sent, Failed>),
    /// A worker panicked: a bug.
    Panicked(Box<dyn Any + Send>),
    /// From outside: what is known of these images now.
    Renewed(Vec<Renewal>),
    /// From outside: the workspace is another one, and builds of these images are outdated.
    Replaced(BTreeSet<ImageId>),
}

/// Why a worker could not do its work.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The image failed.
    Image(Failure),
    /// The run was cancelled.
    Cancelled,
}

/// Why an image is not prepared.
#[derive(Debug)]
pub(crate) enum Unprepared {
    /// The inputs of its `prepare` changed while it ran.
    Moved(Failure),
    /// It could not be prepared.
    Failed(Failed),
}

/// A build that ended well.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was built from what was fingerprinted.
    Done(Box<Done>),
    /// A file moved while the build was reading it: this is the context as it is now.
    Moved(Vec<Entry>),
    /// Its registry has an earlier build of the same key: what that came out as, without its leaves.
    Adopted(Box<Record>),
    /// The engine read more than we know of: these paths. This is the whole context.
    Widened(Vec<String>, Vec<Entry>),
}

/// What came out of a build.
#[derive(Debug)]
pub(crate) struct Done {
    /// The output to record: the previous one where the content is the same.
    pub(crate) output: Output,
    /// The class of the store that has it.
    pub(crate) class: String,
    pub(crate) content: Digest,
    pub(crate) unchanged: bool,
    pub(crate) steps: u32,
    pub(crate) cached_steps: u32,
    pub(crate) duration: u64,
    pub(crate) layers: Vec<(OciDigest, Digest)>,
}

/// Hands lines on, writes them to the log file, and keeps the last ones.
pub(super) struct LogWriter<'a> {
    image: ImageName,
    file: Option<BufWriter<File>>,
    tail: VecDeque<String>,
    sender: &'a Sender<Message>,
}

impl<'a> LogWriter<'a> {
    /// Appends to the file: a prepare and a build of one run share it.
    pub(super) fn new(image: &ImageName, log: &Log, sender: &'a Sender<Message>) -> Self {
        let file = File::options().create(true).append(true).open(&log.path);
        if let Err(error) = &file {
            let message = format!("cannot write {}: {error}", log.shown);
            tell(sender, What::Warning { image: Some(image.clone()), message });
        }
        let file = file.ok().map(BufWriter::new);
        Self { image: image.clone(), file, tail: VecDeque::new(), sender }
    }

    fn line(&mut self, line: &str) {
        self.write(line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        tell(self.sender, What::Log { image: self.image.clone(), line: line.to_owned() });
    }

    fn write(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return };
        if writeln!(file, "{line}").is_err() {
            self.file = None;
        }
    }

    pub(super) fn progress(&mut self, progress: Progress) {
        match progress {
            Progress::Log(line) => self.line(&line),
            Progress::Warning(message) => {
                let image = Some(self.image.clone());
                tell(self.sender, What::Warning { image, message });
            }
            Progress::Step { number, total, text, cached } => {
                let of = total.map_or_else(String::new, |total| format!("/{total}"));
                let mark = if cached { " (cached)" } else { "" };
                self.write(&format!("[{number}{of}] {text}{mark}"));
                let image = self.image.clone();
                tell(self.sender, What::Step { image, number, total, text, cached });
            }
        }
    }

    pub(super) fn failure(self, message: String, log: &Log) -> Failure {
        Failure {
            message,
            path: None,
            line: None,
            tail: self.tail.into(),
            transient: false,
            log: Some(log.shown.clone()),
        }
    }
}

fn tell(sender: &Sender<Message>, what: What) {
    // The dispatcher outlives its workers; if it is gone, so is the run, and nobody listens.
    sender.send(Message::Tell(what)).unwrap_or_default();
}

/// Runs the `prepare` of an image and reads its context.
pub(crate) fn prepare(
    shared: Shared<'_>,
    id: ImageId,
    name: &ImageName,
    log: &Log,
    sender: &Sender<Message>,
) {
    let mut writer = LogWriter::new(name, log, sender);
    let command = shared.disk.prepare_command(id);
    writer.progress(Progress::Step {
        number: 1,
        total: Some(1),
        text: format!("prepare {command}"),
        cached: false,
    });
    let begun = |key| sender.send(Message::Preparing(id, key)).unwrap_or_default();
    let prepared = shared.disk.prepare(id, shared.cancel, &begun, &mut |line| writer.line(line));
    let failed = |failure| Err(Unprepared::Failed(Failed::Image(failure)));
    let result = match prepared {
        Ok(prepared) => match shared.disk.entries(id) {
            Ok(entries) => Ok((prepared, entries)),
            Err(problems) => failed(writer.failure(first_error(&problems), log)),
        },
        Err(error) if error.is_cancelled() => Err(Unprepared::Failed(Failed::Cancelled)),
        Err(error) if error.is_moved() => {
            Err(Unprepared::Moved(writer.failure(with_causes(&error), log)))
        }
        Err(error) => failed(writer.failure(with_causes(&error), log)),
    };
    sender.send(Message::Prepared(id, result)).unwrap_or_default();
}

/// Points the references of an image at an output of the store.
pub(crate) fn restore(shared: Shared<'_>, id: ImageId, output: &Output, sender: &Sender<Message>) {
    let tagged = shared.engine.tag(&output.id, &output.references);
    let result = tagged.map_err(|error| {
        Failed::Image(Failure {
            message: with_causes(&error),
            path: None,
            line: None,
            tail: Vec::new(),
            transient: is_transient(&error),
            log: None,
        })
    });
    sender.send(Message::Tagged(id, result)).unwrap_or_default();
}

/// Builds an image; see [`Outcome`].
pub(crate) fn build(shared: Shared<'_>, job: &Job, sender: &Sender<Message>) {
    let id = job.id;
    let mut writer = LogWriter::new(&job.request.image, &job.log, sender);
    if let Some(record) = publish::look_up(shared, job, &mut writer) {
        let adopted = Ok(Outcome::Adopted(Box::new(record)));
        return sender.send(Message::Built(id, adopted)).unwrap_or_default();
    }
    let built = patiently(shared, &job.request.image, sender, || {
        let timer = Timer::start();
        let tell = &mut |said| writer.progress(said);
        let built = shared.engine.build(&job.request, shared.cancel, tell)?;
        Ok((built, timer.elapsed()))
    });
    let result = match built {
        Err(EngineError::Unread { paths }) if shared.disk.wide.add(id) => {
            let entries = shared.disk.entries(id).map_err(Stop::Context);
            entries.map(|entries| Outcome::Widened(paths, entries))
        }
        Err(EngineError::ContextMoved { .. }) => finish(shared, job, None),
        Err(error) => Err(Stop::Engine(error)),
        Ok(built) => finish(shared, job, Some(built)),
    };
    clear_away(&job.request, sender);
    let result = match result {
        Ok(outcome) => Ok(outcome),
        Err(Stop::Engine(EngineError::Cancelled)) => Err(Failed::Cancelled),
        Err(_) if shared.cancel.is_raised() => Err(Failed::Cancelled),
        Err(stop) => Err(Failed::Image(failure(job, stop, writer))),
    };
    sender.send(Message::Built(id, result)).unwrap_or_default();
}

/// Why a build came to nothing.
enum Stop {
    Engine(EngineError),
    Context(Vec<Diagnostic>),
    TooLarge(String),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// Asks the engine, and again where the engine or the network failed and not the Dockerfile.
pub(super) fn patiently<T>(
    shared: Shared<'_>,
    image: &ImageName,
    sender: &Sender<Message>,
    mut ask: impl FnMut() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let mut waits = (0..shared.retries).map(wait_before);
    loop {
        let error = match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(wait) = waits.next().filter(|_| is_transient(&error)) else { return Err(error) };
        let message = format!("{}; trying again in {} s", with_causes(&error), wait.as_secs());
        tell(sender, What::Warning { image: Some(image.clone()), message });
        if shared.cancel.wait(wait) {
            return Err(EngineError::Cancelled);
        }
    }
}

/// How long is waited before a retry: 1, 4, 16 and then 60 seconds each.
fn wait_before(retry: u32) -> Duration {
    LONGEST_WAIT.min(Duration::from_secs(4_u64.saturating_pow(retry)))
}

/// Checks that what was hashed is what was built, finds the content id, and moves the references.
fn finish(shared: Shared<'_>, job: &Job, built: Option<(Built, u64)>) -> Result<Outcome, Stop> {
    let Some((built, duration)) = built else {
        return shared.disk.entries(job.id).map(Outcome::Moved).map_err(Stop::Context);
    };
    let id = &built.output.id;
    let is_known = job.previous.as_ref().is_some_and(|previous| previous.output.id == *id);
    let outcome = accept(shared, job, &built, duration);
    if outcome.is_err() && !is_known {
        // Nobody will ever ask for it. What went wrong first is what is told.
        shared.engine.remove(id).unwrap_or_default();
    }
    outcome
}

/// The same for an image that was built, which the store is rid of if it comes to nothing.
fn accept(shared: Shared<'_>, job: &Job, built: &Built, duration: u64) -> Result<Outcome, Stop> {
    let now = shared.disk.entries(job.id).map_err(Stop::Context)?;
    if now != job.request.files {
        shared.engine.remove(&built.output.id)?;
        return Ok(Outcome::Moved(now));
    }
    if let Some((limit, layer)) = &job.size_limit
        && built.output.size > *limit
    {
        return Err(Stop::TooLarge(too_large(built.output.size, *limit, layer)));
    }
    let known = known_layers(shared, &built.output);
    let Content { id: content, layers } = shared.engine.content(built, &known, shared.cancel)?;
    lock(shared.layers).extend(layers.iter().cloned());
    let (output, unchanged) = keep(shared.engine, job, built, content)?;
    let is_remote =
        unchanged && job.previous.as_ref().is_some_and(|it| it.engine == published::CLASS);
    let class = if is_remote { published::CLASS } else { &job.class };
    Ok(Outcome::Done(Box::new(Done {
        output,
        class: class.to_owned(),
        content,
        unchanged,
        steps: built.steps,
        cached_steps: built.cached_steps,
        duration,
        layers,
    })))
}

/// What is said of an image that its layer finds too large; sizes in bytes.
pub(crate) fn too_large(size: u64, limit: u64, layer: &str) -> String {
    format!("it weighs {size} bytes, and layer `{layer}` allows {limit}")
}

/// Decides which artefact stands for the image from now on. Where the content is the same it is the
/// previous one: children pinned to it keep their engine's cache, and no tag moves.
fn keep(
    engine: &dyn Engine,
    job: &Job,
    built: &Built,
    content: Digest,
) -> Result<(Output, bool), EngineError> {
    let references = job.references.clone();
    let same = job.previous.as_ref().filter(|previous| previous.content == content);
    let Some(previous) = same else {
        engine.tag(&built.output.id, &references)?;
        return Ok((Output { references, ..built.output.clone() }, false));
    };
    if previous.engine == published::CLASS {
        engine.remove(&built.output.id)?;
        return Ok((previous.output.clone(), true));
    }
    engine.tag(&previous.output.id, &references)?;
    if previous.output.id != built.output.id {
        engine.remove(&built.output.id)?;
    }
    Ok((Output { references, ..previous.output.clone() }, true))
}

fn known_layers(shared: Shared<'_>, output: &Output) -> BTreeMap<OciDigest, Digest> {
    let layers = lock(shared.layers);
    let known = output.diff_ids.iter().filter_map(|id| Some((id.clone(), *layers.get(id)?)));
    known.collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clear_away(request: &Request, sender: &Sender<Message>) {
    if let Err(error) = request.scratch.remove() {
        let message = format!("cannot remove {}: {error}", request.scratch.path().display());
        tell(sender, What::Warning { image: Some(request.image.clone()), message });
    }
}

fn failure(job: &Job, stop: Stop, writer: LogWriter<'_>) -> Failure {
    let error = match stop {
        Stop::TooLarge(message) => return writer.failure(message, &job.log),
        Stop::Context(problems) => return writer.failure(first_error(&problems), &job.log),
        Stop::Engine(error) => error,
    };
    let line = match &error {
        EngineError::Step { line, .. } => *line,
        _ => None,
    };
    let mut failure = writer.failure(with_causes(&error), &job.log);
    failure.transient = is_transient(&error);
    if let EngineError::Step { .. } = error {
        failure.path = Some(job.dockerfile.to_string());
        failure.line = line;
    }
    failure
}

/// A failure that trying again may mend.
pub(crate) fn passing(message: &str) -> Failure {
    let message = message.to_owned();
    Failure { message, path: None, line: None, tail: Vec::new(), transient: true, log: None }
}

pub(super) fn is_transient(error: &EngineError) -> bool {
    matches!(error, EngineError::Unavailable(_))
}

pub(crate) fn first_error(problems: &[Diagnostic]) -> String {
    let first = problems.iter().find(|problem| problem.is_error()).or(problems.first());
    first.map_or_else(|| "its context cannot be read".to_owned(), |problem| problem.message.clone())
}

/// An error and what caused it, on one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
