//! The daemon, the connection or the session is lost in mid-solve.

use std::future::pending;

use bollard_buildkit_proto::moby::buildkit::v1::SolveResponse;
use imgraph::engine::EngineError;
use tonic::Status;

use super::{Bench, Daemon, unavailable, works};
use crate::support::Workspace;

#[test]
fn a_daemon_that_says_it_is_unavailable_can_be_asked_again() {
    let bench = Bench::new();
    bench.daemon.solves(|_| async { Err(Status::unavailable("the daemon is shutting down")) });
    let words = unavailable(bench.build("a"));
    assert!(words.contains("the daemon is shutting down"), "{words}");
    works(&bench.daemon);
    bench.build("a").unwrap();
}

#[test]
fn a_connection_that_is_cut_is_opened_again() {
    let bench = Bench::new();
    bench.daemon.solves(|solving| async move {
        solving.cut();
        pending().await
    });
    let words = unavailable(bench.build("a"));
    assert!(words.starts_with("the connection to BuildKit was lost: "), "{words}");
    works(&bench.daemon);
    bench.build("a").unwrap();
    assert_eq!(bench.daemon.connections(), 2);
}

#[test]
fn a_daemon_that_is_gone_is_named_with_its_place() {
    let bench = Bench::new();
    works(&bench.daemon);
    bench.build("a").unwrap();
    bench.daemon.die();
    // The first may still find the connection open.
    let errors = [bench.build("a"), bench.build("a")].map(unavailable);
    let wanted = format!("cannot connect to {}: ", bench.daemon.endpoint);
    assert!(errors[1].starts_with(&wanted), "{errors:?}");
}

#[test]
fn a_build_that_the_daemon_gives_up_can_be_tried_again() {
    let bench = Bench::new();
    bench.daemon.solves(|_| async { Err(Status::cancelled("context canceled")) });
    let words = unavailable(bench.build("a"));
    assert_eq!(words, "BuildKit gave the build up: context canceled");
}

#[test]
fn a_session_that_is_lost_ends_its_build_and_the_next_opens_another() {
    let bench = Bench::new();
    bench.daemon.solves(|solving| async move {
        solving.session.check().await?;
        solving.session.end();
        pending().await
    });
    let words = unavailable(bench.build("a"));
    assert!(words.contains("session"), "{words}");
    works(&bench.daemon);
    bench.build("a").unwrap();
    assert_eq!((bench.daemon.connections(), bench.daemon.sessions()), (1, 2));
}

#[test]
fn what_the_daemon_says_of_a_lost_session_is_what_is_told() {
    let bench = Bench::new();
    bench.daemon.solves(|solving| async move {
        solving.session.check().await?;
        solving.session.end();
        Err(Status::unknown("no active session for x: context deadline exceeded"))
    });
    let words = bench.build("a").unwrap_err().to_string();
    assert!(words.contains("no active session"), "{words}");
}

#[test]
fn a_result_without_an_image_is_no_success() {
    let bench = Bench::new();
    bench.daemon.solves(|_| async { Ok(SolveResponse::default()) });
    let words = unavailable(bench.build("a"));
    assert_eq!(words, "BuildKit built, and names no image");
}

#[test]
fn an_image_that_never_came_is_no_success() {
    let bench = Bench::new();
    bench.daemon.solves(|_| async {
        let digest = format!("sha256:{}", "a".repeat(64));
        let exporter_response = [("containerimage.digest".to_owned(), digest)].into();
        let answer =
            bollard_buildkit_proto::moby::buildkit::v1::SolveResponse { exporter_response };
        Ok(answer)
    });
    let error = bench.build("a").unwrap_err();
    assert!(matches!(error, EngineError::File { .. }), "{error:?}");
}

#[test]
fn the_program_tries_again_and_then_says_that_a_retry_may_help() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::on_socket(home.path());
    daemon.solves(|_| async { Err(Status::unavailable("the daemon is shutting down")) });
    let tree = Workspace::new("//- images/a/Dockerfile\nFROM scratch\nLABEL a=1\n");
    let host = daemon.endpoint.to_string();
    let said = tree.rebuild_with("buildkit", "", &[("BUILDKIT_HOST", &host)]).exits(69);
    said.mentions(
        "
        the daemon is shutting down; trying again in
        the daemon is shutting down; trying again in
        [a] failed
        ",
    );
}

#[test]
fn the_program_carries_on_when_the_second_try_works() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::on_socket(home.path());
    let first = std::sync::atomic::AtomicBool::new(true);
    daemon.solves(move |solving| {
        let is_first = first.swap(false, std::sync::atomic::Ordering::SeqCst);
        async move {
            if is_first {
                solving.cut();
                return pending().await;
            }
            solving.session.export("right").await
        }
    });
    let tree = Workspace::new("//- images/a/Dockerfile\nFROM scratch\nLABEL a=1\n");
    let host = daemon.endpoint.to_string();
    let said = tree.rebuild_with("buildkit", "", &[("BUILDKIT_HOST", &host)]).exits(0);
    said.mentions("the connection to BuildKit was lost: \n; trying again in\n[a] built");
}
