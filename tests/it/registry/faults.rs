//! What goes wrong, and what is made of it: refused, missing and not available are three things.

use std::time::Duration;

use super::front::{Fault, Response};
use super::*;

fn answer(status: u16, code: &str, message: &str) -> Fault {
    Fault::Answer(Response::refusal(status, code, message))
}

/// Asks where a tag points, with a fault in every answer.
fn find(fault: Fault) -> (String, usize) {
    let mut bench = Bench::new();
    let tag = bench.reference("a:1");
    bench.push(&Image::new(&["one"]), &tag).unwrap();
    bench.front.asked();
    if matches!(fault, Fault::Silent) {
        bench.is_impatient();
    }
    bench.front.spoils(usize::MAX, fault, |_| true);
    let error = bench.digest(&tag).unwrap_err();
    let asked = bench.front.asked().len();
    (bench.words(&error), asked)
}

#[test]
fn refused_missing_and_not_available_are_told_apart() {
    // Each takes as long as it is tried again.
    let cases = [
        (
            answer(401, "UNAUTHORIZED", "who are you"),
            "HOST does not let us read PLACE/a: 401 Unauthorized; `docker login HOST` logs in",
            1,
        ),
        (
            answer(403, "DENIED", "not you"),
            "HOST does not let us read PLACE/a: 403 Forbidden; `docker login HOST` logs in",
            1,
        ),
        (answer(404, "MANIFEST_UNKNOWN", "x"), "HOST has no manifest HOST/PLACE/a:1", 1),
        (answer(500, "UNKNOWN", "oh"), "HOST is not available: 500 Internal Server Error", 3),
        (answer(503, "UNAVAILABLE", "oh"), "HOST is not available: 503 Service Unavailable", 3),
        (answer(429, "TOOMANYREQUESTS", "slow"), "HOST is not available: 429 Too Many Requests", 3),
        (
            answer(400, "NAME_INVALID", "x"),
            "HOST refuses manifest HOST/PLACE/a:1: 400 Bad Request",
            1,
        ),
        (Fault::Silent, "HOST is not available: it was silent for 0.3 s", 3),
        (
            Fault::Header("content-type", "text/html"),
            "HOST does not send manifest HOST/PLACE/a:1: what comes is text/html",
            3,
        ),
    ];
    std::thread::scope(|scope| {
        for (fault, says, asked) in cases {
            scope.spawn(move || {
                let (words, times) = find(fault);
                assert_eq!((&*words, times), (says, asked));
            });
        }
    });
}

#[test]
fn what_a_registry_says_is_quoted_where_it_says_something() {
    let bench = Bench::new();
    bench.front.spoils(usize::MAX, answer(403, "DENIED", "the quota is used up"), |_| true);
    let read = bench.ask(|watch| bench.registry.manifest(&bench.reference("a:1"), watch)).0;
    assert!(
        bench.words(&read.unwrap_err()).contains(": 403 DENIED: the quota is used up; "),
        "a GET has a body"
    );
}

#[test]
fn a_passing_fault_is_outlived_and_told() {
    for fault in [answer(500, "UNKNOWN", "oh"), answer(429, "TOOMANYREQUESTS", ""), Fault::Silent] {
        let mut bench = Bench::new();
        let tag = bench.reference("a:1");
        let image = Image::new(&["one"]);
        bench.push(&image, &tag).unwrap();
        bench.is_impatient();
        bench.front.spoils(1, fault, |_| true);
        let (found, notes) = bench.ask(|watch| bench.registry.find(&tag, watch));
        assert_eq!(found.unwrap().digest, image.digest());
        assert!(notes[0].ends_with("; asking again in 0.5 s"), "{notes:?}");
        assert_eq!(notes.len(), 1, "{notes:?}");
    }
}

