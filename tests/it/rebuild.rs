//! `imgraph rebuild`: what is built, in which order, and what is not.

use serde_json::Value;

use crate::support::{TREE, Workspace, text};

/// Everything of the tree, built.
fn built() -> Workspace {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree
}

/// The tree, built, with a base that comes out the same whatever it is built from.
fn built_on_a_steady_base() -> Workspace {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.base]\ncontent = 'same'\n");
    tree.rebuild("").exits(0);
    tree
}

const NOTHING: &str = "nothing to do: 5 images are up to date  [TIME]\n";

#[test]
fn the_first_build_makes_everything_parents_first() {
    Workspace::new(TREE).rebuild("").exits(0).prints("").says(
        "
        5 images planned, 1 at a time, with simulate (asked for)
        [base] started: never built here
        [base] built: [TIME]  (1.0 MB)
        [java/jre] started: never built here
        [java/jre] built: [TIME]  (1.0 MB)
        [tools] started: never built here
        [tools] built: [TIME]  (1.0 MB)
        [apps/api] started: never built here
        [apps/api] built: [TIME]  (1.0 MB)
        [apps/web] started: never built here
        [apps/web] built: [TIME]  (1.0 MB)
        5 planned · 5 built · 0 failed   [TIME]
        why             base: never built here
        logs            .imgraph/runs/[RUN]
        ",
    );
}

#[test]
fn a_second_run_has_nothing_to_do() {
    built().rebuild("").exits(0).prints("").says(NOTHING);
}

#[test]
fn changed_is_the_same_as_no_selector() {
    let tree = built();
    tree.rebuild("--changed").exits(0).says(NOTHING);
    tree.write("images/apps/api/src/Main.java", "class Main { int x; }\n");
    let outcome = tree.rebuild("--changed --json").exits(0);
    assert_eq!(outcome.ends(), ["apps/api built"]);
}

#[test]
fn a_changed_file_rebuilds_its_image_and_everything_that_depends_on_it() {
    let tree = built();
    tree.write("images/java/jre/security", "lax\n");
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["apps/api built", "apps/web built", "java/jre built"]);
    tree.rebuild("").exits(0).says(NOTHING);
    tree.write("images/java/jre/security", "none\n");
    tree.rebuild("apps/api").exits(0).says(
        "
        2 of 3 images planned, 1 at a time, with simulate (asked for), ~[TIME]
        [java/jre] started: security changed
        [java/jre] built: [TIME]  (1.0 MB)
        [apps/api] started: java/jre came out different
        [apps/api] built: [TIME]  (1.0 MB)
        2 planned · 2 built · 0 failed · 1 up to date   [TIME]
        why             java/jre: security changed
        logs            .imgraph/runs/[RUN]
        ",
    );
}

#[test]
fn a_file_that_is_added_renamed_or_removed_is_named() {
    let tree = built();
    tree.write("images/apps/api/src/Other.java", "class Other {}\n");
    tree.rebuild("").exits(0).mentions("[apps/api] started: src/Other.java is new");
    tree.remove("images/apps/api/src/Other.java");
    tree.write("images/apps/api/src/Third.java", "class Other {}\n");
    tree.rebuild("")
        .exits(0)
        .mentions("[apps/api] started: src/Other.java is gone, src/Third.java is new");
}

#[test]
fn the_right_to_execute_counts() {
    let tree = built();
    tree.set_mode("images/java/jre/security", 0o755);
    tree.rebuild("").exits(0).mentions("started: mode or attributes of security changed");
}

#[test]
fn a_touched_file_rebuilds_nothing() {
    let tree = built();
    tree.touch("images/base/packages.txt");
    tree.touch("images/apps/api/src/Main.java");
    tree.touch("images/base/Dockerfile");
    tree.rebuild("").exits(0).says(NOTHING);
}

#[test]
fn a_file_that_nothing_copies_rebuilds_nothing() {
    let tree = built();
    tree.write("images/apps/web/README.md", "# web\n");
    tree.rebuild("").exits(0).says(NOTHING);
}

#[test]
fn a_file_that_dockerignore_leaves_out_rebuilds_nothing() {
    let tree = built();
    tree.write("images/apps/api/.dockerignore", "**/*.tmp\n");
    tree.rebuild("").exits(0).says(NOTHING);
    tree.write("images/apps/api/src/x.tmp", "x");
    tree.rebuild("").exits(0).says(NOTHING);
    tree.remove("images/apps/api/.dockerignore");
    tree.rebuild("").exits(0).mentions("[apps/api] started: src/x.tmp is new");
}

