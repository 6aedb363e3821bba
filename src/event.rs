//! Everything a run can tell: plain data. NDJSON is these values, serialised, one a line; the
//! terminal draws the same values. `docs/events.md` is the contract; [`VERSION`] counts its breaks.

use serde::{Deserialize, Serialize};

use crate::digest::OciDigest;
use crate::fingerprint::reason::Reason;
use crate::history::Ended;
use crate::image::ImageName;

/// The version of this format: raised when a field changes its meaning or goes; new fields and new
/// events may come without.
pub const VERSION: u32 = 1;

/// One event, with its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub time: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A run begins; always the first event.
    RunStarted {
        /// [`VERSION`].
        version: u32,
        /// The run's id, also the name of its folder of logs.
        run: String,
        /// The engine and why it was chosen, for people.
        engine: String,
        /// How many images were selected, with the ancestors they need.
        selected: usize,
        /// How many of them may have to be built, or are to be pushed.
        planned: usize,
        /// How many builds run at once.
        jobs: usize,
        /// The predicted duration of the run in milliseconds, where the history allows one.
        predicted: Option<u64>,
    },
    /// An image was selected and is up to date: nothing will be done.
    Fresh {
        /// The image.
        image: ImageName,
    },
    /// An image will, or may, be built, or is to be pushed.
    Planned {
        /// The image.
        image: ImageName,
        /// Why. Empty for an image that only waits for a parent.
        reasons: Vec<Reason>,
        /// The parents whose outcome decides.
        waits_for: Vec<ImageName>,
        /// The predicted duration in milliseconds.
        predicted: Option<u64>,
    },
    /// Work on an image begins.
    Started {
        /// The image.
        image: ImageName,
        /// Why it is built.
        reasons: Vec<Reason>,
        /// Where its full log is written, relative to the workspace root.
        log: String,
        /// The predicted duration in milliseconds.
        predicted: Option<u64>,
    },
    /// A step of a running build begins.
    Step {
        /// The image.
        image: ImageName,
        /// Its number, from 1.
        number: u32,
        /// How many there are, where the engine says so.
        total: Option<u32>,
        /// The instruction, one line.
        text: String,
        /// Whether the engine took it from its cache; known only when the step ended.
        cached: bool,
    },
    /// A line that a build or a prepare printed.
    Log {
        /// The image.
        image: ImageName,
        /// The line, without its end.
        line: String,
    },
    /// An image was sent to its registries.
    Pushed {
        /// The image.
        image: ImageName,
        /// The references that point at it there.
        references: Vec<String>,
    },
    /// An image ended.
    Finished {
        /// The image.
        image: ImageName,
        /// How.
        ended: Ended,
        /// How long it took in milliseconds, from `started`.
        duration: u64,
        /// What came out, for built, cut off and restored images.
        built: Option<Built>,
        /// What went wrong, for failed images.
        failure: Option<Failure>,
        /// The failed ancestor, for blocked images.
        blocked_by: Option<ImageName>,
    },
    /// What an image from outside is pinned to was looked up before the run, and is another image
    /// now, or could not be looked up.
    External {
        /// As `imgraph.lock` has it.
        reference: String,
        /// What became of its pin.
        status: Pin,
        /// What it was pinned to.
        old: Option<OciDigest>,
        /// What it is pinned to now.
        new: Option<OciDigest>,
        /// Why it could not be looked up; it stays pinned to what it was.
        error: Option<String>,
        /// Whether trying again may help with that.
        transient: bool,
        /// The images that read it.
        images: Vec<ImageName>,
        /// The images that are rebuilt for it, as far as they come out different.
        touched: Vec<ImageName>,
    },
    /// An image failed too often with these inputs, and is not tried again; its `finished` follows.
    Quarantined {
        /// The image.
        image: ImageName,
        /// In how many `rebuild --full` it failed with them.
        runs: u32,
        /// Milliseconds since the Unix epoch when it was found to fail.
        since: u64,
        /// Milliseconds since the Unix epoch when its last good output was built; `None` where there
        /// is none, and what stands on it is blocked.
        stands: Option<u64>,
        /// The images of the run that stand on that output, parents first.
        dependents: Vec<ImageName>,
    },
    /// Something the user should know; the run goes on.
    Warning {
        /// The image it is about.
        image: Option<ImageName>,
        /// A sentence.
        message: String,
    },
    /// The user asked the run to end; running builds are being stopped.
    Interrupted,
    /// The run ended; always its last event.
    RunFinished {
        /// The totals.
        summary: Summary,
    },
    /// A watch begins, or watches other images or directories than before; always the first event
    /// of a watch.
    Watching {
        /// [`VERSION`].
        version: u32,
        /// How many images are selected, with the ancestors they need.
        images: usize,
        /// How many directories are watched.
        directories: usize,
        /// Milliseconds between two looks at everything, where no changes are told by the system.
        polling: Option<u64>,
    },
    /// The watch looked again at what may have changed.
    Rescanned {
        /// Whether at everything, or only at what the paths name.
        everything: bool,
        /// The paths that changed, relative to the workspace root; at most a hundred.
        paths: Vec<String>,
        /// The images whose inputs are others than before.
        changed: Vec<ImageName>,
        /// Milliseconds that it took.
        duration: u64,
    },
    /// What is wrong with the workspace is not what was wrong before.
    Problems {
        /// All of it.
        problems: Vec<Problem>,
    },
    /// A running build, or `prepare`, was stopped because its inputs changed.
    Outdated {
        /// The image.
        image: ImageName,
        /// Whether it is begun again in this run; otherwise the next one has it.
        again: bool,
    },
    /// The command of `--exec` begins.
    ExecStarted {
        /// The image that it is for.
        image: ImageName,
        /// The command.
        command: String,
    },
    /// A line that the command of `--exec` printed.
    ExecLog {
        /// The image that it is for.
        image: ImageName,
        /// The line, without its end.
        line: String,
    },
    /// The command of `--exec` ended.
    ExecFinished {
        /// The image that it is for.
        image: ImageName,
        /// Its exit code; `None` where a signal ended it or it could not be started.
        code: Option<i32>,
        /// Whether it was stopped, because the image was built again or the watch ended.
        stopped: bool,
    },
    /// The user paused the watch.
    Paused,
    /// The user went on with the watch.
    Resumed,
    /// The watch has done what there was to do and waits for changes.
    Idle {
        /// The images that are not up to date: what failed, what is broken, what stands on them.
        stale: Vec<ImageName>,
    },
}

