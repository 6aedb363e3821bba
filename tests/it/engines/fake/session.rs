//! The daemon's side of a session: it calls, and the client serves.

use std::collections::BTreeMap;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::health::HealthCheckRequest;
use bollard_buildkit_proto::health::health_client::HealthClient;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::GetSecretRequest;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_client::SecretsClient;
use bollard_buildkit_proto::moby::buildkit::v1::{BytesMessage, SolveResponse};
use bollard_buildkit_proto::moby::filesync::packet::file_sync_client::FileSyncClient;
use bollard_buildkit_proto::moby::filesync::v1::CredentialsRequest;
use bollard_buildkit_proto::moby::filesync::v1::auth_client::AuthClient;
use hyper_util::rt::TokioIo;
use imgraph::digest::OciDigest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// Bytes passed on at once.
const CHUNK: usize = 32 * 1024;

/// The bits of Go's `os.FileMode` that say it is no file: directory and symbolic link.
const NO_FILE: u32 = 1 << 31 | 1 << 27;

type Answers = ReceiverStream<Result<BytesMessage, Status>>;

/// An open session.
pub(super) struct Session {
    channel: Channel,
    pumps: [AbortHandle; 2],
}

/// What came of asking for files.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// What was announced.
    pub(super) stats: Vec<Stat>,
    /// What was sent, by path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Why it ended early.
    pub(super) refusal: Option<String>,
}

impl Received {
    /// The paths that were announced.
    pub(super) fn paths(&self) -> Vec<&str> {
        self.stats.iter().map(|stat| stat.path.as_str()).collect()
    }
}

