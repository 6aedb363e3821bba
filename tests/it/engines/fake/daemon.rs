//! A `buildkitd` that does what a test says, and nothing else: on a socket, a port, or a port with
//! mutual TLS.
//!
//! What a solve does is a function of the test, which gets the session that came with it and a place
//! to tell its progress. Connections go through a task each, so that they can be cut.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use bollard_buildkit_proto::moby::buildkit::v1::control_server::{Control, ControlServer};
use bollard_buildkit_proto::moby::buildkit::v1::types::BuildkitVersion;
use bollard_buildkit_proto::moby::buildkit::v1::{
    BuildHistoryEvent, BuildHistoryRequest, BytesMessage, DiskUsageRequest, DiskUsageResponse,
    InfoRequest, InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest, SolveRequest,
    SolveResponse, StatusRequest, StatusResponse, UpdateBuildHistoryRequest,
    UpdateBuildHistoryResponse, UsageRecord,
};
use imgraph::engine::docker::endpoint::Endpoint;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::session::Session;

/// Bytes that wait in a pipe.
const PIPE: usize = 64 * 1024;

/// What one solve ends with.
pub(super) type Answer = Result<SolveResponse, Status>;
type Script = Arc<dyn Fn(Solving) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;
type Updates = mpsc::Sender<Result<StatusResponse, Status>>;
type Told = ReceiverStream<Result<StatusResponse, Status>>;

/// A solve that was called.
pub(super) struct Solving {
    /// The session that it names.
    pub(super) session: Arc<Session>,
    /// Takes what its status stream tells, which ends when this is gone.
    pub(super) updates: Updates,
    daemon: Arc<State>,
}

impl Solving {
    /// Tells something; a client that does not listen is no failure.
    pub(super) async fn tell(&self, update: StatusResponse) {
        self.updates.send(Ok(update)).await.unwrap_or_default();
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        self.daemon.cut();
    }
}

/// The daemon. It is gone when it is dropped.
pub(super) struct Daemon {
    runtime: Option<Runtime>,
    state: Arc<State>,
    listener: AbortHandle,
    /// Where it listens.
    pub(super) endpoint: Endpoint,
}

/// Both ends of what is told of a build.
type Watched = (Option<Updates>, Option<Told>);

/// What it was asked for so far, and how it answers.
#[derive(Default)]
struct State {
    script: Mutex<Option<Script>>,
    /// `None`: it is so old that it does not know the question.
    version: Mutex<Option<String>>,
    statuses: Mutex<BTreeMap<String, Watched>>,
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
    connections: Mutex<Vec<AbortHandle>>,
    mute: Mutex<Mute>,
}

/// What it does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mute {
    /// Nothing.
    #[default]
    No,
    /// It takes connections and reads nothing.
    Connections,
    /// It does not say what it is.
    Info,
    /// It opens no session.
    Sessions,
}

impl Daemon {
    /// One that listens on a socket in a directory.
    pub(super) fn on_socket(directory: &Path) -> Self {
        let path = directory.join("buildkitd.sock");
        let runtime = runtime();
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&path).unwrap()
        };
        let state = State::new();
        let (incoming, connections) = mpsc::channel(8);
        let served = Arc::clone(&state);
        let accepting = runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                served.take(stream, &incoming);
            }
        });
        Self::serve(runtime, state, accepting.abort_handle(), connections, Endpoint::Unix(path))
    }

    /// One that listens on a port, with TLS if told how.
    pub(super) fn on_port(tls: Option<ServerConfig>) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State::new();
        let (incoming, connections) = mpsc::channel(8);
        let served = Arc::clone(&state);
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let accepting = runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match acceptor.clone().filter(|_| *lock(&served.mute) != Mute::Connections) {
                    None => served.take(stream, &incoming),
                    Some(acceptor) => {
                        let (served, incoming) = (Arc::clone(&served), incoming.clone());
                        tokio::spawn(secure(acceptor, stream, served, incoming));
                    }
                }
            }
        });
        let endpoint = Endpoint::Tcp { host: "127.0.0.1".to_owned(), port, tls: None };
        Self::serve(runtime, state, accepting.abort_handle(), connections, endpoint)
    }

    fn serve(
        runtime: Runtime,
        state: Arc<State>,
        listener: AbortHandle,
        connections: mpsc::Receiver<std::io::Result<DuplexStream>>,
        endpoint: Endpoint,
    ) -> Self {
        let service = ControlServer::new(Service(Arc::clone(&state)))
            .max_encoding_message_size(usize::MAX)
            .max_decoding_message_size(usize::MAX);
        runtime.spawn(async move {
            let server = Server::builder().add_service(service);
            server.serve_with_incoming(ReceiverStream::new(connections)).await.unwrap();
        });
        Self { runtime: Some(runtime), state, listener, endpoint }
    }

    /// Says what each solve does from now on.
    pub(super) fn solves<F: Future<Output = Answer> + Send + 'static>(
        &self,
        script: impl Fn(Solving) -> F + Send + Sync + 'static,
    ) {
        *lock(&self.state.script) = Some(Arc::new(move |solving| Box::pin(script(solving))));
    }

    /// Says which version it is; `None` is one that cannot tell.
    pub(super) fn is_version(&self, version: Option<&str>) {
        *lock(&self.state.version) = version.map(str::to_owned);
    }

    /// Says what it does not answer from now on.
    pub(super) fn is_mute(&self, mute: Mute) {
        *lock(&self.state.mute) = mute;
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        self.state.cut();
    }

    /// Is gone: nobody listens any more.
    pub(super) fn die(&self) {
        self.listener.abort();
        self.cut();
    }

    /// How many connections there were.
    pub(super) fn connections(&self) -> usize {
        lock(&self.state.connections).len()
    }

    /// How many sessions there were.
    pub(super) fn sessions(&self) -> usize {
        lock(&self.state.sessions).len()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// A refused client can still read why: what it sends is read to its end.
async fn secure(
    acceptor: TlsAcceptor,
    stream: tokio::net::TcpStream,
    state: Arc<State>,
    incoming: mpsc::Sender<std::io::Result<DuplexStream>>,
) {
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => state.take(stream, &incoming),
        Err((_, mut stream)) => {
            tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap_or_default();
            stream.read_to_end(&mut Vec::new()).await.map(drop).unwrap_or_default();
        }
    }
}

