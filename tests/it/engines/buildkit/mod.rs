//! BuildKit in real Docker Engines: an old one, and a new one with either image store.
//!
//! Which there are is said by the environment (`tests/engines/engines env`); the others are skipped,
//! aloud. Every claim is checked on each of them, on all at once. The engines are others', too: what
//! a test makes has a name of its own and a label of its own, and goes when the test ends.
#![expect(clippy::disallowed_methods, reason = "tests make files and talk to daemons")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up fails the test")]

mod cancel;
mod content;
mod failures;
mod files;
pub(super) mod image;
mod options;
mod parents;
mod registry;
mod secrets;
mod stale;
mod traffic;
mod tree;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, iter, panic, thread};

use imgraph::digest::OciDigest;
use imgraph::dockerconfig::credentials::Credentials;
use imgraph::engine::buildkit::{BuildKit, Options, Target};
use imgraph::engine::docker::endpoint::Endpoint;
use imgraph::engine::{Built, CacheUse, Cancel, Engine, EngineError, Locked, Parent, Request};
use imgraph::image::Platform;
use imgraph::registry::{Options as RegistryOptions, Registry};
use serde_json::Value;

use super::bench::{self, busybox, entries, processes, remote, shown};
use crate::conformance::aloud;
use crate::support::{Outcome, Running, Workspace};

/// The daemons, and the variables that say where their sockets are.
const DAEMONS: [(&str, &str); 3] = [
    ("Docker 20.10", "IMGRAPH_TEST_DOCKER20"),
    ("Docker 26.1", "IMGRAPH_TEST_DOCKER26"),
    ("Docker 26.1, containerd store", "IMGRAPH_TEST_DOCKER26C"),
];

/// The label that everything has that a test makes.
const LABEL: &str = "imgraph.test";

/// The environment of the tests, for what it says of engines.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A Docker Engine.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    /// For people.
    pub(super) name: &'static str,
    /// Where it answers.
    pub(super) socket: PathBuf,
}

impl Daemon {
    /// Those that are there. The others are said aloud, once.
    pub(super) fn all() -> Vec<Self> {
        static SAID: Once = Once::new();
        let mut found = Vec::new();
        let mut absent = Vec::new();
        for (name, setting) in DAEMONS {
            match variable(setting) {
                Some(place) => {
                    let socket = place.strip_prefix("unix://").expect("a daemon of this machine");
                    found.push(Self { name, socket: socket.into() });
                }
                None => absent.push(format!("buildkit  skipped on {name}: {setting} is not set")),
            }
        }
        SAID.call_once(|| absent.iter().for_each(|line| aloud(line)));
        found
    }

    /// Whether it is the old one: BuildKit 0.8, without named contexts and fixed times.
    pub(super) fn is_old(&self) -> bool {
        self.name == DAEMONS[0].0
    }

    /// Asks the API, without any code that is tested here.
    pub(super) fn ask(&self, method: &str, path: &str) -> (u16, Vec<u8>) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        // HTTP/1.0 ends the answer with the connection.
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let body = answer.split_off(end + 4);
        let head = String::from_utf8(answer).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// A document of the API. While another test removes an image there is no list of them.
    pub(super) fn get(&self, path: &str) -> Value {
        let mut answers = iter::repeat_with(|| self.ask("GET", path)).take(10);
        let (status, body) = answers.find(|(status, _)| *status != 404).unwrap_or_default();
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }
}

/// One daemon, with a base image (busybox) of this test in its store.
pub(super) struct Bench {
    pub(super) daemon: Daemon,
    /// A directory of its own.
    pub(super) home: tempfile::TempDir,
    /// The first part of the names of all that this test makes, and the value of its label.
    pub(super) tag: String,
    engine: BuildKit,
    builds: AtomicU32,
}

impl Bench {
    /// A bench for each daemon that is there, with the same names on all.
    pub(super) fn all() -> Vec<Self> {
        static TESTS: AtomicU32 = AtomicU32::new(0);
        let number = TESTS.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() & 0xff_ffff;
        let tag = format!("igt-{:x}-{now:x}-{number}", std::process::id());
        let Some(busybox) = busybox() else {
            aloud("buildkit  skipped: no static busybox (`apt-get install busybox-static`)");
            return Vec::new();
        };
        let bench = |daemon: Daemon| {
            let home = tempfile::tempdir().unwrap();
            let engine = engine(&daemon, home.path(), &[]);
            let builds = AtomicU32::new(0);
            let bench = Self { daemon, home, tag: tag.clone(), engine, builds };
            bench.make_base(&busybox);
            bench
        };
        Daemon::all().into_iter().map(bench).collect()
    }

