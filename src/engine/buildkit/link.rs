//! The connection to one daemon: a channel to call it, and sessions on which it calls us.
//!
//! A Docker Engine hands out both as upgrades of its API (`/grpc`, `/session`), a `buildkitd` speaks
//! gRPC at once and takes sessions as a call (`Control.Session`).

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::BytesMessage;
use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio_rustls::rustls::Error as TlsError;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataKey;
use tonic::transport::{Channel, Endpoint as ChannelSettings};
use tonic::{Request, Status, Streaming};

use crate::engine::EngineError;
use crate::engine::buildkit::random_id;
use crate::engine::buildkit::session::{Offer, Session};
use crate::engine::buildkit::solve::causes;
use crate::engine::docker::api::{Api, ApiError};
use crate::engine::docker::endpoint::Endpoint;
use crate::engine::docker::stream::{Protocol, Stream};

/// The most that one message may weigh; a status may carry much output.
const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;
/// Bytes that may be on their way: a layer comes in pieces of a megabyte, each of which is answered,
/// and with the usual 64 KiB a distant builder would wait for us sixteen times a piece.
pub(crate) const WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes of a session passed on at once.
const CHUNK: usize = 32 * 1024;

/// Where builds go.
#[derive(Debug)]
pub(crate) enum Daemon {
    /// The BuildKit in a Docker Engine.
    Docker(Arc<Api>),
    /// A `buildkitd`.
    Buildkitd(Endpoint),
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// To call the daemon with.
    pub(crate) control: ControlClient<Channel>,
    is_closed: Arc<AtomicBool>,
    sessions: AsyncMutex<BTreeMap<String, Arc<Session>>>,
}

impl Link {
    /// Connects. Nothing is asked yet.
    pub(crate) async fn open(daemon: &Daemon) -> Result<Self, EngineError> {
        let stream = match daemon {
            Daemon::Docker(api) => api.upgrade("/grpc", &BTreeMap::new()).await?,
            Daemon::Buildkitd(endpoint) => {
                let stream = Stream::connect(endpoint, Protocol::Http2).await;
                stream.map_err(|error| unconnected(endpoint, &error))?
            }
        };
        let is_closed = Arc::new(AtomicBool::new(false));
        let failure = Arc::default();
        let stream = stream.noting_its_end(Arc::clone(&is_closed));
        let stream = stream.noting_its_failure(Arc::clone(&failure));
        let control = ControlClient::new(channel(stream, failure).await?)
            .max_decoding_message_size(LARGEST_MESSAGE)
            .max_encoding_message_size(LARGEST_MESSAGE);
        let sessions = AsyncMutex::new(BTreeMap::new());
        Ok(Self { control, is_closed, sessions })
    }