/// What became of the pin of an image from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pin {
    /// It is pinned to another image.
    Moved,
    /// It was not pinned.
    New,
    /// Nothing reads it any more.
    Removed,
    /// It could not be looked up.
    Failed,
}

/// Something that is wrong with the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `error`, `warning` or `note`.
    pub severity: String,
    /// `IG` and three digits.
    pub code: String,
    /// One line.
    pub message: String,
    /// The file, relative to the workspace root.
    pub path: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
}

/// What came out of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// The references that point at it now.
    pub references: Vec<String>,
    /// The id in the engine's store.
    pub id: String,
    /// The content id.
    pub content: String,
    /// Whether the content is the same as that of the build before: dependents are cut off.
    pub unchanged: bool,
    /// The size of all layers in bytes.
    pub size: u64,
    /// How many steps the engine took from its cache, of how many.
    pub cached_steps: u32,
    /// How many steps there were.
    pub steps: u32,
}

/// Why an image failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One line: what failed.
    pub message: String,
    /// `path` of the Dockerfile, and the line of the failing instruction where it is known.
    pub path: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The last lines of the log, at most twenty.
    pub tail: Vec<String>,
    /// Whether trying again may help: the engine or the network failed, not the Dockerfile.
    pub transient: bool,
    /// The log file, relative to the workspace root.
    pub log: Option<String>,
}

/// The totals of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Images selected, with the ancestors they need.
    pub selected: usize,
    /// Up to date before the run.
    pub fresh: usize,
    /// Planned: stale, waiting for a parent, or to be pushed.
    pub planned: usize,
    /// Built.
    pub built: usize,
    /// Planned, but the inputs came out the same.
    pub cut_off: usize,
    /// Tagged again without a build.
    pub restored: usize,
    /// Up to date, and only pushed.
    #[serde(default)]
    pub pushed: usize,
    /// Failed.
    pub failed: usize,
    /// Of those, how many failed in a way that trying again may mend.
    pub transient: usize,
    /// Not tried again because they failed too often with these inputs.
    #[serde(default)]
    pub quarantined: usize,
    /// Not built because an ancestor failed.
    pub blocked: usize,
    /// Not reached before the run was interrupted, or ended by `--fail-fast`.
    pub not_reached: usize,
    /// Wall time in milliseconds.
    pub duration: u64,
    /// The chain of builds that took longest, in order, with milliseconds.
    #[serde(with = "timed")]
    pub critical_path: Vec<(ImageName, u64)>,
    /// max(critical path, work / jobs) in milliseconds: no schedule could be faster.
    pub lower_bound: u64,
    /// The first cause: why the first planned image was stale.
    #[serde(with = "caused")]
    pub first_cause: Option<(ImageName, Reason)>,
    /// The folder of logs, relative to the workspace root; `None` where nothing was logged.
    pub logs: Option<String>,
    /// Whether the user interrupted it.
    pub interrupted: bool,
    /// Whether inputs changed so that another plan was due before it had done all of its own.
    #[serde(default)]
    pub replaced: bool,
}

/// Images with durations as objects: `[{"image":"base","duration":41000}]`.
mod timed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::image::ImageName;

    #[derive(Serialize, Deserialize)]
    struct Timed<I> {
        image: I,
        duration: u64,
    }

    pub(super) fn serialize<S: Serializer>(
        path: &[(ImageName, u64)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let objects = path.iter().map(|(image, duration)| Timed { image, duration: *duration });
        serializer.collect_seq(objects)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(ImageName, u64)>, D::Error> {
        let objects = Vec::<Timed<ImageName>>::deserialize(deserializer)?;
        Ok(objects.into_iter().map(|timed| (timed.image, timed.duration)).collect())
    }
}

/// A cause as an object: `{"image":"base","reason":{"reason":"forced"}}`. The reason keeps an
/// object of its own, because some reasons have an `image` too.
mod caused {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::fingerprint::reason::Reason;
    use crate::image::ImageName;

    #[derive(Serialize, Deserialize)]
    struct Caused<I, R> {
        image: I,
        reason: R,
    }

    #[expect(clippy::ref_option, reason = "serde's `with` hands in the field by reference")]
    pub(super) fn serialize<S: Serializer>(
        cause: &Option<(ImageName, Reason)>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let object = cause.as_ref().map(|(image, reason)| Caused { image, reason });
        object.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<(ImageName, Reason)>, D::Error> {
        let object = Option::<Caused<ImageName, Reason>>::deserialize(deserializer)?;
        Ok(object.map(|caused| (caused.image, caused.reason)))
    }
}
