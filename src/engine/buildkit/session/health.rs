//! `Health`: a daemon ends a session that does not answer for some seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, health_server,
};
use tokio_stream::Pending;
use tonic::{Request, Response, Status};

use crate::clock::Timer;

/// When the daemon last asked.
#[derive(Debug)]
pub(crate) struct Pulse(Mutex<Timer>);

impl Pulse {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Timer::start()))
    }

    /// One that was last felt so long ago.
    #[cfg(test)]
    pub(crate) fn silent_for(silence: Duration) -> Self {
        Self(Mutex::new(Timer::started(silence)))
    }

    /// How long ago it was.
    pub(crate) fn silence(&self) -> Duration {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis(last.elapsed())
    }

    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Timer::start();
    }
}

/// The service.
#[derive(Debug)]
pub(crate) struct Health(pub(crate) Arc<Pulse>);

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = Pending<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        self.0.beat();
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("Watch"))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        Err(Status::unimplemented("List"))
    }
}
