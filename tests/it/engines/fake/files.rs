//! What a daemon asks of the context, and gets or does not.

use std::fs;
use std::sync::mpsc;

use imgraph::engine::{EngineError, Request};
use tonic::{Code, Status};

use super::session::Received;
use super::{Bench, HANGS};

/// A context with two files and a directory.
fn bench() -> Bench {
    let bench = Bench::new();
    fs::write(bench.context().join("a"), "text of a").unwrap();
    fs::create_dir(bench.context().join("src")).unwrap();
    fs::write(bench.context().join("src/b"), "text of b").unwrap();
    bench
}

/// Asks for paths of a directory while it builds, and fails as a daemon does where that is refused.
fn asks(
    bench: &Bench,
    name: &'static str,
    follow: &'static [&'static str],
) -> mpsc::Receiver<Result<Received, Status>> {
    let (sender, received) = mpsc::channel();
    bench.daemon.solves(move |solving| {
        let sender = sender.clone();
        async move {
            let received = solving.session.files(name, follow).await;
            let refusal = match &received {
                Ok(received) => received.refusal.clone(),
                Err(status) => Some(status.message().to_owned()),
            };
            sender.send(received).unwrap();
            match refusal {
                None => solving.session.export("right").await,
                Some(why) => Err(Status::unknown(format!("failed to solve: {why}"))),
            }
        }
    });
    received
}

/// The name of the context of image `a` (BuildKit puts the prefix in front).
const CONTEXT: &str = "a@-context";

#[test]
fn a_build_gets_the_files_that_were_fingerprinted() {
    let bench = bench();
    let received = asks(&bench, CONTEXT, &["a", "src"]);
    let request = bench.request("a", &["/a", "/src"]);
    // It came after the fingerprint.
    fs::write(bench.context().join("new"), "secret").unwrap();
    bench.watch(request).0.unwrap();
    let received = received.recv_timeout(HANGS).unwrap().unwrap();
    assert_eq!(received.paths(), ["a", "src", "src/b"]);
    assert_eq!(received.files["a"], b"text of a");
    assert_eq!(received.files["src/b"], b"text of b");
}

#[test]
fn a_path_that_was_not_read_out_of_the_dockerfile_is_refused_and_nothing_is_sent() {
    for (follow, paths) in [
        (&["a", "src/b", "etc"][..], &["src/b", "etc"][..]),
        (&["ab"], &["ab"]),
        (&["../a"], &["../a"]),
        (&[], &["the whole context"]),
    ] {
        let bench = bench();
        let received = asks(&bench, CONTEXT, follow);
        let error = bench.watch(bench.request("a", &["/a"])).0.unwrap_err();
        let EngineError::Unread { paths: unread } = &error else { panic!("{error:?}") };
        assert_eq!(unread, paths);
        let received = received.recv_timeout(HANGS).unwrap().unwrap();
        assert_eq!(received.refusal, Some(error.to_string()));
        assert_eq!((received.paths(), received.files.len()), (vec![], 0));
    }
}

#[test]
fn who_copies_everything_gets_the_whole_context() {
    let bench = bench();
    let received = asks(&bench, CONTEXT, &[]);
    bench.watch(bench.request("a", &["/"])).0.unwrap();
    let received = received.recv_timeout(HANGS).unwrap().unwrap();
    assert_eq!(received.paths(), ["a", "src", "src/b"]);
}

#[test]
fn a_directory_that_no_build_serves_is_not_found() {
    for name in ["b@-context", "context", "", "/etc"] {
        let bench = bench();
        let received = asks(&bench, name, &["a"]);
        let error = bench.watch(bench.request("a", &["/a"])).0.unwrap_err();
        assert!(error.to_string().contains("no such directory"), "{error}");
        let status = received.recv_timeout(HANGS).unwrap().unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
}

#[test]
fn a_context_is_served_only_while_its_build_runs() {
    let bench = bench();
    drop(asks(&bench, CONTEXT, &["a"]));
    let received = asks(&bench, CONTEXT, &["a"]);
    bench.watch(bench.request("a", &["/a"])).0.unwrap();
    received.recv_timeout(HANGS).unwrap().unwrap();
    bench.watch(bench.request("b", &["/a"])).0.unwrap_err();
    let status = received.recv_timeout(HANGS).unwrap().unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "image a is built no more");
}

#[test]
fn a_file_that_changes_after_its_fingerprint_is_withheld() {
    type Change = fn(&Bench);
    let changes: [Change; 4] = [
        |bench| fs::write(bench.context().join("a"), "TEXT OF A").unwrap(),
        |bench| fs::write(bench.context().join("a"), "longer than it was").unwrap(),
        |bench| fs::remove_file(bench.context().join("a")).unwrap(),
        |bench| {
            fs::remove_file(bench.context().join("a")).unwrap();
            std::os::unix::fs::symlink("src/b", bench.context().join("a")).unwrap();
        },
    ];
    for change in changes {
        let bench = bench();
        let received = asks(&bench, CONTEXT, &["a"]);
        let request: Request = bench.request("a", &["/a"]);
        change(&bench);
        let error = bench.watch(request).0.unwrap_err();
        let EngineError::ContextMoved { path } = &error else { panic!("{error:?}") };
        assert_eq!(path, "a".as_ref() as &std::path::Path);
        let received = received.recv_timeout(HANGS).unwrap().unwrap();
        assert_eq!(received.refusal, Some(error.to_string()));
        assert_eq!(received.files["a"], b"", "nothing of it was sent");
    }
}
