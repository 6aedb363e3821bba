//! The habits of editors and other programs that write files.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;

use crate::support::Workspace;
use crate::watch::{Watch, built};

const PAGE: &str = "images/apps/web/page.html";

#[test]
fn written_in_place() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.write(PAGE, "hi\n");
    watch.idle();
    watch.built(&[("apps/web", 1)]);
}

/// vim with `backup`: the old file is moved away, the new one written in its place, the old removed.
#[test]
fn moved_away_and_written_anew() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    let (page, backup) = (tree.path(PAGE), tree.path("images/apps/web/page.html~"));
    fs::rename(&page, &backup).unwrap();
    fs::write(&page, "hi\n").unwrap();
    fs::remove_file(&backup).unwrap();
    watch.idle();
    watch.built(&[("apps/web", 1)]);
}

#[test]
fn written_beside_and_moved_over() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    let beside = tree.path("images/apps/web/.page.html.tmp~");
    fs::write(&beside, "hi\n").unwrap();
    fs::rename(&beside, tree.path(PAGE)).unwrap();
    watch.idle();
    watch.built(&[("apps/web", 1)]);
}

/// A program that takes its time between the two may be met in between: then what it had written
/// until then is built, and what it wrote in the end, too.
#[test]
fn truncated_and_then_written() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    let mut page = File::create(tree.path(PAGE)).unwrap();
    assert_eq!(watch.looks(), ["apps/web"]);
    page.write_all(b"hi\n").unwrap();
    drop(page);
    watch.settles();
    let built = crate::watch::builds(&watch.stop());
    assert!((1..=2).contains(&built["apps/web"].len()), "{built:?}");
}

#[test]
fn saved_without_a_change() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.write(PAGE, "hello\n");
    assert_eq!(watch.looks(), [""; 0]);
    tree.touch(PAGE);
    assert_eq!(watch.looks(), [""; 0]);
    watch.built(&[]);
}

/// A formatter that rewrites the file after the editor, within the rest.
#[test]
fn written_twice_within_a_tenth_of_a_second() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.write(PAGE, "<p>hi");
    tree.write(PAGE, "<p>hi</p>\n");
    watch.idle();
    watch.settled(&["apps/web"]);
}

fn git(tree: &Workspace, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.current_dir(tree.root()).args(["-c", "user.name=a", "-c", "user.email=a@b"]);
    let output = git.args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn another_branch_with_five_hundred_changed_files() {
    let tree = Workspace::new("//- .gitignore\n.imgraph\n");
    let write = |text: &str| {
        for image in 0..50 {
            tree.write(&format!("images/i{image}/Dockerfile"), "FROM scratch\nCOPY files /\n");
            for file in 0..10 {
                tree.write(
                    &format!("images/i{image}/files/{file}"),
                    format!("{text} {image} {file}"),
                );
            }
        }
    };
    write("main");
    git(&tree, &["init", "-q", "-b", "main"]);
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "-q", "-m", "main"]);
    git(&tree, &["checkout", "-q", "-b", "other"]);
    write("other");
    git(&tree, &["commit", "-q", "-a", "-m", "other"]);
    git(&tree, &["checkout", "-q", "main"]);
    let mut watch = Watch::start(&tree, "");
    git(&tree, &["checkout", "-q", "other"]);
    let is_it = |event: &Value| event["event"] == "rescanned" && event["everything"] == true;
    watch.wait(is_it);
    watch.settles();
    let said = watch.stop();
    let built = crate::watch::builds(&said);
    assert!(built.values().all(|keys| (2..=3).contains(&keys.len())), "{built:?}");
    tree.rebuild("--changed").exits(0).mentions("nothing to do");
}

/// What a `prepare` makes is an input of its image: it is seen, and nothing follows.
#[test]
fn a_build_that_writes_into_its_own_context() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.app.prepare]
        run = 'date +%N > made; date +%N > unread/log'
        inputs = ['source']
        outputs = ['made']
        //- images/app/Dockerfile
        FROM scratch
        COPY made /
        //- images/app/source
        one
        //- images/app/unread/
        ",
    );
    let mut watch = Watch::start(&tree, "");
    tree.write("images/app/source", "two\n");
    watch.settles();
    // Whatever it wrote has been looked at before the next save is.
    tree.write("images/app/unread/other", "unread\n");
    watch.wait(|event| event["paths"].to_string().contains("unread/other"));
    watch.built(&[("app", 2)]);
}

/// A build that changes what it is made from, every time: it is given up, and not begun again.
#[test]
fn a_build_that_never_comes_to_rest() {
    let tree = Workspace::new(
        "
        //- simulate.toml
        [image.app]
        duration = '50ms'
        writes = 'stamp'
        //- images/app/Dockerfile
        FROM scratch
        COPY . /
        //- images/app/file
        one
        ",
    );
    let mut watch = Watch::begin(&tree, "");
    watch.ends("app", "failed");
    // Once more when there is rest: it might have been somebody who typed.
    watch.ends("app", "failed");
    assert_eq!(watch.idle(), ["app"]);
    tree.write("images/unread", "something else is saved\n");
    watch.wait(|event| event["paths"].to_string().contains("unread"));
    watch.stop();
    // Three times or, where the watch notices first, ten; how often that is so is chance.
    let stamp = tree.read("images/app/stamp");
    assert!(stamp.lines().count() <= 3 * (3 + 10), "it is not begun for ever: {stamp}");
}

#[test]
fn a_file_replaced_by_a_directory_and_back() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.remove(PAGE);
    tree.write("images/apps/web/page.html/part", "a part\n");
    watch.ends("apps/web", "built");
    watch.settles();
    tree.write("images/apps/web/page.html/part", "another part\n");
    watch.ends("apps/web", "built");
    watch.settles();
    tree.remove("images/apps/web/page.html");
    tree.write(PAGE, "a file again\n");
    watch.settles();
    watch.settled(&["apps/web"]);
}

#[test]
fn an_image_directory_behind_a_link() {
    let tree = built();
    symlink("web", tree.path("images/apps/current")).unwrap();
    let mut watch = Watch::start(&tree, "");
    tree.write("images/apps/current/page.html", "through the link\n");
    watch.idle();
    watch.built(&[("apps/web", 1)]);
}

#[test]
fn a_context_behind_a_link() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.app]
        context = '//sources'
        //- sources -> elsewhere/v1
        //- elsewhere/v1/file
        one
        //- elsewhere/v2/file
        two
        //- images/app/Dockerfile
        FROM scratch
        COPY file /
        ",
    );
    let mut watch = Watch::start(&tree, "");
    tree.write("elsewhere/v1/file", "changed\n");
    watch.settles();
    fs::remove_file(tree.path("sources")).unwrap();
    symlink("elsewhere/v2", tree.path("sources")).unwrap();
    watch.settles();
    tree.write("elsewhere/v2/file", "changed, too\n");
    watch.settles();
    watch.built(&[("app", 4)]);
}

#[test]
fn a_directory_moved_away_and_another_moved_in() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.write("beside/Main.java", "class Other {}\n");
    fs::rename(tree.path("images/apps/api/src"), tree.path("away")).unwrap();
    fs::rename(tree.path("beside"), tree.path("images/apps/api/src")).unwrap();
    watch.settles();
    tree.write("images/apps/api/src/Main.java", "class Third {}\n");
    watch.settles();
    tree.write("away/Main.java", "nobody reads this any more\n");
    watch.settled(&["apps/api"]);
}
