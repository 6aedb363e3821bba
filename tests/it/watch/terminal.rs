//! A person at a terminal: keys, and what is left of the screen; and a system with few watches.

use std::process::{Command, Stdio};

use crate::conformance::aloud;
use crate::support::{Running, TREE, Workspace};
use crate::watch::built;

/// `imgraph watch` in a terminal of its own, which util-linux's `script` makes.
fn at_a_terminal(tree: &Workspace) -> Option<Running> {
    if Command::new("script").arg("--version").output().is_err() {
        aloud("watch  skipped: there is no `script` to make a terminal with");
        return None;
    }
    let imgraph = env!("CARGO_BIN_EXE_imgraph");
    let plain = tree.command("");
    let mut home = plain.get_envs().filter_map(|(name, value)| (name == "HOME").then_some(value?));
    let home = home.next().unwrap();
    let mut script = Command::new("script");
    let watch = format!("{imgraph} --engine simulate --color never watch --jobs=1");
    script.args(["-qec", &watch, "/dev/null"]).current_dir(tree.root()).stdin(Stdio::piped());
    script.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH"));
    script.env("HOME", home).env("LANG", "C.UTF-8").env("TERM", "xterm");
    Some(tree.start_command(script))
}

#[test]
fn keys_pause_go_on_say_how_things_are_and_end() {
    let tree = built();
    let Some(mut terminal) = at_a_terminal(&tree) else { return };
    terminal.types_until("\n", "up to date, waiting for changes");
    terminal.types("p");
    terminal.types_until("\n", "paused; watching 5 images");
    tree.write("images/apps/web/page.html", "hi\n");
    terminal.types("?");
    terminal.wait_for_text("? this help");
    terminal.types("p");
    terminal.wait_for_text("built apps/web");
    terminal.wait_for_text("why             apps/web: page.html changed");
    terminal.types("q");
    let said = terminal.finish().exits(0);
    assert_eq!(said.stdout.matches("built apps/web").count(), 1);
    tree.rebuild("").exits(0).mentions("nothing to do");
}

#[test]
fn a_key_builds_again_what_failed() {
    let tree = Workspace::new(TREE);
    tree.write("simulate.toml", "[image.tools]\noutcome = 'fail'\n");
    let Some(mut terminal) = at_a_terminal(&tree) else { return };
    terminal.wait_for_text("failed tools  images/tools/Dockerfile:1");
    terminal.wait_for_text("why             base: never built here");
    terminal.types_until("\n", "changes; not up to date: apps/web and tools");
    tree.write("simulate.toml", "");
    terminal.types("f");
    terminal.wait_for_text("built tools");
    terminal.wait_for_text("built apps/web");
    terminal.types("q");
    terminal.finish().exits(0);
}

/// The limit is that of a user namespace of its own.
#[test]
fn too_few_watches_are_said_with_the_way_out_and_everything_is_looked_at_instead() {
    let tree = built();
    let limit = "echo 3 > /proc/sys/user/max_inotify_watches";
    let mut unshare = Command::new("unshare");
    let can = unshare.args(["-Ur", "sh", "-c", limit]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        aloud("watch  skipped: no user namespace can have a limit of its own");
        return;
    }
    let watch = tree.command("watch --json");
    let mut limited = Command::new("unshare");
    limited.args(["-Ur", "sh", "-c", &format!("{limit} && exec \"$@\""), "sh"]);
    limited.arg(watch.get_program()).args(watch.get_args()).current_dir(tree.root());
    for (name, value) in watch.get_envs() {
        limited.env(name, value.unwrap());
    }
    let mut run = tree.start_command(limited);
    let watching = run.wait_for(|event| event["event"] == "watching");
    assert_eq!(watching["polling"], 2_000);
    run.wait_for(|event| event["event"] == "idle");
    tree.write("images/apps/web/page.html", "hi\n");
    run.wait_for(|event| event["image"] == "apps/web" && event["ended"] == "built");
    run.signal(rustix::process::Signal::INT);
    run.finish().exits(130).mentions(
        "
        warning: the system does not allow as many watches as there are directories
        help: allow more with `sudo sysctl fs.inotify.max_user_watches=524288`
        ",
    );
}
