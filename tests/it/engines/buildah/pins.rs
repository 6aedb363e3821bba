//! Parents are what the run says, wherever the tags point.

use super::*;

/// Builds with `reference` pinned to an image whose `/who` is `pinned`, while a tag of that name in
/// the store, if it can have one, points at another.
fn who(dockerfile: &str, reference: &str) -> Option<Result<Vec<String>, EngineError>> {
    let bench = Bench::new()?;
    let pinned = bench.image("pinned");
    let other = bench.image("other");
    bench.engine.tag(&other, &[reference.to_owned()]).unwrap();
    let request =
        Request { parents: vec![bench.parent(reference, &pinned)], ..bench.request(dockerfile) };
    let (built, lines) = bench.watch(&request);
    bench.assert_clean("after a build with a pinned parent");
    Some(built.map(|_| lines))
}

fn assert_pinned(dockerfile: &str, reference: &str) {
    let Some(lines) = who(dockerfile, reference) else { return };
    let lines = lines.unwrap();
    assert!(lines.contains(&"| pinned".to_owned()), "{dockerfile}: {lines:?}");
    assert!(!lines.contains(&"| other".to_owned()), "{dockerfile}: {lines:?}");
}

#[test]
fn from() {
    assert_pinned("FROM acme/p:1\nRUN cat /who\n", "acme/p:1");
}

#[test]
fn from_without_a_tag() {
    assert_pinned("FROM acme/p\nRUN cat /who\n", "acme/p");
}

#[test]
fn from_with_a_registry() {
    assert_pinned("FROM docker.io/acme/p:1\nRUN cat /who\n", "docker.io/acme/p:1");
}

#[test]
fn from_with_a_platform() {
    let dockerfile = format!("FROM --platform={} acme/p:1\nRUN cat /who\n", Platform::host());
    assert_pinned(&dockerfile, "acme/p:1");
}

#[test]
fn from_in_a_stage_that_another_is_built_on() {
    assert_pinned("FROM acme/p:1 AS one\nRUN true\nFROM one\nRUN cat /who\n", "acme/p:1");
}

#[test]
fn copy_from() {
    assert_pinned("FROM acme/base:0.1.0\nCOPY --from=acme/p:1 /who /w\nRUN cat /w\n", "acme/p:1");
}

#[test]
fn run_mount_from() {
    let dockerfile =
        "FROM acme/base:0.1.0\nRUN --mount=type=bind,from=acme/p:1,target=/m cat /m/who\n";
    assert_pinned(dockerfile, "acme/p:1");
}

#[test]
fn a_pin_that_would_replace_a_stage_is_refused() {
    let Some(result) = who("FROM acme/base:0.1.0 AS p\nRUN true\nFROM p\nRUN cat /who\n", "p")
    else {
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
    let (built, lines) = bench.watch(&bench.request("FROM acme/base:0.1.0\nRUN echo found\n"));
    built.unwrap();
    assert!(lines.contains(&"| found".to_owned()), "{lines:?}");
    let names = bench.buildah(&["images", "--format={{.Name}}:{{.Tag}}", "acme/base:0.1.0"]);
    assert_eq!(names.trim(), "localhost/acme/base:0.1.0");
}
