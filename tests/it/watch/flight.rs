//! What changes while a run is on.

use crate::support::Workspace;
use crate::watch::Watch;

/// Two images on a base. The base is built at once; `slow` builds until it is stopped, or as long
/// as somebody waits; the times of the others are given.
fn tree(script: &str) -> Workspace {
    let tree = Workspace::new(
        "
        //- images/base/Dockerfile
        FROM scratch
        COPY file /
        //- images/base/file
        one
        //- images/left/Dockerfile
        FROM base
        COPY file /
        //- images/left/file
        one
        //- images/right/Dockerfile
        FROM base
        COPY file /
        //- images/right/file
        one
        //- images/top/Dockerfile
        FROM left
        COPY file /
        //- images/top/file
        one
        ",
    );
    tree.rebuild("").exits(0);
    tree.write("simulate.toml", script);
    tree
}

const SLOW_LEFT: &str = "[image.left]\nduration = '2s'\n[image.right]\nduration = '1s'\n";

#[test]
fn a_build_whose_files_change_is_stopped_and_begun_again_while_its_sibling_goes_on() {
    let tree = tree(SLOW_LEFT);
    let mut watch = Watch::start(&tree, "--jobs=2");
    tree.write("images/base/file", "two\n");
    watch.run.wait_for_build("left");
    tree.write("images/left/file", "two\n");
    let outdated = watch.wait(|event| event["event"] == "outdated");
    assert_eq!((&outdated["image"], &outdated["again"]), (&"left".into(), &true.into()));
    watch.ends("right", "built");
    watch.ends("left", "built");
    watch.settles();
    watch.built(&[("base", 1), ("left", 1), ("right", 1), ("top", 1)]);
}

#[test]
fn an_image_that_waits_takes_what_was_saved_meanwhile() {
    let tree = tree("[image.base]\nduration = '500ms'\n");
    let mut watch = Watch::start(&tree, "");
    tree.write("images/base/file", "two\n");
    watch.run.wait_for_build("base");
    tree.write("images/top/file", "two\n");
    watch.settles();
    watch.built(&[("base", 1), ("left", 1), ("right", 1), ("top", 1)]);
}

#[test]
fn a_build_goes_on_if_what_was_saved_is_the_same() {
    let tree = tree(SLOW_LEFT);
    let mut watch = Watch::start(&tree, "");
    tree.write("images/left/file", "two\n");
    watch.run.wait_for_build("left");
    tree.write("images/left/file", "two\n");
    watch.looks();
    watch.settles();
    watch.built(&[("left", 1), ("top", 1)]);
}

/// Which is built twice then: the first build was already under way, and nothing of it was wrong.
#[test]
fn what_is_built_goes_on_when_something_else_changes_and_that_follows() {
    let tree = tree(SLOW_LEFT);
    let mut watch = Watch::start(&tree, "--jobs=2");
    tree.write("images/left/file", "two\n");
    watch.run.wait_for_build("left");
    tree.write("images/right/file", "other\n");
    watch.ends("left", "built");
    watch.ends("right", "built");
    watch.settles();
    watch.built(&[("left", 1), ("right", 1), ("top", 1)]);
}

#[test]
fn another_dockerfile_stops_the_build_that_it_outdates_and_no_other() {
    let tree = tree(SLOW_LEFT);
    let mut watch = Watch::start(&tree, "--jobs=2");
    tree.write("images/base/file", "two\n");
    // Which of the two begins first is chance.
    for _ in 0..2 {
        watch.wait(|event| event["number"] == 2 && event["image"] != "base");
    }
    tree.write("images/left/Dockerfile", "FROM base\nLABEL new=1\nCOPY file /\n");
    let outdated = watch.wait(|event| event["event"] == "outdated");
    assert_eq!((&outdated["image"], &outdated["again"]), (&"left".into(), &false.into()));
    watch.ends("right", "built");
    watch.ends("left", "built");
    watch.settles();
    watch.built(&[("base", 1), ("left", 1), ("right", 1), ("top", 1)]);
}

#[test]
fn what_is_reverted_while_it_is_built_is_not_built_at_all() {
    let tree = tree(SLOW_LEFT);
    let mut watch = Watch::start(&tree, "");
    tree.write("images/left/file", "two\n");
    watch.run.wait_for_build("left");
    tree.write("images/left/file", "one\n");
    watch.ends("left", "cut-off");
    watch.settles();
    watch.built(&[]);
}

#[test]
fn a_command_follows_each_success_and_is_stopped_when_it_is_outdated() {
    let tree = tree("");
    let mut watch =
        Watch::start(&tree, "--exec=echo${IFS}{image}${IFS}{reference};sleep${IFS}3600");
    let exec = |event: &str, image: &str| {
        let (event, image) = (event.to_owned(), image.to_owned());
        move |it: &serde_json::Value| it["event"] == *event && it["image"] == *image
    };
    tree.write("images/top/file", "two\n");
    let line = watch.wait(exec("exec-log", "top"));
    assert_eq!(line["line"], "top top:latest");
    tree.write("images/top/file", "three\n");
    let end = watch.wait(exec("exec-finished", "top"));
    assert_eq!((&end["stopped"], &end["code"]), (&true.into(), &serde_json::Value::Null));
    watch.wait(exec("exec-log", "top"));
    let said = watch.stop();
    let last = said.events().pop().unwrap();
    assert_eq!((&last["event"], &last["stopped"]), (&"exec-finished".into(), &true.into()));
}
