//! `rebuild --push`: what is sent to registries, when, and what is not.

use serde_json::Value;

use crate::support::{TREE, Workspace};

const REGISTRY: &str = "[workspace]\nregistry = 'r.example/acme'\n";

fn tree_with(script: &str) -> Workspace {
    let tree = Workspace::new(TREE);
    tree.write("layers.toml", REGISTRY);
    for name in ["base", "java/jre", "tools"] {
        let path = format!("images/{name}/Dockerfile");
        let text = tree.read(&path).replace("FROM base", "FROM r.example/acme/base");
        tree.write(&path, text);
    }
    for name in ["apps/api", "apps/web"] {
        let path = format!("images/{name}/Dockerfile");
        let text = tree.read(&path).replace("FROM java", "FROM r.example/acme/java");
        tree.write(&path, text.replace("from=tools", "from=r.example/acme/tools"));
    }
    tree.write("simulate.toml", script);
    tree
}

fn built() -> Workspace {
    let tree = tree_with("");
    tree.rebuild("").exits(0);
    tree
}

const PUSHES: [&str; 5] = [
    "r.example/acme/base:latest r.example/acme/base:ig-[DIGEST]",
    "r.example/acme/java/jre:latest r.example/acme/java/jre:ig-[DIGEST]",
    "r.example/acme/tools:latest r.example/acme/tools:ig-[DIGEST]",
    "r.example/acme/apps/api:latest r.example/acme/apps/api:ig-[DIGEST]",
    "r.example/acme/apps/web:latest r.example/acme/apps/web:ig-[DIGEST]",
];

#[test]
fn what_is_built_is_pushed_and_a_second_run_has_nothing_to_do() {
    let tree = tree_with("");
    tree.rebuild("--push base").exits(0).says(
        "
        1 image planned, 1 at a time, with simulate (asked for)
        [base] started: never built here
        [base] built: [TIME]  (1.0 MB, pushed)
        1 planned · 1 built · 0 failed   [TIME]
        why             base: never built here
        logs            .imgraph/runs/[RUN]
        ",
    );
    tree.rebuild("--push").exits(0).mentions("4 built · 0 failed · 1 up to date");
    let mut pushes = tree.pushes();
    pushes[1..].sort_unstable();
    let mut wanted = PUSHES;
    wanted[1..].sort_unstable();
    assert_eq!(pushes, wanted);
    tree.rebuild("--push").exits(0).says("nothing to do: 5 images are up to date  [TIME]\n");
    assert_eq!(tree.pushes().len(), 5);
}

#[test]
fn nothing_is_pushed_unasked() {
    assert_eq!(built().pushes(), [""; 0]);
}

#[test]
fn what_is_up_to_date_is_pushed_once_without_a_build() {
    let tree = built();
    tree.rebuild("tools --push --dry-run").exits(0).prints(
        "
        push     base  not pushed yet
        push     tools  not pushed yet
        2 only to push
        ",
    );
    tree.rebuild("tools --push").exits(0).says(
        "
        2 images planned, 1 at a time, with simulate (asked for)
        [base] started: not pushed yet
        [base] pushed: r.example/acme/base:latest and r.example/acme/base:ig-[DIGEST]
        [tools] started: not pushed yet
        [tools] pushed: r.example/acme/tools:latest and r.example/acme/tools:ig-[DIGEST]
        2 planned · 2 only pushed · 0 failed   [TIME]
        why             base: not pushed yet
        logs            .imgraph/runs/[RUN]
        ",
    );
    assert_eq!(tree.pushes(), [PUSHES[0], PUSHES[2]]);
    tree.rebuild("tools --push").exits(0).mentions("nothing to do");
    tree.rebuild("--push --dry-run").exits(0).mentions("3 only to push · 2 up to date");
}

#[test]
fn events_tell_of_a_push_before_the_end_of_its_image() {
    let tree = built();
    tree.write("images/base/packages.txt", "vim\n");
    let outcome = tree.rebuild("tools --push --json").exits(0);
    assert_eq!(outcome.ends(), ["base built", "tools built"]);
    let events = outcome.events();
    let of_base = |event: &&Value| event["image"] == "base" && event["event"] != "log";
    let of_base: Vec<&Value> = events.iter().filter(of_base).collect();
    let [.., step, pushed, finished] = &of_base[..] else { panic!("{of_base:?}") };
    assert!(step["text"].as_str().unwrap().starts_with("push r.example/acme/base:latest"));
    assert_eq!(pushed["event"], "pushed");
    assert_eq!(pushed["references"].as_array().unwrap().len(), 2);
    assert_eq!(finished["event"], "finished");

    let outcome = tree.rebuild("java/jre --push --json").exits(0);
    assert_eq!(outcome.ends(), ["java/jre built"], "base is pushed already");
    let events = outcome.events();
    let summary = &events.last().unwrap()["summary"];
    assert_eq!((&summary["built"], &summary["pushed"]), (&1.into(), &0.into()));
}

