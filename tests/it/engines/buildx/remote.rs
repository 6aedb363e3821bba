//! A builder outside the daemon: the buildkitd that `IMGRAPH_TEST_BUILDKITD` names.

use imgraph::engine::buildx::Buildx;

use super::*;

/// A bench, and an engine whose builder is not its daemon.
struct Remote {
    bench: Bench,
    engine: Buildx,
    name: String,
}

impl Remote {
    fn new() -> Option<Self> {
        let bench = Bench::new()?;
        let Ok(address) = std::env::var("IMGRAPH_TEST_BUILDKITD") else {
            eprintln!("skipped: IMGRAPH_TEST_BUILDKITD names no buildkitd");
            return None;
        };
        let name = bench.reference("builder").replace('/', "-");
        bench.docker(&["buildx", "create", "--name", &name, "--driver", "remote", &address]);
        let options = Options { builder: Some(name.clone()), ..bench.options.clone() };
        Some(Self { engine: Buildx::new(options), bench, name })
    }

    fn build(&self, request: &Request) -> Result<Built, EngineError> {
        self.engine.build(request, &Cancel::default(), &mut |_| {})
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.bench.docker(&["buildx", "rm", &self.name]);
    }
}

#[test]
fn a_parent_is_handed_over_to_a_builder_outside_the_daemon() {
    let Some(remote) = Remote::new() else { return };
    let request = || Request {
        parents: vec![parent("acme/base:1", &remote.bench.base), parent("one", &remote.bench.base)],
        ..remote.bench.request(
            "FROM one AS two\nFROM one AS one\nFROM acme/base:1\nENV A=1\n\
             COPY --from=one /bin/busybox /x\n",
            "a:1",
        )
    };
    let there = remote.build(&request()).unwrap();
    assert_eq!(there.output.references, request().references);
    let presence = remote.engine.present(&[&there.output]).unwrap();
    assert_eq!(presence, [Presence::Present], "it is in the daemon's store");
    let here = remote.bench.build(&request()).unwrap();
    let content =
        |built| remote.engine.content(built, &BTreeMap::new(), &Cancel::default()).unwrap().id;
    assert_eq!(content(&there), content(&here));
}

#[test]
fn a_failed_command_has_its_line_there_too() {
    let Some(remote) = Remote::new() else { return };
    let request = Request {
        parents: vec![parent("acme/base:1", &remote.bench.base)],
        ..remote.bench.request("# why\nFROM acme/base:1\nRUN exit 3\n", "a:1")
    };
    let error = remote.build(&request).unwrap_err();
    let EngineError::Step { message, line, exit_code } = error else { panic!("{error:?}") };
    assert_eq!((message.as_str(), line, exit_code), ("RUN exit 3: exit code 3", Some(3), Some(3)));
}
