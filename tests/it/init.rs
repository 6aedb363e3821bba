//! `imgraph init`: a layers.toml for the images that are found.

use crate::support::{TREE, Workspace};

#[test]
fn layers_follow_from_who_builds_on_whom() {
    let tree = Workspace::new(TREE);
    tree.imgraph("init").exits(0).says("").prints(
        "
        wrote [ROOT]/layers.toml with 4 layers and 5 images
        next: imgraph check, then imgraph plan
        ",
    );
    let layers = tree.read("layers.toml");
    let rows: Vec<&str> = layers
        .lines()
        .filter(|line| line.starts_with("name") || line.starts_with("from"))
        .collect();
    assert_eq!(
        rows,
        [
            "name = \"base\"",
            "from = []",
            "name = \"java\"",
            "from = [\"base\"]",
            "name = \"tools\"",
            "from = [\"base\"]",
            "name = \"apps\"",
            "from = [\"java\", \"tools\"]",
        ]
    );
    tree.imgraph("check").exits(0).prints("nothing is wrong with 5 images\n");
}

#[test]
fn it_makes_no_image_stale() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree.imgraph("init").exits(0);
    tree.rebuild("").exits(0).says("nothing to do: 5 images are up to date  [TIME]\n");
}

#[test]
fn images_from_outside_are_allowed_where_they_are_used() {
    let tree = Workspace::new("//- images/base/Dockerfile\nFROM debian:12\n");
    tree.imgraph("init").exits(0);
    let layers = tree.read("layers.toml");
    assert!(layers.contains("externals = [\"docker.io/library/debian:12\"]"), "{layers}");
    tree.imgraph("check").exits(0);
}

#[test]
fn a_file_that_is_there_is_replaced_only_by_force() {
    let tree = Workspace::new(TREE);
    tree.write("layers.toml", "# mine\n");
    tree.imgraph("init").exits(2).says(
        "
        error: [ROOT]/layers.toml is there already
          help: `imgraph init --force` replaces it
        ",
    );
    assert_eq!(tree.read("layers.toml"), "# mine\n");
    tree.imgraph("init --force").exits(0);
    assert!(tree.read("layers.toml").contains("[[layer]]"));
}

#[test]
fn without_images_there_is_nothing_to_write() {
    let tree = Workspace::new("//- README.md\nx\n");
    tree.imgraph("init").exits(3).mentions("there is no directory [ROOT]/images");
    assert!(!tree.path("layers.toml").exists());
}

#[test]
fn directories_that_build_on_one_another_are_said() {
    let tree = Workspace::new(
        "
        //- images/a/one/Dockerfile
        FROM scratch
        //- images/a/two/Dockerfile
        FROM b/one
        //- images/b/one/Dockerfile
        FROM a/one
        ",
    );
    let outcome = tree.imgraph("init").exits(0);
    outcome.mentions("the directories build on one another in a circle");
    tree.imgraph("check").exits(3).mentions("layer `a` builds from `b`, which stands below it");
}
