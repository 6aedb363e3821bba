//! What is known of earlier builds, as a value.
//!
//! `ledger` reads it from the disk and writes it there; `plan` decides with it. Nothing here holds
//! the value of an argument or of a secret, and nothing knows how it is stored.
//!
//! The methods of [`History`] are its only grammar: each is one thing that can happen, in the order
//! in which it happened. Whoever repeats the same calls has the same history.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, OciDigest};
use crate::image::{ImageName, Platform};

/// One successful build. `ledger::skim` knows the order of its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The image.
    pub image: ImageName,
    /// The platform it was built for.
    pub platform: Platform,
    /// The engine and its store (`buildah`, `buildkit docker`): outputs of one are not in another.
    pub engine: String,
    /// The key with every parent given by its source key; `None` where a parent's was not known: it
    /// was left out and has to be prepared.
    pub source_key: Option<Digest>,
    /// The key with every parent given by its content id.
    pub build_key: Digest,
    /// What came out, independent of engine and time.
    pub content: Digest,
    /// How the engine calls what came out.
    pub output: Output,
    /// Milliseconds since the Unix epoch when the build ended.
    pub finished: u64,
    /// How long the build itself took, in milliseconds.
    pub duration: u64,
    /// The leaves of the manifest (see `fingerprint`), encoded; decoded only to explain.
    #[serde(with = "opaque")]
    pub leaves: Vec<u8>,
}

/// A built image in an engine's store. `ledger::skim` knows the order of its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The id in the store: for buildah and Docker's graph driver the config digest.
    pub id: OciDigest,
    /// The digest of the OCI manifest, where the store has one.
    pub manifest: Option<OciDigest>,
    /// The references that point at it: those the user asked for, then the key tag.
    pub references: Vec<String>,
    /// The digests of the uncompressed layers, base first.
    pub diff_ids: Vec<OciDigest>,
    /// The size of all layers in bytes.
    pub size: u64,
}

impl Output {
    /// Where an output is that the store has, by which of its references point at it.
    pub fn presence(&self, points_here: impl Fn(&str) -> bool) -> Presence {
        let astray = self.references.iter().filter(|reference| !points_here(reference));
        let references: Vec<String> = astray.cloned().collect();
        if references.is_empty() { Presence::Present } else { Presence::Untagged { references } }
    }
}

/// Where a recorded output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In the store, with all its references pointing at it.
    Present,
    /// In the store, but some references are missing or point elsewhere.
    Untagged {
        /// Those references.
        references: Vec<String>,
    },
    /// Not in the store.
    Missing,
}

/// The last run of a `prepare` command that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The image that it belongs to.
    pub image: ImageName,
    /// The digest of its command and its inputs.
    pub key: Digest,
    /// How long it took, in milliseconds.
    pub duration: u64,
}

/// What an image was last pushed as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// The image.
    pub image: ImageName,
    /// The id in the store of what was pushed.
    pub id: OciDigest,
    /// All references that it was pushed under.
    pub references: Vec<String>,
}

/// An image whose build keeps failing with the same key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// The image.
    pub image: ImageName,
    /// The build key that it fails with.
    pub key: Digest,
    /// In how many `rebuild --full` it failed with it.
    pub runs: u32,
    /// Milliseconds since the Unix epoch when it was found to fail for the first time.
    pub since: u64,
    /// The line of the instruction that failed last, from 1, where it is known.
    pub line: Option<u32>,
    /// The log of the last failure, relative to the workspace root.
    pub log: Option<String>,
}

impl Failing {
    /// In how many `rebuild --full` an image has to fail with a key until those do not try it with
    /// that key again.
    pub const QUARANTINE: u32 = 3;

    /// Whether `rebuild --full` leaves it alone.
    pub fn is_quarantined(&self) -> bool {
        self.runs >= Self::QUARANTINE
    }
}

