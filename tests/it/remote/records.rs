//! What a machine knows of registries, and what has become of that meanwhile.

use serde_json::Value;

use super::{NOTHING, World};
use crate::registry::front::{Fault, Request, Response};

/// Whether a build of `tools` comes out like every other.
fn comes_out(world: &World, machine: usize, content: &str) {
    let script = format!("registry = true\n[image.tools]\ncontent = '{content}'\n");
    world.write(machine, "simulate.toml", &script);
}

fn change_tools(world: &World, machine: usize, label: &str) {
    let text = format!("FROM {}/base\nLABEL a={label}\n", world.host());
    world.write(machine, "images/tools/Dockerfile", &text);
}

#[test]
fn what_comes_out_as_it_was_before_another_machine_pushed_gets_its_tags() {
    let mut world = World::new();
    comes_out(&world, 0, "same");
    world.rebuild(0, "--push").exits(0);
    let first = world.digest("tools:latest");
    let other = world.clone();
    comes_out(&world, other, "same");
    assert_eq!(world.ends(other, "--push"), NOTHING);
    comes_out(&world, 0, "inputs");
    change_tools(&world, 0, "2");
    world.rebuild(0, "--push tools").exits(0);
    assert_ne!(world.digest("tools:latest"), first);
    change_tools(&world, other, "3");
    world.rebuild(other, "--push tools").exits(0).mentions("1 built");
    assert_eq!(world.digest("tools:latest"), first);
}

#[test]
fn images_that_move_to_another_repository_are_pushed_there() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    assert_eq!(world.ends(clone, "--push"), NOTHING);
    let (before, after) = (world.host(), format!("{}/moved", world.host()));
    for name in ["base", "java/jre", "tools", "apps/api", "apps/web"] {
        let path = format!("images/{name}/Dockerfile");
        let text = world.machines[clone].read(&path).replace(&before, &after);
        world.write(clone, &path, &text);
    }
    world.write(clone, "layers.toml", &format!("[workspace]\nregistry = '{after}'\n"));
    world.rebuild(clone, "--push").exits(0);
    assert_eq!(world.digest("moved/base:latest"), world.digest("base:latest"));
    assert_eq!(world.ends(clone, "--push"), NOTHING);
}

#[test]
fn what_is_to_be_tagged_again_and_is_lost_is_built() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    world.write(clone, "images/tools/VERSION", "2\n");
    let is_tools =
        |request: &Request| request.method == "HEAD" && request.path.contains("/tools/manifests/");
    world.registry.front.spoils(2, Fault::Answer(Response::new(404)), is_tools);
    let said = world.rebuild(clone, "--push --json tools").exits(0);
    let said = said.mentions("is not in its registry any more");
    assert_eq!(said.ends(), ["tools built"]);
    assert_eq!(world.digest("tools:2"), world.digest("tools:latest"));
}

#[test]
fn an_earlier_build_that_is_too_large_is_not_taken() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    let layer = "[[layer]]\nname = 'all'\ndirs = ['.']\nrules = { max-size = '1kB' }\n";
    let layers = format!("[workspace]\nregistry = '{}'\n{layer}", world.host());
    world.write(clone, "layers.toml", &layers);
    let is_state = |request: &Request| request.path.contains("/imgraph-state/manifests/main");
    world.registry.front.spoils(1, Fault::Answer(Response::new(404)), is_state);
    world.rebuild(clone, "--push tools").exits(1).mentions("allows 1000");
}

#[test]
fn two_images_of_one_repository_and_key_are_both_known() {
    let mut world = World::new();
    world.write(0, "images/two/Dockerfile", "FROM scratch\nCOPY f /\n");
    world.write(0, "images/two/f", "1");
    let image = |name: &str| {
        let repository = format!("{}/two", world.host());
        format!(
            "[image.{name}]\ndockerfile = 'two/Dockerfile'\nrepository = '{repository}'\n\
             version = '{name}'\ntags = []\n"
        )
    };
    let skip = "[image.two]\nskip = true\n";
    let layers = world.machines[0].read("layers.toml") + skip + &image("a") + &image("b");
    world.write(0, "layers.toml", &layers);
    world.commit(0);
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    assert_eq!(world.ends(clone, "--push"), NOTHING);
    world.machines[clone].remove_state();
    assert_eq!(world.ends(clone, "--push"), NOTHING);
}

#[test]
fn a_child_is_not_pushed_without_its_parent() {
    let world = World::new();
    world.rebuild(0, "--push").exits(0);
    world.write(0, "images/java/jre/security", "other\n");
    world.rebuild(0, "java/jre").exits(0);
    let said = world.rebuild(0, "--push --only apps/api").exits(2);
    said.mentions("`apps/api` needs `java/jre`, which is not pushed as it is here");
    world.rebuild(0, "--push java/jre").exits(0);
    world.rebuild(0, "--push --only apps/api").exits(0);
}

/// When the oldest step was run of what the notes of an image are on, in their order.
fn ages(world: &World, image: &str) -> Vec<String> {
    let notes = world.registry.tags_of(image).into_iter().filter(|tag| tag.contains(".note"));
    let note = |tag| world.registry.json(&format!("{image}:{tag}"));
    let finished = |note: Value| note["annotations"]["io.imgraph.finished-ms"].to_string();
    notes.map(note).map(finished).collect()
}

#[test]
fn steps_from_a_cache_make_nothing_younger_for_others() {
    let world = World::new();
    world.rebuild(0, "--push base").exits(0);
    let first = ages(&world, "base");
    world.write(0, "simulate.toml", "registry = true\n[image.base]\ncached = 1\n");
    world.write(0, "images/base/packages.txt", "vim\n");
    world.rebuild(0, "--push base").exits(0).mentions("1 built");
    assert_eq!(ages(&world, "base"), [&*first[0], &*first[0]]);
}

#[test]
fn the_last_good_output_may_be_in_a_registry() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    assert_eq!(world.ends(clone, "--push"), NOTHING);
    world.write(clone, "simulate.toml", "registry = true\n[image.base]\noutcome = 'fail'\n");
    world.write(clone, "images/base/packages.txt", "vim\n");
    for _ in 0..3 {
        world.rebuild(clone, "--full --push --retries=0").exits(1).mentions("1 failed");
    }
    world.write(clone, "images/java/jre/security", "other\n");
    let said = world.rebuild(clone, "--full --push --json").exits(1);
    let ends = said.ends();
    assert!(ends.contains(&"base quarantined".to_owned()), "{ends:?}");
    assert!(ends.contains(&"java/jre built".to_owned()), "{ends:?}");
}

#[test]
fn other_verbs_know_what_a_run_has_found_in_the_registry() {
    let mut world = World::new();
    world.rebuild(0, "--push").exits(0);
    let clone = world.clone();
    assert_eq!(world.ends(clone, "--push"), NOTHING);
    world.imgraph(clone, "promote --tag one", 0).mentions("5 promoted");
    world.write(0, "images/base/packages.txt", "vim\n");
    world.rebuild(0, "--push").exits(0);
    world.write(clone, "images/base/packages.txt", "vim\n");
    assert_eq!(world.ends(clone, "--push"), NOTHING);
    world.imgraph(clone, "why base", 0).mentions("base: fresh");
    world.imgraph(clone, "promote --tag two", 0).mentions("5 promoted");
    assert_eq!(world.digest("base:two"), world.digest("base:latest"));
}
