//! What a user sees of a build that fails: where, why, and the last that it printed.

use super::*;
use crate::support::Said;

/// What a run says whose one image has this Dockerfile, and fails.
fn fails(bench: &Bench, dockerfile: &str) -> Said {
    let tree = bench.workspace("//- images/a/f\n");
    tree.write("images/a/Dockerfile", bench.named(dockerfile));
    let before = bench.images();
    let said = bench.rebuild(&tree, "").exits(1);
    assert_eq!(bench.images(), before, "nothing is left of it");
    said
}

/// The registry of the tests, where it is there.
fn registry() -> Option<String> {
    variable("IMGRAPH_TEST_REGISTRY")
}

#[test]
fn a_failed_command_has_its_line_the_end_of_its_output_and_a_log_with_all_of_it() {
    Bench::each(|bench| {
        let tree = bench.workspace(
            "
            //- images/a/Dockerfile
            FROM @busybox

            # why
            RUN for i in $(seq 1 30); do echo line $i; done; \\
                # inside
                exit 42
            //- images/b/Dockerfile
            FROM @/a
            ",
        );
        let said = bench.rebuild(&tree, "").exits(1).mentions(
            "
            [a] failed: images/a/Dockerfile:4: RUN for i in $(seq 1 30); do echo line $i; done; exit 42: exit code 42
              | line 11
              | line 30
            [a] log: .imgraph/runs/[RUN]/a.log
            [b] blocked: a failed
            failed          a  images/a/Dockerfile:4: RUN for i in $(seq 1 30)
            ",
        );
        said.never_mentions("| line 10\n");
        let runs: Vec<PathBuf> = fs::read_dir(tree.path(".imgraph/runs"))
            .unwrap()
            .map(|run| run.unwrap().path())
            .collect();
        let log = fs::read_to_string(runs[0].join("a.log")).unwrap();
        let all: Vec<String> = (1..=30).map(|number| format!("line {number}\n")).collect();
        assert!(log.contains(&all.concat()), "{log}");
    });
}

#[test]
fn a_source_that_is_not_there_has_its_line() {
    Bench::each(|bench| {
        for (copy, cause) in [
            ("COPY --from=@busybox /nope /b", "\"/nope\""),
            ("COPY --from=one /nope /b", "/nope"),
            ("RUN --mount=type=bind,from=one,source=/nope,target=/m true", "/nope"),
        ] {
            let dockerfile = format!("FROM @busybox AS one\nCOPY f /\nFROM one\n{copy}\n");
            let at = format!("[a] failed: images/a/Dockerfile:4: {}", bench.named(copy));
            fails(bench, &dockerfile).mentions(&at).mentions(cause);
        }
    });
}

#[test]
fn a_stage_that_is_not_there_has_its_line() {
    Bench::each(|bench| {
        // The workspace would have said it before.
        let target = Some("nope".to_owned());
        let request = Request { target, ..bench.request("FROM @busybox AS one\n") };
        let error = bench.build(&request).unwrap_err();
        let EngineError::Step { message, .. } = &error else { panic!("{error:?}") };
        assert!(message.contains("nope") && message.contains("could not be found"), "{message}");

        let Some(registry) = registry() else { return };
        let stage = format!("{registry}/{}:1", bench.tag);
        for dockerfile in [
            format!("FROM @busybox\nCOPY f /\nCOPY --from={stage} /a /b\n"),
            format!("FROM @busybox\nCOPY f /\nRUN --mount=from={stage},target=/m true\n"),
        ] {
            let said = format!("[a] failed: images/a/Dockerfile:3: {stage}: not found");
            fails(bench, &dockerfile).mentions(&said);
        }
        let said = format!("[a] failed: images/a/Dockerfile:1: {stage}: not found");
        fails(bench, &format!("FROM {stage}\nCOPY f /\n")).mentions(&said);
    });
}

#[test]
fn a_mistake_that_only_the_daemon_sees_has_its_line() {
    Bench::each(|bench| {
        let error = bench.build(&bench.request("FROM @busybox\n\nBOGUS x\n")).unwrap_err();
        let EngineError::Step { message, line, exit_code } = error else { panic!("{error:?}") };
        assert_eq!((line, exit_code), (Some(3), None));
        assert_eq!(message, "unknown instruction: BOGUS");
        // A flag of a newer syntax than either has.
        let said = fails(bench, "FROM @busybox\nCOPY --parents f /x/\n");
        said.mentions("[a] failed: images/a/Dockerfile:2:").mentions("nknown flag: parents");
    });
}

#[test]
fn a_program_that_is_not_there_has_its_line() {
    Bench::each(|bench| {
        let said = fails(bench, "FROM @busybox\nCOPY f /\nRUN [\"/no/program\"]\n");
        said.mentions(
            "
            [a] failed: images/a/Dockerfile:3: RUN [\"/no/program\"]: exit code 1
              | runc run failed:
            ",
        );
    });
}
