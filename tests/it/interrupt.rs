//! Ctrl-C, SIGTERM and SIGKILL in the middle of a build, and two runs at once.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Running, TREE, Workspace};

/// The promise of `quality.md`: children stop within two seconds.
const PROMISED: Duration = Duration::from_secs(2);

/// A run that is in the middle of `java/jre`, which would never end.
fn hanging() -> (Workspace, Running) {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.'java/jre']\noutcome = 'hang'\n");
    let mut run = tree.start("rebuild --jobs=1 --json");
    run.wait_for_build("java/jre");
    (tree, run)
}

fn continues(tree: &Workspace) {
    tree.remove("simulate.toml");
    let outcome = tree.rebuild("--json").exits(0);
    assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
    assert_eq!(
        outcome.ends(),
        ["apps/api built", "apps/web built", "java/jre built", "tools built"],
        "base was built before"
    );
}

#[test]
fn ctrl_c_ends_the_run_in_order_within_two_seconds_and_the_next_run_goes_on() {
    let (tree, run) = hanging();
    let since = Instant::now();
    run.signal(Signal::INT);
    let outcome = run.finish().exits(130);
    assert!(since.elapsed() < PROMISED, "it took {:?}", since.elapsed());
    assert_eq!(
        outcome.ends(),
        [
            "apps/api not-reached",
            "apps/web not-reached",
            "base built",
            "java/jre not-reached",
            "tools not-reached",
        ]
    );
    outcome.mentions(
        "
        interrupted: stopping what runs; what was built is kept
        5 planned · 1 built · 0 failed · 4 not reached
        interrupted     what was built is kept; the next run goes on from there
        rerun           imgraph rebuild --rerun last
        ",
    );
    continues(&tree);
}

#[test]
fn a_second_ctrl_c_by_the_same_hand_changes_nothing() {
    let (tree, run) = hanging();
    run.signal(Signal::INT);
    run.signal(Signal::INT);
    run.finish().exits(130);
    continues(&tree);
}

#[test]
fn what_was_interrupted_can_be_asked_for() {
    let (tree, run) = hanging();
    run.signal(Signal::INT);
    run.finish().exits(130);
    tree.write("simulate.toml", "");
    let outcome = tree.rebuild("--rerun last --json").exits(0);
    assert_eq!(
        outcome.ends(),
        ["apps/api built", "apps/web built", "java/jre built", "tools built"]
    );
}

#[test]
fn sigterm_ends_the_run_in_order_too() {
    let (tree, run) = hanging();
    let since = Instant::now();
    run.signal(Signal::TERM);
    run.finish().exits(143);
    assert!(since.elapsed() < PROMISED, "it took {:?}", since.elapsed());
    continues(&tree);
}

#[test]
fn a_killed_run_is_gone_on_with_and_nothing_is_said_to_be_wrong() {
    let (tree, run) = hanging();
    run.signal(Signal::KILL);
    run.finish().was_killed_by(Signal::KILL);
    continues(&tree);
}

#[test]
fn the_images_of_a_killed_run_can_be_asked_for() {
    let (tree, run) = hanging();
    run.signal(Signal::KILL);
    run.finish().was_killed_by(Signal::KILL);
    tree.write("simulate.toml", "");
    let outcome = tree.rebuild("--rerun last --json").exits(0);
    assert_eq!(outcome.ends(), ["java/jre built"], "the image that was at work");
}

#[test]
fn nothing_of_a_killed_build_is_left_behind() {
    let (tree, run) = hanging();
    run.signal(Signal::KILL);
    run.finish().was_killed_by(Signal::KILL);
    let killed = tree.path(".imgraph/tmp").read_dir().unwrap().next().unwrap().unwrap().path();
    assert_eq!(killed.read_dir().unwrap().count(), 0, "this engine wants no directory");
    fs::create_dir(killed.join("2")).unwrap();
    fs::write(killed.join("2/Dockerfile"), "what another engine leaves").unwrap();
    continues(&tree);
    let left = tree.path(".imgraph/tmp").read_dir().unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn ctrl_c_while_an_engine_that_is_gone_is_waited_for_ends_the_run() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[default]\noutcome = 'unavailable'\n");
    let mut run = tree.start("rebuild --jobs=1");
    run.wait_for_words("trying again in 4 s");
    let since = Instant::now();
    run.signal(Signal::INT);
    run.finish().exits(130);
    assert!(since.elapsed() < PROMISED, "it took {:?}", since.elapsed());
}

#[test]
fn ctrl_c_stops_the_processes_of_a_prepare() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.base.prepare]
        run = 'echo begun; (sleep 3600; touch late) & sleep 3600'
        inputs = ['Dockerfile']
        outputs = ['late']
        //- images/base/Dockerfile
        FROM scratch
        COPY late /
        ",
    );
    let mut run = tree.start("rebuild --json");
    run.wait_for(|event| event["event"] == "log" && event["line"] == "begun");
    let since = Instant::now();
    run.signal(Signal::INT);
    let outcome = run.finish().exits(130);
    assert!(since.elapsed() < PROMISED, "it took {:?}", since.elapsed());
    assert_eq!(outcome.ends(), ["base not-reached"]);
}

#[test]
fn a_second_run_names_who_holds_the_lock_and_can_be_told_not_to_wait() {
    let (tree, run) = hanging();
    let outcome = tree.rebuild("--no-wait --json").exits(75).prints("");
    outcome.says("error: another imgraph is at work here: imgraph rebuild ([PROCESS])\n");
    run.signal(Signal::INT);
    run.finish().exits(130);
    tree.remove("simulate.toml");
    tree.rebuild("--no-wait").exits(0);
}

#[test]
fn a_second_run_waits_for_the_first() {
    let (tree, first) = hanging();
    let mut second = tree.start("rebuild --jobs=1 --json");
    second.wait_for_words(&format!("waiting for imgraph rebuild (pid {}", first.pid()));
    tree.remove("simulate.toml");
    first.signal(Signal::INT);
    first.finish().exits(130);
    let outcome = second.finish().exits(0);
    assert_eq!(
        outcome.ends(),
        ["apps/api built", "apps/web built", "java/jre built", "tools built"]
    );
}

#[test]
fn ctrl_c_ends_the_waiting_for_the_lock() {
    let (tree, first) = hanging();
    let mut second = tree.start("rebuild");
    second.wait_for_words("waiting for imgraph rebuild");
    let since = Instant::now();
    second.signal(Signal::INT);
    second.finish().exits(130);
    assert!(since.elapsed() < PROMISED, "it took {:?}", since.elapsed());
    first.signal(Signal::INT);
    first.finish().exits(130);
}

#[test]
fn a_plan_needs_no_lock() {
    let (tree, first) = hanging();
    let outcome = tree.imgraph("plan").exits(0);
    outcome.mentions("4 to rebuild · 1 up to date");
    first.signal(Signal::INT);
    first.finish().exits(130);
}
