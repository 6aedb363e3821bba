//! A ledger cut at every byte, and with every bit flipped: it opens, with one sentence at most, and
//! says nothing that was not written.

use super::*;

/// The bytes of a realistic ledger, where each of its entries ends, and the history after each.
struct Original {
    bytes: Vec<u8>,
    histories: Vec<History>,
}

impl Original {
    fn write() -> Self {
        let workspace = Workspace::new();
        let mut ledger = workspace.open();
        let mut histories = vec![ledger.history().clone()];
        for entry in two_runs() {
            ledger.append([entry]).unwrap();
            histories.push(ledger.history().clone());
        }
        Self { bytes: fs::read(workspace.ledger()).unwrap(), histories }
    }

    /// Opens a ledger of these bytes and says how many of the entries it has. Then goes on with it.
    fn check(&self, workspace: &Workspace, bytes: &[u8], what: &str) -> usize {
        fs::write(workspace.ledger(), bytes).unwrap();
        let (read_history, read_warnings) = read(&workspace.state()).unwrap();
        assert!(read_warnings.len() <= 1, "{what}: {read_warnings:?}");
        let mut ledger = workspace.open();
        let warnings = ledger.take_warnings();
        assert!(warnings.len() <= 1, "{what}: {warnings:?}");
        assert_eq!(*ledger.history(), read_history, "{what}: writers and readers disagree");
        let entries = self.histories.iter().rposition(|history| history == ledger.history());
        let entries = entries.unwrap_or_else(|| panic!("{what}: {:?}", ledger.history()));
        let is_all = entries + 1 == self.histories.len() && bytes == self.bytes;
        let is_cut_between = warnings.is_empty() && self.bytes.starts_with(bytes);
        assert!(is_all || is_cut_between || warnings.len() == 1, "{what}: lost without a word");

        ledger.append([Entry::RunStarted { run: "next".into(), started: 9 }]).unwrap();
        let expected = ledger.history().clone();
        drop(ledger);
        assert_eq!(workspace.reopen(), (expected, vec![]), "{what}: after going on");
        entries
    }
}

#[test]
fn a_ledger_cut_at_any_byte_has_the_entries_before_the_cut() {
    let original = Original::write();
    let workspace = Workspace::new();
    drop(workspace.open());
    let mut last = 0;
    for length in 0..=original.bytes.len() {
        let entries =
            original.check(&workspace, &original.bytes[..length], &format!("{length} bytes"));
        assert!(
            entries >= last,
            "{length} bytes have less than {} bytes",
            length.saturating_sub(1)
        );
        last = entries;
    }
    assert_eq!(last, two_runs().len());
}

#[test]
fn a_ledger_with_any_byte_changed_has_the_entries_before_it() {
    let original = Original::write();
    let workspace = Workspace::new();
    drop(workspace.open());
    for at in 0..original.bytes.len() {
        let mut bytes = original.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let entries = original.check(&workspace, &bytes, &format!("a bit of byte {at}"));
        assert!(entries < two_runs().len(), "byte {at}: not noticed");
    }
}

#[test]
fn no_flipped_bit_is_believed() {
    let original = Original::write();
    for bit in 0..original.bytes.len() * 8 {
        let mut bytes = original.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match recover::recover(&bytes) {
            Err(Unreadable::Headless { .. }) => assert!(bit / 8 < HEADER_LENGTH, "bit {bit}"),
            Err(Unreadable::Newer(version)) => panic!("bit {bit} made it version {version}"),
            Ok(trusted) => {
                let damaged = matches!(trusted.tail, Tail::Damaged { .. });
                assert!(damaged, "bit {bit}: {:?}", trusted.tail);
                assert!(trusted.end.offset <= bit as u64 / 8, "bit {bit} is in the trusted part");
            }
        }
    }
}

