//! A build that is stopped leaves nothing, whenever it is stopped.

use std::time::{Duration, Instant};

use super::super::bench::processes;
use super::*;

/// The last command is stopped after it has said something: BuildKit 0.13 lets a command run to its end
/// that is cancelled in the instant in which it starts.
const DOCKERFILE: &str = "FROM BASE AS one\nRUN echo one > /one\nFROM BASE\n\
    COPY --from=one /one /one\nRUN echo two > /two\n\
    RUN trap '' TERM; echo asleep; sleep 35.1 & sleep 35.2\n";

/// Waits until a process is gone; the builder stops it when it notices that its client is.
fn wait_until_gone(word: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        if processes(word).is_empty() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn a_cancelled_build_is_gone_within_two_seconds_at_every_step() {
    let Some(bench) = Bench::new() else { return };
    for line in ["FROM", "RUN echo one", "COPY --from=one", "RUN echo two", "| asleep"] {
        let request = Request { cache: CacheUse::Bypass, ..bench.request(DOCKERFILE, "a:1") };
        let (cancel, mut raised) = (Cancel::default(), None);
        let ended = bench.engine.build(&request, &cancel, &mut |progress| {
            if shown(&progress).contains(line) {
                cancel.raise();
                raised.get_or_insert_with(Instant::now);
            }
        });
        let took = raised.expect("the line is printed").elapsed();
        assert!(matches!(ended, Err(EngineError::Cancelled)), "{line}: {ended:?}");
        assert!(took < Duration::from_secs(2), "{line}: {took:?}");
        let own = bench.home.path().display().to_string();
        assert_eq!(processes(&own), [] as [String; 0], "{line}");
        assert!(wait_until_gone("sleep 35."), "{line}: the command still runs");
        assert_eq!(bench.images().len(), 1, "{line}: the base");
    }
}

#[test]
fn a_build_that_was_cancelled_before_it_began_does_not_begin() {
    let Some(bench) = Bench::new() else { return };
    let cancel = Cancel::default();
    cancel.raise();
    let request = bench.request("FROM BASE\nRUN true\n", "a:1");
    let ended = bench.engine.build(&request, &cancel, &mut |_| {});
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
}
