//! The end of a run as a file, for who was not there: Markdown, one JSON object, `JUnit`.
//!
//! A [`Roll`] takes note of every image of the run, also of those that were up to date; what all sinks
//! share it leaves to a [`Tally`].

mod json;
mod junit;

use std::collections::BTreeMap;

use crate::event::{Built, Event, Failure, What};
use crate::fingerprint::reason::Reason;
use crate::history::Ended;
use crate::image::ImageName;
use crate::report::summary;
use crate::report::tally::Tally;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the step summary of a CI service has it.
    Markdown,
    /// One object (`docs/json.md`).
    Json,
    /// XML, a test case for each image.
    Junit,
}

/// How the whole command ended.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Its exit code.
    pub exit_code: u8,
    /// What it could not do, where it did not come to an end of its own.
    pub error: Option<&'a str>,
}

/// Every image of a run, and how it ended.
#[derive(Debug, Default)]
pub struct Roll {
    tally: Tally,
    run: Option<RunHead>,
    finished: Option<u64>,
    images: Vec<Row>,
    numbers: BTreeMap<ImageName, usize>,
    warnings: Vec<(Option<ImageName>, String)>,
}

/// What a run began with.
#[derive(Debug)]
struct RunHead {
    id: String,
    engine: String,
    started: u64,
}

/// One image.
#[derive(Debug)]
struct Row {
    name: ImageName,
    /// `None` where it was up to date.
    ended: Option<Ended>,
    is_planned: bool,
    reasons: Vec<Reason>,
    duration: u64,
    built: Option<Built>,
    failure: Option<Failure>,
    blocked_by: Option<ImageName>,
}

impl Row {
    fn new(name: ImageName) -> Self {
        Self {
            name,
            ended: None,
            is_planned: false,
            reasons: Vec::new(),
            duration: 0,
            built: None,
            failure: None,
            blocked_by: None,
        }
    }

    /// The word for how it ended; one that has not is not reached.
    fn word(&self) -> &'static str {
        match (self.ended, self.is_planned) {
            (None, false) => "fresh",
            (Some(Ended::Built), _) => "built",
            (Some(Ended::CutOff), _) => "cut-off",
            (Some(Ended::Restored), _) => "restored",
            (Some(Ended::Pushed), _) => "pushed",
            (Some(Ended::Failed), _) => "failed",
            (Some(Ended::Quarantined), _) => "quarantined",
            (Some(Ended::Blocked), _) => "blocked",
            (Some(Ended::NotReached), _) | (None, true) => "not-reached",
        }
    }
}

impl Roll {
    /// Takes note of an event.
    pub fn observe(&mut self, event: &Event) {
        self.tally.observe(event);
        match &event.what {
            What::RunStarted { run, engine, .. } => {
                let (id, engine) = (run.clone(), engine.clone());
                self.run = Some(RunHead { id, engine, started: event.time });
            }
            What::RunFinished { .. } => self.finished = Some(event.time),
            What::Fresh { image } => drop(self.row(image)),
            What::Planned { image, reasons, .. } => {
                let row = self.row(image);
                row.is_planned = true;
                row.reasons.clone_from(reasons);
            }
            // They are all that hold, now that its parents have ended.
            What::Started { image, reasons, .. } => self.row(image).reasons.clone_from(reasons),
            What::Warning { image, message } => {
                self.warnings.push((image.clone(), message.clone()));
            }
            What::Finished { image, ended, duration, built, failure, blocked_by } => {
                let row = self.row(image);
                row.ended = Some(*ended);
                row.duration = *duration;
                row.built.clone_from(built);
                row.failure.clone_from(failure);
                row.blocked_by.clone_from(blocked_by);
            }
            _ => (),
        }
    }

    /// The text of a file.
    pub fn text(&self, form: Form, end: &End<'_>) -> String {
        match form {
            Form::Markdown => self.markdown(end),
            Form::Json => json::text(self, end),
            Form::Junit => junit::text(self, end),
        }
    }

    /// The images in quarantine on whose last good outputs an image stands.
    fn stands_on(&self, row: &Row) -> &[ImageName] {
        self.tally.stands_on.get(&row.name).map_or(&[], Vec::as_slice)
    }

    fn markdown(&self, end: &End<'_>) -> String {
        let summary = summary::markdown(&self.tally);
        match end.error {
            Some(error) => format!("{}{summary}", summary::failed_markdown(error)),
            None => summary,
        }
    }

    fn row(&mut self, name: &ImageName) -> &mut Row {
        let next = self.images.len();
        let number = *self.numbers.entry(name.clone()).or_insert(next);
        if number == next {
            self.images.push(Row::new(name.clone()));
        }
        &mut self.images[number]
    }
}

#[cfg(test)]
mod tests;
