//! Why a build failed: the user's Dockerfile, a credential, or the engine and the network.
//!
//! Only buildah's own last words are judged, never what a RUN printed: a command that could not
//! reach a server is a failed step all the same.

use std::path::Path;

use crate::engine::EngineError;
use crate::engine::buildah::output::{Begun, Output};
use crate::engine::cause::{Class, class};
use crate::engine::instructions::{self, Instruction};
use crate::engine::message::{one_line, squeezed};
use crate::process::Exit;

/// Classifies a failed build. `scratch` is where the build's own copy of the context lay: its path
/// means nothing to the user.
pub fn classify(
    exit: Exit,
    output: &Output,
    instructions: &[Instruction],
    scratch: &Path,
) -> EngineError {
    let error = output.error.join(" ");
    let error = error
        .replace(&format!("under \"{}\"", scratch.join("context").display()), "in the context");
    let error = error.replace(&format!("{}/", scratch.display()), "");
    if let Some(error) = without_words(exit, &error) {
        return error;
    }
    let Some((step, cause)) = output.step.as_ref().and_then(|step| cause(&error, step)) else {
        return outside_a_step(&error, output, instructions);
    };
    let line = line_of(step, instructions);
    if let Some(code) = cause.strip_prefix("exit status ").and_then(|code| code.parse().ok()) {
        let message = one_line(&format!("{}: exit code {code}", step.text));
        return EngineError::Step { message, line, exit_code: Some(code) };
    }
    if let Some(cause) = cause.strip_prefix("while running runtime: ") {
        let what = &output.before_error;
        return EngineError::Unavailable(one_line(&format!(
            "buildah cannot start a container: {cause}: {what}"
        )));
    }
    let message = one_line(&format!("{}: {cause}", step.text));
    match class(cause) {
        // A file that may not be read is the step's, not a missing credential.
        Class::Unavailable => EngineError::Unavailable(message),
        Class::Auth | Class::User => EngineError::Step { message, line, exit_code: None },
    }
}

/// Classifies a failed pull or push. What a registry refuses for another reason than a credential it
/// will refuse again.
pub fn of_transfer(exit: Exit, output: &Output) -> EngineError {
    let error = output.error.join(" ");
    if let Some(error) = without_words(exit, &error) {
        return error;
    }
    let message = one_line(&error);
    match class(&error) {
        Class::Auth => EngineError::Auth(message),
        Class::Unavailable => EngineError::Unavailable(message),
        Class::User => EngineError::Unsupported(message),
    }
}

/// A failure that is no matter of what buildah said last.
fn without_words(exit: Exit, error: &str) -> Option<EngineError> {
    Some(match (exit, error.is_empty()) {
        (Exit::Stopped, _) => EngineError::Cancelled,
        (Exit::Signal(signal), true) => {
            EngineError::Unavailable(format!("buildah was killed by signal {signal}"))
        }
        (Exit::Code(code), true) => {
            EngineError::Unavailable(format!("buildah ended with {code} and said nothing"))
        }
        (Exit::Code(_) | Exit::Signal(_), false) => return None,
    })
}

/// The part of the message behind `building at STEP "..": `.
fn cause<'a, 'b>(error: &'a str, step: &'b Begun) -> Option<(&'b Begun, &'a str)> {
    let rest = error.strip_prefix("building at STEP \"")?;
    let cause = match rest.strip_prefix(step.text.as_str()) {
        Some(rest) => rest.strip_prefix("\": ")?,
        None => rest.rsplit_once("\": ")?.1,
    };
    Some((step, cause))
}

/// A failed FROM, a missing stage, or a Dockerfile that cannot be read.
fn outside_a_step(error: &str, output: &Output, instructions: &[Instruction]) -> EngineError {
    let message = one_line(error);
    match class(error) {
        Class::Auth => EngineError::Auth(message),
        Class::Unavailable => EngineError::Unavailable(message),
        Class::User => {
            let line = output.step.as_ref().and_then(|step| line_of(step, instructions));
            EngineError::Step { message, line, exit_code: None }
        }
    }
}

