//! A run that finds nothing to do leaves a note for the next one, which looks whether everything is
//! as it was and plans nothing. Whatever changes, that must not be what is found.

mod part;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use regex::Regex;

use crate::conformance::aloud;
use crate::support::Workspace;

/// A workspace with everything in it that a decision can rest on.
const TREE: &str = "
    //- layers.toml
    [workspace]
    registry = 'r.example/acme'
    [image.made.prepare]
    run = 'sort list.txt > made.txt; echo run >> ../../runs'
    inputs = ['*.txt']
    outputs = ['made.txt']
    [image.far]
    context = '//shared'
    //- .gitignore
    /images/drafts/
    /.imgraph/
    //- shared/lib/a.txt
    a
    //- images/base/Dockerfile
    FROM scratch
    COPY . /base/
    //- images/base/.dockerignore
    *.md
    //- images/base/one.txt
    one
    //- images/base/sub/two.txt
    two
    //- images/base/link -> one.txt
    //- images/base/notes.md
    not copied
    //- images/made/Dockerfile
    FROM r.example/acme/base
    COPY made.txt /
    //- images/made/list.txt
    b
    a
    //- images/far/Dockerfile
    FROM r.example/acme/base
    COPY lib /lib/
    //- images/app/Dockerfile
    FROM r.example/acme/made
    COPY src/*.rs /src/
    //- images/app/VERSION
    1.0.0
    //- images/app/src/main.rs
    fn main() {}
    //- images/alias -> app
    //- images/drafts/x/Dockerfile
    FROM scratch
";

/// A change, and the images that it concerns; none: it is no input.
type Change = (&'static str, fn(&Workspace), &'static [&'static str]);

const ALL: &[&str] = &["app", "base", "far", "made"];

const CHANGES: &[Change] = &[
    ("nothing", |_| {}, &[]),
    ("content", |tree| tree.write("images/base/one.txt", "ONE\n"), ALL),
    ("content of the same size, with its old time", same_size_and_time, ALL),
    ("another file of the same size and time renamed over it", renamed_over, ALL),
    ("a time", |tree| tree.touch("images/base/one.txt"), &[]),
    ("a mode", |tree| tree.set_mode("images/base/one.txt", 0o755), ALL),
    ("the mode of a directory", |tree| tree.set_mode("images/base/sub", 0o700), ALL),
    ("a new file", |tree| tree.write("images/base/sub/new.txt", "new\n"), ALL),
    ("a new file that a wildcard takes", |tree| tree.write("images/app/src/b.rs", "b"), &["app"]),
    ("a new file that none takes", |tree| tree.write("images/app/src/b.txt", "b"), &[]),
    ("a file less", |tree| tree.remove("images/base/sub/two.txt"), ALL),
    ("a file of another name", |tree| rename(tree, "one.txt", "uno.txt"), ALL),
    ("a file that is a directory", to_directory, ALL),
    ("a link that leads elsewhere", other_link, ALL),
    ("a file that is left out", |tree| tree.write("images/base/notes.md", "other\n"), &[]),
    ("an ignore file", |tree| tree.write("images/base/.dockerignore", "*.md\nsub\n"), ALL),
    ("no ignore file", |tree| tree.remove("images/base/.dockerignore"), ALL),
    ("a new ignore file", |tree| tree.write("shared/.dockerignore", "**/x\n"), &[]),
    ("a new ignore file that matters", ignored_far, &["far"]),
    ("a file far away", |tree| tree.write("shared/lib/a.txt", "b\n"), &["far"]),
    ("a Dockerfile", |tree| tree.add("//- images/app/Dockerfile\nFROM scratch\n"), &["app"]),
    ("a remark in a Dockerfile", remark, &[]),
    ("a version", |tree| tree.write("images/app/VERSION", "1.0.1\n"), &["app"]),
    ("a new image", |tree| tree.add("//- images/new/Dockerfile\nFROM scratch\n"), &["new"]),
    (
        "an image that is ignored no more",
        |tree| tree.write(".gitignore", "/.imgraph/\n"),
        &["drafts/x"],
    ),
    ("layers.toml", other_args, ALL),
    ("an input of prepare", |tree| tree.write("images/made/list.txt", "c\n"), &["app", "made"]),
    (
        "an output of prepare that is gone",
        |tree| tree.remove("images/made/made.txt"),
        &["app", "made"],
    ),
    ("an image that the engine lost", |tree| tree.lose("r.example/acme/app:latest"), &["app"]),
    ("what was remembered", |tree| tree.remove(".imgraph/ledger"), ALL),
];

