//! What a ledger promises, one file for each way to break it.
#![expect(clippy::disallowed_methods, reason = "the files are the fixture")]

mod child;
mod compaction;
mod damage;
mod full_disk;
mod kill;
mod model;
mod rest;

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::digest::{Digest, OciDigest};
use crate::history::{Ended, Failing, Output, Prepared, Pushed, Record};
use crate::image::ImageName;

/// A workspace with the place for a state.
struct Workspace(TempDir);

impl Workspace {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn state(&self) -> PathBuf {
        self.0.path().join(".imgraph")
    }

    fn ledger(&self) -> PathBuf {
        self.state().join("ledger")
    }

    fn open(&self) -> Ledger {
        Ledger::open(&self.state(), &me(), Lock::NoWait).unwrap()
    }

    /// Opens the ledger, which must work, and says what was read and warned of.
    fn reopen(&self) -> (History, Vec<String>) {
        let mut ledger = self.open();
        let warnings = ledger.take_warnings().iter().map(ToString::to_string).collect();
        (ledger.history().clone(), warnings)
    }
}

fn me() -> Holder {
    Holder::this_process("imgraph test", 1_000)
}

fn name(text: &str) -> ImageName {
    text.parse().unwrap()
}

fn diff_id(text: &str) -> OciDigest {
    format!("sha256:{}", Digest::of_content(text.as_bytes())).parse().unwrap()
}

fn record(image: &str, key: &str) -> Arc<Record> {
    let digest = |of: &str| Digest::of_content(format!("{of} {key}").as_bytes());
    Arc::new(Record {
        image: name(image),
        platform: "linux/amd64".parse().unwrap(),
        engine: "simulate".into(),
        source_key: Some(digest("source")),
        build_key: Digest::of_content(key.as_bytes()),
        content: digest("content"),
        output: Output {
            id: diff_id(key),
            manifest: None,
            references: vec![format!("localhost/{image}:latest")],
            diff_ids: vec![diff_id("base"), diff_id(key)],
            size: 12_345,
        },
        finished: 1_763_900_000_000,
        duration: 20_000,
        leaves: format!("Dockerfile of {image} for {key}").into_bytes(),
    })
}

fn ended(image: &str, ended: Ended) -> Entry {
    Entry::Ended { image: name(image), ended }
}

/// Two runs with everything that can happen; the second was killed.
fn two_runs() -> Vec<Entry> {
    let intent = |image| Entry::Intent { image: name(image) };
    vec![
        Entry::RunStarted { run: "run-1".into(), started: 1 },
        intent("base"),
        Entry::Layers(vec![(diff_id("base"), Digest::of_content(b"base"))]),
        Entry::Built(record("base", "b1")),
        Entry::Prepared(Prepared {
            image: name("java/jre"),
            key: Digest::of_content(b"prepare"),
            duration: 7,
        }),
        intent("java/jre"),
        Entry::Built(record("java/jre", "j1")),
        intent("apps/api"),
        ended("apps/api", Ended::Failed),
        ended("apps/web", Ended::Blocked),
        Entry::RunFinished { finished: 2 },
        Entry::RunStarted { run: "run-2".into(), started: 3 },
        intent("base"),
        Entry::Built(record("base", "b2")),
        Entry::Pushed(Pushed {
            image: name("base"),
            id: diff_id("b2"),
            references: vec!["localhost/base:ig-1".into(), "localhost/base:latest".into()],
        }),
        Entry::Widened { image: name("base"), dockerfile: Digest::of_content(b"FROM scratch") },
        Entry::Recorded(record("java/jre", "j2")),
        ended("java/jre", Ended::CutOff),
        Entry::Aged { image: name("base"), since: 1 },
        Entry::Failing(failing("apps/api", 3)),
        intent("apps/api"),
    ]
}

fn failing(image: &str, runs: u32) -> Failing {
    let key = Digest::of_content(image.as_bytes());
    let log = Some(".imgraph/runs/run-1/x.log".to_owned());
    Failing { image: name(image), key, runs, since: 2, line: Some(7), log }
}

/// Whether there was such an entry in a format.
fn is_known(format: u32, entry: &Entry) -> bool {
    match entry {
        Entry::Pushed(_) | Entry::Widened { .. } => format >= 2,
        Entry::Aged { .. } | Entry::Failing(_) => format >= 3,
        _ => true,
    }
}

/// The history after entries, without a file.
fn history_of(entries: &[Entry]) -> History {
    let mut history = History::default();
    for entry in entries {
        entry.clone().apply(&mut history).unwrap();
    }
    history
}

