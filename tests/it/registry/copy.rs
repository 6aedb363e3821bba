//! Images from one repository to another.

use imgraph::registry::copy::{Copied, Route};

use super::front::{Fault, Response};
use super::*;

/// One way of an image, between two registries or within one.
struct Way<'a> {
    from: (&'a Bench, &'a str),
    to: (&'a Bench, &'a str),
    tags: &'a [&'a str],
}

impl Way<'_> {
    /// Copies what the source has under `1`. No file is left, whatever happens.
    fn copy(&self) -> (Result<Copied, RegistryError>, Vec<String>) {
        let (cancel, mut notes) = (Cancel::default(), Vec::new());
        let copied = self.copy_until(&cancel, &mut |note| notes.push(note));
        (copied, notes)
    }

    fn copy_until(
        &self,
        cancel: &Cancel,
        say: &mut dyn FnMut(String),
    ) -> Result<Copied, RegistryError> {
        let from = self.from.0.reference(&format!("{}:1", self.from.1));
        let digest = self.from.0.digest(&from).unwrap();
        let from = Reference { tag: None, digest: Some(digest), ..from };
        let to = self.to.0.reference(self.to.1);
        let tags: Vec<String> = self.tags.iter().map(|&tag| tag.to_owned()).collect();
        let scratch = tempfile::tempdir().unwrap();
        for bench in [self.from.0, self.to.0] {
            bench.front.asked();
        }
        let route = Route { from: &from, to: &to, tags: &tags, scratch: scratch.path() };
        let copied = self.from.0.registry.copy(&route, Watch { cancel, say });
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "files are left");
        copied
    }

    fn copies(&self) -> Copied {
        self.copy().0.unwrap()
    }

    /// What the target has now under a tag.
    fn has(&self, tag: &str) -> Option<OciDigest> {
        self.to.0.digest(&self.to.0.reference(&format!("{}:{tag}", self.to.1))).ok()
    }
}

/// Requests that carry something, without the place.
fn writes(bench: &Bench) -> Vec<String> {
    let asked =
        bench.front.asked().into_iter().filter(|it| !["GET", "HEAD"].contains(&&*it.method));
    asked.map(|it| it.line().replace(&format!("/v2/{}/", bench.place), "")).collect()
}

fn bytes_of(image: &Image) -> u64 {
    image.blobs.iter().map(|blob| blob.len() as u64).sum()
}

/// Two registries: in memory, and the other one a real one where there is one.
fn each_two(test: impl Fn(&Bench, &Bench)) {
    test(&Bench::new(), &Bench::new());
    if let Ok(host) = std::env::var("IMGRAPH_TEST_REGISTRY") {
        let real = || Bench::with(Behind::Registry(host.clone()), &BTreeMap::new());
        test(&Bench::new(), &real());
        test(&real(), &Bench::new());
    }
}

#[test]
fn within_one_registry_no_bytes_move() {
    Bench::each(|bench| {
        let image = Image::new(&["one", "two"]);
        bench.push(&image, &bench.reference("a:1")).unwrap();
        let way = Way { from: (bench, "a"), to: (bench, "prod/a"), tags: &["2", "latest"] };
        assert_eq!(way.copies(), Copied { mounted: 3, ..Copied::default() });
        let asked = bench.front.asked();
        let reads_blobs = |it: &&front::Request| it.method == "GET" && it.path.contains("/blobs/");
        assert_eq!(asked.iter().filter(reads_blobs).count(), 0);
        assert!(asked.iter().all(|it| it.body.len() <= image.manifest.len()));
        for tag in ["2", "latest"] {
            assert_eq!(way.has(tag), Some(image.digest()), "{tag}");
        }
        let there = bench.reference("prod/a:2");
        let manifest = bench.ask(|watch| bench.registry.manifest(&there, watch)).0.unwrap();
        assert_eq!((manifest.bytes, &*manifest.media_type), (image.manifest, MANIFEST));
    });
}