#[test]
fn a_registry_is_given_the_time_that_it_wants_unless_that_is_too_long() {
    let busy = |after: &str| {
        Fault::Answer(Response::refusal(429, "TOOMANYREQUESTS", "").with("retry-after", after))
    };
    let bench = Bench::new();
    let tag = bench.reference("a:1");
    bench.push(&Image::new(&["one"]), &tag).unwrap();
    bench.front.spoils(1, busy("1"), |_| true);
    let (found, notes) = bench.ask(|watch| bench.registry.find(&tag, watch));
    found.unwrap();
    assert_eq!(notes, ["HOST is not available: 429 Too Many Requests; asking again in 1 s"]);
    bench.front.spoils(1, busy("21600"), |_| true);
    let (found, notes) = bench.ask(|watch| bench.registry.find(&tag, watch));
    assert_eq!(
        bench.words(&found.unwrap_err()),
        "HOST is not available: 429 Too Many Requests; it wants us to wait for 21600 s"
    );
    assert_eq!(notes, [""; 0]);
}

#[test]
fn a_slow_registry_is_waited_for() {
    let bench = Bench::new();
    let tag = bench.reference("a:1");
    bench.push(&Image::new(&["one"]), &tag).unwrap();
    bench.front.spoils(3, Fault::Slow(Duration::from_millis(100)), |_| true);
    let (read, notes) = bench.ask(|watch| bench.registry.manifest(&tag, watch));
    read.unwrap();
    assert_eq!(notes, [""; 0]);
}

#[test]
fn a_manifest_that_is_not_what_it_is_called_is_never_believed() {
    for (fault, says) in [
        (Fault::Spoilt, "HOST does not send manifest HOST/PLACE/a:1: what comes is sha256:"),
        (Fault::Cut(20), "HOST is not available: the connection broke: "),
        (
            Fault::Header("content-type", INDEX),
            "HOST does not send manifest HOST/PLACE/a:1: what comes as \
             application/vnd.oci.image.index.v1+json says that it is another type",
        ),
    ] {
        let mut bench = Bench::new();
        let tag = bench.reference("a:1");
        let image = Image::new(&["one"]);
        bench.push(&image, &tag).unwrap();
        bench.front.spoils(3, fault.clone(), |_| true);
        let read = bench.ask(|watch| bench.registry.manifest(&tag, watch)).0;
        let words = bench.words(&read.unwrap_err());
        assert!(words.starts_with(says), "{words}");
        // Nothing of it is kept, and once it is well all is.
        bench.forget();
        bench.front.spoils(1, fault, |_| true);
        let read = bench.ask(|watch| bench.registry.manifest(&tag, watch)).0;
        assert_eq!(read.unwrap().bytes, image.manifest);
    }
}

#[test]
fn the_rest_of_a_blob_is_asked_for_and_not_all_of_it_again() {
    Bench::each(|bench| {
        let blob: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let to = bench.reference("a");
        bench.send(&to, std::slice::from_ref(&blob)).unwrap();
        bench.front.asked();
        bench.front.spoils(1, Fault::Cut(150_000), |request| request.method == "GET");
        let (digest, size) = (OciDigest::of_content(&blob), blob.len() as u64);
        let mut bytes = Vec::new();
        let (read, notes) =
            bench.ask(|watch| bench.registry.read_blob(&to, (&digest, size), &mut bytes, watch));
        read.unwrap();
        assert!(bytes == blob && notes.len() == 1, "{notes:?}");
        let asked = bench.front.asked();
        assert_eq!(asked.len(), 2);
        let from: u64 = asked[1].header("range")[6..].trim_end_matches('-').parse().unwrap();
        assert!((1..=150_000).contains(&from), "{from}");
    });
}

#[test]
fn a_blob_that_is_not_what_it_is_called_is_an_error() {
    let bench = Bench::new();
    let to = bench.reference("a");
    bench.send(&to, &[b"one".to_vec()]).unwrap();
    bench.front.spoils(usize::MAX, Fault::Spoilt, |_| true);
    let digest = OciDigest::of_content(b"one");
    let read = |watch: Watch<'_>| bench.registry.document(&to, (&digest, 3), watch);
    let error = bench.ask(read).0.unwrap_err();
    assert!(matches!(error, RegistryError::Wrong { .. }) && error.is_transient(), "{error}");
    bench.front.is_well();
    assert_eq!(bench.ask(read).0.unwrap(), b"one");
}

