//! A build that is stopped leaves nothing, whenever it is stopped.

use std::time::{Duration, Instant};

use imgraph::engine::buildah::isolation::Isolation;

use super::*;

const DOCKERFILE: &str = "FROM acme/base:0.1.0 AS one\nRUN echo one > /one\n\
    FROM acme/base:0.1.0\nCOPY --from=one /one /one\nCOPY --from=acme/other /who /who\nRUN echo two > /two\n\
    RUN --mount=type=bind,target=/c trap '' TERM; echo asleep; sleep 33.1 & sleep 33.2\n";

fn stopped_at(bench: &Bench, line: &str) {
    let other = bench.image("other");
    let request = Request {
        parents: vec![parent("acme/other", &other)],
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
    assert_eq!(processes("sleep 33."), [] as [String; 0], "{line}");
    bench.assert_clean(line);
}

#[test]
fn a_cancelled_build_is_gone_within_two_seconds_at_every_step() {
    let Some(bench) = Bench::new() else { return };
    for line in [
        "FROM",
        "RUN echo one",
        "COPY --from=one",
        "COPY --from=acme",
        "RUN echo two",
        "RUN --mount",
        "asleep",
    ] {
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

#[test]
fn a_buildah_that_is_killed_is_the_machines_fault_and_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    let request = bench.request("FROM acme/base:0.1.0\nRUN echo asleep; sleep 20.27\n");
    let word = request.scratch.path().display().to_string();
    let ended = bench.engine.build(&request, &Cancel::default(), &mut |progress| {
        if shown(&progress) == "| asleep" {
            let group = format!("-{}", leader(&word));
            assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
        }
    });
    assert!(
        matches!(&ended, Err(EngineError::Unavailable(text)) if text.contains("signal 9")),
        "{ended:?}"
    );
    bench.assert_clean("after kill -9");
}

/// An OCI runtime gives a container a session of its own, which no signal to the group reaches.
#[test]
fn a_container_of_a_killed_buildah_does_not_live_on() {
    let has_runtime = std::env::var_os("BUILDAH_RUNTIME").is_some()
        || Path::new("/usr/sbin/runc").exists()
        || Path::new("/usr/bin/crun").exists();
    if !has_runtime {
        eprintln!("skipped: no OCI runtime (`apt-get install runc`)");
        return;
    }
    let Some(bench) = Bench::new() else { return };
    let isolation = Some(Isolation::HostNetwork);
    let storage = Some(bench.storage());
    let engine = Buildah::new(Options { storage, isolation, ..Options::default() });
    let request = bench.request("FROM acme/base:0.1.0\nRUN echo asleep; sleep 20.31\n");
    let word = request.scratch.path().display().to_string();
    let ended = engine.build(&request, &Cancel::default(), &mut |progress| {
        if shown(&progress) == "| asleep" {
            let group = format!("-{}", leader(&word));
            assert!(Command::new("kill").args(["-9", "--", &group]).status().unwrap().success());
        }
    });
    assert!(matches!(ended, Err(EngineError::Unavailable(_))), "{ended:?}");
    assert_eq!(processes("sleep 20.31"), [] as [String; 0]);
    bench.assert_clean("after kill -9 with an OCI runtime");
}

/// The first process whose arguments have this word.
fn leader(word: &str) -> i32 {
    let directory = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let numbers = directory.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_word = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|text| String::from_utf8_lossy(&text).contains(word))
    };
    numbers.filter(has_word).min().unwrap()
}

/// What an imgraph leaves that was itself killed: a build whose lock nobody holds.
#[test]
fn what_a_killed_imgraph_left_is_cleared_away_and_nothing_else() {
    let Some(bench) = Bench::new() else { return };
    let lock = bench.home.path().join("lock");
    fs::write(&lock, "").unwrap();
    let digits = lock
        .display()
        .to_string()
        .bytes()
        .fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
    let dockerfile = bench.home.path().join("Dockerfile");
    fs::write(&dockerfile, "FROM acme/base:0.1.0\nRUN echo asleep; sleep 20.28\n").unwrap();
    let ready = std::cell::Cell::new(false);
    let mut command = bench.command();
    command.args(["build", "--isolation=chroot", "--network=host", "--layers", "--no-cache", "-f"]);
    command.arg(&dockerfile).arg(format!("--secret=id=imgraph-{digits},src=/dev/null"));
    command.arg(bench.home.path().join("scratch"));
    let word = dockerfile.display().to_string();
    imgraph::process::run(command, &|| false, &mut |line| {
        if line == "asleep" && !ready.replace(true) {
            let group = format!("-{}", leader(&word));
            Command::new("kill").args(["-9", "--", &group]).status().unwrap();
        }
    })
    .unwrap();
    let others = bench.buildah(&["from", "acme/base:0.1.0"]);
    assert_eq!(bench.remains().0.len(), 2);
    bench.engine.recover().unwrap();
    let left = bench.buildah(&["containers", "--format={{.ContainerName}}"]);
    assert_eq!(left.trim(), others.trim());
}

/// The moments of a build at which nothing is printed.
#[test]
fn a_build_that_is_cancelled_at_any_time_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    for delay in (0..400).step_by(40) {
        let request = Request {
            cache: CacheUse::Bypass,
            ..bench.request("FROM acme/base:0.1.0\nRUN true\n")
        };
        let cancel = Cancel::default();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(delay)); // the time itself is what is tested
                cancel.raise();
            });
            bench.engine.build(&request, &cancel, &mut |_| {}).ok();
        });
        bench.assert_clean(&format!("after {delay} ms"));
    }
}
