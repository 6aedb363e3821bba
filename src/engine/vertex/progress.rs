//! What a build did so far: steps and lines out of vertices and their logs.
//!
//! A step is what has a number in its stage. It can be several vertices (`ADD https://..` downloads
//! and copies, `COPY --link` copies and merges), and a vertex is told several times, also after it
//! ended: what was told last holds. Vertices are shared between the builds of a daemon and may come
//! in any order. Source: moby/buildkit `solver/progress.go`, `solver/jobs.go`.

use std::collections::BTreeMap;

use crate::engine::message::one_line;
use crate::engine::vertex::name::Name;
use crate::engine::vertex::{Log, Vertex};
use crate::engine::{Parent, Progress};
use crate::lines::Lines;

/// How BuildKit says that a vertex ended only because another one failed, or the build was given up
/// (`solver/progress.go`, `encore`).
const GIVEN_UP: &str = "context canceled";

/// How the names of vertices begin that read or write caches (`solver/llbsolver/bridge.go`,
/// `solver.go`).
const CACHES: [&str; 2] = ["importing cache manifest from ", "exporting cache to "];

/// Follows one build.
#[derive(Debug, Default)]
pub struct Tracker {
    vertices: BTreeMap<String, Known>,
    /// By place and number in it.
    steps: BTreeMap<(String, u32), Step>,
    begun: u32,
    /// Pinned references and what they stand for.
    pins: Vec<(String, String)>,
}

/// What is known of a vertex.
#[derive(Debug, Default)]
struct Known {
    vertex: Vertex,
    /// What it printed after its last whole line.
    lines: Lines,
}

/// What is known of a step.
#[derive(Debug)]
struct Step {
    text: String,
    is_from: bool,
    /// Its number in the build, in the order in which steps are begun.
    number: Option<u32>,
    is_cached: bool,
}

impl Tracker {
    /// For a build with these parents, whose pinned references are shown as what they stand for.
    pub fn new(parents: &[Parent]) -> Self {
        let pin = |parent: &Parent| (parent.pinned.clone(), parent.reference.clone());
        Self { pins: parents.iter().map(pin).collect(), ..Self::default() }
    }

    /// Takes what is told of a vertex.
    pub fn vertex(&mut self, vertex: &Vertex, progress: &mut dyn FnMut(Progress)) {
        let known = self.vertices.entry(vertex.digest.clone()).or_default();
        if is_of_a_cache(vertex) && !vertex.error.is_empty() && known.vertex.error.is_empty() {
            let text = one_line(&format!("{}: {}", vertex.name, vertex.error));
            progress(Progress::Warning(text));
        }
        known.vertex = vertex.clone();
        if vertex.completed {
            known.lines.finish(&mut |line| progress(Progress::Log(line)));
        }
        if let Some(name) = Name::parse(&vertex.name) {
            self.step(&name, vertex, progress);
        }
    }

    /// Takes what a vertex printed.
    pub fn log(&mut self, log: &Log, progress: &mut dyn FnMut(Progress)) {
        let known = self.vertices.entry(log.vertex.clone()).or_default();
        known.lines.push(&log.data, &mut |line| progress(Progress::Log(line)));
    }

    /// Hands on what was printed by vertices that never ended.
    pub fn finish(&mut self, progress: &mut dyn FnMut(Progress)) {
        for known in self.vertices.values_mut() {
            known.lines.finish(&mut |line| progress(Progress::Log(line)));
        }
    }

    /// How many steps were begun or taken from the cache, FROM not counted.
    pub fn steps(&self) -> u32 {
        self.count(|_| true)
    }

    /// How many of them were taken from the cache.
    pub fn cached_steps(&self) -> u32 {
        self.count(|step| step.is_cached)
    }

    /// The vertex that failed; of several, the one that the build's `message` is about.
    pub fn failed(&self, message: &str) -> Option<&Vertex> {
        let vertices = self.vertices.values().map(|known| &known.vertex);
        let has_failed = |vertex: &&Vertex| {
            let error = &vertex.error;
            !error.is_empty() && !error.ends_with(GIVEN_UP) && !is_of_a_cache(vertex)
        };
        let failed = vertices.filter(has_failed);
        // `max_by_key` would take the last of equals
        failed.min_by_key(|vertex| !message.contains(&vertex.error))
    }

