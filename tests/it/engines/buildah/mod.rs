//! The real `buildah`, on a store of its own.
//!
//! With chroot isolation buildah 1.28 sometimes loses what a command prints just before it ends
//! (about one line of 200 on a busy machine), so a command whose output is looked at sleeps a little.
#![expect(clippy::disallowed_methods, reason = "tests make files and look at the machine")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up fails the test")]
#![expect(clippy::print_stderr, reason = "a skipped test is said aloud")]

mod cancel;
mod content;
mod options;
mod pins;
mod store;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use imgraph::digest::{Digest, OciDigest};
use imgraph::engine::buildah::storage::Storage;
use imgraph::engine::buildah::{Buildah, Options};
use imgraph::engine::{Built, CacheUse, Cancel, Engine, EngineError, Locked, Parent, Request};
use imgraph::image::Platform;

use super::bench::{self, busybox, entries, processes, remote, shown};

/// A store with a base image `acme/base:0.1.0` (busybox) in it; taken away when dropped.
pub(super) struct Bench {
    pub(super) home: tempfile::TempDir,
    pub(super) engine: Buildah,
    base: Built,
    builds: AtomicU32,
}

impl Bench {
    /// `None`, said aloud, where there is no buildah or nothing to put in an image.
    pub(super) fn new() -> Option<Self> {
        let options = Options { environment: std::env::vars().collect(), ..Options::default() };
        if Buildah::new(options.clone()).capabilities().is_err() {
            eprintln!("skipped: buildah is not installed");
            return None;
        }
        let Some(busybox) = busybox() else {
            eprintln!("skipped: no static busybox (`apt-get install busybox-static`)");
            return None;
        };
        let home = tempfile::tempdir().unwrap();
        let engine = Buildah::new(Options { storage: Some(storage(&home)), ..options });
        let base = Built {
            output: imgraph::history::Output {
                id: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
                manifest: None,
                references: Vec::new(),
                diff_ids: Vec::new(),
                size: 0,
            },
            steps: 0,
            cached_steps: 0,
        };
        let mut bench = Self { home, engine, base, builds: AtomicU32::new(0) };
        bench.base = bench.make_base(&busybox);
        Some(bench)
    }

    fn storage(&self) -> Storage {
        storage(&self.home)
    }

    fn make_base(&self, busybox: &Path) -> Built {
        let context = self.home.path().join("base");
        let bin = context.join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        fs::set_permissions(bin.join("busybox"), fs::Permissions::from_mode(0o755)).unwrap();
        for applet in
            ["sh", "cat", "echo", "sleep", "ls", "mkdir", "rm", "ln", "chmod", "stat", "dd"]
        {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        let request = Request {
            context: context.clone(),
            files: entries(&context),
            references: vec!["acme/base:0.1.0".into()],
            ..self.request("FROM scratch\nCOPY rootfs /\n")
        };
        self.build(&request).unwrap()
    }

    /// A build of a Dockerfile on an empty context.
    fn request(&self, dockerfile: &str) -> Request {
        let number = self.builds.fetch_add(1, Ordering::SeqCst);
        let scratch = self.home.path().join(format!("scratch/{number}"));
        Request { dockerfile: dockerfile.into(), ..bench::request(self.home.path(), scratch) }
    }

    fn build(&self, request: &Request) -> Result<Built, EngineError> {
        self.engine.build(request, &Cancel::default(), &mut |_| {})
    }

    /// Builds and returns what it printed as well, steps as `number/total text`.
    fn watch(&self, request: &Request) -> (Result<Built, EngineError>, Vec<String>) {
        let mut lines = Vec::new();
        let built = self.engine.build(request, &Cancel::default(), &mut |progress| {
            lines.push(shown(&progress));
        });
        (built, lines)
    }

    /// An image that is the base with the file `/who` in it.
    fn image(&self, who: &str) -> OciDigest {
        let dockerfile = format!("FROM acme/base:0.1.0\nRUN echo {who} > /who\n");
        self.build(&self.request(&dockerfile)).unwrap().output.id
    }

    /// What the program itself says about this store.
    pub(super) fn buildah(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(self.home.path().join("root"));
        command.arg("--runroot").arg(self.home.path().join("runroot"));
        command
    }

    /// The working containers, and the mounts of containers.
    fn remains(&self) -> (Vec<String>, Vec<String>) {
        let containers = self.buildah(&["containers", "--quiet"]);
        let root = self.home.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let is_remain = |line: &&str| line.contains(&root) && line.contains("/merged");
        let mounts = mounts.lines().filter(is_remain).map(str::to_owned).collect();
        (containers.lines().map(str::to_owned).collect(), mounts)
    }

    fn assert_clean(&self, when: &str) {
        assert_eq!(self.remains(), (Vec::new(), Vec::new()), "{when}");
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.command().args(["rm", "--all"]).output().ok();
        let root = self.home.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if mount.starts_with(&root) {
                Command::new("umount").args(["-l", mount]).output().ok();
            }
        }
    }
}

fn storage(home: &tempfile::TempDir) -> Storage {
    Storage { root: home.path().join("root"), runroot: home.path().join("runroot") }
}

