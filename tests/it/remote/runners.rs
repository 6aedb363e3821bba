//! Several runners on one branch: nobody's tags get lost, and none moves back.

use std::time::Duration;

use super::{NOTHING, World, git, git_at};
use crate::registry::front::{Fault, Request, Response};

/// A commit that was made some seconds after the others: a clone that lacks it goes by the time.
fn commit_later(world: &World, machine: usize, seconds: u64) {
    let then = imgraph::clock::now() / 1000 + seconds;
    git(&world.machines[machine], "add -A");
    git_at(&world.machines[machine], "commit -q --allow-empty -m x", then);
}

#[test]
fn a_run_that_ends_late_does_not_hide_that_the_branch_has_moved_on() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let old = world.clone();
    git(&world.machines[old], "remote remove origin");
    world.write(old, "simulate.toml", "registry = true\n[image.tools]\nduration = '2s'\n");
    let mut slow = world.machines[old].start("rebuild --push --force tools");
    slow.listen(Duration::from_secs(1));
    world.write(0, "images/base/packages.txt", "new\n");
    commit_later(&world, 0, 5);
    world.rebuild(0, "--push").exits(0);
    let there = world.digest("base:latest");
    slow.finish().exits(0);
    // Again from nothing, of the old commit: the state still knows of the later one.
    world.machines[old].remove_state();
    let said = world.rebuild(old, "base --push").exits(0);
    said.mentions("the branch has moved on to");
    assert_eq!(world.digest("base:latest"), there);
}

#[test]
fn runners_that_begin_and_end_together_all_move_their_tags() {
    World::each(|mut world| {
        let images = ["x1", "x2", "x3", "x4", "x5", "x6"];
        for image in images {
            world.write(0, &format!("images/{image}/Dockerfile"), "FROM scratch\nCOPY f /\n");
            world.write(0, &format!("images/{image}/f"), "1");
        }
        world.commit(0);
        world.rebuild(0, "--push").exits(0);
        let before = images.map(|image| world.digest(&format!("{image}:latest")));
        for image in images {
            world.write(0, &format!("images/{image}/f"), "2");
        }
        world.commit(0);
        let clones = images.map(|_| world.clone());
        let running: Vec<_> = images
            .iter()
            .zip(clones)
            .map(|(image, clone)| world.machines[clone].start(&format!("rebuild --push {image}")))
            .collect();
        for running in running {
            running.finish().exits(0);
        }
        for (image, before) in images.iter().zip(before) {
            assert_ne!(world.digest(&format!("{image}:latest")), before, "{image}");
        }
        // What two wrote into the state in one moment may be found by its key alone.
        let clone = world.clone();
        let ends = world.ends(clone, "--push");
        assert!(ends.iter().all(|end| end.ends_with(" restored")), "{ends:?}");
        assert_eq!(world.ends(clone, "--push"), NOTHING);
    });
}

#[test]
fn addresses_of_one_repository_are_one_repository() {
    let mut world = World::new();
    git(&world.machines[0], "remote add origin https://host.example/a/b");
    world.rebuild(0, "--push").exits(0);
    let old = world.clone();
    git(&world.machines[old], "remote set-url origin git@host.example:a/b.git");
    world.write(0, "images/base/packages.txt", "new\n");
    commit_later(&world, 0, 5);
    world.rebuild(0, "base --push").exits(0);
    let there = world.digest("base:latest");
    world.write(old, "images/base/packages.txt", "old\n");
    world.rebuild(old, "base --push").exits(0).mentions("the branch has moved on to");
    assert_eq!(world.digest("base:latest"), there);
}

#[test]
fn a_state_that_is_denied_keeps_nobody_from_pushing() {
    let world = World::new();
    let denied = Response::refusal(403, "DENIED", "no");
    let is_state = |request: &Request| request.path.contains("/imgraph-state/");
    world.registry.front.spoils(1000, Fault::Answer(denied), is_state);
    let said = world.rebuild(0, "--push").exits(0);
    said.mentions("the state of the branch cannot be written").mentions("5 built");
    assert_eq!(world.registry.tags_of("base").len(), 3);
}

#[test]
fn machines_that_made_different_images_of_one_key_agree_in_the_end() {
    let mut world = World::new();
    world.write(0, "simulate.toml", "registry = true\n[image.base]\ncontent = 'same'\n");
    world.commit(0);
    world.rebuild(0, "--push").exits(0);
    let other = world.clone();
    world.write(other, "simulate.toml", "registry = true\n");
    world.rebuild(other, "base --push --force").exits(0);
    world.rebuild(other, "--push").exits(0);
    let there = world.digest("java/jre:latest");
    // The first one has all of it in its store, on the base that it made itself.
    assert_eq!(world.ends(0, "--push"), NOTHING);
    assert_eq!(world.digest("java/jre:latest"), there);
    assert_eq!(world.ends(other, "--push"), NOTHING);
}

#[test]
fn a_claim_that_was_written_over_is_made_again() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let before = world.digest("apps/api:latest");
    let rewind = world.registry.rewinds("imgraph-state:main");
    world.write(0, "simulate.toml", "registry = true\n[image.'apps/api']\nduration = '2s'\n");
    world.write(0, "images/apps/api/src/Main.java", "class Other {}");
    let mut slow = world.machines[0].start("rebuild --push apps/api");
    slow.listen(Duration::from_secs(1));
    rewind();
    drop(rewind);
    slow.finish().exits(0);
    assert_ne!(world.digest("apps/api:latest"), before);
    let clone = world.clone();
    world.write(clone, "images/apps/api/src/Main.java", "class Other {}");
    assert_eq!(world.ends(clone, "--push"), NOTHING);
}

#[test]
fn who_is_on_no_branch_is_told_what_that_means() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    git(&world.machines[clone], "checkout -q --detach");
    let said = world.rebuild(clone, "--push").exits(0);
    said.mentions("nothing says which branch this is").mentions("nothing to do");
}

#[test]
fn tags_that_move_together_are_refused_or_not_there() {
    let world = World::new();
    let is_tag = |request: &Request| {
        request.method == "PUT" && request.path.ends_with("/tools/manifests/latest")
    };
    for (response, code) in [(Response::refusal(403, "DENIED", "no"), 1), (Response::new(503), 69)]
    {
        world.registry.front.spoils(9, Fault::Answer(response), is_tag);
        let said = world.rebuild(0, "--push --atomic tools").exits(code);
        said.mentions("the tags stay where they were");
        world.registry.front.is_well();
    }
    world.rebuild(0, "--push --atomic tools").exits(0);
}

#[test]
fn a_shallow_clone_is_not_behind_what_it_was_made_from() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    world.write(0, "images/base/packages.txt", "vim\n");
    // By a machine whose clock is behind.
    git(&world.machines[0], "add -A");
    git_at(&world.machines[0], "commit -q -m x", 1_000_000_000);
    let clone = world.clone_with("--depth=1");
    git(&world.machines[clone], "remote remove origin");
    let before = world.digest("base:latest");
    world.rebuild(clone, "--push base").exits(0);
    assert_ne!(world.digest("base:latest"), before);
}