fn same_size_and_time(tree: &Workspace) {
    let file = tree.path("images/base/one.txt");
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "ONE\n").unwrap();
    fs::File::options().append(true).open(&file).unwrap().set_modified(modified).unwrap();
}

fn renamed_over(tree: &Workspace) {
    let file = tree.path("images/base/one.txt");
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    let other = tree.path("other");
    fs::write(&other, "ONE\n").unwrap();
    fs::File::options().append(true).open(&other).unwrap().set_modified(modified).unwrap();
    fs::rename(other, file).unwrap();
}

fn rename(tree: &Workspace, from: &str, to: &str) {
    fs::rename(tree.path(&format!("images/base/{from}")), tree.path(&format!("images/base/{to}")))
        .unwrap();
}

fn to_directory(tree: &Workspace) {
    tree.remove("images/base/one.txt");
    tree.add("//- images/base/one.txt/\n");
}

fn other_link(tree: &Workspace) {
    tree.remove("images/base/link");
    symlink("sub/two.txt", tree.path("images/base/link")).unwrap();
}

fn ignored_far(tree: &Workspace) {
    tree.write("shared/lib/b.txt", "b\n");
    tree.write("shared/.dockerignore", "**/a.txt\n");
}

fn remark(tree: &Workspace) {
    let text = tree.read("images/app/Dockerfile");
    tree.write("images/app/Dockerfile", format!("# a remark\n{text}"));
}

fn other_args(tree: &Workspace) {
    let text = tree.read("layers.toml");
    tree.write("layers.toml", format!("{text}[image.base]\nlabels = {{ a = 'b' }}\n"));
}

/// A workspace in which the last run has found nothing to do and written that down. Files that were
/// just written cannot be written down: that takes a run or two.
fn settled(tree: &Workspace) {
    let since = Instant::now();
    let note = tree.path(".imgraph/settled");
    while !note.exists() {
        assert!(since.elapsed() < Duration::from_mins(1), "it never settles");
        tree.rebuild("").exits(0);
    }
}

#[test]
fn every_change_is_seen_and_nothing_else_is() {
    for (what, change, concerns) in CHANGES {
        let tree = Workspace::new(TREE);
        settled(&tree);
        change(&tree);
        let planned = tree.imgraph("plan --json").exits(0).json();
        let steps = planned["steps"].as_array().unwrap().iter();
        let stale = steps.filter(|step| step["decision"] != "fresh");
        let mut stale: Vec<&str> = stale.map(|step| step["image"].as_str().unwrap()).collect();
        stale.sort_unstable();
        assert_eq!(stale, *concerns, "{what}: what is planned");
        let outcome = tree.rebuild("--json").exits(0);
        let mut ended: Vec<String> =
            outcome.ends().iter().map(|end| end.split(' ').next().unwrap().to_owned()).collect();
        ended.sort_unstable();
        assert_eq!(ended, *concerns, "{what}: what is done");
        assert_eq!(tree.rebuild("--json").exits(0).ends(), [""; 0], "{what}: done again");
    }
}

/// What differs from run to run in the last event.
static DURATION: LazyLock<Regex> = LazyLock::new(|| Regex::new("\"duration\":[0-9]+").unwrap());

#[test]
fn what_is_said_is_what_a_plan_would_have_said() {
    let tree = Workspace::new(TREE);
    // A warning of the workspace, which is said every time.
    tree.add("//- images/odd/Dockerfile\nFROM scratch\nCOPY . /\n//- images/odd/f\nx\n");
    rustix::fs::mkfifoat(rustix::fs::CWD, tree.path("images/odd/pipe"), rustix::fs::Mode::RWXU)
        .unwrap();
    settled(&tree);
    for options in ["", "-v", "--json", "--quiet"] {
        tree.remove(".imgraph/settled");
        let planned = tree.rebuild(options).exits(0);
        assert!(tree.path(".imgraph/settled").exists());
        let settled = tree.rebuild(options).exits(0);
        let untimed = |text: &str| DURATION.replace_all(text, "").into_owned();
        assert_eq!(untimed(&planned.stdout), untimed(&settled.stdout), "{options}");
        assert_eq!(planned.stderr, settled.stderr, "{options}");
    }
    tree.rebuild("").exits(0).mentions("pipe");
}

