//! An engine that reads more than imgraph finds in a Dockerfile: then everything counts.

use crate::support::Workspace;

const TREE: &str = "
//- images/app/Dockerfile
FROM scratch
COPY a /a
//- images/app/a
a
//- images/app/generated/b
b
//- simulate.toml
[image.app]
reads = ['/generated']
";

const NOTHING: &str = "nothing to do: 1 image is up to date  [TIME]\n";

#[test]
fn it_is_said_and_the_image_is_built_from_its_whole_context() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0).says(
        "
        1 image planned, 1 at a time, with simulate (asked for)
        [app] started: never built here
        warning: app: the build reads /generated, which imgraph does not find in its Dockerfile: please report that. Its whole context counts from now on; building again
        [app] built: [TIME]  (1.0 MB)
        1 planned · 1 built · 0 failed   [TIME]
        why             app: never built here
        logs            .imgraph/runs/[RUN]
        ",
    );
    tree.rebuild("").exits(0).says(NOTHING);
}

#[test]
fn what_the_dockerfile_does_not_name_counts_until_the_dockerfile_changes() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree.write("images/app/generated/b", "other\n");
    let why = tree.run("why app", &[]).exits(0);
    assert!(why.stdout.contains("images/app/generated/b changed"), "{}", why.stdout);
    assert_eq!(tree.rebuild("--json").exits(0).ends(), ["app built"]);
    assert!(tree.run("inputs app", &[]).exits(0).stdout.contains("generated/b"));

    // Another Dockerfile, and an engine that reads what it says.
    tree.write("images/app/Dockerfile", "FROM scratch\nCOPY a /b\n");
    tree.write("simulate.toml", "");
    tree.rebuild("").exits(0);
    tree.write("images/app/generated/b", "another\n");
    tree.rebuild("").exits(0).says(NOTHING);
}
