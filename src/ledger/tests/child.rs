//! A writer in a process of its own, which can be killed or starved.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;

/// The state that the child writes to; without it, [`the_child`] is an empty test.
const STATE: &str = "IMGRAPH_TEST_LEDGER_CHILD";

/// How many images the child builds, one after the other, again and again.
const IMAGES: usize = 7;

/// Two runs out of three rewrite the ledger this often.
const COMPACT_EVERY: usize = 5;

/// The child: it appends record after record until it is killed or an append fails, and says the
/// number of each when it is safe.
#[test]
fn the_child() {
    let Some(state) = std::env::var_os(STATE) else { return };
    let mut ledger = Ledger::open(state.as_ref(), &me(), Lock::NoWait).unwrap();
    let start = known(ledger.history());
    let run = ledger.next_run_id(0);
    ledger.append([Entry::RunStarted { run, started: 0 }]).unwrap();
    announce("begun");
    for number in start.. {
        let built = build(number);
        let before = ledger.history().clone();
        let length = fs::metadata(ledger.state.join("ledger")).unwrap().len();
        let intent = Entry::Intent { image: built.image.clone() };
        if let Err(error) = ledger.append([intent, Entry::Built(built)]) {
            assert_eq!(*ledger.history(), before, "a failed append teaches nothing");
            let after = fs::metadata(ledger.state.join("ledger")).unwrap().len();
            assert_eq!(after, length, "nothing of it stays in the file");
            announce(&format!("failed {error}: {}", std::error::Error::source(&error).unwrap()));
            return;
        }
        announce(&format!("safe {number}"));
        if number.is_multiple_of(COMPACT_EVERY) && !start.is_multiple_of(3) {
            ledger.compact().unwrap();
        }
    }
}

/// A child at work, and what it says.
pub(super) struct Writer {
    child: Child,
    words: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Starts a child, where `limit` is given with files of at most that many blocks of 512 bytes,
    /// and waits until it has the lock.
    pub(super) fn start(workspace: &Workspace, limit: Option<u32>) -> Self {
        let limit = limit.map_or("unlimited".to_owned(), |blocks| blocks.to_string());
        // A limit kills the process unless the signal is ignored, which programs inherit.
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"");
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "ledger::tests::child::the_child", "--nocapture"])
            .env(STATE, workspace.state())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let words = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut writer = Self { child, words };
        assert_eq!(writer.next_word().as_deref(), Some("begun"));
        writer
    }

    /// The next thing it says; `None` when it is gone.
    pub(super) fn next_word(&mut self) -> Option<String> {
        // libtest writes lines of its own, the first of them without an end before ours.
        self.words
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("child: ").map(|(_, word)| word.to_owned()))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, and returns the number of the last record that it said was safe, if any.
    pub(super) fn kill(mut self) -> Option<usize> {
        self.child.kill().unwrap();
        let mut safe = None;
        while let Some(word) = self.next_word() {
            safe = word.strip_prefix("safe ").map(|number| number.parse().unwrap());
        }
        self.child.wait().unwrap();
        safe
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// The record that the child writes as its `number`th.
pub(super) fn build(number: usize) -> Arc<Record> {
    record(&format!("image-{}", number % IMAGES), &format!("key-{number}"))
}

/// How many of the child's records a history has; all of them must be what was written, and no
/// earlier one may be missing.
pub(super) fn known(history: &History) -> usize {
    let is_known = |number: usize| {
        let written = build(number);
        let known = history.by_key.get(&written.build_key);
        assert!(known.is_none_or(|known| *known == written), "record {number} was changed");
        known.is_some()
    };
    // Each image has its last record, whatever was forgotten of the older ones.
    let images = history.records.values();
    let numbers = images.map(|record| {
        let text = String::from_utf8(record.leaves.clone()).unwrap();
        text.rsplit_once("key-").unwrap().1.parse::<usize>().unwrap()
    });
    let end = numbers.max().map_or(0, |last| last + 1);
    for number in end.saturating_sub(IMAGES)..end {
        assert!(is_known(number), "record {number} of {end} is missing");
    }
    assert!(!is_known(end));
    end
}

fn announce(word: &str) {
    use std::io::Write;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "child: {word}").unwrap();
    stdout.flush().unwrap();
}
