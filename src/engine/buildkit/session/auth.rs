//! `Auth`: registry credentials from docker's config, for the daemon to pull and push with.
//!
//! Tokens are the daemon's business: a session that does not offer `FetchToken` is asked for the
//! credentials (moby/buildkit `util/resolver/authorizer.go`).

use std::sync::Arc;

use bollard_buildkit_proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse, auth_server,
};
use tonic::{Request, Response, Status};

use crate::dockerconfig::credentials::Credentials;

/// The service.
#[derive(Debug)]
pub(crate) struct Auth(pub(crate) Arc<Credentials>);

#[tonic::async_trait]
impl auth_server::Auth for Auth {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let (known, host) = (Arc::clone(&self.0), request.into_inner().host);
        // A credential helper is a program.
        let found = tokio::task::spawn_blocking(move || known.for_host(&host)).await;
        let found = found.map_err(|error| Status::internal(error.to_string()))?;
        let found = found.map_err(|error| Status::unauthenticated(error.to_string()))?;
        let answer = found.map_or_else(CredentialsResponse::default, |found| {
            let (username, secret) = found.user_and_secret();
            CredentialsResponse { username: username.to_owned(), secret: secret.to_owned() }
        });
        Ok(Response::new(answer))
    }

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("FetchToken"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("GetTokenAuthority"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("VerifyTokenAuthority"))
    }
}
