//! The session: what the daemon may ask this process for while it builds.
//!
//! One stream a builder and run, on which the roles are turned round: the daemon calls, and we
//! serve. Builds whose secrets or agents differ have sessions of their own, because a daemon asks
//! for a secret by its id and does not say for which build; and so has every build of a daemon that
//! cannot say whose context it asks for. Source: moby/buildkit `session/session.go`,
//! `session/grpc.go`.

mod auth;
pub(crate) mod content;
mod files;
mod health;
mod secrets;
mod ssh;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::health::health_server::HealthServer;
use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSyncServer;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::SshServer;
use tokio::sync::oneshot;
use tonic::transport::Server;

use crate::dockerconfig::credentials::Credentials;
use crate::engine::buildkit::given::Given;
use crate::engine::buildkit::link::WINDOW;
use crate::engine::buildkit::served::Served;
use crate::engine::buildkit::session::auth::Auth;
use crate::engine::buildkit::session::content::{Content, Stores};
use crate::engine::buildkit::session::files::Files;
use crate::engine::buildkit::session::health::{Health, Pulse};
use crate::engine::buildkit::session::secrets::Secrets;
use crate::engine::buildkit::session::ssh::Ssh;
use crate::engine::docker::stream::Stream;

/// The calls that are answered, as the daemon is told when the session opens. It does not try others.
const METHODS: [&str; 6] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
];

/// A daemon asks every five seconds whether we live. If it has not for so long, it does not itself.
const SILENCE: Duration = Duration::from_mins(1);

/// Bytes that may be on their way to us in all streams together; each has a limit of its own. h2 takes
/// many small messages that nobody has read yet for an attack, and how many are many follows from
/// this. A daemon that asks for a hundred thousand files is none.
const ALL_STREAMS: u32 = 256 << 20;

/// What stands between the prefix and the rest of a name that the daemon puts together. No image name
/// has it.
pub(crate) const END_OF_PREFIX: &str = "@-";

/// What builds serve, by the name that the daemon asks for.
#[derive(Debug, Default)]
pub(crate) struct Contexts(Mutex<BTreeMap<String, Arc<Served>>>);

impl Contexts {
    /// Serves something until the answer is dropped.
    pub(crate) fn serve(self: &Arc<Self>, name: String, served: Served) -> Serving {
        let served = Arc::new(served);
        self.lock().insert(name.clone(), Arc::clone(&served));
        Serving { contexts: Arc::clone(self), name, served }
    }

    fn find(&self, name: &str) -> Option<Arc<Served>> {
        self.lock().get(with_one_prefix(name)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Served>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name with its prefix once: BuildKit 0.32 puts it in front of one that has it already
/// (moby/buildkit `solver/llbsolver/policy.go`, `normalizedSourceIdentifier`, since 93999f407).
fn with_one_prefix(name: &str) -> &str {
    let Some(end) = name.find(END_OF_PREFIX) else { return name };
    let prefix = &name[..end + END_OF_PREFIX.len()];
    let mut name = name;
    while let Some(rest) = name.strip_prefix(prefix).filter(|rest| rest.starts_with(prefix)) {
        name = rest;
    }
    name
}

/// Something that is served as long as this lives.
#[derive(Debug)]
pub(crate) struct Serving {
    contexts: Arc<Contexts>,
    name: String,
    /// What.
    pub(crate) served: Arc<Served>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.contexts.lock().remove(&self.name);
    }
}

/// What a session can be asked for beside files.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The images, where we keep them and not the daemon, and caches in directories.
    pub(crate) stores: Arc<Stores>,
    /// Registry credentials.
    pub(crate) credentials: Arc<Credentials>,
    /// Secrets and agents.
    pub(crate) given: Arc<Given>,
}

/// An open session. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its id, which solves name.
    pub(crate) id: String,
    /// What builds serve on it.
    pub(crate) contexts: Arc<Contexts>,
    is_closed: Arc<AtomicBool>,
    pulse: Arc<Pulse>,
    /// Dropped with the session: the server takes it for a signal.
    _end: oneshot::Sender<Infallible>,
}

