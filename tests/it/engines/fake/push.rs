//! `rebuild --push` of what a `buildkitd` built: what the user sees of a registry, with each of its
//! faults.

use std::sync::Arc;

use super::{Daemon, works};
use crate::registry::front::{Behind, Fault, Front, Guard, Request, Response};
use crate::support::{Said, Workspace};

/// A workspace of an image and a child, a daemon that builds them, and a registry.
struct Bench {
    tree: Workspace,
    daemon: Daemon,
    front: Front,
}

impl Bench {
    fn new() -> Self {
        Self::before(Behind::Memory(Arc::default()))
    }

    fn before(behind: Behind) -> Self {
        let front = Front::new(behind);
        let tree = Workspace::new(
            "
            //- images/base/Dockerfile
            FROM scratch
            WORKDIR /a
            ",
        );
        let registry = format!("[workspace]\nregistry = '{0}/acme'\n", front.host);
        let terms = format!("[[registry]]\nhost = '{0}'\ntimeout = '1s'\n", front.host);
        tree.write("layers.toml", registry + &terms);
        let child = format!("FROM {}/acme/base\nWORKDIR /b\n", front.host);
        tree.write("images/child/Dockerfile", child);
        let daemon = Daemon::on_socket(&tree.root());
        works(&daemon);
        Self { tree, daemon, front }
    }

    #[track_caller]
    fn push(&self, arguments: &str, code: i32) -> Said {
        self.push_as(arguments, &[], code)
    }

    #[track_caller]
    fn push_as(&self, arguments: &str, environment: &[(&str, &str)], code: i32) -> Said {
        let host = self.daemon.endpoint.to_string();
        let mut environment = environment.to_vec();
        environment.push(("BUILDKIT_HOST", &host));
        let outcome = self.tree.rebuild_with(
            "buildkit",
            &format!("--push --cache local:rw {arguments}"),
            &environment,
        );
        outcome.exits(code).calling(&self.front.host, "HOST")
    }

    /// The requests that changed something, in their order.
    fn writes(&self) -> Vec<String> {
        let asked = self.front.asked();
        let writes =
            asked.iter().filter(|it| it.method == "PUT" && it.path.contains("/manifests/"));
        let line = |request: &Request| {
            let (path, called) = request.path.split_once("/manifests/").unwrap();
            let kind = match called.split_once([':', '-']) {
                Some((kind @ ("sha256" | "ig"), _)) => kind,
                _ => called,
            };
            format!("{} {kind}", path.trim_start_matches("/v2/"))
        };
        writes.map(line).collect()
    }
}

#[test]
fn an_image_goes_before_its_child_and_its_digest_before_its_tags() {
    let bench = Bench::new();
    bench.push("", 0).mentions(
        "
        [base] built: [TIME]  (0 B, pushed)
        [child] built: [TIME]  (0 B, pushed)
        ",
    );
    assert_eq!(
        bench.writes(),
        [
            "acme/base sha256",
            "acme/base latest",
            "acme/base ig",
            "acme/child sha256",
            "acme/child latest",
            "acme/child ig",
        ]
    );
    bench.push("", 0).mentions("nothing to do");
    assert!(bench.front.asked().is_empty());
}