#[test]
fn an_index_goes_with_all_that_it_names_and_tags_move_last_in_their_order() {
    Bench::each(|bench| {
        let index = bench.publish("a:1", &[("linux/amd64", "one"), ("linux/arm64", "two")]);
        let way = Way { from: (bench, "a"), to: (bench, "b"), tags: &["z", "a", "m"] };
        assert_eq!(way.copies(), Copied { mounted: 4, ..Copied::default() });
        let writes = writes(bench);
        let manifests: Vec<&String> = writes.iter().filter(|it| it.starts_with("PUT")).collect();
        let [one, two, all, tags @ ..] = &manifests[..] else { panic!("{writes:?}") };
        assert_eq!(**all, format!("PUT b/manifests/{index}"));
        assert!(
            one != two && [one, two].iter().all(|it| it.starts_with("PUT b/manifests/sha256:"))
        );
        assert_eq!(tags, ["PUT b/manifests/z", "PUT b/manifests/a", "PUT b/manifests/m"]);
        assert_eq!(way.has("m"), Some(index));
    });
}

#[test]
fn what_is_there_is_asked_for_only() {
    Bench::each(|bench| {
        bench.publish("a:1", &[("linux/amd64", "one"), ("linux/arm64", "two")]);
        let way = Way { from: (bench, "a"), to: (bench, "b"), tags: &[] };
        way.copies();
        assert_eq!(way.copies(), Copied { present: 4, ..Copied::default() });
        assert_eq!(writes(bench), [""; 0]);
    });
}

#[test]
fn which_tags_do_not_point_there_is_told() {
    let bench = Bench::new();
    let (one, two) = (Image::new(&["one"]), Image::new(&["two"]));
    bench.push(&one, &bench.reference("a:1")).unwrap();
    bench.push(&two, &bench.reference("a:2")).unwrap();
    let tags = ["1", "2", "3"].map(str::to_owned);
    for (repository, lacking) in [("a", &["2", "3"][..]), ("nowhere", &["1", "2", "3"])] {
        let at = bench.reference(repository);
        let ask = |watch: Watch<'_>| bench.registry.lacking(&at, (&tags, &one.digest()), watch);
        assert_eq!(bench.ask(ask).0.unwrap(), lacking);
    }
}

#[test]
fn other_tags_of_the_same_repository_take_one_document() {
    Bench::each(|bench| {
        let image = Image::new(&["one"]);
        bench.push(&image, &bench.reference("a:1")).unwrap();
        let way = Way { from: (bench, "a"), to: (bench, "a"), tags: &["stable"] };
        assert_eq!(way.copies(), Copied::default());
        let asked: Vec<String> = bench.front.asked().iter().map(front::Request::line).collect();
        let at = format!("/v2/{}/a/manifests", bench.place);
        assert_eq!(asked, [format!("GET {at}/{}", image.digest()), format!("PUT {at}/stable")]);
        assert_eq!(way.has("stable"), Some(image.digest()));
    });
}

#[test]
fn where_a_registry_mounts_nothing_the_bytes_are_sent() {
    let refusal = Response::refusal(403, "DENIED", "no mounts");
    for fault in [Fault::Unheard, Fault::Answer(refusal)] {
        let mut bench = Bench::new();
        let image = Image::new(&["one", "two"]);
        bench.push(&image, &bench.reference("a:1")).unwrap();
        bench.forget();
        bench.front.spoils(usize::MAX, fault, |request| request.path.contains("mount="));
        let way = Way { from: (&bench, "a"), to: (&bench, "b"), tags: &["1"] };
        assert_eq!(way.copies(), Copied { sent: 3, bytes: bytes_of(&image), ..Copied::default() });
        assert_eq!(way.has("1"), Some(image.digest()));
    }
}

#[test]
fn between_registries_all_bytes_are_sent_once() {
    each_two(|here, there| {
        let (base, child) = (Image::new(&["base"]), Image::new(&["base", "child"]));
        here.push(&base, &here.reference("base:1")).unwrap();
        here.push(&child, &here.reference("child:1")).unwrap();
        let way = Way { from: (here, "base"), to: (there, "base"), tags: &["1"] };
        let all = Copied { sent: 2, bytes: bytes_of(&base), ..Copied::default() };
        assert_eq!(way.copies(), all);
        assert_eq!(way.has("1"), Some(base.digest()));
        let way = Way { from: (here, "child"), to: (there, "child"), tags: &["1"] };
        let Copied { mounted, sent, present, .. } = way.copies();
        assert_eq!((mounted, sent, present), (1, 2, 0), "the layer of the parent is there");
        assert_eq!(way.has("1"), Some(child.digest()));
    });
}

