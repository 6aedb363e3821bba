//! Connections: HTTP/1.1 over TCP or TLS, kept and used again, a few at once to each host.
//!
//! Knows neither registries nor credentials: a request goes out, the head of its answer comes back,
//! and the body is read piece by piece.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, Error as TlsError};

use crate::clock::Timer;
use crate::registry::body::{Payload, Pieces};
use crate::registry::host::Origin;
use crate::registry::proxy::Proxies;
use crate::tls::{self, Tls};

/// How many requests a host gets at once.
const AT_ONCE: usize = 8;
/// How long a host may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(15);
/// How long a connection may wait for its next request, in milliseconds: servers close them, many
/// after a minute.
const IDLE: u64 = 30_000;

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// No connection.
    #[error("cannot connect to {origin}: {why}")]
    Connect { origin: Origin, why: String },
    /// The certificate is of nobody whom we trust, or not of this host.
    #[error("{0}")]
    Certificate(String),
    /// What talks there is no TLS.
    #[error("it does not speak TLS")]
    NoTls,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Nothing moved for so long.
    #[error("it was silent for {} s", .0.as_secs_f64())]
    Silent(Duration),
}

/// A connection that waits.
struct Idle {
    sender: SendRequest<Pieces>,
    since: Timer,
}

/// A request on its way.
pub(crate) struct Outgoing<'a> {
    pub(crate) origin: &'a Origin,
    pub(crate) head: Request<()>,
    pub(crate) payload: &'a Payload,
    /// How long nothing may move.
    pub(crate) patience: Duration,
    /// Whom to trust.
    pub(crate) tls: Tls,
}

/// All connections.
pub(crate) struct Wire {
    proxies: Proxies,
    idle: Mutex<BTreeMap<Origin, Vec<Idle>>>,
    gates: Mutex<BTreeMap<Origin, Arc<Semaphore>>>,
    /// What rustls is told, by host: reading the machine's authorities takes milliseconds.
    trust: Mutex<BTreeMap<String, Arc<ClientConfig>>>,
}

/// An answer whose body is still to be read. Its connection is used again once it was.
pub(crate) struct Incomplete {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    patience: Duration,
    /// The connection, with its place among those at once.
    back: Option<(Origin, SendRequest<Pieces>)>,
    _permit: OwnedSemaphorePermit,
}

impl Wire {
    /// None yet.
    pub(crate) fn new(proxies: Proxies) -> Self {
        let (idle, gates, trust) = Default::default();
        Self { proxies, idle, gates, trust }
    }

