//! Why a build by BuildKit failed: the user's Dockerfile, a credential, or the builder and the
//! network.
//!
//! Only BuildKit's own words are judged, never what a RUN printed or what it was called with: a
//! command that could not reach a server is a failed step all the same. The words differ between
//! the generations; 0.8 (Docker 20.10) and what came after 0.10 are known. Sources: moby/buildkit
//! `solver/llbsolver/ops/exec.go`, `solver/edge.go`, `frontend/dockerfile/instructions/parse.go`.

use crate::engine::EngineError;
use crate::engine::cause::{Class, class};
use crate::engine::instructions::{self, Instruction};
use crate::engine::message::one_line;
use crate::engine::vertex::details::Details;
use crate::engine::vertex::line;
use crate::engine::vertex::name::Name;
use crate::engine::vertex::progress::Tracker;
use crate::layers::options::ENTITLEMENTS;

/// The codes of gRPC that are not left to the words.
mod code {
    pub(super) const CANCELLED: i32 = 1;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

/// What wraps a message without saying anything, from the outside to the inside.
const WRAPPINGS: [&str; 10] = [
    "rpc error: code = Unknown desc = ",
    "failed to solve with frontend dockerfile.v0: ",
    "failed to solve with frontend gateway.v0: ",
    "failed to build: ",
    "failed to solve: ",
    "failed to build LLB: ",
    "failed to create LLB definition: ",
    "failed to read dockerfile: ",
    "failed to compute cache key: ",
    "failed to load cache key: ",
];

/// A build that BuildKit gave up, as its interface tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The code of gRPC; 2 (unknown) where there is none.
    pub code: i32,
    /// The message.
    pub message: String,
    /// What came with it.
    pub details: Details,
}

impl Failure {
    /// From what a gRPC call ends with; `details` are the bytes of `grpc-status-details-bin`, or
    /// none.
    pub fn new(code: i32, message: &str, details: &[u8]) -> Self {
        Self { code, message: message.to_owned(), details: Details::decode(details) }
    }
}

/// Classifies a failed build, of which `tracker` saw the vertices.
pub fn classify(failure: &Failure, tracker: &Tracker, dockerfile: &[u8]) -> EngineError {
    if failure.code == code::CANCELLED {
        return EngineError::Cancelled;
    }
    let instructions = instructions::scan(dockerfile);
    let scene = Scene::new(failure, tracker, &instructions);
    let message = tracker.shown(plain(&failure.message));
    if let Some((line, mistake)) = parse_error(&message) {
        return step(mistake, Some(line), None);
    }
    if message.starts_with("unsupported frontend capability ") {
        return EngineError::Unsupported(one_line(&message));
    }
    if let Some(cause) = after_command(&message) {
        return scene.step_failed(cause);
    }
    if let Some((entitlement, what)) = not_allowed(&message) {
        let line = line::of_entitlement(entitlement, &instructions);
        return step(&what, scene.line().or(line), None);
    }
    if scene.is_past_from() {
        return scene.step_failed(after_checksum(&message));
    }
    let message = after_metadata(&message);
    match class_of(failure.code).unwrap_or_else(|| class(message)) {
        Class::User if scene.name.starts_with("exporting ") => {
            EngineError::Unavailable(one_line(message)) // the Dockerfile was carried out
        }
        Class::Auth => EngineError::Auth(one_line(message)),
        Class::Unavailable => EngineError::Unavailable(one_line(message)),
        Class::User => step(message, scene.line(), None),
    }
}

/// What a build may not do, and who can allow it (`util/entitlements/entitlements.go`,
/// `solver/llbsolver/vertex.go`).
fn not_allowed(message: &str) -> Option<(&'static str, String)> {
    let entitlement = ENTITLEMENTS.into_iter().find(|it| message.contains(it))?;
    let says = |text: &str| message.contains(&format!("{text}{entitlement} is not allowed"));
    let by_whom = if says("granting entitlement ") {
        " by the daemon; `insecure-entitlements` in buildkitd.toml does, or `builder.entitlements` in \
         Docker's daemon.json"
            .to_owned()
    } else if says("") {
        format!("; `allow = [\"{entitlement}\"]` in layers.toml or `--allow {entitlement}` does")
    } else {
        return None;
    };
    Some((entitlement, format!("{entitlement} is not allowed{by_whom}")))
}

