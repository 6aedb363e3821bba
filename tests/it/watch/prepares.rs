//! What a `prepare` is made from changes while it runs, or while what it made is built.

use std::fs;

use serde_json::Value;

use crate::support::{Workspace, text};
use crate::watch::{Watch, builds};

/// An image whose `prepare` takes the first letter of its source, and hangs where that is `hang`. The
/// build takes a while; `base`, which it stands on, too.
fn tree() -> Workspace {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.app.prepare]
        run = '''
            read word < source
            echo $word >> ../../runs
            if [ $word = hang ]; then sleep 3600 & echo sleeper $!; wait; fi
            [ $word != bad ] && printf %.1s $word > made
        '''
        inputs = ['source']
        outputs = ['made']
        //- images/base/Dockerfile
        FROM scratch
        COPY file /
        //- images/base/file
        one
        //- images/app/Dockerfile
        FROM base
        COPY file made /
        //- images/app/file
        one
        //- images/app/source
        a1
        ",
    );
    tree.rebuild("").exits(0);
    tree.write("simulate.toml", "[default]\nduration = '2s'\n");
    tree
}

/// What the command was run with since the tree was built.
fn runs(tree: &Workspace) -> Vec<String> {
    tree.read("runs").lines().skip(1).map(str::to_owned).collect()
}

fn save(tree: &Workspace, text: &str) {
    tree.write("images/app/source", format!("{text}\n"));
}

/// Saves a source that the command hangs with; returns the process that it hangs in.
fn hang(tree: &Workspace, watch: &mut Watch<'_>) -> String {
    save(tree, "hang");
    let is_line = |event: &Value| event["event"] == "log" && event["line"] != Value::Null;
    let line = watch.wait(is_line);
    text(&line["line"]).strip_prefix("sleeper ").unwrap().to_owned()
}

/// Whether a process is there and no zombie: who collects those that lost their parents may take a while.
fn lives(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn is_stopped(watch: &mut Watch<'_>) {
    let outdated = watch.wait(|event| event["event"] == "outdated");
    assert_eq!((&outdated["image"], &outdated["again"]), (&"app".into(), &true.into()));
}

/// Ends the watch; returns how often something was stopped.
fn stops(watch: Watch<'_>) -> usize {
    let said = watch.stop();
    builds(&said);
    said.events().iter().filter(|event| event["event"] == "outdated").count()
}

#[test]
fn a_prepare_whose_inputs_change_is_stopped_and_begun_again_once() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "");
    let sleeper = hang(&tree, &mut watch);
    save(&tree, "b1");
    is_stopped(&mut watch);
    watch.ends("app", "built");
    assert!(!lives(&sleeper), "all that it had started is gone");
    watch.settles();
    assert_eq!(
        (runs(&tree).join(" "), tree.read("images/app/made").as_str()),
        ("hang b1".into(), "b")
    );
    watch.built(&[("app", 1)]);
}

#[test]
fn a_build_whose_prepare_has_other_inputs_is_stopped_and_prepared_again() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "");
    save(&tree, "b1");
    watch.run.wait_for_build("app");
    save(&tree, "c1");
    is_stopped(&mut watch);
    watch.ends("app", "built");
    watch.settles();
    assert_eq!(
        (runs(&tree).join(" "), tree.read("images/app/made").as_str()),
        ("b1 c1".into(), "c")
    );
    watch.built(&[("app", 1)]);
}

#[test]
fn what_is_prepared_again_and_comes_out_the_same_is_built_once() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "");
    save(&tree, "b1");
    watch.run.wait_for_build("app");
    save(&tree, "b2");
    is_stopped(&mut watch);
    watch.ends("app", "built");
    watch.settles();
    assert_eq!(runs(&tree), ["b1", "b2"]);
    watch.built(&[("app", 1)]);
}

#[test]
fn what_is_prepared_again_as_it_was_recorded_is_not_built_at_all() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "");
    save(&tree, "b1");
    watch.run.wait_for_build("app");
    save(&tree, "a1");
    is_stopped(&mut watch);
    watch.ends("app", "cut-off");
    watch.settles();
    assert_eq!(
        (runs(&tree).join(" "), tree.read("images/app/made").as_str()),
        ("b1 a1".into(), "a")
    );
    watch.built(&[]);
}

