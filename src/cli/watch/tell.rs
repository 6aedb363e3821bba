//! Where everything that a watch tells goes: one reporter for all its threads.

use std::sync::{Mutex, PoisonError};

use crate::clock;
use crate::event::{Event, What};
use crate::report::Reporter;
use crate::watch::exec::{Exec, Success};

/// Tells events, and runs the command that follows on some of them.
pub(crate) struct Teller {
    reporter: Mutex<Reporter>,
    exec: Mutex<Option<Exec>>,
}

impl Teller {
    /// Shows everything with a reporter.
    pub(crate) fn new(reporter: Reporter) -> Self {
        Self { reporter: Mutex::new(reporter), exec: Mutex::new(None) }
    }

    /// Runs a command after each success from now on.
    pub(crate) fn follow(&self, exec: Exec) {
        *self.exec.lock().unwrap_or_else(PoisonError::into_inner) = Some(exec);
    }

    /// The reporter itself.
    pub(crate) fn reporter(&self) -> &Mutex<Reporter> {
        &self.reporter
    }

    /// Tells what happened.
    pub(crate) fn tell(&self, what: What) {
        let success = success(&what);
        let event = Event { time: clock::now(), what };
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner).event(&event);
        if let Some(success) = success
            && let Some(exec) = &mut *self.exec.lock().unwrap_or_else(PoisonError::into_inner)
        {
            exec.run(&success);
        }
    }

    /// Says something to people only.
    pub(crate) fn talk(&self, text: &str) {
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner).talk(text);
    }

    /// Says to people how things stand.
    pub(crate) fn talk_of_status(&self) {
        let mut reporter = self.reporter.lock().unwrap_or_else(PoisonError::into_inner);
        let status = reporter.status();
        reporter.talk(&status);
    }

    /// The terminal has another size.
    pub(crate) fn resized(&self) {
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner).resized();
    }

    /// Stops the commands that still run, and shows nothing more.
    pub(crate) fn stop(&self) {
        // Taken out first: what it tells while it stops must not wait for itself.
        let exec = self.exec.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(exec);
        self.reporter.lock().unwrap_or_else(PoisonError::into_inner).close();
    }
}

/// The success that an event tells of: there is an output that was not there before.
fn success(what: &What) -> Option<Success> {
    let What::Finished { image, built: Some(built), .. } = what else { return None };
    Some(Success {
        image: image.clone(),
        reference: built.references.first().cloned().unwrap_or_default(),
        digest: built.id.clone(),
    })
}
