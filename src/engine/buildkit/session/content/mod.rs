//! `Content`: the daemon reads parents from our image layout, and writes what it built into it; and
//! the same with caches in directories.
//!
//! It asks for blobs by their digests alone, writes only those that are not there, and names the
//! store that it means in a header. Source: moby/buildkit `session/content`, `exporter/oci`,
//! `source/containerimage/ocilayout.go`; containerd `contentserver.go`.

mod messages;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::future::ready;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::digest::OciDigest;
use crate::engine::buildkit::session::content::messages::{
    Info, InfoRequest, InfoResponse, ReadContentRequest, ReadContentResponse, WriteAction,
    WriteContentRequest, WriteContentResponse,
};
use crate::engine::layout::Layout;
use crate::engine::layout::blobs::{CommitError, Ingest};

/// The store that parents are read from, as a named context calls it (`oci-layout://imgraph@..`).
pub(crate) const STORE: &str = "imgraph";

/// The calls that are answered.
pub(crate) const METHODS: [&str; 3] = [INFO, READ, WRITE];
const INFO: &str = "/containerd.services.content.v1.Content/Info";
const READ: &str = "/containerd.services.content.v1.Content/Read";
const WRITE: &str = "/containerd.services.content.v1.Content/Write";

/// The header that names a store.
const HEADER: &str = "buildkit-attachable-store-id";
/// The store that the exporter writes to.
const EXPORT: &str = "export";
/// How the names of stores begin that named contexts are in.
const PARENTS: &str = "oci:";
/// How the names of stores begin that caches are in.
const CACHES: &str = "local:";

/// Bytes sent at once: as many as a daemon asks for at once.
const CHUNK: usize = 1024 * 1024;
/// The most that a message of a write may weigh; containerd sends 8 MiB at most.
const LARGEST: usize = 16 * 1024 * 1024;

/// The layouts that a daemon may ask for, by the names of stores. All sessions have the same: what a
/// name means is the same for every build.
#[derive(Debug, Default)]
pub(crate) struct Stores(Mutex<BTreeMap<String, Arc<Layout>>>);

impl Stores {
    /// The stores where this layout keeps the images.
    pub(crate) fn with_images(layout: &Arc<Layout>) -> Self {
        let names = [EXPORT.to_owned(), format!("{PARENTS}{STORE}")];
        Self(Mutex::new(names.map(|name| (name, Arc::clone(layout))).into()))
    }

    /// The layout in the directory of a cache, and from now on a store under this name.
    pub(crate) fn cache(&self, name: &str, directory: PathBuf) -> Arc<Layout> {
        let mut stores = self.lock();
        let layout = || Arc::new(Layout::new(directory));
        Arc::clone(stores.entry(format!("{CACHES}{name}")).or_insert_with(layout))
    }

    /// The one that a call means. Of several headers the first counts.
    fn meant(&self, metadata: &MetadataMap) -> Result<Arc<Layout>, Status> {
        let name = name(metadata);
        let found = self.lock().get(name).cloned();
        found.ok_or_else(|| Status::not_found(format!("unknown store {name}")))
    }

    /// The same, if it may be written to.
    fn meant_to_write(&self, metadata: &MetadataMap) -> Result<Arc<Layout>, Status> {
        if name(metadata).starts_with(PARENTS) {
            return Err(Status::not_found("this store is only read"));
        }
        self.meant(metadata)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Layout>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(metadata: &MetadataMap) -> &str {
    metadata.get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Content(pub(crate) Arc<Stores>);

impl NamedService for Content {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Content {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let stores = Arc::clone(&self.0);
        match request.uri().path() {
            INFO => Box::pin(async {
                let serve = service_fn(move |request| ready(info(&stores, &request)));
                Ok(Grpc::new(ProstCodec::default()).unary(serve, request).await)
            }),
            READ => Box::pin(async {
                let serve = service_fn(move |request| ready(read(&stores, request)));
                Ok(Grpc::new(ProstCodec::default()).server_streaming(serve, request).await)
            }),
            WRITE => Box::pin(async {
                let serve = service_fn(move |request| ready(write(&stores, request)));
                let codec = ProstCodec::default();
                let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST);
                Ok(grpc.streaming(serve, request).await)
            }),
            path => {
                let unknown = Status::unimplemented(path);
                Box::pin(ready(Ok(unknown.into_http())))
            }
        }
    }
}

fn digest(text: &str) -> Result<OciDigest, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("{text:?} is no digest")))
}

fn info(stores: &Stores, request: &Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
    let layout = stores.meant(request.metadata())?;
    let digest = digest(&request.get_ref().digest)?;
    let size = layout.blobs().size(&digest).ok_or_else(|| missing(&digest))?;
    let info = Info { digest: digest.to_string(), size: signed(size) };
    Ok(Response::new(InfoResponse { info: Some(info) }))
}

type Pieces = ReceiverStream<Result<ReadContentResponse, Status>>;

