//! `prepare`: a command that makes files of a context before they are fingerprinted.

use crate::support::Workspace;

const TREE: &str = "
    //- layers.toml
    [image.base.prepare]
    run = './make.sh'
    inputs = ['*.txt', 'make.sh']
    outputs = ['rootfs.txt']
    //- images/base/make.sh mode=755
    #!/bin/sh
    echo making the root file system
    sort list.txt > rootfs.txt
    echo run >> ../../runs
    //- images/base/list.txt
    zsh
    curl
    //- images/base/Dockerfile
    FROM scratch
    COPY rootfs.txt /
    //- images/app/Dockerfile
    FROM base
";

/// How often the command ran.
fn runs(tree: &Workspace) -> usize {
    tree.read("runs").lines().count()
}

fn built() -> Workspace {
    let tree = Workspace::new(TREE);
    tree.rebuild("").exits(0);
    tree
}

#[test]
fn it_runs_before_the_build_and_its_output_is_in_the_context() {
    let tree = Workspace::new(TREE);
    tree.rebuild("--logs all").exits(0).says(
        "
        2 images planned, 1 at a time, with simulate (asked for)
        [base] started: its prepare command never ran here
        [base]  | making the root file system
        [base]  | simulated base
        [base] built: [TIME]  (1.0 MB)
        [app] started: never built here
        [app]  | simulated app
        [app] built: [TIME]  (1.0 MB)
        2 planned · 2 built · 0 failed   [TIME]
        why             base: its prepare command never ran here
        logs            .imgraph/runs/[RUN]
        ",
    );
    assert_eq!(tree.read("images/base/rootfs.txt"), "curl\nzsh\n");
    tree.imgraph("inputs base").exits(0).mentions("file        644 rootfs.txt  (line 2)");
}

#[test]
fn it_runs_once() {
    let tree = built();
    tree.rebuild("").exits(0).says("nothing to do: 2 images are up to date  [TIME]\n");
    tree.touch("images/base/list.txt");
    tree.touch("images/base/rootfs.txt");
    tree.write("images/base/notes.md", "not an input\n");
    tree.rebuild("").exits(0).says("nothing to do: 2 images are up to date  [TIME]\n");
    assert_eq!(runs(&tree), 1);
}

#[test]
fn it_runs_again_when_an_input_changed_and_what_it_made_is_rebuilt() {
    let tree = built();
    tree.write("images/base/list.txt", "zsh\nvim\n");
    let outcome = tree.rebuild("").exits(0);
    outcome.mentions(
        "
        [base] started: its prepare command or its inputs changed
        [base] built:
        [app] started: base came out different
        ",
    );
    assert_eq!(runs(&tree), 2);
}

#[test]
fn the_same_outputs_rebuild_nothing() {
    let tree = built();
    tree.write("images/base/list.txt", "curl\nzsh\n");
    let outcome = tree.rebuild("").exits(0);
    assert_eq!(runs(&tree), 2);
    outcome.mentions(
        "
        [base] cut off: its inputs came out the same
        [app] cut off: base came out the same
        2 planned · 2 cut off · 0 failed
        ",
    );
    tree.rebuild("").exits(0).says("nothing to do: 2 images are up to date  [TIME]\n");
    assert_eq!(runs(&tree), 2);
}

#[test]
fn a_new_input_file_and_another_command_are_changes() {
    let tree = built();
    tree.write("images/base/more.txt", "x\n");
    tree.rebuild("").exits(0).mentions("its prepare command or its inputs changed");
    tree.write(
        "layers.toml",
        tree.read("layers.toml").replace("./make.sh'\nin", "./make.sh; :'\nin"),
    );
    tree.rebuild("").exits(0).mentions("its prepare command or its inputs changed");
    tree.set_mode("images/base/list.txt", 0o755);
    tree.rebuild("").exits(0).mentions("its prepare command or its inputs changed");
    assert_eq!(runs(&tree), 4);
}

