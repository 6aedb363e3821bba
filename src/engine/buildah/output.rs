//! What buildah prints while it builds: steps, cache hits, everything else.
//!
//! ```text
//! STEP 2/3: RUN make                    one stage
//! [2/2] STEP 3/4: COPY --from=one /a /  several
//! --> Using cache 4f0c..                the step before it was cached
//! ```
//! RUN commands print to the same stream, so a line counts as a step only where one is due.

use crate::engine::{Parent, Progress};

/// A step that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its stage, from 1.
    pub stage: u32,
    /// Its place in the stage, from 1: the FROM.
    pub place: u32,
    /// The instruction, as buildah prints it.
    pub text: String,
}

/// Reads a build's output, line by line.
#[derive(Debug, Default)]
pub struct Output {
    /// The step that runs, or ran last.
    pub step: Option<Begun>,
    /// How many steps were begun, FROM not counted.
    pub steps: u32,
    /// How many of them were taken from the cache.
    pub cached_steps: u32,
    /// The last line that begins with `Error: `, and what followed it.
    pub error: Vec<String>,
    /// The last line before that.
    pub before_error: String,
    /// Steps of the stages before this one.
    earlier: u32,
    /// Steps of this stage.
    places: Option<u32>,
    /// Whether nothing was printed since the step began.
    is_fresh: bool,
    /// Whether it belongs to the last stage.
    is_last_stage: bool,
    /// Ids and the references that they stand for.
    pins: Vec<(String, String)>,
}

impl Output {
    /// For a build with these parents, whose ids are shown as the references they stand for.
    pub fn new(parents: &[Parent]) -> Self {
        let pin = |parent: &Parent| (parent.id.hex().to_owned(), parent.reference.clone());
        Self { pins: parents.iter().map(pin).collect(), ..Self::default() }
    }

    /// Reads a line and says what it means.
    pub fn line(&mut self, line: &str, progress: &mut dyn FnMut(Progress)) {
        if let Some(header) = Header::parse(line).filter(|header| self.is_due(header)) {
            self.begin(&header);
            progress(self.announce(false));
        } else if self.is_fresh && is_cache_hit(line) {
            self.is_fresh = false;
            self.cached_steps += 1;
            progress(self.announce(true));
        } else if !line.starts_with("[Warning] one or more build args were not consumed") {
            self.is_fresh = false;
            self.keep_errors(line);
            progress(Progress::Log(line.to_owned()));
        }
    }

    fn is_due(&self, header: &Header<'_>) -> bool {
        let Some(step) = &self.step else { return header.place == 1 };
        let follows = header.stage == step.stage && header.place == step.place + 1;
        follows || (header.stage > step.stage && header.place == 1)
    }

    fn begin(&mut self, header: &Header<'_>) {
        if header.place == 1 {
            self.earlier += self.step.as_ref().map_or(0, |step| step.place);
            self.places = header.places;
            self.is_last_stage = header.stages.is_none_or(|stages| stages == header.stage);
        } else {
            self.steps += 1;
        }
        let mut text = header.text.trim().to_owned();
        for (id, reference) in &self.pins {
            text = text.replace(id.as_str(), reference);
        }
        self.step = Some(Begun { stage: header.stage, place: header.place, text });
        self.is_fresh = true;
        self.error.clear();
    }

    fn announce(&self, cached: bool) -> Progress {
        let (place, text) = self.step.as_ref().map_or((0, ""), |step| (step.place, &step.text));
        let total = self.places.filter(|_| self.is_last_stage).map(|places| self.earlier + places);
        Progress::Step { number: self.earlier + place, total, text: text.to_owned(), cached }
    }

    fn keep_errors(&mut self, line: &str) {
        if let Some(error) = line.strip_prefix("Error: ") {
            self.error = vec![error.to_owned()];
        } else if self.error.is_empty() {
            line.clone_into(&mut self.before_error);
        } else if !line.trim().is_empty() {
            self.error.push(line.trim().to_owned());
        }
    }
}

fn is_cache_hit(line: &str) -> bool {
    line.starts_with("--> Using cache ") || line.starts_with("--> Cache pulled from remote")
}

