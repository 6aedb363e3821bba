//! One build: the call that solves it, the stream that tells of it, and its end.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::pin::pin;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{
    CacheOptions, Exporter, SolveRequest, SolveResponse, StatusRequest, StatusResponse,
};
use tokio::sync::mpsc::{self, Sender};
use tokio::time::Instant;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

use crate::clock::Timer;
use crate::digest::OciDigest;
use crate::engine::buildkit::leftovers::Leftovers;
use crate::engine::buildkit::link::Link;
use crate::engine::buildkit::random_id;
use crate::engine::buildkit::session::Session;
use crate::engine::vertex::failure::{Failure, classify};
use crate::engine::vertex::progress::Tracker;
use crate::engine::vertex::{self, Log};
use crate::engine::{Cancel, EngineError, Progress};

/// How often a raised cancel is looked for.
const TICK: Duration = Duration::from_millis(20);
/// How long the daemon may take to tell the rest of a build that ended, to end one that was given up,
/// or to say why it ended a session.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for the first of it: a build that is refused never begins, and the daemon waits five
/// seconds for it before it says so (moby/buildkit `solver/jobs.go`, `Get`).
const FIRST: Duration = Duration::from_millis(500);
/// How long giving a build up is put off, in milliseconds: the daemon tells what it does some tenths
/// of a second later.
const LATE: u64 = 300;
/// How long it is put off at most, while something begins.
const LATEST: u64 = 1_500;

/// What is solved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Solve {
    /// The options of the Dockerfile frontend.
    pub(crate) frontend: BTreeMap<String, String>,
    /// What the result is made into.
    pub(crate) exporters: Vec<Exporter>,
    /// Caches from and to elsewhere.
    pub(crate) cache: CacheOptions,
    /// What has to be allowed.
    pub(crate) entitlements: Vec<String>,
}

/// Why a solve came to nothing.
pub(crate) enum Ended {
    /// The daemon says so.
    Failed(Status),
    /// It was given up: `cancel` was raised.
    Cancelled,
    /// The daemon has gone silent.
    Silent,
    /// The daemon has ended the session, and does not say why.
    Lost,
}

/// Solves. What the daemon tells goes to the tracker; on return nothing of the build runs any more.
/// Also returned are the images that were written into the daemon's store, whatever came after.
pub(crate) async fn solve(
    link: &Link,
    session: &Session,
    solve: Solve,
    cancel: &Cancel,
    (tracker, progress): (&mut Tracker, &mut dyn FnMut(Progress)),
) -> (Result<SolveResponse, Ended>, Vec<OciDigest>) {
    let reference = random_id();
    let request = request(reference.clone(), session, solve);
    let (sender, mut updates) = mpsc::channel(16);
    let mut control = link.control.clone();
    let watching = tokio::spawn(watch(link.control.clone(), reference, sender));
    let mut leftovers = Leftovers::default();
    let mut raised = None;
    let mut has_told = false;
    let ended = {
        let mut solving = pin!(control.solve(request));
        let mut tick = tokio::time::interval(TICK);
        let mut lost_since = None;
        loop {
            tokio::select! {
                answer = &mut solving => break answer.map_err(Ended::Failed),
                Some(update) = updates.recv() => {
                    has_told = true;
                    leftovers.take(&update);
                    take(update, tracker, progress);
                }
                _ = tick.tick() => {
                    if cancel.is_raised() {
                        let since = raised.get_or_insert_with(Timer::start).elapsed();
                        if since > LATEST || since > LATE && !leftovers.has_beginning() {
                            break Err(Ended::Cancelled);
                        }
                    }
                    if session.is_silent() {
                        link.give_up();
                        break Err(Ended::Silent);
                    }
                    if !session.is_open()
                        && lost_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE
                    {
                        break Err(Ended::Lost);
                    }
                }
            }
        }
    };
    // The call is dropped here, which ends the build; its stream ends when it is over.
    if !matches!(ended, Err(Ended::Silent)) {
        let since = Instant::now();
        let never_began = |has_told: bool| !has_told && matches!(ended, Err(Ended::Failed(_)));
        loop {
            let patience = if never_began(has_told) { FIRST } else { PATIENCE };
            let update = tokio::time::timeout_at(since + patience, updates.recv()).await;
            let Ok(Some(update)) = update else { break };
            has_told = true;
            leftovers.take(&update);
            take(update, tracker, progress);
        }
    }
    watching.abort();
    tracker.finish(progress);
    (ended.map(tonic::Response::into_inner), leftovers.into_images())
}

