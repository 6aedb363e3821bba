//! `imgraph watch`: what is built after a save, and what is not. Nothing here waits for a time to
//! pass: every wait is for an event.

mod editors;
mod flight;
mod prepares;
mod storm;
mod surroundings;
mod terminal;

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Running, Said, TREE, Workspace, text};

/// A watch that has brought everything up to date.
pub(crate) struct Watch<'a> {
    tree: &'a Workspace,
    run: Running,
}

impl<'a> Watch<'a> {
    pub(crate) fn start(tree: &'a Workspace, arguments: &str) -> Self {
        let mut watch = Self::begin(tree, arguments);
        watch.idle();
        watch
    }

    /// The same, not waited for.
    pub(crate) fn begin(tree: &'a Workspace, arguments: &str) -> Self {
        Self { tree, run: tree.start(&format!("watch --json {arguments}")) }
    }

    pub(crate) fn wait(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        self.run.wait_for(is_it)
    }

    /// Waits until there is nothing more to do; returns what is not up to date.
    pub(crate) fn idle(&mut self) -> Vec<String> {
        names(&self.wait(|event| event["event"] == "idle")["stale"])
    }

    /// Waits until the watch has looked again; returns the images that it found changed.
    pub(crate) fn looks(&mut self) -> Vec<String> {
        names(&self.wait(|event| event["event"] == "rescanned")["changed"])
    }

    /// Waits until an image has ended.
    pub(crate) fn ends(&mut self, image: &str, ended: &str) -> Value {
        let is_it = |event: &Value| event["event"] == "finished" && event["image"] == image;
        let event = self.wait(is_it);
        assert_eq!(event["ended"], ended, "{event}");
        event
    }

    /// Waits until a fresh plan would find nothing to do.
    pub(crate) fn settles(&mut self) {
        loop {
            self.idle();
            let plan = self.tree.imgraph("plan").exits(0);
            if plan.stdout.starts_with("nothing to do") {
                return;
            }
        }
    }

    /// Ends the watch.
    pub(crate) fn stop(self) -> Said {
        self.run.signal(Signal::INT);
        self.run.finish().exits(130)
    }

    /// Reads events for so long.
    pub(crate) fn listen(&mut self, time: Duration) {
        self.run.listen(time);
    }

    /// Ends the watch, and asserts that it left nothing to do, did nothing twice, and built these
    /// images, each at least once, and no others.
    #[track_caller]
    pub(crate) fn settled(self, wanted: &[&str]) {
        let tree = self.tree;
        let said = self.stop();
        tree.rebuild("--changed").exits(0).mentions("nothing to do");
        assert_eq!(builds(&said).into_keys().collect::<Vec<_>>(), wanted);
    }

    /// Ends the watch, and asserts that it left nothing to do, did nothing twice, and built so many
    /// times what is named.
    #[track_caller]
    pub(crate) fn built(self, wanted: &[(&str, usize)]) {
        let tree = self.tree;
        let said = self.stop();
        tree.rebuild("--changed").exits(0).mentions("nothing to do");
        let built = builds(&said);
        let built: BTreeMap<&str, usize> =
            built.iter().map(|(image, keys)| (image.as_str(), keys.len())).collect();
        assert_eq!(built, wanted.iter().copied().collect());
    }
}

fn names(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|name| text(name).to_owned()).collect()
}

/// The key tags of all builds, by image. Fails if one was built twice.
#[track_caller]
pub(crate) fn builds(said: &Said) -> BTreeMap<String, Vec<String>> {
    let mut builds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in said.events().iter().filter(|event| event["ended"] == "built") {
        let references = names(&event["built"]["references"]);
        let key = references.into_iter().find(|reference| reference.contains(":ig-")).unwrap();
        let keys = builds.entry(text(&event["image"]).to_owned()).or_default();
        assert!(!keys.contains(&key), "{key} was built twice");
        keys.push(key);
    }
    builds
}

/// The tree, all of it built.
pub(crate) fn built() -> Workspace {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree
}