impl Session {
    /// Takes the call that opens one.
    pub(super) fn open(mut messages: Streaming<BytesMessage>) -> (Self, Answers) {
        let (ours, theirs) = tokio::io::duplex(4 * CHUNK);
        let (mut to_client, mut from_client) = tokio::io::split(theirs);
        let (sender, answers) = mpsc::channel(8);
        let receiving = tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                if from_client.write_all(&message.data).await.is_err() {
                    return;
                }
            }
        });
        let sending = tokio::spawn(async move {
            let mut chunk = vec![0; CHUNK];
            while let Ok(length @ 1..) = to_client.read(&mut chunk).await {
                let data = chunk[..length].to_vec();
                if sender.send(Ok(BytesMessage { data })).await.is_err() {
                    return;
                }
            }
        });
        let mut ours = Some(ours);
        let connector = tower::service_fn(move |_| {
            let gone = || std::io::Error::other("the session is over");
            std::future::ready(ours.take().map(TokioIo::new).ok_or_else(gone))
        });
        let channel =
            Endpoint::from_static("http://session").connect_with_connector_lazy(connector);
        let pumps = [receiving.abort_handle(), sending.abort_handle()];
        (Self { channel, pumps }, ReceiverStream::new(answers))
    }

    /// Ends it.
    pub(super) fn end(&self) {
        for pump in &self.pumps {
            pump.abort();
        }
    }

    /// Asks whether the client lives.
    pub(super) async fn check(&self) -> Result<(), Status> {
        let mut health = HealthClient::new(self.channel.clone());
        health.check(HealthCheckRequest::default()).await.map(drop)
    }

    /// Asks for the login at a registry: user and secret.
    pub(super) async fn credentials(&self, host: &str) -> Result<(String, String), Status> {
        let mut auth = AuthClient::new(self.channel.clone());
        let answer = auth.credentials(CredentialsRequest { host: host.to_owned() }).await?;
        let answer = answer.into_inner();
        Ok((answer.username, answer.secret))
    }

    /// Asks for a secret.
    pub(super) async fn secret(&self, id: &str) -> Result<Vec<u8>, Status> {
        let mut secrets = SecretsClient::new(self.channel.clone());
        let request = GetSecretRequest { id: id.to_owned(), ..GetSecretRequest::default() };
        Ok(secrets.get_secret(request).await?.into_inner().data)
    }

    /// Asks for a directory, of it for some paths (all without any), and for the content of every
    /// file that is announced.
    pub(super) async fn files(&self, name: &str, follow: &[&str]) -> Result<Received, Status> {
        let (sender, receiver) = mpsc::channel(8);
        let mut request = Request::new(ReceiverStream::new(receiver));
        let metadata = request.metadata_mut();
        metadata.append("dir-name", name.parse().unwrap());
        for path in follow {
            metadata.append("followpaths", path.parse().unwrap());
        }
        let mut client = FileSyncClient::new(self.channel.clone());
        let mut packets = client.diff_copy(request).await?.into_inner();
        let mut received = Received::default();
        while let Some(packet) = packets.message().await? {
            match (packet.r#type(), packet.stat) {
                (PacketType::PacketStat, Some(stat)) => received.stats.push(stat),
                (PacketType::PacketStat, None) => break,
                (PacketType::PacketErr, _) => {
                    received.refusal = Some(String::from_utf8(packet.data).unwrap());
                    return Ok(received);
                }
                (kind, _) => panic!("{kind:?} while files are announced"),
            }
        }
        for (number, stat) in received.stats.iter().enumerate() {
            if stat.mode & NO_FILE != 0 {
                continue;
            }
            let id = u32::try_from(number).unwrap();
            send(&sender, PacketType::PacketReq, id).await;
            let content = received.files.entry(stat.path.clone()).or_default();
            loop {
                let packet = packets.message().await?.expect("the content of a file has an end");
                match packet.r#type() {
                    PacketType::PacketErr => {
                        received.refusal = Some(String::from_utf8(packet.data).unwrap());
                        return Ok(received);
                    }
                    PacketType::PacketData if packet.data.is_empty() => break,
                    PacketType::PacketData => content.extend(packet.data),
                    kind => panic!("{kind:?} while a file is sent"),
                }
            }
        }
        send(&sender, PacketType::PacketFin, 0).await;
        let last = packets.message().await?.expect("the end is answered");
        assert_eq!(last.r#type(), PacketType::PacketFin);
        Ok(received)
    }

    /// Writes an image without layers into the client's layout, as the result of a solve.
    pub(super) async fn export(&self, word: &str) -> Result<SolveResponse, Status> {
        let config = serde_json::json!({
            "architecture": imgraph::image::Platform::host().to_string().split_once('/').unwrap().1,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": { "Labels": { "word": word } },
            "rootfs": { "type": "layers", "diff_ids": [] },
        });
        let (config, size) = self.write(config.to_string().into_bytes()).await?;
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config,
                "size": size,
            },
            "layers": [],
        });
        let (manifest, _) = self.write(manifest.to_string().into_bytes()).await?;
        let exporter_response = [("containerimage.digest".to_owned(), manifest)].into();
        Ok(SolveResponse { exporter_response })
    }

    /// Writes a blob, and returns its digest and its size.
    async fn write(&self, data: Vec<u8>) -> Result<(String, usize), Status> {
        let (digest, size) = (OciDigest::of_content(&data).to_string(), data.len());
        let length = i64::try_from(size).unwrap();
        let message = WriteRequest {
            action: COMMIT,
            total: length,
            expected: digest.clone(),
            offset: 0,
            data,
        };
        let mut request = Request::new(tokio_stream::once(message));
        request.metadata_mut().append("buildkit-attachable-store-id", "export".parse().unwrap());
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::<WriteRequest, WriteResponse>::default();
        let path = PathAndQuery::from_static("/containerd.services.content.v1.Content/Write");
        let answer = client.streaming(request, path, codec).await;
        let answer = match answer {
            Ok(answer) => answer.into_inner().message().await,
            Err(status) => Err(status),
        };
        match answer {
            Ok(answer) => assert_eq!(answer.expect("a write is answered").digest, digest),
            Err(status) if status.code() == tonic::Code::AlreadyExists => {}
            Err(status) => return Err(status),
        }
        Ok((digest, size))
    }
}

async fn send(sender: &mpsc::Sender<Packet>, kind: PacketType, id: u32) {
    let packet = Packet { r#type: kind.into(), stat: None, id, data: Vec::new() };
    sender.send(packet).await.unwrap();
}

/// `WriteAction.COMMIT` of `containerd.services.content.v1`.
const COMMIT: i32 = 2;

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct WriteRequest {
    #[prost(int32, tag = "1")]
    action: i32,
    #[prost(int64, tag = "3")]
    total: i64,
    #[prost(string, tag = "4")]
    expected: String,
    #[prost(int64, tag = "5")]
    offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct WriteResponse {
    #[prost(string, tag = "6")]
    digest: String,
}