/// `[stage/stages] STEP place/places: text`
struct Header<'a> {
    stage: u32,
    stages: Option<u32>,
    place: u32,
    places: Option<u32>,
    text: &'a str,
}

impl<'a> Header<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (stage, stages, rest) = match line.strip_prefix('[') {
            Some(rest) => {
                let (numbers, rest) = rest.split_once("] ")?;
                let (stage, stages) = numbers.split_once('/')?;
                (stage.parse().ok()?, Some(stages.parse().ok()?), rest)
            }
            None => (1, None, line),
        };
        let (numbers, text) = rest.strip_prefix("STEP ")?.split_once(": ")?;
        let (place, places) = match numbers.split_once('/') {
            Some((place, places)) => (place.parse().ok()?, Some(places.parse().ok()?)),
            None => (numbers.parse().ok()?, None),
        };
        Some(Self { stage, stages, place, places, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Output, Vec<String>) {
        let mut output = Output::default();
        let mut seen = Vec::new();
        for line in text.lines() {
            output.line(line, &mut |progress| {
                seen.push(match progress {
                    Progress::Step { number, total, text, cached } => {
                        let total = total.map_or("?".to_owned(), |total| total.to_string());
                        format!("{number}/{total} {text}{}", if cached { " CACHED" } else { "" })
                    }
                    Progress::Log(line) => format!("| {line}"),
                    Progress::Warning(text) => format!("warning: {text}"),
                });
            });
        }
        (output, seen)
    }

    #[test]
    fn steps_cache_hits_and_logs_are_told_apart() {
        let (output, seen) = read(
            "STEP 1/3: FROM a\nSTEP 2/3: ENV A=1\n--> Using cache 0011\nSTEP 3/3: RUN x\nhello\n\
             COMMIT b\n[Warning] one or more build args were not consumed: [TARGETOS]",
        );
        assert_eq!(
            seen,
            [
                "1/3 FROM a",
                "2/3 ENV A=1",
                "2/3 ENV A=1 CACHED",
                "3/3 RUN x",
                "| hello",
                "| COMMIT b"
            ]
        );
        assert_eq!((output.steps, output.cached_steps), (2, 1));
    }

    #[test]
    fn steps_of_several_stages_are_counted_on_and_the_total_is_known_in_the_last() {
        let (output, seen) = read(
            "[1/3] STEP 1/2: FROM a AS x\n[1/3] STEP 2/2: RUN y\n[3/3] STEP 1/2: FROM b\n\
                  [3/3] STEP 2/2: COPY --from=x /a /",
        );
        assert_eq!(seen, ["1/? FROM a AS x", "2/? RUN y", "3/4 FROM b", "4/4 COPY --from=x /a /"]);
        assert_eq!(output.step.map(|step| (step.stage, step.place)), Some((3, 2)));
        assert_eq!(output.steps, 2);
    }

    #[test]
    fn what_a_command_prints_is_no_step() {
        let (output, seen) = read(
            "STEP 1/2: FROM a\nSTEP 2/2: RUN buildah\nSTEP 1/9: FROM z\nhm\n--> Using cache 1",
        );
        assert_eq!(seen[2..], ["| STEP 1/9: FROM z", "| hm", "| --> Using cache 1"]);
        assert_eq!((output.steps, output.cached_steps), (1, 0));
    }

    #[test]
    fn the_last_error_is_kept_with_what_follows_it() {
        let (output, _) =
            read("STEP 1/1: FROM a\nError: not this\nmore\nError: 1 error:\n\t* x\n\n");
        assert_eq!(output.error, ["1 error:", "* x"]);
    }

    #[test]
    fn a_pinned_parent_is_shown_by_its_reference() {
        let id = "b".repeat(64);
        let parent = Parent {
            reference: "acme/base:1".into(),
            id: format!("sha256:{id}").parse().unwrap(),
            pinned: "acme/base:ig-0".into(),
        };
        let mut output = Output::new(&[parent]);
        let mut seen = Vec::new();
        output.line(&format!("STEP 1/2: FROM {id} AS x"), &mut |progress| seen.push(progress));
        let Progress::Step { text, .. } = &seen[0] else { panic!("{seen:?}") };
        assert_eq!(text, "FROM acme/base:1 AS x");
    }
}