    /// Checks a claim on all daemons at once.
    #[track_caller]
    pub(super) fn each(claim: impl Fn(&Self) + Sync) {
        let benches = Self::all();
        let fails = |bench: &Self| {
            let checked = panic::catch_unwind(panic::AssertUnwindSafe(|| claim(bench)));
            checked.is_err().then_some(bench.daemon.name)
        };
        let failed: Vec<&str> = thread::scope(|scope| {
            let threads: Vec<_> =
                benches.iter().map(|bench| scope.spawn(|| fails(bench))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(failed.is_empty(), "not so on {}", failed.join(" and "));
    }

    /// A name for its daemon that no other has.
    fn place(&self) -> String {
        let place = DAEMONS.iter().position(|(name, _)| *name == self.daemon.name);
        format!("daemon-{}", place.unwrap())
    }

    /// The reference of the base image.
    fn base(&self) -> String {
        format!("busybox-{}:1", self.tag)
    }

    /// A text with `@busybox` for the base image, and `@/` for what is before all names.
    pub(super) fn named(&self, text: &str) -> String {
        text.replace("@busybox", &self.base()).replace("@/", &format!("{}/", self.tag))
    }

    fn make_base(&self, busybox: &Path) {
        let context = self.home.path().join("base");
        let bin = context.join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        fs::set_permissions(bin.join("busybox"), fs::Permissions::from_mode(0o755)).unwrap();
        for applet in ["sh", "cat", "sleep", "ls", "stat", "sha256sum", "cut", "wc"] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        // The variable keeps steps of other tests and of earlier runs from being taken from the cache.
        let dockerfile = format!("FROM scratch\nCOPY rootfs /\nENV IMGRAPH_TEST={}\n", self.tag);
        let built = self.build(&self.with_context(&context, &dockerfile)).unwrap();
        self.engine.tag(&built.output.id, &[self.base()]).unwrap();
    }

    /// A build of a Dockerfile, in which `@busybox` is the base image, on an empty context.
    pub(super) fn request(&self, dockerfile: &str) -> Request {
        let number = self.builds.fetch_add(1, Ordering::Relaxed);
        let scratch = self.home.path().join(format!("scratch/{number}"));
        Request {
            dockerfile: self.named(dockerfile).into(),
            labels: BTreeMap::from([(LABEL.to_owned(), self.tag.clone())]),
            ..bench::request(self.home.path(), scratch)
        }
    }

    /// The same on a directory of which the build may read everything.
    pub(super) fn with_context(&self, context: &Path, dockerfile: &str) -> Request {
        let (files, sources) = (entries(context), vec!["/".to_owned()]);
        Request { context: context.to_owned(), files, sources, ..self.request(dockerfile) }
    }

    pub(super) fn build(&self, request: &Request) -> Result<Built, EngineError> {
        self.engine.build(request, &Cancel::default(), &mut |_| {})
    }

    /// Builds and returns what was said meanwhile as well, steps as `number/total text`.
    pub(super) fn watch(&self, request: &Request) -> (Result<Built, EngineError>, Vec<String>) {
        let mut lines = Vec::new();
        let built = self.engine.build(request, &Cancel::default(), &mut |progress| {
            lines.push(shown(&progress));
        });
        (built, lines)
    }

    /// An image that is the base with the file `/who` in it.
    pub(super) fn image(&self, who: &str) -> OciDigest {
        let context = self.home.path().join(format!("image-{who}"));
        fs::create_dir_all(&context).unwrap();
        fs::write(context.join("who"), format!("{who}\n")).unwrap();
        let request = self.with_context(&context, "FROM @busybox\nCOPY who /who\n");
        self.build(&request).unwrap().output.id
    }

    /// A parent: `reference` in a Dockerfile means this image, which gets a key tag.
    pub(super) fn parent(&self, reference: &str, id: &OciDigest) -> Parent {
        let pinned = format!("{}/pinned:ig-{}", self.tag, &id.hex()[..32]);
        self.engine.tag(id, std::slice::from_ref(&pinned)).unwrap();
        Parent { reference: reference.to_owned(), id: id.clone(), pinned }
    }

    /// A workspace whose images get names and labels of this test, from a text for
    /// [`Workspace::new`] in which `@busybox` is the base image and `@/x` the image `x`; its
    /// `layers.toml` has no `[workspace]`.
    pub(super) fn workspace(&self, text: &str) -> Workspace {
        let workspace = Workspace::new(&self.named(text));
        let own = fs::read_to_string(workspace.path("layers.toml")).unwrap_or_default();
        let tag = &self.tag;
        let common =
            format!("[workspace]\nregistry = '{tag}'\nlabels = {{ '{LABEL}' = '{tag}' }}\n");
        workspace.write("layers.toml", format!("{common}{own}"));
        workspace
    }

    /// Runs `imgraph` with this daemon to its end.
    pub(super) fn imgraph(&self, workspace: &Workspace, arguments: &str) -> Outcome {
        self.start(workspace, arguments).finish()
    }

    /// Runs `imgraph rebuild`, one build at a time, so that the order is always the same.
    pub(super) fn rebuild(&self, workspace: &Workspace, arguments: &str) -> Outcome {
        self.imgraph(workspace, &format!("rebuild --jobs=1 {arguments}"))
    }

    /// Starts `imgraph` with this daemon, and lets it run.
    pub(super) fn start(&self, workspace: &Workspace, arguments: &str) -> Running {
        workspace.start_command(Self::command(workspace, arguments, &self.daemon.socket))
    }

    /// `imgraph` with arguments and with the daemon that is behind a socket.
    pub(super) fn command(workspace: &Workspace, arguments: &str, socket: &Path) -> Command {
        let mut command = workspace.command_with("buildkit", arguments);
        command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        command
    }

    /// The docker command line with this daemon and its BuildKit; `None` where there is none.
    pub(super) fn docker(&self) -> Option<Command> {
        let program = variable("IMGRAPH_TEST_DOCKER_CLI")?;
        let config = self.home.path().join("config");
        let plugin = config.join("cli-plugins/docker-buildx");
        if !plugin.exists() {
            fs::create_dir_all(plugin.parent().unwrap()).unwrap();
            symlink(variable("IMGRAPH_TEST_BUILDX")?, plugin).unwrap();
        }
        let mut command = Command::new(program);
        command.env("DOCKER_HOST", format!("unix://{}", self.daemon.socket.display()));
        command.env("DOCKER_CONFIG", config).env("DOCKER_BUILDKIT", "1");
        Some(command)
    }

    /// Builds as anybody would, with `docker build`, and returns the id; `None`, said aloud, where
    /// there is no such program.
    pub(super) fn docker_build(&self, context: &Path, dockerfile: &Path) -> Option<String> {
        let Some(mut command) = self.docker() else {
            aloud("buildkit  not compared with `docker build`: IMGRAPH_TEST_DOCKER_CLI is not set");
            return None;
        };
        command.args(["build", "--quiet", "--label", &format!("{LABEL}={}", self.tag)]);
        let output = command.arg("--file").arg(dockerfile).arg(context).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// The images of this test, by id, with their references.
    pub(super) fn images(&self) -> BTreeMap<String, Vec<String>> {
        images_of(&self.daemon, &self.tag)
    }

    /// The id that a reference points at.
    pub(super) fn id_of(&self, reference: &str) -> Option<String> {
        let (status, body) = self.daemon.ask("GET", &format!("/images/{reference}/json"));
        let document: Value = serde_json::from_slice(&body).unwrap();
        (status == 200).then(|| document["Id"].as_str().unwrap().to_owned())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for id in self.images().keys() {
            self.daemon.ask("DELETE", &format!("/images/{id}?force=1"));
        }
    }
}

fn images_of(daemon: &Daemon, tag: &str) -> BTreeMap<String, Vec<String>> {
    let filters = format!("%7B%22label%22%3A%5B%22{LABEL}%3D{tag}%22%5D%7D"); // {"label":["..=.."]}
    let listed = daemon.get(&format!("/images/json?all=1&filters={filters}"));
    let image = |image: &Value| {
        let tags = image["RepoTags"].as_array().cloned().unwrap_or_default();
        let tags = tags.iter().map(|tag| tag.as_str().unwrap().to_owned());
        (
            image["Id"].as_str().unwrap().to_owned(),
            tags.filter(|tag| tag != "<none>:<none>").collect(),
        )
    };
    listed.as_array().unwrap().iter().map(image).collect()
}

/// The engine, with an environment.
pub(super) fn engine(daemon: &Daemon, root: &Path, environment: &[(&str, &str)]) -> BuildKit {
    let environment: BTreeMap<String, String> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let credentials = Credentials::load(&environment, root).unwrap();
    let options = Options {
        target: Target::Docker(Endpoint::Unix(daemon.socket.clone())),
        credentials: credentials.clone(),
        registry: Arc::new(Registry::new(RegistryOptions::new(credentials))),
        environment,
        root: root.to_owned(),
    };
    BuildKit::new(options).unwrap()
}
