//! The service, called as a daemon calls it.
#![expect(clippy::disallowed_methods, reason = "tests look at the files of a layout")]

use std::fs;

use hyper_util::rt::TokioIo;
use tonic::client::Grpc as Client;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, IntoStreamingRequest};

use super::*;
use crate::engine::docker::stream::Stream;

/// A layout that is served.
struct Bench {
    home: tempfile::TempDir,
    layout: Arc<Layout>,
    daemon: Client<Channel>,
}

impl Bench {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let layout = Arc::new(Layout::new(home.path().to_owned()));
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let incoming = tokio_stream::StreamExt::chain(
            tokio_stream::once(Ok::<_, std::io::Error>(Stream::new(ours))),
            tokio_stream::pending(),
        );
        let router = Server::builder().add_service(Content(Arc::new(Stores::with_images(&layout))));
        tokio::spawn(router.serve_with_incoming(incoming));
        let mut theirs = Some(TokioIo::new(theirs));
        let connect = service_fn(move |_| {
            ready(theirs.take().ok_or_else(|| std::io::Error::other("one connection is enough")))
        });
        let endpoint = Endpoint::from_static("http://imgraph");
        let channel = endpoint.connect_with_connector(connect).await.unwrap();
        Self { home, layout, daemon: Client::new(channel) }
    }

    fn put(&self, bytes: &[u8]) -> OciDigest {
        let mut ingest = self.layout.blobs().begin().unwrap();
        ingest.write(bytes).unwrap();
        ingest.commit(None, None).unwrap()
    }

    fn request<T>(store: &'static str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(HEADER, store.parse().unwrap());
        request
    }

    async fn info(&mut self, store: &'static str, digest: &str) -> Result<i64, Status> {
        self.daemon.ready().await.unwrap();
        let request = Self::request(store, InfoRequest { digest: digest.to_owned() });
        let (path, codec) = (PathAndQuery::from_static(INFO), ProstCodec::default());
        let answer: Response<InfoResponse> = self.daemon.unary(request, path, codec).await?;
        Ok(answer.into_inner().info.unwrap().size)
    }

    async fn read(
        &mut self,
        digest: &OciDigest,
        (offset, size): (i64, i64),
    ) -> Result<Vec<u8>, Status> {
        self.daemon.ready().await.unwrap();
        let asked = ReadContentRequest { digest: digest.to_string(), offset, size };
        let (path, codec) = (PathAndQuery::from_static(READ), ProstCodec::default());
        let request = Self::request("oci:imgraph", asked);
        let answer = self.daemon.server_streaming(request, path, codec).await?;
        let mut pieces: Streaming<ReadContentResponse> = answer.into_inner();
        let mut read = Vec::new();
        while let Some(piece) = pieces.message().await? {
            assert_eq!(piece.offset, offset + i64::try_from(read.len()).unwrap());
            read.extend(piece.data);
        }
        Ok(read)
    }

    /// Sends messages, and returns the last answer.
    async fn write(
        &mut self,
        store: &'static str,
        messages: &[WriteContentRequest],
    ) -> Result<WriteContentResponse, Status> {
        self.daemon.ready().await.unwrap();
        let messages = tokio_stream::iter(messages.to_vec());
        let mut request = messages.into_streaming_request();
        request.metadata_mut().insert(HEADER, store.parse().unwrap());
        let (path, codec) = (PathAndQuery::from_static(WRITE), ProstCodec::default());
        let answer = self.daemon.streaming(request, path, codec).await?;
        let mut answers: Streaming<WriteContentResponse> = answer.into_inner();
        let mut last = None;
        while let Some(answer) = answers.message().await? {
            last = Some(answer);
        }
        Ok(last.unwrap())
    }

    /// What is being written.
    fn ingests(&self) -> usize {
        fs::read_dir(self.home.path().join("ingest")).map_or(0, Iterator::count)
    }
}

/// As containerd's client begins a write.
fn stat(total: usize, expected: &OciDigest) -> WriteContentRequest {
    let total = i64::try_from(total).unwrap();
    WriteContentRequest { total, expected: expected.to_string(), ..message(WriteAction::Stat) }
}

fn data(offset: i64, data: &[u8]) -> WriteContentRequest {
    WriteContentRequest { offset, data: data.to_vec(), ..message(WriteAction::Write) }
}

