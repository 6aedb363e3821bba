//! What carrying out a plan takes, whoever wants it: the ledger, folders, an engine that answers.
#![expect(clippy::disallowed_methods, reason = "makes the folders of a run")]

use std::ops::ControlFlow;
use std::path::Path;
use std::{fs, io};

use crate::cancel::Cancel;
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::settings;
use crate::clock::{self, Timer};
use crate::engine::Engine;
use crate::gather::STATE_DIR;
use crate::ledger::{Holder, Ledger, LedgerError, Lock, Resting};
use crate::run::Options;
use crate::signal::received;

/// How often a build or a push is tried again when the engine or the network fails.
pub(crate) const RETRIES: u32 = 2;
/// How many runs keep their folder of logs.
const KEPT_RUNS: usize = 30;

/// Opens the ledger for writing, or takes one up again that was put down. Says whom it waits for,
/// once, or does not wait.
pub(crate) fn open_ledger(
    (state, resting): (&Path, Option<Resting>),
    me: &Holder,
    no_wait: bool,
    cancel: &Cancel,
    say: &mut dyn FnMut(&str),
) -> Result<Ledger, Failure> {
    let mut said = false;
    let mut wait = |holder: Option<&Holder>| {
        if !said {
            let who = holder.map_or("another imgraph".to_owned(), |it| it.describe(clock::now()));
            say(&format!("waiting for {who} ...\n"));
            said = true;
        }
        if cancel.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let lock = if no_wait { Lock::NoWait } else { Lock::Wait(&mut wait) };
    let opened = match resting {
        Some(resting) => resting.wake(me, lock),
        None => Ledger::open(state, me, lock),
    };
    match opened {
        Err(LedgerError::Cancelled) => Err(Failure::said(interrupted())),
        opened => Ok(opened?),
    }
}

/// A run that does what is usual.
pub(crate) fn options(session: &Session, ledger: &Ledger) -> Options {
    let id = ledger.next_run_id(clock::now());
    Options {
        logs: session.state.join("runs").join(&id),
        logs_shown: format!("{STATE_DIR}/runs/{id}"),
        scratch: session.state.join("tmp").join(&id),
        jobs: settings::jobs(None),
        failure_limit: None,
        retries: RETRIES,
        pull: false,
        push: false,
        atomic: false,
        timer: Timer::start(),
        engine_note: session.choice.note.clone(),
        run: id,
    }
}

/// An engine that is not there is said before anything is begun, and what a killed run left in it is
/// cleared away.
pub(crate) fn greet(engine: &dyn Engine) -> Result<(), Failure> {
    engine.capabilities()?;
    engine.recover()?;
    Ok(())
}

/// Makes the folders of a run and removes those of runs long gone, and what a killed run left.
pub(crate) fn make_room(session: &Session, options: &Options) -> Result<(), Failure> {
    let failed = |path: &Path, error: &io::Error| {
        let message = format!("cannot create {}: {error}", path.display());
        Failure::new(Exit::UNAVAILABLE, message)
    };
    // The lock is held: whatever is in here belongs to nobody who lives.
    fs::remove_dir_all(session.state.join("tmp")).unwrap_or_default();
    for path in [&options.logs, &options.scratch] {
        fs::create_dir_all(path).map_err(|error| failed(path, &error))?;
    }
    let runs = session.state.join("runs");
    let listed = fs::read_dir(&runs).map_err(|error| failed(&runs, &error))?;
    let mut old: Vec<_> = listed.filter_map(Result::ok).map(|entry| entry.path()).collect();
    old.sort_unstable();
    let excess = old.len().saturating_sub(KEPT_RUNS);
    for path in &old[..excess] {
        fs::remove_dir_all(path).unwrap_or_default();
    }
    Ok(())
}

/// The exit code of what a signal ended in order.
pub(crate) fn interrupted() -> u8 {
    match received() {
        Some(signal_hook::consts::SIGTERM) => Exit::TERMINATED,
        _ => Exit::INTERRUPTED,
    }
}