#[test]
fn an_output_that_is_gone_is_made_again() {
    let tree = built();
    tree.remove("images/base/rootfs.txt");
    let outcome = tree.rebuild("").exits(0);
    let reason = "rootfs.txt, which its prepare command makes, is missing";
    outcome.mentions(&format!("why             base: {reason}"));
    assert_eq!((runs(&tree), tree.read("images/base/rootfs.txt")), (2, "curl\nzsh\n".to_owned()));
}

#[test]
fn who_edits_an_output_gets_what_he_made() {
    let tree = built();
    tree.write("images/base/rootfs.txt", "by hand\n");
    tree.rebuild("").exits(0).mentions("[base] started: rootfs.txt changed");
    assert_eq!(runs(&tree), 1);
}

#[test]
fn force_runs_it() {
    let tree = built();
    tree.rebuild("--force base").exits(0).mentions("its prepare command is forced");
    assert_eq!(runs(&tree), 2);
}

#[test]
fn a_plan_does_not_run_it() {
    let tree = Workspace::new(TREE);
    tree.imgraph("plan").exits(0).prints(
        "
        pending  base  its prepare command never ran here
        rebuild  app  never built here
        1 to rebuild · 1 to decide when their parents are built
        ",
    );
    assert!(!tree.path("runs").exists());
}

#[test]
fn where_it_fails_its_image_fails() {
    let tree = built();
    tree.write("images/base/list.txt", "vim\n");
    tree.write("images/base/make.sh", "#!/bin/sh\necho no network >&2\nexit 3\n");
    for _ in 0..2 {
        let outcome = tree.rebuild("").exits(1);
        outcome.mentions(
            "
            [base] failed: prepare `./make.sh` ended with exit code 3
              | no network
            [base] log: .imgraph/runs/[RUN]/base.log
            [app] blocked: base failed
            ",
        );
    }
    tree.remove("layers.toml");
    tree.add(TREE);
    tree.rebuild("").exits(0).says("nothing to do: 2 images are up to date  [TIME]\n");
}

#[test]
fn where_it_makes_no_output_its_image_fails() {
    let tree = Workspace::new(TREE);
    tree.write("images/base/make.sh", "#!/bin/sh\ntrue\n");
    let outcome = tree.rebuild("").exits(1);
    outcome.mentions("[base] failed: prepare `./make.sh` did not make `rootfs.txt`");
}

#[test]
fn what_it_makes_for_copy_has_to_be_there_afterwards() {
    let tree = Workspace::new(TREE);
    tree.write("images/base/Dockerfile", "FROM scratch\nCOPY other.tar /\n");
    let outcome = tree.rebuild("").exits(1);
    outcome.mentions("[base] failed: COPY cannot find `other.tar` in the build context");
}

#[test]
fn an_input_that_matches_nothing_is_an_error() {
    // A directory is not its files: `src` would never be seen to change.
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.base.prepare]
        run = 'cat src/x > out'
        inputs = ['src']
        outputs = ['out']
        //- images/base/src/x
        1
        //- images/base/Dockerfile
        FROM scratch
        COPY out /
        ",
    );
    tree.rebuild("").exits(3).mentions("no file matches this input of `prepare`");
}

#[test]
fn what_the_prepare_of_a_parent_writes_elsewhere_is_read_again() {
    let tree = Workspace::new(
        "
        //- layers.toml
        [image.a.prepare]
        run = 'cp list ../b/gen; touch done'
        inputs = ['list']
        outputs = ['done']
        //- images/a/list
        1
        //- images/a/Dockerfile
        FROM scratch
        //- images/b/gen
        0
        //- images/b/Dockerfile
        FROM a
        COPY gen /
        ",
    );
    tree.rebuild("").exits(0);
    tree.write("images/a/list", "2\n");
    let outcome = tree.rebuild("--json").exits(0);
    assert_eq!(outcome.ends(), ["a cut-off", "b built"]);
    tree.rebuild("").exits(0).says("nothing to do: 2 images are up to date  [TIME]\n");
}