fn read(stores: &Stores, request: Request<ReadContentRequest>) -> Result<Response<Pieces>, Status> {
    let layout = stores.meant(request.metadata())?;
    let asked = request.into_inner();
    let digest = digest(&asked.digest)?;
    let blob = layout.blobs().open(&digest).map_err(|_| missing(&digest))?;
    let size = blob.metadata().map_err(|error| failed(&error))?.len();
    let begin = u64::try_from(asked.offset).unwrap_or(0);
    if begin > size {
        return Err(Status::out_of_range(format!("{digest} has {size} bytes")));
    }
    let end = match u64::try_from(asked.size) {
        Ok(wanted @ 1..) => begin.saturating_add(wanted).min(size),
        _ => size,
    };
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(send(Arc::new(blob), begin, end, sender));
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// Sends the bytes of a blob.
async fn send(
    blob: Arc<File>,
    mut offset: u64,
    end: u64,
    sender: Sender<Result<ReadContentResponse, Status>>,
) {
    while offset < end {
        let (blob, length) = (Arc::clone(&blob), usize::try_from(end - offset).unwrap_or(CHUNK));
        let piece = blocking(move || {
            let mut data = vec![0; length.min(CHUNK)];
            blob.read_exact_at(&mut data, offset).map_err(|error| failed(&error))?;
            Ok(ReadContentResponse { offset: signed(offset), data })
        });
        let piece = piece.await;
        let length = piece.as_ref().map_or(0, |piece| piece.data.len());
        if sender.send(piece).await.is_err() || length == 0 {
            return;
        }
        offset += length as u64;
    }
}

type States = ReceiverStream<Result<WriteContentResponse, Status>>;

fn write(
    stores: &Stores,
    request: Request<Streaming<WriteContentRequest>>,
) -> Result<Response<States>, Status> {
    let layout = stores.meant_to_write(request.metadata())?;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let taken = take(layout, request.into_inner(), &sender).await;
        if let Err(status) = taken {
            sender.send(Err(status)).await.unwrap_or_default();
        }
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// Takes a blob, message by message. What is not committed is gone with the call.
async fn take(
    layout: Arc<Layout>,
    mut requests: Streaming<WriteContentRequest>,
    answers: &Sender<Result<WriteContentResponse, Status>>,
) -> Result<(), Status> {
    let mut incoming = Some(blocking(move || Incoming::begin(layout)).await?);
    while let Some(before) = incoming {
        let Some(request) = requests.message().await? else { break };
        let (answer, after) = blocking(move || before.take(&request)).await?;
        if answers.send(Ok(answer)).await.is_err() {
            break;
        }
        incoming = after;
    }
    Ok(())
}

/// A blob that comes in.
struct Incoming {
    layout: Arc<Layout>,
    ingest: Ingest,
    total: Option<u64>,
    expected: Option<OciDigest>,
}

impl Incoming {
    fn begin(layout: Arc<Layout>) -> Result<Self, Status> {
        let ingest = layout.blobs().begin().map_err(|error| failed(&error))?;
        Ok(Self { layout, ingest, total: None, expected: None })
    }

    /// Takes a message. After the last one there is nothing left to go on with.
    fn take(
        mut self,
        request: &WriteContentRequest,
    ) -> Result<(WriteContentResponse, Option<Self>), Status> {
        self.learn(request)?;
        let mut answer = WriteContentResponse { action: request.action, ..Default::default() };
        if request.action() != WriteAction::Stat {
            self.append(request)?;
        }
        answer.offset = signed(self.ingest.written());
        answer.total = self.total.map_or(0, signed);
        if request.action() != WriteAction::Commit {
            return Ok((answer, Some(self)));
        }
        let committed = self.ingest.commit(self.total, self.expected.as_ref());
        let digest = committed.map_err(|error| match error {
            CommitError::Io(error) => failed(&error),
            error => Status::failed_precondition(error.to_string()),
        })?;
        answer.digest = digest.to_string();
        Ok((answer, None))
    }

    /// Size and digest may come with any message. A blob that is there need not come again.
    fn learn(&mut self, request: &WriteContentRequest) -> Result<(), Status> {
        self.total = u64::try_from(request.total).ok().filter(|total| *total > 0).or(self.total);
        if request.expected.is_empty() {
            return Ok(());
        }
        let expected = digest(&request.expected)?;
        let found = self.layout.blobs().size(&expected);
        // One of another size was damaged: it is replaced.
        if found.is_some_and(|size| self.total.is_none_or(|total| total == size)) {
            return Err(Status::already_exists(format!("{expected} is there")));
        }
        self.expected = Some(expected);
        Ok(())
    }

    fn append(&mut self, request: &WriteContentRequest) -> Result<(), Status> {
        let written = signed(self.ingest.written());
        if request.offset == 0 && written > 0 {
            // From the beginning: the daemon tries again.
            self.ingest = self.layout.blobs().begin().map_err(|error| failed(&error))?;
        } else if request.offset != written {
            let text = format!("bytes from {} on cannot follow {written}", request.offset);
            return Err(Status::out_of_range(text));
        }
        self.ingest.write(&request.data).map_err(|error| failed(&error))
    }
}

/// Does what may have to wait for the disk where that is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Status::internal(error.to_string()))?
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn missing(digest: &OciDigest) -> Status {
    Status::not_found(format!("{digest} is not there"))
}

fn failed(error: &std::io::Error) -> Status {
    Status::unknown(format!("the image layout: {error}"))
}
