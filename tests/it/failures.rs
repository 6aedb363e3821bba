//! What a failing image, an engine that is gone, and a limit of failures do to a run.

use crate::support::{TREE, Workspace};

fn tree_with(script: &str) -> Workspace {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", script);
    tree
}

const JRE_FAILS: &str = "[image.'java/jre']\noutcome = 'fail'\n";

#[test]
fn a_failing_image_blocks_its_descendants_only() {
    let tree = tree_with(JRE_FAILS);
    tree.rebuild("").exits(1).says(
        "
        5 images planned, 1 at a time, with simulate (asked for)
        [base] started: never built here
        [base] built: [TIME]  (1.0 MB)
        [java/jre] started: never built here
        [java/jre] failed: images/java/jre/Dockerfile:1: RUN wait: exit code 1
          | simulated java/jre
          | it was told to fail
        [java/jre] log: .imgraph/runs/[RUN]/java__jre.log
        [apps/api] blocked: java/jre failed
        [apps/web] blocked: java/jre failed
        [tools] started: never built here
        [tools] built: [TIME]  (1.0 MB)
        5 planned · 2 built · 1 failed · 2 blocked   [TIME]
        why             base: never built here
        failed          java/jre  images/java/jre/Dockerfile:1: RUN wait: exit code 1
        logs            .imgraph/runs/[RUN]
        rerun           imgraph rebuild --rerun last
        ",
    );
}

#[test]
fn what_was_built_before_a_failure_stays_built() {
    let tree = tree_with(JRE_FAILS);
    tree.rebuild("").exits(1);
    tree.remove("simulate.toml");
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["apps/api built", "apps/web built", "java/jre built"]);
}

#[test]
fn a_failed_rebuild_leaves_the_earlier_build_where_it_is() {
    let tree = tree_with("");
    tree.rebuild("").exits(0);
    tree.write("images/java/jre/security", "lax\n");
    tree.write("simulate.toml", JRE_FAILS);
    tree.rebuild("").exits(1).mentions("1 failed · 2 blocked · 2 up to date");
    tree.write("images/java/jre/security", "strict\n");
    tree.rebuild("").exits(0).says("nothing to do: 5 images are up to date  [TIME]\n");
}

#[test]
fn an_image_that_was_built_for_nothing_is_taken_away() {
    let tree = tree_with("[image.base]\nduration = '1s'\n");
    let mut run = tree.start("rebuild base --json");
    run.wait_for_build("base");
    tree.remove("images/base/packages.txt");
    run.finish().exits(1);
    let store = tree.read(".imgraph/simulate.ndjson");
    let last = store.lines().last().unwrap();
    assert!(last.starts_with("{\"remove\":"), "{store}");
}

#[test]
fn rerun_last_takes_up_what_failed_and_what_was_blocked() {
    let tree = tree_with(JRE_FAILS);
    tree.rebuild("").exits(1);
    tree.write("images/tools/Dockerfile", "FROM base\nRUN make\n");
    tree.remove("simulate.toml");
    let outcome = tree.rebuild("--rerun last --json").exits(0);
    assert_eq!(
        outcome.ends(),
        ["apps/api built", "apps/web built", "java/jre built", "tools built"],
        "web needs the new tools"
    );
    tree.rebuild("--rerun last").exits(0).says("nothing to do: no image is selected  [TIME]\n");
}

#[test]
fn rerun_last_without_a_run_is_an_error() {
    tree_with("").rebuild("--rerun last").exits(2).says(
        "
        error: there is no last run
          help: `imgraph rebuild` makes one
        ",
    );
}

#[test]
fn fail_fast_starts_nothing_more() {
    let tree = tree_with(JRE_FAILS);
    let outcome = tree.rebuild("--fail-fast --json").exits(1);
    assert_eq!(
        outcome.ends(),
        [
            "apps/api blocked",
            "apps/web blocked",
            "base built",
            "java/jre failed",
            "tools not-reached"
        ]
    );
    let text = tree.rebuild("--fail-fast").exits(1);
    text.mentions("4 planned · 1 failed · 2 blocked · 1 not reached · 1 up to date");
}

const THREE_FAIL: &str = "
    //- images/a/Dockerfile
    FROM scratch
    //- images/b/Dockerfile
    FROM scratch
    //- images/c/Dockerfile
    FROM scratch
    //- images/d/Dockerfile
    FROM scratch
    //- simulate.toml
    [default]
    outcome = 'fail'
    [image.d]
    outcome = 'ok'
";

#[test]
fn keep_going_is_what_happens_anyway() {
    let ends = ["a failed", "b failed", "c failed", "d built"];
    for option in ["", "-k", "--keep-going"] {
        let outcome = Workspace::new(THREE_FAIL).rebuild(&format!("{option} --json")).exits(1);
        assert_eq!(outcome.ends(), ends, "{option}");
    }
}