    /// The vertex with this digest.
    pub fn find(&self, digest: &str) -> Option<&Vertex> {
        self.vertices.get(digest).map(|known| &known.vertex)
    }

    /// Whether the stage of a step has a vertex for its FROM.
    pub fn has_from(&self, step: &Name<'_>) -> bool {
        self.steps.get(&(step.place.to_owned(), 1)).is_some_and(|first| first.is_from)
    }

    /// A text with pinned references shown as what they stand for.
    pub fn shown(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (pinned, reference) in &self.pins {
            text = text.replace(pinned, reference);
        }
        text
    }

    fn step(&mut self, name: &Name<'_>, vertex: &Vertex, progress: &mut dyn FnMut(Progress)) {
        let key = (name.place.to_owned(), name.number);
        let text = self.shown(name.text);
        let step = self.steps.entry(key).or_insert_with(|| Step {
            text,
            is_from: name.is_from(),
            number: None,
            is_cached: false,
        });
        let is_begun = vertex.started || vertex.completed || vertex.cached;
        if !is_begun || (step.number.is_some() && step.is_cached == vertex.cached) {
            return;
        }
        let number = *step.number.get_or_insert_with(|| {
            self.begun += 1;
            self.begun
        });
        step.is_cached = vertex.cached;
        let text = step.text.clone();
        let total = u32::try_from(self.steps.len()).ok();
        progress(Progress::Step { number, total, text, cached: vertex.cached });
    }

    fn count(&self, counts: impl Fn(&Step) -> bool) -> u32 {
        let begun = self.steps.values().filter(|step| step.number.is_some() && !step.is_from);
        u32::try_from(begun.filter(|step| counts(step)).count()).unwrap_or(u32::MAX)
    }
}

