//! `rebuild --full`: pins move, what is old becomes new, and what keeps failing is left alone.

use imgraph::ledger::{Entry, Holder, Ledger, Lock};
use rustix::process::Signal;

use crate::registry::front::{Fault, Response};
use crate::support::{Said, TREE, Workspace};
use crate::update::World;

const FULL: &str = "--full --retries=0 --json";

/// The tree, whose base may become a day old.
fn aging() -> Workspace {
    let tree = Workspace::new(TREE);
    tree.write(
        "layers.toml",
        "[[layer]]\nname = 'base'\nmax-age = '1d'\n[[layer]]\nname = 'rest'\ndirs = ['.']\n",
    );
    tree
}

/// Has the steps of an image be from 1970.
fn age(tree: &Workspace, image: &str) {
    let me = Holder::this_process("imgraph test", 0);
    let mut ledger = Ledger::open(&tree.path(".imgraph"), &me, Lock::NoWait).unwrap();
    ledger.append([Entry::Aged { image: image.parse().unwrap(), since: 1 }]).unwrap();
}

/// A base that was good once and fails now.
fn failing() -> Workspace {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree.write("simulate.toml", "[image.base]\noutcome = 'fail'\n");
    tree.write("images/base/packages.txt", "curl jq\n");
    tree
}