    /// Sends a request, and waits for the head of its answer.
    pub(crate) async fn send(&self, outgoing: Outgoing<'_>) -> Result<Incomplete, WireError> {
        let Outgoing { origin, head, payload, patience, tls } = outgoing;
        let permit = self.gate(origin).acquire_owned().await;
        let permit = permit.map_err(|error| WireError::Broken(error.to_string()))?;
        let moved = Arc::default();
        let mut request = head.map(|()| payload.body(&moved));
        loop {
            let (mut sender, is_new) = self.sender(origin, &tls).await?;
            let sent = unless_silent(sender.try_send_request(request), &moved, patience).await?;
            match sent {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    return Ok(Incomplete {
                        status: head.status,
                        headers: head.headers,
                        body,
                        patience,
                        back: Some((origin.clone(), sender)),
                        _permit: permit,
                    });
                }
                // A connection that waited for too long: nothing of the request has left.
                Err(mut error) => match error.take_message().filter(|_| !is_new) {
                    Some(unsent) => request = unsent,
                    None => return Err(broken(&error.into_error())),
                },
            }
        }
    }

    /// Reads the rest of an answer, of which no more than `limit` bytes are wanted.
    pub(crate) async fn read(
        &self,
        mut answer: Incomplete,
        limit: usize,
    ) -> Result<Bytes, WireError> {
        let mut bytes = Vec::new();
        while let Some(piece) = answer.piece().await? {
            if bytes.len() + piece.len() > limit {
                return Err(WireError::Broken(format!("it sends more than {limit} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        self.done(answer);
        Ok(Bytes::from(bytes))
    }

    /// Keeps the connection of an answer that was read to its end.
    pub(crate) fn done(&self, mut answer: Incomplete) {
        if let Some((origin, sender)) = answer.back.take()
            && !sender.is_closed()
        {
            let idle = Idle { sender, since: Timer::start() };
            lock(&self.idle).entry(origin).or_default().push(idle);
        }
    }

    /// Whether a host speaks TLS; with a certificate that need not be trusted.
    pub(crate) async fn speaks_tls(&self, origin: &Origin, tls: &Tls) -> Result<bool, WireError> {
        match self.connect(origin, tls).await {
            Ok(sender) => {
                let idle = Idle { sender, since: Timer::start() };
                lock(&self.idle).entry(origin.clone()).or_default().push(idle);
                Ok(true)
            }
            Err(WireError::NoTls) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn gate(&self, origin: &Origin) -> Arc<Semaphore> {
        let mut gates = lock(&self.gates);
        let gate = gates.entry(origin.clone());
        Arc::clone(gate.or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
    }

    /// A connection: one that waits, else a new one, and whether it is new.
    async fn sender(
        &self,
        origin: &Origin,
        tls: &Tls,
    ) -> Result<(SendRequest<Pieces>, bool), WireError> {
        loop {
            let idle = lock(&self.idle).get_mut(origin).and_then(Vec::pop);
            let Some(Idle { mut sender, since }) = idle else { break };
            if since.elapsed() < IDLE && sender.ready().await.is_ok() {
                return Ok((sender, false));
            }
        }
        Ok((self.connect(origin, tls).await?, true))
    }

    async fn connect(&self, origin: &Origin, tls: &Tls) -> Result<SendRequest<Pieces>, WireError> {
        let failed = |error: &dyn Error| WireError::Connect {
            origin: origin.clone(),
            why: with_causes(error),
        };
        let connecting = async {
            let stream = match self.proxies.to(origin) {
                Some(proxy) => proxy.tunnel(origin).await,
                None => TcpStream::connect((&*origin.host, origin.port)).await,
            };
            let stream = stream.map_err(|error| failed(&error))?;
            stream.set_nodelay(true).map_err(|error| failed(&error))?;
            if !origin.tls {
                return shake_hands(stream).await;
            }
            let name = ServerName::try_from(origin.host.clone()).map_err(|error| failed(&error))?;
            let connector = TlsConnector::from(self.trust(origin, tls)?);
            let stream = connector.connect(name, stream).await;
            shake_hands(stream.map_err(|error| of_tls(&error).unwrap_or_else(|| failed(&error)))?)
                .await
        };
        let late = |_| failed(&io::Error::from(io::ErrorKind::TimedOut));
        tokio::time::timeout(CONNECTING, connecting).await.map_err(late)?
    }

    fn trust(&self, origin: &Origin, tls: &Tls) -> Result<Arc<ClientConfig>, WireError> {
        let key = origin.authority();
        if let Some(known) = lock(&self.trust).get(&key) {
            return Ok(Arc::clone(known));
        }
        let config = tls::config(tls, b"http/1.1");
        let config = config.map_err(|error| WireError::Certificate(error.to_string()))?;
        let config = Arc::new(config);
        lock(&self.trust).insert(key, Arc::clone(&config));
        Ok(config)
    }
}

impl Incomplete {
    /// The next bytes of the body; none at its end.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, WireError> {
        let frame = tokio::time::timeout(self.patience, self.body.frame()).await;
        let frame = frame.map_err(|_| WireError::Silent(self.patience))?;
        let piece = frame.transpose().map_err(|error| broken(&error))?;
        Ok(piece.map(|frame| frame.into_data().unwrap_or_default()))
    }

    /// A header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

async fn shake_hands<T>(stream: T) -> Result<SendRequest<Pieces>, WireError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    // It ends with its sender; what goes wrong is told to whoever waits for an answer.
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    Ok(sender)
}

/// Waits for an answer as long as something moves.
async fn unless_silent<T>(
    answer: impl Future<Output = T>,
    moved: &AtomicU64,
    patience: Duration,
) -> Result<T, WireError> {
    let mut answer = pin!(answer);
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        if let Ok(answer) = tokio::time::timeout(patience, &mut answer).await {
            return Ok(answer);
        }
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return Err(WireError::Silent(patience));
        }
        before = now;
    }
}

/// What TLS has against a host, as far as trying again does not help.
fn of_tls(error: &io::Error) -> Option<WireError> {
    let tls = error.get_ref()?.downcast_ref::<TlsError>()?;
    match tls {
        TlsError::InvalidMessage(_) => Some(WireError::NoTls),
        TlsError::InvalidCertificate(_) | TlsError::NoCertificatesPresented => {
            Some(WireError::Certificate(tls.to_string()))
        }
        // It wants a certificate of ours that we do not have.
        TlsError::AlertReceived(_) => Some(WireError::Certificate(tls.to_string())),
        _ => None,
    }
}

fn broken(error: &hyper::Error) -> WireError {
    WireError::Broken(with_causes(error))
}

/// An error and what caused it, each word once.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