fn parent(reference: &str, id: &OciDigest) -> Parent {
    Parent { reference: reference.into(), id: id.clone(), pinned: "unused:1".into() }
}

#[test]
fn a_build_says_its_steps_and_what_the_cache_gave() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM acme/base:0.1.0 AS one\nRUN echo hello; sleep 0.1\nRUN echo again >&2; sleep 0.1\n\
                      FROM acme/base:0.1.0\nCOPY --from=one /bin/busybox /copy\n";
    let (built, lines) = bench.watch(&bench.request(dockerfile));
    let built = built.unwrap();
    assert_eq!((built.steps, built.cached_steps), (3, 0));
    let expected = [
        "1/? FROM acme/base:0.1.0 AS one",
        "2/? RUN echo hello; sleep 0.1",
        "| hello",
        "3/? RUN echo again >&2; sleep 0.1",
        "| again",
        "4/5 FROM acme/base:0.1.0",
        "5/5 COPY --from=one /bin/busybox /copy",
    ];
    let lines: Vec<&String> = lines.iter().filter(|line| !line.contains("COMMIT")).collect();
    assert_eq!(lines, expected);

    let (again, lines) = bench.watch(&bench.request(dockerfile));
    let again = again.unwrap();
    assert_eq!((again.steps, again.cached_steps), (3, 3), "{lines:?}");
    assert_eq!(again.output.id, built.output.id);

    let fresh = Request { cache: CacheUse::Bypass, ..bench.request(dockerfile) };
    assert_eq!(bench.build(&fresh).unwrap().cached_steps, 0);
    bench.assert_clean("after builds that succeeded");
}

#[test]
fn a_failed_command_has_its_line_and_exit_code_and_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM acme/base:0.1.0\n\n# why\nRUN echo a && \\\n    # inner\n    exit 42\n";
    let error = bench.build(&bench.request(dockerfile)).unwrap_err();
    let EngineError::Step { message, line, exit_code } = error else { panic!("{error:?}") };
    assert_eq!((line, exit_code), (Some(4), Some(42)));
    assert_eq!(message, "RUN echo a && exit 42: exit code 42");
    bench.assert_clean("after a failed RUN");
}

#[test]
fn a_missing_source_has_its_line() {
    let Some(bench) = Bench::new() else { return };
    for copy in ["COPY nope /x", "COPY nope* /x", "COPY --from=nostage /a /b"] {
        let dockerfile = format!("FROM acme/base:0.1.0\n{copy}\n");
        let error = bench.build(&bench.request(&dockerfile)).unwrap_err();
        let EngineError::Step { message, line, exit_code } = error else { panic!("{error:?}") };
        assert_eq!((line, exit_code), (Some(2), None), "{message}");
        assert!(!message.contains("scratch/"), "{message}");
    }
    bench.assert_clean("after failed COPYs");
}

#[test]
fn a_base_that_cannot_be_pulled_is_the_networks_fault() {
    let Some(bench) = Bench::new() else { return };
    let error = bench.build(&bench.request("FROM registry.invalid/a:1\nRUN true\n")).unwrap_err();
    assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
}

#[test]
fn exactly_the_given_files_are_in_the_context() {
    let Some(bench) = Bench::new() else { return };
    let context = bench.home.path().join("context");
    fs::create_dir_all(context.join("d")).unwrap();
    for (name, mode) in [("d/seen", 0o640), ("d/script", 0o755), ("hidden", 0o644)] {
        fs::write(context.join(name), name).unwrap();
        fs::set_permissions(context.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::write(context.join(".dockerignore"), "d/seen\n").unwrap();
    let mut files = entries(&context);
    files.retain(|entry| entry.path != Path::new("hidden"));
    let dockerfile = "FROM acme/base:0.1.0\nCOPY . /c\n\
        RUN cd /c && stat -c '%n %a' .dockerignore d/script d/seen; ls -A /c; cat d/seen; sleep 0.1\n";
    let request = Request { context: context.clone(), files, ..bench.request(dockerfile) };
    let (built, lines) = bench.watch(&request);
    built.unwrap();
    let logs: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("| ")).collect();
    let expected = [".dockerignore 644", "d/script 755", "d/seen 640", ".dockerignore", "d"];
    assert_eq!(logs[..5], expected, "{lines:?}");
    assert!(logs[5].starts_with("d/seen"), "{logs:?}");
    assert!(!request.scratch.path().join("context").exists());
    assert_eq!(fs::read(context.join("d/seen")).unwrap(), b"d/seen");
}

#[test]
fn a_writable_mount_of_the_context_does_not_write_to_the_source() {
    let Some(bench) = Bench::new() else { return };
    let context = bench.home.path().join("context");
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("f"), "source").unwrap();
    let dockerfile = "FROM acme/base:0.1.0\nRUN --mount=type=bind,target=/c,rw echo changed > /c/f; cat /c/f; sleep 0.1\n";
    let files = entries(&context);
    let request = Request { context: context.clone(), files, ..bench.request(dockerfile) };
    let (built, lines) = bench.watch(&request);
    built.unwrap();
    assert!(lines.contains(&"| changed".to_owned()), "{lines:?}");
    assert_eq!(fs::read_to_string(context.join("f")).unwrap(), "source");
}

