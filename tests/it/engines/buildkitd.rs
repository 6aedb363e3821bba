//! A real `buildkitd`, and an image layout of each test's own.
//!
//! `IMGRAPH_TEST_BUILDKITD` says where it is (`unix://..`, `tcp://..`). For mutual TLS
//! `IMGRAPH_TEST_BUILDKITD_TLS` (`tcp://..`) and `IMGRAPH_TEST_BUILDKITD_CERTS`, a directory with
//! `ca.pem`, `cert.pem` and `key.pem`.
#![expect(clippy::disallowed_methods, reason = "tests make files and look at the layout")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up fails the test")]
#![expect(clippy::print_stderr, reason = "a skipped test is said aloud")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use imgraph::digest::OciDigest;
use imgraph::dockerconfig::credentials::Credentials;
use imgraph::engine::buildkit::{BuildKit, LAYOUT, Options, Target};
use imgraph::engine::docker::buildkitd::buildkit_endpoint;
use imgraph::engine::docker::endpoint::Endpoint;
use imgraph::engine::{
    Built, CacheUse, Cancel, Engine, EngineError, Parent, Presence, Progress, Request,
};
use imgraph::registry::{self, Registry};
use imgraph::tls::Tls;
use serde_json::Value;

use crate::engines::bench::{self, busybox, entries, shown};

/// A layout with a base image in it: busybox.
struct Bench {
    home: tempfile::TempDir,
    engine: BuildKit,
    builds: AtomicU32,
    base: Option<Built>,
}

impl Bench {
    /// `None`, said aloud, where there is no daemon or nothing to put in an image.
    fn new() -> Option<Self> {
        let Ok(address) = std::env::var("IMGRAPH_TEST_BUILDKITD") else {
            eprintln!("skipped: IMGRAPH_TEST_BUILDKITD names no buildkitd");
            return None;
        };
        let Some(busybox) = busybox() else {
            eprintln!("skipped: no static busybox (`apt-get install busybox-static`)");
            return None;
        };
        let home = tempfile::tempdir().unwrap();
        let endpoint = buildkit_endpoint(&address, None).unwrap();
        let engine = engine(endpoint, home.path());
        let mut bench = Self { home, engine, builds: AtomicU32::new(0), base: None };
        bench.base = Some(bench.make_base(&busybox));
        Some(bench)
    }

    fn make_base(&self, busybox: &Path) -> Built {
        let bin = self.context().join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        for applet in ["sh", "cat", "echo", "sleep", "touch"] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        // A layer of its own, so that no other bench has brought it to the daemon's mind.
        fs::write(self.context().join("rootfs/bench"), self.home.path().to_str().unwrap()).unwrap();
        let request = self.request("FROM scratch\nCOPY rootfs /\n");
        let files = entries(&self.context());
        self.build(&Request { files, sources: vec!["/rootfs".to_owned()], ..request }).unwrap()
    }

    fn context(&self) -> PathBuf {
        self.home.path().join("context")
    }

    fn layout(&self) -> PathBuf {
        self.home.path().join("oci")
    }

    fn blob(&self, digest: &OciDigest) -> PathBuf {
        self.layout().join("blobs/sha256").join(digest.hex())
    }

    fn json(&self, digest: &OciDigest) -> Value {
        serde_json::from_slice(&fs::read(self.blob(digest)).unwrap()).unwrap()
    }

