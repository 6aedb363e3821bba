//! Decisions from the registry: a fresh machine finds there what others built, and leaves what it
//! built for them.
//!
//! The engine is the simulated one, whose pushes are real here: to a registry in memory, and to a
//! real one where there is one. A second work tree stands in for a second machine.

mod atomic;
mod faults;
mod records;
mod runners;

use std::process::Command;

use serde_json::Value;

use crate::conformance::aloud;
use crate::registry::Bench;
use crate::registry::front::{Behind, Fault, Request, Response};
use crate::support::{Outcome, Said, TREE, Workspace};

/// A registry, and a work tree for each machine.
struct World {
    registry: Bench,
    machines: Vec<Workspace>,
}

impl World {
    fn new() -> Self {
        Self::with(Bench::new())
    }

    /// In memory, and with a real registry where there is one.
    fn each(test: impl Fn(Self)) {
        test(Self::new());
        match std::env::var("IMGRAPH_TEST_REGISTRY") {
            Ok(host) => test(Self::with(Bench::with(Behind::Registry(host), &[].into()))),
            Err(_) => aloud("remote  skipped: a real one: IMGRAPH_TEST_REGISTRY is not set"),
        }
    }

    fn with(registry: Bench) -> Self {
        let mut world = Self { registry, machines: Vec::new() };
        let first = Workspace::new(TREE);
        let host = world.host();
        for name in ["base", "java/jre", "tools", "apps/api", "apps/web"] {
            let path = format!("images/{name}/Dockerfile");
            let text = first.read(&path).replace("FROM base", &format!("FROM {host}/base"));
            let text = text.replace("FROM java", &format!("FROM {host}/java"));
            first.write(&path, text.replace("from=tools", &format!("from={host}/tools")));
        }
        first.write("layers.toml", format!("[workspace]\nregistry = '{host}'\n"));
        first.write("simulate.toml", "registry = true\n");
        first.write(".gitignore", ".imgraph/\n");
        git(&first, "init -q -b main");
        world.machines.push(first);
        world.commit(0);
        world
    }

    /// The registry with the first part of all repositories.
    fn host(&self) -> String {
        let name = self.registry.name("x");
        name.strip_suffix("/x").unwrap().to_owned()
    }

    /// A fresh clone of the first work tree: its number.
    fn clone(&mut self) -> usize {
        self.clone_with("")
    }

    fn clone_with(&mut self, options: &str) -> usize {
        let machine = Workspace::new("//- images/\n");
        machine.remove("images");
        let from = format!("file://{}", self.machines[0].root().display());
        git(&machine, &format!("clone -q {options} {from} ."));
        self.machines.push(machine);
        self.machines.len() - 1
    }

    fn commit(&self, machine: usize) {
        git(&self.machines[machine], "add -A");
        git(&self.machines[machine], "commit -q --allow-empty -m x");
    }

    fn write(&self, machine: usize, path: &str, text: &str) {
        self.machines[machine].write(path, text);
    }

    #[track_caller]
    fn rebuild(&self, machine: usize, arguments: &str) -> Outcome {
        self.machines[machine].rebuild(arguments)
    }

    #[track_caller]
    fn imgraph(&self, machine: usize, arguments: &str, code: i32) -> Said {
        let said = self.machines[machine].imgraph(arguments).exits(code);
        said.calling(&self.host(), "HOST")
    }

    /// What a run builds, adopts and so on: `base built`.
    #[track_caller]
    fn ends(&self, machine: usize, arguments: &str) -> Vec<String> {
        self.rebuild(machine, &format!("{arguments} --json")).exits(0).ends()
    }

    fn digest(&self, rest: &str) -> String {
        self.registry.digest_of(rest)
    }
}

pub(crate) fn git(workspace: &Workspace, arguments: &str) {
    git_at(workspace, arguments, imgraph::clock::now() / 1000);
}

/// At a time in seconds since the Unix epoch.
fn git_at(workspace: &Workspace, arguments: &str, time: u64) {
    let mut command = Command::new("git");
    command.env("GIT_COMMITTER_DATE", format!("{time} +0000"));
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").current_dir(workspace.root());
    command.args(["-c", "user.name=x", "-c", "user.email=x@x.invalid"]);
    let status = command.args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "git {arguments}");
}

