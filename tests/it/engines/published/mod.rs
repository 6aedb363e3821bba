//! Decisions from the registry, with engines that build: what one machine has built and pushed
//! another one finds, whose store is empty.
//!
//! The second machine is a fresh clone with another engine's store: that of another daemon, or of
//! its own. A registry on loopback is behind a front that notes what it is asked, by us and by the
//! engines. Every claim is checked with each engine that is there, on all at once.
#![expect(clippy::disallowed_methods, reason = "tests make files and look at the machine")]
#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up fails the test")]

mod guarded;
mod machine;
mod other;
mod parents;
mod together;

use std::path::Path;
use std::{panic, thread};

use serde_json::Value;

use self::machine::{Kind, Machine, Pair, equip, pairs};
use crate::conformance::aloud;
use crate::engines::bench::busybox;
use crate::engines::buildkit::variable;
use crate::registry::Bench;
use crate::registry::front::{Behind, Request};
use crate::remote::git;
use crate::support::{Said, Workspace};

/// `HOST` is where all images are pushed to. `java` runs something, the others only copy.
const TREE: &str = "
    //- .gitignore
    .imgraph/
    //- layers.toml
    [workspace]
    registry = 'HOST'
    //- images/base/Dockerfile
    FROM scratch
    COPY rootfs packages.txt /
    //- images/base/packages.txt
    HOST
    //- images/java/Dockerfile
    FROM HOST/base
    RUN cat /packages.txt > /java
    //- images/apps/api/Dockerfile
    FROM HOST/java
    COPY src /src
    //- images/apps/api/src/Main.java
    class Main {}
    //- images/apps/web/Dockerfile
    FROM HOST/java
    COPY page.html /
    //- images/apps/web/page.html
    hello
";

/// A base, and what copies onto it.
const SMALL: &str = "
    //- .gitignore
    .imgraph/
    //- layers.toml
    [workspace]
    registry = 'HOST'
    //- images/base/Dockerfile
    FROM scratch
    COPY rootfs packages.txt /
    //- images/base/packages.txt
    HOST
    //- images/app/Dockerfile
    FROM HOST/base
    COPY packages.txt /app
    //- images/app/packages.txt
    HOST
";

const NOTHING: [&str; 0] = [];
const ALL: [&str; 4] = ["apps/api", "apps/web", "base", "java"];

/// Two machines and a registry.
struct World {
    /// The registry, where there is a front before it.
    registry: Option<Bench>,
    place: String,
    machines: Vec<Machine>,
    kinds: [Kind; 2],
}

impl World {
    /// Checks a claim with all engines at once, on a tree.
    #[track_caller]
    fn each(tree: &str, claim: impl Fn(&mut Self) + Sync) {
        Self::each_of(&|_| true, tree, claim);
    }

    /// The same with those that can do what it takes.
    #[track_caller]
    fn each_of(is_able: &dyn Fn(&Kind) -> bool, tree: &str, claim: impl Fn(&mut Self) + Sync) {
        let Some(host) = ready("IMGRAPH_TEST_REGISTRY") else { return };
        let fails = |(name, kinds): Pair| {
            let checked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
                let registry = Bench::with(Behind::Registry(host.clone()), &[].into());
                let place = registry.name("x").strip_suffix("/x").unwrap().to_owned();
                claim(&mut Self::new(tree, kinds, (Some(registry), place)));
            }));
            checked.is_err().then_some(name)
        };
        let pairs = pairs().into_iter().filter(|(_, kinds)| kinds.iter().all(is_able));
        let failed: Vec<String> = thread::scope(|scope| {
            let threads: Vec<_> = pairs.map(|pair| scope.spawn(|| fails(pair))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(failed.is_empty(), "not so with {}", failed.join(", "));
    }

    fn new(tree: &str, kinds: [Kind; 2], (registry, place): (Option<Bench>, String)) -> Self {
        let tree = Workspace::new(&tree.replace("HOST", &place));
        equip(&tree, Path::new("images/base/rootfs"));
        git(&tree, "init -q -b main");
        let machines = vec![Machine::new(tree, kinds[0].clone(), &place)];
        let world = Self { registry, place, machines, kinds };
        world.commit();
        world
    }

    /// Sets up the second machine: a fresh clone, and nothing in its store.
    fn clone(&mut self) {
        let tree = Workspace::new("//- images/\n");
        tree.remove("images");
        git(&tree, &format!("clone -q file://{} .", self.machines[0].tree.root().display()));
        self.machines.push(Machine::new(tree, self.kinds[1].clone(), &self.place));
        assert_eq!(self.machines[1].store(), NOTHING);
    }

    fn commit(&self) {
        git(&self.machines[0].tree, "add -A");
        git(&self.machines[0].tree, "commit -q -m x");
    }

    /// Writes a file. What goes into a base has `HOST` in it: two images of one content are one in a
    /// store, and who is done with it takes it from the other.
    fn write(&self, machine: usize, path: &str, text: &str) {
        self.machines[machine].tree.write(path, text.replace("HOST", &self.place));
    }

    #[track_caller]
    fn push(&self, machine: usize) -> Said {
        self.machines[machine].rebuild("--push --json").exits(0)
    }

    /// What a run with `--push` builds, adopts and so on: `base built`.
    #[track_caller]
    fn ends(&self, machine: usize) -> Vec<String> {
        self.push(machine).ends()
    }

    fn registry(&self) -> &Bench {
        self.registry.as_ref().expect("it has a front")
    }

    /// What the tag that people use points at, of each image.
    fn digests(&self) -> [String; 4] {
        ALL.map(|image| self.registry().digest_of(&format!("{image}:latest")))
    }

    /// The digests of the layers that an image has in its registry.
    fn layers(&self, image: &str) -> Vec<Value> {
        let mut manifest = self.registry().json(&format!("{image}:latest"));
        if let Some(first) = manifest["manifests"][0]["digest"].as_str() {
            manifest = self.registry().json(&format!("{image}@{first}"));
        }
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["digest"].clone()).collect()
    }

    /// What was asked since the last time of repositories that have images: method and path.
    fn asked(&self) -> Vec<String> {
        let asked = self.registry().front.asked();
        let lines = asked.iter().map(Request::line);
        lines.filter(|line| line.contains("/v2/t") && !line.contains("/imgraph-state/")).collect()
    }
}