    /// The digests of the layers of an image, as its manifest has them.
    fn layers(&self, built: &Built) -> Vec<OciDigest> {
        let manifest = self.json(built.output.manifest.as_ref().unwrap());
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["digest"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// The names of all blobs.
    fn blobs(&self) -> BTreeSet<String> {
        let listed = fs::read_dir(self.layout().join("blobs/sha256")).unwrap();
        listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A build without context; `BASE` in the Dockerfile is the base.
    fn request(&self, dockerfile: &str) -> Request {
        let number = self.builds.fetch_add(1, Ordering::SeqCst);
        let scratch = self.home.path().join(format!("scratch/{number}"));
        fs::create_dir_all(&scratch).unwrap();
        let parents = self.base.as_ref().map(|base| parent("acme/base:1", base));
        Request {
            image: format!("test/{number}").parse().unwrap(),
            dockerfile: dockerfile.replace("BASE", "acme/base:1").into(),
            context: self.context(),
            parents: parents.into_iter().collect(),
            epoch: 1_714_885_505,
            ..bench::request(self.home.path(), scratch)
        }
    }

    fn build(&self, request: &Request) -> Result<Built, EngineError> {
        self.engine.build(request, &Cancel::default(), &mut |_| {})
    }

    /// Builds, and what it said.
    fn watch(&self, request: &Request) -> (Result<Built, EngineError>, Vec<String>) {
        let mut lines = Vec::new();
        let mut keep = |progress: Progress| lines.push(shown(&progress));
        let built = self.engine.build(request, &Cancel::default(), &mut keep);
        (built, lines)
    }

    fn presence(&self, built: &Built) -> Presence {
        self.engine.present(&[&built.output]).unwrap().remove(0)
    }
}

fn engine(endpoint: Endpoint, home: &Path) -> BuildKit {
    let environment = BTreeMap::new();
    let credentials = Credentials::load(&environment, home).unwrap();
    let target = Target::Buildkitd { endpoint, layout: home.join("oci") };
    let registry = Arc::new(Registry::new(registry::Options::new(credentials.clone())));
    let root = home.to_owned();
    BuildKit::new(Options { target, credentials, registry, environment, root }).unwrap()
}

fn parent(reference: &str, built: &Built) -> Parent {
    let id = built.output.id.clone();
    Parent { reference: reference.into(), id, pinned: "acme/pinned:ig-1".into() }
}

fn no_cache(request: Request) -> Request {
    Request { cache: CacheUse::Bypass, ..request }
}

#[test]
fn an_image_comes_into_the_layout_and_says_its_steps() {
    let Some(bench) = Bench::new() else { return };
    let request = bench.request("FROM BASE\nRUN echo hello > /one && echo said\nUSER 7\n");
    let (built, lines) = bench.watch(&Request { references: vec!["acme/app:1".into()], ..request });
    let built = built.unwrap();
    assert_eq!(lines, ["1/1 RUN echo hello > /one && echo said", "| said"]);
    assert_eq!((built.steps, built.cached_steps), (1, 0));
    assert_eq!(built.output.manifest, Some(built.output.id.clone()));
    assert_eq!(built.output.diff_ids.len(), 2);
    assert_eq!(bench.presence(&built), Presence::Present);
    let config =
        bench.json(&built.output.id)["config"]["digest"].as_str().unwrap().parse().unwrap();
    let config = bench.json(&config);
    assert_eq!(config["config"]["User"], "7");
    assert_eq!(config["created"], "2024-05-05T05:05:05Z");
    let capabilities = bench.engine.capabilities().unwrap();
    assert_eq!(capabilities.class, LAYOUT);
    assert!(capabilities.reproducible, "{capabilities:?}");
}

#[test]
fn an_image_that_is_built_again_is_the_same_byte_for_byte() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM BASE\nRUN touch /one\nFROM BASE\nCOPY --from=0 /one /\nRUN touch /two\n";
    let first = bench.build(&no_cache(bench.request(dockerfile))).unwrap();
    // The times in an image have whole seconds.
    let second = Instant::now() + Duration::from_millis(1100);
    while Instant::now() < second {
        thread::yield_now();
    }
    let again = bench.build(&no_cache(bench.request(dockerfile))).unwrap();
    assert_eq!(again.cached_steps, 0);
    assert_eq!(again.output.id, first.output.id);
}

#[test]
fn a_parent_is_read_from_the_layout_and_does_not_come_back() {
    let Some(bench) = Bench::new() else { return };
    let base = bench.layers(bench.base.as_ref().unwrap());
    let written = fs::metadata(bench.blob(&base[0])).unwrap();
    let child = bench.build(&bench.request("FROM BASE\nRUN cat /bench > /copy\n")).unwrap();
    assert_eq!(bench.layers(&child)[..1], base);
    let after = fs::metadata(bench.blob(&base[0])).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec()), (written.ino(), written.mtime_nsec()));

    let grandchild = Request {
        parents: vec![
            parent("acme/child", &child),
            parent("acme/base:1", bench.base.as_ref().unwrap()),
        ],
        ..bench.request("FROM acme/child\nCOPY --from=BASE /bench /again\nRUN cat /copy /again\n")
    };
    let (built, lines) = bench.watch(&grandchild);
    assert_eq!(bench.layers(&built.unwrap())[..2], bench.layers(&child));
    let said = lines.iter().filter(|line| line.contains(bench.home.path().to_str().unwrap()));
    assert_eq!(said.count(), 1, "{lines:?}"); // /bench has no line end
}

#[test]
fn a_parent_that_is_called_like_a_stage_is_pinned_too() {
    let Some(bench) = Bench::new() else { return };
    let request =
        bench.request("FROM scratch AS base\nFROM acme/base\nFROM base\nCOPY --from=1 /bench /\n");
    let dockerfile = "FROM base\nFROM scratch AS base\nCOPY --from=0 /bench /\n";
    let base = bench.base.as_ref().unwrap();
    let request =
        Request { dockerfile: dockerfile.into(), parents: vec![parent("base", base)], ..request };
    let built = bench.build(&request).unwrap();
    assert_eq!(built.output.diff_ids.len(), 1);
}

#[test]
fn a_blob_that_was_lost_comes_again() {
    let Some(bench) = Bench::new() else { return };
    let request = bench.request("FROM BASE\nRUN echo lost > /lost\n");
    let built = bench.build(&request).unwrap();
    fs::remove_file(bench.blob(&bench.layers(&built)[1])).unwrap();
    assert_eq!(bench.presence(&built), Presence::Missing);
    let again = bench.build(&request).unwrap();
    assert_eq!(again.output, built.output);
    assert_eq!(bench.presence(&again), Presence::Present);
    // One that somebody cut short is as good as lost.
    fs::write(bench.blob(&bench.layers(&built)[1]), "short").unwrap();
    assert_eq!(bench.presence(&built), Presence::Missing);
    bench.build(&request).unwrap();
    assert_eq!(bench.presence(&again), Presence::Present);
}