/// The bytes of a ledger with each of these entries in a frame of its own.
fn bytes_of(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LENGTH];
    let mut check = Check::default();
    for entry in entries {
        check = frame::push(&mut bytes, check, &frame::payload([entry])).unwrap();
    }
    frame::write_header(&mut bytes);
    bytes
}

#[test]
fn what_was_appended_is_known_to_writers_and_readers() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    for entry in two_runs() {
        ledger.append([entry]).unwrap();
    }
    let expected = history_of(&two_runs());
    assert_eq!(*ledger.history(), expected);
    let (history, warnings) = read(&workspace.state()).unwrap();
    assert_eq!(history, expected);
    assert!(warnings.is_empty(), "{warnings:?}");
    drop(ledger);
    assert_eq!(workspace.reopen(), (expected, vec![]));
}

#[test]
fn entries_appended_together_are_the_same_entries() {
    let workspace = Workspace::new();
    workspace.open().append(two_runs()).unwrap();
    assert_eq!(workspace.reopen(), (history_of(&two_runs()), vec![]));
}

#[test]
fn a_reader_never_stumbles_over_a_writer_at_work() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    ledger.append([Entry::RunStarted { run: "run".into(), started: 0 }]).unwrap();
    let state = workspace.state();
    let reader = std::thread::spawn(move || {
        let (mut seen, mut looks) = (0, 0);
        while seen < 300 {
            let (history, warnings) = read(&state).unwrap();
            assert!(warnings.is_empty(), "{warnings:?}");
            assert!(history.by_key.len() >= seen, "a later look shows less");
            seen = history.by_key.len();
            looks += 1;
        }
        looks
    });
    for number in 0..300 {
        ledger
            .append([Entry::Built(record(&format!("i{number}"), &format!("k{number}")))])
            .unwrap();
        if number % 50 == 49 {
            ledger.compact().unwrap();
        }
    }
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn a_killed_run_names_the_builds_it_was_at() {
    let run = history_of(&two_runs()).last_run.unwrap();
    assert_eq!(run.interrupted, [name("apps/api")]);
    assert_eq!(run.finished, None);
}

#[test]
fn nothing_is_known_where_there_is_no_directory() {
    let workspace = Workspace::new();
    let (history, warnings) = read(&workspace.state()).unwrap();
    assert_eq!(history, History::default());
    assert!(warnings.is_empty());
    assert!(!workspace.state().exists(), "a reader makes nothing");
}

#[test]
fn a_deleted_directory_costs_only_time() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    ledger.append(two_runs()).unwrap();
    fs::remove_dir_all(workspace.state()).unwrap();
    ledger.append([Entry::RunStarted { run: "lost".into(), started: 4 }]).unwrap();
    drop(ledger);
    assert_eq!(workspace.reopen(), (History::default(), vec![]));
}

#[test]
fn the_directory_is_left_out_of_commits_and_backups() {
    let workspace = Workspace::new();
    drop(workspace.open());
    let text = |file| fs::read_to_string(workspace.state().join(file)).unwrap();
    assert_eq!(text(".gitignore"), "*\n");
    assert!(text("CACHEDIR.TAG").starts_with("Signature: 8a477f597d28d172789f06886806bc55\n"));
}

#[test]
fn an_entry_of_a_run_needs_one() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    let before = fs::read(workspace.ledger()).unwrap();
    let error = ledger.append([Entry::Intent { image: name("base") }]).unwrap_err();
    assert!(matches!(error, LedgerError::NoRun(_)), "{error}");
    assert_eq!(fs::read(workspace.ledger()).unwrap(), before);
}

#[test]
fn run_ids_follow_the_last_run() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    let first = ledger.next_run_id(5_000);
    ledger.append([Entry::RunStarted { run: first.clone(), started: 5_000 }]).unwrap();
    assert!(ledger.next_run_id(4_000) > first, "also when the clock was set back");
}

#[test]
fn a_second_writer_is_told_who_has_the_lock() {
    let workspace = Workspace::new();
    let first = workspace.open();
    let error = Ledger::open(&workspace.state(), &me(), Lock::NoWait).unwrap_err();
    let pid = std::process::id();
    assert_eq!(
        error.to_string(),
        format!("another imgraph is at work here: imgraph test (pid {pid})")
    );
    drop(first);
    drop(workspace.open());
}