/// The address of a registry that a variable names; `None`, said aloud, where it names none or where
/// there is nothing to put into an image.
fn ready(name: &str) -> Option<String> {
    let host = variable(name);
    if host.is_none() {
        aloud(&format!("published  skipped: {name} is not set"));
    }
    if busybox().is_none() {
        aloud("published  skipped: no static busybox (`apt-get install busybox-static`)");
        return None;
    }
    host
}

/// How all images end in one way.
fn all(end: &str) -> [String; 4] {
    ALL.map(|image| format!("{image} {end}"))
}

#[test]
fn a_machine_with_an_empty_store_goes_on_from_what_another_one_has_pushed() {
    World::each(TREE, |world| {
        assert_eq!(world.ends(0), all("built"));
        world.clone();
        nothing_is_built_or_pulled(world);
        one_change_is_one_build_on_the_parent_of_the_registry(world);
        what_comes_out_the_same_is_not_pushed_and_ends_the_cascade(world);
        what_is_reverted_is_tagged_again_without_a_build(world);
    });
}

fn nothing_is_built_or_pulled(world: &World) {
    world.asked();
    let said = world.machines[1].rebuild("--push").exits(0);
    said.says("nothing to do: 4 images are up to date  [TIME]\n");
    assert_eq!(world.asked(), NOTHING);
    assert_eq!(world.machines[1].store(), NOTHING);
}

fn one_change_is_one_build_on_the_parent_of_the_registry(world: &World) {
    let before = world.digests();
    for machine in [1, 0] {
        world.write(machine, "images/apps/api/src/Main.java", "class Other {}");
    }
    assert_eq!(world.ends(1), ["apps/api built"]);
    let (parent, child) = (world.layers("java"), world.layers("apps/api"));
    assert_eq!((&child[..parent.len()], child.len()), (&parent[..], parent.len() + 1));
    let [api, rest @ ..] = world.digests();
    assert_ne!(api, before[0]);
    assert_eq!(rest, before[1..]);
    // The other one takes it as it is.
    world.asked();
    assert_eq!(world.ends(0), NOTHING);
    assert_eq!(world.asked(), NOTHING);
    assert_eq!(world.ends(1), NOTHING);
}

fn what_comes_out_the_same_is_not_pushed_and_ends_the_cascade(world: &World) {
    let before = world.digests();
    let path = "images/base/Dockerfile";
    let old = world.machines[1].tree.read(path);
    world.write(1, path, &old.replace("COPY", "ARG UNUSED=1\nCOPY"));
    world.asked();
    let ends = world.ends(1);
    let asked = world.asked();
    let cut_off =
        |base: &'static str| ["apps/api cut-off", "apps/web cut-off", base, "java cut-off"];
    assert_eq!(ends, cut_off("base built"));
    assert_eq!(world.digests(), before);
    let blobs = asked.iter().filter(|line| line.starts_with("PUT") && line.contains("/uploads/"));
    // The empty blob of a note may be sent.
    assert!(blobs.count() <= 1, "{asked:#?}");
    assert_eq!(world.ends(1), NOTHING);
    world.write(1, path, &old);
    assert_eq!(world.ends(1), cut_off("base restored"));
    assert_eq!(world.digests(), before);
}

fn what_is_reverted_is_tagged_again_without_a_build(world: &World) {
    let before = world.digests();
    let path = "images/base/packages.txt";
    let old = world.machines[0].tree.read(path);
    world.write(0, path, "other HOST\n");
    assert_eq!(world.ends(0), all("built"));
    let others = world.digests();
    assert!(others.iter().zip(&before).all(|(now, before)| now != before));
    // Who has not changed it, and who changes it back.
    let ends = world.ends(1);
    assert!(ends.len() == 4 && !ends.iter().any(|end| end.ends_with(" built")), "{ends:?}");
    assert_eq!(world.digests(), before);
    world.write(0, path, &old);
    assert_eq!(world.ends(0), NOTHING);
    assert_eq!(world.digests(), before);
}
