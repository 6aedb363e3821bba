//! What the store says: presence, tags, removal.

use imgraph::engine::Presence;

use super::*;

#[test]
fn present_untagged_and_missing_are_told_apart_in_one_question() {
    let Some(bench) = Bench::new() else { return };
    let request = Request {
        references: vec![
            "acme/a:ig-1".into(),
            "registry.example/a".into(),
            "docker.io/busybox".into(),
        ],
        ..bench.request("FROM acme/base:0.1.0\nRUN echo a > /a\n")
    };
    let a = bench.build(&request).unwrap().output;
    assert_eq!(a.references, request.references);
    let mut moved = a.clone();
    moved.references.push("acme/a:new".into());
    moved.references.push("acme/base:0.1.0".into());
    let mut gone = a.clone();
    gone.id = format!("sha256:{}", "1".repeat(64)).parse().unwrap();
    let present = bench.engine.present(&[&gone, &a, &moved]).unwrap();
    let references = vec!["acme/a:new".into(), "acme/base:0.1.0".into()];
    assert_eq!(present, [Presence::Missing, Presence::Present, Presence::Untagged { references }]);
}

#[test]
fn what_was_built_is_described_as_the_program_describes_it() {
    let Some(bench) = Bench::new() else { return };
    let request = bench.request("FROM acme/base:0.1.0\nRUN echo a > /a\nCMD [\"x\"]\n");
    let output = bench.build(&request).unwrap().output;
    let document = bench.buildah(&["inspect", "--type=image", output.id.hex()]);
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    assert_eq!(document["FromImageID"], output.id.hex());
    assert_eq!(document["FromImageDigest"], output.manifest.unwrap().as_str());
    let diff_ids: Vec<&str> = output.diff_ids.iter().map(OciDigest::as_str).collect();
    assert_eq!(document["OCIv1"]["rootfs"]["diff_ids"], serde_json::json!(diff_ids));
    assert!(output.size > bench.base.output.size, "{} bytes", output.size);
}

#[test]
fn tags_are_moved() {
    let Some(bench) = Bench::new() else { return };
    let (one, two) = (bench.image("one"), bench.image("two"));
    bench.engine.tag(&one, &["acme/x:1".into(), "acme/y:1".into()]).unwrap();
    bench.engine.tag(&two, &["acme/x:1".into()]).unwrap();
    let of =
        |name: &str| bench.buildah(&["images", "--quiet", "--no-trunc", name]).trim().to_owned();
    assert_eq!(of("acme/x:1"), two.to_string());
    assert_eq!(of("acme/y:1"), one.to_string());
}

#[test]
fn only_an_image_without_references_is_removed() {
    let Some(bench) = Bench::new() else { return };
    let (one, two) = (bench.image("one"), bench.image("two"));
    bench.engine.tag(&one, &["acme/keep:1".into()]).unwrap();
    let child = Request {
        parents: vec![parent("acme/p", &two)],
        references: vec!["acme/child:1".into()],
        ..bench.request("FROM acme/p\nRUN cat /who > /copy\n")
    };
    let child = bench.build(&child).unwrap().output;
    for id in [&one, &two, &bench.base.output.id] {
        bench.engine.remove(id).unwrap();
    }
    let ids = bench.buildah(&["images", "--all", "--quiet", "--no-trunc"]);
    let is_there = |id: &OciDigest| ids.contains(id.hex());
    assert!(is_there(&one) && is_there(&bench.base.output.id), "they have references");
    assert!(!is_there(&two), "it has none");
    let dockerfile = "FROM acme/child:1\nRUN test \"$(cat /copy)\" = two\n";
    bench.build(&bench.request(dockerfile)).unwrap();
    assert_eq!(bench.engine.present(&[&child]).unwrap(), [Presence::Present]);
    bench.engine.remove(&two).unwrap();
}

#[test]
fn an_image_is_not_removed_while_a_build_runs() {
    let Some(bench) = Bench::new() else { return };
    let one = bench.image("one");
    let request = bench.request("FROM acme/base:0.1.0\nRUN echo now; sleep 0.1\n");
    let mut seen = None;
    bench
        .engine
        .build(&request, &Cancel::default(), &mut |progress| {
            if shown(&progress) == "| now" {
                bench.engine.remove(&one).unwrap();
                seen = Some(bench.buildah(&["images", "--all", "--quiet", "--no-trunc"]));
            }
        })
        .unwrap();
    assert!(seen.unwrap().contains(one.hex()), "removed at once");
    let after = bench.buildah(&["images", "--all", "--quiet", "--no-trunc"]);
    assert!(!after.contains(one.hex()), "never removed");
}

#[test]
fn builds_at_the_same_time_do_not_disturb_each_other() {
    let Some(bench) = Bench::new() else { return };
    std::thread::scope(|scope| {
        let build = |number: usize| {
            let dockerfile = format!(
                "FROM acme/base:0.1.0\nRUN echo {number} > /n\nRUN test $(cat /n) = {number}\n"
            );
            bench.build(&bench.request(&dockerfile))
        };
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || build(number))).collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    bench.assert_clean("after four builds at once");
}
