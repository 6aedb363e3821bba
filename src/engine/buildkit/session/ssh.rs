//! `SSH`: a RUN talks to an agent of this machine through the daemon.

use std::sync::Arc;

use bollard_buildkit_proto::moby::sshforward::v1::{
    BytesMessage, CheckAgentRequest, CheckAgentResponse, ssh_server,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::engine::buildkit::given::Given;

/// How the daemon names the agent that it wants (moby/buildkit `session/sshforward/ssh.go`).
const KEY: &str = "buildkit.ssh.id";
/// The agent that is meant where none is named.
const DEFAULT: &str = "default";
/// Bytes passed on at once.
const CHUNK: usize = 32 * 1024;

/// The service.
#[derive(Debug)]
pub(crate) struct Ssh(pub(crate) Arc<Given>);

#[tonic::async_trait]
impl ssh_server::Ssh for Ssh {
    type ForwardAgentStream = ReceiverStream<Result<BytesMessage, Status>>;

    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        let id = request.into_inner().id;
        let id = if id.is_empty() { DEFAULT } else { &id };
        match self.0.agent(id) {
            Some(_) => Ok(Response::new(CheckAgentResponse {})),
            None => Err(Status::not_found(format!("no ssh agent `{id}` is given"))),
        }
    }

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = wanted(request.metadata());
        let missing = || Status::not_found(format!("no ssh agent `{id}` is given"));
        let socket = self.0.agent(&id).ok_or_else(missing)?;
        let agent = UnixStream::connect(socket).await;
        let agent = agent.map_err(|error| {
            Status::unavailable(format!("the ssh agent at {}: {error}", socket.display()))
        })?;
        let (mut from_agent, mut to_agent) = agent.into_split();
        let mut from_daemon = request.into_inner();
        let (sender, receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Some(Ok(message)) = from_daemon.next().await {
                if to_agent.write_all(&message.data).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            let mut chunk = vec![0; CHUNK];
            while let Ok(length @ 1..) = from_agent.read(&mut chunk).await {
                let data = chunk[..length].to_vec();
                if sender.send(Ok(BytesMessage { data })).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn wanted(metadata: &MetadataMap) -> String {
    let id = metadata.get(KEY).and_then(|value| value.to_str().ok());
    id.filter(|id| !id.is_empty()).unwrap_or(DEFAULT).to_owned()
}
