//! Parents are what the run says, wherever the tags point.

use super::*;

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
