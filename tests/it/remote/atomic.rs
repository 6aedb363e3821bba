//! `--atomic`: the tags of all images move in the end, or none does.

use super::World;
use crate::registry::front::{Fault, Request, Response};

fn latest(world: &World) -> Vec<String> {
    ["base", "tools", "java/jre", "apps/api", "apps/web"]
        .iter()
        .map(|image| world.registry.digest_of(&format!("{image}:latest")))
        .collect()
}

/// All images are pushed, and then all are other ones.
fn world() -> (World, Vec<String>) {
    let world = World::new();
    world.rebuild(0, "--push").exits(0);
    let before = latest(&world);
    world.write(0, "images/base/packages.txt", "vim\n");
    (world, before)
}

#[test]
fn all_tags_move_when_everything_is_there() {
    let (world, before) = world();
    let said = world.rebuild(0, "--push --atomic --json").exits(0);
    let events = said.events();
    let place = |kind: &str, has_tag: bool| {
        let is_it = |event: &&serde_json::Value| {
            let text = event["references"].to_string();
            event["event"] == kind && (kind != "pushed" || text.contains(":latest") == has_tag)
        };
        events.iter().rposition(|event| is_it(&event)).unwrap()
    };
    assert!(place("pushed", false) < place("finished", true));
    assert!(place("finished", true) < place("pushed", true));
    assert!(latest(&world).iter().zip(&before).all(|(now, before)| now != before));
    world.rebuild(0, "--push --atomic").exits(0).mentions("nothing to do");
}

#[test]
fn no_tag_moves_where_an_image_has_failed_and_nothing_is_built_again_for_it() {
    let (world, before) = world();
    world.write(0, "simulate.toml", "registry = true\n[image.'apps/web']\noutcome = 'fail'\n");
    let said = world.rebuild(0, "--push --atomic").exits(1);
    said.mentions("no tag has moved: not all images are there");
    assert_eq!(latest(&world), before);
    world.write(0, "simulate.toml", "registry = true\n");
    let said = world.rebuild(0, "--push --atomic").exits(0);
    said.mentions("1 built");
    assert!(latest(&world).iter().zip(&before).all(|(now, before)| now != before));
}

#[test]
fn where_a_tag_cannot_be_moved_those_before_it_go_back() {
    let (world, before) = world();
    let is_last = |request: &Request| {
        request.method == "PUT" && request.path.ends_with("/apps/web/manifests/latest")
    };
    let refusal = Response::refusal(403, "DENIED", "tags of this one are immutable");
    world.registry.front.spoils(9, Fault::Answer(refusal), is_last);
    let said = world.rebuild(0, "--push --atomic").exits(1);
    said.mentions("the tags stay where they were").mentions("tags of this one are immutable");
    assert_eq!(latest(&world), before);
    world.registry.front.is_well();
    world.rebuild(0, "--push --atomic").exits(0).mentions("5 only pushed");
    assert!(latest(&world).iter().zip(&before).all(|(now, before)| now != before));
}

#[test]
fn a_fresh_machine_finishes_what_another_could_not() {
    let (mut world, before) = world();
    world.commit(0);
    world.write(0, "simulate.toml", "registry = true\n[image.'apps/web']\noutcome = 'fail'\n");
    world.rebuild(0, "--push --atomic").exits(1);
    let clone = world.clone();
    let ends = world.ends(clone, "--push --atomic");
    assert_eq!(
        ends,
        [
            "apps/api restored",
            "apps/web built",
            "base restored",
            "java/jre restored",
            "tools restored"
        ]
    );
    assert!(latest(&world).iter().zip(&before).all(|(now, before)| now != before));
}

#[test]
fn it_takes_a_registry_that_is_asked() {
    let world = World::new();
    let said = world.rebuild(0, "--push --atomic --cache local:rw").exits(2);
    said.mentions("`--atomic` takes registries that are read or written");
}
