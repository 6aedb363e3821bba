//! Writers killed at any moment: nothing that they called safe is lost, nothing else is believed.

use std::sync::mpsc;
use std::time::Duration;

use super::child::{Writer, known};
use super::*;

const KILLS: u64 = 40;

#[test]
fn a_killed_writer_loses_nothing_that_it_called_safe() {
    let workspace = Workspace::new();
    let mut total = 0;
    for kill in 0..KILLS {
        let writer = Writer::start(&workspace, None);
        wait(Duration::from_micros(kill * 7_919 % 23_000));
        let safe = writer.kill();

        let (history, warnings) = workspace.reopen();
        let now = known(&history);
        assert!(
            now >= total.max(safe.map_or(0, |last| last + 1)),
            "kill {kill}: {safe:?} of {now}"
        );
        assert!(warnings.len() <= 1, "kill {kill}: {warnings:?}");
        let is_torn = |warning: &String| warning.contains("was not completely written");
        assert!(warnings.iter().all(is_torn), "kill {kill}: {warnings:?}");
        total = now;
    }
    assert!(total > 0, "no writer wrote anything");
}

#[test]
fn the_lock_of_a_killed_writer_is_free() {
    let workspace = Workspace::new();
    let writer = Writer::start(&workspace, None);
    let pid = writer.pid();
    let error = Ledger::open(&workspace.state(), &me(), Lock::NoWait).unwrap_err();
    let LedgerError::Locked { holder: Some(holder) } = error else { panic!("{error}") };
    assert_eq!(holder.pid, pid);
    let mut killed = Some(writer);
    let mut asked = |holder: Option<&Holder>| {
        assert_eq!(holder.map(|holder| holder.pid), Some(pid));
        killed.take().map(Writer::kill);
        ControlFlow::Continue(())
    };
    drop(Ledger::open(&workspace.state(), &me(), Lock::Wait(&mut asked)).unwrap());
}

/// Waits for a message that never comes: the moment of the kill is what is tested, no event tells it.
fn wait(time: Duration) {
    let (sender, receiver) = mpsc::channel::<()>();
    receiver.recv_timeout(time).unwrap_err();
    drop(sender);
}