#[test]
fn a_build_that_was_not_prepared_in_this_run_is_stopped_too() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "");
    tree.write("images/app/file", "two\n");
    watch.run.wait_for_build("app");
    save(&tree, "b1");
    is_stopped(&mut watch);
    watch.ends("app", "built");
    watch.settles();
    assert_eq!(runs(&tree), ["b1"]);
    watch.built(&[("app", 1)]);
}

#[test]
fn an_input_that_is_saved_as_it_was_stops_nothing() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "");
    hang(&tree, &mut watch);
    save(&tree, "hang");
    watch.looks();
    save(&tree, "b1");
    is_stopped(&mut watch);
    watch.run.wait_for_build("app");
    save(&tree, "b1");
    watch.looks();
    watch.ends("app", "built");
    watch.settles();
    assert_eq!(runs(&tree), ["hang", "b1"]);
    assert_eq!(stops(watch), 1, "by the other source alone");
    tree.rebuild("--changed").exits(0).mentions("nothing to do");
}

#[test]
fn a_build_after_a_prepare_is_stopped_by_its_other_files() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "");
    save(&tree, "b1");
    watch.run.wait_for_build("app");
    tree.write("images/app/file", "two\n");
    is_stopped(&mut watch);
    watch.ends("app", "built");
    watch.settles();
    assert_eq!(runs(&tree), ["b1"]);
    watch.built(&[("app", 1)]);
}

#[test]
fn an_image_that_waits_is_prepared_when_its_turn_comes() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "");
    tree.write("images/base/file", "two\n");
    watch.run.wait_for_build("base");
    save(&tree, "b1");
    watch.settles();
    assert_eq!(runs(&tree), ["b1"]);
    watch.built(&[("app", 1), ("base", 1)]);
}

#[test]
fn a_prepare_that_fails_after_it_was_begun_again_fails_once() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "");
    hang(&tree, &mut watch);
    save(&tree, "bad");
    watch.ends("app", "failed");
    assert_eq!(watch.idle(), ["app"]);
    save(&tree, "bad");
    assert_eq!(watch.looks(), [""; 0]);
    tree.write("images/base/file", "two\n");
    watch.ends("base", "built");
    watch.idle();
    assert_eq!(runs(&tree), ["hang", "bad"]);
    watch.stop();
}

#[test]
fn another_dockerfile_stops_the_prepare_of_its_image_and_no_other() {
    let tree = tree();
    let mut watch = Watch::start(&tree, "--jobs=2");
    hang(&tree, &mut watch);
    tree.write("images/base/Dockerfile", "FROM scratch\nLABEL new=1\nCOPY file /\n");
    watch.looks();
    tree.write("images/app/Dockerfile", "FROM base\nLABEL new=1\nCOPY file made /\n");
    let outdated = watch.wait(|event| event["event"] == "outdated");
    assert_eq!((&outdated["image"], &outdated["again"]), (&"app".into(), &false.into()));
    save(&tree, "b1");
    watch.ends("app", "not-reached");
    watch.settles();
    watch.built(&[("app", 1), ("base", 1)]);
}

#[test]
fn a_prepare_that_changes_its_own_inputs_is_given_up() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.app.prepare]
        run = 'echo run >> ../../runs; echo >> source; cp source made'
        inputs = ['source']
        outputs = ['made']
        //- images/app/Dockerfile
        FROM scratch
        COPY made /
        //- images/app/source
        one
        ",
    );
    let mut watch = Watch::begin(&tree, "");
    watch.ends("app", "failed");
    assert_eq!(watch.idle(), ["app"]);
    let runs = tree.read("runs");
    watch.stop();
    assert_eq!(tree.read("runs"), runs);
    fs::remove_file(tree.path("runs")).unwrap();
    tree.rebuild("").exits(1).mentions("the inputs of prepare");
    assert_eq!(tree.read("runs").lines().count(), 3);
}
