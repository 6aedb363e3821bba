//! Parents are what the run says, wherever the tags point.

use super::*;
use crate::support::Workspace;

/// Builds with `reference` pinned to an image whose `/who` says `pinned`, while the tag of that name
/// in the store points at another.
fn build(dockerfile: &str, reference: &str) -> Option<Result<Built, EngineError>> {
    let bench = Bench::new()?;
    let pinned = bench.image("pinned");
    let other = bench.image("other");
    bench.engine.tag(&other, &[reference.to_owned()]).unwrap();
    let request =
        Request { parents: vec![parent(reference, &pinned)], ..bench.request(dockerfile) };
    let built = bench.build(&request);
    bench.assert_clean("after a build with a pinned parent");
    Some(built)
}

fn assert_pinned(dockerfile: &str, reference: &str) {
    if let Some(built) = build(dockerfile, reference) {
        built.unwrap();
    }
}

#[test]
fn from() {
    assert_pinned("FROM acme/p:1\nRUN test \"$(cat /who)\" = pinned\n", "acme/p:1");
}

#[test]
fn from_without_a_tag() {
    assert_pinned("FROM acme/p\nRUN test \"$(cat /who)\" = pinned\n", "acme/p");
}

#[test]
fn from_with_a_registry() {
    assert_pinned(
        "FROM docker.io/acme/p:1\nRUN test \"$(cat /who)\" = pinned\n",
        "docker.io/acme/p:1",
    );
}

#[test]
fn from_with_a_platform() {
    let dockerfile = format!(
        "FROM --platform={} acme/p:1\nRUN test \"$(cat /who)\" = pinned\n",
        Platform::host()
    );
    assert_pinned(&dockerfile, "acme/p:1");
}

#[test]
fn from_in_a_stage_that_another_is_built_on() {
    assert_pinned(
        "FROM acme/p:1 AS one\nRUN true\nFROM one\nRUN test \"$(cat /who)\" = pinned\n",
        "acme/p:1",
    );
}

#[test]
fn from_with_variables_and_quotes() {
    let run = "RUN test \"$(cat /who)\" = pinned\n";
    for base in [
        "ARG V=1\nFROM acme/p:$V\n",
        "ARG BASE=acme/p\nARG V=1\nFROM ${BASE}:${V} AS x\n",
        "ARG BASE\nFROM ${BASE:-acme/p:1}\n",
        "FROM \"acme/p:1\"\n",
        "ARG V=1\nFROM --platform=$BUILDPLATFORM acme/p:$V\n",
    ] {
        assert_pinned(&format!("{base}{run}"), "acme/p:1");
    }
}

#[test]
fn copy_and_mount_from_with_variables() {
    let copy = "FROM acme/base:0.1.0\nARG V=1\nCOPY --from=acme/p:$V /who /w\n\
        RUN test \"$(cat /w)\" = pinned\n";
    assert_pinned(copy, "acme/p:1");
}

#[test]
fn copy_from() {
    assert_pinned(
        "FROM acme/base:0.1.0\nCOPY --from=acme/p:1 /who /w\nRUN test \"$(cat /w)\" = pinned\n",
        "acme/p:1",
    );
}

#[test]
fn run_mount_from() {
    let dockerfile = "FROM acme/base:0.1.0\nRUN --mount=type=bind,from=acme/p:1,target=/m test \"$(cat /m/who)\" = pinned\n";
    assert_pinned(dockerfile, "acme/p:1");
}

#[test]
fn a_pin_that_would_replace_a_stage_is_refused() {
    let Some(result) = build(
        "FROM acme/base:0.1.0 AS p\nRUN true\nFROM p\nRUN test \"$(cat /who)\" = pinned\n",
        "p",
    ) else {
        return;
    };
    let error = result.unwrap_err();
    assert!(
        matches!(&error, EngineError::Unsupported(text) if text.contains("also a stage")),
        "{error:?}"
    );
}

#[test]
fn a_plain_from_finds_what_a_build_has_tagged() {
    let Some(bench) = Bench::new() else { return };
    bench.build(&bench.request("FROM acme/base:0.1.0\nRUN true\n")).unwrap();
    let names = bench.buildah(&["images", "--format={{.Name}}:{{.Tag}}", "acme/base:0.1.0"]);
    assert_eq!(names.trim(), "localhost/acme/base:0.1.0");
}

