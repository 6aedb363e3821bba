//! A ledger that was put down and is taken up again.

use super::*;

fn built(ledger: &mut Ledger, image: &str, key: &str) {
    ledger.append([Entry::Recorded(record(image, key))]).unwrap();
}

fn wake(resting: Resting) -> Ledger {
    resting.wake(&me(), Lock::NoWait).unwrap()
}

#[test]
fn what_rests_holds_no_lock_and_goes_on_where_it_was() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    built(&mut ledger, "base", "one");
    let resting = ledger.rest();
    drop(workspace.open());
    let mut ledger = wake(resting);
    assert!(matches!(
        Ledger::open(&workspace.state(), &me(), Lock::NoWait),
        Err(LedgerError::Locked { .. })
    ));
    built(&mut ledger, "tools", "one");
    let known = ledger.history().clone();
    drop(ledger);
    assert_eq!(workspace.reopen(), (known, Vec::new()));
}

#[test]
fn what_others_have_written_meanwhile_is_read() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    built(&mut ledger, "base", "one");
    let resting = ledger.rest();
    built(&mut workspace.open(), "base", "two");
    let ledger = wake(resting);
    assert_eq!(ledger.history().records[&name("base")], record("base", "two"));
    let resting = ledger.rest();
    workspace.open().compact().unwrap();
    let mut ledger = wake(resting);
    built(&mut ledger, "base", "three");
    drop(ledger);
    assert_eq!(workspace.reopen().0.records[&name("base")], record("base", "three"));
}

#[test]
fn what_was_deleted_meanwhile_is_begun_anew() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    built(&mut ledger, "base", "one");
    let resting = ledger.rest();
    fs::remove_dir_all(workspace.state()).unwrap();
    let mut ledger = wake(resting);
    assert_eq!(ledger.history(), &History::default());
    built(&mut ledger, "tools", "one");
    drop(ledger);
    assert_eq!(workspace.reopen().0.records.len(), 1);
}

#[test]
fn what_has_grown_is_rewritten_from_what_is_known() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    let mut key = 0;
    while !has_grown(ledger.end, ledger.snapshot) {
        let entries = (key..key + 200).map(|key| record("base", &key.to_string()));
        ledger.append(entries.map(Entry::Recorded)).unwrap();
        key += 200;
    }
    let (last, end) = (ledger.history().records.clone(), ledger.end);
    let ledger = wake(ledger.rest());
    assert!(ledger.end.offset < end.offset && !has_grown(ledger.end, ledger.snapshot));
    let known = ledger.history().clone();
    assert_eq!((&known.records, known.by_key.len()), (&last, memory::OUTPUTS_PER_IMAGE));
    drop(ledger);
    assert_eq!(workspace.reopen(), (known, Vec::new()));
}