fn step(message: &str, line: Option<u32>, exit_code: Option<i32>) -> EngineError {
    EngineError::Step { message: one_line(message), line, exit_code }
}

/// What a code says by itself.
fn class_of(code: i32) -> Option<Class> {
    match code {
        code::DEADLINE_EXCEEDED | code::RESOURCE_EXHAUSTED | code::UNAVAILABLE => {
            Some(Class::Unavailable)
        }
        code::PERMISSION_DENIED | code::UNAUTHENTICATED => Some(Class::Auth),
        _ => None,
    }
}

/// The message without what wraps it.
fn plain(message: &str) -> &str {
    let mut message = message.trim();
    while let Some(rest) = WRAPPINGS.iter().find_map(|wrapping| message.strip_prefix(wrapping)) {
        message = rest;
    }
    message
}

/// Line and text of `dockerfile parse error on line 3: ..`; 0.8 says it without `on`.
fn parse_error(message: &str) -> Option<(u32, &str)> {
    let rest = message.strip_prefix("dockerfile parse error ")?;
    let (line, mistake) = rest.strip_prefix("on ").unwrap_or(rest).split_once(": ")?;
    Some((line.strip_prefix("line ")?.parse().ok()?, mistake))
}

/// Why a command failed: what follows its quoted words.
fn after_command(message: &str) -> Option<&str> {
    let new = message.rsplit_once("\" did not complete successfully: ");
    if let Some((_, cause)) = new.filter(|(command, _)| command.contains("process \"")) {
        return Some(cause);
    }
    let (_, old) = message.split_once("executor failed running [")?;
    old.rsplit_once("]: ").map(|(_, cause)| cause)
}

/// The message without the name of the snapshot in which a file was looked for.
fn after_checksum(message: &str) -> &str {
    let rest = message.strip_prefix("failed to calculate checksum of ref ");
    rest.and_then(|rest| rest.split_once(": ")).map_or(message, |(_, cause)| cause)
}

/// The message without the names that an image was looked up by.
fn after_metadata(message: &str) -> &str {
    let rest = message.split_once("failed to resolve source metadata for ").map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_once(": ")).map_or(message, |(_, cause)| cause)
}

/// Where it happened.
struct Scene<'a> {
    failure: &'a Failure,
    tracker: &'a Tracker,
    instructions: &'a [Instruction],
    /// The name of the vertex that failed.
    name: &'a str,
    /// The same, if it is of an instruction.
    step: Option<Name<'a>>,
}

impl<'a> Scene<'a> {
    fn new(failure: &'a Failure, tracker: &'a Tracker, instructions: &'a [Instruction]) -> Self {
        let told = failure.details.vertex.as_deref().and_then(|digest| tracker.find(digest));
        let name =
            told.or_else(|| tracker.failed(&failure.message)).map_or("", |vertex| &vertex.name);
        let step = Name::parse(name);
        Self { failure, tracker, instructions, name, step }
    }

    /// Whether a step failed that is not a FROM.
    fn is_past_from(&self) -> bool {
        self.step.is_some_and(|step| !step.is_from())
    }

    /// The failure of a step, by its cause.
    fn step_failed(&self, cause: &str) -> EngineError {
        let text = self.step.map_or("RUN", |step| step.text);
        let code = cause.strip_prefix("exit code: ").and_then(|code| code.parse().ok());
        let what = code.map_or_else(|| cause.to_owned(), |code: i32| format!("exit code {code}"));
        let message = format!("{}: {what}", self.tracker.shown(text));
        match class_of(self.failure.code).unwrap_or_else(|| class(cause)) {
            Class::Unavailable if code.is_none() => EngineError::Unavailable(one_line(&message)),
            // A file that may not be read is the step's, not a missing credential.
            _ => step(&message, self.line(), code),
        }
    }

