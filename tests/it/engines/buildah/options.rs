//! What buildah makes of the options of a build, and of registries.
//!
//! Registries: the one that `IMGRAPH_TEST_REGISTRY` names, in repositories of this process alone.

use imgraph::engine::buildah::isolation::Isolation;

use super::*;

/// A repository of nobody else in the registry for tests.
fn repository(name: &str) -> Option<String> {
    let Ok(registry) = std::env::var("IMGRAPH_TEST_REGISTRY") else {
        eprintln!("skipped: IMGRAPH_TEST_REGISTRY names no registry");
        return None;
    };
    Some(format!("{registry}/imgraph-{}/{name}", std::process::id()))
}

/// A registry that nobody listens as.
const NOBODY: &str = "127.0.0.1:1/acme/x:1";

#[test]
fn run_finds_the_hosts_that_were_added() {
    let Some(bench) = Bench::new() else { return };
    let request = Request {
        hosts: vec!["db:10.0.0.7".into(), "six:::1".into()],
        ..bench.request("FROM acme/base:0.1.0\nRUN cat /etc/hosts && sleep 0.2\n")
    };
    let (built, lines) = bench.watch(&request);
    built.unwrap();
    let has = |address: &str, name: &str| {
        let words = |line: &String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        lines.iter().any(|line| words(line) == ["|", address, name])
    };
    assert!(has("10.0.0.7", "db") && has("::1", "six"), "{lines:?}");
}

#[test]
fn no_network_is_an_error_where_it_cannot_be_had() {
    let Some(bench) = Bench::new() else { return };
    let options = Options {
        storage: Some(bench.storage()),
        isolation: Some(Isolation::Chroot),
        ..Options::default()
    };
    let engine = Buildah::new(options);
    let asked = |mode: &str| {
        let request = Request {
            network: Some(mode.into()),
            ..bench.request("FROM acme/base:0.1.0\nRUN echo built > /f\n")
        };
        engine.build(&request, &Cancel::default(), &mut |_| {})
    };
    let error = asked("none").unwrap_err();
    let EngineError::Unsupported(text) = error else { panic!("{error:?}") };
    assert!(text.contains("`network = \"none\"` needs an OCI runtime"), "{text}");
    asked("host").unwrap();
    bench.assert_clean("after a refusal");
}

#[test]
fn what_buildah_cannot_is_said_once() {
    let Some(bench) = Bench::new() else { return };
    let request = || Request {
        sbom: true,
        provenance: Some("max".into()),
        cache_to: vec!["type=local,dest=/nowhere".into()],
        ..bench.request("FROM acme/base:0.1.0\nRUN echo built > /f\n")
    };
    let warnings = |lines: Vec<String>| lines.into_iter().filter(|line| line.starts_with('!'));
    let (built, first) = bench.watch(&request());
    built.unwrap();
    assert_eq!(
        warnings(first).collect::<Vec<_>>(),
        [
            "! buildah keeps steps in registries only: `--cache-to type=local,dest=/nowhere` is left out",
            "! buildah attaches neither SBOM nor provenance: they are left out",
        ]
    );
    let (built, second) = bench.watch(&request());
    built.unwrap();
    assert_eq!(warnings(second).count(), 0);
}

#[test]
fn an_image_is_pushed_under_every_reference() {
    let Some(bench) = Bench::new() else { return };
    let Some(repository) = repository("pushed") else { return };
    let id = bench.image("pushed");
    let references = [format!("{repository}:1.0"), format!("{repository}:ig-1")];
    let push = || bench.engine.push(&id, &references, &Cancel::default(), &mut |_| {});
    push().unwrap();
    push().unwrap(); // once more is no failure
    bench.buildah(&["rmi", "--force", id.hex()]);
    for reference in &references {
        let pulled = bench.buildah(&["pull", "--tls-verify=false", reference]);
        assert_eq!(pulled.trim(), id.hex(), "{reference}");
    }
}

#[test]
fn a_push_says_whose_matter_its_failure_is() {
    let Some(bench) = Bench::new() else { return };
    let push = |id: &OciDigest, cancel: &Cancel| {
        bench.engine.push(id, &[NOBODY.to_owned()], cancel, &mut |_| {})
    };
    let error = push(&bench.base.output.id, &Cancel::default()).unwrap_err();
    assert!(
        matches!(&error, EngineError::Unavailable(text) if text.contains("127.0.0.1:1")),
        "{error}"
    );
    let cancel = Cancel::default();
    cancel.raise();
    assert!(matches!(push(&bench.base.output.id, &cancel), Err(EngineError::Cancelled)));
}