#[test]
fn a_comment_in_the_dockerfile_of_the_base_rebuilds_nothing() {
    let tree = built();
    tree.write(
        "images/base/Dockerfile",
        "# the base\n\nfrom scratch\n# and\nCOPY packages.txt \\\n /\n",
    );
    tree.rebuild("").exits(0).says(NOTHING);
}

#[test]
fn a_changed_instruction_is_named_by_its_line() {
    let tree = built();
    tree.write("images/apps/api/Dockerfile", "FROM java/jre\n# more\nCOPY src /source\n");
    tree.rebuild("").exits(0).mentions("[apps/api] started: Dockerfile line 3 changed");
}

#[test]
fn where_a_rebuilt_parent_came_out_the_same_its_dependents_are_cut_off() {
    let tree = built_on_a_steady_base();
    tree.write("images/base/packages.txt", "curl\njq\n");
    let outcome = tree.rebuild("apps/api").exits(0);
    outcome.says(
        "
        3 images planned, 1 at a time, with simulate (asked for), ~[TIME]
        [base] started: packages.txt changed
        [base] built: [TIME]  (1.0 MB, came out the same)
        [java/jre] cut off: base came out the same
        [apps/api] cut off: java/jre came out the same
        3 planned · 1 built · 2 cut off (base came out the same) · 0 failed   [TIME]
        why             base: packages.txt changed
        logs            .imgraph/runs/[RUN]
        ",
    );
    tree.rebuild("").exits(0).says(NOTHING);
    tree.write("images/base/packages.txt", "curl\nvim\n");
    let outcome = tree.rebuild("").exits(0);
    outcome.mentions("[apps/web] cut off: java/jre and tools came out the same");
}

#[test]
fn below_a_parent_that_came_out_the_same_an_own_change_is_still_built() {
    let tree = built_on_a_steady_base();
    tree.write("images/base/packages.txt", "curl\njq\n");
    tree.write("images/java/jre/security", "lax\n");
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(
        outcome.ends(),
        ["apps/api built", "apps/web built", "base built", "java/jre built", "tools cut-off"]
    );
}

#[test]
fn a_steady_parent_keeps_its_place_in_the_store() {
    let tree = built_on_a_steady_base();
    let id = |outcome: &[Value]| {
        let built =
            outcome.iter().find(|event| event["image"] == "base" && event["built"].is_object());
        built.unwrap()["built"]["id"].clone()
    };
    tree.write("images/base/packages.txt", "one\n");
    let first = tree.rebuild("--json").exits(0);
    tree.write("images/base/packages.txt", "two\n");
    let second = tree.rebuild("--json").exits(0);
    assert_eq!(id(&first.events()), id(&second.events()));
}

#[test]
fn what_is_changed_back_is_restored_without_a_build() {
    let tree = built();
    tree.write("images/java/jre/security", "lax\n");
    tree.rebuild("").exits(0);
    tree.write("images/java/jre/security", "strict\n");
    tree.rebuild("apps/api").exits(0).says(
        "
        2 of 3 images planned, 1 at a time, with simulate (asked for), ~[TIME]
        [java/jre] restored: an earlier build has the same inputs
        [apps/api] restored: an earlier build has the same inputs
        2 planned · 2 restored · 0 failed · 1 up to date   [TIME]
        ",
    );
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["apps/web restored"]);
    tree.rebuild("").exits(0).says(NOTHING);
}

#[test]
fn an_output_that_is_gone_from_the_store_is_built_again() {
    let tree = built();
    tree.lose("java/jre:latest");
    let outcome = tree.rebuild("").exits(0);
    let outcome = outcome.mentions("[java/jre] started: its output is no longer in the store");
    outcome.mentions("3 planned · 1 built · 2 cut off · 0 failed · 2 up to date");
    tree.rebuild("").exits(0).says(NOTHING);
}

#[test]
fn a_tag_that_was_moved_by_others_is_put_back_without_a_build() {
    let tree = built();
    let store = tree.read(".imgraph/simulate.ndjson");
    let stolen = store.lines().find(|line| line.contains("\"base:latest\"")).unwrap();
    let stolen: Value = serde_json::from_str(stolen).unwrap();
    let change = serde_json::json!({
        "tag": { "id": stolen["tag"]["id"], "references": ["java/jre:latest"] }
    });
    tree.write(".imgraph/simulate.ndjson", format!("{store}{change}\n"));
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["java/jre restored"]);
    tree.rebuild("").exits(0).says(NOTHING);
}

#[test]
fn a_lost_state_costs_a_build_and_nothing_else() {
    let tree = built();
    tree.remove(".imgraph");
    tree.rebuild("").exits(0).mentions("5 planned · 5 built · 0 failed ");
}

