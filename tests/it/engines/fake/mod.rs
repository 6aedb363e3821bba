//! A BuildKit that is not there: what a real one does only when something breaks.
#![expect(clippy::disallowed_methods, reason = "tests write files")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up fails the test")]

mod cancel;
mod daemon;
mod files;
mod given;
mod lost;
mod patience;
mod progress;
mod push;
mod session;
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};
use imgraph::dockerconfig::credentials::Credentials;
use imgraph::engine::buildkit::{BuildKit, Options, Target};
use imgraph::engine::{Built, Cancel, Engine, EngineError, Request};
use imgraph::registry::{self, Registry};

use self::daemon::Daemon;
use super::bench::{self, entries, shown};

/// What takes so long hangs: longer than the engine has patience.
const HANGS: Duration = Duration::from_secs(40);

/// A daemon, and an engine that builds with it.
struct Bench {
    home: tempfile::TempDir,
    daemon: Daemon,
    engine: Arc<BuildKit>,
}

/// A build that runs.
struct Going {
    cancel: Cancel,
    end: Receiver<(Result<Built, EngineError>, Vec<String>)>,
}

impl Bench {
    /// With a daemon on a socket.
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let daemon = Daemon::on_socket(home.path());
        Self::with(home, daemon, BTreeMap::new())
    }

    fn with(
        home: tempfile::TempDir,
        daemon: Daemon,
        environment: BTreeMap<String, String>,
    ) -> Self {
        let endpoint = daemon.endpoint.clone();
        fs::create_dir(home.path().join("context")).unwrap();
        let target = Target::Buildkitd { endpoint, layout: home.path().join("layout") };
        let engine = Self::engine(&home, target, environment);
        Self { home, daemon, engine }
    }

    fn engine(
        home: &tempfile::TempDir,
        target: Target,
        environment: BTreeMap<String, String>,
    ) -> Arc<BuildKit> {
        let credentials = Credentials::load(&environment, home.path()).unwrap();
        let options = Options {
            target,
            credentials: credentials.clone(),
            registry: Arc::new(Registry::new(registry::Options::new(credentials))),
            environment,
            root: home.path().to_owned(),
        };
        Arc::new(BuildKit::new(options).unwrap())
    }

    fn context(&self) -> PathBuf {
        self.home.path().join("context")
    }

    /// A build on all that is in the context, of which it reads `sources`.
    fn request(&self, image: &str, sources: &[&str]) -> Request {
        let scratch = self.home.path().join("scratch");
        Request {
            image: image.parse().unwrap(),
            dockerfile_path: format!("/w/images/{image}/Dockerfile").into(),
            dockerfile: b"FROM scratch\nCOPY a /\nRUN make\n".to_vec(),
            context: self.context(),
            files: entries(&self.context()),
            sources: sources.iter().map(|&source| source.to_owned()).collect(),
            references: vec![format!("acme/{image}:1")],
            ..bench::request(self.home.path(), scratch)
        }
    }

    /// Starts a build, and lets it run.
    fn start(&self, request: Request) -> Going {
        let (sender, end) = mpsc::channel();
        let cancel = Cancel::default();
        let (engine, raised) = (Arc::clone(&self.engine), cancel.clone());
        std::thread::spawn(move || {
            let mut lines = Vec::new();
            let built = engine.build(&request, &raised, &mut |said| lines.push(shown(&said)));
            sender.send((built, lines)).unwrap_or_default();
        });
        Going { cancel, end }
    }

    /// Builds, and returns what was said as well.
    fn watch(&self, request: Request) -> (Result<Built, EngineError>, Vec<String>) {
        self.start(request).end()
    }

    /// Builds an image of which nothing is read.
    fn build(&self, image: &str) -> Result<Built, EngineError> {
        self.watch(self.request(image, &[])).0
    }
}

impl Going {
    #[track_caller]
    fn end(&self) -> (Result<Built, EngineError>, Vec<String>) {
        self.end.recv_timeout(HANGS).expect("the build ends")
    }
}

/// The daemon does what it should: an image comes out.
fn works(daemon: &Daemon) {
    daemon.solves(|solving| async move { solving.session.export("right").await });
}

/// Says that an engine gives up because of the daemon or the network, and returns the words.
#[track_caller]
fn unavailable<T: std::fmt::Debug>(result: Result<T, EngineError>) -> String {
    match result {
        Err(EngineError::Unavailable(words)) => words,
        other => panic!("{other:?} is not Unavailable"),
    }
}

/// A vertex that is announced, running or done.
fn vertex(name: &str, state: &str) -> StatusResponse {
    let time = |is_so: bool| is_so.then_some(Timestamp { seconds: 1, nanos: 0 });
    let vertex = Vertex {
        digest: format!("sha256:{name}"),
        name: name.to_owned(),
        started: time(state != "announced"),
        completed: time(state == "done"),
        ..Vertex::default()
    };
    StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() }
}

/// What a vertex prints.
fn log(name: &str, data: &[u8]) -> StatusResponse {
    let vertex = format!("sha256:{name}");
    let log = VertexLog { vertex, msg: data.to_vec(), ..VertexLog::default() };
    StatusResponse { logs: vec![log], ..StatusResponse::default() }
}

#[test]
fn a_build_puts_its_image_into_the_layout() {
    let bench = Bench::new();
    works(&bench.daemon);
    let built = bench.build("a").unwrap();
    assert_eq!(built.output.references, ["acme/a:1"]);
    let again = bench.build("b").unwrap();
    assert_eq!(again.output.id, built.output.id);
    assert_eq!((bench.daemon.connections(), bench.daemon.sessions()), (1, 1), "both are shared");
}

#[test]
fn an_old_buildkitd_is_refused_with_a_sentence() {
    let bench = Bench::new();
    bench.daemon.is_version(None);
    let error = bench.engine.capabilities().unwrap_err();
    assert!(matches!(error, EngineError::Unsupported(_)), "{error:?}");
    let text = error.to_string();
    let wanted = format!("the buildkitd at {} is older than 0.11", bench.daemon.endpoint);
    assert!(text.starts_with(&wanted), "{text}");
}