/// The line of a step: by its place, if the text there is the same, else by its text, if only one
/// instruction has it. Triggers of a base image shift places and are in no line.
fn line_of(step: &Begun, instructions: &[Instruction]) -> Option<u32> {
    let wanted = squeezed(&step.text);
    let is_meant = |instruction: &Instruction| {
        squeezed(&instruction.text) == wanted || (step.place == 1 && instruction.is_from())
    };
    let at_its_place = instructions
        .iter()
        .find(|instruction| (instruction.stage, instruction.place) == (step.stage, step.place))
        .filter(|instruction| is_meant(instruction));
    if let Some(instruction) = at_its_place {
        return Some(instruction.line);
    }
    instructions::only(instructions, &step.text).map(|only| only.line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::instructions::scan;

    const DOCKERFILE: &str =
        "ARG V\nFROM a AS one\nRUN x\nFROM b\nRUN x\nRUN make \\\n  all\nCOPY nope /x\n";

    fn failed(printed: &str) -> EngineError {
        let mut output = Output::default();
        for line in printed.lines() {
            output.line(line, &mut |_| {});
        }
        classify(Exit::Code(1), &output, &scan(DOCKERFILE.as_bytes()), Path::new("/s/1"))
    }

    fn step(printed: &str) -> (String, Option<u32>, Option<i32>) {
        match failed(printed) {
            EngineError::Step { message, line, exit_code } => (message, line, exit_code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failed_run_has_its_line_and_its_exit_code() {
        let printed = "[1/2] STEP 1/2: FROM a AS one\n[1/2] STEP 2/2: RUN x\n[2/2] STEP 1/4: FROM b\n\
            [2/2] STEP 2/4: RUN x\n[2/2] STEP 3/4: RUN make   all\nboom\n\
            subprocess exited with status 2\nError: building at STEP \"RUN make   all\": exit status 2";
        assert_eq!(step(printed), ("RUN make all: exit code 2".into(), Some(6), Some(2)));
    }

    #[test]
    fn of_two_equal_instructions_the_right_one_is_named() {
        let first = "[1/2] STEP 1/2: FROM a AS one\n[1/2] STEP 2/2: RUN x\n\
            Error: building at STEP \"RUN x\": exit status 1";
        let second = "[2/2] STEP 1/4: FROM b\n[2/2] STEP 2/4: RUN x\n\
            Error: building at STEP \"RUN x\": exit status 1";
        assert_eq!(step(first).1, Some(3));
        assert_eq!(step(second).1, Some(5));
    }

    #[test]
    fn no_line_is_better_than_a_wrong_one() {
        let shifted_by_a_trigger = "[2/2] STEP 1/5: FROM b\n[2/2] STEP 2/5: COPY . /\n[2/2] STEP 3/5: RUN x\n\
            Error: building at STEP \"RUN x\": exit status 1";
        assert_eq!(step(shifted_by_a_trigger).1, None);
    }

    #[test]
    fn a_missing_source_names_no_scratch_directory() {
        let printed = "[2/2] STEP 1/2: FROM b\n[2/2] STEP 2/2: COPY nope /x\n\
            Error: building at STEP \"COPY nope /x\": checking on sources under \"/s/1/context\": \
            copier: stat: \"/nope\": no such file or directory";
        let (message, line, code) = step(printed);
        assert_eq!(
            message,
            "COPY nope /x: checking on sources in the context: copier: stat: \"/nope\": no such file or \
             directory"
        );
        assert_eq!((line, code), (Some(8), None));
    }

    #[test]
    fn a_registry_that_does_not_answer_is_not_the_users_fault() {
        let printed = "STEP 1/2: FROM b\nError: creating build container: initializing source docker://b: \
            pinging container registry r.example: Get \"https://r.example/v2/\": dial tcp: lookup \
            r.example: no such host";
        assert!(matches!(failed(printed), EngineError::Unavailable(_)));
    }

    #[test]
    fn a_full_disk_while_copying_is_not_the_users_fault() {
        let printed = "STEP 1/2: FROM b\nSTEP 2/2: COPY nope /x\nError: building at STEP \"COPY nope /x\": \
            storing: write /x: no space left on device";
        assert!(matches!(failed(printed), EngineError::Unavailable(_)));
    }

    #[test]
    fn a_refused_pull_is_a_matter_of_credentials() {
        let printed = "STEP 1/2: FROM b\nError: creating build container: reading manifest 1 in r.example/b: \
            unauthorized: authentication required";
        assert!(matches!(failed(printed), EngineError::Auth(_)));
    }

    #[test]
    fn what_a_command_prints_does_not_classify_it() {
        let printed = "STEP 1/2: FROM b\nSTEP 2/2: RUN x\nError: dial tcp: no such host\n\
            Error: building at STEP \"RUN x\": exit status 9";
        assert_eq!(step(printed).2, Some(9));
    }

    #[test]
    fn a_mistake_in_the_dockerfile_is_the_users() {
        let (message, line, _) =
            step("Error: The target \"z\" was not found in the provided Dockerfile");
        assert_eq!(message, "The target \"z\" was not found in the provided Dockerfile");
        assert_eq!(line, None);
    }

    #[test]
    fn a_runtime_that_does_not_start_is_unavailable() {
        let printed = "STEP 1/2: FROM b\nSTEP 2/2: RUN x\nerror running container: no cgroup\n\
            Error: building at STEP \"RUN x\": while running runtime: exit status 1";
        let EngineError::Unavailable(message) = failed(printed) else { panic!() };
        assert!(message.contains("no cgroup"), "{message}");
    }

    #[test]
    fn a_killed_buildah_is_unavailable_and_a_stopped_one_cancelled() {
        let none = Output::default();
        let classified = |exit| classify(exit, &none, &[], Path::new("/s"));
        assert!(matches!(classified(Exit::Signal(9)), EngineError::Unavailable(_)));
        assert!(matches!(classified(Exit::Stopped), EngineError::Cancelled));
    }
}