#[test]
fn the_lock_is_free_even_while_a_program_is_being_started() {
    let workspace = Workspace::new();
    let lock = workspace.state().join("lock");
    store::prepare(&workspace.state()).unwrap();
    let (guard, _) = lock::acquire(&lock, &me(), Lock::NoWait).unwrap();
    let copy = guard.copy();
    drop(guard);
    drop(workspace.open());
    drop(copy);
}

#[test]
fn a_waiting_writer_goes_on_when_the_first_ends_and_sees_what_it_wrote() {
    let workspace = Workspace::new();
    let mut first = Some(workspace.open());
    let mut asked = |holder: Option<&Holder>| {
        assert_eq!(holder, Some(&me()));
        let mut ledger = first.take().expect("it is free after the first question");
        ledger.append(two_runs()).unwrap();
        ControlFlow::Continue(())
    };
    let second = Ledger::open(&workspace.state(), &me(), Lock::Wait(&mut asked)).unwrap();
    assert_eq!(*second.history(), history_of(&two_runs()));
}

#[test]
fn a_waiting_writer_can_give_up() {
    let workspace = Workspace::new();
    let first = workspace.open();
    let mut questions = 0;
    let mut asked = |_: Option<&Holder>| {
        questions += 1;
        if questions < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let error = Ledger::open(&workspace.state(), &me(), Lock::Wait(&mut asked)).unwrap_err();
    assert!(matches!(error, LedgerError::Cancelled));
    // The thread that still waits must not keep the lock when it gets it.
    drop(first);
    let mut patient = |_: Option<&Holder>| ControlFlow::Continue(());
    drop(Ledger::open(&workspace.state(), &me(), Lock::Wait(&mut patient)).unwrap());
}

#[test]
fn a_waiting_writer_is_not_fooled_by_a_deleted_directory() {
    let workspace = Workspace::new();
    let mut first = Some(workspace.open());
    let mut asked = |_: Option<&Holder>| {
        fs::remove_dir_all(workspace.state()).unwrap();
        store::prepare(&workspace.state()).unwrap();
        drop(first.take());
        ControlFlow::Continue(())
    };
    let second = Ledger::open(&workspace.state(), &me(), Lock::Wait(&mut asked)).unwrap();
    let third = Ledger::open(&workspace.state(), &me(), Lock::NoWait).unwrap_err();
    assert!(matches!(third, LedgerError::Locked { .. }), "{second:?} has the lock that counts");
}

#[test]
fn a_holder_is_described_with_its_age() {
    let holder = Holder { pid: 4_711, started: 0, command: "imgraph rebuild".into() };
    for (now, expected) in [
        (59_999, "imgraph rebuild (pid 4711, 59s)"),
        (180_000, "imgraph rebuild (pid 4711, 3m)"),
        (7_500_000, "imgraph rebuild (pid 4711, 2h05m)"),
    ] {
        assert_eq!(holder.describe(now), expected);
    }
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let workspace = Workspace::new();
    drop(workspace.open());
    let newer = frame::header_of_version(FORMAT + 1, b"whatever comes then");
    fs::write(workspace.ledger(), &newer).unwrap();
    let error = Ledger::open(&workspace.state(), &me(), Lock::NoWait).unwrap_err();
    let sentence = error.to_string();
    assert!(sentence.contains("has format 4, written by a newer imgraph"), "{sentence}");
    assert!(matches!(read(&workspace.state()), Err(LedgerError::Newer { version: 4, .. })));
    assert_eq!(fs::read(workspace.ledger()).unwrap(), newer);
}

/// `format-1.ledger` was written by the last imgraph that knew no pushes, `format-2.ledger` by the last
/// one that knew no ages and no failures.
#[test]
fn a_ledger_of_an_older_format_is_read_and_rewritten() {
    for (format, older) in
        [(1, &include_bytes!("format-1.ledger")[..]), (2, include_bytes!("format-2.ledger"))]
    {
        read_and_rewritten(format, older);
    }
}

fn read_and_rewritten(format: u32, older: &[u8]) {
    let workspace = Workspace::new();
    drop(workspace.open());
    fs::write(workspace.ledger(), older).unwrap();
    let mut entries = two_runs();
    entries.retain(|entry| is_known(format, entry));
    assert_eq!(read(&workspace.state()).unwrap().0, history_of(&entries));
    assert_eq!(fs::read(workspace.ledger()).unwrap(), older, "a reader changes nothing");
    assert_eq!(workspace.reopen(), (history_of(&entries), vec![]));
    let header = frame::read_header(&fs::read(workspace.ledger()).unwrap());
    assert!(matches!(header, frame::Header::Known { version: FORMAT, .. }), "{header:?}");
}
