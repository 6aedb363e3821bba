//! Where only contents of files have changed since a run found nothing to do, a part of the workspace
//! is read. It comes to what the whole comes to: each change is made twice, and the second time
//! nobody knows what was looked at before.

use std::fs;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use super::{CHANGES, Change, Named, TREE, calls, settled};
use crate::support::{Said, Workspace};

/// Changes beside those that all runs have to see.
const MORE: &[Change] = &[
    (
        "contents of two images",
        |tree| {
            tree.write("images/base/one.txt", "ONE\n");
            tree.write("images/app/src/main.rs", "other\n");
        },
        &[],
    ),
    (
        "a content and a new file",
        |tree| {
            tree.write("images/app/src/main.rs", "other\n");
            tree.write("images/base/sub/new.txt", "new\n");
        },
        &[],
    ),
    (
        "a content and a Dockerfile",
        |tree| {
            tree.write("images/far/Dockerfile", "FROM scratch\nCOPY lib /\n");
            tree.write("images/base/one.txt", "ONE\n");
        },
        &[],
    ),
    (
        "a content and an image that the engine lost",
        |tree| {
            tree.write("images/app/src/main.rs", "other\n");
            tree.lose("r.example/acme/far:latest");
        },
        &[],
    ),
    ("a Dockerfile that is copied", copied_dockerfile, &[]),
    ("what a prepare has made", |tree| tree.write("images/made/made.txt", "by hand\n"), &[]),
    ("a file that is empty now", |tree| tree.write("images/base/one.txt", ""), &[]),
];

fn copied_dockerfile(tree: &Workspace) {
    let text = tree.read("images/base/Dockerfile");
    tree.write("images/base/Dockerfile", format!("# a remark\n{text}"));
}

/// What a run has said, without what differs from run to run.
fn told(said: &Said) -> Vec<Value> {
    let mut told: Vec<Value> = Vec::new();
    let mut ends = Vec::new();
    for event in said.events() {
        let of = |field: &str| event[field].clone();
        match event["event"].as_str().unwrap() {
            "run-started" => told.push(json!([of("selected"), of("planned")])),
            "fresh" => told.push(json!([of("image")])),
            "planned" => told.push(json!([of("image"), of("reasons"), of("waits_for")])),
            "finished" => ends.push(format!("{} {}", of("image"), of("ended"))),
            "run-finished" => {
                let of = |field: &str| event["summary"][field].clone();
                let counts = ["selected", "fresh", "planned", "built", "cut_off", "restored"];
                told.extend(counts.map(of));
            }
            _ => (),
        }
    }
    // Which of two siblings goes first depends on how long they took the last time.
    ends.sort_unstable();
    told.push(json!(ends));
    told
}

/// The steps of a plan with their keys.
fn keys(tree: &Workspace) -> Vec<Value> {
    let plan = tree.imgraph("plan --json").exits(0).json();
    let step = |step: &Value| json!([step["image"], step["build_key"], step["source_key"]]);
    plan["steps"].as_array().unwrap().iter().map(step).collect()
}

fn compare<'a>(fixture: &str, changes: impl IntoIterator<Item = (&'a str, fn(&Workspace))>) {
    for (what, change) in changes {
        let [known, forgotten] = compare_plans(fixture, (what, change));
        let [one, other] = [&known, &forgotten].map(|tree| tree.rebuild("--json").exits(0));
        assert_eq!(told(&one), told(&other), "{what}");
        assert_eq!(keys(&known), keys(&forgotten), "{what}");
        for tree in [&known, &forgotten] {
            tree.rebuild("").exits(0).mentions("nothing to do");
        }
    }
}

