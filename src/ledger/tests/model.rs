//! Random lives of a ledger against a model that has no file: whatever is appended, rewritten and
//! opened again in whatever order, both know the same.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::*;
use crate::history::Run;
use crate::ledger::memory::OUTPUTS_PER_IMAGE;

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Entry>),
    Compact,
    Reopen,
}

/// What a ledger should know, by the shortest code that can say it.
#[derive(Default)]
struct Model {
    history: History,
    written: Vec<Arc<Record>>,
}

impl Model {
    fn append(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Entry::Built(record) | Entry::Recorded(record) = entry {
                self.written.push(Arc::clone(record));
            }
            entry.clone().apply(&mut self.history).unwrap();
        }
    }

    /// Who reads the records of one image knows of all others under which keys there are some, and
    /// everything else as it is.
    fn check_skimmed(&self, Partial { history, unread }: &Partial) {
        let is_wanted = |record: &Record| record.image.as_str() == "image-0";
        let mut expected = self.history.clone();
        expected.records.retain(|_, record| is_wanted(record));
        expected.by_key = history.by_key.clone();
        assert_eq!(*history, expected);
        let unwanted = self.written.iter().filter(|record| !is_wanted(record));
        let unwanted: BTreeSet<Digest> = unwanted.map(|record| record.build_key).collect();
        assert_eq!(unread.iter().copied().collect::<BTreeSet<_>>(), unwanted);
        for (key, record) in &self.history.by_key {
            assert!(unread.contains(key) || history.by_key.get(key) == Some(record));
        }
        for (key, record) in &history.by_key {
            assert!(unread.contains(key) || self.history.by_key.get(key) == Some(record));
        }
    }

    /// Keeps the last record of each image and the newest of each key, of those eight an image.
    fn compact(&mut self) {
        let of_use = |later: &[Arc<Record>], one: &Record| {
            later.iter().all(|other| other.build_key != one.build_key)
                || later.iter().all(|other| other.image != one.image)
        };
        let in_bounds = |later: &[Arc<Record>], one: &Record| {
            later.iter().filter(|other| other.image == one.image).count() < OUTPUTS_PER_IMAGE
        };
        self.written = keep(&self.written, of_use);
        self.written = keep(&self.written, in_bounds);
        self.history.by_key.clear();
        for record in &self.written {
            self.history.by_key.insert(record.build_key, Arc::clone(record));
        }
        let diff_ids = self.written.iter().flat_map(|record| &record.output.diff_ids);
        let used: BTreeSet<_> = diff_ids.collect();
        self.history.layers.retain(|diff_id, _| used.contains(diff_id));
    }
}

/// The records of which the rule is true, given those written later.
fn keep(
    written: &[Arc<Record>],
    rule: impl Fn(&[Arc<Record>], &Record) -> bool,
) -> Vec<Arc<Record>> {
    let kept = (0..written.len()).filter(|at| rule(&written[at + 1..], &written[*at]));
    kept.map(|at| Arc::clone(&written[at])).collect()
}

fn image() -> impl Strategy<Value = ImageName> {
    (0..3).prop_map(|number| name(&format!("image-{number}")))
}

fn any_record() -> impl Strategy<Value = Arc<Record>> {
    (image(), 0..14, 0..100_000_u64).prop_map(|(image, key, duration)| {
        let mut record = Arc::unwrap_or_clone(record(image.as_str(), &format!("key-{key}")));
        record.duration = duration;
        record.into()
    })
}

fn any_end() -> impl Strategy<Value = Ended> {
    use Ended::{Blocked, Built, CutOff, Failed, NotReached, Pushed, Quarantined, Restored};
    proptest::sample::select(vec![
        Built,
        CutOff,
        Restored,
        Failed,
        Blocked,
        NotReached,
        Pushed,
        Quarantined,
    ])
}

fn entry() -> impl Strategy<Value = Entry> {
    let layer = |key: u32| (diff_id(&format!("key-{key}")), Digest::of_content(&key.to_le_bytes()));
    prop_oneof![
        1 => ("[a-z0-9]{1,5}", any::<u64>()).prop_map(|(run, started)| Entry::RunStarted { run, started }),
        1 => image().prop_map(|image| Entry::Intent { image }),
        4 => any_record().prop_map(Entry::Built),
        2 => any_record().prop_map(Entry::Recorded),
        1 => (image(), any_end()).prop_map(|(image, ended)| Entry::Ended { image, ended }),
        1 => (image(), any::<u64>()).prop_map(|(image, duration)| {
            Entry::Prepared(Prepared { key: Digest::of_content(b"prepare"), image, duration })
        }),
        1 => (image(), vec("[a-z]{1,5}", 0..3)).prop_map(|(image, references)| {
            Entry::Pushed(Pushed { id: diff_id(image.as_str()), image, references })
        }),
        1 => image().prop_map(|image| {
            Entry::Widened { dockerfile: Digest::of_content(image.as_str().as_bytes()), image }
        }),
        1 => (image(), any::<u64>()).prop_map(|(image, since)| Entry::Aged { image, since }),
        1 => (image(), any::<u32>())
            .prop_map(|(image, runs)| Entry::Failing(failing(image.as_str(), runs))),
        1 => vec(0..14_u32, 0..4).prop_map(move |keys| Entry::Layers(keys.into_iter().map(layer).collect())),
        1 => any::<u64>().prop_map(|finished| Entry::RunFinished { finished }),
        1 => (image(), any::<u64>()).prop_map(|(image, millis)| Entry::Duration { image, millis }),
        1 => ("[a-z]{1,5}", any::<u64>(), image()).prop_map(|(id, started, image)| {
            Entry::LastRun(Run { id, started, interrupted: vec![image], ..Run::default() })
        }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(entry(), 0..6).prop_map(Step::Append),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #[test]
    fn a_ledger_knows_what_a_model_without_a_file_knows(steps in vec(step(), 0..40)) {
        let workspace = Workspace::new();
        let mut ledger = workspace.open();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append(entries) => match ledger.append(entries.clone()) {
                    Ok(()) => model.append(&entries),
                    Err(error) => assert!(matches!(error, LedgerError::NoRun(_)), "{error}"),
                },
                Step::Compact => {
                    ledger.compact().unwrap();
                    model.compact();
                }
                Step::Reopen => {
                    drop(ledger);
                    ledger = workspace.open();
                    assert!(ledger.take_warnings().is_empty());
                }
            }
            assert_eq!(*ledger.history(), model.history);
        }
        assert_eq!(read(&workspace.state()).unwrap().0, model.history);
        model.check_skimmed(&skim(&workspace.state(), &|image| image == "image-0").unwrap().0);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..300), is_ledger in any::<bool>()) {
        let mut file = vec![0; if is_ledger { HEADER_LENGTH } else { 0 }];
        file.extend(bytes);
        if is_ledger {
            frame::write_header(&mut file);
        }
        if let Ok(trusted) = recover::recover(&file) {
            assert!(trusted.end.offset <= file.len() as u64);
        }
    }

    #[test]
    fn no_payload_makes_a_reader_panic(payload in vec(any::<u8>(), 0..300)) {
        let mut file = vec![0; HEADER_LENGTH];
        frame::push(&mut file, Check::default(), &payload).unwrap();
        frame::write_header(&mut file);
        assert!(recover::recover(&file).is_ok());
    }
}
