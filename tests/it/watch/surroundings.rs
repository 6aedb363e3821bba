//! What changes around the files: images that come and go, Dockerfiles, ignore files, `layers.toml`,
//! and where the system does not tell of changes.

use std::fs;

use serde_json::Value;

use crate::support::{Workspace, text};
use crate::watch::{Watch, builds, built};

fn problems(event: &Value) -> Vec<String> {
    let problems = event["problems"].as_array().unwrap();
    problems.iter().map(|it| format!("{} {}", text(&it["path"]), it["line"])).collect()
}

#[test]
fn a_new_image_is_built_and_one_that_is_gone_is_forgotten() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.add("//- images/apps/new/Dockerfile\nFROM java/jre\nCOPY file /\n//- images/apps/new/file\none\n");
    watch.settles();
    tree.write("images/apps/new/file", "two\n");
    watch.settles();
    tree.remove("images/apps/new");
    watch.wait(|event| event["event"] == "watching" && event["images"] == 5);
    watch.built(&[("apps/new", 2)]);
}

#[test]
fn a_broken_dockerfile_is_said_and_the_others_go_on() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.write("images/java/jre/Dockerfile", "FROM base\nCOPPY security /etc/\n");
    let said = watch.wait(|event| event["event"] == "problems");
    assert_eq!(problems(&said), ["images/java/jre/Dockerfile 2"]);
    tree.write("images/apps/web/page.html", "on the last good one\n");
    watch.ends("apps/web", "built");
    tree.write("images/java/jre/security", "lax\n");
    watch.looks();
    tree.write("images/java/jre/Dockerfile", "FROM base\nCOPY security /etc/\n");
    let said = watch.wait(|event| event["event"] == "problems");
    assert_eq!(problems(&said), [""; 0]);
    watch.settles();
    watch.built(&[("apps/api", 1), ("apps/web", 2), ("java/jre", 1)]);
}

#[test]
fn a_dockerfile_that_is_empty_for_a_moment_takes_nothing_down() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    let text = tree.read("images/base/Dockerfile");
    tree.write("images/base/Dockerfile", "");
    watch.wait(|event| event["event"] == "problems");
    tree.write("images/base/Dockerfile", text);
    let said = watch.wait(|event| event["event"] == "problems");
    assert_eq!(problems(&said), [""; 0]);
    watch.built(&[]);
}

#[test]
fn what_is_broken_from_the_beginning_is_built_when_it_is_mended() {
    let tree = built();
    tree.write("images/tools/Dockerfile", "FORM base\n");
    let mut watch = Watch::begin(&tree, "");
    watch.wait(|event| event["event"] == "problems");
    assert_eq!(watch.idle(), ["tools"]);
    tree.write("images/tools/Dockerfile", "FROM base\nLABEL a=b\n");
    watch.settles();
    watch.built(&[("apps/web", 1), ("tools", 1)]);
}

#[test]
fn a_file_that_is_missing_is_said_and_waited_for() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.remove("images/apps/web/page.html");
    let said = watch.wait(|event| event["event"] == "problems");
    assert_eq!(problems(&said), ["images/apps/web/Dockerfile 3"]);
    tree.write("images/apps/web/page.html", "here again\n");
    watch.ends("apps/web", "built");
    watch.settles();
    watch.built(&[("apps/web", 1)]);
}

#[test]
fn a_directory_that_is_missing_is_waited_for() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.remove("images/apps/api/src");
    watch.wait(|event| event["event"] == "problems");
    tree.write("images/apps/api/src/deep/er/Other.java", "class Other {}\n");
    watch.ends("apps/api", "built");
    watch.settles();
    tree.write("images/apps/api/src/deep/er/Other.java", "class Third {}\n");
    watch.ends("apps/api", "built");
    watch.settles();
    watch.settled(&["apps/api"]);
}

#[test]
fn an_ignore_file_counts_as_soon_as_it_is_saved() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.write("images/apps/api/src/notes.md", "notes\n");
    watch.ends("apps/api", "built");
    watch.settles();
    tree.write("images/apps/api/.dockerignore", "**/*.md\n");
    watch.ends("apps/api", "restored");
    watch.settles();
    tree.write("images/apps/api/src/notes.md", "more notes\n");
    assert_eq!(watch.looks(), [""; 0]);
    watch.built(&[("apps/api", 1)]);
}