fn lines(asked: &[Request]) -> Vec<String> {
    asked.iter().map(Request::line).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_fresh_clone_builds_nothing_and_asks_for_the_state_alone() {
    World::each(|mut world| {
        world.rebuild(0, "--push").exits(0).mentions("5 built");
        let clone = world.clone();
        world.registry.front.asked();
        let said = world.rebuild(clone, "--push");
        said.exits(0).says("nothing to do: 5 images are up to date  [TIME]\n");
        let asked = lines(&world.registry.front.asked());
        let [manifest, blob] = &asked[..] else { panic!("{asked:#?}") };
        assert!(manifest.ends_with("/imgraph-state/manifests/main"), "{manifest}");
        assert!(blob.starts_with("GET") && blob.contains("/imgraph-state/blobs/sha256:"), "{blob}");
    });
}

#[test]
fn one_changed_application_is_one_build_on_a_parent_of_the_registry() {
    World::each(|mut world| {
        world.rebuild(0, "--push").exits(0);
        let clone = world.clone();
        world.write(clone, "images/apps/api/src/Main.java", "class Other {}");
        world.imgraph(clone, "plan --push", 0).prints(
            "
            rebuild  apps/api  ~[TIME]  src/Main.java changed
            1 to rebuild · 4 up to date
            ",
        );
        assert_eq!(world.ends(clone, "--push"), ["apps/api built"]);
        assert_eq!(world.ends(clone, "--push"), NOTHING);
        // The first machine finds what the second one built.
        world.write(0, "images/apps/api/src/Main.java", "class Other {}");
        assert_eq!(world.ends(0, "--push"), NOTHING);
    });
}

#[test]
fn who_builds_the_same_key_takes_what_is_there() {
    World::each(|mut world| {
        world.rebuild(0, "--push").exits(0);
        let second = world.clone();
        world.write(second, "images/base/packages.txt", "vim\n");
        world.write(0, "images/base/packages.txt", "vim\n");
        assert_eq!(world.ends(second, "base --push"), ["base built"]);
        let there = world.digest("base:latest");
        // As if the other one had decided before that: it has the state of the beginning only.
        world.registry.front.spoils(1, Fault::Answer(Response::new(404)), |request| {
            request.path.ends_with("/imgraph-state/manifests/main")
        });
        let ends = world.ends(0, "base --push");
        world.registry.front.is_well();
        assert_eq!(ends, ["base restored"]);
        assert_eq!(world.digest("base:latest"), there);
    });
}

#[test]
fn of_two_that_build_the_same_key_at_once_the_slower_takes_what_the_quicker_has_pushed() {
    World::each(|mut world| {
        let quick = world.clone();
        let script = "registry = true\n[image.base]\nduration = '2s'\n";
        world.write(0, "simulate.toml", script);
        // The same inputs, and something else comes out.
        let script = "registry = true\n[image.base]\ncontent = 'same'\n";
        world.write(quick, "simulate.toml", script);
        let mut slow = world.machines[0].start("rebuild --push --json");
        slow.wait_for_build("base");
        world.rebuild(quick, "base --push").exits(0).mentions("1 built");
        let there = world.digest("base:latest");
        slow.finish().exits(0);
        assert_eq!(world.digest("base:latest"), there);
        let tags = world.registry.tags_of("base");
        let key_tag = tags.iter().find(|tag| tag.starts_with("ig-")).unwrap();
        assert_eq!(world.digest(&format!("base:{}", key_tag.trim_end_matches(".note"))), there);
        let tags = world.registry.tags_of("tools");
        let note = tags.iter().find(|tag| tag.contains(".note")).unwrap();
        let note: Value = world.registry.json(&format!("tools:{note}"));
        let base = &note["annotations"]["org.opencontainers.image.base.digest"];
        assert_eq!(*base, there, "what stands on it stands on what is there");
        assert_eq!(world.ends(0, "--push"), NOTHING);
        assert_eq!(world.ends(quick, "--push"), NOTHING);
    });
}

#[test]
fn what_is_reverted_is_tagged_again_without_a_build() {
    World::each(|mut world| {
        world.rebuild(0, "--push").exits(0);
        let first = world.digest("apps/api:latest");
        world.write(0, "images/apps/api/src/Main.java", "class Other {}");
        world.rebuild(0, "--push").exits(0).mentions("1 built");
        assert_ne!(world.digest("apps/api:latest"), first);
        let clone = world.clone();
        let outcome = world.rebuild(clone, "--push --json").exits(0);
        assert_eq!(outcome.ends(), ["apps/api restored"]);
        assert_eq!(world.digest("apps/api:latest"), first);
    });
}

#[test]
fn what_came_out_the_same_is_not_pushed_and_ends_the_cascade() {
    World::each(|mut world| {
        world.write(0, "simulate.toml", "registry = true\n[image.base]\ncontent = 'same'\n");
        world.commit(0);
        world.rebuild(0, "--push").exits(0);
        let there = world.digest("base:latest");
        let clone = world.clone();
        world.write(clone, "images/base/packages.txt", "# a remark\n");
        world.registry.front.asked();
        let ends = world.ends(clone, "--push");
        let asked = lines(&world.registry.front.asked());
        let (built, others): (Vec<_>, Vec<_>) = ends.iter().partition(|it| *it == "base built");
        assert_eq!((built.len(), others.len()), (1, 4));
        assert!(others.iter().all(|end| end.ends_with(" cut-off")), "{ends:?}");
        assert_eq!(world.digest("base:latest"), there);
        assert!(
            !asked
                .iter()
                .any(|line| line.contains("/base/blobs/uploads") && line.starts_with("PUT")),
            "{asked:#?}"
        );
        assert_eq!(world.ends(clone, "--push"), NOTHING);
    });
}

#[test]
fn a_run_of_an_older_commit_leaves_the_tags_alone() {
    World::each(|mut world| {
        world.rebuild(0, "--push").exits(0);
        let old = world.clone();
        world.write(0, "images/base/packages.txt", "new\n");
        world.commit(0);
        world.rebuild(0, "base --push").exits(0);
        let there = world.digest("base:latest");
        // Another old work tree, which differs: what it builds is found by its key alone.
        world.write(old, "images/base/packages.txt", "old\n");
        git(&world.machines[old], "remote remove origin");
        let said = world.rebuild(old, "base --push").exits(0);
        said.mentions("the branch has moved on to").mentions("tag latest stays");
        assert_eq!(world.digest("base:latest"), there);
        world.rebuild(old, "base --push --allow-older").exits(0);
        assert_ne!(world.digest("base:latest"), there);
    });
}

#[test]
fn machines_that_begin_at_once_do_not_stop_each_other() {
    World::each(|mut world| {
        world.rebuild(0, "--push base java/jre").exits(0);
        let shards = ["apps/api", "tools"];
        let machines: Vec<usize> = shards.iter().map(|_| world.clone()).collect();
        let running: Vec<_> = machines
            .iter()
            .zip(shards)
            .map(|(machine, shard)| {
                world.machines[*machine].start(&format!("rebuild --push --only {shard}"))
            })
            .collect();
        for running in running {
            running.finish().exits(0);
        }
        // What two wrote at once may have been lost; what they built is found.
        let clone = world.clone();
        let ends = world.ends(clone, "--push");
        assert!(!ends.iter().any(|end| end == "apps/api built"), "{ends:?}");
        for shard in shards {
            let tags = world.registry.tags_of(shard);
            assert!(tags.contains(&"latest".to_owned()), "{shard}: {tags:?}");
        }
        assert_eq!(world.ends(clone, "--push"), NOTHING);
    });
}

#[test]
fn a_parent_that_the_registry_has_lost_is_built_again() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    world.write(clone, "images/apps/api/src/Main.java", "class Other {}");
    let is_jre = |request: &Request| {
        request.method == "HEAD" && request.path.contains("/java/jre/manifests/sha256:")
    };
    world.registry.front.spoils(1, Fault::Answer(Response::new(404)), is_jre);
    let said = world.rebuild(clone, "--push --json").exits(0);
    let said = said.mentions("is not in its registry any more");
    // Its key tag still has it here: nothing is built that need not be.
    assert_eq!(said.ends(), ["apps/api built", "apps/web cut-off", "java/jre restored"]);
}

