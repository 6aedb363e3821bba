//! `imgraph promote`: what is pushed gets its tags in other repositories.

use rustix::process::Signal;
use serde_json::Value;

use crate::docs;
use crate::registry::Bench;
use crate::registry::front::{Fault, Request, Response};
use crate::support::{Said, Workspace};

const AMD64: &str = "linux/amd64";

/// A registry, and a workspace whose images were built and pushed there, as it were.
struct World {
    registry: Bench,
    tree: Workspace,
}

impl World {
    fn new() -> Self {
        let registry = Bench::new();
        let tree = Workspace::new("//- images/\n");
        let place = registry.name("acme");
        tree.write("layers.toml", format!("[workspace]\nregistry = '{place}'\n"));
        for (image, text) in [
            ("base", "FROM scratch\nCOPY packages.txt /\n"),
            ("java", "FROM PLACE/base\nRUN java\n"),
            ("apps/api", "FROM PLACE/java\nRUN api\n"),
            ("tools", "FROM PLACE/base\nRUN tools\n"),
        ] {
            tree.write(&format!("images/{image}/Dockerfile"), text.replace("PLACE", &place));
        }
        tree.write("images/base/packages.txt", "git\n");
        tree.write("images/java/VERSION", "1.2\n");
        tree.rebuild("").exits(0);
        let world = Self { registry, tree };
        for image in ["base", "java", "apps/api", "tools"] {
            world.push(image);
        }
        world
    }

    /// Has what an image is now in its repository.
    fn push(&self, image: &str) {
        let tag = self.key_tag(image);
        self.registry.publish(&format!("acme/{image}:{tag}"), &[(AMD64, image)]);
    }

    fn key_tag(&self, image: &str) -> String {
        let plan = self.tree.imgraph(&format!("plan --json --only -v {image}")).exits(0).json();
        let key = plan["steps"][0]["build_key"].as_str().unwrap();
        format!("ig-{}", &key[..32])
    }

    /// Whether two references of the registry mean the same.
    fn are_same(&self, one: &str, two: &str) -> bool {
        let digest = |rest: &str| self.registry.digest(&self.registry.reference(rest)).ok();
        digest(one).is_some() && digest(one) == digest(two)
    }

    #[track_caller]
    fn promote(&self, arguments: &str, code: i32) -> Said {
        let host = self.registry.name("x").strip_suffix("/x").unwrap().to_owned();
        let arguments = format!("promote {}", arguments.replace("HOST", &host));
        let said = self.tree.imgraph(&arguments).exits(code);
        said.calling(&host, "HOST").calling(&self.registry.front.host, "REGISTRY")
    }

    /// The requests since the last time that write.
    fn writes(&self) -> usize {
        let asked = self.registry.front.asked();
        asked.iter().filter(|it| !["GET", "HEAD"].contains(&&*it.method)).count()
    }
}

#[test]
fn images_get_their_tags_in_the_target_without_a_byte_and_a_second_time_nothing_is_done() {
    let world = World::new();
    world.promote("--to HOST/prod --dry-run", 0).mentions("4 to promote");
    assert_eq!(world.writes(), 0);
    world.promote("--to HOST/prod java base", 0).prints(
        "
        promoted   base  [DIGEST]  HOST/acme/base:ig-[DIGEST] -> HOST/prod/base:latest,ig-[DIGEST]  2 mounted
        promoted   java  [DIGEST]  HOST/acme/java:ig-[DIGEST] -> HOST/prod/java:1.2,latest,ig-[DIGEST]  2 mounted
        2 promoted
        ",
    );
    let asked = world.registry.front.asked();
    assert!(!asked.iter().any(|it| it.method == "GET" && it.path.contains("/blobs/")));
    let tag = world.key_tag("java");
    for to in ["1.2", "latest", &tag] {
        assert!(world.are_same(&format!("acme/java:{tag}"), &format!("prod/java:{to}")), "{to}");
    }
    world.registry.front.asked();
    world
        .promote("--to HOST/prod java base", 0)
        .prints("nothing to do: 2 images are there under all tags\n");
    let asked = world.registry.front.asked();
    let is_look = |it: &Request| it.method == "HEAD" || it.path.contains("/imgraph-state/");
    assert!(asked.iter().all(is_look), "{asked:?}");
    world.promote("--to HOST/prod", 0).mentions("2 promoted · 2 unchanged");
}

#[test]
fn parents_are_there_before_what_stands_on_them() {
    let world = World::new();
    world.promote("--to HOST/prod --tag v1", 0).mentions("4 promoted");
    let asked = world.registry.front.asked();
    let place = |image: &str| {
        let end = format!("prod/{image}/manifests/v1");
        asked.iter().position(|it| it.method == "PUT" && it.path.ends_with(&end)).unwrap()
    };
    assert!(place("base") < place("java") && place("java") < place("apps/api"));
    assert!(place("base") < place("tools"));
}

#[test]
fn a_tag_of_the_same_repositories_is_moved_without_a_target() {
    let world = World::new();
    world.promote("--tag stable java", 0).prints(
        "
        promoted   java  [DIGEST]  HOST/acme/java:ig-[DIGEST] -> HOST/acme/java:stable  no blobs moved
        1 promoted
        ",
    );
    assert!(world.are_same("acme/java:stable", &format!("acme/java:{}", world.key_tag("java"))));
    world
        .promote("--to HOST/prod --from-tag stable --tag v1 --tag v2 java", 0)
        .mentions("1 promoted");
    assert!(world.are_same("acme/java:stable", "prod/java:v2"));
}

