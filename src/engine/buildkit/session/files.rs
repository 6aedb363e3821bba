//! `FileSync`: hands the daemon exactly the files that were fingerprinted.
//!
//! The protocol is fsutil's (moby/buildkit `session/filesync`, tonistiigi/fsutil `send.go`): a STAT
//! for every entry in walk order and an empty one at the end; the daemon asks with REQ for the data
//! of those that it does not have, gets DATA and an empty DATA, and says FIN, which is answered.
//! Unlike fsutil's own sender this one says ERR when a file is not what was fingerprinted, before
//! its last byte is out.

use std::sync::Arc;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSync;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::engine::buildkit::served::{Asked, Served};
use crate::engine::buildkit::session::Contexts;

/// Packets that wait to be sent.
const WAITING: usize = 8;

type Packets = Sender<Result<Packet, Status>>;

/// The service.
#[derive(Debug)]
pub(crate) struct Files(pub(crate) Arc<Contexts>);

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = ReceiverStream<Result<Packet, Status>>;
    type TarStreamStream = ReceiverStream<Result<Packet, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let metadata = request.metadata();
        let name = values(metadata, "dir-name").pop().unwrap_or_default();
        let served = self.0.find(&name);
        let served =
            served.ok_or_else(|| Status::not_found(format!("no such directory: {name}")))?;
        let asked = Asked {
            follow: values(metadata, "followpaths"),
            include: values(metadata, "include-patterns"),
        };
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(transfer(served, asked, request.into_inner(), sender));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn tar_stream(
        &self,
        _: Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("TarStream"))
    }
}

/// The values of a key; those that are not ASCII are percent-encoded, and a second key says so
/// (`session/filesync/filesync.go` `encodeOpts`).
fn values(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let is_encoded = metadata.get(format!("{key}-encoded")).is_some_and(|value| value == "1");
    let texts = metadata.get_all(key).into_iter().map(|value| value.as_bytes().to_vec());
    let decoded = texts.map(|text| if is_encoded { percent_decoded(&text) } else { text });
    decoded.map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 1..at + 3).and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (text[at], byte) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

/// One transfer, from the first STAT to FIN.
async fn transfer(
    served: Arc<Served>,
    asked: Asked,
    mut packets: Streaming<Packet>,
    sender: Packets,
) {
    let stats = match served.answer(&asked) {
        Ok(stats) => stats,
        Err(trouble) => return refuse(&sender, &trouble).await,
    };
    let announced = sender.clone();
    let announcing = tokio::spawn(async move {
        for stat in stats {
            announced.send(Ok(packet(PacketType::PacketStat, Some(stat)))).await.ok()?;
        }
        announced.send(Ok(packet(PacketType::PacketStat, None))).await.ok()
    });
    // Read at once, see `ALL_STREAMS`: it asks for thousands of files in as many messages.
    let (asks, mut asked) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        while let Some(Ok(packet)) = packets.next().await {
            if asks.send(packet).is_err() {
                break;
            }
        }
    });
    while let Some(asked) = asked.recv().await {
        match asked.r#type() {
            PacketType::PacketReq => {
                let (served, answers, id) = (Arc::clone(&served), sender.clone(), asked.id);
                let sent = tokio::task::spawn_blocking(move || {
                    served.send(id as usize, &mut |data| {
                        let data = Packet { id, data, ..packet(PacketType::PacketData, None) };
                        answers.blocking_send(Ok(data)).is_ok()
                    })
                });
                if let Ok(Err(trouble)) = sent.await {
                    refuse(&sender, &trouble).await;
                    break;
                }
            }
            PacketType::PacketFin => {
                sender.send(Ok(packet(PacketType::PacketFin, None))).await.unwrap_or_default();
                break;
            }
            PacketType::PacketErr => break,
            PacketType::PacketStat | PacketType::PacketData => {}
        }
    }
    announcing.abort();
    reading.abort();
}

async fn refuse(sender: &Packets, trouble: &str) {
    let data = trouble.as_bytes().to_vec();
    let refusal = Packet { data, ..packet(PacketType::PacketErr, None) };
    sender.send(Ok(refusal)).await.unwrap_or_default();
}

fn packet(kind: PacketType, stat: Option<Stat>) -> Packet {
    Packet { r#type: kind.into(), stat, id: 0, data: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_not_ascii_are_decoded_where_the_daemon_says_so() {
        let mut metadata = MetadataMap::new();
        metadata.append("followpaths", "a%20b%C3%A9%".parse().unwrap());
        assert_eq!(values(&metadata, "followpaths"), ["a%20b%C3%A9%"]);
        metadata.append("followpaths-encoded", "1".parse().unwrap());
        assert_eq!(values(&metadata, "followpaths"), ["a bé%"]);
        assert_eq!(values(&metadata, "include-patterns"), Vec::<String>::new());
    }
}