#[test]
fn another_tag_is_pushed_without_a_build() {
    let tree = built();
    tree.rebuild("base --push").exits(0);
    tree.write("images/base/VERSION", "1.2\n");
    let outcome = tree.rebuild("base --push").exits(0);
    outcome.mentions("[base] restored: an earlier build has the same inputs; pushed");
    assert_eq!(
        tree.pushes()[1],
        "r.example/acme/base:1.2 r.example/acme/base:latest r.example/acme/base:ig-[DIGEST]"
    );
}

#[test]
fn what_is_cut_off_is_pushed_where_it_was_not() {
    let tree = tree_with("[image.base]\ncontent = 'same'\n");
    tree.rebuild("").exits(0);
    tree.rebuild("base --push").exits(0);
    tree.write("images/base/packages.txt", "vim\n");
    tree.rebuild("java/jre --push").exits(0).mentions(
        "
        [base] built: [TIME]  (1.0 MB, came out the same, pushed)
        [java/jre] started: not pushed yet
        [java/jre] cut off: base came out the same; pushed
        ",
    );
}

#[test]
fn a_failed_push_fails_its_image_and_a_later_run_only_pushes() {
    let tree = tree_with("[image.'java/jre']\npush = 'fail'\n");
    tree.rebuild("--push").exits(1).mentions(
        "
        [java/jre] failed: cannot push: the simulated registry refuses
          | the registry was told to refuse
        [apps/api] blocked: java/jre failed
        [apps/web] blocked: java/jre failed
        5 planned · 2 built · 1 failed · 2 blocked
        ",
    );
    assert_eq!(tree.pushes().len(), 2, "what builds on it is neither built nor pushed");
    // The build is kept: without `--push` nothing is wrong with it.
    tree.rebuild("java/jre").exits(0).mentions("nothing to do");
    tree.remove("simulate.toml");
    tree.rebuild("java/jre --push").exits(0).mentions("1 only pushed · 0 failed · 1 up to date");
}

#[test]
fn a_child_that_is_up_to_date_is_not_pushed_before_its_parent() {
    let tree = built();
    tree.write("simulate.toml", "[image.base]\npush = 'fail'\n");
    let outcome = tree.rebuild("--push --json").exits(1);
    assert_eq!(
        outcome.ends(),
        [
            "apps/api blocked",
            "apps/web blocked",
            "base failed",
            "java/jre blocked",
            "tools blocked"
        ]
    );
    assert_eq!(tree.pushes(), [""; 0]);
    tree.remove("simulate.toml");
    let outcome = tree.rebuild("--push --rerun last --json").exits(0);
    assert!(outcome.ends().iter().all(|end| end.ends_with(" pushed")), "{:?}", outcome.ends());
}

#[test]
fn a_registry_that_is_gone_is_asked_again_and_said_to_be_mendable() {
    let tree = tree_with("[image.base]\npush = 'unavailable'\n");
    tree.rebuild("base --push").exits(69).mentions(
        "
        warning: base: the simulated registry is gone; trying again in 1 s
        warning: base: the simulated registry is gone; trying again in 4 s
        [base] failed: cannot push: the simulated registry is gone; trying again may help
        ",
    );
}

#[test]
fn forced_images_are_pushed_again() {
    let tree = tree_with("");
    tree.rebuild("base --push").exits(0);
    tree.rebuild("base --push --force").exits(0).mentions("came out the same, pushed");
    assert_eq!(tree.pushes(), [PUSHES[0], PUSHES[0]]);
}

#[test]
fn images_without_a_registry_are_an_error_before_anything_is_built() {
    let tree = Workspace::new(TREE);
    let help = "set [workspace] registry in layers.toml, for example registry = \
        \"registry.example.com/acme\"";
    for arguments in ["--push", "--push --dry-run"] {
        tree.rebuild(arguments)
            .exits(3)
            .mentions("apps/api, apps/web and 3 more have no registry to be pushed to")
            .mentions(help);
    }
    tree.write("layers.toml", "[image.base]\nrepository = 'localhost:5000/base'\n");
    tree.write("images/tools/Dockerfile", "FROM localhost:5000/base\n");
    tree.rebuild("tools --push").exits(3).mentions("tools has no registry to be pushed to");
    tree.rebuild("base --push").exits(0);
}

#[test]
fn an_alias_without_a_registry_stays_on_the_machine() {
    let tree = tree_with("");
    tree.write(
        "layers.toml",
        format!("{REGISTRY}[image.base]\naliases = ['base', 'r.example/b:1']\n"),
    );
    tree.rebuild("base --push").exits(0);
    assert_eq!(
        tree.pushes(),
        ["r.example/acme/base:latest r.example/b:1 r.example/acme/base:ig-[DIGEST]"]
    );
}

#[test]
fn an_interrupted_push_is_made_up_for() {
    let tree = built();
    tree.write("simulate.toml", "[image.base]\npush = 'hang'\n");
    let mut running = tree.start("rebuild base --push --json");
    running.wait_for(|event| {
        event["event"] == "step" && event["text"].as_str().is_some_and(|it| it.starts_with("push"))
    });
    running.signal(rustix::process::Signal::INT);
    let outcome = running.finish().exits(130);
    assert_eq!(outcome.ends(), ["base not-reached"]);
    tree.remove("simulate.toml");
    tree.rebuild("base --push").exits(0).mentions("1 only pushed");
}