#[test]
fn it_begins_with_what_is_not_up_to_date() {
    let tree = Workspace::new(TREE);
    let watch = Watch::start(&tree, "");
    watch.built(&[("apps/api", 1), ("apps/web", 1), ("base", 1), ("java/jre", 1), ("tools", 1)]);
}

#[test]
fn a_save_builds_the_image_and_what_stands_on_it() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.write("images/java/jre/security", "lax\n");
    let run = watch.wait(|event| event["event"] == "run-started");
    assert_eq!(run["selected"], 3, "the others are known, and not planned again");
    watch.idle();
    watch.built(&[("apps/api", 1), ("apps/web", 1), ("java/jre", 1)]);
}

#[test]
fn the_cascade_ends_where_a_parent_came_out_the_same() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.'java/jre']\ncontent = 'same'\n");
    let mut watch = Watch::start(&tree, "");
    tree.write("images/java/jre/security", "lax\n");
    let end = watch.ends("java/jre", "built");
    assert_eq!(end["built"]["unchanged"], true);
    watch.ends("apps/api", "cut-off");
    watch.idle();
    watch.built(&[("apps/api", 1), ("apps/web", 1), ("base", 1), ("java/jre", 2), ("tools", 1)]);
}

#[test]
fn a_selected_application_keeps_its_ancestors_fresh() {
    let tree = built();
    let mut watch = Watch::start(&tree, "apps/api");
    tree.write("images/apps/web/page.html", "not selected\n");
    tree.write("images/base/packages.txt", "git\n");
    watch.idle();
    let built = builds(&watch.stop());
    assert_eq!(built.into_keys().collect::<Vec<_>>(), ["apps/api", "base", "java/jre"]);
}

#[test]
fn only_leaves_the_ancestors_as_they_are() {
    let tree = built();
    let mut watch = Watch::start(&tree, "apps/api --only");
    tree.write("images/base/packages.txt", "git\n");
    watch.looks();
    tree.write("images/apps/api/src/Main.java", "class Other {}\n");
    watch.idle();
    let built = builds(&watch.stop());
    assert_eq!(built.into_keys().collect::<Vec<_>>(), ["apps/api"]);
}

#[test]
fn only_needs_a_parent_that_is_there() {
    let tree = Workspace::new(TREE);
    let said = Watch::begin(&tree, "apps/api --only").run.finish().exits(2);
    said.mentions("`apps/api` needs `java/jre`, which is not in the store");
}

#[test]
fn a_failure_does_not_end_the_watch_and_is_tried_again_when_an_input_changed() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.app.prepare]
        run = 'grep good source && cp source made'
        inputs = ['source']
        outputs = ['made']
        //- images/app/Dockerfile
        FROM scratch
        COPY made /
        //- images/app/source
        bad
        //- images/other/Dockerfile
        FROM scratch
        COPY file /
        //- images/other/file
        one
        ",
    );
    let mut watch = Watch::begin(&tree, "");
    watch.ends("app", "failed");
    assert_eq!(watch.idle(), ["app"]);
    tree.write("images/other/file", "two\n");
    watch.ends("other", "built");
    assert_eq!(watch.idle(), ["app"], "it is not tried again as it was");
    tree.write("images/app/source", "good\n");
    watch.ends("app", "built");
    assert_eq!(watch.idle(), [""; 0]);
    let said = watch.stop();
    let failed = said.events().iter().filter(|event| event["ended"] == "failed").count();
    assert_eq!(failed, 1);
}

