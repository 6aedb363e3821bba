//! `imgraph update` and `imgraph.lock`: images from outside are what they were until somebody says so.

use imgraph::image::Platform;
use imgraph::lockfile::LockFile;

use crate::registry::Bench;
use crate::registry::front::{Fault, Response};
use crate::support::{Said, Workspace};

/// A registry that stands in for those outside, and a workspace of two images from it and children.
pub(crate) struct World {
    pub(crate) outside: Bench,
    pub(crate) tree: Workspace,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { outside: Bench::new(), tree: Workspace::new("//- images/\n") };
        world.publish("debian:12", "one");
        world.publish("alpine:3", "one");
        for (image, text) in [
            ("base", "FROM OUTSIDE/debian:12\n"),
            ("java", "FROM base\nRUN java\n"),
            ("apps/api", "FROM java\nRUN api\n"),
            ("tools", "FROM OUTSIDE/alpine:3\n"),
            ("empty", "FROM scratch\nWORKDIR /x\n"),
        ] {
            world.write(image, text);
        }
        world
    }

    /// What `OUTSIDE` stands for.
    pub(crate) fn host(&self) -> String {
        let name = self.outside.name("x");
        name.strip_suffix("/x").unwrap().to_owned()
    }

    pub(crate) fn write(&self, image: &str, text: &str) {
        let text = text.replace("OUTSIDE", &self.host());
        self.tree.write(&format!("images/{image}/Dockerfile"), text);
    }

    pub(crate) fn publish(&self, rest: &str, word: &str) {
        let host = Platform::host().to_string();
        self.outside.publish(rest, &[(&host, word), ("linux/s390x", "other")]);
    }

    #[track_caller]
    pub(crate) fn imgraph(&self, arguments: &str, code: i32) -> Said {
        let arguments = arguments.replace("OUTSIDE", &self.host());
        let said = self.tree.imgraph(&arguments).exits(code);
        said.calling(&self.host(), "OUTSIDE").calling(&self.outside.front.host, "HOST")
    }

    #[track_caller]
    pub(crate) fn rebuild(&self, arguments: &str, code: i32) -> Said {
        self.imgraph(&format!("rebuild --jobs=1 {arguments}"), code)
    }

    pub(crate) fn lock(&self) -> String {
        self.tree.read("imgraph.lock")
    }
}

#[test]
fn a_base_that_moves_is_named_with_its_images_and_exactly_those_are_rebuilt() {
    let world = World::new();
    world.imgraph("update", 0).prints(
        "
        new      OUTSIDE/alpine:3  [DIGEST]  tools
        new      OUTSIDE/debian:12  [DIGEST]  base, and 2 images on it
        imgraph.lock: 2 new
        ",
    );
    world.rebuild("", 0).mentions("5 built");
    world.rebuild("", 0).mentions("nothing to do");

    world.publish("debian:12", "two");
    world.rebuild("", 0).mentions("nothing to do");
    world.imgraph("update", 0).prints(
        "
        moved    OUTSIDE/debian:12  [DIGEST] -> [DIGEST]  base, and 2 images on it
        imgraph.lock: 1 moved · 1 unchanged
        ",
    );
    let said = world.rebuild("--json", 0);
    assert_eq!(said.ends(), ["apps/api built", "base built", "java built"]);
    let base = said.events().into_iter().find(|event| event["image"] == "base").unwrap();
    assert_eq!(base["reasons"][0]["reason"], "external-moved", "{base}");
    world.rebuild("", 0).mentions("nothing to do");
    world.imgraph("update", 0).prints("imgraph.lock: 2 unchanged (as it was)\n");
}

#[test]
fn a_lock_file_that_comes_or_goes_is_noticed_by_the_next_run() {
    let world = World::new();
    world.rebuild("", 0).mentions("5 built");
    for _ in 0..2 {
        world.rebuild("", 0).mentions("nothing to do");
    }
    world.imgraph("update", 0);
    world
        .rebuild("", 0)
        .mentions("[base] started: OUTSIDE/debian:12 is now known as [DIGEST]")
        .mentions("4 built · 0 failed · 1 up to date");
    for _ in 0..2 {
        world.rebuild("", 0).mentions("nothing to do");
    }
    world.tree.remove("imgraph.lock");
    // As it was built before there was a lock file.
    world.rebuild("", 0).mentions("4 restored");
}

#[test]
fn a_run_with_a_lock_file_asks_no_registry() {
    let world = World::new();
    world.imgraph("update", 0);
    world.outside.front.asked();
    let gone = Fault::Answer(Response::refusal(500, "UNKNOWN", "gone"));
    world.outside.front.spoils(usize::MAX, gone, |_| true);
    for arguments in ["rebuild", "rebuild", "rebuild --locked", "plan", "check"] {
        world.imgraph(arguments, 0);
    }
    assert!(world.outside.front.asked().is_empty());
}