#[test]
fn the_nightly_looks_at_every_tag() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let there = world.digest("tools:latest");
    world.registry.publish("tools:latest", &[("linux/amd64", "from somewhere else")]);
    assert_ne!(world.digest("tools:latest"), there);
    let clone = world.clone();
    assert_eq!(world.ends(clone, "--push"), NOTHING, "the state is believed");
    let said = world.rebuild(clone, "--push --full --json").exits(0);
    let said = said.mentions("tools:latest is not what was pushed last");
    assert_eq!(said.ends(), ["apps/web cut-off", "tools restored"]);
    assert_eq!(world.digest("tools:latest"), there);
}

#[test]
fn a_fresh_machine_promotes_what_another_has_pushed() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    let said = world.imgraph(clone, &format!("promote --to {}/prod", world.host()), 0);
    said.mentions("apps/web");
    assert_eq!(world.digest("prod/apps/web:latest"), world.digest("apps/web:latest"));
}

#[test]
fn a_branch_without_a_state_begins_with_that_of_its_base() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    git(&world.machines[clone], "checkout -q -b feature/x");
    assert_eq!(world.ends(clone, "--push"), NOTHING);
    world.write(
        clone,
        "images/tools/Dockerfile",
        &format!("FROM {}/base\nLABEL a=b\n", world.host()),
    );
    let ends = world.ends(clone, "--push");
    assert_eq!(ends, ["apps/web built", "tools built"]);
    let tags = world.registry.tags_of("imgraph-state");
    assert_eq!(tags.len(), 2, "{tags:?}");
    assert!(tags[0].starts_with("_feature-x-") && tags[1] == "main", "{tags:?}");
}