/// How an image ended in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// It was built.
    Built,
    /// It was planned, but its inputs came out the same: nothing was built.
    CutOff,
    /// An earlier output was tagged again.
    Restored,
    /// Its build, its prepare or its push failed.
    Failed,
    /// An ancestor failed.
    Blocked,
    /// The run ended before its turn.
    NotReached,
    /// It was up to date, and was pushed.
    Pushed,
    /// It failed too often with these inputs, and was not tried again.
    Quarantined,
}

/// A run that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Milliseconds since the Unix epoch when it began.
    pub started: u64,
    /// How its images ended; an image that was begun and has no end was interrupted.
    pub ended: BTreeMap<ImageName, Ended>,
    /// The images whose build was begun and never ended, in the order in which they began: the
    /// process was killed, or, for a reader, is still at it.
    pub interrupted: Vec<ImageName>,
    /// Milliseconds since the Unix epoch when it ended; `None` where it was killed or still runs.
    pub finished: Option<u64>,
}

/// All that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The last success of each image.
    pub records: BTreeMap<ImageName, Arc<Record>>,
    /// Successes by build key, for `restore`: the newest of each key, the last ones included.
    pub by_key: BTreeMap<Digest, Arc<Record>>,
    /// The last `prepare` of each image.
    pub prepared: BTreeMap<ImageName, Prepared>,
    /// What was last pushed of each image.
    pub pushed: BTreeMap<ImageName, Pushed>,
    /// The images of which an engine read more than we know of, with the digest of the Dockerfile
    /// that it was: their whole context counts as long as it is that one.
    pub widened: BTreeMap<ImageName, Digest>,
    /// Since when images have steps that were not run again: of those whose last build took some of
    /// them from a cache. For all others it is the time of the record.
    pub aged: BTreeMap<ImageName, u64>,
    /// The images that keep failing.
    pub failing: BTreeMap<ImageName, Failing>,
    /// The content digest of each layer ever read, by its diff id.
    pub layers: BTreeMap<OciDigest, Digest>,
    /// The moving average of the build durations of each image, in milliseconds.
    pub durations: BTreeMap<ImageName, u64>,
    /// The last run.
    pub last_run: Option<Run>,
}

impl History {
    /// Adds a build that succeeded: a record, a duration to learn from, and, in a run, an end.
    pub fn add_build(&mut self, record: Arc<Record>) {
        self.learn_duration(&record.image, record.duration);
        if let Some(run) = self.open_run() {
            run.end(&record.image, Ended::Built);
        }
        self.add_record(record);
    }

    /// Makes a record the last of its image and the newest of its key, without a build: an output
    /// that was kept under a new key, or an older one that was tagged again. The image fails no more.
    pub fn add_record(&mut self, record: Arc<Record>) {
        self.failing.remove(&record.image);
        self.by_key.insert(record.build_key, Arc::clone(&record));
        self.records.insert(record.image.clone(), record);
    }

    /// Passes over a record, and over its build if it took so many milliseconds: all else is as if it
    /// had been added.
    pub fn pass_record(&mut self, image: &ImageName, duration: Option<u64>) {
        if let Some(duration) = duration {
            self.learn_duration(image, duration);
            if let Some(run) = self.open_run() {
                run.end(image, Ended::Built);
            }
        }
        self.failing.remove(image);
    }

    /// Adds a `prepare` that succeeded.
    pub fn add_prepared(&mut self, prepared: Prepared) {
        self.prepared.insert(prepared.image.clone(), prepared);
    }

    /// Adds a push that succeeded.
    pub fn add_pushed(&mut self, pushed: Pushed) {
        self.pushed.insert(pushed.image.clone(), pushed);
    }

    /// Whether the last push of an image was of this output, under all of these references.
    pub fn is_pushed(&self, image: &ImageName, id: &OciDigest, references: &[String]) -> bool {
        self.pushed.get(image).is_some_and(|pushed| {
            let is_there = |reference| pushed.references.contains(reference);
            pushed.id == *id && references.iter().all(is_there)
        })
    }

