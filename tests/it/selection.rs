//! Which images a run is about.

use crate::support::{TREE, Workspace};

#[track_caller]
fn built_by(selection: &str, images: &[&str]) {
    let outcome = Workspace::new(TREE).rebuild(&format!("--json {selection}")).exits(0);
    let ends: Vec<String> = images.iter().map(|image| format!("{image} built")).collect();
    assert_eq!(outcome.ends(), ends, "{selection}");
}

#[test]
fn a_name_is_built_with_the_stale_ancestors_that_it_needs() {
    built_by("apps/api", &["apps/api", "base", "java/jre"]);
}

#[test]
fn globs_layers_and_closures_select() {
    built_by("apps/*", &["apps/api", "apps/web", "base", "java/jre", "tools"]);
    built_by("./images/tools", &["base", "tools"]);
    built_by("...tools", &["apps/web", "base", "java/jre", "tools"]);
    built_by("--dependents-of tools", &["apps/web", "base", "java/jre", "tools"]);
    built_by("--dependencies-of java/jre", &["base", "java/jre"]);
    built_by("-F tools --filter java/*", &["base", "java/jre", "tools"]);
    built_by("!apps/*", &["base", "java/jre", "tools"]);
    built_by("--exclude apps/web --exclude tools", &["apps/api", "base", "java/jre"]);
}

#[test]
fn what_depends_on_the_selection_is_left_alone() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree.write("images/java/jre/security", "lax\n");
    let outcome = tree.rebuild("java/jre --json").exits(0);
    assert_eq!(outcome.ends(), ["java/jre built"]);
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["apps/api built", "apps/web built"], "they are caught up later");
}

#[test]
fn an_unknown_name_is_an_error_that_says_what_was_meant() {
    Workspace::new(TREE).rebuild("java/jr").exits(2).prints("").says(
        "
        error: no image is called `java/jr`; did you mean `java/jre`?
          help: `imgraph ls` lists the images
        ",
    );
    Workspace::new(TREE).rebuild("jre").exits(2).mentions("did you mean `java/jre`?");
}

#[test]
fn an_unknown_layer_is_an_error() {
    Workspace::new(TREE).rebuild("layer:base").exits(2).mentions("no layer is called `base`");
}

#[test]
fn an_empty_selection_is_fine_unless_it_must_not_be() {
    let tree = Workspace::new(TREE);
    tree.rebuild("base !base").exits(0).says("nothing to do: no image is selected  [TIME]\n");
    tree.rebuild("base !base --fail-if-no-match").exits(4).says("error: no image is selected\n");
    tree.rebuild("base --fail-if-no-match").exits(0);
}

#[test]
fn only_leaves_stale_ancestors_out() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree.write("images/base/packages.txt", "jq\n");
    tree.write("images/java/jre/security", "lax\n");
    let outcome = tree.rebuild("--only java/jre --json").exits(0);
    assert_eq!(outcome.ends(), ["java/jre built"]);
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(
        outcome.ends(),
        ["apps/api built", "apps/web built", "base built", "java/jre built", "tools built"],
        "what was left out is caught up later"
    );
}

#[test]
fn only_cannot_do_without_a_parent_that_was_never_built() {
    let tree = Workspace::new(TREE);
    let refused = "
        error: `java/jre` needs `base`, which is not in the store
          help: leave out `--only`, and it is built first
    ";
    tree.rebuild("--only java/jre").exits(2).says(refused);
    tree.rebuild("base").exits(0);
    tree.lose("base:latest");
    tree.rebuild("--only java/jre").exits(2).says(refused);
    let outcome = tree.rebuild("--only base java/jre --json").exits(0);
    assert_eq!(outcome.ends(), ["base built", "java/jre built"]);
}

#[test]
fn errors_in_images_that_are_not_selected_stand_in_no_way() {
    let tree = Workspace::new(TREE);
    tree.write("images/apps/web/Dockerfile", "FORM java/jre\n");
    tree.rebuild("apps/api").exits(0).mentions("images/apps/web/Dockerfile:1");
    tree.rebuild("").exits(3);
}