#[test]
fn a_registry_that_is_not_there_is_no_empty_registry() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    let is_state = |request: &Request| request.path.contains("/imgraph-state/manifests/main");
    world.registry.front.spoils(9, Fault::Answer(Response::new(503)), is_state);
    world.rebuild(clone, "--push").exits(69).mentions("is not available");
    world.registry.front.is_well();
    // Many registries deny what does not exist: that is said, and keys are asked for.
    let denied = Response::refusal(403, "DENIED", "no");
    world.registry.front.spoils(1, Fault::Answer(denied), is_state);
    let said = world.rebuild(clone, "--push --json").exits(0);
    let said = said.mentions("the state of the branch cannot be read");
    assert!(said.ends().iter().all(|end| end.ends_with(" restored")), "{:?}", said.ends());
}

#[test]
fn without_push_the_registry_is_asked_when_told_and_nothing_is_written() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    world.registry.front.asked();
    assert_eq!(world.ends(clone, "--cache registry:r"), NOTHING);
    assert!(world.registry.front.asked().iter().all(|it| it.method == "GET"));
    world.write(clone, "images/apps/api/src/Main.java", "class Other {}");
    assert_eq!(world.ends(clone, "--cache local:rw,registry:r"), ["apps/api built"]);
    assert!(world.registry.front.asked().iter().all(|it| matches!(&*it.method, "GET" | "HEAD")));
    // An old image in the store must not pass for the one of the registry.
    world.write(clone, "images/apps/api/src/Main.java", "class Main {}");
    assert_eq!(world.ends(clone, "--cache registry:r"), ["apps/api built"]);
    // Without the registry, what is only there does not count.
    world.imgraph(clone, "plan base", 0).mentions("known from its registry only");
    world.imgraph(clone, "ls --status base", 0).mentions("base");
}

#[test]
fn what_is_typed_wrongly_is_explained() {
    let world = World::new();
    for (text, why) in [
        ("registry:x", "is not `registry:` and r, w or rw"),
        ("remote:r", "`remote` is neither local nor registry"),
        ("local:r", "always read and written"),
    ] {
        world.imgraph(0, &format!("rebuild --cache {text}"), 2).mentions(why);
    }
    world.write(0, "layers.toml", "[workspace]\nregistry = 'r.example'\nstate = 'a b'\n");
    let said = world.imgraph(0, "rebuild --push --cache registry:r", 3);
    said.mentions("`a b` cannot be the repository of states");
}

