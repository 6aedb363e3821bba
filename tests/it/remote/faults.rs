//! Many runs with a registry that fails at random, and with kills: whatever can be found there is
//! whole at every moment, and a run without faults ends as if there had been none.

use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::{World, git};
use crate::registry::front::{Fault, Request, Response};

/// How many runs, unless `IMGRAPH_TEST_FAULTS` says another number.
const RUNS: u64 = 30;
/// What is edited: each is in one of three states, so that old keys come back.
const FILES: [&str; 4] = [
    "images/base/packages.txt",
    "images/java/jre/security",
    "images/apps/api/src/Main.java",
    "images/apps/web/page.html",
];
const IMAGES: [&str; 5] = ["apps/api", "apps/web", "base", "java/jre", "tools"];

/// The same numbers each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn faults() -> Vec<Fault> {
    let answer = |status, code| Fault::Answer(Response::refusal(status, code, "as told"));
    let limited = Response::refusal(429, "TOOMANYREQUESTS", "as told").with("retry-after", "0");
    vec![
        answer(500, "UNKNOWN"),
        answer(503, "UNAVAILABLE"),
        answer(401, "UNAUTHORIZED"),
        answer(404, "MANIFEST_UNKNOWN"),
        Fault::Answer(limited),
        Fault::Slow(Duration::from_millis(20)),
        Fault::Cut(5),
        Fault::CutRequest(3),
        Fault::Spoilt,
        Fault::Header("content-type", "text/html"),
        Fault::Header("docker-content-digest", "sha256:0"),
    ]
}

/// Spoils about every eighth answer of a run, each in another way.
fn spoil(world: &World, dice: &mut Dice) {
    for fault in faults() {
        let own = Mutex::new(Dice(dice.below(u64::MAX).max(1)));
        let is_it = move |_: &Request| own.lock().unwrap().below(60) == 0;
        world.registry.front.spoils(3, fault, is_it);
    }
}

/// What every tag leads to is there and belongs there.
fn check(world: &World) {
    for image in IMAGES {
        for tag in world.registry.tags_or_none(image) {
            let manifest: Value = world.registry.json(&format!("{image}:{tag}"));
            let Some(key_tag) = tag.strip_suffix(".note") else {
                assert!(manifest["config"]["digest"].is_string(), "{image}:{tag}");
                continue;
            };
            let said = &manifest["annotations"];
            let key = said["io.imgraph.key"]
                .as_str()
                .unwrap_or_else(|| panic!("{image}:{tag}: {manifest:#}"));
            assert_eq!(key_tag, format!("ig-{}", &key[..32]), "{image}");
            assert_eq!(said["io.imgraph.image"], image);
            let there = world.registry.digest_of(&format!("{image}:{key_tag}"));
            assert_eq!(manifest["subject"]["digest"], there, "{image}:{key_tag}");
            let base = &said["org.opencontainers.image.base.name"];
            if let Some((_, parent)) = base.as_str().and_then(|it| it.split_once(&world.host())) {
                let Some(digest) = said["org.opencontainers.image.base.digest"].as_str() else {
                    continue;
                };
                let parent = format!("{}@{digest}", parent.trim_start_matches('/'));
                assert_eq!(world.registry.digest_of(&parent), digest, "{image}:{tag}");
            }
        }
    }
}

#[test]
fn whatever_fails_nothing_that_can_be_found_is_wrong() {
    let mut world = World::new();
    world.write(0, "simulate.toml", "registry = true\n[default]\nduration = '5ms'\n");
    let host = &world.registry.front.host;
    let layers = format!(
        "[workspace]\nregistry = '{}'\n[[registry]]\nhost = '{host}'\ntimeout = '1s'\n",
        world.host()
    );
    world.write(0, "layers.toml", &layers);
    world.commit(0);
    world.clone();
    let runs = std::env::var("IMGRAPH_TEST_FAULTS").ok().and_then(|it| it.parse().ok());
    let mut dice = Dice(0x5eed);
    let (mut failed, mut killed) = (0, 0);
    for _ in 0..runs.unwrap_or(RUNS) {
        let machine = usize::try_from(dice.below(2)).unwrap();
        let file = FILES[usize::try_from(dice.below(4)).unwrap()];
        world.write(machine, file, &format!("state {}\n", dice.below(3)));
        if dice.below(10) == 0 {
            world.machines[machine].remove_state();
        }
        spoil(&world, &mut dice);
        let kill = (dice.below(3) == 0).then(|| Duration::from_millis(dice.below(250)));
        let mut running = world.machines[machine].start("rebuild --push --jobs=2");
        if let Some(after) = kill {
            running.listen(after);
            running.signal(Signal::KILL);
        }
        let outcome = running.finish();
        world.registry.front.is_well();
        failed += u32::from(outcome.code().is_some_and(|code| code != 0));
        killed += u32::from(outcome.code().is_none());
        check(&world);
    }
    assert!(failed > 0 && killed > 0, "the faults had no effect: {failed} failed, {killed} killed");

    // A run without faults, and a machine that knows no registry, come to the same.
    world.rebuild(0, "--push").exits(0);
    world.rebuild(0, "--push").exits(0).mentions("nothing to do");
    check(&world);
    git(&world.machines[0], "add -A");
    git(&world.machines[0], "commit -q --allow-empty -m end");
    let clean = world.clone();
    world.rebuild(clean, "--cache local:rw").exits(0).mentions("5 built");
    for image in IMAGES {
        let built = world.machines[clean].simulated(&format!("{}/{image}:latest", world.host()));
        let layer =
            imgraph::digest::OciDigest::of_content(format!("simulated {built}\n").as_bytes());
        let there: Value = world.registry.json(&format!("{image}:latest"));
        assert_eq!(there["layers"][0]["digest"], layer.as_str(), "{image}");
    }
}