    /// When the oldest step of what a record stands for was run, in milliseconds since the Unix epoch.
    pub fn oldest_step(&self, record: &Record) -> u64 {
        self.aged.get(&record.image).map_or(record.finished, |aged| record.finished.min(*aged))
    }

    /// The images that `rebuild --full` does not try again with the keys that they failed with.
    pub fn quarantined(&self) -> impl Iterator<Item = &Failing> {
        self.failing.values().filter(|failing| failing.is_quarantined())
    }

    /// Begins a run; whatever the run before it left open stays open for ever.
    pub fn start_run(&mut self, id: String, started: u64) {
        self.last_run = Some(Run { id, started, ..Run::default() });
    }

    /// Notes that the build of an image is about to begin.
    pub fn intend(&mut self, image: ImageName) -> Result<(), NoRun> {
        let run = self.open_run().ok_or(NoRun)?;
        run.ended.remove(&image);
        if !run.interrupted.contains(&image) {
            run.interrupted.push(image);
        }
        Ok(())
    }

    /// Notes how an image ended.
    pub fn end(&mut self, image: &ImageName, ended: Ended) -> Result<(), NoRun> {
        self.open_run().ok_or(NoRun)?.end(image, ended);
        Ok(())
    }

    /// Notes that the run ended.
    pub fn finish_run(&mut self, finished: u64) -> Result<(), NoRun> {
        self.open_run().ok_or(NoRun)?.finished = Some(finished);
        Ok(())
    }

    /// The run that began and has not ended.
    fn open_run(&mut self) -> Option<&mut Run> {
        self.last_run.as_mut().filter(|run| run.finished.is_none())
    }

    /// Moves the average of an image three tenths of the way to a new duration: the last few builds
    /// count, one odd build does not.
    fn learn_duration(&mut self, image: &ImageName, duration: u64) {
        let Some(average) = self.durations.get_mut(image) else {
            self.durations.insert(image.clone(), duration);
            return;
        };
        let tenths = 7 * u128::from(*average) + 3 * u128::from(duration);
        *average = u64::try_from((tenths + 5) / 10).unwrap_or(u64::MAX);
    }
}

impl Run {
    fn end(&mut self, image: &ImageName, ended: Ended) {
        self.interrupted.retain(|begun| begun != image);
        self.ended.insert(image.clone(), ended);
    }
}

/// Something of a run was to be noted while no run is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no run is open")]
pub struct NoRun;