#[test]
fn attestations_give_another_image_with_the_same_content() {
    let Some(bench) = Bench::new() else { return };
    let request = bench.request("FROM BASE\nRUN echo one > /one\n");
    let plain = bench.build(&request).unwrap();
    let attested = Request { provenance: Some("min".to_owned()), ..request };
    let attested = bench.build(&attested).unwrap();
    assert_ne!(attested.output.id, plain.output.id);
    assert_eq!(attested.output.manifest, plain.output.manifest);
    assert_eq!(bench.presence(&attested), Presence::Present);
    let content =
        |built| bench.engine.content(built, &BTreeMap::new(), &Cancel::default()).unwrap().id;
    assert_eq!(content(&attested), content(&plain));
    // An index is as good a parent as a manifest.
    let child = Request {
        parents: vec![parent("acme/base:1", &attested)],
        ..bench.request("FROM BASE\nRUN cat /one\n")
    };
    assert_eq!(bench.build(&child).unwrap().output.diff_ids.len(), 3);
}

#[test]
fn what_is_removed_is_gone_when_the_engine_is() {
    let Some(bench) = Bench::new() else { return };
    let before = bench.blobs();
    let base = bench.base.as_ref().unwrap();
    bench.engine.tag(&base.output.id, &["acme/base:1".to_owned()]).unwrap();
    let built = bench.build(&bench.request("FROM BASE\nRUN echo dropped > /dropped\n")).unwrap();
    bench.engine.remove(&built.output.id).unwrap();
    bench.engine.remove(&base.output.id).unwrap();
    assert_eq!(bench.blobs().len(), before.len() + 3);
    let Bench { home, engine, .. } = bench;
    drop(engine);
    let left = fs::read_dir(home.path().join("oci/blobs/sha256")).unwrap();
    let left: BTreeSet<String> =
        left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, before);
    assert!(!home.path().join("oci/ingest").exists());
}

#[test]
fn a_build_that_is_given_up_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    let before = bench.blobs();
    let cancel = Cancel::default();
    let begun = Instant::now();
    let request = no_cache(bench.request("FROM BASE\nRUN echo begun && sleep 60\n"));
    let built = bench.engine.build(&request, &cancel, &mut |progress| {
        if shown(&progress) == "| begun" {
            cancel.raise();
        }
    });
    assert!(matches!(built, Err(EngineError::Cancelled)), "{built:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    assert_eq!(bench.blobs(), before);
}

#[test]
fn a_failed_command_has_its_line_and_exit_code() {
    let Some(bench) = Bench::new() else { return };
    let built = bench.build(&bench.request("FROM BASE\n\nRUN echo no && exit 42\n"));
    let Err(EngineError::Step { line, exit_code, .. }) = built else { panic!("{built:?}") };
    assert_eq!((line, exit_code), (Some(3), Some(42)));
}

#[test]
fn builds_at_once_do_not_get_into_each_others_way() {
    let Some(bench) = Bench::new() else { return };
    let build = |number: usize| {
        let name = format!("acme/at-once:{number}");
        let request = bench.request(&format!("FROM BASE\nRUN echo {number} > /n && touch /same\n"));
        bench.build(&Request { references: vec![name], ..request }).unwrap()
    };
    let built: Vec<Built> = thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|number| scope.spawn(move || build(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for built in &built {
        assert_eq!(bench.presence(built), Presence::Present);
    }
    let ids: BTreeSet<&OciDigest> = built.iter().map(|built| &built.output.id).collect();
    assert_eq!(ids.len(), 6);
}

#[test]
fn a_daemon_behind_mutual_tls_is_reached_with_certificates_and_not_without() {
    let address = std::env::var("IMGRAPH_TEST_BUILDKITD_TLS");
    let directory = std::env::var("IMGRAPH_TEST_BUILDKITD_CERTS");
    let (Ok(address), Ok(directory)) = (address, directory) else {
        eprintln!("skipped: IMGRAPH_TEST_BUILDKITD_TLS and .._CERTS name no buildkitd with TLS");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| Some(Path::new(&directory).join(name));
    let tls = Tls {
        ca: file("ca.pem"),
        cert: file("cert.pem"),
        key: file("key.pem"),
        server_name: Some("localhost".to_owned()),
        ..Tls::default()
    };
    let asked = |tls: Tls| {
        let endpoint = buildkit_endpoint(&address, Some(tls)).unwrap();
        engine(endpoint, home.path()).capabilities()
    };
    assert!(asked(tls.clone()).unwrap().version.starts_with("buildkitd "));
    for wrong in [
        Tls { cert: None, key: None, ..tls.clone() },
        Tls { ca: None, ..tls.clone() },
        Tls { server_name: Some("elsewhere.example".to_owned()), ..tls },
    ] {
        let refused = asked(wrong.clone());
        let is_refused = matches!(refused, Err(EngineError::Unavailable(_) | EngineError::Auth(_)));
        assert!(is_refused, "{wrong:?}: {refused:?}");
    }
}
