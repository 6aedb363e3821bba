//! Why a build failed, out of the text that buildx ends with:
//!
//! ```text
//! Dockerfile:10
//! --------------------
//!   10 | >>> RUN make
//! --------------------
//! ERROR: failed to solve: process "/bin/sh -c make" did not complete successfully: exit code: 2
//! ```
//! The place is printed where the builder told it (`solver/errdefs/source.go`). A code of gRPC other
//! than `Unknown` comes before the message (`util/grpcerrors/grpcerrors.go`). buildx's own exit code
//! does not tell the user's mistakes from the builder's.

use crate::engine::EngineError;
use crate::engine::buildx::output::Output;
use crate::engine::cause::{Class, class};
use crate::engine::message::one_line;
use crate::engine::vertex::details::Details;
use crate::engine::vertex::failure::{self, Failure};
use crate::process::Exit;

/// The names of gRPC's codes, in their order (`google.golang.org/grpc/codes`).
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// What buildx puts before the builder's message.
const WRAPPINGS: [&str; 2] = ["failed to build: ", "failed to solve: "];

/// Classifies a failed build.
pub fn classify(exit: Exit, output: &Output, dockerfile: &[u8]) -> EngineError {
    match exit {
        Exit::Stopped => return EngineError::Cancelled,
        Exit::Signal(signal) => {
            return EngineError::Unavailable(format!("docker was killed by signal {signal}"));
        }
        Exit::Code(_) => {}
    }
    let Some(message) = error(&output.said) else { return without_error(exit, &output.said) };
    let details = Details { lines: lines(&output.said), vertex: None };
    let failure = Failure { details, ..coded(&message) };
    match failure::classify(&failure, &output.tracker, dockerfile) {
        // Nobody here did, so the builder goes away.
        EngineError::Cancelled => EngineError::Unavailable(one_line(&message)),
        error => error,
    }
}

/// The last error, with what follows it.
fn error(said: &[String]) -> Option<String> {
    let from = said.iter().rposition(|line| line.starts_with("ERROR: "))?;
    let message = said[from..].join("\n");
    message.strip_prefix("ERROR: ").map(|message| message.trim().to_owned())
}

/// Something is wrong with the client: it did not come to build.
fn without_error(exit: Exit, said: &[String]) -> EngineError {
    let text = one_line(&said.join(" "));
    if text.is_empty() {
        return EngineError::Unavailable(format!("docker ended without a word: {exit:?}"));
    }
    match class(&text) {
        Class::Auth => EngineError::Auth(text),
        Class::Unavailable => EngineError::Unavailable(text),
        Class::User => EngineError::Unsupported(text),
    }
}

/// The code that a message begins with, and what follows it.
fn coded(message: &str) -> Failure {
    let inner =
        WRAPPINGS.iter().fold(message, |rest, word| rest.strip_prefix(word).unwrap_or(rest));
    let named = inner.split_once(": ").and_then(|(word, rest)| {
        let code = CODES.iter().position(|code| *code == word)?;
        Some((i32::try_from(code).ok()?, rest))
    });
    let (code, message) = named.unwrap_or((2, inner));
    Failure { code, message: message.to_owned(), details: Details::default() }
}

/// The lines of `NAME:LINE` above a rule.
fn lines(said: &[String]) -> Vec<u32> {
    let is_rule = |line: &str| line.len() >= 10 && line.bytes().all(|byte| byte == b'-');
    let place = |pair: &[String]| {
        let (_, line) = pair[0].rsplit_once(':')?;
        line.parse().ok().filter(|_| is_rule(&pair[1]))
    };
    said.windows(2).filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(printed: &str, dockerfile: &str) -> EngineError {
        let mut output = Output::default();
        for line in printed.lines() {
            output.line(line, &mut |_| {});
        }
        output.finish(&mut |_| {});
        classify(Exit::Code(1), &output, dockerfile.as_bytes())
    }

    #[test]
    fn a_failed_run_has_its_line_and_its_exit_code() {
        let dockerfile = format!("{}RUN busybox sleep 1 \\\n  && x\n", "\n".repeat(9));
        let error = failed(include_str!("captures/pretty.txt"), &dockerfile);
        let EngineError::Step { message, line, exit_code } = error else { panic!("{error:?}") };
        assert_eq!(
            message,
            "RUN busybox sleep 1 && busybox echo \"dial tcp\" && exit 42: exit code 42"
        );
        assert_eq!((line, exit_code), (Some(10), Some(42)));
    }

    #[test]
    fn a_code_before_the_message_is_read() {
        let error = failed("ERROR: failed to solve: Unavailable: it is closing\n", "");
        let EngineError::Unavailable(text) = error else { panic!("{error:?}") };
        assert_eq!(text, "it is closing");
        let error = failed("ERROR: failed to build: failed to solve: ResourceExhausted: x\n", "");
        assert!(matches!(error, EngineError::Unavailable(_)));
    }

    #[test]
    fn a_build_that_the_builder_gave_up_was_not_cancelled_here() {
        let error = failed("ERROR: failed to solve: Canceled: context canceled\n", "");
        assert!(matches!(error, EngineError::Unavailable(_)));
        let stopped = classify(Exit::Stopped, &Output::default(), b"");
        assert!(matches!(stopped, EngineError::Cancelled));
    }

    #[test]
    fn a_daemon_that_is_not_there_is_unavailable() {
        let text =
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?";
        let error = failed(&format!("ERROR: {text}\n"), "");
        assert!(matches!(error, EngineError::Unavailable(found) if found == text));
    }

    #[test]
    fn a_place_and_a_message_of_several_lines_are_read() {
        let printed = "#warning: x\nsub/Dockerfile:3\n--------------------\n   3 | >>> COPY a b\n\
            --------------------\nERROR: failed to solve: dockerfile parse error on line 3: what\nis this\n";
        let error = failed(printed, "FROM a\n\nCOPY a b\n");
        let EngineError::Step { message, line, .. } = error else { panic!("{error:?}") };
        assert_eq!((message.as_str(), line), ("what is this", Some(3)));
    }

    #[test]
    fn a_client_that_cannot_build_is_no_mistake_of_the_user() {
        let error = failed("unknown flag: --x\nSee 'docker --help'.\n\n", "");
        let EngineError::Unsupported(text) = error else { panic!("{error:?}") };
        assert_eq!(text, "unknown flag: --x See 'docker --help'.");
        assert!(matches!(failed("", ""), EngineError::Unavailable(_)));
        let killed = classify(Exit::Signal(9), &Output::default(), b"");
        assert!(matches!(killed, EngineError::Unavailable(_)));
    }
}
