//! The command line itself: help, exit codes, environment, colours.

use std::io::Read;
use std::process::Stdio;

use imgraph::cli::failure::Exit;

use crate::support::{TREE, Workspace};

/// Every verb with the first line of its help.
const VERBS: [(&str, &str); 12] = [
    ("rebuild", "Bring images up to date"),
    ("plan", "Show what a rebuild would do, and why"),
    ("why", "Say why an image is out of date, or why it is not"),
    ("affected", "List the images that differ from another revision"),
    ("promote", "Point tags of another repository at images that are pushed"),
    ("inputs", "List exactly what enters the key of an image"),
    ("ls", "List the images"),
    ("graph", "Show the graph"),
    ("check", "Find everything that is wrong with the workspace"),
    ("init", "Write a layers.toml for the images that are found"),
    ("doctor", "Look for what is missing on this machine"),
    ("completions", "Print a script that completes commands in a shell"),
];

#[test]
fn every_verb_has_help() {
    let tree = Workspace::new(TREE);
    let all = tree.imgraph("--help").exits(0).says("");
    for (verb, help) in VERBS {
        assert!(all.stdout.contains(&format!("\n  {verb} ")), "{verb} in\n{}", all.stdout);
        let own = tree.imgraph(&format!("{verb} --help")).exits(0).says("");
        assert!(own.stdout.starts_with(help), "{verb} begins with\n{}", own.stdout);
        assert!(own.stdout.contains(&format!("Usage: imgraph {verb} ")), "{}", own.stdout);
        assert!(own.stdout.contains("--directory <DIR>"), "{}", own.stdout);
    }
}

#[test]
fn the_help_of_rebuild_has_what_people_look_for() {
    let outcome = Workspace::new(TREE).imgraph("rebuild -h").exits(0);
    outcome.mentions(
        "
        Usage: imgraph rebuild [OPTIONS] [SELECTOR]...
        --changed
        -n, --dry-run[=<FORMAT>]
        -f, --force
        --no-cache
        --rerun <RUN>
        -j, --jobs <N>
        -k, --keep-going[=<N>]
        --fail-fast
        --json
        --no-wait
        ",
    );
}

#[test]
fn the_help_has_every_exit_code() {
    let help = Workspace::new(TREE).imgraph("--help").exits(0).stdout;
    for code in [
        Exit::OK,
        Exit::IMAGE_FAILED,
        Exit::USAGE,
        Exit::WORKSPACE,
        Exit::NO_MATCH,
        Exit::UNAVAILABLE,
        Exit::BUG,
        Exit::LOCKED,
        Exit::INTERRUPTED,
        Exit::TERMINATED,
    ] {
        let (_, table) = help.split_once("Exit codes:").unwrap();
        let word =
            |line: &str| line.split(|c: char| !c.is_ascii_digit()).any(|it| it == code.to_string());
        assert!(table.lines().any(word), "{code} in\n{table}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let tree = Workspace::new(TREE);
    let version = format!("imgraph {}\n", env!("CARGO_PKG_VERSION"));
    tree.imgraph("--version").exits(0).prints(&version);
    tree.imgraph("-V").exits(0);
}

#[test]
fn commands_can_be_completed_in_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script =
            Workspace::new(TREE).imgraph(&format!("completions {shell}")).exits(0).says("");
        for word in ["rebuild", "fail-fast", "completions"] {
            assert!(script.stdout.contains(word), "{word} in the completions of {shell}");
        }
    }
}

#[test]
fn a_verb_may_be_shortened_and_build_is_rebuild() {
    let tree = Workspace::new(TREE);
    tree.imgraph("build tools").exits(0).mentions("2 built");
    tree.imgraph("reb tools").exits(0).mentions("nothing to do");
}

#[test]
fn what_cannot_be_meant_is_exit_code_2() {
    for arguments in [
        "",
        "rebiuld",
        "rebuild --jobs 0",
        "rebuild --jobs many",
        "rebuild --network bridge",
        "rebuild --add-host db",
        "rebuild --cache-to type=disk",
        "rebuild --provenance full",
        "plan --fail-fast",
        "rebuild --atomic",
        "rebuild --cache nowhere:r",
        "rebuild --fail-fast -k",
        "rebuild --rerun first",
        "rebuild tools --rerun last",
        "plan --engine docker-in-space",
        "why",
        "inputs",
        "graph --format jpeg",
        "completions csh",
        "-C nowhere ls",
    ] {
        let outcome = Workspace::new(TREE).imgraph(arguments).exits(2).prints("");
        assert!(outcome.stderr.contains("error: "), "{arguments}: {}", outcome.stderr);
    }
}

