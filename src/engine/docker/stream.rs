//! A byte stream to a daemon, over whatever its [`Endpoint`] says.
//!
//! Knows no protocol. Everything here is asynchronous and runs inside the runtime of an engine.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::transport::server::Connected;

use crate::engine::docker::endpoint::Endpoint;
use crate::tls::{self, Tls};

/// How long a daemon may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// After how much silence the system asks whether the other side of a TCP connection still lives.
const IDLE: Duration = Duration::from_secs(15);

/// What is spoken over a stream; servers of TLS want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The Docker Engine API.
    Http1,
    /// gRPC.
    Http2,
}

impl Protocol {
    /// By RFC 7301.
    pub(crate) fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// What can be read and written; one trait object for all transports.
trait Transport: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Transport for T {}

/// An open stream.
pub struct Stream {
    transport: Pin<Box<dyn Transport>>,
    /// Raised when the stream is dropped, by whomever.
    _at_end: Option<Raised>,
    /// The program that carries it, where one does.
    _program: Option<Child>,
    /// Takes why nothing more could be read.
    failure: Option<Arc<OnceLock<String>>>,
}

/// A flag that is raised on the way out.
struct Raised(Arc<AtomicBool>);

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Stream {
    /// A stream over anything that can be read and written.
    pub fn new(transport: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self { transport: Box::pin(transport), _at_end: None, _program: None, failure: None }
    }

    /// The same stream, with a flag that is raised at its end.
    #[must_use]
    pub fn noting_its_end(self, flag: Arc<AtomicBool>) -> Self {
        Self { _at_end: Some(Raised(flag)), ..self }
    }

    /// The same stream, with a place for the words of the first failure to read from it.
    #[must_use]
    pub fn noting_its_failure(self, failure: Arc<OnceLock<String>>) -> Self {
        Self { failure: Some(failure), ..self }
    }

    /// Connects to a daemon that speaks a protocol.
    pub async fn connect(endpoint: &Endpoint, protocol: Protocol) -> io::Result<Self> {
        let connecting = async {
            match endpoint {
                Endpoint::Unix(path) => Ok(Self::new(UnixStream::connect(path).await?)),
                Endpoint::Tcp { host, port, tls } => {
                    tcp((host, *port), tls.as_ref(), protocol).await
                }
                Endpoint::Command(words) => piped(words),
            }
        };
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s");
        tokio::time::timeout(PATIENCE, connecting).await.map_err(late)?
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.transport.as_mut().poll_read(context, buffer);
        if let (Poll::Ready(Err(error)), Some(failure)) = (&read, &self.failure) {
            failure.get_or_init(|| error.to_string());
        }
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.transport.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.as_mut().poll_shutdown(context)
    }
}

impl Connected for Stream {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

async fn tcp(
    (host, port): (&str, u16),
    tls: Option<&Tls>,
    protocol: Protocol,
) -> io::Result<Stream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    // A peer that is gone without a word is noticed by the system: gRPC's own pings count as abuse
    // with many servers.
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, IDLE)?;
    sockopt::set_tcp_keepintvl(&stream, IDLE / 3)?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    let Some(tls) = tls else { return Ok(Stream::new(stream)) };
    let name = tls.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(tls::invalid)?;
    let connector = TlsConnector::from(Arc::new(tls::config(tls, protocol.name())?));
    Ok(Stream::new(connector.connect(name, stream).await?))
}

/// A program whose standard input and output are the stream; it is killed with it.
fn piped(words: &[String]) -> io::Result<Stream> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    // Ctrl-C on the terminal is for imgraph, which still has to talk over this stream.
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    let missing = || io::Error::other("a pipe is missing");
    let input = child.stdin.take().ok_or_else(missing)?;
    let output = child.stdout.take().ok_or_else(missing)?;
    Ok(Stream { _program: Some(child), ..Stream::new(tokio::io::join(output, input)) })
}