#[test]
fn another_question_has_another_answer() {
    let tree = Workspace::new(TREE);
    for (options, ends) in [
        ("--force", 4),
        ("--add-host a:1.1.1.1", 4),
        ("--platform linux/arm64", 4),
        ("--push", 4),
        ("--only base --force", 1),
        ("--rerun last", 0),
    ] {
        settled(&tree);
        let outcome = tree.rebuild(&format!("--json {options}")).exits(0);
        assert_eq!(outcome.ends().len(), ends, "{options}: {:?}", outcome.ends());
        tree.rebuild("").exits(0);
    }
    settled(&tree);
    tree.remove("images/app/src/main.rs");
    tree.rebuild("base").exits(0).mentions("nothing to do");
    assert_eq!(tree.rebuild("--json").exits(0).ends(), ["app built"]);
}

#[test]
fn offline_the_engine_is_not_asked_and_that_is_said() {
    let tree = Workspace::new(TREE);
    settled(&tree);
    tree.lose("r.example/acme/app:latest");
    let said = "offline: recorded images are taken to be in the store";
    for _ in 0..2 {
        tree.rebuild("--offline").exits(0).mentions(said).mentions("nothing to do");
    }
    tree.imgraph("plan --offline")
        .exits(0)
        .mentions(said)
        .mentions("nothing to do: 4 images up to date");
    assert_eq!(tree.rebuild("--json").exits(0).ends(), ["app built"]);
    // What was built before and is the last no more may be gone: it is built again.
    tree.write("images/app/src/main.rs", "two\n");
    tree.rebuild("").exits(0);
    tree.write("images/app/src/main.rs", "fn main() {}\n");
    assert_eq!(tree.rebuild("--offline --json").exits(0).ends(), ["app built"]);
    assert_eq!(tree.run("rebuild", &[("IMGRAPH_OFFLINE", "1")]).exits(0).ends(), [""; 0]);
}

#[test]
fn what_is_written_within_a_tick_of_the_scan_is_seen() {
    let tree = Workspace::new(TREE);
    settled(&tree);
    for round in 0..20 {
        tree.write("images/app/src/main.rs", format!("{round:03}"));
        assert_eq!(tree.rebuild("--json").exits(0).ends(), ["app built"], "{round}");
    }
}

/// Every call of a run, by strace.
fn calls(tree: &Workspace, arguments: &str) -> Option<Vec<String>> {
    let trace = tree.path("../trace");
    let own = tree.command(arguments);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&trace).arg(own.get_program()).args(own.get_args());
    command.env_clear().current_dir(own.get_current_dir()?);
    for (name, value) in own.get_envs() {
        value.map(|value| command.env(name, value));
    }
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => {
            aloud(&format!("settled   skipped: no strace ({error}); `apt-get install strace`"));
            return None;
        }
    }
    // What began and what came of it may be on two lines.
    let lines = fs::read_to_string(trace).unwrap();
    let is_call = |line: &&str| line.contains('(') && !line.contains("resumed>");
    Some(lines.lines().filter(is_call).map(str::to_owned).collect())
}

/// Whether a call is about a path below `images/`, seen from the root or from further down.
fn is_of_images(call: &str) -> bool {
    let path = call.split('"').nth(1).unwrap_or_default();
    let is_image = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    ["images/", "apps/", "src/"].iter().any(|start| path.starts_with(start))
        || path.strip_prefix('a').is_some_and(is_image)
}

#[test]
fn a_run_that_finds_nothing_to_do_asks_once_for_each_path_and_opens_none() {
    const IMAGES: usize = 100;
    const FILES: usize = 10;
    let tree = Workspace::new("//- images/base/Dockerfile\nFROM scratch\n");
    for image in 0..IMAGES {
        let directory = format!("images/apps/a{image}");
        tree.write(&format!("{directory}/Dockerfile"), "FROM base\nCOPY src /src\n");
        for file in 0..FILES {
            tree.write(&format!("{directory}/src/f{file}"), format!("{image} {file}"));
        }
    }
    settled(&tree);
    let Some(calls) = calls(&tree, "rebuild --changed --quiet") else { return };
    let about = |what: &str| calls.iter().filter(|call| call.contains(what)).count();
    // Each image has its directory, its Dockerfile, `src` and the files in it.
    let paths = IMAGES * (3 + FILES);
    let is_look = |call: &&String| call.contains("newfstatat(") || call.contains("statx(");
    let (inside, around): (Vec<&String>, Vec<&String>) =
        calls.iter().filter(is_look).partition(|call| is_of_images(call));
    assert!((paths..paths + 10).contains(&inside.len()), "{} looks at {paths} paths", inside.len());
    assert!(around.len() < 50, "{} looks around: {around:#?}", around.len());
    assert_eq!(about("Dockerfile\", O_"), 0, "no Dockerfile is opened");
    let others = calls.len() - inside.len() - around.len();
    assert!(others < 500, "{others} other calls");
}

