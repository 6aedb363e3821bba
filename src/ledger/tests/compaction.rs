//! A rewritten ledger says the same, only shorter, and forgets within its bounds.

use super::*;
use crate::ledger::memory::{OLDER_OUTPUTS, OUTPUTS_PER_IMAGE};

fn length(workspace: &Workspace) -> u64 {
    fs::metadata(workspace.ledger()).unwrap().len()
}

/// A build whose record takes about a hundred kilobytes.
fn large(image: &str, key: &str) -> Entry {
    let mut record = Arc::unwrap_or_clone(record(image, key));
    record.leaves.resize(100_000, b'x');
    Entry::Built(record.into())
}

#[test]
fn a_rewritten_ledger_says_the_same() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    ledger.append(two_runs()).unwrap();
    ledger.compact().unwrap();
    assert_eq!(*ledger.history(), history_of(&two_runs()));
    ledger.append([ended("apps/api", Ended::Built)]).unwrap();
    let expected = ledger.history().clone();
    assert!(expected.last_run.as_ref().unwrap().interrupted.is_empty());
    drop(ledger);
    assert_eq!(workspace.reopen(), (expected, vec![]));
}

#[test]
fn a_ledger_is_rewritten_when_it_has_tripled_and_is_large() {
    let workspace = Workspace::new();
    workspace.open().append((0..9).map(|_| large("base", "same"))).unwrap();
    let before = length(&workspace);
    drop(workspace.open());
    assert_eq!(length(&workspace), before, "{before} bytes are not worth it");

    workspace.open().append((0..3).map(|_| large("base", "same"))).unwrap();
    let (history, _) = workspace.reopen();
    let after = length(&workspace);
    assert!(after < 110_000, "{after} bytes for one record");
    assert_eq!(history.records.len(), 1);
    assert_eq!(workspace.reopen().0, history);

    workspace.open().append((0..8).map(|number| large("base", &number.to_string()))).unwrap();
    workspace.open().append((0..8).map(|_| large("base", "7"))).unwrap();
    drop(workspace.open());
    let after = length(&workspace);
    assert!((800_000..900_000).contains(&after), "{after} bytes for eight outputs");
}

#[test]
fn what_a_killed_rewriting_leaves_is_removed() {
    let workspace = Workspace::new();
    workspace.open().append(two_runs()).unwrap();
    fs::write(beside(&workspace.state()), "the first half of a snapsh").unwrap();
    assert_eq!(workspace.reopen(), (history_of(&two_runs()), vec![]));
    assert!(!beside(&workspace.state()).exists());
}

#[test]
fn the_last_outputs_of_an_image_are_kept_for_restore() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    let builds = (0..20).map(|number| Entry::Built(record("base", &number.to_string())));
    ledger.append(builds).unwrap();
    // Going back makes an old output the newest again.
    ledger.append([Entry::Recorded(record("base", "3"))]).unwrap();
    ledger.compact().unwrap();
    let kept: Vec<String> = (0..20)
        .map(|number: u32| number.to_string())
        .filter(|key| ledger.history().by_key.contains_key(&Digest::of_content(key.as_bytes())))
        .collect();
    assert_eq!(kept, ["3", "13", "14", "15", "16", "17", "18", "19"]);
    assert_eq!(kept.len(), OUTPUTS_PER_IMAGE);
}

#[test]
fn older_outputs_are_bounded_in_common_and_last_ones_never_forgotten() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    let images = 2 * OLDER_OUTPUTS / OUTPUTS_PER_IMAGE;
    for round in 0..OUTPUTS_PER_IMAGE {
        let build = |image| record(&format!("image-{image}"), &format!("{image} in {round}"));
        ledger.append((0..images).map(build).map(Entry::Built)).unwrap();
    }
    ledger.compact().unwrap();
    let history = ledger.history();
    assert_eq!(history.records.len(), images);
    assert_eq!(history.by_key.len(), images + OLDER_OUTPUTS);
    let oldest = Digest::of_content(b"0 in 0");
    let newest = Digest::of_content(format!("0 in {}", OUTPUTS_PER_IMAGE - 1).as_bytes());
    assert!(!history.by_key.contains_key(&oldest));
    assert!(history.by_key.contains_key(&newest));
}

#[test]
fn layers_of_no_output_are_forgotten() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    let layer = |text: &str| (diff_id(text), Digest::of_content(text.as_bytes()));
    ledger.append([Entry::Layers(vec![layer("base"), layer("gone")])]).unwrap();
    ledger.append([Entry::Built(record("base", "b1"))]).unwrap();
    ledger.compact().unwrap();
    assert_eq!(ledger.history().layers, [layer("base")].into());
}
