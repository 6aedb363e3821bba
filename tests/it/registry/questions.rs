//! What is sent comes back, and no more is asked than has to be.

use super::*;

#[test]
fn what_is_pushed_comes_back_and_is_not_sent_twice() {
    Bench::each(|bench| {
        let image = Image::new(&["one", "two"]);
        let tag = bench.reference("a:1");
        assert_eq!(bench.push(&image, &tag).unwrap(), [Sent::Uploaded; 3]);
        assert_eq!(bench.digest(&tag).unwrap(), image.digest());
        let manifest = bench.ask(|watch| bench.registry.manifest(&tag, watch)).0.unwrap();
        assert_eq!((manifest.bytes, &*manifest.media_type), (image.manifest.clone(), MANIFEST));
        let layer = OciDigest::of_content(b"two");
        let mut bytes = Vec::new();
        let read =
            |watch: Watch<'_>| bench.registry.read_blob(&tag, (&layer, 3), &mut bytes, watch);
        bench.ask(read).0.unwrap();
        assert_eq!(bytes, b"two");

        bench.front.asked();
        assert_eq!(bench.push(&image, &bench.reference("a:2")).unwrap(), [Sent::There; 3]);
        let asked: Vec<String> = bench.front.asked().iter().map(front::Request::line).collect();
        assert_eq!(asked, [format!("PUT /v2/{}/a/manifests/2", bench.place)], "all else is known");
        let tags = bench.ask(|watch| bench.registry.tags(&tag, watch)).0.unwrap();
        assert_eq!(tags, ["1", "2"]);
    });
}

#[test]
fn a_blob_of_another_repository_is_mounted() {
    Bench::each(|bench| {
        bench.push(&Image::new(&["base"]), &bench.reference("base:1")).unwrap();
        let child = Image::new(&["base", "child"]);
        bench.front.asked();
        let sent = bench.push(&child, &bench.reference("child:1")).unwrap();
        assert_eq!(sent, [Sent::Uploaded, Sent::Mounted, Sent::Uploaded]);
        assert_eq!(bench.front.count("POST /v2/"), 3);
    });
}

#[test]
fn another_process_mounts_from_where_it_is_told() {
    let mut bench = Bench::new();
    let base = [b"base".to_vec()];
    bench.send(&bench.reference("base:1"), &base).unwrap();
    bench.forget();
    let mut parcels = bench.parcels(&base);
    // The first of them does not have it: then its bytes are sent.
    for (elsewhere, expected) in [("nowhere", Sent::Uploaded), ("base", Sent::Mounted)] {
        parcels[0].elsewhere = vec![format!("{}/{elsewhere}", bench.place)];
        let to = bench.reference(&format!("child-{elsewhere}:1"));
        let parcels = parcels.clone();
        bench.forget();
        let sent = bench.ask(|watch| bench.registry.send(&to, parcels, watch)).0.unwrap();
        assert_eq!(sent, [expected]);
    }
}

#[test]
fn an_index_comes_after_what_it_names() {
    Bench::each(|bench| {
        let image = Image::new(&["one"]);
        let tag = bench.reference("a:1");
        let entry = json!({
            "mediaType": MANIFEST,
            "digest": image.digest().as_str(),
            "size": image.manifest.len(),
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
        let index = index.to_string().into_bytes();
        let put = |watch: Watch<'_>| bench.registry.put_manifest(&tag, (INDEX, &index), watch);
        let refused = bench.ask(put).0.unwrap_err();
        assert!(matches!(refused, RegistryError::Refused { status: 400, .. }), "{refused}");
        bench.send(&tag, &image.blobs).unwrap();
        let digest = Some(image.digest());
        let by_digest = Reference { tag: None, digest, ..tag.clone() };
        let part = |watch: Watch<'_>| {
            bench.registry.put_manifest(&by_digest, (MANIFEST, &image.manifest), watch)
        };
        bench.ask(part).0.unwrap();
        bench.ask(put).0.unwrap();
        assert_eq!(bench.digest(&tag).unwrap(), OciDigest::of_content(&index));
        assert_eq!(bench.digest(&by_digest).unwrap(), image.digest());
    });
}

#[test]
fn all_pages_of_tags_are_read() {
    Bench::each(|bench| {
        let image = Image::new(&["one"]);
        let names: Vec<String> = (10..20).map(|number| format!("v{number}")).collect();
        for name in &names {
            bench.push(&image, &bench.reference(&format!("a:{name}"))).unwrap();
        }
        let tags = |watch: Watch<'_>| bench.registry.tags(&bench.reference("a"), watch);
        assert_eq!(bench.ask(tags).0.unwrap(), names);
    });
}

#[test]
fn what_never_changes_is_asked_once_and_a_tag_each_time() {
    let mut bench = Bench::new();
    let (old, new) = (Image::new(&["old"]), Image::new(&["new"]));
    let tag = bench.reference("a:1");
    bench.push(&old, &tag).unwrap();
    let digest = Some(old.digest());
    let fixed = Reference { tag: None, digest, ..tag.clone() };
    for _ in 0..2 {
        bench.ask(|watch| bench.registry.manifest(&fixed, watch)).0.unwrap();
        bench.forget();
    }
    assert_eq!(bench.front.count("GET"), 1);
    bench.push(&new, &tag).unwrap();
    let moved = bench.ask(|watch| bench.registry.manifest(&tag, watch)).0.unwrap();
    assert_eq!(moved.digest, new.digest());
}

#[test]
fn connections_are_used_again_and_are_few() {
    let bench = Bench::new();
    let blobs: Vec<Vec<u8>> = (0..40_u8).map(|number| vec![number; 100]).collect();
    bench.send(&bench.reference("a"), &blobs).unwrap();
    assert_eq!(bench.front.asked().len(), 120, "asked for, begun, ended");
    // One was to find out about TLS.
    assert!(bench.front.connections() <= 9, "{}", bench.front.connections());
}

#[test]
fn cancelling_ends_a_question_at_once() {
    let bench = Bench::new();
    bench.front.spoils(1, front::Fault::Slow(std::time::Duration::from_millis(250)), |_| true);
    let cancel = Cancel::default();
    cancel.raise();
    let watch = Watch { cancel: &cancel, say: &mut |_| {} };
    let asked = bench.registry.find(&bench.reference("a:1"), watch);
    assert!(matches!(asked, Err(RegistryError::Cancelled)), "{asked:?}");
}