impl Session {
    /// The headers that open a session with a shared key.
    pub(crate) fn headers(id: &str, shared_key: &str) -> BTreeMap<&'static str, Vec<String>> {
        let methods = METHODS.iter().chain(&content::METHODS).map(|method| (*method).to_owned());
        BTreeMap::from([
            ("X-Docker-Expose-Session-Uuid", vec![id.to_owned()]),
            ("X-Docker-Expose-Session-Name", vec!["imgraph".to_owned()]),
            ("X-Docker-Expose-Session-Sharedkey", vec![shared_key.to_owned()]),
            ("X-Docker-Expose-Session-Grpc-Method", methods.collect()),
        ])
    }

    /// Serves a stream on which a daemon will call.
    pub(crate) fn serve(id: String, stream: Stream, offer: &Offer) -> Self {
        let contexts: Arc<Contexts> = Arc::default();
        let is_closed = Arc::new(AtomicBool::new(false));
        let pulse = Arc::new(Pulse::new());
        let stream = stream.noting_its_end(Arc::clone(&is_closed));
        let router = Server::builder()
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(ALL_STREAMS)
            .add_service(HealthServer::new(Health(Arc::clone(&pulse))))
            .add_service(FileSyncServer::new(Files(Arc::clone(&contexts))))
            .add_service(AuthServer::new(Auth(Arc::clone(&offer.credentials))))
            .add_service(SecretsServer::new(Secrets(Arc::clone(&offer.given))))
            .add_service(SshServer::new(Ssh(Arc::clone(&offer.given))))
            .add_service(Content(Arc::clone(&offer.stores)));
        // After the one connection there is none to wait for, and the server must not end.
        let connections = tokio_stream::StreamExt::chain(
            tokio_stream::once(Ok::<_, std::io::Error>(stream)),
            tokio_stream::pending(),
        );
        let (end, ended) = oneshot::channel();
        let ended = async move { ended.await.map_or((), |never: Infallible| match never {}) };
        tokio::spawn(async move {
            let serving = router.serve_with_incoming_shutdown(connections, ended);
            serving.await.unwrap_or_default();
        });
        Self { id, contexts, is_closed, pulse, _end: end }
    }

    /// Whether the daemon can still call.
    pub(crate) fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Relaxed)
    }

    /// Whether a build may begin on it.
    pub(crate) fn is_usable(&self) -> bool {
        self.is_open() && !self.is_silent()
    }

    /// Whether the daemon has been silent for so long that it must be gone or frozen.
    pub(crate) fn is_silent(&self) -> bool {
        self.pulse.silence() > SILENCE
    }
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::health::HealthCheckRequest;

    use super::*;

    #[test]
    fn a_daemon_that_has_not_asked_for_a_minute_is_silent_until_it_asks() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let pulse = Arc::new(Pulse::silent_for(SILENCE + Duration::from_secs(1)));
        let session = Session {
            id: String::new(),
            contexts: Arc::default(),
            is_closed: Arc::default(),
            pulse: Arc::clone(&pulse),
            _end: oneshot::channel().0,
        };
        assert!(session.is_silent() && session.is_open() && !session.is_usable());
        let request = tonic::Request::new(HealthCheckRequest::default());
        let health = Health(pulse);
        let asked = bollard_buildkit_proto::health::health_server::Health::check(&health, request);
        runtime.block_on(asked).unwrap();
        assert!(!session.is_silent() && session.is_usable());
        let just_now = Pulse::silent_for(SILENCE.checked_sub(Duration::from_secs(5)).unwrap());
        assert!(just_now.silence() < SILENCE);
    }

    #[test]
    fn a_prefix_counts_once_however_often_it_is_there() {
        for (name, expected) in [
            ("a@-context", "a@-context"),
            ("a@-a@-a@-context", "a@-context"),
            ("a-a@-context", "a-a@-context"),
            ("a-dockerfile", "a-dockerfile"),
        ] {
            assert_eq!(with_one_prefix(name), expected);
        }
    }
}