#[test]
fn what_is_out_of_date_or_was_never_pushed_is_refused_and_nothing_moves() {
    let world = World::new();
    world.tree.write("images/tools/Dockerfile", "FROM scratch\nRUN other\n");
    world.promote("--to HOST/prod", 1).says(
        "
        error: `tools`: REGISTRY has no manifest HOST/acme/tools:ig-[DIGEST]
          help: `imgraph rebuild --push tools` builds what is out of date, and pushes it
        ",
    );
    assert_eq!(world.writes(), 0);
    world.promote("--to HOST/prod java base", 0).mentions("2 promoted");

    world.tree.write("images/base/packages.txt", "vim\n");
    world.promote("--to HOST/prod java base", 1).says(
        "
        error: `base`: REGISTRY has no manifest HOST/acme/base:ig-[DIGEST]
        error: `java`: it stands on base, which is out of date
          help: `imgraph rebuild --push base java` builds what is out of date, and pushes it
        ",
    );
    let json = world.promote("--to HOST/prod java base --json", 1).json();
    assert_eq!(json["images"][0]["status"], "failed", "{json}");
    // Whatever the work tree says, a tag is a tag.
    world.promote("--to HOST/prod java --from-tag latest", 1).mentions("has no manifest");
    world
        .promote("--tag latest --from-tag nothing java", 1)
        .says("error: `java`: REGISTRY has no manifest HOST/acme/java:nothing\n");
}

#[test]
fn who_has_built_nothing_is_told_so() {
    let world = World::new();
    world.tree.remove(".imgraph");
    world.promote("--to HOST/prod base", 0).mentions("1 promoted");
    world
        .promote("--to HOST/prod apps/api", 1)
        .mentions("error: `apps/api`: it is out of date: never built here");
}

#[test]
fn a_registry_that_refuses_and_one_that_is_not_there_are_told_apart() {
    for (status, code, says) in [(403, 1, "does not let us"), (503, 69, "is not available")] {
        let world = World::new();
        let fault = Fault::Answer(Response::refusal(status, "X", "oh"));
        world.registry.front.spoils(usize::MAX, fault, |it| it.path.contains("/acme/java/"));
        world.promote("--to HOST/prod", code).mentions(says);
        assert_eq!(world.writes(), 0, "nothing moves where one cannot be looked up");
    }
}

#[test]
fn nothing_is_moved_that_stands_on_what_could_not_be_moved() {
    let world = World::new();
    let fault = Fault::Answer(Response::refusal(403, "DENIED", "read-only"));
    world
        .registry
        .front
        .spoils(usize::MAX, fault, |it| it.method == "PUT" && it.path.contains("/prod/java/"));
    let said = world.promote("--to HOST/prod", 1);
    said.mentions("2 promoted · 1 not moved · 1 failed").mentions("error: `java`: ");
    assert!(!world.are_same("prod/apps/api:latest", "acme/apps/api:latest"));
    world.registry.front.is_well();
    world.promote("--to HOST/prod", 0).mentions("2 promoted · 2 unchanged");
}

#[test]
fn a_target_that_cannot_be_meant_is_refused() {
    let world = World::new();
    for (arguments, says) in [
        ("base", "--to <REGISTRY/PREFIX>"),
        ("--to prod base", "it names no registry"),
        ("--to HOST/prod:1 base", "no tag and no digest"),
        ("--to HOST/Prod base", "must be in lower case"),
        ("--tag a/b base", "cannot be a tag"),
    ] {
        world.promote(arguments, 2).mentions(says);
    }
    let layers = world.tree.read("layers.toml");
    world
        .tree
        .write("layers.toml", format!("{layers}repository = 'all'\ntags = ['{{version}}']\n"));
    world.tree.write("images/tools/VERSION", "2\n");
    world.tree.remove("images/apps");
    world.tree.remove("images/base/Dockerfile");
    world.tree.write("images/java/Dockerfile", "FROM scratch\n");
    world.tree.write("images/tools/Dockerfile", "FROM scratch\n");
    world
        .promote("--to HOST/prod --tag v1", 2)
        .mentions("`java` and `tools` would both become HOST/prod/all:v1");
}

#[test]
fn json_of_the_documents_has_the_fields_of_the_program() {
    let world = World::new();
    let said = world.promote("--to HOST/prod base --json", 0);
    let json: Value = said.json();
    assert_eq!(json["images"][0]["blobs"]["mounted"], 2);
    docs::compare(&docs::blocks_of("docs/json.md"), "promote", &json);
}

#[test]
fn a_promotion_can_be_interrupted() {
    let world = World::new();
    // It goes on trying, and says so.
    let busy = Fault::Answer(Response::refusal(503, "UNAVAILABLE", "later"));
    world.registry.front.spoils(usize::MAX, busy, |it| it.method == "HEAD");
    let to = world.registry.name("prod");
    let mut running = world.tree.start(&format!("promote --to {to} base"));
    running.wait_for_words("asking again");
    running.signal(Signal::INT);
    running.finish().exits(130).never_mentions("error:").prints("1 not moved\n");
    assert_eq!(world.writes(), 0);
}