/// Waits for something that is no solve until `cancel` is raised.
pub(crate) async fn unless_cancelled<T>(
    cancel: &Cancel,
    work: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    cancel.unless_raised(work).await.unwrap_or(Err(EngineError::Cancelled))
}

fn request(reference: String, session: &Session, solve: Solve) -> SolveRequest {
    // Before 0.13 there is one exporter, in fields of its own.
    let first = solve.exporters.first().cloned().unwrap_or_default();
    let exporters = if solve.exporters.len() > 1 { solve.exporters } else { Vec::new() };
    let (exporter_deprecated, exporter_attrs_deprecated) =
        if exporters.is_empty() { (first.r#type, first.attrs) } else { Default::default() };
    SolveRequest {
        r#ref: reference,
        session: session.id.clone(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: solve.frontend.into_iter().collect(),
        exporter_deprecated,
        exporter_attrs_deprecated,
        exporters,
        cache: Some(solve.cache),
        entitlements: solve.entitlements,
        ..SolveRequest::default()
    }
}

type Control = bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient<
    tonic::transport::Channel,
>;

/// Hands on what the daemon tells. That there is nothing to tell is no failure: the solve says why.
async fn watch(mut control: Control, reference: String, sender: Sender<StatusResponse>) {
    let Ok(answer) = control.status(StatusRequest { r#ref: reference }).await else { return };
    let mut updates = answer.into_inner();
    while let Some(Ok(update)) = updates.next().await {
        if sender.send(update).await.is_err() {
            return;
        }
    }
}

fn take(update: StatusResponse, tracker: &mut Tracker, progress: &mut dyn FnMut(Progress)) {
    for vertex in update.vertexes {
        let vertex = vertex::Vertex {
            digest: vertex.digest,
            name: vertex.name,
            started: vertex.started.is_some(),
            completed: vertex.completed.is_some(),
            cached: vertex.cached,
            error: vertex.error,
        };
        tracker.vertex(&vertex, progress);
    }
    for log in update.logs {
        tracker.log(&Log { vertex: log.vertex, data: log.msg }, progress);
    }
}

/// What broke a connection, from the outside to the inside.
pub(crate) fn causes(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = status.source();
    while let Some(error) = cause {
        let inner = error.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        cause = error.source();
    }
    text
}

/// A solve that failed, as what it means for the Dockerfile that was sent.
pub(crate) fn meaning(ended: Ended, tracker: &Tracker, dockerfile: &[u8]) -> EngineError {
    match ended {
        Ended::Cancelled => EngineError::Cancelled,
        Ended::Silent => {
            EngineError::Unavailable("BuildKit has said nothing for a minute".to_owned())
        }
        Ended::Lost => {
            EngineError::Unavailable("BuildKit ended the session of the build".to_owned())
        }
        // What has a cause on this side was never said by the daemon.
        Ended::Failed(status) if status.source().is_some() => {
            let cause = causes(&status);
            EngineError::Unavailable(format!("the connection to BuildKit was lost: {cause}"))
        }
        // Nobody here gave it up.
        Ended::Failed(status) if status.code() == Code::Cancelled => {
            EngineError::Unavailable(format!("BuildKit gave the build up: {}", status.message()))
        }
        Ended::Failed(status) => {
            let (code, details) = (i32::from(status.code()), status.details());
            let failure = Failure::new(code, status.message(), details);
            classify(&failure, tracker, dockerfile)
        }
    }
}
