//! Options of builds: from `layers.toml`, the command line and the environment to the engine, and which
//! of them rebuild.

use crate::support::{Said, TREE, Workspace};

/// What the engine was told for one image: its log says so.
#[track_caller]
fn told(said: &Said, image: &str) -> String {
    let start = format!("simulated {image}");
    let text = |event: serde_json::Value| event["line"].as_str().map(str::to_owned);
    let mut lines = said.events().into_iter().filter_map(text);
    let line = lines.find(|line| line.split(" -").next() == Some(&start));
    line.unwrap_or_else(|| panic!("{image} was not built"))[start.len()..].trim().to_owned()
}

const OPTIONS: &str = "
    [workspace]
    registry = 'r.example'
    hosts = ['proxy:10.0.0.1']
    cache-from = ['{repository}:cache']
    [[layer]]
    name = 'base'
    cache-to = ['type=registry,ref={repository}:cache,mode=max']
    [[layer]]
    name = 'rest'
    dirs = ['tools', 'java', 'apps']
    network = 'none'
    [image.tools]
    network = 'host'
    hosts = ['db=10.0.0.7']
    sbom = true
    provenance = 'max'
    allow = ['network.host']
";

fn tree_with_options() -> Workspace {
    let tree = Workspace::new(TREE);
    tree.write("layers.toml", OPTIONS);
    tree
}

#[test]
fn an_engine_is_told_what_the_nearest_place_says() {
    let tree = tree_with_options();
    let said = tree.rebuild("--json").exits(0);
    assert_eq!(
        told(&said, "base"),
        "--add-host=proxy:10.0.0.1 --cache-from=type=registry,ref=r.example/base:cache \
         --cache-to=type=registry,ref=r.example/base:cache,mode=max"
    );
    assert_eq!(
        told(&said, "tools"),
        "--sbom --network=host --add-host=proxy:10.0.0.1 --add-host=db:10.0.0.7 \
         --cache-from=type=registry,ref=r.example/tools:cache --provenance=max --allow=network.host"
    );
    assert_eq!(
        told(&said, "apps/api"),
        "--network=none --add-host=proxy:10.0.0.1 \
         --cache-from=type=registry,ref=r.example/apps/api:cache"
    );
}

#[test]
fn what_is_typed_holds_before_what_is_written() {
    let tree = tree_with_options();
    let said = tree
        .rebuild(
            "tools --json --network default --add-host=v6:[::1] --sbom=false --provenance off --allow=security.insecure \
             --cache-from type=local,src=c --cache-to=type=inline --pull",
        )
        .exits(0);
    let root = tree.root();
    assert_eq!(
        told(&said, "tools"),
        format!(
            "--pull --add-host=proxy:10.0.0.1 --add-host=db:10.0.0.7 --add-host=v6:::1 \
             --cache-from=type=local,src={}/c --cache-to=type=inline --allow=security.insecure",
            root.display()
        )
    );
}

#[test]
fn every_option_has_a_variable() {
    let tree = Workspace::new(TREE);
    let environment = [
        ("IMGRAPH_NETWORK", "host"),
        ("IMGRAPH_ADD_HOST", "a:1.1.1.1;b:2.2.2.2"),
        ("IMGRAPH_PULL", "1"),
        ("IMGRAPH_NO_CACHE", "true"),
        ("IMGRAPH_CACHE_TO", "r.example/{path};type=inline"),
        ("IMGRAPH_SBOM", "true"),
        ("IMGRAPH_PROVENANCE", "min"),
        ("IMGRAPH_ALLOW", "network.host;security.insecure"),
        ("IMGRAPH_PLATFORM", "linux/arm64"),
        ("IMGRAPH_PUSH", "0"),
    ];
    let said = tree.run("rebuild base --json", &environment).exits(0);
    assert_eq!(
        told(&said, "base"),
        "--no-cache --pull --sbom --network=host --add-host=a:1.1.1.1 --add-host=b:2.2.2.2 \
         --cache-to=type=registry,ref=r.example/base --cache-to=type=inline --provenance=min \
         --allow=network.host --allow=security.insecure"
    );
    tree.run("rebuild base", &environment).exits(0).mentions("nothing to do");
    let inputs = tree.run("inputs base", &environment).exits(0);
    inputs.mentions("platform    linux/arm64\nnetwork     host\nhost        a:1.1.1.1");
}

#[test]
fn network_and_hosts_rebuild_and_every_verb_sees_them() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    for (option, setting) in [
        ("--network none", "network"),
        ("--add-host db:10.0.0.7", "hosts"),
        ("--platform linux/arm64", "platform"),
    ] {
        let reason = format!("setting {setting} changed");
        tree.imgraph(&format!("plan tools {option}")).exits(0).mentions(&reason);
        tree.imgraph(&format!("{option} why base")).exits(0).mentions(&reason);
        tree.rebuild(&format!("base {option}"))
            .exits(0)
            .mentions(&format!("[base] started: {reason}"));
        tree.rebuild(&format!("base {option}")).exits(0).mentions("nothing to do");
        // Back again: what was built before is still there.
        tree.rebuild("base").exits(0).mentions("[base] restored");
    }
}

#[test]
fn caches_and_attestations_rebuild_nothing() {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree.rebuild(
        "--pull --sbom --provenance max --cache-from r.example/c --cache-to r.example/c --no-cache",
    )
    .exits(0)
    .mentions("nothing to do");
}

#[test]
fn without_cache_is_for_what_was_asked_for_and_is_built_anyway() {
    let tree = Workspace::new(TREE);
    let said = tree.rebuild("java/jre --no-cache --json --cache-from=r.example/c").exits(0);
    assert_eq!(told(&said, "java/jre"), "--no-cache", "a cache is not read then");
    assert_eq!(told(&said, "base"), "--cache-from=type=registry,ref=r.example/c");
    tree.rebuild("java/jre --no-cache").exits(0).mentions("nothing to do");
    let said = tree.rebuild("java/jre --force --no-cache --json").exits(0);
    assert_eq!(said.ends(), ["java/jre built"]);
    assert_eq!(told(&said, "java/jre"), "--no-cache");
}

#[test]
fn a_platform_that_is_typed_is_for_images_that_name_none() {
    let tree = Workspace::new(TREE);
    tree.write("images/big/Dockerfile", "FROM scratch\n");
    tree.write(
        "layers.toml",
        "[workspace]\nplatform = 'linux/amd64'\n[image.big]\nplatforms = ['linux/s390x']\n",
    );
    for (image, platform) in [("base", "linux/arm64"), ("big", "linux/s390x")] {
        let inputs = tree.imgraph(&format!("inputs {image} --platform linux/arm64 --json"));
        assert_eq!(inputs.exits(0).json()["platform"], platform, "{image}");
    }
    tree.imgraph("ls --platform toaster").exits(2).mentions("toaster");
}

#[test]
fn a_wrong_option_is_shown_where_it_stands() {
    let tree = Workspace::new(TREE);
    tree.write("layers.toml", "[image.base]\nnetwork = 'nome'\n");
    tree.rebuild("").exits(3).mentions("cannot be `nome`\nlayers.toml:2:\ndid you mean `none`?");
}
