//! What the events so far add up to: which images wait, run and ended, and what the end will tell.
//!
//! Every sink reads the same tally, so no two of them can disagree. It knows no sink, and no clock:
//! times come from events and from whoever asks.

use std::collections::BTreeMap;

use crate::digest::OciDigest;
use crate::event::{Event, Failure, Pin, Summary, What};
use crate::history::Ended;
use crate::image::ImageName;

/// A run, as far as its events tell.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many builds run at once.
    pub jobs: usize,
    /// The images that will, or may, be built, in the order of their events.
    pub images: Vec<Image>,
    /// The numbers of the running images in `images`, the longest running first.
    pub running: Vec<usize>,
    /// How many images ended.
    pub done: usize,
    /// What failed, in the order of the failures.
    pub failures: Vec<Failed>,
    /// What was built, with milliseconds.
    pub built: Vec<(ImageName, u64)>,
    /// What was built and came out the same, so that dependents could be cut off.
    pub unchanged: Vec<ImageName>,
    /// What was pushed, with its references.
    pub pushed: BTreeMap<ImageName, Vec<String>>,
    /// What was left alone because it keeps failing.
    pub quarantined: BTreeMap<ImageName, Quarantine>,
    /// The images that stand on the last good outputs of others, and of which.
    pub stands_on: BTreeMap<ImageName, Vec<ImageName>>,
    /// What became of pins, in the order of their events.
    pub externals: Vec<External>,
    /// Whether the user asked the run to end.
    pub interrupted: bool,
    /// The totals, as soon as the run ended.
    pub summary: Option<Summary>,
    /// How a watch stands, if this is one.
    pub watch: Option<Watched>,
    numbers: BTreeMap<ImageName, usize>,
}

/// An image that was left alone because it keeps failing.
#[derive(Clone, Debug)]
pub struct Quarantine {
    /// In how many `rebuild --full` it failed.
    pub runs: u32,
    /// How old its last good output was, in milliseconds; `None` where there is none.
    pub age: Option<u64>,
    /// The images that stand on that output, parents first.
    pub dependents: Vec<ImageName>,
}

/// An image from outside whose pin moved, or could not be looked up.
#[derive(Clone, Debug)]
pub struct External {
    /// As `imgraph.lock` has it.
    pub reference: String,
    /// What became of it.
    pub status: Pin,
    /// What it was pinned to, and is now.
    pub between: (Option<OciDigest>, Option<OciDigest>),
    /// Why it could not be looked up.
    pub error: Option<String>,
    /// Whether trying again may help with that.
    pub transient: bool,
    /// The images that read it.
    pub images: Vec<ImageName>,
    /// The images that are rebuilt for it.
    pub touched: Vec<ImageName>,
}

/// A watch, as far as its events tell.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// How many images are selected.
    pub images: usize,
    /// How many directories are watched.
    pub directories: usize,
    /// Milliseconds between two looks at everything, where changes are not told.
    pub polling: Option<u64>,
    /// Whether the user paused it.
    pub paused: bool,
    /// Whether it is known yet how the images are.
    pub is_settled: bool,
    /// The images that are not up to date.
    pub stale: Vec<ImageName>,
    /// What the last run came to.
    pub last: Option<Summary>,
}

/// An image of the run that is not simply up to date.
#[derive(Debug)]
pub struct Image {
    /// Its name.
    pub name: ImageName,
    /// Whether it has reasons of its own; otherwise it may be cut off.
    pub certain: bool,
    /// The parents whose outcome decides.
    pub waits_for: Vec<ImageName>,
    /// The predicted duration in milliseconds.
    pub predicted: Option<u64>,
    /// Where it is.
    pub state: State,
}

/// Where an image is.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// Not begun.
    Waiting,
    /// Being built.
    Running {
        /// Milliseconds since the Unix epoch when it began.
        since: u64,
        /// `[3/5] RUN make`; empty before the first step.
        step: String,
    },
    /// Ended.
    Done,
}

/// An image that failed.
#[derive(Debug)]
pub struct Failed {
    /// The image.
    pub image: ImageName,
    /// How long it took in milliseconds.
    pub duration: u64,
    /// What went wrong, where that is known.
    pub failure: Option<Failure>,
}

impl External {
    /// What an `external` event tells.
    fn of(what: &What) -> Option<Self> {
        let What::External { reference, status, old, new, error, transient, images, touched } =
            what
        else {
            return None;
        };
        Some(Self {
            reference: reference.clone(),
            status: *status,
            between: (old.clone(), new.clone()),
            error: error.clone(),
            transient: *transient,
            images: images.clone(),
            touched: touched.clone(),
        })
    }
}

