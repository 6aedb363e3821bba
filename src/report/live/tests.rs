use std::io::Write;

use indicatif::{InMemoryTerm, TermLike};

use super::*;
use crate::report::tests::{PLAIN, scenario, watch};
use crate::report::{Outputs, Reporter, Talk, Ui};

/// Stderr that ends at the terminal; its driver begins a line anew after each line feed.
struct Stderr(InMemoryTerm);

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.0.write_str(&text.replace('\n', "\r\n"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn reporter(settings: Settings, rows: u16, columns: u16) -> (Reporter, InMemoryTerm) {
    let screen = InMemoryTerm::new(rows, columns);
    let terminal = Terminal {
        target: ProgressDrawTarget::term_like(Box::new(screen.clone())),
        size: Arc::new(move || Size { rows: rows.into(), columns: columns.into() }),
        clock: || 1_700_000_052_500,
        interval: None,
    };
    let outputs = Outputs {
        data: Box::new(io::sink()),
        talk: Box::new(Stderr(screen.clone())),
        terminal: Some(terminal),
    };
    (Reporter::new(settings, outputs), screen)
}

const LIVE: Settings = Settings { ui: Ui::Progress, ..PLAIN };

fn redraw(reporter: &Reporter) {
    let Talk::Live(live) = &reporter.talk else { panic!("not a terminal") };
    live.bar.tick();
}

#[test]
fn what_ended_stays_above_what_runs() {
    let (mut reporter, screen) = reporter(LIVE, 24, 80);
    for event in scenario().iter().filter(|event| event.time < 1_700_000_053_000) {
        reporter.event(event);
    }
    redraw(&reporter);
    let lines: Vec<_> = screen.contents().lines().map(str::to_owned).collect();
    let (board, above) = lines.split_at(lines.len() - 2);
    assert_eq!(
        board.join("\n"),
        "\
7 of 8 images planned, 2 at a time, with buildah 1.39 (the first one found), ~2m
built tools  5.0 s  (9.4 MB, came out the same, pushed)
cut off lint  tools came out the same
warning: base: the base image debian:12 is 41 days old
built base  41.0 s  (1 of 3 steps cached, 182 MB)
restored java/jre  an earlier build has the same inputs"
    );
    assert!(above[0].ends_with("apps/api [2] RUN javac src/*.java  11s"), "{}", above[0]);
    assert_eq!(above[1], "[===========>>>      ] 4/7 done  1 running  ~25s left");
}

#[test]
fn at_the_end_nothing_is_left_of_the_board() {
    let (mut reporter, screen) = reporter(LIVE, 40, 100);
    for event in &scenario() {
        reporter.event(event);
        redraw(&reporter);
    }
    assert_eq!(
        screen.contents(),
        "\
7 of 8 images planned, 2 at a time, with buildah 1.39 (the first one found), ~2m
built tools  5.0 s  (9.4 MB, came out the same, pushed)
cut off lint  tools came out the same
warning: base: the base image debian:12 is 41 days old
built base  41.0 s  (1 of 3 steps cached, 182 MB)
restored java/jre  an earlier build has the same inputs
failed apps/api  images/apps/api/Dockerfile:7: RUN javac src/*.java exited with 1
  | src/Main.java:3: error: ';' expected
  | 1 error
full log: .imgraph/runs/4f2c/apps-api.log
blocked apps/pay  apps/api failed
interrupted: stopping what runs; what was built is kept
7 planned · 2 built · 1 cut off (tools came out the same) · 1 restored · 1 failed · 1 blocked · 1 no
t reached · 1 up to date   54.0 s
critical path   53.3 s  base 41.0 s → apps/api 12.3 s  (lower bound 53.3 s, 98 % efficient)
why             base: packages.txt changed
failed          apps/api  images/apps/api/Dockerfile:7: RUN javac src/*.java exited with 1
interrupted     what was built is kept; the next run goes on from there
logs            .imgraph/runs/4f2c
rerun           imgraph rebuild --rerun last"
    );
}

#[test]
fn a_run_that_is_dropped_leaves_no_board() {
    let (mut reporter, screen) = reporter(LIVE, 24, 80);
    for event in &scenario()[..12] {
        reporter.event(event);
    }
    redraw(&reporter);
    assert!(screen.contents().contains("0/7 done"), "{}", screen.contents());
    drop(reporter);
    assert_eq!(screen.contents().lines().count(), 1, "{}", screen.contents());
}

#[test]
fn the_cursor_is_never_hidden_and_the_screen_never_switched() {
    let (mut reporter, screen) = reporter(Settings { color: true, ..LIVE }, 24, 80);
    for event in &scenario() {
        reporter.event(event);
        redraw(&reporter);
    }
    let written = String::from_utf8(screen.contents_formatted()).unwrap();
    assert!(written.contains("\x1b[32m"), "colours are drawn");
    let moves = screen.moves_since_last_check();
    assert!(!moves.contains("[?"), "{moves}");
}

#[test]
fn without_a_terminal_progress_is_plain() {
    let outputs =
        Outputs { data: Box::new(io::sink()), talk: Box::new(io::sink()), terminal: None };
    assert!(matches!(Reporter::new(LIVE, outputs).talk, Talk::Plain(_)));
}

#[test]
fn a_watch_that_waits_shows_how_it_stands_and_which_keys_there_are() {
    let (mut reporter, screen) = reporter(LIVE, 24, 80);
    let events = watch();
    reporter.event(&events[0]);
    assert!(screen.contents().starts_with("looking\n"), "{}", screen.contents());
    for event in &events[1..] {
        reporter.event(event);
    }
    let last = "1 built, 1 not reached in 46.4 s";
    assert_eq!(
        screen.contents(),
        format!(
            "\
[base] outdated: its inputs changed; building it again
built base  46.1 s  (1 of 3 steps cached, 182 MB)
[base] exec  | base restarted
2 planned · 1 built · 0 failed · 1 not reached · 6 up to date   46.4 s
why             base: packages.txt changed
changed         inputs changed meanwhile; what is left is planned again
not up to date: java/jre  last: {last}
watching 8 images in 14 directories
p pause  r rebuild  f failed  Enter status  q quit  ? help"
        )
    );
    reporter.talk("something\n");
    assert!(screen.contents().contains("again\nsomething\nnot up to date"));
    reporter.close();
    assert!(screen.contents().ends_with("something"), "{}", screen.contents());
}