/// A change with what it is.
type Named = (&'static str, fn(&Workspace));

/// A workspace in unusual places: what lies between root and images, and outside of what is listed.
const ODD: &str = "
    //- layers.toml
    [workspace]
    images = 'src/images'
    [image.far]
    context = '//shared'
    [image.any]
    context = '//shared'
    //- src/.gitignore
    drafts/
    //- src/images/far/Dockerfile
    FROM scratch
    COPY lib/sub/a.txt /
    //- src/images/any/Dockerfile
    FROM scratch
    COPY rs/*.rs /
    //- src/images/drafts/x/Dockerfile
    FROM scratch
    //- src/images/extra/Dockerfile
    FROM scratch
    //- shared/lib/sub/a.txt
    a
    //- shared/rs
    a file
";

#[test]
fn what_lies_outside_of_what_is_listed_is_seen() {
    let changes: &[Named] = &[
        ("an ignore file on the way", |tree| tree.write("src/.gitignore", "")),
        ("a repository around", |tree| {
            fs::create_dir(tree.path("../.git")).unwrap();
            tree.write("../.gitignore", "extra/\n");
        }),
        ("a repository that begins here", |tree| tree.write(".git", "gitdir: elsewhere\n")),
        ("a directory that is a link to itself as it was", |tree| {
            fs::rename(tree.path("shared/lib"), tree.path("shared/lib2")).unwrap();
            symlink("lib2", tree.path("shared/lib")).unwrap();
        }),
        ("a directory that has gone elsewhere", |tree| {
            fs::rename(tree.path("shared/lib"), tree.path("lib")).unwrap();
        }),
        ("a file that is a directory", |tree| {
            tree.remove("shared/rs");
            tree.write("shared/rs/a.rs", "a");
        }),
    ];
    for (what, change) in changes {
        let tree = Workspace::new(ODD);
        // Above the workspace, where the repository begins would be another question.
        tree.write("../.gitignore", "extra/\n");
        if what.contains("begins here") {
            fs::create_dir(tree.path("../.git")).unwrap();
        }
        settled(&tree);
        change(&tree);
        let (plan, told) = (tree.imgraph("plan --json"), tree.rebuild("--json"));
        assert_eq!(plan.code(), told.code(), "{what}");
        if plan.code() != Some(0) {
            continue;
        }
        let steps = plan.exits(0).json()["steps"].as_array().unwrap().clone();
        let stale = steps.iter().filter(|step| step["decision"] != "fresh").count();
        let told = told.exits(0);
        let summary = told.events().last().unwrap()["summary"].clone();
        assert_eq!(summary["selected"], steps.len(), "{what}");
        assert_eq!(told.ends().len(), stale, "{what}");
        assert!(stale > 0 || steps.len() == 2, "{what}: it was to be seen");
    }
}

#[test]
fn odd_paths_do_not_keep_it_from_settling() {
    let changes: &[Named] = &[
        ("a link to what keeps changing", |tree| {
            symlink("../../../.imgraph/lock", tree.path("images/base/log")).unwrap();
        }),
        ("a link to itself", |tree| symlink("loop", tree.path("images/base/loop")).unwrap()),
        ("a name that is no text", |tree| {
            let name = OsStr::from_bytes(b"images/base/\xff");
            fs::write(tree.root().join(name), "x").unwrap();
        }),
        ("a time that is to come", |tree| {
            let file = fs::File::options().append(true).open(tree.path("images/base/one.txt"));
            let later = SystemTime::now() + Duration::from_hours(1000);
            file.unwrap().set_modified(later).unwrap();
        }),
        ("the whole workspace as a context", |tree| {
            let text = tree.read("layers.toml");
            tree.write("layers.toml", format!("{text}[image.whole]\ncontext = '//'\n"));
            tree.add("//- images/whole/Dockerfile\nFROM scratch\nCOPY . /\n");
            tree.write(".dockerignore", "**\n!**/*.txt\n");
        }),
        ("an input of prepare anywhere", |tree| {
            tree.write("Containerfile", "FROM scratch\n");
            let text = tree.read("layers.toml").replace("['*.txt']", "['**/*.txt']");
            tree.write("layers.toml", text);
        }),
    ];
    for (what, change) in changes {
        let tree = Workspace::new(TREE);
        change(&tree);
        settled(&tree);
        tree.rebuild("").exits(0).mentions("nothing to do");
        tree.write("images/base/one.txt", "another\n");
        assert!(tree.rebuild("--json").exits(0).ends().len() >= 4, "{what}");
    }
}
