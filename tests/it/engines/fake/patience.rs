//! Daemons that take connections and say nothing.

use std::sync::mpsc;

use imgraph::engine::buildkit::Target;
use imgraph::engine::docker::endpoint::Endpoint;
use imgraph::engine::{Cancel, Engine, EngineError};
use imgraph::tls::Tls;

use super::daemon::Mute;
use super::{Bench, Daemon, HANGS, works};

/// A daemon that falls silent: before the first build, or after one.
#[expect(clippy::fn_params_excessive_bools, reason = "the cases are few and named")]
fn mute(how: Mute, with_tls: bool, after_a_build: bool) -> Bench {
    let home = tempfile::tempdir().unwrap();
    let mut daemon = if with_tls { Daemon::on_port(None) } else { Daemon::on_socket(home.path()) };
    if let Endpoint::Tcp { tls, .. } = &mut daemon.endpoint {
        *tls = Some(Tls { skip_verify: true, ..Tls::default() });
    }
    let bench = Bench::with(home, daemon, [].into());
    works(&bench.daemon);
    if after_a_build {
        bench.build("a").unwrap();
        bench.daemon.cut();
    }
    bench.daemon.is_mute(how);
    bench
}

/// The same with a socket that is taken for Docker's.
fn mute_docker() -> Bench {
    let bench = mute(Mute::Connections, false, false);
    let engine =
        Bench::engine(&bench.home, Target::Docker(bench.daemon.endpoint.clone()), [].into());
    Bench { engine, ..bench }
}

/// What does not answer, when, and what is said of it.
fn silences() -> [(Bench, &'static str); 6] {
    [
        (mute_docker(), "the Docker Engine gives no answer to /grpc within 20 s"),
        (mute(Mute::Connections, true, false), "no answer within 10 s"),
        (mute(Mute::Connections, false, false), "BuildKit gives no answer within 20 s"),
        (mute(Mute::Info, false, false), "BuildKit gives no answer within 20 s"),
        (mute(Mute::Sessions, false, false), "BuildKit opens no session within 20 s"),
        // It is known what it is.
        (mute(Mute::Connections, false, true), "BuildKit opens no session within 20 s"),
    ]
}

/// A build that begins in the moment in which a connection is cut may be the one that notices: it
/// says so, and whoever builds tries again.
fn was_cut(error: &EngineError) -> bool {
    matches!(error, EngineError::Unavailable(text) if text.contains("was lost"))
}

/// The one slow test: all of them wait at the same time.
#[test]
fn a_daemon_that_says_nothing_is_given_up() {
    let silences = silences();
    let going = silences.each_ref().map(|(bench, _)| bench.start(bench.request("b", &[])));
    for ((bench, wanted), going) in silences.iter().zip(&going) {
        let mut error = going.end().0.unwrap_err();
        if was_cut(&error) {
            error = bench.start(bench.request("b", &[])).end().0.unwrap_err();
        }
        assert!(matches!(error, EngineError::Unavailable(_)), "{error:?}");
        assert!(error.to_string().contains(wanted), "{error}, not {wanted}");
    }
}

#[test]
fn who_waits_for_a_silent_daemon_can_be_cancelled() {
    let timer = imgraph::clock::Timer::start();
    for (bench, wait) in silences() {
        let (cancel, (sender, end)) = (Cancel::default(), mpsc::channel());
        let (engine, raised, request) =
            (bench.engine.clone(), cancel.clone(), bench.request("b", &[]));
        std::thread::spawn(move || {
            sender.send(engine.build(&request, &raised, &mut |_| {})).unwrap_or_default();
        });
        cancel.raise();
        let ended = end.recv_timeout(HANGS).unwrap();
        let is_prompt =
            matches!(&ended, Err(EngineError::Cancelled)) || ended.as_ref().is_err_and(was_cut);
        assert!(is_prompt, "{wait}: {ended:?}");
    }
    assert!(timer.elapsed() < 9_000, "{} ms", timer.elapsed());
}