/// Whether a vertex reads or writes a cache, without which the build goes on.
fn is_of_a_cache(vertex: &Vertex) -> bool {
    CACHES.iter().any(|name| vertex.name.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Announced, running, done, cached, or failed with a text.
    fn vertex(name: &str, state: &str) -> Vertex {
        Vertex {
            digest: format!("sha256:{name}"),
            name: name.into(),
            started: state != "announced",
            completed: !matches!(state, "announced" | "running"),
            cached: state == "cached",
            error: if matches!(state, "announced" | "running" | "done" | "cached") {
                String::new()
            } else {
                state.into()
            },
        }
    }

    fn shown(progress: Progress) -> String {
        match progress {
            Progress::Step { number, total, text, cached } => {
                let total = total.map_or("?".to_owned(), |total| total.to_string());
                format!("{number}/{total} {text}{}", if cached { " CACHED" } else { "" })
            }
            Progress::Log(line) => format!("| {line}"),
            Progress::Warning(text) => format!("! {text}"),
        }
    }

    fn told(tracker: &mut Tracker, updates: &[(&str, &str)]) -> Vec<String> {
        let mut seen = Vec::new();
        for (name, state) in updates {
            tracker.vertex(&vertex(name, state), &mut |progress| seen.push(shown(progress)));
        }
        seen
    }

    #[test]
    fn steps_are_counted_once_and_internal_ones_not_at_all() {
        let mut tracker = Tracker::default();
        let seen = told(
            &mut tracker,
            &[
                ("[internal] load build context", "running"),
                ("[a 1/3] FROM docker.io/library/busybox", "announced"),
                ("[a 2/3] RUN x", "announced"),
                ("[a 3/3] COPY b /", "announced"),
                ("[stage-1 1/1] COPY --from=a / /", "announced"),
                ("[a 1/3] FROM docker.io/library/busybox", "running"),
                ("[a 1/3] FROM docker.io/library/busybox", "done"),
                ("[a 1/3] FROM docker.io/library/busybox", "cached"),
                ("[a 3/3] COPY b /", "cached"),
                ("[a 2/3] RUN x", "cached"),
                ("[stage-1 1/1] COPY --from=a / /", "running"),
                ("[stage-1 1/1] COPY --from=a / /", "done"),
                ("exporting to image", "running"),
                ("exporting to image", "done"),
            ],
        );
        assert_eq!(
            seen,
            [
                "1/4 FROM docker.io/library/busybox",
                "1/4 FROM docker.io/library/busybox CACHED",
                "2/4 COPY b / CACHED",
                "3/4 RUN x CACHED",
                "4/4 COPY --from=a / /",
            ]
        );
        assert_eq!((tracker.steps(), tracker.cached_steps()), (3, 2));
    }

    #[test]
    fn a_step_of_several_vertices_is_one() {
        let mut tracker = Tracker::default();
        let updates = [
            ("[2/2] LINK COPY --link a /", "announced"),
            ("[2/2] COPY --link a /", "running"),
            ("[2/2] COPY --link a /", "done"),
            ("[2/2] LINK COPY --link a /", "running"),
            ("[2/2] LINK COPY --link a /", "done"),
        ];
        assert_eq!(told(&mut tracker, &updates), ["1/1 COPY --link a /"]);
        assert_eq!(tracker.steps(), 1);
    }

    #[test]
    fn an_announced_step_that_never_ran_is_no_step() {
        let mut tracker = Tracker::default();
        told(&mut tracker, &[("[1/1] RUN x", "announced")]);
        assert_eq!(tracker.steps(), 0);
    }

    #[test]
    fn lines_are_joined_per_vertex() {
        let mut tracker = Tracker::default();
        let mut seen = Vec::new();
        let mut progress = |progress| seen.push(shown(progress));
        for (name, data) in [
            ("[a 1/1] RUN x", &b"on"[..]),
            ("[b 1/1] RUN y", b"10%\r20"),
            ("[a 1/1] RUN x", b"e\ntwo\xff"),
            ("[b 1/1] RUN y", b"%\n"),
            ("[c 1/1] RUN z", b"cut off"),
        ] {
            let log = Log { vertex: format!("sha256:{name}"), data: data.to_vec() };
            tracker.log(&log, &mut progress);
        }
        tracker.vertex(&vertex("[a 1/1] RUN x", "done"), &mut progress);
        tracker.finish(&mut progress);
        assert_eq!(seen, ["| one", "| 20%", "| two\u{fffd}", "1/1 RUN x", "| cut off"]);
    }

    #[test]
    fn the_vertex_that_failed_is_not_one_that_was_given_up() {
        let mut tracker = Tracker::default();
        told(
            &mut tracker,
            &[
                ("[a 1/1] RUN x", "process \"x\" did not complete successfully: context canceled"),
                ("[b 1/1] RUN y", "exit code: 1"),
                ("[c 1/1] RUN z", "exit code: 2"),
            ],
        );
        let failed = |message| tracker.failed(message).map(|vertex| vertex.name.as_str());
        assert_eq!(failed("failed to solve: exit code: 2"), Some("[c 1/1] RUN z"));
        assert_eq!(failed("failed to solve: exit code: 1"), Some("[b 1/1] RUN y"));
        assert!(failed("something else").is_some());
    }

    #[test]
    fn a_cache_that_cannot_be_used_is_no_failure() {
        let mut tracker = Tracker::default();
        let error = "failed to configure registry cache importer: 127.0.0.1:1/none:1: not found";
        let name = "importing cache manifest from 127.0.0.1:1/none:1";
        let seen = told(&mut tracker, &[(name, "running"), (name, error), (name, error)]);
        assert_eq!(seen, [format!("! {name}: {error}")]);
        assert_eq!(tracker.failed(error), None);
    }

    #[test]
    fn a_pinned_parent_is_shown_by_its_reference() {
        let parent = Parent {
            reference: "acme/base:1".into(),
            id: format!("sha256:{}", "b".repeat(64)).parse().unwrap(),
            pinned: "acme/base:ig-0".into(),
        };
        let mut tracker = Tracker::new(&[parent]);
        let seen = told(&mut tracker, &[("[1/2] FROM docker.io/acme/base:ig-0", "done")]);
        assert_eq!(seen, ["1/1 FROM docker.io/acme/base:1"]);
    }
}
