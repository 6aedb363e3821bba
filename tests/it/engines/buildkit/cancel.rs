//! A build that is stopped is gone, whenever it is stopped, and leaves nothing.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::*;

/// The promise is two seconds; a busy machine gets more.
const BOUND: Duration = Duration::from_secs(10);

/// Looks until something is so, for as long as [`BOUND`].
#[track_caller]
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        thread::sleep(Duration::from_millis(20)); // a daemon tells nobody that it is done
    }
}

impl Bench {
    /// The argument of a `sleep` that is no other's.
    fn sleep(&self) -> String {
        let number = DAEMONS.iter().position(|(name, _)| *name == self.daemon.name).unwrap();
        let digits: String = self.tag.chars().filter(char::is_ascii_digit).collect();
        format!("300.{digits}{number}")
    }

    /// BuildKit 0.11 to 0.14 may start a RUN that was given up while its container was set up, and
    /// then nobody ends it (see `leftovers`). The engine waits until that is past, but on a busy
    /// machine it may take longer than a user would wait: such a one is ended here, and said.
    fn end_what_began(&self) {
        let since = Instant::now();
        while !processes(&self.sleep()).is_empty() {
            if since.elapsed() > BOUND {
                aloud(&format!("buildkit  {}: a RUN began as it was given up", self.daemon.name));
                bench::kill(&self.sleep());
                return;
            }
            thread::sleep(Duration::from_millis(20)); // a daemon tells nobody that it is done
        }
    }

    #[track_caller]
    fn is_gone(&self, before: &BTreeMap<String, Vec<String>>) {
        soon(&format!("its processes are gone: {:?}", processes(&self.sleep())), || {
            processes(&self.sleep()).is_empty()
        });
        assert_eq!(&self.images(), before);
        assert_eq!(self.daemon.get("/containers/json"), serde_json::json!([]));
    }
}

#[test]
fn ctrl_c_ends_a_build_and_what_runs_in_it_and_the_next_run_goes_on() {
    Bench::each(|bench| {
        let tree = bench.workspace(
            "
            //- images/a/Dockerfile
            FROM @busybox
            ENV A=1
            //- images/b/Dockerfile
            FROM @/a
            //- images/c/Dockerfile
            FROM @/b
            ",
        );
        let word = bench.sleep();
        let slow =
            format!("FROM @/a\nRUN trap '' TERM; echo asleep; sleep {word} & sleep {word}\n");
        tree.write("images/b/Dockerfile", bench.named(&slow));
        let mut run = bench.start(&tree, "rebuild --jobs=1 --json");
        run.wait_for(|event| event["event"] == "log" && event["line"] == "asleep");
        let before = bench.images();
        assert_ne!(processes(&word), [] as [String; 0]);
        let since = Instant::now();
        run.signal(Signal::INT);
        let outcome = run.finish().exits(130);
        assert!(since.elapsed() < BOUND, "{:?}", since.elapsed());
        assert_eq!(outcome.ends(), ["a built", "b not-reached", "c not-reached"]);
        bench.is_gone(&before);

        tree.write("images/b/Dockerfile", bench.named("FROM @/a\nRUN echo awake\n"));
        let outcome = bench.rebuild(&tree, "--json").exits(0);
        assert_eq!(outcome.ends(), ["b built", "c built"]);
    });
}

#[test]
fn a_build_that_is_cancelled_at_any_step_is_gone() {
    Bench::each(|bench| {
        let context = bench.home.path().join("context");
        fs::create_dir_all(&context).unwrap();
        fs::write(context.join("f"), vec![b'x'; 8 << 20]).unwrap();
        let word = bench.sleep();
        let dockerfile = format!(
            "FROM @busybox AS one\nCOPY f /f\nRUN echo one > /one\nFROM @busybox\n\
             COPY --from=one /one /one\nRUN echo asleep; sleep {word}\n"
        );
        let before = bench.images();
        for line in ["FROM", "COPY f", "RUN echo one", "COPY --from", "asleep"] {
            let request = bench.with_context(&context, &dockerfile);
            let request = Request { cache: CacheUse::Bypass, ..request };
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
            assert!(took < BOUND, "{line}: {took:?}");
            if line != "asleep" {
                bench.end_what_began();
            }
            bench.is_gone(&before);
        }
        let awake = dockerfile.replace(&format!("sleep {word}"), "true");
        bench.build(&bench.with_context(&context, &awake)).expect("the cache is not broken");
    });
}

/// The moments at which nothing is said, the end among them.
#[test]
fn a_build_that_is_cancelled_at_any_time_leaves_nothing_or_is_a_success() {
    Bench::each(|bench| {
        let before = bench.images();
        for number in 0..16 {
            let request =
                bench.request(&format!("FROM @busybox\nWORKDIR /{}-{number}\n", bench.tag));
            let cancel = Cancel::default();
            let ended = thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(number * 20)); // the time itself is what is tested
                    cancel.raise();
                });
                bench.engine.build(&request, &cancel, &mut |_| {})
            });
            match ended {
                Ok(built) => bench.engine.remove(&built.output.id).unwrap(),
                Err(EngineError::Cancelled) => (),
                Err(error) => panic!("after {number} * 20 ms: {error:?}"),
            }
            soon(&format!("nothing is left after {number} * 20 ms"), || bench.images() == before);
        }
    });
}

#[test]
fn a_build_that_was_cancelled_before_it_began_does_not_begin() {
    Bench::each(|bench| {
        let cancel = Cancel::default();
        cancel.raise();
        let request = bench.request("FROM @busybox\nRUN true\n");
        let mut said = Vec::new();
        let ended = bench.engine.build(&request, &cancel, &mut |it| said.push(shown(&it)));
        assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
        assert_eq!(said, [] as [String; 0]);
    });
}