#[test]
fn what_is_pinned_from_outside_is_read_wherever_its_tag_points() {
    let Ok(registry) = std::env::var("IMGRAPH_TEST_REGISTRY") else {
        return eprintln!("skipped: IMGRAPH_TEST_REGISTRY is not set");
    };
    let Some(bench) = Bench::new() else { return };
    let own = bench.home.path().file_name().unwrap().to_string_lossy().to_lowercase();
    let repository = format!("buildah/{}", own.trim_matches(['.', '_', '-']));
    let external = format!("{registry}/{repository}:1");
    let mut digests = Vec::new();
    for who in ["old", "new"] {
        let id = bench.image(who);
        bench.engine.tag(&id, std::slice::from_ref(&external)).unwrap();
        let names = std::slice::from_ref(&external);
        bench.engine.push(&id, names, &Cancel::default(), &mut |_| {}).unwrap();
        digests.push(remote(&registry, &repository, "1").unwrap());
    }
    let locked = Locked {
        reference: external.clone(),
        pinned: format!("{registry}/{repository}@{}", digests[0]),
        platform: Some(Platform::host()),
    };
    for dockerfile in [
        format!("FROM {external}\nRUN test \"$(cat /who)\" = old\n"),
        format!("ARG BASE={external}\nFROM ${{BASE}}\nRUN test \"$(cat /who)\" = old\n"),
        format!(
            "FROM acme/base:0.1.0\nCOPY --from={external} /who /\nRUN test \"$(cat /who)\" = old\n"
        ),
        format!(
            "FROM acme/base:0.1.0\nRUN --mount=from={external},target=/m test \"$(cat /m/who)\" = old\n"
        ),
    ] {
        let request = Request { locked: vec![locked.clone()], ..bench.request(&dockerfile) };
        bench.build(&request).unwrap_or_else(|error| panic!("{dockerfile}{error:?}"));
        assert!(
            bench.build(&bench.request(&dockerfile)).is_err(),
            "the tag is another: {dockerfile}"
        );
    }
    let pinned = format!("{registry}/{repository}@{}", digests[1]);
    let locked = vec![Locked { platform: None, pinned, ..locked }];
    let request = bench.request(&format!("FROM {external}\n"));
    let refused = bench.build(&Request { locked, ..request });
    assert!(matches!(refused, Err(EngineError::Unsupported(_))), "{refused:?}");
    bench.assert_clean("after builds with pins");
}

/// buildah 1.28 looks only at the text of such a step.
#[test]
fn a_step_is_not_taken_from_the_cache_when_what_it_mounts_has_changed() {
    let Some(bench) = Bench::new() else { return };
    let context = bench.home.path().join("context");
    fs::create_dir_all(&context).unwrap();
    let dockerfile = "FROM acme/base:0.1.0 AS one\nCOPY file /file\n\
        FROM acme/base:0.1.0\nRUN --mount=type=bind,source=file,target=/f cat /f\n\
        RUN --mount=from=one,target=/m cat /m/file\n";
    for text in ["first", "other"] {
        fs::write(context.join("file"), text).unwrap();
        let files = entries(&context);
        let request = Request { files, context: context.clone(), ..bench.request(dockerfile) };
        let (built, lines) = bench.watch(&request);
        built.unwrap();
        let said: Vec<&String> = lines.iter().filter(|line| line.contains(text)).collect();
        assert_eq!(said.len(), 2, "{text}: {lines:?}");
    }
}

#[test]
fn a_base_that_moves_in_its_registry_rebuilds_exactly_what_reads_it_once_that_is_said() {
    let Ok(registry) = std::env::var("IMGRAPH_TEST_REGISTRY") else {
        return eprintln!("skipped: IMGRAPH_TEST_REGISTRY is not set");
    };
    let Some(bench) = Bench::new() else { return };
    let own = bench.home.path().file_name().unwrap().to_string_lossy().to_lowercase();
    let external = format!("{registry}/buildah-moves/{}:1", own.trim_matches(['.', '_', '-']));
    let publish = |who: &str| {
        let (id, names) = (bench.image(who), std::slice::from_ref(&external));
        bench.engine.tag(&id, names).unwrap();
        bench.engine.push(&id, names, &Cancel::default(), &mut |_| {}).unwrap();
    };
    let tree = Workspace::new(&format!(
        "
        //- images/base/Dockerfile
        FROM {external}
        //- images/child/Dockerfile
        FROM base
        RUN cp /who /copy
        //- images/other/Dockerfile
        FROM scratch
        COPY Dockerfile /
        "
    ));
    let store = tree.root().with_file_name("store");
    let conf = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/root\"\nrunroot = \"{0}/run\"\n",
        store.display()
    );
    fs::create_dir(&store).unwrap();
    fs::write(store.join("storage.conf"), conf).unwrap();
    let conf = store.join("storage.conf").display().to_string();
    let environment = [("CONTAINERS_STORAGE_CONF", &*conf), ("BUILDAH_ISOLATION", "chroot")];
    let rebuild = |arguments: &str| tree.rebuild_with("buildah", arguments, &environment).exits(0);
    publish("old");
    tree.imgraph("update").exits(0).mentions("base, and 1 image on it");
    assert_eq!(rebuild("--locked --json").ends(), ["base built", "child built", "other built"]);
    publish("new");
    rebuild("").mentions("nothing to do");
    tree.imgraph("update").exits(0).mentions("imgraph.lock: 1 moved");
    assert_eq!(rebuild("--json").ends(), ["base built", "child built"]);
    rebuild("").mentions("nothing to do");
}