/// Bytes as one field instead of a sequence of numbers: in binary formats they are copied at once.
mod opaque {
    use std::fmt;

    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_byte_buf(Bytes)
    }

    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = sequence.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ImageName {
        text.parse().unwrap()
    }

    fn record(image: &str, key: &str, duration: u64) -> Arc<Record> {
        Arc::new(Record {
            image: name(image),
            platform: "linux/amd64".parse().unwrap(),
            engine: "simulate".into(),
            source_key: Some(Digest::of_content(key.as_bytes())),
            build_key: Digest::of_content(key.as_bytes()),
            content: Digest::of_content(b"content"),
            output: Output {
                id: format!("sha256:{}", Digest::of_content(image.as_bytes())).parse().unwrap(),
                manifest: None,
                references: Vec::new(),
                diff_ids: Vec::new(),
                size: 0,
            },
            finished: 0,
            duration,
            leaves: Vec::new(),
        })
    }

    #[test]
    fn a_duration_moves_by_three_tenths_and_never_overflows() {
        let mut history = History::default();
        let average_after = |history: &mut History, duration| {
            history.add_build(record("base", "k", duration));
            history.durations[&name("base")]
        };
        assert_eq!(average_after(&mut history, 1_000), 1_000);
        assert_eq!(average_after(&mut history, 2_000), 1_300);
        assert_eq!(average_after(&mut history, 0), 910);
        assert_eq!(average_after(&mut history, 3), 638, "rounded, from 637.9");
        history.durations.insert(name("base"), u64::MAX);
        assert_eq!(average_after(&mut history, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_record_without_a_build_teaches_no_duration() {
        let mut history = History::default();
        history.add_record(record("base", "k", 1_000));
        assert!(history.durations.is_empty());
        assert_eq!(history.records.len(), 1);
    }

    #[test]
    fn an_older_output_stays_known_by_its_key() {
        let mut history = History::default();
        for key in ["a", "b"] {
            history.add_build(record("base", key, 1));
        }
        let a = Digest::of_content(b"a");
        assert_eq!(history.records[&name("base")].build_key, Digest::of_content(b"b"));
        assert_eq!(history.by_key[&a].build_key, a);
    }

    #[test]
    fn an_image_that_was_begun_and_has_no_end_was_interrupted() {
        let mut history = History::default();
        history.start_run("1".into(), 7);
        for image in ["a", "b", "c"] {
            history.intend(name(image)).unwrap();
        }
        history.add_build(record("a", "a", 1));
        history.end(&name("c"), Ended::Failed).unwrap();
        let run = history.last_run.unwrap();
        assert_eq!(run.interrupted, [name("b")]);
        assert_eq!(run.ended, [(name("a"), Ended::Built), (name("c"), Ended::Failed)].into());
    }

    #[test]
    fn only_the_last_push_of_an_image_counts() {
        let mut history = History::default();
        let id = |key| record("base", key, 1).output.id.clone();
        let references = |tags: &[&str]| -> Vec<String> {
            tags.iter().map(|tag| format!("r.example/base:{tag}")).collect()
        };
        let push = |image: &str, tags: &[&str]| Pushed {
            image: name(image),
            id: id("k"),
            references: references(tags),
        };
        history.add_pushed(push("base", &["1", "latest"]));
        let other = record("other", "k", 1).output.id.clone();
        assert!(history.is_pushed(&name("base"), &id("k"), &references(&["latest"])));
        assert!(!history.is_pushed(&name("base"), &id("k"), &references(&["latest", "2"])));
        assert!(!history.is_pushed(&name("base"), &other, &references(&["latest"])));
        assert!(!history.is_pushed(&name("other"), &id("k"), &references(&["latest"])));
        history.add_pushed(push("base", &["2"]));
        assert!(!history.is_pushed(&name("base"), &id("k"), &references(&["latest"])));
    }

    #[test]
    fn an_image_that_is_built_or_restored_fails_no_more() {
        let mut history = History::default();
        let failing = |runs| Failing {
            image: name("base"),
            key: Digest::of_content(b"k"),
            runs,
            since: 1,
            line: None,
            log: None,
        };
        history.failing.insert(name("base"), failing(2));
        assert_eq!(history.quarantined().count(), 0);
        history.failing.insert(name("base"), failing(3));
        assert_eq!(history.quarantined().count(), 1);
        history.add_record(record("other", "k", 1));
        assert_eq!(history.quarantined().count(), 1);
        history.add_record(record("base", "k", 1));
        assert_eq!(history.failing.len(), 0);
    }

    #[test]
    fn a_build_from_a_cache_is_as_old_as_what_it_took_from_there() {
        let mut history = History::default();
        let at = |finished| Record { finished, ..(*record("base", "k", 1)).clone() };
        assert_eq!(history.oldest_step(&at(7)), 7);
        history.aged.insert(name("base"), 5);
        assert_eq!(history.oldest_step(&at(7)), 5);
        assert_eq!(history.oldest_step(&at(3)), 3, "an older output that was tagged again");
    }

    #[test]
    fn what_belongs_to_a_run_needs_an_open_one() {
        let mut history = History::default();
        assert_eq!(history.intend(name("a")), Err(NoRun));
        history.start_run("1".into(), 7);
        history.finish_run(8).unwrap();
        assert_eq!(history.end(&name("a"), Ended::Built), Err(NoRun));
        assert_eq!(history.finish_run(9), Err(NoRun));
    }
}
