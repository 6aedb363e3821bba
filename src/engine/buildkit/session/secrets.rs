//! `Secrets`: the values that RUN mounts, read when they are asked for.

use std::sync::Arc;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::{
    GetSecretRequest, GetSecretResponse, secrets_server,
};
use tonic::{Request, Response, Status};

use crate::engine::buildkit::given::Given;

/// The service.
#[derive(Debug)]
pub(crate) struct Secrets(pub(crate) Arc<Given>);

#[tonic::async_trait]
impl secrets_server::Secrets for Secrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let (given, id) = (Arc::clone(&self.0), request.into_inner().id);
        let read = tokio::task::spawn_blocking(move || given.secret(&id)).await;
        let read = read.map_err(|error| Status::internal(error.to_string()))?;
        match read {
            Ok(Some(value)) => Ok(Response::new(GetSecretResponse { data: value.reveal() })),
            // A mount that is not required is left out then.
            Ok(None) => Err(Status::not_found("no such secret")),
            Err(error) => Err(Status::failed_precondition(error.to_string())),
        }
    }
}