fn commit(offset: i64, expected: &OciDigest) -> WriteContentRequest {
    let expected = expected.to_string();
    WriteContentRequest { offset, total: offset, expected, ..message(WriteAction::Commit) }
}

fn message(action: WriteAction) -> WriteContentRequest {
    WriteContentRequest { action: action.into(), ..WriteContentRequest::default() }
}

#[tokio::test]
async fn blobs_are_told_of_and_read_from_any_place() {
    let mut bench = Bench::new().await;
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let digest = bench.put(&bytes);
    assert_eq!(bench.info("oci:imgraph", digest.as_str()).await.unwrap(), 3_000_000);
    assert_eq!(bench.info("export", digest.as_str()).await.unwrap(), 3_000_000);
    assert_eq!(bench.read(&digest, (0, 0)).await.unwrap(), bytes);
    assert_eq!(bench.read(&digest, (1, 2_000_000)).await.unwrap(), bytes[1..2_000_001]);
    assert_eq!(bench.read(&digest, (2_999_999, 5)).await.unwrap(), bytes[2_999_999..]);
    assert_eq!(bench.read(&digest, (3_000_000, 5)).await.unwrap(), b"");
    let past = bench.read(&digest, (3_000_001, 5)).await.unwrap_err();
    assert_eq!(past.code(), Code::OutOfRange);
}

#[tokio::test]
async fn only_blobs_of_our_store_are_handed_out() {
    let mut bench = Bench::new().await;
    let digest = bench.put(b"one");
    let absent = OciDigest::of_content(b"absent");
    let outside = format!("..:{}", "0".repeat(64));
    fs::write(bench.home.path().join("0".repeat(64)), "secret").unwrap();
    for (store, digest, code) in [
        ("oci:other", digest.as_str(), Code::NotFound),
        ("local:/tmp", digest.as_str(), Code::NotFound),
        ("export", absent.as_str(), Code::NotFound),
        ("export", &outside, Code::NotFound),
        ("export", "../../secret", Code::InvalidArgument),
    ] {
        assert_eq!(bench.info(store, digest).await.unwrap_err().code(), code, "{store} {digest}");
    }
    let refused = bench.write("oci:imgraph", &[stat(1, &absent)]).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "parents are read only");
}

#[tokio::test]
async fn a_blob_comes_in_pieces() {
    let mut bench = Bench::new().await;
    let digest = OciDigest::of_content(b"hello");
    let messages = [stat(5, &digest), data(0, b"hel"), data(3, b"lo"), commit(5, &digest)];
    let answer = bench.write("export", &messages).await.unwrap();
    assert_eq!((answer.action(), answer.offset, answer.total), (WriteAction::Commit, 5, 5));
    assert_eq!(answer.digest, digest.as_str());
    assert_eq!(bench.read(&digest, (0, 0)).await.unwrap(), b"hello");
    let there = bench.write("export", &[stat(5, &digest)]).await.unwrap_err();
    assert_eq!(there.code(), Code::AlreadyExists);
    assert_eq!(bench.ingests(), 0);
}

#[tokio::test]
async fn a_write_may_begin_again_and_may_leave_no_gap() {
    let mut bench = Bench::new().await;
    let digest = OciDigest::of_content(b"hello");
    let again = [stat(5, &digest), data(0, b"he"), data(0, b"hello"), commit(5, &digest)];
    assert_eq!(bench.write("export", &again).await.unwrap().digest, digest.as_str());
    let other = OciDigest::of_content(b"other");
    let gap = bench.write("export", &[stat(5, &other), data(0, b"ot"), data(3, b"er")]).await;
    assert_eq!(gap.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test]
async fn what_is_not_what_was_said_is_no_blob() {
    let mut bench = Bench::new().await;
    let digest = OciDigest::of_content(b"hello");
    for messages in [
        [stat(5, &digest), data(0, b"hullo"), commit(5, &digest)],
        [stat(5, &digest), data(0, b"hell"), commit(4, &digest)],
        [
            stat(9, &digest),
            data(0, b"hello"),
            WriteContentRequest { offset: 5, ..message(WriteAction::Commit) },
        ],
    ] {
        let refused = bench.write("export", &messages).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{messages:?}");
    }
    let torn = bench.write("export", &[stat(5, &digest), data(0, b"hel")]).await.unwrap();
    assert_eq!(torn.offset, 3);
    assert_eq!(bench.info("export", digest.as_str()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(bench.ingests(), 0);
}