#[test]
fn what_the_user_sees_of_a_registry_that_does_not_do_its_work() {
    let refusal =
        |status, code| Fault::Answer(Response::refusal(status, code, "said by the registry"));
    let cases = [
        (
            refusal(401, "UNAUTHORIZED"),
            1,
            "[base] failed: cannot push: HOST does not let us push to acme/base: \
             401 UNAUTHORIZED: said by the registry; `docker login HOST` logs in\n",
        ),
        (
            refusal(403, "DENIED"),
            1,
            "[base] failed: cannot push: HOST does not let us push to acme/base: \
             403 DENIED: said by the registry; `docker login HOST` logs in\n",
        ),
        (
            refusal(404, "NAME_UNKNOWN"),
            1,
            "[base] failed: cannot push: HOST has no manifest HOST/acme/base@sha256:[DIGEST]\n",
        ),
        (
            refusal(429, "TOOMANYREQUESTS"),
            69,
            "[base] failed: cannot push: HOST is not available: 429 TOOMANYREQUESTS: \
             said by the registry; trying again may help\n",
        ),
        (
            refusal(500, "UNKNOWN"),
            69,
            "[base] failed: cannot push: HOST is not available: 500 UNKNOWN: \
             said by the registry; trying again may help\n",
        ),
        (
            Fault::Silent,
            69,
            "[base] failed: cannot push: HOST is not available: it was silent for 1 s; \
             trying again may help\n",
        ),
        (
            Fault::CutRequest(10),
            69,
            "[base] failed: cannot push: HOST is not available: the connection broke: ",
        ),
        (
            Fault::Header("docker-content-digest", "sha256:0000"),
            69,
            "[base] failed: cannot push: HOST does not send manifest \
             HOST/acme/base@sha256:[DIGEST]: it is called by no digest; trying again may help\n",
        ),
    ];
    // Each takes as long as it is tried again.
    std::thread::scope(|scope| {
        for (fault, code, says) in cases {
            scope.spawn(move || {
                let bench = Bench::new();
                bench
                    .front
                    .spoils(usize::MAX, fault, |request| request.path.contains("/manifests/"));
                let said = bench.push("", code);
                said.mentions(says.trim_end()).mentions("[child] blocked: base failed");
                let pushed = bench.front.asked();
                assert!(!pushed.iter().any(|it| it.path.contains("/child/")), "{says}");
                // The build is kept: what is left to do is the push.
                bench.front.is_well();
                bench.push("", 0).mentions("[base] pushed: ");
            });
        }
    });
}

#[test]
fn a_push_that_is_interrupted_ends_at_once_and_is_made_up_for() {
    let bench = Bench::new();
    bench.front.spoils(usize::MAX, Fault::Silent, |request| request.method == "PUT");
    let mut command = bench.tree.command_with("buildkit", "rebuild base --push --cache local:rw");
    command.env("BUILDKIT_HOST", bench.daemon.endpoint.to_string());
    let running = bench.tree.start_command(command);
    while !bench.front.asked().iter().any(|request| request.method == "PUT") {
        std::thread::yield_now();
    }
    running.signal(rustix::process::Signal::INT);
    running.finish().exits(130).mentions("not reached");
    bench.front.is_well();
    bench.push("base", 0).mentions("[base] pushed: ");
}

#[test]
fn a_passing_fault_is_a_warning() {
    let bench = Bench::new();
    let busy = Response::refusal(429, "TOOMANYREQUESTS", "too many").with("retry-after", "1");
    bench.front.spoils(1, Fault::Answer(busy), |request| request.method == "POST");
    bench.push("base", 0).mentions(
        "warning: base: HOST is not available: 429 TOOMANYREQUESTS: too many; asking again in 1 s",
    );
}

#[test]
fn a_login_is_that_of_docker_and_where_it_is_refused_that_is_said() {
    let bench = Bench::new();
    bench.front.wants(Guard::Token(Some("Basic dXNlcjpwYXNzd29yZA==".to_owned())));
    bench.push("base", 1).mentions("HOST does not let us push to acme/base: 401");
    let config =
        format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpwYXNzd29yZA=="}}}}}}"#, bench.front.host);
    bench.push_as("base", &[("DOCKER_AUTH_CONFIG", &config)], 0).mentions("[base] pushed: ");
}

#[test]
fn a_real_registry_takes_what_a_buildkitd_built() {
    let Ok(host) = std::env::var("IMGRAPH_TEST_REGISTRY") else {
        return crate::conformance::aloud("push  skipped: IMGRAPH_TEST_REGISTRY is not set");
    };
    let bench = Bench::before(Behind::Registry(host));
    bench.push("", 0).mentions("2 built · 0 failed");
    bench.push("--force", 0).mentions("came out the same, pushed");
}
