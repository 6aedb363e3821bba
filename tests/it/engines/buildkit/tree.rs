//! A tree of images: what is built, what is not, and what is said of it.

use super::*;

/// A base, a layer on it and an application.
const TREE: &str = "
    //- images/base/Dockerfile
    FROM @busybox
    COPY packages.txt /
    //- images/base/packages.txt
    curl
    //- images/jre/Dockerfile
    FROM @/base
    RUN echo strict > /security
    //- images/app/Dockerfile
    FROM @/jre
    COPY src /src
    RUN test \"$(cat /security /src/Main.java)\" = \"$(printf 'strict\\nclass Main {}')\"
    //- images/app/src/Main.java
    class Main {}
";

const NOTHING: &str = "nothing to do: 3 images are up to date  [TIME]\n";

fn built(bench: &Bench) -> Workspace {
    let tree = bench.workspace(TREE);
    let outcome = bench.rebuild(&tree, "--json").exits(0);
    assert_eq!(outcome.ends_in_order(), ["base built", "jre built", "app built"]);
    tree
}

#[test]
fn a_tree_is_built_parents_first_and_then_there_is_nothing_to_do() {
    Bench::each(|bench| {
        let tree = built(bench);
        bench.rebuild(&tree, "").exits(0).prints("").says(NOTHING);
        let images = bench.images();
        for name in ["base", "jre", "app"] {
            let latest = format!("{}/{name}:latest", bench.tag);
            let tags = images.values().find(|tags| tags.contains(&latest)).unwrap();
            let key = format!("{}/{name}:ig-", bench.tag);
            assert!(tags.iter().any(|tag| tag.starts_with(&key)), "{tags:?}");
        }
        assert_eq!(images.len(), 4, "the base of the test, and no more: {images:?}");
    });
}

#[test]
fn where_a_parent_comes_out_the_same_its_children_are_cut_off_and_it_stays_what_it_was() {
    Bench::each(|bench| {
        let tree = built(bench);
        let before = bench.images();
        let other_words = bench.named("FROM @/base\nRUN printf 'strict\\n' > /security\n");
        tree.write("images/jre/Dockerfile", other_words);
        let outcome = bench.rebuild(&tree, "--json").exits(0);
        assert_eq!(outcome.ends(), ["app cut-off", "jre built"]);
        let after = bench.images();
        assert!(before.keys().eq(after.keys()), "{before:?}\n{after:?}");
        bench.rebuild(&tree, "").exits(0).says(NOTHING);
    });
}

#[test]
fn a_change_that_is_taken_back_is_restored_without_a_build() {
    Bench::each(|bench| {
        let tree = built(bench);
        let latest = format!("{}/app:latest", bench.tag);
        let first = bench.id_of(&latest);
        tree.write("images/base/packages.txt", "wget\n");
        let outcome = bench.rebuild(&tree, "--json").exits(0);
        assert_eq!(outcome.ends(), ["app built", "base built", "jre built"]);
        assert_ne!(bench.id_of(&latest), first);
        tree.write("images/base/packages.txt", "curl\n");
        let outcome = bench.rebuild(&tree, "--json").exits(0);
        assert_eq!(outcome.ends(), ["app restored", "base restored", "jre restored"]);
        assert_eq!(bench.id_of(&latest), first);
        bench.rebuild(&tree, "").exits(0).says(NOTHING);
    });
}

#[test]
fn why_names_the_file_that_changed() {
    Bench::each(|bench| {
        let tree = built(bench);
        tree.write("images/app/src/Main.java", "class Main { }\n");
        bench.imgraph(&tree, "why app").exits(0).mentions("src/Main.java changed");
        bench.rebuild(&tree, "").exits(1).mentions("[app] started: src/Main.java changed");
    });
}
