//! The Docker Engine API, as far as imgraph needs it: the image store, and the upgrades to gRPC.
//!
//! Source: moby `api/swagger.yaml`. Paths carry no version: a daemon then answers as its newest, and
//! every field that is read here has been there since API 1.41 (Docker 20.10). An Engine API client
//! crate would do the same with two hundred more crates, and none exposes `/grpc`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{self, Receiver};

use crate::engine::docker::documents::{Info, Inspected, Listed, Said, Version};
use crate::engine::docker::endpoint::Endpoint;
use crate::engine::docker::stream::{Protocol, Stream};

/// How long an answer to a question may take, and the next piece of one that has begun.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the answer may take to what is work: the layers of an image are deleted before it is said,
/// all of an image is packed before the first byte of it is exported (moby `image/tarexport/save.go`),
/// and a registry may be slow.
const WORKING: Duration = Duration::from_mins(10);
/// How long an upgrade may take, for which the daemon has nothing to do: as long as BuildKit itself may.
const UPGRADING: Duration = Duration::from_secs(20);

/// How often the list of images is asked for in all: where the containerd store lists an image that
/// is removed meanwhile, by whomever, there is none (moby `daemon/containerd/image_list.go`).
pub const LISTINGS: u32 = 5;

/// A Docker Engine.
#[derive(Debug)]
pub struct Api {
    endpoint: Endpoint,
    /// Connections that wait for their next request.
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No connection, or it broke.
    #[error("{0}")]
    Connection(String),
    /// The daemon says no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// The daemon says something that is not understood.
    #[error("the Docker Engine answered something unexpected: {0}")]
    Answer(String),
}

/// The pieces of a body, to be read by a thread that may block.
struct Pieces {
    receiver: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Pieces {
    fn new(receiver: Receiver<io::Result<Bytes>>) -> Self {
        Self { receiver, piece: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Api {
    /// The engine at an endpoint. Connects when something is asked.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, idle: Mutex::new(Vec::new()) }
    }

    /// What it is.
    pub async fn version(&self) -> Result<Version, ApiError> {
        self.get("/version").await
    }

    /// How it is set up.
    pub async fn info(&self) -> Result<Info, ApiError> {
        self.get("/info").await
    }

    /// The images of the store whose references match one of these patterns; all, if there are
    /// none. The containerd store takes milliseconds for each image that it tells of.
    pub async fn images(&self, patterns: &[String]) -> Result<Vec<Listed>, ApiError> {
        let mut path = "/images/json".to_owned();
        if !patterns.is_empty() {
            let filters = serde_json::json!({ "reference": patterns }).to_string();
            write!(path, "?filters={}", escaped(&filters)).unwrap_or_default();
        }
        for _ in 1..LISTINGS {
            match self.get(&path).await {
                Err(ApiError::Refused { status: 404, .. }) => (),
                answer => return answer,
            }
        }
        self.get(&path).await
    }

    /// One image; `None` where there is none.
    pub async fn inspect(&self, image: &str) -> Result<Option<Inspected>, ApiError> {
        match self.get(&format!("/images/{image}/json")).await {
            Ok(inspected) => Ok(Some(inspected)),
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Points a reference at an image, moving it if it exists.
    pub async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), ApiError> {
        let path = format!("/images/{image}/tag?repo={}&tag={}", escaped(repository), escaped(tag));
        self.call(Method::POST, &path, PATIENCE).await?;
        Ok(())
    }

    /// Removes an image, if nothing refers to it or runs on it: `false` where that is so.
    pub async fn remove(&self, image: &str) -> Result<bool, ApiError> {
        match self.call(Method::DELETE, &format!("/images/{image}"), WORKING).await {
            Ok(_) => Ok(true),
            Err(ApiError::Refused { status: 404, .. }) => Ok(true),
            Err(ApiError::Refused { status: 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads the image as a tar, as `docker save` writes it, on a thread of its own.
    pub async fn export<T: Send + 'static>(
        &self,
        image: &str,
        read: impl FnOnce(&mut dyn Read) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let path = format!("/images/{image}/get");
        let (headers, keep) = (BTreeMap::new(), Keep::Never);
        let sent = self.send(Method::GET, &path, &headers, keep);
        let (response, _) = within(WORKING, &path, sent).await?;
        let (sender, receiver) = mpsc::channel(4);
        let reading = tokio::task::spawn_blocking(move || read(&mut Pieces::new(receiver)));
        let mut body = response.into_body();
        while let Some(piece) = piece(&mut body, PATIENCE, &path).await.transpose() {
            if sender.send(piece.map_err(io::Error::other)).await.is_err() {
                break; // it has read enough
            }
        }
        drop(sender);
        let read = reading.await.map_err(io::Error::other).flatten();
        read.map_err(|error| ApiError::Answer(format!("the archive of image {image}: {error}")))
    }

    /// Pushes a reference with a credential as `X-Registry-Auth` takes it. What the daemon says of
    /// it is handed on line by line; a failure comes as the last of them.
    pub async fn push(
        &self,
        (repository, tag): (&str, &str),
        credential: &str,
        said: &mut dyn FnMut(Said),
    ) -> Result<(), ApiError> {
        let path = format!("/images/{repository}/push?tag={}", escaped(tag));
        self.work(&path, credential, said).await
    }

    /// Pulls a reference for a platform, likewise.
    pub async fn pull(
        &self,
        (reference, platform): (&str, &str),
        credential: &str,
        said: &mut dyn FnMut(Said),
    ) -> Result<(), ApiError> {
        let (reference, platform) = (escaped(reference), escaped(platform));
        let path = format!("/images/create?fromImage={reference}&platform={platform}");
        self.work(&path, credential, said).await
    }

    /// A call whose answer comes line by line while the daemon works.
    async fn work(
        &self,
        path: &str,
        credential: &str,
        said: &mut dyn FnMut(Said),
    ) -> Result<(), ApiError> {
        let headers = BTreeMap::from([("X-Registry-Auth", vec![credential.to_owned()])]);
        let sent = self.send(Method::POST, path, &headers, Keep::Never);
        let (response, _) = within(WORKING, path, sent).await?;
        let mut body = response.into_body();
        let mut open = Vec::new();
        while let Some(piece) = piece(&mut body, WORKING, path).await? {
            open.extend_from_slice(&piece);
            while let Some(end) = open.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = open.drain(..=end).collect();
                if let Ok(line) = serde_json::from_slice(&line) {
                    said(line);
                }
            }
        }
        Ok(())
    }

    /// Turns a connection into a stream of HTTP/2 (`/grpc`, `/session`).
    pub async fn upgrade(
        &self,
        path: &str,
        headers: &BTreeMap<&'static str, Vec<String>>,
    ) -> Result<Stream, ApiError> {
        let mut headers = headers.clone();
        headers.insert("Connection", vec!["Upgrade".to_owned()]);
        headers.insert("Upgrade", vec!["h2c".to_owned()]);
        let upgraded = async {
            let (response, _) = self.send(Method::POST, path, &headers, Keep::Never).await?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let status = response.status();
                return Err(ApiError::Answer(format!("{status} to an upgrade of {path}")));
            }
            hyper::upgrade::on(response).await.map_err(|error| broken(&error))
        };
        let upgraded = within(UPGRADING, path, upgraded).await?;
        Ok(Stream::new(TokioIo::new(upgraded)))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let body = self.call(Method::GET, path, PATIENCE).await?;
        serde_json::from_slice(&body).map_err(|error| ApiError::Answer(format!("{path}: {error}")))
    }

    /// A call with a short answer.
    async fn call(
        &self,
        method: Method,
        path: &str,
        patience: Duration,
    ) -> Result<Bytes, ApiError> {
        let answer = async {
            let headers = BTreeMap::new();
            let (response, sender) = self.send(method, path, &headers, Keep::Open).await?;
            let body = response.into_body().collect().await.map_err(|error| broken(&error))?;
            if let Some(sender) = sender {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
            }
            Ok(body.to_bytes())
        };
        within(patience, path, answer).await
    }

    /// Sends a request and reads the head of its answer. A refusal is an error. Waits for ever.
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &BTreeMap<&'static str, Vec<String>>,
        keep: Keep,
    ) -> Result<(Response<Incoming>, Option<SendRequest<Full<Bytes>>>), ApiError> {
        let mut sender = self.sender().await?;
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, "docker");
        for (name, values) in headers {
            for value in values {
                request = request.header(*name, value);
            }
        }
        let request = request
            .body(Full::default())
            .map_err(|error| ApiError::Answer(format!("{path}: {error}")))?;
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let body = response.into_body().collect().await.map_err(|error| broken(&error))?;
            let body = body.to_bytes();
            let message = serde_json::from_slice(&body).map_or_else(
                |_| String::from_utf8_lossy(&body).trim().to_owned(),
                |refusal: Refusal| refusal.message,
            );
            return Err(ApiError::Refused { status: status.as_u16(), message });
        }
        Ok((response, (keep == Keep::Open).then_some(sender)))
    }

    /// A connection: one that waits, else a new one.
    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, ApiError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Ok(sender);
                    }
                }
                None => break,
            }
        }
        let stream = Stream::connect(&self.endpoint, Protocol::Http1).await;
        let stream = stream.map_err(|error| unreachable(&self.endpoint, &error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
        // It ends with its sender; what goes wrong is told to whoever waits for an answer.
        tokio::spawn(async move { connection.with_upgrades().await.unwrap_or_default() });
        Ok(sender)
    }
}