#[test]
fn a_misspelt_verb_or_option_is_answered_with_the_right_one() {
    let tree = Workspace::new(TREE);
    tree.imgraph("rebiuld").exits(2).mentions("subcommands exist: 'build', 'rebuild'");
    tree.imgraph("rebuild --chnged").exits(2).mentions("--changed");
}

#[test]
fn the_environment_stands_in_for_options_and_options_win() {
    let tree = Workspace::new(TREE);
    let said = |arguments: &str, environment: &[(&str, &str)]| {
        tree.run(&format!("rebuild --force base {arguments}"), environment).exits(0).stderr
    };
    assert!(said("", &[("IMGRAPH_JOBS", "7")]).contains(", 7 at a time"));
    assert!(said("-j 3", &[("IMGRAPH_JOBS", "7")]).contains(", 3 at a time"));
    assert_eq!(said("", &[("IMGRAPH_UI", "quiet")]), "");
    assert!(said("", &[("IMGRAPH_LOGS", "all")]).contains("[base]  | simulated base"));
}

#[test]
fn a_directory_may_come_from_the_environment() {
    let tree = Workspace::new(TREE);
    let elsewhere = Workspace::new("//- README.md\nx\n");
    let root = tree.root();
    let environment = [("IMGRAPH_DIRECTORY", root.to_str().unwrap())];
    elsewhere.run("ls -1", &environment).exits(0).mentions("apps/api");
}

#[test]
fn colours_are_for_people() {
    let colour = "\u{1b}[";
    let tree = Workspace::new(TREE);
    let plan = |option: &str, environment: &[(&str, &str)]| {
        tree.run(&format!("plan {option}"), environment).exits(0).stdout.contains(colour)
    };
    assert!(!plan("", &[]), "a pipe is no person");
    assert!(plan("--color=always", &[]));
    assert!(plan("", &[("FORCE_COLOR", "1")]));
    assert!(plan("", &[("CLICOLOR_FORCE", "1")]));
    assert!(!plan("", &[("FORCE_COLOR", "0")]));
    assert!(!plan("", &[("FORCE_COLOR", "1"), ("NO_COLOR", "1")]));
    assert!(plan("--color=always", &[("NO_COLOR", "1")]), "what is typed wins");
    assert!(!plan("--color=never", &[("FORCE_COLOR", "1")]));
}

#[test]
fn quiet_says_only_what_went_wrong() {
    let tree = Workspace::new(TREE);
    tree.rebuild("--quiet").exits(0).prints("").says("");
    tree.write("simulate.toml", "[image.tools]\noutcome = 'fail'\n");
    let outcome = tree.rebuild("--quiet --force tools").exits(1);
    outcome.mentions("[tools] failed: images/tools/Dockerfile:1").never_mentions("started");
}

#[test]
fn verbose_says_more() {
    let tree = Workspace::new(TREE);
    tree.rebuild("base").exits(0);
    tree.rebuild("-v tools").exits(0).mentions(
        "
        [base] up to date
        [tools] planned: never built here
        [tools] step 2/2: RUN wait
        ",
    );
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let tree = Workspace::new(TREE);
    let mut command = tree.command("ls");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_script_of_the_simulated_engine_that_cannot_be_read_is_exit_code_69() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[default]\nduratoin = '1s'\n");
    tree.rebuild("").exits(69).mentions("simulate.toml\nunknown field `duratoin`");
}

#[test]
fn doctor_names_what_it_found() {
    let outcome = Workspace::new(TREE).imgraph("doctor").exits(0).says("");
    outcome.mentions("ok    workspace        [ROOT]\nok    engine           simulate (asked for)");
    let found = Workspace::new(TREE).imgraph("doctor --json").exits(0).json();
    assert_eq!((&found[0]["what"], &found[0]["state"]), (&"workspace".into(), &"ok".into()));
}

#[test]
fn a_docker_that_somebody_named_badly_is_not_replaced_by_another_engine() {
    let tree = Workspace::new(TREE);
    let programs = tree.path("programs");
    tree.write("programs/buildah", "#!/bin/sh\nexit 1\n");
    tree.set_mode("programs/buildah", 0o755);
    for (variable, value, told) in [
        ("DOCKER_HOST", "ftp://x", "ftp://x"),
        ("DOCKER_CONTEXT", "nowhere", "the docker context `nowhere`"),
    ] {
        let environment = [(variable, value), ("PATH", programs.to_str().unwrap())];
        tree.rebuild_with("auto", "", &environment).exits(2).mentions(told);
    }
}

#[test]
fn a_state_that_cannot_be_written_is_said_with_its_path() {
    let tree = Workspace::new(TREE);
    tree.write(".imgraph", "a file where the directory should be\n");
    tree.rebuild("")
        .exits(69)
        .says("error: cannot write [ROOT]/.imgraph/CACHEDIR.TAG: Not a directory (os error 20)\n");
}
