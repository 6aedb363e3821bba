//! `--report`: the end of a run as a file, whichever way it ended.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{TREE, Workspace};
use crate::update::World;

/// What a document that ends well tells: the tags, as they are opened.
#[track_caller]
fn tags(xml: &str) -> Vec<String> {
    let rest = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").unwrap();
    let (mut open, mut tags): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    for part in rest.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("no end: {part}"));
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{part:?}");
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{xml}");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        tags.push(name.to_owned());
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty() && !tags.is_empty(), "{xml}");
    tags
}

fn json(tree: &Workspace, path: &str) -> Value {
    serde_json::from_str(&tree.read(path)).unwrap()
}

fn count(tags: &[String], wanted: &str) -> usize {
    tags.iter().filter(|tag| *tag == wanted).count()
}

#[test]
fn a_run_that_fails_is_told_in_every_form() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.'java/jre']\noutcome = 'fail'\n");
    tree.rebuild("--report=out/a.xml --report=out/b.json --report=markdown=out/c").exits(1);
    let tags = tags(&tree.read("out/a.xml"));
    let counts = ["testcase", "failure", "skipped", "error"].map(|tag| count(&tags, tag));
    assert_eq!(counts, [5, 1, 2, 0]);
    assert!(tree.read("out/a.xml").contains("it was told to fail&#10;"));
    let object = json(&tree, "out/b.json");
    assert_eq!((&object["exit_code"], &object["error"]), (&1.into(), &Value::Null));
    assert_eq!(object["images"].as_array().unwrap().len(), 5);
    assert!(
        tree.read("out/c")
            .starts_with("### imgraph: 5 planned · 2 built · 1 failed · 2 blocked in")
    );
}

#[test]
fn a_run_that_finds_nothing_to_do_is_told_too() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    for _ in 0..3 {
        tree.rebuild("--report=a.xml --report=b.json --report=c.md").exits(0);
        let tags = tags(&tree.read("a.xml"));
        assert_eq!((count(&tags, "testcase"), count(&tags, "skipped")), (5, 0));
        let object = json(&tree, "b.json");
        let images = object["images"].as_array().unwrap();
        assert!(images.iter().all(|image| image["ended"] == "fresh"), "{images:?}");
        assert!(
            tree.read("c.md").starts_with("### imgraph: nothing to do: 5 images are up to date")
        );
    }
}

#[test]
fn a_run_that_is_interrupted_is_told_with_what_it_did_not_reach() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.'java/jre']\noutcome = 'hang'\n");
    let mut running = tree.start("rebuild --jobs=1 --json --report=a.xml --report=b.json");
    running.wait_for_build("java/jre");
    running.signal(Signal::INT);
    running.finish().exits(130);
    assert!(count(&tags(&tree.read("a.xml")), "skipped") >= 3);
    let object = json(&tree, "b.json");
    assert_eq!(
        (&object["exit_code"], &object["summary"]["interrupted"]),
        (&130.into(), &true.into())
    );
}

#[test]
fn a_run_that_cannot_begin_leaves_no_report_of_the_one_before() {
    let tree = Workspace::new(TREE);
    let reports = "--report=a.xml --report=b.json --report=c.md";
    tree.rebuild(reports).exits(0);
    tree.write("images/tools/Dockerfile", "FORM base\n");
    tree.rebuild(reports).exits(3);
    assert_eq!(count(&tags(&tree.read("a.xml")), "error"), 1);
    let object = json(&tree, "b.json");
    assert_eq!((&object["exit_code"], &object["summary"]), (&3.into(), &Value::Null));
    assert!(tree.read("c.md").starts_with("### imgraph: failed\n"));
    tree.rebuild("nothing --report=b.json").exits(2);
    assert!(json(&tree, "b.json")["error"].as_str().unwrap().contains("nothing"));
}

#[test]
fn a_report_that_cannot_be_written_is_no_success() {
    let tree = Workspace::new(TREE);
    tree.rebuild("--report=images/base/packages.txt/a.xml --report=b.json")
        .exits(69)
        .mentions("error: cannot write [ROOT]/images/base/packages.txt/a.xml");
    // What is no file is written into, and stays what it is.
    tree.add("//- out.xml -> /dev/null\n//- link.json -> out/real.json\n");
    tree.rebuild("--report=out.xml --report=link.json").exits(0);
    tree.rebuild("--report=link.json").exits(0);
    assert!(tree.path("out.xml").is_symlink() && Path::new("/dev/null").exists());
    tree.rebuild("--report=report.html").exits(2).mentions("it ends in .md, .json or .xml");
}

#[test]
fn the_json_of_a_report_is_that_of_its_page() {
    let world = World::new();
    world.imgraph("update", 0);
    world.rebuild("", 0);
    world.publish("debian:12", "two");
    world
        .tree
        .write("simulate.toml", "[default]\nduration = '5ms'\n[image.java]\noutcome = 'fail'\n");
    world.rebuild("--full --report=r.json", 1);
    let page = crate::docs::blocks_of("docs/json.md");
    crate::docs::compare(&page, "report", &json(&world.tree, "r.json"));
}