#[test]
fn layers_toml_counts_as_soon_as_it_is_saved_if_it_can_be_read() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.write("layers.toml", "[image.'apps/web']\nargs = ");
    let said = watch.wait(|event| event["event"] == "problems");
    assert_eq!(text(&said["problems"][0]["path"]), "layers.toml");
    tree.write("images/apps/api/src/Main.java", "class Other {}\n");
    watch.ends("apps/api", "built");
    tree.write("layers.toml", "[image.'apps/web']\nlabels = { a = 'b' }\n");
    watch.ends("apps/web", "built");
    watch.settles();
    watch.built(&[("apps/api", 1), ("apps/web", 1)]);
}

#[test]
fn what_nothing_reads_is_not_watched() {
    let tree = Workspace::new(
        "
        //- .gitignore
        node_modules
        //- images/app/.dockerignore
        node_modules
        //- images/app/Dockerfile
        FROM scratch
        COPY . /
        //- images/app/src/file
        one
        //- images/app/node_modules/a/b/c/file
        one
        //- docs/deep/page
        nobody reads this
        ",
    );
    let mut watch = Watch::begin(&tree, "");
    let watching = watch.wait(|event| event["event"] == "watching");
    // The root, images, images/app, images/app/src.
    assert_eq!(watching["directories"], 4);
    watch.idle();
    tree.write("images/app/node_modules/a/b/c/file", "two\n");
    tree.write("docs/deep/page", "nor this\n");
    tree.write("images/app/src/file", "two\n");
    let seen = watch.wait(|event| event["event"] == "rescanned" && event["paths"] != "[]");
    assert!(!seen["paths"].to_string().contains("node_modules"), "{seen}");
    watch.settles();
    watch.built(&[("app", 2)]);
}

#[test]
fn what_git_ignores_is_watched_where_a_build_reads_it() {
    let tree = Workspace::new(
        "
        //- .gitignore
        target
        .hidden
        //- images/app/Dockerfile
        FROM scratch
        COPY target/*.jar /
        COPY .hidden /
        //- images/app/target/app.jar
        one
        //- images/app/.hidden/file
        one
        ",
    );
    let mut watch = Watch::start(&tree, "");
    tree.write("images/app/target/app.jar", "two\n");
    watch.settles();
    tree.write("images/app/target/new.jar", "one\n");
    watch.settles();
    tree.write("images/app/.hidden/file", "two\n");
    watch.settles();
    watch.built(&[("app", 4)]);
}

#[test]
fn files_above_the_images_directory_are_watched_where_they_are_read() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.app]
        context = '//'
        //- shared/lib/file
        one
        //- images/app/Dockerfile
        FROM scratch
        COPY shared /shared
        ",
    );
    let mut watch = Watch::start(&tree, "");
    tree.write("shared/lib/file", "two\n");
    watch.settles();
    tree.write("shared/new/file", "one\n");
    watch.settles();
    tree.write("README", "the context is not read as a whole\n");
    assert_eq!(watch.looks(), [""; 0]);
    watch.built(&[("app", 3)]);
}

#[test]
fn polling_finds_what_nobody_told_of() {
    let tree = built();
    let mut watch = Watch::begin(&tree, "--poll=100ms");
    let watching = watch.wait(|event| event["event"] == "watching");
    assert_eq!((&watching["directories"], &watching["polling"]), (&0.into(), &100.into()));
    watch.idle();
    tree.write("images/apps/web/page.html", "hi\n");
    watch.settles();
    tree.add("//- images/apps/new/Dockerfile\nFROM scratch\n");
    watch.settles();
    let built = builds(&watch.stop());
    assert_eq!(built.into_keys().collect::<Vec<_>>(), ["apps/new", "apps/web"]);
}

/// `imgraph update` beside a watch.
#[test]
fn a_pin_that_moves() {
    let tree = Workspace::new(
        "
        //- images/app/Dockerfile
        FROM debian:12
        //- images/other/Dockerfile
        FROM scratch
        ",
    );
    let lock = |digit: &str| {
        let digest = format!("sha256:{}", digit.repeat(64));
        let platform = imgraph::image::Platform::host();
        format!(
            "version = 1\n[[external]]\nreference = 'debian:12'\ndigest = '{digest}'\n\
             [external.platforms]\n'{platform}' = '{digest}'\n"
        )
    };
    let mut watch = Watch::start(&tree, "");
    for digit in ["1", "2"] {
        let beside = tree.path("beside");
        fs::write(&beside, lock(digit)).unwrap();
        fs::rename(beside, tree.path("imgraph.lock")).unwrap();
        watch.settles();
    }
    watch.built(&[("app", 3), ("other", 1)]);
}
