//! `imgraph affected`, and `--since`: what git says has changed, as images.

use std::process::Command;

use crate::support::Workspace;

const TREE: &str = "
    //- layers.toml
    [image.made.prepare]
    run = 'sort list.txt > made.txt'
    inputs = ['*.txt']
    outputs = ['made.txt']
    [image.far]
    context = '//shared'
    //- .gitignore
    /.imgraph/
    *.jar
    //- shared/lib/a.txt
    a
    //- shared/other.txt
    not copied
    //- images/base/Dockerfile
    FROM scratch
    COPY . /base/
    //- images/base/.dockerignore
    *.md
    //- images/base/one.txt
    one
    //- images/base/notes.md
    not copied
    //- images/made/Dockerfile
    FROM scratch
    COPY made.txt /
    //- images/made/list.txt
    b
    //- images/far/Dockerfile
    FROM scratch
    COPY lib /lib/
    //- images/jar/Dockerfile
    FROM scratch
    COPY *.jar /
    //- images/app/Dockerfile
    FROM base
    COPY src/*.rs /src/
    //- images/app/VERSION
    1.0.0
    //- images/app/src/main.rs
    fn main() {}
    //- images/alone/Dockerfile
    FROM scratch
";

fn git(tree: &Workspace, arguments: &str) {
    let mut command = Command::new("git");
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").current_dir(tree.root());
    command.args(["-c", "user.name=x", "-c", "user.email=x@x.invalid"]);
    let output = command.args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "git {arguments}: {output:?}");
}

/// The tree, committed on `main`, with a branch of its own checked out.
fn committed() -> Workspace {
    let tree = Workspace::new(TREE);
    git(&tree, "init -q -b main");
    git(&tree, "add .");
    git(&tree, "commit -q -m x");
    git(&tree, "checkout -q -b work");
    tree
}

/// A change, and the images that it concerns.
type Change = (fn(&Workspace), &'static [&'static str]);

const ALL: &[&str] = &["alone", "app", "base", "far", "jar", "made"];

const CHANGES: &[Change] = &[
    (|_| {}, &[]),
    (|tree| tree.write("images/base/one.txt", "ONE\n"), &["app", "base"]),
    (|tree| tree.write("images/base/new.txt", "new\n"), &["app", "base"]),
    (|tree| tree.remove("images/base/one.txt"), &["app", "base"]),
    (|tree| tree.set_mode("images/base/one.txt", 0o755), &["app", "base"]),
    (|tree| tree.write("images/base/notes.md", "other\n"), &[]),
    (|tree| tree.remove("images/base/notes.md"), &[]),
    (|tree| tree.remove("images/base/.dockerignore"), &["app", "base"]),
    (|tree| tree.write("images/app/.dockerignore", "x\n"), &["app"]),
    (|tree| tree.write("images/app/Dockerfile", "FROM scratch\n"), &["app"]),
    (|tree| tree.write("images/app/VERSION", "2\n"), &["app"]),
    (|tree| tree.write("images/app/README", "not copied\n"), &[]),
    (|tree| tree.remove("images/app/src/main.rs"), &["app"]),
    (|tree| tree.write("images/made/list.txt", "c\n"), &["made"]),
    (|tree| tree.write("shared/lib/a.txt", "c\n"), &["far"]),
    (|tree| tree.write("shared/other.txt", "c\n"), &[]),
    (|tree| tree.write("images/jar/x.jar", "made by nobody knows whom\n"), &["jar"]),
    (|tree| tree.write("images/alone/x.jar", "made by nobody knows whom\n"), &[]),
    (|tree| tree.add("//- images/new/Dockerfile\nFROM alone\n"), &["new"]),
    (|tree| tree.remove("images/base"), &["app"]),
    (|tree| tree.write("layers.toml", "[image.far]\ncontext = '//shared'\n"), ALL),
    (|tree| tree.write(".gitignore", "/.imgraph/\n"), ALL),
    (|tree| tree.write("elsewhere/README", "no image\n"), &[]),
];

#[test]
fn what_changed_is_affected_and_what_depends_on_it() {
    for (at, (change, concerned)) in CHANGES.iter().enumerate() {
        for is_committed in [false, true] {
            if is_committed && at % 4 != 1 {
                continue; // to git both are differences
            }
            let tree = committed();
            change(&tree);
            if is_committed {
                git(&tree, "add .");
                git(&tree, "commit -q --allow-empty -m y");
            }
            let told = tree.imgraph("affected --since main --json").exits(0).json();
            let images = told["images"].as_array().unwrap().iter();
            let mut found: Vec<&str> =
                images.map(|image| image["image"].as_str().unwrap()).collect();
            found.sort_unstable();
            assert_eq!(found, *concerned, "change {at}, committed: {is_committed}");
        }
    }
}

#[test]
fn the_reason_is_said() {
    let tree = committed();
    tree.write("images/base/one.txt", "ONE\n");
    tree.write("images/jar/x.jar", "x");
    tree.imgraph("affected --since main").exits(0).prints(
        "
        base  images/base/one.txt changed
        app   depends on base
        jar   reads images/jar/x.jar, which git ignores
        ",
    );
    tree.imgraph("affected --since main app").exits(0).prints("app  depends on base\n");
    tree.imgraph("affected --since main --exit-code").exits(1);
    tree.imgraph("affected --since main --exit-code alone").exits(0).prints("");
}

#[test]
fn a_rebuild_is_narrowed_and_what_is_stale_beside_is_left_alone() {
    let tree = committed();
    tree.write("images/app/VERSION", "2\n");
    let ends = tree.rebuild("--since main --json").exits(0).ends_in_order();
    assert_eq!(ends, ["base built", "app built"], "the base was never built");
    assert_eq!(tree.rebuild("--since main --json").exits(0).ends(), [""; 0]);
    assert_eq!(tree.rebuild("--json").exits(0).ends().len(), 4);
    git(&tree, "checkout -q -b other");
    tree.imgraph("ls --names --since work").exits(0).prints("app\n");
}

#[test]
fn the_base_is_what_the_ci_service_names_or_the_branch_of_the_remote() {
    let tree = committed();
    let nothing = "
        error: nothing says which revision to compare with
          help: `--since main`, or `git remote set-head origin --auto`
        ";
    tree.imgraph("affected").exits(2).says(nothing);
    tree.write("images/app/VERSION", "2\n");
    git(&tree, "update-ref refs/remotes/origin/main main");
    tree.imgraph("affected").exits(2).says(nothing);
    tree.write("event.json", "{\"before\": \"main\"}");
    let event = tree.path("event.json").display().to_string();
    let zeros = "0".repeat(40);
    for environment in [
        &[("GITHUB_BASE_REF", "main")][..],
        &[("GITHUB_BASE_REF", ""), ("GITHUB_EVENT_PATH", &event)],
        &[("CI_MERGE_REQUEST_DIFF_BASE_SHA", "main")],
        &[("CI_COMMIT_BEFORE_SHA", &zeros), ("CI_DEFAULT_BRANCH", "main")],
    ] {
        tree.run("affected", environment).exits(0).prints("app  images/app/VERSION changed\n");
    }
    git(&tree, "symbolic-ref refs/remotes/origin/HEAD refs/remotes/origin/main");
    tree.imgraph("affected").exits(0).prints("app  images/app/VERSION changed\n");
    tree.imgraph("rebuild --affected -n").exits(0).mentions("rebuild  app");
}

#[test]
fn what_git_does_not_know_is_an_error() {
    let tree = committed();
    tree.imgraph("affected --since nope").exits(2).says(
        "
        error: git knows no revision `nope`
          help: `git fetch` it, or name a branch, a tag or a commit
        ",
    );
    let outside = Workspace::new(TREE);
    outside
        .imgraph("affected --since main")
        .exits(2)
        .says("error: [ROOT] is not in a git repository\n");
}