#[test]
fn damage_is_counted_and_kept_aside() {
    let workspace = Workspace::new();
    drop(workspace.open());
    let mut bytes = bytes_of(&two_runs());
    let at = bytes.windows(5).position(|window| window == b"run-1").unwrap();
    bytes[at] ^= 1;
    fs::write(workspace.ledger(), &bytes).unwrap();
    let sentence = |warnings: &[String], kept| {
        let [sentence] = warnings else { panic!("{warnings:?}") };
        let path = workspace.ledger();
        let behind = two_runs().len() - 1;
        let expected = format!(
            "{} is damaged from byte {HEADER_LENGTH} on; that and the {behind} records behind it are \
             left out{kept}, and images may be built again",
            path.display()
        );
        assert_eq!(*sentence, expected);
    };
    let (_, warnings) = read(&workspace.state()).unwrap();
    sentence(&warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), String::new());
    let aside = workspace.state().join("ledger.damaged");
    assert!(!aside.exists(), "a reader changes nothing");

    let (_, warnings) = workspace.reopen();
    sentence(&warnings, format!(" (kept in {})", aside.display()));
    assert_eq!(fs::read(aside).unwrap(), bytes[HEADER_LENGTH..]);
}

#[test]
fn a_torn_end_is_said_by_the_next_writer_only() {
    let workspace = Workspace::new();
    drop(workspace.open());
    let bytes = bytes_of(&two_runs());
    fs::write(workspace.ledger(), &bytes[..bytes.len() - 1]).unwrap();
    let (history, warnings) = read(&workspace.state()).unwrap();
    assert!(warnings.is_empty(), "perhaps a writer is just writing it: {warnings:?}");
    let (reopened, warnings) = workspace.reopen();
    assert_eq!(reopened, history);
    assert_eq!(history, history_of(&two_runs()[..two_runs().len() - 1]));
    let [sentence] = &warnings[..] else { panic!("{warnings:?}") };
    let start = format!("the last record of {} was not completely", workspace.ledger().display());
    assert!(sentence.starts_with(&start), "{sentence}");
}

#[test]
fn entries_appended_together_are_lost_together() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    let (first, second) = (two_runs()[..11].to_vec(), two_runs()[11..].to_vec());
    ledger.append(first.clone()).unwrap();
    ledger.append(second).unwrap();
    drop(ledger);
    let bytes = fs::read(workspace.ledger()).unwrap();
    fs::write(workspace.ledger(), &bytes[..bytes.len() - 1]).unwrap();
    let (history, warnings) = workspace.reopen();
    assert_eq!(history, history_of(&first));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn zeros_at_the_end_are_damage() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    ledger.append(two_runs()).unwrap();
    drop(ledger);
    let mut bytes = fs::read(workspace.ledger()).unwrap();
    bytes.resize(bytes.len() + 4_096, 0);
    fs::write(workspace.ledger(), &bytes).unwrap();
    let (history, warnings) = workspace.reopen();
    assert_eq!(history, history_of(&two_runs()));
    assert_eq!(warnings.len(), 1);
}

#[test]
fn a_frame_is_good_in_one_place_only() {
    let entries = two_runs();
    let whole = bytes_of(&entries);
    let (first, second) = (bytes_of(&entries[..1]).len(), bytes_of(&entries[..2]).len());
    let without_the_second = [&whole[..first], &whole[second..]].concat();
    let Ok(trusted) = recover::recover(&without_the_second) else { panic!() };
    assert_eq!(trusted.end.offset, first as u64);
    assert_eq!(trusted.tail, Tail::Damaged { entries: entries.len() - 3 });
}

#[test]
fn a_whole_entry_that_cannot_have_happened_is_not_believed() {
    let impossible = [
        Entry::Built(record("base", "b1")),
        ended("base", Ended::Failed),
        Entry::Built(record("base", "b2")),
    ];
    let Ok(trusted) = recover::recover(&bytes_of(&impossible)) else { panic!() };
    assert_eq!(*trusted.memory.history(), history_of(&impossible[..1]));
    assert_eq!(trusted.tail, Tail::Damaged { entries: 1 });
}

#[test]
fn something_else_under_the_name_of_the_ledger_is_kept_aside() {
    let workspace = Workspace::new();
    drop(workspace.open());
    for foreign in ["", "{}", "a text of more than thirty-six bytes, which is a header's length"] {
        fs::write(workspace.ledger(), foreign).unwrap();
        let (history, warnings) = workspace.reopen();
        assert_eq!(history, History::default());
        assert_eq!(warnings.len(), 1, "{foreign:?}");
        let aside = fs::read(workspace.state().join("ledger.damaged")).unwrap();
        assert_eq!(aside, foreign.as_bytes());
    }
}