impl State {
    fn new() -> Arc<Self> {
        let state = Self::default();
        *lock(&state.version) = Some("v0.20.0".to_owned());
        Arc::new(state)
    }

    /// Takes a connection, which can be cut.
    fn take(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        incoming: &mpsc::Sender<std::io::Result<DuplexStream>>,
    ) {
        let (incoming, is_mute) = (incoming.clone(), *lock(&self.mute) == Mute::Connections);
        let serving = tokio::spawn(async move {
            if is_mute {
                // The stream lives as long as this.
                return std::future::pending().await;
            }
            let (mut ours, theirs) = tokio::io::duplex(PIPE);
            if incoming.send(Ok(theirs)).await.is_ok() {
                tokio::io::copy_bidirectional(&mut stream, &mut ours)
                    .await
                    .map(drop)
                    .unwrap_or_default();
            }
        });
        lock(&self.connections).push(serving.abort_handle());
    }

    fn cut(&self) {
        for connection in lock(&self.connections).iter() {
            connection.abort();
        }
    }

    fn status(&self, reference: &str) -> (Option<Updates>, Option<Told>) {
        let (updates, told) = mpsc::channel(16);
        let both = || (Some(updates), Some(ReceiverStream::new(told)));
        let mut statuses = lock(&self.statuses);
        let entry = statuses.entry(reference.to_owned()).or_insert_with(both);
        (entry.0.clone(), entry.1.take())
    }
}

struct Service(Arc<State>);

type Nothing<T> = tokio_stream::Pending<Result<T, Status>>;

#[tonic::async_trait]
impl Control for Service {
    type StatusStream = Told;
    type SessionStream = ReceiverStream<Result<BytesMessage, Status>>;
    type PruneStream = Nothing<UsageRecord>;
    type ListenBuildHistoryStream = Nothing<BuildHistoryEvent>;

    async fn solve(
        &self,
        request: Request<SolveRequest>,
    ) -> Result<Response<SolveResponse>, Status> {
        let request = request.into_inner();
        let session = lock(&self.0.sessions).get(&request.session).cloned();
        let session = session.ok_or_else(|| Status::not_found("no such session"))?;
        let told = self.0.status(&request.r#ref).1;
        let updates = {
            let mut statuses = lock(&self.0.statuses);
            let entry = statuses.get_mut(&request.r#ref).unwrap();
            // Taken back: the status may be asked for after this.
            entry.1 = told;
            entry.0.take().unwrap()
        };
        let script = lock(&self.0.script).clone().expect("a test says what a solve does");
        let daemon = Arc::clone(&self.0);
        script(Solving { session, updates, daemon }).await.map(Response::new)
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<Told>, Status> {
        let told = self.0.status(&request.into_inner().r#ref).1;
        told.map(Response::new).ok_or_else(|| Status::already_exists("it was asked before"))
    }

    async fn session(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if *lock(&self.0.mute) == Mute::Sessions {
            return std::future::pending().await;
        }
        let id = request.metadata().get("x-docker-expose-session-uuid");
        let id = id.and_then(|id| id.to_str().ok()).expect("a session has an id").to_owned();
        let (session, answers) = Session::open(request.into_inner());
        lock(&self.0.sessions).insert(id, Arc::new(session));
        Ok(Response::new(answers))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        if *lock(&self.0.mute) == Mute::Info {
            return std::future::pending().await;
        }
        let version = lock(&self.0.version).clone();
        let version = version.ok_or_else(|| Status::unimplemented("unknown method Info"))?;
        let buildkit_version = Some(BuildkitVersion { version, ..BuildkitVersion::default() });
        Ok(Response::new(InfoResponse { buildkit_version }))
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(ListWorkersResponse::default()))
    }

    async fn disk_usage(
        &self,
        _: Request<DiskUsageRequest>,
    ) -> Result<Response<DiskUsageResponse>, Status> {
        Err(Status::unimplemented("DiskUsage"))
    }

    async fn prune(&self, _: Request<PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        Err(Status::unimplemented("Prune"))
    }

    async fn listen_build_history(
        &self,
        _: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        Err(Status::unimplemented("ListenBuildHistory"))
    }

    async fn update_build_history(
        &self,
        _: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        Err(Status::unimplemented("UpdateBuildHistory"))
    }
}