/// Compares what will be done. The first tree knows what was looked at before, the second does not.
fn compare_plans(fixture: &str, (what, change): (&str, fn(&Workspace))) -> [Workspace; 2] {
    let [known, forgotten] = [(); 2].map(|()| {
        let tree = Workspace::new(fixture);
        settled(&tree);
        change(&tree);
        tree
    });
    for file in [".imgraph/settled", ".imgraph/stat"] {
        forgotten.remove(file);
    }
    for verb in ["plan", "rebuild --dry-run"] {
        let [one, other] = [&known, &forgotten].map(|tree| tree.imgraph(verb).exits(0));
        assert_eq!((one.stdout, one.stderr), (other.stdout, other.stderr), "{what}: {verb}");
    }
    [known, forgotten]
}

#[test]
fn a_part_comes_to_what_the_whole_comes_to() {
    compare(TREE, CHANGES.iter().chain(MORE).map(|(what, change, _)| (*what, *change)));
}

/// Images that share a Dockerfile, a context or what a base hands down.
const SHARED: &str = "
    //- layers.toml
    [image.web]
    target = 'prod'
    [image.web-debug]
    dockerfile = 'web/Dockerfile'
    target = 'debug'
    [image.tool]
    context = '../base'
    [image.whole]
    context = '//'
    //- images/base/Dockerfile
    FROM scratch
    ONBUILD COPY extra.txt /
    ENV WHERE=sub
    COPY a.txt /
    //- images/base/a.txt
    a
    //- images/other/Dockerfile
    FROM scratch
    COPY o.txt /
    //- images/other/o.txt
    o
    //- images/web/Dockerfile
    FROM base AS prod
    COPY $WHERE /w/
    FROM other AS debug
    COPY d.txt /
    //- images/web/extra.txt
    extra
    //- images/web/sub/x
    x
    //- images/web/d.txt
    d
    //- images/tool/Dockerfile
    FROM scratch
    COPY a.txt /
    //- images/tool/notes
    none
    //- images/whole/Dockerfile
    FROM scratch
    COPY images/other/*.txt /
    //- images/alone/Dockerfile
    FROM base
    //- images/alone/extra.txt
    extra
";

#[test]
fn images_that_share_files_are_read_together() {
    let changes: &[Named] = &[
        ("a file of two contexts", |tree| tree.write("images/base/a.txt", "b\n")),
        ("a file of the whole workspace", |tree| tree.write("images/other/o.txt", "p\n")),
        ("a file of one of two images", |tree| tree.write("images/web/d.txt", "e\n")),
        ("a file of a trigger", |tree| tree.write("images/alone/extra.txt", "other\n")),
        ("a file that a variable of the base names", |tree| tree.write("images/web/sub/x", "y\n")),
        ("a file that nobody copies", |tree| tree.write("images/tool/notes", "other\n")),
        ("files of all", |tree| {
            for file in ["base/a.txt", "other/o.txt", "web/extra.txt", "alone/extra.txt"] {
                tree.write(&format!("images/{file}"), "z\n");
            }
        }),
    ];
    compare(SHARED, changes.iter().copied());
}

/// What was built once is known at once, and so is what depends on it.
#[test]
fn what_comes_back_from_an_earlier_build_is_planned_with_its_dependents() {
    let [known, forgotten] = [(); 2].map(|()| {
        let tree = Workspace::new(TREE);
        settled(&tree);
        tree.write("images/base/one.txt", "ONE\n");
        tree.rebuild("").exits(0);
        settled(&tree);
        tree.write("images/base/one.txt", "one\n");
        tree
    });
    forgotten.remove(".imgraph/settled");
    let [one, other] = [&known, &forgotten].map(|tree| tree.imgraph("plan").exits(0));
    let one = one.mentions("4 to restore");
    assert_eq!((one.stdout, one.stderr), (other.stdout, other.stderr));
    let [one, other] = [&known, &forgotten].map(|tree| tree.rebuild("--json").exits(0));
    assert_eq!(told(&one), told(&other));
    assert_eq!(one.ends(), ["app restored", "base restored", "far restored", "made restored"]);
}

#[test]
fn what_was_recorded_while_a_run_waited_is_not_missed() {
    let tree = Workspace::new(TREE);
    settled(&tree);
    tree.write("images/app/src/main.rs", "other\n");
    let lock = fs::File::open(tree.path(".imgraph/lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut run = tree.start("rebuild --jobs=1 --json");
    run.wait_for_words("waiting for");
    tree.remove(".imgraph/ledger");
    drop(lock);
    assert_eq!(run.finish().exits(0).ends().len(), 4, "nothing is known of any image");
}

#[test]
fn after_a_time_has_changed_it_settles_again() {
    let tree = Workspace::new(TREE);
    settled(&tree);
    tree.touch("images/base/one.txt");
    let before = fs::read(tree.path(".imgraph/settled")).unwrap();
    // Until the change is so old that a further one would show.
    while fs::read(tree.path(".imgraph/settled")).unwrap() == before {
        tree.rebuild("").exits(0).mentions("nothing to do: 4 images are up to date");
    }
    let plan = tree.imgraph("plan").exits(0).mentions("nothing to do: 4 images up to date");
    assert_eq!(plan.stderr, "");
}

#[test]
fn what_is_torn_or_foreign_is_not_believed() {
    let tree = Workspace::new(TREE);
    settled(&tree);
    let note = tree.path(".imgraph/settled");
    let whole = fs::read(&note).unwrap();
    tree.write("images/app/src/main.rs", "other\n");
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut older = whole.clone();
    older[b"imgraph settled ".len()] = b'1';
    for bytes in [&whole[..whole.len() / 2], &flipped, &older, b"", b"imgraph settled 2"] {
        fs::write(&note, bytes).unwrap();
        let plan = tree.imgraph("plan").exits(0).mentions("rebuild  app");
        assert_eq!(plan.stderr, "");
    }
}

#[test]
fn a_plan_of_a_part_opens_no_dockerfile_of_another() {
    const IMAGES: usize = 100;
    let tree = Workspace::new("//- images/base/Dockerfile\nFROM scratch\nCOPY f /\n");
    tree.write("images/base/f", "0");
    for image in 0..IMAGES {
        let base = if image < 10 { "base" } else { "scratch" };
        let directory = format!("images/apps/a{image}");
        tree.write(&format!("{directory}/Dockerfile"), format!("FROM {base}\nCOPY src /src\n"));
        tree.write(&format!("{directory}/src/f"), "x");
    }
    settled(&tree);
    tree.write("images/base/f", "1");
    for verb in ["plan", "rebuild --quiet"] {
        let Some(calls) = calls(&tree, verb) else { return };
        let opened = calls.iter().filter(|call| call.contains("Dockerfile\", O_")).count();
        assert!((1..12).contains(&opened), "{verb} opens {opened} Dockerfiles");
    }
}

/// Images of which each can become what the other is.
const TWINS: &str = "
    //- images/one/Dockerfile
    FROM scratch
    COPY f /
    //- images/one/f
    one
    //- images/two/Dockerfile
    FROM scratch
    COPY f /
    //- images/two/f
    two
";

#[test]
fn what_an_image_outside_of_the_part_was_built_as_is_known() {
    let become_the_other = |tree: &Workspace| tree.write("images/one/f", "two\n");
    compare(TWINS, [("the content of another image", become_the_other as fn(&Workspace))]);
    let base = "
    //- images/base/Dockerfile
    FROM scratch
    COPY f /
    //- images/base/f
    base
";
    let children = base.to_owned() + &TWINS.replace("FROM scratch", "FROM base");
    let with_its_base = |tree: &Workspace| {
        tree.write("images/base/f", "other\n");
        tree.write("images/one/f", "two\n");
    };
    // Which of the two is built and which then has its output depends on how long they took.
    compare_plans(&children, ("the same, and a base", with_its_base));
    let tree = Workspace::new(TWINS);
    settled(&tree);
    become_the_other(&tree);
    tree.imgraph("plan").exits(0).mentions("restore  one");
}