#[test]
fn what_failed_is_not_built_again_with_the_same_key() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.'java/jre']\noutcome = 'fail'\n");
    let mut watch = Watch::begin(&tree, "");
    watch.ends("java/jre", "failed");
    assert_eq!(watch.idle(), ["apps/api", "apps/web", "java/jre"]);
    tree.write("images/apps/api/src/Main.java", "class Other {}\n");
    assert_eq!(watch.looks(), ["apps/api"]);
    // The base comes out other than before, so that there is another key to try.
    tree.write("images/base/packages.txt", "git\n");
    watch.ends("java/jre", "failed");
    watch.idle();
    let said = watch.stop();
    let started = said.events();
    let started = started.iter().filter(|event| event["event"] == "started");
    let images: Vec<&str> = started.map(|event| text(&event["image"])).collect();
    let count = |image: &str| images.iter().filter(|name| **name == image).count();
    assert_eq!((count("java/jre"), count("base"), count("apps/api")), (2, 2, 0));
}

#[test]
fn a_parent_that_the_store_has_lost_is_built_before_what_stands_on_it() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.lose("java/jre:latest");
    // Somebody else builds, so that the store is looked into anew.
    tree.rebuild("--force tools --no-wait").exits(0);
    tree.write("images/apps/web/page.html", "hi\n");
    watch.ends("java/jre", "built");
    watch.ends("apps/web", "built");
    watch.settles();
    watch.stop();
}

#[test]
fn a_rebuild_elsewhere_is_not_held_up_and_what_it_built_is_known() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.rebuild("--force base --no-wait").exits(0).mentions("1 built");
    tree.write("images/apps/web/page.html", "hi\n");
    watch.ends("apps/web", "built");
    watch.idle();
    watch.built(&[("apps/web", 1)]);
}

#[test]
fn a_run_waits_for_a_rebuild_elsewhere_and_says_so() {
    let tree = built();
    let mut watch = Watch::start(&tree, "");
    tree.write("simulate.toml", "[image.tools]\noutcome = 'hang'\n");
    let mut other = tree.start("rebuild --json --force tools");
    other.wait_for_build("tools");
    tree.write("images/apps/web/page.html", "hi\n");
    watch.run.wait_for_words("waiting for imgraph rebuild");
    other.signal(Signal::INT);
    other.finish().exits(130);
    tree.write("simulate.toml", "");
    watch.ends("apps/web", "built");
    watch.idle();
    watch.stop();
}

#[test]
fn ctrl_c_ends_it_in_order_at_rest_and_in_the_middle_of_a_build() {
    let tree = built();
    Watch::start(&tree, "").stop();
    tree.write("simulate.toml", "[default]\noutcome = 'hang'\n");
    tree.write("images/apps/web/page.html", "hi\n");
    let mut watch = Watch::begin(&tree, "");
    watch.run.wait_for_build("apps/web");
    let said = watch.stop();
    assert_eq!(said.ends(), ["apps/web not-reached"]);
    let events = said.events();
    assert_eq!(events.last().unwrap()["event"], "run-finished");
}

#[test]
fn sigterm_ends_it_too() {
    let tree = built();
    let watch = Watch::start(&tree, "");
    watch.run.signal(Signal::TERM);
    watch.run.finish().exits(143);
}

#[test]
fn what_cannot_be_watched_is_said_before_anything_is_built() {
    let tree =
        Workspace::new("//- layers.toml\nnonsense = 1\n//- images/a/Dockerfile\nFROM scratch\n");
    tree.imgraph("watch").exits(3).mentions("nonsense");
    Workspace::new(TREE).imgraph("watch nothing").exits(2).mentions("nothing");
    Workspace::new(TREE)
        .imgraph("watch --since main")
        .exits(2)
        .mentions("a watch builds what changes");
    Workspace::new(TREE).imgraph("watch --poll=1ms").exits(2).mentions("500ms");
}

#[test]
fn lines_say_what_happens() {
    let tree = built();
    let mut run = tree.start("watch");
    run.wait_for_words("watching 5 images");
    run.wait_for_words("up to date, waiting for changes");
    tree.write("images/apps/web/page.html", "hi\n");
    run.wait_for_words("[apps/web] started: page.html changed");
    run.wait_for_words("1 planned · 1 built · 0 failed");
    run.signal(Signal::INT);
    let said = run.finish().exits(130);
    assert_eq!(said.stdout, "", "what is said is talk");
}
