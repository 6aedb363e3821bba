//! Builds that are given up.

use std::future::pending;
use std::sync::mpsc::{self, Sender};

use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use imgraph::engine::EngineError;
use tonic::Status;

use super::{Bench, HANGS, log, works};

/// Says that a call was dropped, and tells a last line on its status stream.
struct Dropped {
    dropped: Sender<()>,
    updates: tokio::sync::mpsc::Sender<Result<StatusResponse, Status>>,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.updates.try_send(Ok(log("[1/1] RUN x", b"given up\n"))).unwrap();
        self.dropped.send(()).unwrap();
    }
}

#[test]
fn a_build_that_is_cancelled_is_dropped_and_its_last_words_are_told() {
    let bench = Bench::new();
    let (started, is_started) = mpsc::channel();
    let (dropped, is_dropped) = mpsc::channel();
    bench.daemon.solves(move |solving| {
        let guard = Dropped { dropped: dropped.clone(), updates: solving.updates.clone() };
        let started = started.clone();
        async move {
            let _guard = guard;
            solving.tell(log("[1/1] RUN x", b"at work\n")).await;
            started.send(()).unwrap();
            pending().await
        }
    });
    let going = bench.start(bench.request("a", &[]));
    is_started.recv_timeout(HANGS).unwrap();
    going.cancel.raise();
    let (ended, lines) = going.end();
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
    is_dropped.recv_timeout(HANGS).expect("the daemon sees it");
    assert_eq!(lines, ["| at work", "| given up"]);
    works(&bench.daemon);
    bench.build("a").unwrap();
    assert_eq!(
        (bench.daemon.connections(), bench.daemon.sessions()),
        (1, 1),
        "both are still good"
    );
}

#[test]
fn one_build_is_cancelled_and_its_sibling_goes_on() {
    let bench = Bench::new();
    let (started, is_started) = mpsc::channel();
    let (finish, may_finish) = tokio::sync::watch::channel(false);
    bench.daemon.solves(move |solving| {
        let (started, mut may_finish) = (started.clone(), may_finish.clone());
        async move {
            started.send(()).unwrap();
            may_finish.wait_for(|may| *may).await.unwrap();
            solving.session.export("right").await
        }
    });
    let [one, other] = ["a", "b"].map(|image| bench.start(bench.request(image, &[])));
    is_started.recv_timeout(HANGS).unwrap();
    is_started.recv_timeout(HANGS).unwrap();
    one.cancel.raise();
    assert!(matches!(one.end().0, Err(EngineError::Cancelled)));
    finish.send(true).unwrap();
    other.end().0.unwrap();
}