#[test]
fn what_has_not_moved_is_asked_with_one_question() {
    let world = World::new();
    world.imgraph("update", 0);
    world.outside.front.asked();
    world.imgraph("update", 0);
    let asked = world.outside.front.asked();
    assert!(asked.len() == 2 && asked.iter().all(|request| request.method == "HEAD"), "{asked:?}");
}

#[test]
fn the_file_is_sorted_and_has_what_is_wanted_for_each_platform() {
    let world = World::new();
    world.imgraph("update", 0);
    let text = world.lock();
    let (lock, problems) = LockFile::parse(&text);
    assert_eq!(problems, []);
    let references: Vec<String> = lock.rows().map(|(key, _)| key.to_string()).collect();
    assert_eq!(references, [world.outside.name("alpine:3"), world.outside.name("debian:12")]);
    for (_, locked) in lock.rows() {
        let platforms: Vec<&Platform> = locked.platforms.keys().collect();
        assert_eq!(platforms, [&Platform::host()]);
    }
    // Another platform is another row, and what it was stays what it was.
    world.write("far", "FROM --platform=linux/s390x OUTSIDE/debian:12\n");
    world.imgraph("update", 0).mentions("OUTSIDE/debian:12  [DIGEST], for linux/");
    world.imgraph("update -n", 0).prints("imgraph.lock: 2 unchanged (as it was)\n");
    assert!(world.lock().contains("\"linux/s390x\" = \"sha256:"));
    world.tree.remove("images/far");
    world
        .imgraph("update", 0)
        .mentions("moved    OUTSIDE/debian:12  [DIGEST], for linux/")
        .never_mentions("base");
    assert_eq!(world.lock(), text);
}

#[test]
fn a_tag_that_moves_for_other_platforms_rebuilds_nothing() {
    let world = World::new();
    world.imgraph("update", 0);
    let before = world.lock();
    let host = Platform::host().to_string();
    world.outside.publish("debian:12", &[(&host, "one"), ("linux/s390x", "moved")]);
    world.imgraph("update", 0).prints("imgraph.lock: 2 unchanged (as it was)\n");
    assert_eq!(world.lock(), before);
}

#[test]
fn only_what_is_named_is_looked_up() {
    let world = World::new();
    world.imgraph("update", 0);
    for tag in ["debian:12", "alpine:3"] {
        world.publish(tag, "two");
    }
    world.imgraph("update OUTSIDE/alpine", 0).mentions("imgraph.lock: 1 moved\n");
    world.imgraph("update OUTSIDE/debian:12 --dry-run", 0).mentions("1 moved (not written)");
    world.imgraph("update OUTSIDE/debian:12", 0).mentions("imgraph.lock: 1 moved\n");
    world.imgraph("update OUTSIDE/debain", 2).mentions(
        "
        error: no image of the workspace reads `OUTSIDE/debain` from outside
          help: did you mean `OUTSIDE/debian:12`?
        ",
    );
}

#[test]
fn what_nobody_reads_any_more_goes() {
    let world = World::new();
    world.imgraph("update", 0);
    world.tree.remove("images/tools");
    world
        .imgraph("rebuild --locked", 3)
        .mentions("imgraph.lock has `OUTSIDE/alpine:3`, which no image reads");
    world.imgraph("update", 0).prints(
        "
        removed  OUTSIDE/alpine:3  nothing reads it
        imgraph.lock: 1 removed · 1 unchanged
        ",
    );
    world.imgraph("rebuild --locked", 0);
}

#[test]
fn an_image_that_its_registry_has_not_is_named_with_who_needs_it() {
    let world = World::new();
    world.write("tools", "FROM OUTSIDE/gone:1\n");
    world.write("more", "FROM OUTSIDE/gone:1\nRUN more\n");
    world
        .imgraph("update", 1)
        .mentions("new      OUTSIDE/debian:12")
        .mentions("imgraph.lock: 1 new · 1 failed\n")
        .mentions(
            "
            error: HOST has no manifest OUTSIDE/gone:1
              help: more and tools need `OUTSIDE/gone:1`
            ",
        );
    // The others are pinned.
    assert!(world.lock().contains("/debian:12\""));
    assert!(!world.lock().contains("/gone:1\""));
    world
        .imgraph("rebuild --locked", 3)
        .mentions("error: imgraph.lock has no `OUTSIDE/gone:1` for linux/");
}

#[test]
fn a_platform_that_is_not_there_is_named_with_who_needs_it() {
    let world = World::new();
    world.write("tools", "FROM --platform=linux/ppc64le OUTSIDE/alpine:3\n");
    world.imgraph("update", 1).mentions(
        "
        error: OUTSIDE/alpine:3 has no image for linux/ppc64le
          help: tools needs `OUTSIDE/alpine:3`
        ",
    );
}