impl Tally {
    /// Counts an event.
    pub fn observe(&mut self, event: &Event) {
        match &event.what {
            What::RunStarted { jobs, .. } => {
                let mut watch = self.watch.take();
                if let Some(watch) = &mut watch {
                    watch.is_settled = false;
                }
                *self = Self { jobs: *jobs, watch, ..Self::default() };
            }
            What::Planned { image, reasons, waits_for, predicted } => {
                let number = self.number(image);
                let planned = &mut self.images[number];
                planned.certain = !reasons.is_empty();
                planned.waits_for.clone_from(waits_for);
                planned.predicted = *predicted;
            }
            What::Started { image, predicted, .. } => self.start(image, event.time, *predicted),
            What::Step { image, number, total, text, .. } => {
                let of = total.map(|total| format!("/{total}")).unwrap_or_default();
                self.enter_step(image, format!("[{number}{of}] {text}"));
            }
            What::Finished { image, ended, duration, built, failure, .. } => {
                self.finish(image);
                if built.as_ref().is_some_and(|built| built.unchanged) && *ended == Ended::Built {
                    self.unchanged.push(image.clone());
                }
                match ended {
                    Ended::Built => self.built.push((image.clone(), *duration)),
                    Ended::Failed => self.failures.push(Failed {
                        image: image.clone(),
                        duration: *duration,
                        failure: failure.clone(),
                    }),
                    Ended::CutOff
                    | Ended::Restored
                    | Ended::Pushed
                    | Ended::Blocked
                    | Ended::Quarantined
                    | Ended::NotReached => (),
                }
            }
            What::Pushed { image, references } => {
                self.pushed.insert(image.clone(), references.clone());
            }
            What::Quarantined { image, runs, stands, dependents, .. } => {
                let age = stands.map(|finished| event.time.saturating_sub(finished));
                let dependents = dependents.clone();
                self.quarantine(image, Quarantine { runs: *runs, age, dependents });
            }
            What::External { .. } => self.externals.extend(External::of(&event.what)),
            What::Interrupted => self.interrupted = true,
            What::RunFinished { summary } => {
                self.summary = Some(summary.clone());
                if let Some(watch) = &mut self.watch {
                    watch.last = Some(summary.clone());
                }
            }
            What::Watching { images, directories, polling, .. } => {
                let watch = self.watch.get_or_insert_default();
                watch.images = *images;
                watch.directories = *directories;
                watch.polling = *polling;
            }
            What::Paused => self.pause(true),
            What::Resumed => self.pause(false),
            What::Idle { stale } => {
                if let Some(watch) = &mut self.watch {
                    watch.is_settled = true;
                    watch.stale.clone_from(stale);
                }
            }
            What::Fresh { .. }
            | What::Log { .. }
            | What::Warning { .. }
            | What::Rescanned { .. }
            | What::Problems { .. }
            | What::Outdated { .. }
            | What::ExecStarted { .. }
            | What::ExecLog { .. }
            | What::ExecFinished { .. } => (),
        }
    }

    /// The image of this name, if it is one that may be built.
    pub fn image(&self, name: &ImageName) -> Option<&Image> {
        self.numbers.get(name).map(|number| &self.images[*number])
    }

    /// The number of an image in `images`; one that was not announced is added.
    fn number(&mut self, name: &ImageName) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.images.len();
        self.numbers.insert(name.clone(), number);
        self.images.push(Image {
            name: name.clone(),
            certain: false,
            waits_for: Vec::new(),
            predicted: None,
            state: State::Waiting,
        });
        number
    }

    fn quarantine(&mut self, image: &ImageName, quarantine: Quarantine) {
        for dependent in &quarantine.dependents {
            self.stands_on.entry(dependent.clone()).or_default().push(image.clone());
        }
        self.quarantined.insert(image.clone(), quarantine);
    }

    fn pause(&mut self, paused: bool) {
        if let Some(watch) = &mut self.watch {
            watch.paused = paused;
        }
    }

    fn start(&mut self, name: &ImageName, since: u64, predicted: Option<u64>) {
        let number = self.number(name);
        let image = &mut self.images[number];
        image.state = State::Running { since, step: String::new() };
        image.predicted = predicted.or(image.predicted);
        self.running.push(number);
    }

    fn enter_step(&mut self, name: &ImageName, text: String) {
        let number = self.number(name);
        if let State::Running { step, .. } = &mut self.images[number].state {
            *step = text;
        }
    }

    fn finish(&mut self, name: &ImageName) {
        let number = self.number(name);
        self.running.retain(|running| *running != number);
        if self.images[number].state != State::Done {
            self.images[number].state = State::Done;
            self.done += 1;
        }
    }
}
