//! `imgraph check`: everything that is wrong with a workspace, with its place and a way out.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::support::{TREE, Workspace};

#[test]
fn nothing_is_wrong_with_a_good_workspace() {
    let tree = Workspace::new(TREE);
    tree.imgraph("check").exits(0).says("").prints("nothing is wrong with 5 images\n");
    assert!(!tree.path(".imgraph").exists(), "it leaves nothing behind");
}

#[test]
fn the_path_of_a_cycle_is_named() {
    let tree = Workspace::new(
        "
        //- images/a/Dockerfile
        FROM c
        //- images/b/Dockerfile
        FROM a
        //- images/c/Dockerfile
        FROM scratch
        COPY --from=b /x /
        //- images/other/Dockerfile
        FROM scratch
        ",
    );
    tree.imgraph("check").exits(3).mentions(
        "
        the images form a cycle: a -> b -> c -> a
        images/b/Dockerfile:1:6
        images/c/Dockerfile:2:
        images/a/Dockerfile:1:
        ",
    );
    tree.rebuild("").exits(3);
    tree.rebuild("a").exits(3);
    let outcome = tree.rebuild("other --json").exits(0);
    assert_eq!(outcome.ends(), ["other built"], "what is not on the cycle can be built");
}

#[test]
fn a_file_that_is_copied_and_not_there_is_named() {
    let tree = Workspace::new(
        "
        //- images/app/Dockerfile
        FROM scratch
        COPY a.txt b.text /
        //- images/app/a.txt
        //- images/app/b.txt
        ",
    );
    let outcome = tree.imgraph("check").exits(3);
    outcome.mentions("b.text\nimages/app/Dockerfile:2:1\ndid you mean `b.txt`?");
    tree.rebuild("").exits(3).mentions("images/app/Dockerfile:2:1");
}

#[test]
fn every_mistake_of_every_file_is_reported_with_its_place() {
    let tree = Workspace::new(
        "
        //- images/a/Dockerfile
        FORM scratch
        //- images/b/Dockerfile
        FROM scratch
        COPY
        RUN --mont=type=bind true
        //- images/c/Dockerfile
        RUN true
        //- layers.toml
        [workspase]
        [[layer]]
        name = 'all'
        dir = ['.']
        ",
    );
    let outcome = tree.imgraph("check").exits(3);
    for place in [
        "images/a/Dockerfile:1:1",
        "images/b/Dockerfile:2:1",
        "images/b/Dockerfile:3:5",
        "images/c/Dockerfile:1:1",
        "layers.toml:1:2",
        "layers.toml:4:1",
    ] {
        assert!(outcome.stdout.contains(place), "no {place} in\n{}", outcome.stdout);
    }
}

#[test]
fn a_misspelt_word_is_reported_with_what_was_meant() {
    let tree = Workspace::new(
        "
        //- images/app/Dockerfile
        FORM scratch
        //- layers.toml
        [[layer]]
        name = 'apps'
        dirs = ['app']
        form = []
        ",
    );
    tree.imgraph("check").exits(3).mentions("help: write FROM\nhelp: did you mean `from`?");
}

#[test]
fn two_dockerfiles_of_one_name_are_an_error() {
    let tree = Workspace::new(
        "
        //- images/a/Dockerfile.x
        FROM scratch
        //- images/a/x/Dockerfile
        FROM scratch
        ",
    );
    let outcome = tree.imgraph("check").exits(3);
    outcome.mentions("two Dockerfiles make the image `a/x`");
}

#[test]
fn a_dockerfile_that_is_no_text_is_an_error() {
    let tree = Workspace::new("//- images/good/Dockerfile\nFROM scratch\n");
    tree.write("images/binary/Dockerfile", b"\x7fELF\x02\x01\x01\0\0\0");
    tree.write("images/latin/Dockerfile", b"FROM scratch\nLABEL name=\"M\xfcller\"\n");
    let outcome = tree.imgraph("check").exits(3);
    outcome.mentions("this is no text, and no Dockerfile\nimages/binary/Dockerfile:1:8\nimages/latin/Dockerfile:2:14");
    tree.rebuild("good").exits(0);
}