#[test]
fn a_checkout_in_another_place_is_as_fresh_as_this_one() {
    let tree = built();
    let elsewhere = Workspace::new("//- here/");
    std::fs::remove_dir_all(elsewhere.root()).unwrap();
    std::fs::rename(tree.root(), elsewhere.root()).unwrap();
    elsewhere.rebuild("").exits(0).says(NOTHING);
}

#[test]
fn force_builds_what_was_asked_for_and_nothing_else_where_it_comes_out_the_same() {
    let tree = built();
    let outcome = tree.rebuild("--force java/jre --json").exits(0);
    assert_eq!(outcome.ends(), ["java/jre built"]);
    tree.rebuild("--force apps/api").exits(0).says(
        "
        1 of 3 images planned, 1 at a time, with simulate (asked for), ~[TIME]
        [apps/api] started: forced
        [apps/api] built: [TIME]  (1.0 MB, came out the same)
        1 planned · 1 built · 0 failed · 2 up to date   [TIME]
        why             apps/api: forced
        logs            .imgraph/runs/[RUN]
        ",
    );
}

#[test]
fn force_reaches_an_image_whose_parent_changed_too() {
    let tree = built_on_a_steady_base();
    tree.write("images/base/packages.txt", "jq\n");
    let outcome = tree.rebuild("--force tools --json").exits(0);
    assert_eq!(outcome.ends(), ["base built", "tools built"]);
}

#[test]
fn two_images_from_the_same_inputs_are_built_once() {
    let tree = Workspace::new("//- images/a/Dockerfile\nFROM scratch\n");
    tree.write("images/b/Dockerfile", "from scratch\n");
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["a built", "b restored"]);
    tree.rebuild("").exits(0).says("nothing to do: 2 images are up to date  [TIME]\n");
}

#[test]
fn siblings_are_built_at_once() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[default]\nduration = '300ms'\n");
    let outcome = tree.imgraph("rebuild --jobs=2 --json").exits(0);
    let mut running: Vec<Value> = Vec::new();
    let mut most = 0;
    for event in outcome.events() {
        match event["event"].as_str() {
            Some("started") => running.push(event["image"].clone()),
            Some("finished") => running.retain(|image| *image != event["image"]),
            _ => (),
        }
        most = most.max(running.len());
    }
    assert_eq!(most, 2);
}

#[test]
fn the_longest_remaining_path_goes_first() {
    let tree = Workspace::new(
        "
        //- images/a/Dockerfile
        FROM scratch
        LABEL is=a
        //- images/b/Dockerfile
        FROM scratch
        //- images/b/child/Dockerfile
        FROM b
        //- simulate.toml
        [image.a]
        duration = '20ms'
        [image.'b/child']
        duration = '120ms'
        ",
    );
    let first = tree.rebuild("--json").exits(0);
    let ends = ["b built", "a built", "b/child built"];
    assert_eq!(first.ends_in_order(), ends, "two images of which nothing is known are longer");
    let again = tree.rebuild("--force --json").exits(0);
    assert_eq!(again.ends_in_order(), ["b built", "b/child built", "a built"]);
}

#[test]
fn a_dry_run_does_nothing() {
    let tree = Workspace::new(TREE);
    tree.imgraph("rebuild -n tools").exits(0).says("").prints(
        "
        rebuild  base  never built here
        rebuild  tools  never built here
        2 to rebuild
        ",
    );
    assert!(!tree.path(".imgraph/ledger").exists());
    tree.rebuild("").exits(0).mentions("5 built");
}

#[test]
fn a_log_is_kept_for_every_image() {
    let tree = Workspace::new(TREE);
    let outcome = tree.rebuild("--json").exits(0);
    let events = outcome.events();
    let started = events.iter().filter(|event| event["event"] == "started");
    let logs: Vec<&str> = started.map(|event| text(&event["log"])).collect();
    assert_eq!(logs.len(), 5);
    assert!(logs[1].ends_with("/java__jre.log"), "{logs:?}");
    let log = tree.read(logs[1]);
    assert_eq!(log, "[1/2] FROM simulated\n[2/2] RUN wait 0 ms\nsimulated java/jre\n");
}

#[test]
fn the_state_is_kept_out_of_git() {
    let tree = built();
    assert_eq!(tree.read(".imgraph/.gitignore"), "*\n");
}

#[test]
fn imgraph_may_be_started_anywhere_in_the_workspace() {
    let tree = built();
    tree.rebuild("-C images/apps/api").exits(0).says(NOTHING);
}
