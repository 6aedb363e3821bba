use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use crate::event::{Failure, Summary};
use crate::fingerprint::reason::{PrepareCause, Reason};
use crate::history::Ended;

/// A run in which every way for an image to end happens, and every event: what runs write with
/// `--json`, as `docs/events.md` promises it.
pub(crate) const SCENARIO: &str = include_str!("scenario.ndjson");

/// What only `rebuild --full` writes.
pub(crate) const NIGHTLY: &str = include_str!("nightly.ndjson");

/// A watch in which everything happens that only watches tell, likewise.
pub(crate) const WATCH: &str = include_str!("watch.ndjson");

/// The events of the watch.
pub(crate) fn watch() -> Vec<Event> {
    WATCH.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of the scenario.
pub(crate) fn scenario() -> Vec<Event> {
    SCENARIO.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events of a nightly.
fn nightly() -> Vec<Event> {
    NIGHTLY.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A writer to look into; it can be closed like a pipe.
#[derive(Clone, Default)]
pub(crate) struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    closed: Arc<AtomicBool>,
}

impl Pipe {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(lock(&self.bytes).clone()).unwrap()
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        lock(&self.bytes).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) const PLAIN: Settings = Settings {
    ui: Ui::Plain,
    logs: Logs::Failed,
    json: false,
    color: false,
    ci: None,
    verbosity: 0,
};

fn reporter(settings: Settings) -> (Reporter, Pipe, Pipe) {
    let (data, talk) = (Pipe::default(), Pipe::default());
    let outputs =
        Outputs { data: Box::new(data.clone()), talk: Box::new(talk.clone()), terminal: None };
    (Reporter::new(settings, outputs), data, talk)
}

fn tell(reporter: &mut Reporter, events: &[Event]) {
    for event in events {
        reporter.event(event);
    }
}

/// What is said of some events.
fn said(settings: Settings, events: &[Event]) -> String {
    let (mut reporter, _, talk) = reporter(settings);
    tell(&mut reporter, events);
    talk.text()
}

#[test]
fn a_pipe_gets_a_line_for_each_event_that_is_worth_it() {
    assert_eq!(
        said(PLAIN, &scenario()),
        "\
7 of 8 images planned, 2 at a time, with buildah 1.39 (the first one found), ~2m
[base] started: packages.txt changed, sources.list changed and 1 more
[tools] started: argument VERSION changed
[tools] built: 5.0 s  (9.4 MB, came out the same, pushed)
[lint] cut off: tools came out the same
warning: base: the base image debian:12 is 41 days old
[base] built: 41.0 s  (1 of 3 steps cached, 182 MB)
[java/jre] restored: an earlier build has the same inputs
[apps/api] started: src/Main.java changed, java/jre came out different
[apps/api] failed: images/apps/api/Dockerfile:7: RUN javac src/*.java exited with 1
  | src/Main.java:3: error: ';' expected
  | 1 error
[apps/api] log: .imgraph/runs/4f2c/apps-api.log
[apps/pay] blocked: apps/api failed
interrupted: stopping what runs; what was built is kept
7 planned · 2 built · 1 cut off (tools came out the same) · 1 restored · 1 failed · 1 blocked \
· 1 not reached · 1 up to date   54.0 s
critical path   53.3 s  base 41.0 s → apps/api 12.3 s  (lower bound 53.3 s, 98 % efficient)
why             base: packages.txt changed
failed          apps/api  images/apps/api/Dockerfile:7: RUN javac src/*.java exited with 1
interrupted     what was built is kept; the next run goes on from there
logs            .imgraph/runs/4f2c
rerun           imgraph rebuild --rerun last
"
    );
}

#[test]
fn a_recorded_run_is_shown_again_as_it_was() {
    let (mut first, recorded, talk) = reporter(Settings { json: true, verbosity: 1, ..PLAIN });
    tell(&mut first, &scenario());
    let replayed: Vec<Event> =
        recorded.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said(Settings { verbosity: 1, ..PLAIN }, &replayed), talk.text());
    assert!(talk.text().contains("[docs] up to date\n"));
}

#[test]
fn quiet_says_only_what_went_wrong() {
    let events = scenario();
    let text = said(Settings { ui: Ui::Quiet, ..PLAIN }, &events);
    assert!(text.starts_with("warning: base: the base image debian:12 is 41 days old\n[apps/api]"));
    assert!(text.ends_with("rerun           imgraph rebuild --rerun last\n"));
    assert!(!text.contains("started"));
    let mut summary = Summary { selected: 8, planned: 8, built: 8, ..Summary::default() };
    let end = |summary: &Summary| {
        let what = What::RunFinished { summary: summary.clone() };
        said(Settings { ui: Ui::Quiet, ..PLAIN }, &[Event { time: 0, what }])
    };
    assert_eq!(end(&summary), "");
    summary.failed = 1;
    assert_ne!(end(&summary), "");
}

#[test]
fn github_gets_a_group_with_the_whole_log_and_an_annotation() {
    let text = said(Settings { ci: Some(CiKind::GitHub), ..PLAIN }, &scenario());
    let failed = "\
[apps/api] failed: images/apps/api/Dockerfile:7: RUN javac src/*.java exited with 1
::group::log of apps/api
  | src/Main.java:3: error: ';' expected
  | 1 error
::endgroup::
[apps/api] log: .imgraph/runs/4f2c/apps-api.log
::error file=images/apps/api/Dockerfile,line=7,title=apps/api failed::\
RUN javac src/*.java exited with 1
";
    assert!(text.contains(failed), "{text}");
    let warning = "::warning::warning: base: the base image debian:12 is 41 days old\n";
    assert!(text.contains(warning), "{text}");
}

#[test]
fn gitlab_gets_a_section() {
    let text = said(Settings { ci: Some(CiKind::GitLab), ..PLAIN }, &scenario());
    let section = "\
\x1b[0Ksection_start:1700000053:apps_api[collapsed=true]\r\x1b[0Klog of apps/api
  | src/Main.java:3: error: ';' expected
  | 1 error
\x1b[0Ksection_end:1700000053:apps_api\r\x1b[0K
";
    assert!(text.contains(section), "{text:?}");
}

#[test]
fn a_build_cannot_give_commands_to_the_ci_service() {
    let mut events = scenario();
    for event in &mut events {
        if let What::Log { line, .. } = &mut event.what {
            "::stop-commands::x\r\x1b[0Ksection_end:1:a".clone_into(line);
        }
    }
    for logs in [Logs::All, Logs::Failed] {
        let text = said(Settings { ci: Some(CiKind::GitHub), logs, ..PLAIN }, &events);
        let commands: Vec<_> = text.lines().filter(|line| line.starts_with("::")).collect();
        assert!(commands.iter().all(|it| !it.contains("stop-commands")), "{commands:?}");
        assert!(!text.contains('\x1b'));
    }
}

#[test]
fn the_log_that_is_kept_of_a_build_is_bounded() {
    let mut events = scenario();
    let end = events
        .iter()
        .position(|event| matches!(&event.what, What::Finished { ended: Ended::Failed, .. }))
        .unwrap();
    let line = |number: u32| Event {
        time: 0,
        what: What::Log { image: "apps/api".parse().unwrap(), line: format!("{number:01023}") },
    };
    events.splice(end..end, (0..1000).map(line));
    let text = said(Settings { ci: Some(CiKind::Other), ..PLAIN }, &events);
    assert!(text.contains("log of apps/api\n  (746 lines before)\n"), "{}", text.len());
    assert_eq!(text.matches("\n  | ").count(), 256);
}

#[test]
fn all_logs_are_streamed_with_the_name_of_their_image() {
    let text = said(Settings { logs: Logs::All, ..PLAIN }, &scenario());
    assert!(text.contains("[apps/api]  | src/Main.java:3: error: ';' expected\n"), "{text}");
    assert_eq!(text.matches("';' expected").count(), 1, "not again after the failure");
    let none = said(Settings { logs: Logs::None, ..PLAIN }, &scenario());
    assert_eq!(none.matches("';' expected").count(), 0);
}

#[test]
fn a_silent_minute_is_broken_by_a_heartbeat() {
    let (mut reporter, _, talk) = reporter(PLAIN);
    let events = scenario();
    reporter.tick(5_000_000_000_000);
    assert_eq!(talk.text(), "", "nothing began");
    let begun = events.iter().position(|event| event.time > 1_700_000_000_010).unwrap();
    tell(&mut reporter, &events[..begun]);
    let before = talk.text();
    reporter.tick(1_700_000_060_000);
    assert_eq!(talk.text(), before, "not yet a minute since the last line");
    reporter.tick(1_700_000_060_010);
    reporter.tick(1_700_000_061_010);
    assert_eq!(
        talk.text()[before.len()..],
        *"0/7 done, 2 running: base 1m 00s and tools 1m 00s, ~55s left\n"
    );
    tell(&mut reporter, &events[begun..]);
    let before = talk.text();
    reporter.tick(5_000_000_000_000);
    assert_eq!(talk.text(), before, "the run is over");
}

#[test]
fn work_that_is_attended_returns_what_it_made() {
    let (reporter, _, talk) = reporter(PLAIN);
    let reporter = Mutex::new(reporter);
    let made = attended(&reporter, || {
        tell(&mut lock(&reporter), &scenario());
        7
    });
    assert_eq!(made, 7);
    assert!(talk.text().ends_with("--rerun last\n"));
}

#[test]
fn a_closed_stdout_ends_the_json_and_not_the_run() {
    let (mut reporter, data, talk) = reporter(Settings { json: true, ..PLAIN });
    let events = scenario();
    tell(&mut reporter, &events[..3]);
    assert!(reporter.broken_stdout().is_none());
    data.closed.store(true, Ordering::SeqCst);
    tell(&mut reporter, &events[3..]);
    assert_eq!(reporter.broken_stdout().unwrap().kind(), ErrorKind::BrokenPipe);
    assert_eq!(data.text().lines().count(), 3);
    assert!(talk.text().ends_with("--rerun last\n"));
}

#[test]
fn json_is_the_events_one_a_line_in_the_form_that_is_promised() {
    let (mut reporter, data, _) = reporter(Settings { json: true, ..PLAIN });
    tell(&mut reporter, &scenario());
    tell(&mut reporter, &watch());
    tell(&mut reporter, &nightly());
    assert_eq!(data.text(), [SCENARIO, WATCH, NIGHTLY].concat());
}

#[test]
fn a_nightly_is_told_in_lines() {
    let quiet = said(Settings { ui: Ui::Quiet, ..PLAIN }, &nightly());
    let quarantined = "\
[base] quarantined: failed in 3 full runs with these inputs; java/jre and apps/api stand on its output of 4 days ago
[base] log: .imgraph/runs/59ff/base.log
";
    assert!(quiet.starts_with(quarantined), "{quiet}");
    assert_eq!(
        said(PLAIN, &nightly()),
        format!(
            "\
3 images planned, 2 at a time, with buildah 1.39 (the first one found)
{quarantined}\
[java/jre] cut off: its inputs came out the same; stands on the last good base
[apps/api] cut off: java/jre came out the same; stands on the last good base
3 planned · 2 cut off · 0 failed · 1 quarantined   20 ms
why             base: 4 days old, and its layer allows 24 hours
quarantined     base  failed in 3 full runs with these inputs; java/jre and apps/api stand on its output of 4 days ago
rerun           imgraph rebuild --rerun last
"
        )
    );
}

#[test]
fn a_watch_is_told_in_lines() {
    assert_eq!(
        said(PLAIN, &watch()),
        "\
watching 8 images in 14 directories
up to date, waiting for changes
2 of 8 images planned, 2 at a time, with buildah 1.39 (the first one found), ~2m
[base] started: packages.txt changed
[base] outdated: its inputs changed; building it again
[base] built: 46.1 s  (1 of 3 steps cached, 182 MB)
[base] exec  | base restarted
2 planned · 1 built · 0 failed · 1 not reached · 6 up to date   46.4 s
why             base: packages.txt changed
changed         inputs changed meanwhile; what is left is planned again
waiting for changes; not up to date: java/jre
paused: changes wait
watching again
"
    );
    let verbose = said(Settings { verbosity: 1, ..PLAIN }, &watch());
    for line in [
        "looked again at what changed: base changed  1 ms\n",
        "looked again at everything: java/jre changed  9 ms\n",
        "[base] exec: podman restart corp/base:dev\n",
        "[base] exec: done\n",
    ] {
        assert!(verbose.contains(line), "{line} is not in {verbose}");
    }
}

#[test]
fn the_page_on_events_shows_every_event_as_it_is_written() {
    let page = include_str!("../../docs/events.md");
    let shown: Vec<_> = page.lines().filter(|line| line.starts_with("{\"time\"")).collect();
    let written: Vec<_> = SCENARIO.lines().chain(WATCH.lines()).chain(NIGHTLY.lines()).collect();
    let foreign: Vec<_> = shown.iter().filter(|line| !written.contains(line)).collect();
    assert!(foreign.is_empty(), "not in scenario.ndjson: {foreign:?}");
    let kind =
        |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["event"].to_string();
    let kinds = |lines: &[&str]| {
        lines.iter().map(|line| kind(line)).collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(kinds(&shown), kinds(&written));
    assert_eq!(kinds(&written).len(), 23, "the scenarios have every event");
}

#[test]
fn old_readers_can_read_new_fields() {
    let line = r#"{"time":1,"event":"interrupted","by":"somebody"}"#;
    let event: Event = serde_json::from_str(line).unwrap();
    assert_eq!(event, Event { time: 1, what: What::Interrupted });
}

/// Texts with what could break a line, a command or a terminal.
fn text() -> impl Strategy<Value = String> {
    "[\\x1b\\r\\n\\t\\x00\\u{9b}:%,a\"漢\\[\\]]{0,12}"
}

fn reasons() -> impl Strategy<Value = Reason> {
    let name = || "[a-z]{1,4}(/[a-z]{1,4})?".prop_map(|name| name.parse().unwrap());
    let digest = || {
        prop::option::of("[0-9a-f]{64}".prop_map(|hex| format!("sha256:{hex}").parse().unwrap()))
    };
    prop_oneof![
        Just(Reason::NeverBuilt),
        text().prop_map(|path| Reason::FileChanged { path }),
        text().prop_map(|path| Reason::FileAdded { path }),
        text().prop_map(|path| Reason::FileRemoved { path }),
        text().prop_map(|path| Reason::ModeChanged { path }),
        (text(), any::<u32>()).prop_map(|(path, line)| Reason::InstructionChanged { path, line }),
        text().prop_map(|name| Reason::ArgChanged { name }),
        text().prop_map(|name| Reason::OptionChanged { name }),
        name().prop_map(|image| Reason::ParentChanged { image }),
        text().prop_map(|reference| Reason::ParentsChanged { reference }),
        (text(), digest(), digest()).prop_map(|(reference, old, new)| Reason::ExternalMoved {
            reference,
            old,
            new
        }),
        text().prop_map(|url| Reason::RemoteChanged { url }),
        text().prop_map(|name| Reason::SettingChanged { name }),
        prop_oneof![
            Just(PrepareCause::NeverRan),
            Just(PrepareCause::InputsChanged),
            text().prop_map(PrepareCause::OutputMissing),
            Just(PrepareCause::Forced),
        ]
        .prop_map(|cause| Reason::PrepareNeeded { cause }),
        Just(Reason::OutputMissing),
        text().prop_map(|engine| Reason::OtherEngine { engine }),
        any::<(u64, u64)>().prop_map(|(age, max_age)| Reason::TooOld { age, max_age }),
        Just(Reason::Forced),
    ]
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        reasons in prop::collection::vec(reasons(), 0..4),
        line in text(),
        time in any::<u64>(),
    ) {
        let image = || "a/b".parse().unwrap();
        let summary = Summary {
            critical_path: vec![(image(), time)],
            first_cause: reasons.first().map(|reason| (image(), reason.clone())),
            ..Summary::default()
        };
        let failure = Failure {
            message: line.clone(),
            path: None,
            line: None,
            tail: vec![line.clone()],
            transient: true,
            log: None,
        };
        let finished = What::Finished {
            image: image(),
            ended: Ended::Failed,
            duration: time,
            built: None,
            failure: Some(failure),
            blocked_by: None,
        };
        let started = What::Started { image: image(), reasons, log: line, predicted: Some(time) };
        for what in [started, finished, What::RunFinished { summary }] {
            let event = Event { time, what };
            let line = json::line(&event);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event.clone());
            let (mut reporter, _, talk) = reporter(Settings { ci: Some(CiKind::GitHub), ..PLAIN });
            reporter.event(&event);
            prop_assert!(!talk.text().contains('\x1b'));
        }
    }
}