#[test]
fn a_dockerfile_that_cannot_be_read_is_named() {
    let tree = Workspace::new(
        "
        //- images/good/Dockerfile
        FROM scratch
        //- images/loop/Dockerfile -> Dockerfile
        ",
    );
    tree.imgraph("check").exits(3).mentions("images/loop/Dockerfile");
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_file_that_cannot_be_read_is_named() {
    let tree = Workspace::new(
        "
        //- images/app/Dockerfile
        FROM scratch
        COPY secret /
        //- images/app/secret mode=000
        s
        ",
    );
    if fs::read(tree.path("images/app/secret")).is_ok() {
        eprintln!("skipped: this user may read every file");
        return;
    }
    tree.imgraph("check").exits(3).mentions("secret");
}

#[test]
fn what_is_neither_file_nor_directory_is_skipped_and_that_is_said() {
    let tree = Workspace::new("//- images/app/Dockerfile\nFROM scratch\nCOPY . /\n");
    let socket = tree.path("images/app/socket");
    drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    let outcome = tree.imgraph("check").exits(0);
    outcome.mentions("`images/app/socket` is a pipe or a socket: skipped");
}

/// A build copies links as links: neither where they point nor whether they do can be wrong.
#[test]
fn links_in_a_context_may_dangle_and_loop() {
    let tree = Workspace::new(
        "
        //- images/app/Dockerfile
        FROM scratch
        COPY files /files
        //- images/app/files/real
        x
        //- images/app/files/dangling -> nowhere
        //- images/app/files/loop -> loop
        //- images/app/files/up -> ..
        ",
    );
    tree.imgraph("check").exits(0).prints("nothing is wrong with 1 image\n").says("");
    tree.rebuild("").exits(0);
    fs::remove_file(tree.path("images/app/files/dangling")).unwrap();
    tree.add("//- images/app/files/dangling -> elsewhere\n");
    tree.rebuild("").exits(0).mentions("[app] started: files/dangling changed");
}

#[test]
fn directories_that_link_in_a_circle_are_walked_once() {
    let tree = Workspace::new(
        "
        //- images/app/Dockerfile
        FROM scratch
        //- images/app/again -> ..
        //- images/self -> self
        ",
    );
    tree.imgraph("check").exits(0);
    tree.imgraph("ls -1").exits(0).prints("app\n");
}

#[test]
fn a_context_does_not_reach_beyond_itself() {
    let tree = Workspace::new(
        "
        //- secret.txt
        top secret
        //- images/app/Dockerfile
        FROM scratch
        COPY ../../secret.txt /
        //- images/link/Dockerfile
        FROM scratch
        COPY out /
        //- images/link/out -> ../../secret.txt
        ",
    );
    let outcome = tree.imgraph("check").exits(3);
    outcome.mentions("images/app/Dockerfile:2:1\nimages/link/Dockerfile:2:1");
}

#[test]
fn a_workspace_without_a_dockerfile_is_an_error() {
    for text in ["//- images/", "//- layers.toml\n[workspace]\n", "//- images/a/README.md\nx\n"] {
        let tree = Workspace::new(text);
        for verb in ["check", "rebuild", "plan", "ls"] {
            let outcome = tree.imgraph(verb).exits(3);
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(said.contains("there is no D") || said.contains("there is no dir"), "{said}");
            assert!(said.contains("put a Dockerfile into images/<layer>/<name>/"), "{said}");
        }
    }
}

#[test]
fn without_a_workspace_the_way_to_one_is_said() {
    for verb in ["check", "rebuild", "plan", "why x", "inputs x", "ls", "graph"] {
        Workspace::new("//- README.md\nx\n").imgraph(verb).exits(3).prints("").says(
            "
            error: there is no workspace in [ROOT] or above it
              help: a workspace has a directory images/ or a file layers.toml; `imgraph init` writes one
            ",
        );
    }
}

const LAYERED: &str = "
    //- layers.toml
    [[layer]]
    name = 'base'
    dirs = ['base']
    externals = ['debian:12*']
    [[layer]]
    name = 'java'
    dirs = ['java']
    from = ['base']
    externals = []
    [[layer]]
    name = 'apps'
    dirs = ['apps']
    from = ['java']
    rules = { user = 'non-root' }
    //- images/base/Dockerfile
    FROM debian:12.5
    //- images/java/jre/Dockerfile
    FROM base
    //- images/apps/api/Dockerfile
    FROM java/jre
    USER app
";

#[test]
fn a_workspace_that_keeps_to_its_layers_is_fine() {
    Workspace::new(LAYERED)
        .imgraph("check")
        .exits(0)
        .prints("nothing is wrong with 3 images\n")
        .says("");
}

#[test]
fn a_layer_builds_only_on_the_layers_that_it_names() {
    let tree = Workspace::new(LAYERED);
    tree.write("images/apps/api/Dockerfile", "FROM base\nUSER app\n");
    let outcome = tree.imgraph("check").exits(3);
    outcome.mentions(
        "
        layer `apps` may not build on layer `base` (`base`)
        images/apps/api/Dockerfile:1:6
        layers.toml:10:1
        add \"base\" to `from` of layer `apps` in layers.toml if that is meant
        ",
    );
    tree.rebuild("").exits(3);
    tree.rebuild("java/jre").exits(0);
}

#[test]
fn a_layer_never_builds_on_one_below_it() {
    let tree = Workspace::new(LAYERED);
    tree.write("images/java/jre/Dockerfile", "FROM base\nCOPY --from=apps/extra /x /\n");
    tree.write("images/apps/extra/Dockerfile", "FROM scratch\nUSER app\n");
    let outcome = tree.imgraph("check").exits(3);
    outcome.mentions(
        "
        layer `java` may not build on layer `apps` (`apps/extra`)
        images/java/jre/Dockerfile:2:
        `apps` stands below `java` in layers.toml: move the image, or what it needs
        ",
    );
}

#[test]
fn images_from_outside_have_to_be_allowed() {
    let tree = Workspace::new(LAYERED);
    tree.write("images/java/jre/Dockerfile", "FROM eclipse-temurin:21\n");
    tree.write("images/base/Dockerfile", "FROM alpine:3\n");
    let outcome = tree.imgraph("check").exits(3);
    outcome.mentions(
        "
        layer `base` may not build on `alpine:3`
        its `externals` in layers.toml allow debian:12*
        layer `java` may not build on `eclipse-temurin:21`
        its `externals` in layers.toml allow no image from outside
        ",
    );
}

#[test]
fn a_layer_may_forbid_root() {
    for (user, message) in [
        ("", "no USER is set: the image runs as whatever its base does, root most often"),
        ("USER root\n", "the image runs as root"),
        ("USER 0:0\n", "the image runs as root"),
        ("USER app\nUSER root\n", "the image runs as root"),
    ] {
        let tree = Workspace::new(LAYERED);
        tree.write("images/apps/api/Dockerfile", format!("FROM java/jre\n{user}"));
        tree.imgraph("check").exits(3).mentions(message);
    }
    let tree = Workspace::new(LAYERED);
    tree.write("images/apps/api/Dockerfile", "FROM java/jre\n");
    tree.write("images/base/Dockerfile", "FROM debian:12.5\nUSER nobody\n");
    tree.imgraph("check").exits(0);
}

#[test]
fn a_name_that_the_file_system_allows_and_imgraph_does_not_is_an_error() {
    let tree = Workspace::new("//- images/a/Dockerfile\nFROM scratch\n");
    let odd = std::ffi::OsStr::from_bytes(b"images/caf\xe9");
    fs::create_dir(tree.root().join(odd)).unwrap();
    fs::write(tree.root().join(odd).join("Dockerfile"), "FROM scratch\n").unwrap();
    tree.write("images/two words/Dockerfile", "FROM scratch\n");
    let outcome = tree.imgraph("check").exits(3);
    outcome.mentions(
        "
        `caf\u{fffd}` is passed over: its name is not UTF-8
        its path cannot be the name of an image
        images/two words/Dockerfile
        ",
    );
}

#[test]
fn diagnostics_are_one_json_array() {
    let tree = Workspace::new("//- images/a/Dockerfile\nFORM scratch\n");
    let found = tree.imgraph("check --format json").exits(3).says("").json();
    let first = &found[0];
    assert_eq!(first["severity"], "error");
    assert_eq!(first["path"], "images/a/Dockerfile");
    assert_eq!((&first["line"], &first["column"]), (&1.into(), &1.into()));
    assert_eq!(first["help"], "write FROM");
    let good = Workspace::new(TREE).imgraph("check --format json").exits(0);
    assert_eq!(good.json(), serde_json::json!([]));
}

#[test]
fn nothing_is_recorded_for_a_workspace_that_is_wrong() {
    let tree = Workspace::new(TREE);
    tree.write("images/base/Dockerfile", "FORM scratch\n");
    tree.rebuild("").exits(3);
    tree.write("images/base/Dockerfile", "FROM scratch\nCOPY packages.txt /\n");
    tree.rebuild("").exits(0).mentions("5 planned · 5 built · 0 failed");
}