#[test]
fn trouble_is_never_taken_for_an_absence_or_for_nothing_new() {
    let refusal = |status| Fault::Answer(Response::refusal(status, "X", "y"));
    let cases = [
        (refusal(401), 1, "does not let us read"),
        (refusal(403), 1, "does not let us read"),
        (refusal(429), 69, "is not available: 429"),
        (refusal(500), 69, "is not available: 500"),
        (Fault::Header("content-type", "text/html"), 69, "what comes is text/html"),
        (Fault::Header("docker-content-digest", "x"), 69, "it is called by no digest"),
    ];
    std::thread::scope(|scope| {
        for (fault, code, says) in cases {
            scope.spawn(move || {
                let world = World::new();
                world.imgraph("update", 0);
                let before = world.lock();
                for tag in ["debian:12", "alpine:3"] {
                    world.publish(tag, "two");
                }
                let is_alpine = |path: &str| path.contains("/alpine/");
                world.outside.front.spoils(usize::MAX, fault, move |it| is_alpine(&it.path));
                let said = world.imgraph("update", code).mentions(says);
                said.mentions("help: tools needs `OUTSIDE/alpine:3`; it stays pinned to [DIGEST]")
                    .mentions("imgraph.lock: 1 moved · 1 failed")
                    .never_mentions("unchanged");
                let rows = |text: &str| LockFile::parse(text).0.rows().count();
                assert_eq!(rows(&world.lock()), 2);
                let alpine = |text: &str| {
                    let name = world.outside.name("alpine:3").parse().unwrap();
                    LockFile::parse(text).0.row(&name).cloned()
                };
                assert_eq!(alpine(&world.lock()), alpine(&before));
            });
        }
    });
}

#[test]
fn an_update_that_is_interrupted_writes_nothing() {
    let world = World::new();
    world.imgraph("update", 0);
    let before = world.lock();
    world.publish("debian:12", "two");
    world.outside.front.spoils(usize::MAX, Fault::Silent, |it| it.path.contains("/alpine/"));
    let running = world.tree.start("update");
    // The other one has been answered when this one is asked for.
    while !world.outside.front.asked().iter().any(|it| it.path.contains("/alpine/")) {
        std::thread::yield_now();
    }
    running.signal(rustix::process::Signal::INT);
    running.finish().exits(130);
    assert_eq!(world.lock(), before);
}

#[test]
fn locked_fails_where_the_lock_file_would_change_and_says_how() {
    let world = World::new();
    world.rebuild("", 0);
    world.rebuild("--locked", 3).mentions(
        "
        error: imgraph.lock has no `OUTSIDE/debian:12` for linux/
          help: `imgraph update` brings it up to date
        ",
    );
    world
        .imgraph("update --locked", 3)
        .mentions("imgraph.lock would change, and --locked forbids it");
    assert!(!world.tree.path("imgraph.lock").exists());
    world.imgraph("update", 0);
    world.imgraph("update --locked", 0);
    // What is not selected does not matter.
    world.write("new", "FROM OUTSIDE/new:1\n");
    world.rebuild("base --locked", 0);
    world.rebuild("new --locked", 3);
    world.tree.run("rebuild new", &[("IMGRAPH_LOCKED", "1")]).exits(3);
}

#[test]
fn an_external_that_is_not_in_the_lock_file_is_a_warning() {
    let world = World::new();
    world.imgraph("check", 0).never_mentions("IG036");
    world.imgraph("update", 0);
    world.write("new", "FROM OUTSIDE/new:1\n");
    world.imgraph("check", 0).mentions("imgraph.lock has no `OUTSIDE/new:1` for linux/");
    world.tree.write(
        "layers.toml",
        "[[layer]]\nname = 'all'\ndirs = ['.']\nrules = { pinned = 'error' }\n",
    );
    let said = world.imgraph("check", 3).mentions("`OUTSIDE/new:1` has no digest");
    said.never_mentions("`OUTSIDE/debian:12` has no digest");
}

#[test]
fn a_lock_file_that_is_none_is_an_error_with_its_place() {
    let world = World::new();
    world.tree.write(
        "imgraph.lock",
        "version = 1\n[[external]]\nreference = 'debian:12'\ndigest = 'x'\n",
    );
    world.rebuild("", 3).mentions("imgraph.lock:4:");
    world.imgraph("update", 3).mentions("`digest` of [[external]] cannot be `x`");
    world.tree.write("imgraph.lock", "<<<<<<< HEAD\n");
    world.rebuild("", 3).mentions("imgraph.lock:1:");
}

#[test]
fn the_json_of_an_update_is_that_of_its_page() {
    let world = World::new();
    world.write("tools", "FROM OUTSIDE/gone:1\n");
    let printed = world.imgraph("update --json", 1).json();
    crate::docs::compare(&crate::docs::blocks_of("docs/json.md"), "update", &printed);
    assert_eq!(printed["externals"][0]["status"], "new");
    assert_eq!(printed["externals"][0]["touched"].as_array().unwrap().len(), 3);
    assert_eq!(printed["externals"][1]["status"], "failed");
}