#[track_caller]
fn full(tree: &Workspace, arguments: &str, code: i32) -> Said {
    tree.rebuild(&format!("{FULL} {arguments}")).exits(code)
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_image_from_outside_that_moves_is_said_and_exactly_its_images_are_rebuilt() {
    let world = World::new();
    world.imgraph("update", 0);
    world.rebuild("", 0).mentions("5 built");
    world.rebuild("--full", 0).mentions("imgraph.lock: 2 unchanged (as it was)\nnothing to do");

    world.publish("debian:12", "two");
    let said = world.rebuild(FULL, 0);
    assert_eq!(said.ends(), ["apps/api built", "base built", "java built"]);
    let events = said.events();
    assert_eq!(
        (&events[0]["event"], &events[1]["event"]),
        (&"run-started".into(), &"external".into())
    );
    assert_eq!(events[1]["status"], "moved");
    assert_eq!(events[1]["touched"].as_array().unwrap().len(), 3);
    said.mentions("moved    OUTSIDE/debian:12  [DIGEST] -> [DIGEST]  base, and 2 images on it")
        .mentions("imgraph.lock: 1 moved · 1 unchanged");
    let lock = world.lock();
    world.rebuild("--full", 0).mentions("nothing to do");
    assert_eq!(world.lock(), lock);
    world.rebuild("--locked", 0).mentions("nothing to do");
}

#[test]
fn locked_leaves_the_pins_alone_and_asks_no_registry() {
    let world = World::new();
    world.imgraph("update", 0);
    world.rebuild("", 0);
    world.publish("debian:12", "two");
    world.outside.front.asked();
    world
        .rebuild("--full --locked", 0)
        .mentions("imgraph.lock stays as it is: --locked\nnothing to do");
    world.rebuild("--full -n", 0).mentions("nothing to do");
    assert!(world.outside.front.asked().is_empty());
}

#[test]
fn a_layer_may_keep_its_pins_for_who_types_update() {
    let world = World::new();
    world.imgraph("update", 0);
    world.rebuild("", 0);
    let layers =
        "[[layer]]\nname = 'tools'\nupdate = 'manual'\n[[layer]]\nname = 'all'\ndirs = ['.']\n";
    world.tree.write("layers.toml", layers);
    for tag in ["debian:12", "alpine:3"] {
        world.publish(tag, "two");
    }
    let said = world.rebuild(FULL, 0);
    assert_eq!(said.ends(), ["apps/api built", "base built", "java built"]);
    said.mentions("imgraph.lock: 1 moved\n").never_mentions("alpine");
    world.imgraph("update", 0).mentions("moved    OUTSIDE/alpine:3");
}

#[test]
fn only_what_the_selection_reads_is_looked_up() {
    let world = World::new();
    world.imgraph("update", 0);
    world.rebuild("", 0);
    for tag in ["debian:12", "alpine:3"] {
        world.publish(tag, "two");
    }
    let said = world.rebuild(&format!("{FULL} tools"), 0);
    assert_eq!(said.ends(), ["tools built"]);
    said.mentions("imgraph.lock: 1 moved\n");
    let said = world.rebuild(&format!("{FULL} java"), 0);
    assert_eq!(said.ends(), ["base built", "java built"]);
}

#[test]
fn a_registry_that_cannot_be_asked_is_said_and_everything_else_goes_on() {
    for (status, code) in [(500, 69), (403, 1)] {
        let world = World::new();
        world.imgraph("update", 0);
        world.rebuild("", 0);
        world.publish("debian:12", "two");
        let refusal = Fault::Answer(Response::refusal(status, "X", "y"));
        world.outside.front.spoils(usize::MAX, refusal, |it| it.path.contains("/alpine/"));
        let said = world.rebuild(&format!("{FULL} --report=r.xml --report=r.json"), code);
        assert_eq!(said.ends(), ["apps/api built", "base built", "java built"]);
        said.mentions("imgraph.lock: 1 moved · 1 failed")
            .mentions("help: tools needs `OUTSIDE/alpine:3`; it stays pinned to [DIGEST]");
        // Nothing to build, and still not all is well.
        world.rebuild("--full", code).mentions("nothing to do");
        let junit = world.tree.read("r.xml");
        let element = if code == 69 { "<error" } else { "<failure" };
        assert!(junit.contains(&format!("/alpine:3\" time=\"0.000\">{element}")), "{junit}");
        assert!(world.tree.read("r.json").contains(&format!("\"exit_code\":{code}")));
    }
}

#[test]
fn a_nightly_that_is_interrupted_while_it_asks_moves_nothing() {
    let world = World::new();
    world.imgraph("update", 0);
    world.publish("debian:12", "two");
    let before = world.lock();
    world.outside.front.spoils(usize::MAX, Fault::Silent, |it| it.path.contains("/alpine/"));
    world.outside.front.asked();
    let running = world.tree.start("rebuild --full --report=r.json");
    while !world.outside.front.asked().iter().any(|it| it.path.contains("/alpine/")) {
        std::thread::yield_now();
    }
    running.signal(Signal::INT);
    running.finish().exits(130);
    assert_eq!(world.lock(), before);
    assert!(world.tree.read("r.json").contains("\"error\":\"interrupted before the run began\""));
}

#[test]
fn who_wants_it_quiet_hears_of_trouble_only() {
    let world = World::new();
    world.imgraph("update", 0);
    world.publish("debian:12", "two");
    world.rebuild("--full --quiet", 0).says("");
    let refusal = Fault::Answer(Response::refusal(403, "X", "y"));
    world.outside.front.spoils(usize::MAX, refusal, |it| it.path.contains("/alpine/"));
    let said = world.rebuild("--full --quiet", 1).mentions("help: tools needs `OUTSIDE/alpine:3`");
    said.never_mentions("imgraph.lock");
}

#[test]
fn without_a_lock_file_that_is_said_and_the_engine_asks() {
    let world = World::new();
    world
        .rebuild("--full --logs=all", 0)
        .mentions("there is no imgraph.lock: what a tag means is asked when an image is built")
        .mentions("simulated base --pull");
    assert!(!world.tree.path("imgraph.lock").exists());
}

#[test]
fn what_is_too_old_is_built_without_the_cache_and_then_it_is_young() {
    let tree = aging();
    tree.rebuild("").exits(0);
    assert_eq!(full(&tree, "", 0).ends(), NOTHING);
    age(&tree, "base");
    // Nobody else looks at ages.
    tree.rebuild("").exits(0).mentions("nothing to do");
    tree.imgraph("plan").exits(0).mentions("nothing to do");
    tree.rebuild("--full -n")
        .exits(0)
        .mentions("rebuild  base")
        .mentions("its layer allows 24 hours");

    let said = full(&tree, "--logs=all", 0).mentions("simulated base --no-cache");
    assert_eq!(
        said.ends(),
        ["apps/api cut-off", "apps/web cut-off", "base built", "java/jre cut-off", "tools cut-off"]
    );
    let events = said.events();
    let base = events.iter().find(|it| it["event"] == "finished" && it["image"] == "base");
    assert_eq!(base.unwrap()["built"]["unchanged"], true);
    let planned = events.iter().find(|it| it["event"] == "planned").unwrap();
    assert_eq!(planned["reasons"][0]["reason"], "too-old");
    assert_eq!(planned["reasons"][0]["max_age"], 86_400_000);
    assert_eq!(full(&tree, "", 0).ends(), NOTHING);
}

#[test]
fn a_build_that_takes_steps_from_the_cache_makes_an_image_no_younger() {
    let tree = aging();
    tree.rebuild("").exits(0);
    age(&tree, "base");
    tree.write("simulate.toml", "[image.base]\ncached = 1\n");
    for text in ["curl jq\n", "curl vim\n"] {
        tree.write("images/base/packages.txt", text);
        tree.rebuild("--json").exits(0).mentions("(1 of 2 steps cached, 1.0 MB)");
    }
    full(&tree, "--logs=all", 0).mentions("simulated base --no-cache");
    assert_eq!(full(&tree, "", 0).ends(), NOTHING);
    // It is young now, and so is what takes steps from that.
    tree.write("images/base/packages.txt", "curl sed\n");
    full(&tree, "", 0).mentions("1 of 2 steps cached");
    assert_eq!(full(&tree, "", 0).ends(), NOTHING);
}

#[test]
fn what_is_too_old_is_prepared_again() {
    let tree = aging();
    tree.write(
        "layers.toml",
        "[[layer]]\nname = 'base'\nmax-age = '1d'\n[[layer]]\nname = 'rest'\ndirs = ['.']\n\
         [image.base]\nprepare = { run = 'date +%N > packages.txt', inputs = [], outputs = ['packages.txt'] }\n",
    );
    tree.rebuild("").exits(0);
    assert_eq!(full(&tree, "", 0).ends(), NOTHING);
    age(&tree, "base");
    let said = full(&tree, "--logs=all", 0).mentions("simulated base --no-cache");
    assert!(said.ends().contains(&"tools built".to_owned()), "{:?}", said.ends());
    assert_eq!(full(&tree, "", 0).ends(), NOTHING);
}

#[test]
fn what_cannot_have_moved_is_not_asked_for() {
    let world = World::new();
    world.tree.write("layers.toml", "[[layer]]\nname = 'all'\ndirs = ['.']\nmax-age = '2w'\n");
    world.imgraph("update", 0);
    world.rebuild("", 0);
    age(&world.tree, "base");
    let said = world.rebuild("--full --logs=all", 0);
    said.mentions("simulated base --no-cache")
        .never_mentions("--pull")
        .mentions("1 built · 2 cut off");
    world.rebuild("--full", 0).mentions("nothing to do");
}

#[test]
fn everything_is_built_again_where_that_is_asked_for() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    let said = full(&tree, "--no-cache --logs=all", 0);
    assert_eq!(said.ends().len(), 5);
    assert!(said.ends().iter().all(|end| end.ends_with(" built")), "{:?}", said.ends());
    said.mentions("simulated base --no-cache");
}