    /// Whether calls can still arrive.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Relaxed)
    }

    /// Does not use it any more: the daemon does not answer on it.
    pub(crate) fn give_up(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// The session for builds of one kind: an open one, else a new one.
    pub(crate) async fn session(
        &self,
        daemon: &Daemon,
        shared_key: &str,
        (kind, offer): (&str, &Offer),
    ) -> Result<Arc<Session>, EngineError> {
        let mut sessions = self.sessions.lock().await;
        if let Some(session) = sessions.get(kind).filter(|session| session.is_usable()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(self.open_session(daemon, shared_key, offer).await?);
        sessions.insert(kind.to_owned(), Arc::clone(&session));
        Ok(session)
    }

    /// A new session.
    pub(crate) async fn open_session(
        &self,
        daemon: &Daemon,
        shared_key: &str,
        offer: &Offer,
    ) -> Result<Session, EngineError> {
        let id = random_id();
        let headers = Session::headers(&id, shared_key);
        let stream = match daemon {
            Daemon::Docker(api) => api.upgrade("/session", &headers).await?,
            Daemon::Buildkitd(_) => {
                let opened = tokio::time::timeout(PATIENCE, self.called_session(&headers)).await;
                let opened = opened.map_err(|_| {
                    self.give_up();
                    let text = format!("BuildKit opens no session within {} s", PATIENCE.as_secs());
                    EngineError::Unavailable(text)
                })?;
                opened.map_err(|status| unavailable(daemon, &status))?
            }
        };
        Ok(Session::serve(id, stream, offer))
    }

    /// A session as a call: its bytes are messages.
    async fn called_session(
        &self,
        headers: &BTreeMap<&'static str, Vec<String>>,
    ) -> Result<Stream, Status> {
        let (ours, theirs) = tokio::io::duplex(4 * CHUNK);
        let (mut from_us, to_us) = tokio::io::split(theirs);
        let (sender, receiver) = mpsc::channel(8);
        let mut request = Request::new(ReceiverStream::new(receiver));
        for (name, values) in headers {
            let name = name.to_ascii_lowercase();
            for value in values {
                let pair = name.parse::<AsciiMetadataKey>().ok().zip(value.parse().ok());
                if let Some((name, value)) = pair {
                    request.metadata_mut().append::<AsciiMetadataKey>(name, value);
                }
            }
        }
        tokio::spawn(async move {
            let mut chunk = vec![0; CHUNK];
            while let Ok(length @ 1..) = from_us.read(&mut chunk).await {
                let data = chunk[..length].to_vec();
                if sender.send(BytesMessage { data }).await.is_err() {
                    break;
                }
            }
        });
        let messages = self.control.clone().session(request).await?.into_inner();
        tokio::spawn(receive(messages, to_us));
        Ok(Stream::new(ours))
    }
}

async fn receive(
    mut messages: Streaming<BytesMessage>,
    mut to_us: tokio::io::WriteHalf<DuplexStream>,
) {
    while let Some(Ok(message)) = messages.next().await {
        if to_us.write_all(&message.data).await.is_err() {
            return;
        }
    }
    to_us.shutdown().await.unwrap_or_default();
}

/// A channel over a stream that is open already, and that cannot be opened again.
/// What broke it before it was used is in `failure`.
async fn channel(stream: Stream, failure: Arc<OnceLock<String>>) -> Result<Channel, EngineError> {
    let stream = Arc::new(Mutex::new(Some(stream)));
    let connector = tower::service_fn(move |_| {
        let stream = stream.lock().map_or(None, |mut stream| stream.take());
        let why = failure.get().map_or(String::new(), |why| format!(": {why}"));
        let gone = || {
            let text = format!("the connection is lost{why}");
            io::Error::new(io::ErrorKind::NotConnected, text)
        };
        std::future::ready(stream.map(TokioIo::new).ok_or_else(gone))
    });
    // The name is never looked up: it becomes the `:authority` of the calls.
    let settings = ChannelSettings::from_static("http://buildkit")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let channel = settings.connect_with_connector(connector).await;
    channel.map_err(|error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |it| format!(": {it}"));
        EngineError::Unavailable(format!("the daemon does not speak gRPC: {error}{cause}"))
    })
}

/// A daemon that could not be connected to. What TLS does not like stays so until somebody mends it.
fn unconnected(endpoint: &Endpoint, error: &io::Error) -> EngineError {
    let is_of_tls =
        error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<TlsError>)
            || error.kind() == io::ErrorKind::InvalidInput;
    match endpoint {
        Endpoint::Tcp { tls: Some(_), .. } if is_of_tls => {
            EngineError::Auth(format!("cannot connect to {endpoint} with TLS: {error}"))
        }
        _ => EngineError::Unavailable(format!("cannot connect to {endpoint}: {error}")),
    }
}

/// How a server of TLS 1.3 refuses a client's certificate: on the open connection, in the words of
/// rustls.
const REFUSAL: &str = "received fatal alert";

/// A call that did not come through.
pub(crate) fn unavailable(daemon: &Daemon, status: &Status) -> EngineError {
    let causes = causes(status);
    match daemon {
        Daemon::Buildkitd(endpoint) if causes.contains(REFUSAL) => {
            EngineError::Auth(format!("{endpoint} refuses the connection with TLS: {causes}"))
        }
        _ => EngineError::Unavailable(format!("BuildKit: {causes}")),
    }
}

impl From<ApiError> for EngineError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused { status: 401 | 403, message } => Self::Auth(message),
            ApiError::Refused { status: 400 | 404 | 501, message } => Self::Unsupported(message),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// How long a question to the daemon itself may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
