//! What is affected, in stages of shards, as CI services read it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::args::AffectedFormat;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::shards::work;
use crate::graph::ImageGraph;
use crate::image::ImageId;
use crate::report::sentence;
use crate::report::style::{Style, Tone};
use crate::shard::{Shard, Work, needs, stages};

/// How many machines there are where nobody says it.
const SHARDS: u16 = 4;
/// How many stages a workflow of GitHub has where nobody says it: its jobs are written by hand.
const STAGES: u16 = 3;
/// A job of GitLab needs no more others.
/// Source: <https://docs.gitlab.com/ci/yaml/#needs>, 50 by default.
const MOST_NEEDS: usize = 50;

/// Images in stages of shards.
pub(crate) struct Matrix<'a> {
    graph: &'a ImageGraph,
    work: Work,
    stages: Vec<Vec<Shard>>,
}

impl<'a> Matrix<'a> {
    /// Cuts images into shards, if that is asked for: by a number of them or of stages, or by a format
    /// that has no other use.
    pub(crate) fn new(
        session: &'a Session,
        images: &BTreeSet<ImageId>,
        (shards, most, format): (Option<u16>, Option<u16>, AffectedFormat),
    ) -> Result<Option<Self>, Failure> {
        let is_for_ci = matches!(format, AffectedFormat::Github | AffectedFormat::Gitlab);
        if shards.is_none() && most.is_none() && !is_for_ci {
            return Ok(None);
        }
        let usual = if format == AffectedFormat::Github { STAGES } else { u16::MAX };
        let work = work(session, images)?;
        let (shards, most) = (shards.unwrap_or(SHARDS), most.unwrap_or(usual));
        let stages = stages(&work, usize::from(shards), usize::from(most));
        Ok(Some(Self { graph: &session.loaded.graph, work, stages }))
    }

    /// Lines for the file of outputs of a job.
    pub(crate) fn github(&self) -> String {
        let mut text = format!("stages={}\n", self.stages.len());
        for (stage, shards) in (1..).zip(&self.stages) {
            let rows = (1..).zip(shards).map(|(number, shard)| {
                json!({
                    "stage": stage,
                    "shard": format!("{number}/{}", shards.len()),
                    "images": self.names(shard).join(" "),
                    "predicted": shard.predicted,
                })
            });
            let matrix = json!({ "include": rows.collect::<Vec<_>>() });
            writeln!(text, "stage{stage}={matrix}").unwrap_or_default();
        }
        text
    }

    /// The configuration of a child pipeline. One without a job would be an error there.
    pub(crate) fn gitlab(&self) -> String {
        let mut text = "# by `imgraph affected --format gitlab`\nstages:\n".to_owned();
        for stage in 1..=self.stages.len().max(1) {
            writeln!(text, "  - stage-{stage}").unwrap_or_default();
        }
        if self.stages.is_empty() {
            text += "nothing:\n  stage: stage-1\n  script:\n    - echo no image is affected\n";
        }
        for (stage, shards) in self.stages.iter().enumerate() {
            for (place, shard) in shards.iter().enumerate() {
                text += &self.job((stage, place), shard);
            }
        }
        text
    }

    fn job(&self, (stage, place): (usize, usize), shard: &Shard) -> String {
        let name = |(stage, place): (usize, usize)| {
            let of = self.stages.get(stage).map_or(0, Vec::len);
            quoted(&format!("stage-{} {}/{of}", stage + 1, place + 1))
        };
        let needs: Vec<String> =
            needs(&self.work, &self.stages, shard).into_iter().map(name).collect();
        let about = sentence::about(shard.predicted);
        let mut text = format!("{}: # {about}\n", name((stage, place)));
        writeln!(text, "  stage: stage-{}", stage + 1).unwrap_or_default();
        // Without them it waits for all of the stage before.
        if needs.len() <= MOST_NEEDS {
            writeln!(text, "  needs: [{}]", needs.join(", ")).unwrap_or_default();
        }
        // What begins with a dollar is a variable there, too.
        let images = quoted(&self.names(shard).join(" ").replace('$', "$$"));
        writeln!(text, "  variables:\n    IMAGES: {images}").unwrap_or_default();
        text + "  script:\n    - imgraph rebuild --push $IMAGES\n"
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let shard = |(number, shards, shard): (usize, usize, &Shard)| {
            json!({
                "shard": format!("{number}/{shards}"),
                "images": self.names(shard),
                "predicted": shard.predicted,
            })
        };
        let stage = |(stage, shards): (usize, &Vec<Shard>)| {
            let rows = (1..).zip(shards).map(|(number, it)| shard((number, shards.len(), it)));
            json!({ "stage": stage, "shards": rows.collect::<Vec<_>>() })
        };
        (1..).zip(&self.stages).map(stage).collect()
    }

    /// For people.
    pub(crate) fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for (stage, shards) in (1..).zip(&self.stages) {
            for (number, shard) in (1..).zip(shards) {
                let about = style.paint(Tone::Faint, sentence::about(shard.predicted));
                let (of, names) = (shards.len(), self.names(shard).join(" "));
                writeln!(text, "stage {stage}, shard {number}/{of}  {about}  {names}")
                    .unwrap_or_default();
            }
        }
        text
    }

    fn names(&self, shard: &Shard) -> Vec<&str> {
        shard.images.iter().map(|id| self.graph.name(*id).as_str()).collect()
    }
}

/// A text as YAML has it: JSON is YAML.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
