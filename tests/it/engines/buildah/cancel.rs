//! A build that is stopped leaves nothing, whenever it is stopped.

use std::time::{Duration, Instant};

use super::*;

const DOCKERFILE: &str = "FROM acme/base:0.1.0 AS one\nRUN echo one > /one\n\
    FROM acme/base:0.1.0\nCOPY --from=acme/other /who /who\nRUN echo two > /two\n\
    RUN --mount=type=bind,target=/c trap '' TERM; echo asleep; sleep 1000 & sleep 1001\n";

/// Processes whose arguments have this word.
fn processes(word: &str) -> Vec<String> {
    let directory = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let texts = directory.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let texts = texts.map(|text| String::from_utf8_lossy(&text).replace('\0', " "));
    texts.filter(|text| text.contains(word)).collect()
}

fn stopped_at(bench: &Bench, line: &str) {
    let other = bench.image("other");
    let request = Request {
        parents: vec![bench.parent("acme/other", &other)],
        cache: CacheUse::Bypass,
        ..bench.request(DOCKERFILE)
    };
    let cancel = Cancel::default();
    let mut raised = None;
    let ended = bench.engine.build(&request, &cancel, &mut |progress| {
        if shown(&progress).contains(line) {
            cancel.raise();
            raised.get_or_insert_with(Instant::now);
        }
    });
    let took = raised.expect("the line is printed").elapsed();
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{line}: {ended:?}");
    assert!(took < Duration::from_secs(2), "{line}: {took:?}");
    assert_eq!(processes(&bench.home.path().display().to_string()), [] as [String; 0], "{line}");
    assert_eq!(processes("sleep 100"), [] as [String; 0], "{line}");
    bench.assert_clean(line);
}

#[test]
fn a_cancelled_build_is_gone_within_two_seconds_at_every_step() {
    let Some(bench) = Bench::new() else { return };
    for line in ["FROM", "RUN echo one", "COPY --from", "RUN echo two", "RUN --mount", "asleep"] {
        stopped_at(&bench, line);
    }
}

#[test]
fn a_build_that_was_cancelled_before_it_began_does_not_begin() {
    let Some(bench) = Bench::new() else { return };
    let cancel = Cancel::default();
    cancel.raise();
    let request = bench.request("FROM acme/base:0.1.0\nRUN true\n");
    let mut lines = 0;
    let ended = bench.engine.build(&request, &cancel, &mut |_| lines += 1);
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
    assert_eq!(lines, 0);
}
