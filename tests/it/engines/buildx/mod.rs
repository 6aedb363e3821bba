//! The real `docker buildx`, on the daemons that `IMGRAPH_TEST_DOCKER26` and its kin name.
//!
//! The daemons are shared with other tests: every bench has a repository of its own and takes away
//! what it made.
#![expect(clippy::disallowed_methods, reason = "tests make files and look at the machine")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up fails the test")]
#![expect(clippy::print_stderr, reason = "a skipped test is said aloud")]

mod cancel;
mod content;
mod remote;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use imgraph::engine::buildx::{Buildx, Options};
use imgraph::engine::{
    Built, CacheUse, Cancel, Engine, EngineError, Locked, Parent, Presence, Request,
};
use imgraph::image::Platform;

use super::bench::{self, busybox, entries, remote, shown};

/// The daemon whose store is a graph driver, and the one with containerd's.
const DAEMONS: [&str; 2] = ["IMGRAPH_TEST_DOCKER26", "IMGRAPH_TEST_DOCKER26C"];

/// The daemon whose BuildKit has no named contexts.
const OLD: &str = "IMGRAPH_TEST_DOCKER20";

static BENCHES: AtomicU32 = AtomicU32::new(0);

/// A base image with busybox in a repository of its own.
struct Bench {
    home: tempfile::TempDir,
    engine: Buildx,
    options: Options,
    base: Built,
    builds: AtomicU32,
}

impl Bench {
    fn new() -> Option<Self> {
        Self::on(DAEMONS[0])
    }

    /// `None`, said aloud, where there is no such daemon, or nothing to put in an image.
    fn on(daemon: &str) -> Option<Self> {
        let variables = (std::env::var("IMGRAPH_TEST_DOCKER_CLI"), std::env::var(daemon));
        let (Ok(program), Ok(host)) = variables else {
            eprintln!("skipped: IMGRAPH_TEST_DOCKER_CLI and {daemon} name no Docker");
            return None;
        };
        let Some(busybox) = busybox() else {
            eprintln!("skipped: no static busybox (`apt-get install busybox-static`)");
            return None;
        };
        let options = Options { program: program.into(), host: Some(host), ..Options::default() };
        let output = imgraph::history::Output {
            id: format!("sha256:{}", "0".repeat(64)).parse().unwrap(),
            manifest: None,
            references: Vec::new(),
            diff_ids: Vec::new(),
            size: 0,
        };
        let mut bench = Self {
            home: tempfile::tempdir().unwrap(),
            engine: Buildx::new(options.clone()),
            options,
            base: Built { output, steps: 0, cached_steps: 0 },
            builds: AtomicU32::new(0),
        };
        bench.base = bench.make_base(&busybox);
        Some(bench)
    }

    fn make_base(&self, busybox: &Path) -> Built {
        let bin = self.context().join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy(busybox, bin.join("busybox")).unwrap();
        for applet in ["sh", "cat", "echo", "sleep", "ls", "mkdir", "ln", "stat"] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        // With a time of its own it is an image of its own: removing it disturbs no other bench.
        let epoch = u64::from(std::process::id()) * 1000
            + u64::from(BENCHES.fetch_add(1, Ordering::SeqCst));
        let request = self.with_context("FROM scratch\nCOPY rootfs /\n", "base:1");
        let request = Request { epoch, ..request };
        let built = self.build(&request).unwrap();
        fs::remove_dir_all(self.context()).unwrap();
        fs::create_dir(self.context()).unwrap();
        built
    }

    fn context(&self) -> std::path::PathBuf {
        self.home.path().join("context")
    }

