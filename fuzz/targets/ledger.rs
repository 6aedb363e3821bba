//! Any bytes as a ledger: whoever reads believes what a writer would believe, damage never adds
//! anything, and rewriting says the same.
//!
//! The first byte chooses: `r`, the rest is the file; `d`, the rest says how to damage a good file;
//! anything else, the rest is cut into payloads at `|||`, which get the header, the lengths and the
//! checks of `docs/ledger-format.md`, so that what decodes them is reached.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use imgraph::digest::{Digest, Hasher};
use imgraph::history::{Ended, History, Output, Prepared, Record};
use imgraph::image::ImageName;
use imgraph::ledger::{self, Entry, Holder, Ledger, Lock, Warning};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice {
        b'r' => _ = believe(rest),
        b'd' => {
            let (good, histories) = good();
            let file = damaged(good, rest);
            if let Some(believed) = believe(&file) {
                assert!(histories.contains(&believed), "an invented history: {believed:?}");
            }
        }
        _ => _ = believe(&framed(rest)),
    }
});

/// Reads a file as a reader and as a writer, who must agree; `None` where both refuse.
fn believe(file: &[u8]) -> Option<History> {
    let directory = tempfile::tempdir().expect("a place for files");
    let state = directory.path();
    fs::write(state.join("ledger"), file).expect("a place for files");
    let read = ledger::read(state);
    let opened = Ledger::open(state, &me(), Lock::NoWait);
    let ((history, warnings), mut ledger) = match (read, opened) {
        (Ok(read), Ok(ledger)) => (read, ledger),
        (Err(_), Err(_)) => {
            let left = fs::read(state.join("ledger")).expect("a refused ledger stays");
            assert_eq!(left, file, "a refused ledger was changed");
            return None;
        }
        (read, opened) => panic!("{read:?}, but {opened:?}"),
    };
    assert_eq!(&history, ledger.history());
    let said = ledger.take_warnings();
    let is_damage = |warning: &Warning| matches!(warning, Warning::Damaged { .. });
    assert_eq!(warnings.iter().any(is_damage), said.iter().any(is_damage));

    let run = ledger.next_run_id(1);
    ledger.append([Entry::RunStarted { run, started: 1 }]).expect("a mended ledger takes entries");
    assert_eq!(reread(state), (ledger.history().clone(), 0));
    ledger.compact().expect("a mended ledger can be rewritten");
    assert_eq!(reread(state), (ledger.history().clone(), 0));
    Some(history)
}

fn reread(state: &Path) -> (History, usize) {
    let (history, warnings) = ledger::read(state).expect("a good ledger");
    (history, warnings.len())
}

fn me() -> Holder {
    Holder::this_process("imgraph fuzz", 1)
}

/// A header and frames around payloads, written from the description of the format.
fn framed(payloads: &[u8]) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut previous = vec![0; 16];
    let mut rest = Some(payloads);
    while let Some(payload) = rest {
        let end = payload.windows(3).position(|window| window == b"|||");
        let (payload, behind) = match end {
            Some(end) => (&payload[..end], Some(&payload[end + 3..])),
            None => (payload, None),
        };
        let length = u32::try_from(payload.len()).expect("inputs are short");
        previous = check(Hasher::new("imgraph ledger frame").bytes(&previous).bytes(payload));
        frames.extend(length.to_le_bytes());
        frames.extend((!length).to_le_bytes());
        frames.extend(&previous);
        frames.extend(payload);
        rest = behind;
    }
    let mut file = b"imgraph\n\x01\0\0\0".to_vec();
    file.extend((36 + frames.len() as u64).to_le_bytes());
    let header = check(Hasher::new("imgraph ledger header").bytes(&file));
    [file, header, frames].concat()
}

fn check(hasher: &Hasher) -> Vec<u8> {
    hasher.finish().as_bytes()[..16].to_vec()
}

/// Damages a file: each five bytes are what to do, where, and with what.
fn damaged(good: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut file = good.to_vec();
    for edit in edits.chunks_exact(5).take(8) {
        if file.is_empty() {
            break;
        }
        let at = |high: u8, low: u8| usize::from(high) << 8 | usize::from(low);
        let (one, two) = (at(edit[1], edit[2]) % file.len(), at(edit[3], edit[4]) % file.len());
        match edit[0] % 6 {
            0 => file[one] ^= edit[3].max(1),
            1 => file.truncate(one),
            2 => _ = file.drain(one.min(two)..one.max(two)),
            3 => file.splice(one..one, good[two.min(good.len())..].to_vec()).for_each(drop),
            4 => file[one.min(two)..one.max(two)].fill(0),
            _ => file.extend_from_slice(&edit[1..]),
        }
        file.truncate(1 << 16);
    }
    file
}

/// A good ledger, and the history after each of its appends.
fn good() -> &'static (Vec<u8>, Vec<History>) {
    static GOOD: OnceLock<(Vec<u8>, Vec<History>)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let directory = tempfile::tempdir().expect("a place for files");
        let state = directory.path();
        let mut ledger = Ledger::open(state, &me(), Lock::NoWait).expect("a new ledger");
        let mut histories = vec![ledger.history().clone()];
        for entries in appends() {
            ledger.append(entries).expect("these can have happened");
            histories.push(ledger.history().clone());
        }
        (fs::read(state.join("ledger")).expect("it was written"), histories)
    })
}

fn appends() -> Vec<Vec<Entry>> {
    let image = |text: &str| -> ImageName { text.parse().expect("a name") };
    let intent = |name: &str| Entry::Intent { image: image(name) };
    let prepared = Prepared { image: image("b"), key: Digest::of_content(b"p"), duration: 7 };
    let failed = Entry::Ended { image: image("b"), ended: Ended::Failed };
    vec![
        vec![Entry::RunStarted { run: "one".to_owned(), started: 1 }, intent("a")],
        vec![Entry::Built(record("a", "1").into())],
        vec![intent("b"), Entry::Prepared(prepared)],
        vec![Entry::Built(record("b", "1").into()), Entry::RunFinished { finished: 2 }],
        vec![Entry::RunStarted { run: "two".to_owned(), started: 3 }, intent("a"), intent("b")],
        vec![Entry::Recorded(record("a", "2").into())],
        vec![failed],
    ]
}

fn record(image: &str, key: &str) -> Record {
    let digest = |of: &str| Digest::of_content(format!("{of} {image} {key}").as_bytes());
    let oci = |of: &str| format!("sha256:{}", digest(of)).parse().expect("a digest");
    Record {
        image: image.parse().expect("a name"),
        platform: "linux/amd64".parse().expect("a platform"),
        engine: "simulate".to_owned(),
        source_key: Some(digest("source")),
        build_key: digest("build"),
        content: digest("content"),
        output: Output {
            id: oci("id"),
            manifest: None,
            references: vec![format!("localhost/{image}:latest")],
            diff_ids: vec![oci("layer")],
            size: 1,
        },
        finished: 1,
        duration: 2,
        leaves: b"leaves".to_vec(),
    }
}