#[test]
fn what_fails_three_times_is_left_alone_and_its_descendants_stand_on_what_was_good() {
    let tree = failing();
    for _ in 0..3 {
        let ends = full(&tree, "", 1).ends();
        assert_eq!(ends[2..4], ["base failed", "java/jre blocked"]);
    }
    tree.write("images/apps/api/src/Main.java", "class Main { int x; }\n");
    let said = full(&tree, "--report=r.md --report=r.xml", 1);
    assert_eq!(
        said.ends(),
        [
            "apps/api built",
            "apps/web cut-off",
            "base quarantined",
            "java/jre cut-off",
            "tools cut-off"
        ]
    );
    let events = said.events();
    let told = events.iter().find(|it| it["event"] == "quarantined").unwrap();
    assert_eq!((&told["image"], &told["runs"]), (&"base".into(), &3.into()));
    assert_eq!(told["dependents"].as_array().unwrap().len(), 4);
    assert!(told["stands"].is_u64());
    assert_eq!(events.last().unwrap()["summary"]["quarantined"], 1);
    said.mentions("[base] quarantined: failed in 3 full runs with these inputs; java/jre, apps/api and 2 more stand on its output of")
        .mentions("[apps/web] cut off: java/jre and tools came out the same; stands on the last good base")
        .mentions("1 quarantined")
        .mentions("quarantined     base  failed in 3 full runs");
    let markdown = tree.read("r.md");
    assert!(markdown.contains("| java/jre, apps/api, tools, apps/web |"), "{markdown}");
    let junit = tree.read("r.xml");
    assert!(junit.contains("<skipped message=\"quarantined: failed in 3 full runs"), "{junit}");
    assert_eq!(junit.matches("stands on the last good output of base").count(), 4, "{junit}");
    // Again nothing, and still not well.
    let ends = full(&tree, "", 1).ends();
    assert!(
        ends.iter().all(|end| end.ends_with("cut-off") || end == "base quarantined"),
        "{ends:?}"
    );
}