#[test]
fn keep_going_with_a_number_stops_after_so_many_failures() {
    let outcome = Workspace::new(THREE_FAIL).rebuild("-k=2 --json").exits(1);
    assert_eq!(outcome.ends(), ["a failed", "b failed", "c not-reached", "d not-reached"]);
}

#[test]
fn every_selected_image_is_accounted_for() {
    let tree = tree_with(JRE_FAILS);
    for (arguments, code) in
        [("", 1), ("--fail-fast", 1), ("--force tools", 0), ("--only base", 0), ("-k=1 !base", 1)]
    {
        let events = tree.rebuild(&format!("{arguments} --json")).exits(code).events();
        let summary = &events.last().unwrap()["summary"];
        let sum = |fields: &[&str]| -> u64 {
            fields.iter().map(|field| summary[field].as_u64().unwrap()).sum()
        };
        let ends = ["built", "cut_off", "restored", "failed", "blocked", "not_reached"];
        assert_eq!(sum(&["planned"]), sum(&ends), "{arguments}: {summary}");
        assert_eq!(sum(&["selected"]), sum(&["fresh", "planned"]), "{arguments}: {summary}");
        let finished = events.iter().filter(|event| event["event"] == "finished").count();
        assert_eq!(sum(&["planned"]), finished as u64, "{arguments}");
    }
}

/// Two waits, one second and four: src/run/work.rs.
#[test]
fn an_engine_that_is_gone_is_tried_again_and_then_exit_code_69_says_that_a_retry_may_help() {
    let tree = tree_with("[image.tools]\noutcome = 'unavailable'\n");
    tree.rebuild("tools").exits(69).says(
        "
        2 images planned, 1 at a time, with simulate (asked for)
        [base] started: never built here
        [base] built: [TIME]  (1.0 MB)
        [tools] started: never built here
        warning: tools: the simulated engine is gone; trying again in 1 s
        warning: tools: the simulated engine is gone; trying again in 4 s
        [tools] failed: the simulated engine is gone; trying again may help
          | simulated tools
          | simulated tools
          | simulated tools
        [tools] log: .imgraph/runs/[RUN]/tools.log
        2 planned · 1 built · 1 failed   [TIME]
        why             base: never built here
        failed          tools  the simulated engine is gone; trying again may help
        logs            .imgraph/runs/[RUN]
        rerun           imgraph rebuild --rerun last
        ",
    );
}

#[test]
fn an_image_that_is_larger_than_its_layer_allows_fails_and_keeps_its_old_tags() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [[layer]]
        name = 'apps'
        dirs = ['app']
        rules = { max-size = '500kB' }
        //- images/app/Dockerfile
        FROM scratch
        ",
    );
    let outcome = tree.rebuild("").exits(1);
    outcome.mentions("app  it weighs 1000000 bytes, and layer `apps` allows 500000");
}

#[test]
fn in_ci_a_failure_is_shown_with_its_whole_log_and_an_annotation() {
    let tree = tree_with(JRE_FAILS);
    let outcome = tree.run("rebuild --jobs=1", &[("GITHUB_ACTIONS", "true")]).exits(1);
    outcome.mentions(
        "
        ::group::log of java/jre
          | simulated java/jre
          | it was told to fail
        ::endgroup::
        ::error file=images/java/jre/Dockerfile,line=1
        ",
    );
}

#[test]
fn in_ci_the_summary_of_the_step_gets_a_page() {
    let tree = tree_with(JRE_FAILS);
    let page = tree.path("summary.md");
    let environment = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", page.to_str().unwrap())];
    tree.run("rebuild --jobs=1", &environment).exits(1);
    let page = tree.read("summary.md");
    assert!(
        page.starts_with("### imgraph: 5 planned · 2 built · 1 failed · 2 blocked in"),
        "{page}"
    );
    assert!(page.contains("<summary>failed java/jre: images/java/jre/Dockerfile:1"), "{page}");
}

#[test]
fn a_child_of_what_still_runs_is_left_out_when_the_first_failure_ends_the_run() {
    // The parent ends well after the run was told to start nothing more.
    let tree = Workspace::new(
        "
        //- simulate.toml
        [image.fails]
        outcome = 'fail'
        duration = '50ms'
        [image.parent]
        duration = '600ms'
        //- images/fails/Dockerfile
        FROM scratch
        //- images/parent/Dockerfile
        FROM scratch
        //- images/child/Dockerfile
        FROM parent
        ",
    );
    let outcome = tree.imgraph("rebuild --fail-fast --jobs 2 --json").exits(1);
    assert_eq!(outcome.ends(), ["child not-reached", "fails failed", "parent built"]);
}
