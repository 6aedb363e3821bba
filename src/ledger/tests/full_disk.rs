//! No room: the caller is told, and what was written before stays good.

use super::child::{Writer, known};
use super::*;

#[test]
fn an_append_that_does_not_fit_leaves_no_trace() {
    let workspace = Workspace::new();
    let mut writer = Writer::start(&workspace, Some(16));
    let mut safe = 0;
    let failure = loop {
        let word = writer.next_word().expect("it says how it ends");
        match word.strip_prefix("failed ") {
            None => safe += 1,
            Some(failure) => break failure.to_owned(),
        }
    };
    let expected = format!("cannot write {}: File too large", workspace.ledger().display());
    assert!(failure.starts_with(&expected), "{failure}");
    assert!(safe > 0);
    drop(writer);

    let (history, warnings) = workspace.reopen();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(known(&history), safe);
}

#[test]
fn a_ledger_that_cannot_be_rewritten_is_good_as_it_is() {
    let workspace = Workspace::new();
    let mut ledger = workspace.open();
    ledger.append(two_runs()).unwrap();
    fs::create_dir(beside(&workspace.state())).unwrap();
    let error = ledger.compact().unwrap_err();
    let expected = format!("cannot write {}", beside(&workspace.state()).display());
    assert_eq!(error.to_string(), expected);
    fs::remove_dir(beside(&workspace.state())).unwrap();
    ledger.append([ended("apps/api", Ended::Failed)]).unwrap();
    let expected = ledger.history().clone();
    drop(ledger);
    assert_eq!(workspace.reopen(), (expected, vec![]));
}

#[test]
fn a_state_that_cannot_be_made_is_named() {
    let workspace = Workspace::new();
    fs::write(workspace.state(), "a file").unwrap();
    let error = Ledger::open(&workspace.state(), &me(), Lock::NoWait).unwrap_err();
    assert!(error.to_string().contains(".imgraph"), "{error}");
    let missing = workspace.state().join("deeper/.imgraph");
    let error = Ledger::open(&missing, &me(), Lock::NoWait).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot create {}", missing.display()));
}