#[test]
fn a_file_that_changed_since_it_was_fingerprinted_is_said() {
    let Some(bench) = Bench::new() else { return };
    let context = bench.home.path().join("context");
    fs::create_dir_all(&context).unwrap();
    fs::write(context.join("f"), "before").unwrap();
    let files = entries(&context);
    fs::write(context.join("f"), "afterwards").unwrap();
    let request = Request { context, files, ..bench.request("FROM acme/base:0.1.0\nCOPY f /f\n") };
    let error = bench.build(&request).unwrap_err();
    assert!(
        matches!(&error, EngineError::ContextMoved { path } if path == Path::new("f")),
        "{error:?}"
    );
}

#[test]
fn arguments_labels_targets_and_secrets_arrive() {
    let Some(bench) = Bench::new() else { return };
    let secret = bench.home.path().join("secret");
    fs::write(&secret, "hush").unwrap();
    let dockerfile = "FROM acme/base:0.1.0 AS one\nARG GREETING\nARG http_proxy\n\
        RUN echo \"$GREETING and $http_proxy\"; sleep 0.1\n\
        RUN --mount=type=secret,id=s cat /run/secrets/s; sleep 0.1\nFROM one\nRUN exit 1\n";
    let mut request = bench.request(dockerfile);
    request.target = Some("one".into());
    request.args.insert("GREETING".into(), "a b=c 'd'".into());
    request.args.insert("http_proxy".into(), "proxy".into());
    request.labels.insert("org.example.a".into(), "x y".into());
    request.secrets.push(format!("id=s,src={}", secret.display()));
    request.references.push("acme/one:1".into());
    let (built, lines) = bench.watch(&request);
    built.unwrap();
    assert!(lines.contains(&"| a b=c 'd' and proxy".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("| hush")), "{lines:?}");
    let labels = bench.buildah(&[
        "inspect",
        "--type=image",
        "--format={{.OCIv1.Config.Labels}}",
        "acme/one:1",
    ]);
    assert!(labels.contains("org.example.a:x y"), "{labels}");
}

/// cargo gives tests this variable; a build argument of its name must not reach buildah's environment.
#[test]
fn a_secret_of_the_environment_is_not_the_build_argument_of_its_name() {
    let Some(bench) = Bench::new() else { return };
    let Ok(value) = std::env::var("CARGO_PKG_NAME") else {
        eprintln!("skipped: not run by cargo");
        return;
    };
    let dockerfile = "FROM acme/base:0.1.0\nARG CARGO_PKG_NAME\n\
        RUN --mount=type=secret,id=s echo \"$CARGO_PKG_NAME but $(cat /run/secrets/s)\"; sleep 0.1\n";
    let mut request = bench.request(dockerfile);
    request.args.insert("CARGO_PKG_NAME".into(), "argument".into());
    request.secrets.push("\"id=s\",env=CARGO_PKG_NAME".into());
    let (built, lines) = bench.watch(&request);
    built.unwrap();
    assert!(lines.contains(&format!("| argument but {value}")), "{lines:?}");
}

#[test]
fn a_secret_that_is_not_there_is_said_before_the_build() {
    let Some(bench) = Bench::new() else { return };
    let mut request = bench.request("FROM acme/base:0.1.0\n");
    request.secrets.push("id=npm,env=IMGRAPH_TEST_NEVER_SET".into());
    let (built, lines) = bench.watch(&request);
    assert!(
        matches!(&built, Err(EngineError::Auth(text)) if text.contains("`npm`")
            && text.contains("IMGRAPH_TEST_NEVER_SET")),
        "{built:?}"
    );
    assert_eq!(lines, [] as [String; 0]);
}

#[test]
fn nothing_of_the_dockerfile_is_lost() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM acme/base:0.1.0\nHEALTHCHECK --interval=5s CMD true\n\
        ONBUILD RUN echo triggered\nSHELL [\"/bin/sh\", \"-ec\"]\nSTOPSIGNAL SIGINT\n";
    let built = bench.build(&bench.request(dockerfile)).unwrap();
    let document = bench.buildah(&["inspect", "--type=image", built.output.id.hex()]);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let config = &document["Docker"]["config"];
    assert_eq!(config["Healthcheck"]["Test"][1], "true");
    assert_eq!(config["OnBuild"][0], "RUN echo triggered");
    assert_eq!(config["Shell"][1], "-ec");
    assert_eq!(config["StopSignal"], "SIGINT");
}

#[test]
fn a_here_document_is_refused_where_buildah_would_misread_it() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM acme/base:0.1.0\nRUN <<EOF\necho hello\nEOF\n";
    match bench.watch(&bench.request(dockerfile)) {
        (Err(EngineError::Unsupported(message)), _) => {
            assert!(message.contains("Dockerfile:2: buildah 1."), "{message}");
        }
        (Ok(_), lines) => assert!(lines.contains(&"| hello".to_owned()), "{lines:?}"),
        (Err(error), _) => panic!("{error:?}"),
    }
}