#[test]
fn images_from_outside_are_asked_for_again_and_parents_are_not() {
    let Some(bench) = Bench::new() else { return };
    let Some(repository) = repository("outside") else { return };
    let outside = format!("{repository}:1");
    let publish = |who: &str| {
        let id = bench.image(who);
        let reference = [outside.clone()];
        bench.engine.push(&id, &reference, &Cancel::default(), &mut |_| {}).unwrap();
        id
    };
    let old = publish("old");
    publish("new");
    bench.buildah(&["tag", old.hex(), &outside]);
    // The parent is called like an image of a registry that does not exist.
    let parent = Parent {
        reference: NOBODY.into(),
        id: bench.base.output.id.clone(),
        pinned: "acme/base:ig-1".into(),
    };
    let dockerfile =
        format!("FROM {NOBODY}\nCOPY --from={outside} /who /who\nRUN cat /who && sleep 0.2\n");
    let who = |pull: bool, cache: CacheUse| {
        let parents = vec![parent.clone()];
        let request = Request { pull, cache, parents, ..bench.request(&dockerfile) };
        let (built, lines) = bench.watch(&request);
        built.unwrap();
        lines.into_iter().rfind(|line| line == "| old" || line == "| new")
    };
    assert_eq!(who(false, CacheUse::Bypass).as_deref(), Some("| old"), "the store has it");
    assert_eq!(who(true, CacheUse::Bypass).as_deref(), Some("| new"));

    let missing = format!("FROM {NOBODY}\nCOPY --from={repository}:none /who /who\n");
    let parents = vec![parent.clone()];
    let request = Request { pull: true, parents, ..bench.request(&missing) };
    let error = bench.build(&request).unwrap_err();
    assert!(matches!(error, EngineError::Step { line: Some(2), .. }), "{error:?}");
    let request = Request { pull: true, ..bench.request(&format!("FROM {NOBODY}\n")) };
    assert!(matches!(bench.build(&request), Err(EngineError::Unavailable(_))));
}

/// A workspace on the real engine, with a store and a registry of its own, by the real program.
struct Site {
    bench: Bench,
    repository: String,
}

impl Site {
    fn new(name: &str) -> Option<Self> {
        let site = Self { bench: Bench::new()?, repository: repository(name)? };
        let registry = site.repository.split('/').next().unwrap();
        site.write(
            "registries.conf",
            &format!("[[registry]]\nlocation = '{registry}'\ninsecure = true\n"),
        );
        let (root, run) = (site.path("root"), site.path("runroot"));
        let storage = format!(
            "[storage]\ndriver = 'vfs'\ngraphroot = '{}'\nrunroot = '{}'\n",
            root.display(),
            run.display()
        );
        site.write("storage.conf", &storage);
        Some(site)
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.bench.home.path().join("site").join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    /// Runs the program, and returns its exit code and what it said.
    fn imgraph(&self, arguments: &str) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imgraph"));
        command.args(["--engine", "buildah"]).args(arguments.split(' ')).current_dir(self.path(""));
        command.env("CONTAINERS_REGISTRIES_CONF", self.path("registries.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"));
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }
}

#[test]
fn a_workspace_is_pushed_and_another_store_takes_its_steps_from_the_cache() {
    let Some(site) = Site::new("site") else { return };
    let base = format!("{}/outside:1", site.repository);
    let id = site.bench.base.output.id.clone();
    site.bench
        .engine
        .push(&id, std::slice::from_ref(&base), &Cancel::default(), &mut |_| {})
        .unwrap();
    site.write(
        "layers.toml",
        &format!(
            "[workspace]\nregistry = '{0}'\ncache-from = ['{{repository}}/steps']\n\
             cache-to = ['{{repository}}/steps']\n",
            site.repository
        ),
    );
    site.write("images/a/Dockerfile", &format!("FROM {base}\nRUN echo a > /a\nRUN echo b > /b\n"));
    site.write("images/b/Dockerfile", &format!("FROM {}/a\nCOPY f /\n", site.repository));
    site.write("images/b/f", "f\n");
    let (code, said) = site.imgraph("rebuild --push");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(", pushed)") && said.contains("2 built"), "{said}");
    let (code, said) = site.imgraph("rebuild --push");
    assert!(code == Some(0) && said.contains("nothing to do: 2 images"), "{said}");

    // Another machine: neither a store nor a memory.
    fs::remove_dir_all(site.path(".imgraph")).unwrap();
    let everything = ["--storage-driver=vfs", "--root"];
    let mut command = Command::new("buildah");
    command.args(everything).arg(site.path("root")).arg("--runroot").arg(site.path("runroot"));
    assert!(command.args(["rmi", "--all", "--force"]).output().unwrap().status.success());
    let (code, said) = site.imgraph("rebuild a --logs all --verbose");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 of 2 steps cached"), "{said}");

    let (code, said) = site.imgraph("rebuild a --push --force");
    assert!(code == Some(0) && said.contains("pushed)"), "{said}");
}