/// A blob that is sent in pieces.
fn large() -> Vec<u8> {
    (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// Sends a large blob while the connection breaks, and returns the pieces that were sent.
fn interrupted(bench: &Bench) -> Vec<front::Request> {
    let blob = large();
    let cut = Fault::CutRequest(3_000_000);
    bench.front.spoils(1, cut, |request| request.method == "PATCH");
    let to = bench.reference("a");
    assert_eq!(bench.send(&to, std::slice::from_ref(&blob)).unwrap(), [Sent::Uploaded]);
    let asked = bench.front.asked();
    let (digest, size) = (OciDigest::of_content(&blob), blob.len() as u64);
    let mut bytes = Vec::new();
    bench.ask(|watch| bench.registry.read_blob(&to, (&digest, size), &mut bytes, watch)).0.unwrap();
    assert!(bytes == blob);
    asked.into_iter().filter(|request| request.method == "PATCH").collect()
}

#[test]
fn an_upload_that_breaks_goes_on_where_the_registry_stands() {
    let pieces = interrupted(&Bench::new());
    assert_eq!(pieces.len(), 2);
    assert_eq!(pieces[1].header("content-range"), "3000000-7999999");
    assert_eq!(pieces[1].body.len(), 5_000_000);
}

/// distribution 2.8 gives up what was interrupted in the middle of a piece.
#[test]
fn an_upload_that_breaks_begins_anew_where_the_registry_gave_it_up() {
    Bench::each(|bench| assert_eq!(interrupted(bench).len(), 2));
}

#[test]
fn an_upload_that_is_forgotten_or_comes_out_wrong_begins_anew() {
    for fault in [
        answer(404, "BLOB_UPLOAD_UNKNOWN", "gone"),
        answer(400, "DIGEST_INVALID", "wrong"),
        answer(500, "UNKNOWN", "oh"),
    ] {
        let bench = Bench::new();
        bench.front.spoils(1, fault, |request| request.method == "PUT");
        let to = bench.reference("a");
        for blob in [large(), b"small".to_vec()] {
            assert_eq!(bench.send(&to, &[blob]).unwrap(), [Sent::Uploaded]);
        }
        let begun = bench.front.count("POST");
        assert_eq!(begun, 3);
    }
}

#[test]
fn an_upload_that_cannot_end_is_an_error_that_says_why() {
    for (fault, says, transient) in [
        (answer(507, "UNKNOWN", "no space"), "HOST is not available: 507 UNKNOWN: no space", true),
        (
            answer(413, "SIZE_INVALID", "too large"),
            "HOST refuses an upload to PLACE/a: 413 SIZE_INVALID: too large",
            false,
        ),
        (
            answer(403, "DENIED", "read-only"),
            "HOST does not let us push to PLACE/a: 403 DENIED: read-only; `docker login HOST` logs in",
            false,
        ),
    ] {
        let bench = Bench::new();
        bench.front.spoils(usize::MAX, fault, |request| request.method == "PUT");
        let error = bench.send(&bench.reference("a"), &[b"one".to_vec()]).unwrap_err();
        assert_eq!((&*bench.words(&error), error.is_transient()), (says, transient));
    }
}

#[test]
fn a_registry_that_makes_something_else_of_a_manifest_is_not_believed() {
    let bench = Bench::new();
    let image = Image::new(&["one"]);
    let tag = bench.reference("a:1");
    bench.send(&tag, &image.blobs).unwrap();
    let other = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let fault = Fault::Header("docker-content-digest", other);
    bench.front.spoils(usize::MAX, fault, |request| request.method == "PUT");
    let error = bench.push(&image, &tag).unwrap_err();
    let words = bench.words(&error);
    assert!(words.contains("it has made sha256:0000"), "{words}");
}

#[test]
fn a_registry_that_is_not_there_is_not_available() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    drop(listener);
    let bench = Bench::new();
    let (found, notes) =
        bench.ask(|watch| bench.registry.find(&format!("{host}/a:1").parse().unwrap(), watch));
    let words = found.unwrap_err().to_string();
    assert!(words.starts_with(&format!("{host} is not available: cannot connect")), "{words}");
    assert_eq!(notes.len(), 2);
}