    /// A reference that no other bench has.
    fn reference(&self, name: &str) -> String {
        let own = self.home.path().file_name().unwrap().to_string_lossy().to_lowercase();
        format!("imgraph-test/{}/{name}", own.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
    }

    /// A build on an empty context; `BASE` in the Dockerfile is the base.
    fn request(&self, dockerfile: &str, name: &str) -> Request {
        let number = self.builds.fetch_add(1, Ordering::SeqCst);
        let scratch = self.home.path().join(format!("scratch/{number}"));
        Request {
            dockerfile: dockerfile.replace("BASE", &self.reference("base:1")).into(),
            context: self.context(),
            references: vec![self.reference(name)],
            ..bench::request(self.home.path(), scratch)
        }
    }

    /// A build on everything that is in the context.
    fn with_context(&self, dockerfile: &str, name: &str) -> Request {
        Request { files: entries(&self.context()), ..self.request(dockerfile, name) }
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

    /// What a build logs.
    fn logs(&self, request: &Request) -> Vec<String> {
        let (built, lines) = self.watch(request);
        built.unwrap();
        lines.iter().filter_map(|line| line.strip_prefix("| ")).map(str::to_owned).collect()
    }

    /// What the program itself says of this daemon.
    fn docker(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.options.program);
        command.arg("--host").arg(self.options.host.as_ref().unwrap()).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The images of this bench: id and reference, for each reference.
    fn images(&self) -> Vec<(String, String)> {
        let filter = format!("reference={}*", self.reference(""));
        let format = "{{.ID}} {{.Repository}}:{{.Tag}}";
        let rows = ["image", "ls", "--no-trunc", "--format", format, "--filter", &filter];
        let rows = self.docker(&rows);
        let pair =
            |row: &str| row.split_once(' ').map(|(id, name)| (id.to_owned(), name.to_owned()));
        rows.lines().filter_map(pair).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for (_, reference) in self.images() {
            self.docker(&["image", "rm", &reference]);
        }
    }
}

fn parent(reference: &str, built: &Built) -> Parent {
    let pinned = built.output.references[0].clone();
    Parent { reference: reference.into(), id: built.output.id.clone(), pinned }
}

#[test]
fn a_build_says_its_steps_and_what_the_cache_gave() {
    let Some(bench) = Bench::new() else { return };
    let word = bench.reference("");
    // BuildKit makes one of what two builds do at the same time with the same layers, and tells it
    // under the name that the other one has for it: the base is one that no other bench has.
    fs::write(bench.context().join("own"), &word).unwrap();
    bench.build(&bench.with_context("FROM BASE\nCOPY own /own\n", "own:1")).unwrap();
    let own = bench.reference("own:1");
    let dockerfile = format!(
        "FROM {own} AS one\nRUN echo {word}\nRUN echo again >&2\nFROM {own}\n\
         COPY --from=one /bin/busybox /copy\n"
    );
    let fresh = Request { cache: CacheUse::Bypass, ..bench.request(&dockerfile, "a:1") };
    let (built, lines) = bench.watch(&fresh);
    let built = built.unwrap();
    assert_eq!((built.steps, built.cached_steps), (3, 0), "{lines:?}");
    let steps: Vec<&String> =
        lines.iter().filter(|line| line.contains("/4 ") && !line.ends_with("CACHED")).collect();
    let [from, first, second, copy] = steps[..] else { panic!("{lines:?}") };
    assert!(from.starts_with("1/4 FROM docker.io/imgraph-test/"), "{from}");
    assert_eq!(*first, format!("2/4 RUN echo {word}"));
    assert_eq!(second, "3/4 RUN echo again >&2");
    assert_eq!(copy, "4/4 COPY --from=one /bin/busybox /copy");
    assert!(lines.contains(&format!("| {word}")) && lines.contains(&"| again".to_owned()));
    let image = (built.output.id.to_string(), bench.reference("a:1"));
    assert!(bench.images().contains(&image));

    let again = bench.build(&bench.request(&dockerfile, "a:1")).unwrap();
    assert_eq!((again.steps, again.cached_steps), (3, 3));
    assert_eq!(again.output.id, built.output.id, "the time of the image is the epoch");
}

#[test]
fn a_pinned_parent_is_what_is_built_on_wherever_its_tag_points() {
    for daemon in [OLD, DAEMONS[0], DAEMONS[1]] {
        let Some(bench) = Bench::on(daemon) else { return };
        let image = |who: &str| {
            let dockerfile = format!("FROM BASE\nRUN echo {who} > /who\n");
            bench.build(&bench.request(&dockerfile, &format!("parent:ig-{who}"))).unwrap()
        };
        let (old, new) = (image("old"), image("new"));
        let (reference, short) = (bench.reference("parent:latest"), bench.reference("parent"));
        bench.engine.tag(&old.output.id, std::slice::from_ref(&reference)).unwrap();
        let dockerfile = format!(
            "ARG V=latest\nFROM {short}:$V AS one\nRUN cat /who\nFROM BASE\n\
             COPY --from=one /who /one\nCOPY --from={short} /who /two\nRUN cat /one /two\n"
        );
        let request = Request {
            parents: vec![parent(&reference, &new), parent(&short, &new)],
            cache: CacheUse::Bypass,
            ..bench.request(&dockerfile, "child:1")
        };
        let mut logs = bench.logs(&request);
        logs.sort();
        assert_eq!(logs, ["new"; 3], "{daemon}: the stage and both copies");
        let one = Request {
            target: Some("one".into()),
            parents: vec![parent(&reference, &new)],
            cache: CacheUse::Bypass,
            ..bench.request(&dockerfile, "child:2")
        };
        assert_eq!(bench.logs(&one), ["new"], "{daemon}");
    }
}

#[test]
fn what_is_pinned_from_outside_is_read_wherever_its_tag_points() {
    let Ok(registry) = std::env::var("IMGRAPH_TEST_REGISTRY") else {
        return eprintln!("skipped: IMGRAPH_TEST_REGISTRY is not set");
    };
    for daemon in DAEMONS {
        let Some(bench) = Bench::on(daemon) else { continue };
        let repository = bench.reference("outside");
        let external = format!("{registry}/{repository}:1");
        let mut digests = Vec::new();
        for who in ["old", "new"] {
            let dockerfile = format!("FROM BASE\nRUN echo {who} > /who\n");
            let built = bench.build(&bench.request(&dockerfile, &format!("o:{who}"))).unwrap();
            let names = std::slice::from_ref(&external);
            bench.engine.tag(&built.output.id, names).unwrap();
            bench.engine.push(&built.output.id, names, &Cancel::default(), &mut |_| {}).unwrap();
            digests.push(remote(&registry, &repository, "1").unwrap());
        }
        let locked = Locked {
            reference: external.clone(),
            pinned: format!("{registry}/{repository}@{}", digests[0]),
            platform: Some(Platform::host()),
        };
        let dockerfile = format!("FROM {external}\nRUN cat /who\n");
        for (locked, who) in [(vec![locked], "old"), (Vec::new(), "new")] {
            let request = bench.request(&dockerfile, &format!("child:{who}"));
            let request = Request { locked, cache: CacheUse::Bypass, ..request };
            assert_eq!(bench.logs(&request), [who], "{daemon}");
        }
    }
}

#[test]
fn a_parent_may_be_called_like_a_stage() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM one AS two\nRUN echo > /two\nFROM one AS one\nRUN ls /bin/cat\n";
    let request = Request {
        parents: vec![parent("one", &bench.base)],
        cache: CacheUse::Bypass,
        ..bench.request(dockerfile, "a:1")
    };
    assert_eq!(bench.logs(&request), ["/bin/cat"]);
}

#[test]
fn parents_are_not_asked_for_in_registries() {
    let (Some(bench), Ok(registry)) = (Bench::new(), std::env::var("IMGRAPH_TEST_REGISTRY")) else {
        eprintln!("skipped: IMGRAPH_TEST_REGISTRY names no registry");
        return;
    };
    let external = format!("{registry}/{}", bench.reference("external:1"));
    let push = |who: &str| {
        let dockerfile = format!("FROM BASE\nRUN echo {who} > /who\n");
        let request =
            Request { references: vec![external.clone()], ..bench.request(&dockerfile, "") };
        let id = bench.build(&request).unwrap().output.id;
        bench.engine.push(&id, &request.references, &Cancel::default(), &mut |_| {}).unwrap();
        id
    };
    let old = push("old");
    push("new");
    bench.engine.tag(&old, std::slice::from_ref(&external)).unwrap();
    let dockerfile =
        format!("FROM {external} AS x\nFROM parent\nRUN --mount=from=x,target=/x cat /x/who\n");
    for (pull, who) in [(false, "old"), (true, "new")] {
        let request = Request {
            pull,
            parents: vec![parent("parent", &bench.base)],
            cache: CacheUse::Bypass,
            ..bench.request(&dockerfile, "a:1")
        };
        assert_eq!(bench.logs(&request), [who]);
    }
    bench.docker(&["image", "rm", "--force", &external]);
}

#[test]
fn what_a_builder_cannot_do_is_warned_of_once() {
    let Some(bench) = Bench::new() else { return };
    let request = || Request {
        sbom: true,
        cache_from: vec!["127.0.0.1:9/none:1".into()],
        cache_to: vec!["type=local,dest=/nowhere".into()],
        ..bench.request("FROM BASE\nRUN true\n", "a:1")
    };
    let warnings = || {
        let (built, lines) = bench.watch(&request());
        built.unwrap();
        lines.into_iter().filter(|line| line.starts_with("! ")).collect::<Vec<_>>()
    };
    let first = warnings();
    for word in ["no SBOM", "caches are not written", "importing cache manifest"] {
        assert!(first.iter().any(|line| line.contains(word)), "{word}: {first:?}");
    }
    assert_eq!(warnings().len(), 1, "only what concerns this build");
    assert!(!bench.engine.capabilities().unwrap().lacks.is_empty());
}

#[test]
fn a_failed_command_has_its_line_and_exit_code() {
    for daemon in DAEMONS {
        let Some(bench) = Bench::on(daemon) else { return };
        let dockerfile = "FROM BASE\n\n# why\nRUN echo a && \\\n    # inner\n    exit 42\n";
        let error = bench.build(&bench.request(dockerfile, "a:1")).unwrap_err();
        let EngineError::Step { message, line, exit_code } = error else { panic!("{error:?}") };
        assert_eq!((line, exit_code), (Some(4), Some(42)));
        assert_eq!(message, "RUN echo a && exit 42: exit code 42");
    }
}

#[test]
fn other_mistakes_have_their_lines() {
    let Some(bench) = Bench::new() else { return };
    for (text, expected) in [
        ("COPY nope /x", "COPY nope /x: \"/nope\": not found"),
        ("RUNN x", "unknown instruction: RUNN (did you mean RUN?)"),
        ("COPY --from=BASE /nope /x", "/nope: no such file or directory"),
        ("USER nobody\nRUN x", "RUN x: unable to find user nobody"),
    ] {
        let error =
            bench.build(&bench.request(&format!("FROM BASE\n{text}\n"), "a:1")).unwrap_err();
        let EngineError::Step { message, line, exit_code } = error else { panic!("{error:?}") };
        let lines = u32::try_from(text.lines().count()).unwrap();
        assert_eq!((line, exit_code), (Some(lines + 1), None), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    let request = Request { target: Some("z".into()), ..bench.request("FROM BASE\n", "a:1") };
    let error = bench.build(&request).unwrap_err();
    assert!(matches!(&error, EngineError::Step { line: None, .. }), "{error:?}");
}

#[test]
fn a_base_that_cannot_be_pulled_is_the_networks_fault() {
    let Some(bench) = Bench::new() else { return };
    let error = bench.build(&bench.request("FROM 127.0.0.1:9/a:1\nRUN true\n", "a:1")).unwrap_err();
    assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
    let host = Some("unix:///nonexistent.sock".to_owned());
    let nowhere = Buildx::new(Options { host, ..bench.options.clone() });
    let error = nowhere.capabilities().unwrap_err();
    assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
}

#[test]
fn exactly_the_given_files_are_in_the_context() {
    let Some(bench) = Bench::new() else { return };
    fs::create_dir(bench.context().join("d")).unwrap();
    for name in ["d/seen", "hidden", ".dockerignore"] {
        fs::write(bench.context().join(name), "d/seen\n").unwrap();
    }
    let dockerfile = "FROM BASE\nCOPY . /c\nRUN ls -A /c /c/d; stat -c %Y /c/d/seen\n";
    let mut request = bench.with_context(dockerfile, "a:1");
    request.files.retain(|entry| entry.path != Path::new("hidden"));
    (request.epoch, request.cache) = (7, CacheUse::Bypass);
    let logs = bench.logs(&request);
    assert_eq!(logs, ["/c:", ".dockerignore", "d", "", "/c/d:", "seen", "7"]);
    let left: Vec<_> = fs::read_dir(request.scratch.path()).unwrap().collect();
    assert_eq!(left.len(), 3, "Dockerfile, its ignore file, and the metadata: {left:?}");
}

/// BuildKit takes a file that it was sent before for the same by its size and time.
#[test]
fn a_file_with_other_content_and_the_old_size_and_time_is_sent() {
    let Some(bench) = Bench::new() else { return };
    let file = bench.context().join("f");
    for content in ["one", "two"] {
        fs::write(&file, content).unwrap();
        let time = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().append(true).open(&file).unwrap().set_modified(time).unwrap();
        let request = bench.with_context("FROM BASE\nCOPY f /f\nRUN cat /f; echo\n", "a:1");
        assert_eq!(bench.logs(&Request { cache: CacheUse::Bypass, ..request }), [content]);
    }
}

#[test]
fn values_of_arguments_and_secrets_arrive() {
    let Some(bench) = Bench::new() else { return };
    let secret = bench.home.path().join("secret");
    fs::write(&secret, "s").unwrap();
    let dockerfile = "FROM BASE\nARG A\nARG HOME\n\
        RUN --mount=type=secret,id=x echo $A $HOME; cat /run/secrets/x; echo\n";
    let request = Request {
        args: [("A", "a b"), ("HOME", "/h")].map(|(k, v)| (k.into(), v.into())).into(),
        labels: [("l".to_owned(), "v w".to_owned())].into(),
        secrets: vec![format!("id=x,src={}", secret.display())],
        cache: CacheUse::Bypass,
        ..bench.request(dockerfile, "a:1")
    };
    assert_eq!(bench.logs(&request), ["a b /h", "s"]);
    let format = "{{index .Config.Labels \"l\"}} {{.Created}}";
    let found = bench.docker(&["image", "inspect", "--format", format, &request.references[0]]);
    assert!(found.starts_with("v w 1970-01-01T00:00:00Z"), "{found}");
}

#[test]
fn a_dockerfile_with_a_time_of_its_own_is_left_alone() {
    let Some(bench) = Bench::new() else { return };
    fs::write(bench.context().join("f5"), "f\n").unwrap();
    let dockerfile = "FROM BASE\nARG SOURCE_DATE_EPOCH=5\nCOPY f$SOURCE_DATE_EPOCH /f\n\
        RUN echo $SOURCE_DATE_EPOCH\n";
    let mut request = bench.with_context(dockerfile, "a:1");
    request.cache = CacheUse::Bypass;
    assert_eq!(bench.logs(&request), ["5"]);
}

#[test]
fn outputs_are_found_tagged_and_removed() {
    for daemon in DAEMONS {
        let Some(bench) = Bench::on(daemon) else { return };
        let request = bench.request("FROM BASE\nRUN echo 1 > /f\n", "a:ig-1");
        let built = bench.build(&request).unwrap().output;
        let references = vec![bench.reference("a:latest"), bench.reference("a:ig-1")];
        let wanted = imgraph::history::Output { references: references.clone(), ..built.clone() };
        let presence = || bench.engine.present(&[&wanted]).unwrap().remove(0);
        assert_eq!(presence(), Presence::Untagged { references: vec![references[0].clone()] });
        bench.engine.tag(&built.id, &[bench.reference("a")]).unwrap();
        assert_eq!(presence(), Presence::Present);
        bench.engine.remove(&built.id).unwrap();
        assert_eq!(presence(), Presence::Present, "it has references: it stays");
        for reference in &references {
            bench.docker(&["image", "tag", &bench.reference("base:1"), reference]);
        }
        bench.engine.remove(&built.id).unwrap();
        assert_eq!(presence(), Presence::Missing, "{daemon}");
        bench.engine.remove(&built.id).unwrap();
    }
}

#[test]
fn what_it_is_can_be_said() {
    let Some(bench) = Bench::new() else { return };
    let capabilities = bench.engine.capabilities().unwrap();
    assert_eq!(capabilities.class, "buildx");
    assert!(capabilities.version.starts_with("0."), "{capabilities:?}");
    assert_eq!(capabilities.platform, Platform::host());
}