    /// The line: as told, if the instruction there can be it, else by the name of the vertex.
    fn line(&self) -> Option<u32> {
        let Some(step) = self.step else {
            let told = self.failure.details.lines.first().copied();
            return told.or_else(|| self.line_of_image());
        };
        let can_be = |line: &&u32| line::can_be(&step, **line, self.instructions);
        let told: Vec<u32> = self.failure.details.lines.iter().filter(can_be).copied().collect();
        if let [line] = told[..] {
            return Some(line);
        }
        line::of_step(&step, self.tracker.has_from(&step), self.instructions)
            .or_else(|| told.first().copied())
    }

    /// The line that names the image that could not be found.
    fn line_of_image(&self) -> Option<u32> {
        let looked_up = self.name.split_once("load metadata for ").map(|(_, reference)| reference);
        // 0.8 looks images up that are only copied from when it needs them.
        let reference = looked_up.or_else(|| self.name.strip_prefix("FROM "))?;
        line::of_image(reference, self.instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::vertex::Vertex;

    const DOCKERFILE: &str = "FROM busybox AS one\nRUN x\nFROM acme/nope:1\nRUN x\nRUN make \\\n  all\n\
        COPY nope /x\n";

    /// A build in which the vertex with this name failed like this.
    fn build(name: &str, error: &str) -> Tracker {
        let mut tracker = Tracker::default();
        let mut tell = |digest: &str, name: &str, error: &str| {
            let vertex = Vertex {
                digest: digest.into(),
                name: name.into(),
                started: true,
                completed: true,
                cached: false,
                error: error.into(),
            };
            tracker.vertex(&vertex, &mut |_| {});
        };
        tell("sha256:0", "[internal] load build definition from Dockerfile", "");
        tell("sha256:1", "[one 1/2] FROM docker.io/library/busybox", "");
        tell("sha256:2", "[stage-1 1/4] FROM docker.io/acme/nope:1", "");
        tell("sha256:3", "[one 2/2] RUN x", "process \"x\" did not complete: context canceled");
        tell("sha256:4", name, error);
        tracker
    }

    fn failed(code: i32, message: &str, name: &str, error: &str) -> EngineError {
        let failure = Failure::new(code, message, b"");
        classify(&failure, &build(name, error), DOCKERFILE.as_bytes())
    }

    type Step = (String, Option<u32>, Option<i32>);

    fn step_of(message: &str, name: &str, error: &str) -> Step {
        match failed(2, message, name, error) {
            EngineError::Step { message, line, exit_code } => (message, line, exit_code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failed_run_has_its_line_and_its_exit_code_in_both_generations() {
        for (message, error) in [
            (
                "failed to solve: process \"/bin/sh -c make   all\" did not complete successfully: \
                 exit code: 2",
                "process \"/bin/sh -c make   all\" did not complete successfully: exit code: 2",
            ),
            (
                "failed to solve with frontend dockerfile.v0: failed to build LLB: executor failed \
                 running [/bin/sh -c make   all]: exit code: 2",
                "executor failed running [/bin/sh -c make   all]: exit code: 2",
            ),
            (
                "rpc error: code = Unknown desc = executor failed running [/bin/sh -c make   all]: \
                 exit code: 2",
                "executor failed running [/bin/sh -c make   all]: exit code: 2",
            ),
        ] {
            let step = step_of(message, "[stage-1 3/4] RUN make   all", error);
            assert_eq!(step, ("RUN make all: exit code 2".into(), Some(5), Some(2)));
        }
    }

    #[test]
    fn what_a_command_is_called_with_does_not_classify_it() {
        let error = "process \"/bin/sh -c echo dial tcp: unauthorized\" did not complete successfully: \
            exit code: 7";
        let (_, _, code) = step_of(error, "[one 2/2] RUN echo dial tcp: unauthorized", error);
        assert_eq!(code, Some(7));
    }

    #[test]
    fn a_missing_source_is_the_users_in_both_generations() {
        for (message, error, cause) in [
            (
                "failed to solve: failed to compute cache key: failed to calculate checksum of ref \
                 c9b2w0::x1: \"/nope\": not found",
                "failed to calculate checksum of ref c9b2w0::x1: \"/nope\": not found",
                "\"/nope\": not found",
            ),
            (
                "failed to solve with frontend dockerfile.v0: failed to build LLB: failed to compute \
                 cache key: \"/nope\" not found: not found",
                "\"/nope\" not found: not found",
                "\"/nope\" not found: not found",
            ),
        ] {
            let step = step_of(message, "[stage-1 4/4] COPY nope /x", error);
            assert_eq!(step, (format!("COPY nope /x: {cause}"), Some(7), None));
        }
    }

    #[test]
    fn a_parse_error_has_its_line_in_both_generations() {
        for message in [
            "failed to solve: dockerfile parse error on line 3: unknown instruction: UNAUTHORIZED",
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: \
             dockerfile parse error line 3: unknown instruction: UNAUTHORIZED",
        ] {
            let step = step_of(message, "", "");
            assert_eq!(step, ("unknown instruction: UNAUTHORIZED".into(), Some(3), None));
        }
    }

    #[test]
    fn what_is_not_allowed_names_the_key_that_allows_it() {
        let own = "failed to solve: security.insecure is not allowed";
        let daemons =
            "granting entitlement network.host is not allowed by build daemon configuration";
        for (message, expected) in [
            (
                own,
                "security.insecure is not allowed; `allow = [\"security.insecure\"]` in layers.toml or \
                 `--allow security.insecure` does",
            ),
            (
                daemons,
                "network.host is not allowed by the daemon; `insecure-entitlements` in buildkitd.toml \
                 does, or `builder.entitlements` in Docker's daemon.json",
            ),
        ] {
            let (text, line, _) = step_of(message, "", "");
            assert_eq!((text.as_str(), line), (expected, None));
        }
    }

    #[test]
    fn a_command_that_speaks_of_what_is_not_allowed_is_a_failed_command() {
        for message in [
            "process \"/bin/sh -c echo network.host is not allowed; exit 3\" did not complete \
             successfully: exit code: 3",
            "executor failed running [/bin/sh -c echo network.host is not allowed; exit 3]: exit \
             code: 3",
        ] {
            let (text, line, code) = step_of(message, "[one 2/2] RUN x", message);
            assert_eq!((text.as_str(), line, code), ("RUN x: exit code 3", Some(2), Some(3)));
        }
    }

    #[test]
    fn what_is_not_allowed_has_the_line_of_the_only_run_that_asks_for_it() {
        let line = |dockerfile: &str| {
            let failure = Failure::new(2, "failed to solve: network.host is not allowed", b"");
            match classify(&failure, &Tracker::default(), dockerfile.as_bytes()) {
                EngineError::Step { line, .. } => line,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(line("FROM a\nRUN x\nRUN --network=host x --network=host\n"), Some(3));
        assert_eq!(line("FROM a\nRUN --network=host x\nRUN --network=host y\n"), None);
    }

    #[test]
    fn a_missing_target_is_the_users() {
        let step = step_of("failed to solve: target stage \"z\" could not be found", "", "");
        assert_eq!(step, ("target stage \"z\" could not be found".into(), None, None));
    }

    #[test]
    fn a_missing_image_has_the_line_of_its_from_in_both_generations() {
        let error = "docker.io/acme/nope:1: not found";
        for message in [
            format!(
                "failed to solve: acme/nope:1: failed to resolve source metadata for \
                 docker.io/acme/nope:1: {error}"
            ),
            format!(
                "failed to solve: rpc error: code = Unknown desc = failed to solve with frontend \
                 dockerfile.v0: failed to create LLB definition: {error}"
            ),
        ] {
            let step =
                step_of(&message, "[internal] load metadata for docker.io/acme/nope:1", error);
            assert_eq!(step, (error.into(), Some(3), None));
        }
    }

    #[test]
    fn a_missing_image_that_is_copied_from_has_the_line_of_that_in_both_generations() {
        let error = "docker.io/acme/tools:1: not found";
        let dockerfile = b"FROM busybox\nCOPY --from=acme/tools:1 /a /b\n";
        for name in
            ["[internal] load metadata for docker.io/acme/tools:1", "FROM docker.io/acme/tools:1"]
        {
            let failure = Failure::new(2, error, b"");
            let step = classify(&failure, &build(name, error), dockerfile);
            assert!(matches!(step, EngineError::Step { line: Some(2), .. }), "{name}: {step:?}");
        }
    }

    #[test]
    fn a_builder_that_cannot_pin_parents_is_told_so() {
        let message = "failed to solve: rpc error: code = Unknown desc = failed to solve with frontend \
            dockerfile.v0: unsupported frontend capability moby.buildkit.frontend.contexts";
        assert!(matches!(failed(2, message, "", ""), EngineError::Unsupported(_)));
    }

    #[test]
    fn a_refused_pull_is_a_matter_of_credentials() {
        let error = "pull access denied, repository does not exist or may require authorization: \
            server message: insufficient_scope: authorization failed";
        let message = format!(
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: {error}"
        );
        let name = "[internal] load metadata for docker.io/acme/nope:1";
        let EngineError::Auth(text) = failed(2, &message, name, error) else { panic!() };
        assert_eq!(text, error);
    }

    #[test]
    fn a_builder_or_registry_that_is_not_there_is_unavailable() {
        for (code, message) in [
            (14, "error reading from server: EOF"),
            (4, "context deadline exceeded"),
            (8, "no room"),
            (2, "failed to solve: no active session for abc: context deadline exceeded"),
            (2, "no such job abc"),
            (
                2,
                "failed to copy: httpReadSeeker: failed open: unexpected status code \
                 https://r/v2/a/blobs/sha256:0: 503 Service Unavailable",
            ),
            (2, "failed to do request: Head \"https://r/v2/\": dial tcp: lookup r: no such host"),
            (2, "write /x: no space left on device"),
        ] {
            let error = failed(code, message, "[internal] load metadata for r/a", message);
            assert!(matches!(error, EngineError::Unavailable(_)), "{message}: {error:?}");
        }
    }

    #[test]
    fn a_full_disk_while_copying_is_not_the_users_fault() {
        let error = "failed to copy files: copy file range failed: no space left on device";
        let failed = failed(2, error, "[stage-1 4/4] COPY nope /x", error);
        assert!(matches!(failed, EngineError::Unavailable(_)));
    }

    #[test]
    fn an_image_that_the_builder_cannot_write_is_not_the_users_fault() {
        let error = "failed to get digest sha256:0: open /var/lib/docker/image/overlay2/imagedb/content/\
            sha256/0: no such file or directory";
        let failed = failed(2, &format!("failed to solve: {error}"), "exporting to image", error);
        assert!(matches!(failed, EngineError::Unavailable(_)));
    }

    #[test]
    fn a_cancelled_build_is_cancelled() {
        let error = failed(1, "context canceled", "[one 2/2] RUN x", "context canceled");
        assert!(matches!(error, EngineError::Cancelled));
    }

    #[test]
    fn the_line_that_is_told_goes_first_if_it_can_be() {
        let message = "process \"/bin/sh -c x\" did not complete successfully: exit code: 1";
        let line = |lines: &[u32]| {
            let details = Details { lines: lines.to_vec(), vertex: None };
            let failure = Failure { code: 2, message: message.into(), details };
            let tracker = build("[stage-1 2/4] RUN x", message);
            match classify(&failure, &tracker, DOCKERFILE.as_bytes()) {
                EngineError::Step { line, .. } => line,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(line(&[5]), Some(5));
        assert_eq!(line(&[1]), Some(4), "line 1 is no RUN");
        assert_eq!(line(&[2, 4]), Some(4), "one vertex of two instructions");
    }
}
