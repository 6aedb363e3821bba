//! The content id: what an image is, whoever built it, and whatever store it is in.

use std::process::Command;

use imgraph::digest::{Digest, OciDigest};
use imgraph::engine::buildah::storage::Storage;
use imgraph::engine::buildah::{self, Buildah};

use super::*;

/// What every engine does alike: a RUN also leaves the directories that an engine mounts things on.
const PLAIN: &str = "FROM BASE\nCOPY f /d/f\nCOPY d /d\nWORKDIR /d\nENV A=1\nLABEL l=v\nUSER 7\n\
    EXPOSE 80\nHEALTHCHECK NONE\nCMD [\"x\"]\n";

/// Hard links, a deletion, a mode.
const RUN: &str = "FROM BASE\nCOPY f /f\n\
    RUN mkdir /d && ln /f /d/g && busybox chmod 4755 /d/g && busybox rm /bin/stat\n";

/// Two equal layers.
const TWICE: &str = "FROM BASE\nCOPY f /f\nCOPY f /f\n";

fn built(bench: &Bench, dockerfile: &str) -> Built {
    let directory = bench.context().join("d");
    fs::create_dir_all(&directory).unwrap();
    fs::write(bench.context().join("f"), "f").unwrap();
    fs::write(directory.join("g"), "g").unwrap();
    bench.build(&bench.with_context(dockerfile, "a:1")).unwrap()
}

fn content(bench: &Bench, dockerfile: &str) -> Digest {
    bench
        .engine
        .content(&built(bench, dockerfile), &BTreeMap::new(), &Cancel::default())
        .unwrap()
        .id
}

/// The same built by buildah, on an image that buildah builds from the same files.
fn by_buildah(bench: &Bench) -> Option<Digest> {
    let home = tempfile::tempdir().unwrap();
    let storage = Storage { root: home.path().join("root"), runroot: home.path().join("runroot") };
    let environment = std::env::vars().collect();
    let engine = Buildah::new(buildah::Options {
        storage: Some(storage.clone()),
        environment,
        ..buildah::Options::default()
    });
    if engine.capabilities().is_err() {
        eprintln!("skipped: buildah is not installed");
        return None;
    }
    let archive = home.path().join("base.tar").display().to_string();
    bench.docker(&["image", "save", "--output", &archive, &bench.reference("base:1")]);
    let pulled = Command::new("buildah")
        .args(storage.arguments())
        .args(["pull", &format!("docker-archive:{archive}")])
        .output()
        .unwrap();
    assert!(pulled.status.success(), "{pulled:?}");
    let id = String::from_utf8(pulled.stdout).unwrap();
    let parent = Parent {
        reference: bench.reference("base:1"),
        id: format!("sha256:{}", id.trim()).parse().unwrap(),
        pinned: String::new(),
    };
    let request = bench.with_context(PLAIN, "a:1");
    let request = Request { parents: vec![parent], ..request };
    let built = engine.build(&request, &Cancel::default(), &mut |_| {}).unwrap();
    Some(engine.content(&built, &BTreeMap::new(), &Cancel::default()).unwrap().id)
}

#[test]
fn an_image_has_the_same_content_id_whoever_builds_it() {
    let Some(bench) = Bench::new() else { return };
    let id = content(&bench, PLAIN);
    if let Some(expected) = by_buildah(&bench) {
        assert_eq!(id, expected, "buildah");
    }
    for daemon in [OLD, DAEMONS[1]] {
        let Some(bench) = Bench::on(daemon) else { return };
        assert_eq!(content(&bench, PLAIN), id, "{daemon}");
    }
}

#[test]
fn either_store_of_a_daemon_hands_out_the_same_content() {
    let ids: Vec<Digest> =
        DAEMONS.iter().filter_map(|daemon| Some(content(&Bench::on(daemon)?, RUN))).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
}

#[test]
fn known_layers_are_not_read_again() {
    for daemon in [OLD, DAEMONS[0], DAEMONS[1]] {
        let Some(bench) = Bench::on(daemon) else { return };
        let built = built(&bench, TWICE);
        let all = bench.engine.content(&built, &BTreeMap::new(), &Cancel::default()).unwrap();
        let known: BTreeMap<OciDigest, Digest> = all.layers.into_iter().collect();
        assert!(built.output.diff_ids.iter().all(|id| known.contains_key(id)), "{daemon}");
        let again = bench.engine.content(&built, &known, &Cancel::default()).unwrap();
        assert_eq!((again.id, again.layers), (all.id, Vec::new()), "{daemon}");
    }
}
