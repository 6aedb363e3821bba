//! A byte stream to a daemon, over whatever its [`Endpoint`] says.
//!
//! Knows no protocol. Everything here is asynchronous and runs inside the runtime of an engine.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use tonic::transport::server::Connected;

use crate::engine::docker::endpoint::{Endpoint, Tls};

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
    fn name(self) -> &'static [u8] {
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
        Self { transport: Box::pin(transport), _at_end: None, failure: None }
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
                Endpoint::Command(words) => Piped::start(words).map(Self::new),
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
    let name = ServerName::try_from(name).map_err(invalid)?;
    let connector = TlsConnector::from(Arc::new(tls_config(tls, protocol)?));
    Ok(Stream::new(connector.connect(name, stream).await?))
}

fn tls_config(tls: &Tls, protocol: Protocol) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(invalid)?;
    let builder = if tls.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    } else {
        builder.with_root_certificates(roots(tls.ca.as_deref())?)
    };
    let mut config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, error))?;
            builder.with_client_auth_cert(certificates(cert)?, key_der).map_err(invalid)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.name().to_vec()];
    Ok(config)
}

/// The authorities that are trusted: those of the file, else those of the machine.
fn roots(ca: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let trusted = match ca {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    for certificate in trusted {
        // The machine's own list may hold what rustls does not read; one of them may still do.
        if let (Err(error), Some(path)) = (roots.add(certificate), ca) {
            return Err(named(path, error));
        }
    }
    Ok(roots)
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| named(path, error))?;
    read.collect::<Result<_, _>>().map_err(|error| named(path, error))
}

fn named(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {error}", path.display()))
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// Encrypts, and believes whoever answers: `DOCKER_TLS` without `DOCKER_TLS_VERIFY`.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A program whose standard input and output are the stream; it is killed with it.
struct Piped {
    input: ChildStdin,
    output: ChildStdout,
    _child: Child,
}

impl Piped {
    fn start(words: &[String]) -> io::Result<Self> {
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
        Ok(Self { input, output, _child: child })
    }
}

impl AsyncRead for Piped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

impl AsyncWrite for Piped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.input).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_shutdown(context)
    }
}