#[test]
fn who_asks_for_an_image_in_quarantine_gets_it_tried() {
    let tree = failing();
    for _ in 0..3 {
        full(&tree, "", 1);
    }
    for arguments in ["rebuild base", "rebuild --rerun=last", "rebuild --full --retries=0 base"] {
        tree.imgraph(arguments).exits(1).mentions("1 failed");
    }
    let why =
        "it failed with these inputs in 4 full runs, and is left alone by the next (.imgraph/runs/";
    tree.imgraph("why base").exits(0).mentions(why);
    tree.imgraph("rebuild --full layer:base --retries=0").exits(2);
    full(&tree, "b*", 1).mentions("[base] quarantined");
    full(&tree, "--force", 1).mentions("[base] failed");

    // What was wrong outside is right again: the key is the same.
    tree.remove("simulate.toml");
    full(&tree, "", 1).mentions("[base] quarantined");
    full(&tree, "base", 0).mentions("[base] built");
    let ends = full(&tree, "", 0).ends();
    assert!(ends.iter().all(|end| end.ends_with("built")), "{ends:?}");
    assert_eq!(full(&tree, "", 0).ends(), NOTHING);
}

#[test]
fn other_inputs_end_the_quarantine() {
    let tree = failing();
    for _ in 0..3 {
        full(&tree, "", 1);
    }
    tree.write("images/base/packages.txt", "curl jq vim\n");
    full(&tree, "", 1).mentions("[base] failed");
    full(&tree, "", 1).mentions("[base] failed");
    tree.write("images/base/packages.txt", "curl\n");
    assert_eq!(full(&tree, "", 0).ends(), NOTHING);
    tree.write("images/base/packages.txt", "curl jq\n");
    // What it failed with last is what is remembered.
    full(&tree, "", 1).mentions("[base] failed");
}

#[test]
fn without_a_good_output_the_descendants_are_blocked() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.'java/jre']\noutcome = 'fail'\n");
    for _ in 0..3 {
        full(&tree, "", 1);
    }
    let said = full(&tree, "", 1);
    assert_eq!(said.ends(), ["apps/api blocked", "apps/web blocked", "java/jre quarantined"]);
    said.mentions(
        "[java/jre] quarantined: failed in 3 full runs with these inputs; no good output is left\n\
         [apps/api] blocked: java/jre is in quarantine",
    );
}

#[test]
fn an_outage_and_an_ordinary_run_put_nothing_into_quarantine() {
    let tree = failing();
    for _ in 0..4 {
        tree.rebuild("").exits(1);
    }
    full(&tree, "", 1).mentions("[base] failed");
    tree.write("simulate.toml", "[image.base]\noutcome = 'unavailable'\n");
    for _ in 0..4 {
        full(&tree, "", 69).mentions("[base] failed");
    }
    tree.remove("simulate.toml");
    full(&tree, "", 0).mentions("[base] built");
}

#[test]
fn what_fails_for_an_outage_is_tried_as_often_as_is_said() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.base]\noutcome = 'unavailable'\n");
    let said = tree.rebuild("base --retries=1 --json").exits(69);
    let tries =
        said.events().iter().filter(|it| it["event"] == "step" && it["number"] == 1).count();
    assert_eq!(tries, 2);
    said.mentions("trying again in 1 s");
    tree.rebuild("base --retries=0").exits(69).never_mentions("trying again in");
}