#[test]
fn what_breaks_off_goes_on() {
    let (here, there) = (Bench::new(), Bench::new());
    let image = Image::new(&["a rather long layer", "two"]);
    here.push(&image, &here.reference("a:1")).unwrap();
    here.front.spoils(2, Fault::Cut(1), |it| it.method == "GET" && it.path.contains("/blobs/"));
    let broken = Fault::Answer(Response::refusal(502, "UNKNOWN", "oh"));
    there.front.spoils(1, broken, |request| request.method == "PUT");
    let way = Way { from: (&here, "a"), to: (&there, "a"), tags: &["1"] };
    let (copied, notes) = way.copy();
    assert_eq!(copied.unwrap().sent, 3);
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert_eq!(way.has("1"), Some(image.digest()));
}

#[test]
fn nothing_goes_out_that_is_not_what_its_digest_says() {
    let (here, there) = (Bench::new(), Bench::new());
    let image = Image::new(&["one"]);
    here.push(&image, &here.reference("a:1")).unwrap();
    let layer = OciDigest::of_content(b"one").to_string();
    here.front.spoils(1, Fault::Spoilt, move |it| it.method == "GET" && it.path.ends_with(&layer));
    let way = Way { from: (&here, "a"), to: (&there, "a"), tags: &["1"] };
    let error = way.copy().0.unwrap_err();
    assert!(matches!(error, RegistryError::Wrong { .. }), "{error}");
    let sent =
        there.front.asked().iter().any(|it| it.body == b"eno" || it.path.contains("manifests/1"));
    assert!(!sent);
    assert_eq!(way.has("1"), None);
}

#[test]
fn a_tag_stays_where_something_of_the_image_is_refused() {
    for part in ["/blobs/uploads/", "/manifests/sha256"] {
        let (here, there) = (Bench::new(), Bench::new());
        here.publish("a:1", &[("linux/amd64", "one")]);
        let denied = Fault::Answer(Response::refusal(403, "DENIED", "no"));
        let is_it = move |it: &front::Request| it.path.contains(part) && it.method != "HEAD";
        there.front.spoils(usize::MAX, denied, is_it);
        let way = Way { from: (&here, "a"), to: (&there, "a"), tags: &["1"] };
        let error = way.copy().0.unwrap_err();
        assert!(matches!(error, RegistryError::Auth { .. }), "{error}");
        assert_eq!(writes(&there).iter().filter(|it| it.ends_with("manifests/1")).count(), 0);
        assert_eq!(way.has("1"), None);
    }
}

#[test]
fn an_image_that_the_source_has_lost_a_part_of_is_missing() {
    let (here, there) = (Bench::new(), Bench::new());
    here.publish("a:1", &[("linux/amd64", "one"), ("linux/arm64", "two")]);
    let child = Image::new(&["two"]).digest().to_string();
    let gone = Fault::Answer(Response::refusal(404, "MANIFEST_UNKNOWN", "gone"));
    here.front.spoils(usize::MAX, gone, move |it| it.path.ends_with(&child));
    let way = Way { from: (&here, "a"), to: (&there, "a"), tags: &["1"] };
    assert!(way.copy().0.unwrap_err().is_missing());
    assert_eq!(writes(&there), [""; 0]);
}

#[test]
fn a_copy_can_be_cancelled() {
    let (here, there) = (Bench::new(), Bench::new());
    here.push(&Image::new(&["one"]), &here.reference("a:1")).unwrap();
    let busy = Fault::Answer(Response::refusal(503, "UNAVAILABLE", "later"));
    there.front.spoils(usize::MAX, busy, |request| request.method == "PUT");
    let way = Way { from: (&here, "a"), to: (&there, "a"), tags: &["1"] };
    let cancel = Cancel::default();
    let error = way.copy_until(&cancel, &mut |_| cancel.raise()).unwrap_err();
    assert!(matches!(error, RegistryError::Cancelled), "{error}");
    assert_eq!(way.has("1"), None);
}

#[test]
fn a_token_for_both_repositories_is_asked_for() {
    let mut bench = Bench::new();
    let image = Image::new(&["one"]);
    bench.push(&image, &bench.reference("a:1")).unwrap();
    bench.forget();
    bench.front.wants(front::Guard::Token(None));
    let way = Way { from: (&bench, "a"), to: (&bench, "b"), tags: &["1"] };
    assert_eq!(way.copies(), Copied { mounted: 2, ..Copied::default() });
    assert_eq!(way.has("1"), Some(image.digest()));
}