/// Whether a connection is used again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Open,
    Never,
}

/// Waits for an answer to what is asked at a path, and not for ever.
async fn within<T>(
    patience: Duration,
    path: &str,
    answer: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let late = |_| {
        let (path, seconds) = (path.split('?').next().unwrap_or(path), patience.as_secs());
        let text = format!("the Docker Engine gives no answer to {path} within {seconds} s");
        ApiError::Connection(text)
    };
    tokio::time::timeout(patience, Box::pin(answer)).await.map_err(late)?
}

/// The next piece of a body; `None` at its end.
async fn piece(
    body: &mut Incoming,
    patience: Duration,
    path: &str,
) -> Result<Option<Bytes>, ApiError> {
    let piece = async {
        let frame = body.frame().await.transpose().map_err(|error| broken(&error))?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    };
    within(patience, path, piece).await
}

fn unreachable(endpoint: &Endpoint, error: &io::Error) -> ApiError {
    ApiError::Connection(format!("cannot connect to {endpoint}: {error}"))
}

fn broken(error: &hyper::Error) -> ApiError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let cause = cause.unwrap_or_default();
    ApiError::Connection(format!("the connection to the Docker Engine broke: {error}{cause}"))
}

/// A value of a query.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").unwrap_or_default();
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use tokio::runtime;

    use super::*;

    #[test]
    fn a_list_during_which_an_image_was_removed_is_asked_for_again() {
        let answers = ["404 Not Found", "404 Not Found", "200 OK"];
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let daemon = thread::spawn(move || {
            for status in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let length = stream.read(&mut [0; 4096]).unwrap();
                assert!(length > 0);
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 2");
                io::Write::write_all(&mut stream, format!("{head}\r\n\r\n[]").as_bytes()).unwrap();
            }
        });
        let api = Api::new(Endpoint::Unix(socket));
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(runtime.block_on(api.images(&[])).unwrap().is_empty());
        daemon.join().unwrap();
    }
}