#[test]
fn notes_say_where_an_image_comes_from() {
    let world = World::new();
    world.rebuild(0, "--push").exits(0);
    let tags = world.registry.tags_of("apps/api");
    let note = tags.iter().find(|tag| tag.contains(".note")).unwrap();
    let note: Value = world.registry.json(&format!("apps/api:{note}"));
    assert_eq!(note["subject"]["digest"], world.digest("apps/api:latest"));
    let said = &note["annotations"];
    assert_eq!(said["io.imgraph.image"], "apps/api");
    assert_eq!(said["org.opencontainers.image.base.name"], format!("{}/java/jre", world.host()));
    assert_eq!(said["org.opencontainers.image.base.digest"], world.digest("java/jre:latest"));
    let revision = said["org.opencontainers.image.revision"].as_str().unwrap();
    assert_eq!(revision.len(), 40, "{revision}");
    world.write(0, "images/tools/x", "uncommitted");
    world.rebuild(0, "tools --push --force").exits(0);
}

#[test]
fn what_was_found_in_the_registry_can_be_promoted() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    assert_eq!(world.ends(clone, "--push"), NOTHING);
    let promote = format!("promote --to {}/prod", world.host());
    world.imgraph(clone, &promote, 0).mentions("5 promoted");
    assert_eq!(world.digest("prod/apps/web:latest"), world.digest("apps/web:latest"));
    world.imgraph(clone, &promote, 0).mentions("nothing to do");
}

#[test]
fn what_is_promoted_is_what_is_pushed_although_it_came_out_different_here() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    let own = "registry = true\n[image.'java/jre']\ncontent = 'same'\n";
    world.write(clone, "simulate.toml", own);
    world.rebuild(clone, "").exits(0).mentions("5 built");
    assert_eq!(world.ends(clone, "--push"), NOTHING);
    let promote = format!("promote --to {}/prod", world.host());
    world.imgraph(clone, &promote, 0).mentions("5 promoted");
    // Nobody has to have built anything here.
    let clone = world.clone();
    world.imgraph(clone, &promote, 0).mentions("nothing to do");
}

#[test]
fn what_is_here_takes_no_place_of_what_the_registry_has_under_its_key() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let before = ["java/jre:latest", "apps/api:latest"].map(|tag| world.digest(tag));
    let tags = world.registry.tags_of("java/jre");
    let key = format!("java/jre:{}", tags.iter().find(|tag| tag.starts_with("ig-")).unwrap());
    let clone = world.clone();
    let own = "registry = true\n[image.'java/jre']\ncontent = 'same'\n";
    world.write(clone, "simulate.toml", own);
    world.rebuild(clone, "").exits(0).mentions("5 built");
    // The state has other keys from now on.
    world.write(0, "images/base/packages.txt", "new\n");
    world.rebuild(0, "--push").exits(0).mentions("5 built");
    let ends = world.ends(clone, "--push");
    // What is the same here is sent, which is no other.
    let (restored, sent) = (["apps/api", "apps/web", "java/jre"], ["base", "tools"]);
    let expected = restored.map(|it| format!("{it} restored")).into_iter();
    let mut expected: Vec<_> = expected.chain(sent.map(|it| format!("{it} pushed"))).collect();
    expected.sort_unstable();
    assert_eq!(ends, expected);
    assert_eq!(world.digest(&key), before[0]);
    assert_eq!(["java/jre:latest", "apps/api:latest"].map(|tag| world.digest(tag)), before);
    assert_eq!(world.ends(clone, "--push"), NOTHING);
    world.imgraph(clone, "why java/jre", 0).mentions("nothing that it reads has changed");
    world.write(clone, "images/java/jre/security", "lax");
    world.imgraph(clone, "plan --push java/jre", 0).mentions("java/jre  ~[TIME]  security changed");
}
