//! A part of a workspace that was settled: what can have come out different, and what it needs.
//!
//! Images that stand on none that is left out resolve as they do in the whole: what a reference
//! means among them, it meant in the whole, where two images of one reference would have been an
//! error. So the part is a workspace like any other, and is planned and built like one. Of every
//! image that is left out nothing of its own has changed: it is up to date, or waits for a parent
//! that is not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use crate::cli::engines::Choice;
use crate::cli::session::{Selected, Session};
use crate::cli::settings::Settings;
use crate::cli::settled::map::Map;
use crate::cli::settled::{Answers, Settled};
use crate::engine::Engine;
use crate::gather::stat::StatCache;
use crate::gather::workspace;
use crate::graph::ImageGraph;
use crate::history::{History, Presence};
use crate::image::ImageName;
use crate::plan::{Beside, Decision, Plan, Step, predicted};

/// A part of what was settled.
#[derive(Debug)]
pub(crate) struct Part {
    /// The whole.
    pub(crate) settled: Settled,
    map: Map,
    /// The images of the part, by their numbers in the whole.
    images: BTreeSet<usize>,
    reach: Reach,
}

/// How far a part reaches, beside what its images need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Images that may read what has changed: enough to tell what will be done, unless one of them
    /// is what it was once ([`Part::falls_short`]).
    Own,
    /// These, and what depends on them: all that it takes to do it.
    Dependents,
}

impl Part {
    /// The part that changes of these files concern; the whole again, if it has no map.
    pub(super) fn of(settled: Settled, files: &[Vec<u8>], reach: Reach) -> Result<Self, Settled> {
        let Some(map) = Map::decode(&settled.map, settled.images.len()) else {
            return Err(settled);
        };
        let readers = map.readers(files);
        let images = match reach {
            Reach::Own => map.closure(&readers),
            Reach::Dependents => map.closure(&map.dependents(&readers)),
        };
        Ok(Self { settled, map, images, reach })
    }

    /// Loads the part. `Err`: it is not what it was, and what is known of its files.
    pub(crate) fn load(
        self,
        root: &Path,
        (choice, settings): (&Choice, &Settings),
        (stat, engine): (StatCache, Option<Box<dyn Engine>>),
    ) -> Result<Session, StatCache> {
        let found: BTreeSet<usize> =
            self.images.iter().map(|number| self.map.images[*number].found).collect();
        let found = found.into_iter().map(|number| self.map.dockerfiles[number].clone());
        let Ok(workspace) = workspace::part(root, found.collect()) else { return Err(stat) };
        let mut session = Session::of(workspace, choice.clone(), stat, settings);
        if !self.is(&session.loaded.graph) {
            return Err(session.stat);
        }
        // All of it was said of the whole.
        session.loaded.problems.clear();
        session.answers = self.answers();
        session.engine = Mutex::new(engine);
        session.part = Some(self);
        Ok(session)
    }

    /// Whether a graph has the images of the part, on the parents that they had.
    fn is(&self, graph: &ImageGraph) -> bool {
        let is_as_it_was = |number: &usize| {
            let Some(id) = graph.find(self.name(*number).as_str()) else { return false };
            let was: BTreeSet<&ImageName> =
                self.map.images[*number].parents.iter().map(|parent| self.name(*parent)).collect();
            let parents = graph.parents(id);
            let is: BTreeSet<&ImageName> = parents.iter().map(|id| graph.name(*id)).collect();
            was == is && !graph.image(id).broken
        };
        graph.len() == self.images.len() && self.images.iter().all(is_as_it_was)
    }

    fn name(&self, number: usize) -> &ImageName {
        &self.settled.images[number].0
    }

    /// What the engine has said of the part: it has all outputs.
    fn answers(&self) -> Answers {
        let outputs = self.images.iter().map(|number| &self.settled.images[*number]);
        outputs
            .map(|(_, output)| (output.id.clone(), (output.references.clone(), Presence::Present)))
            .collect::<BTreeMap<_, _>>()
    }

    /// All images of the part: what was asked for is everything.
    pub(crate) fn selected(session: &Session) -> Selected {
        let all: BTreeSet<_> = session.loaded.graph.iter().map(|(id, _)| id).collect();
        Selected { asked: all.clone(), images: all.clone(), family: all }
    }

    /// Whether a plan of the part leaves open what else there is to do: what an image was once is
    /// known at once, and what depends on it is not in the part.
    pub(crate) fn falls_short(&self, plan: &Plan) -> bool {
        let is_older = |step: &Step| step.decision == Decision::Restore;
        self.reach == Reach::Own && plan.steps.iter().any(is_older)
    }

    /// Adds to a plan of the part what is not in it.
    pub(crate) fn complete(&self, plan: &mut Plan, graph: &ImageGraph, history: &History) {
        let of_part = plan.steps.iter().filter(|step| step.may_change());
        let of_part: BTreeSet<&ImageName> = of_part.map(|step| graph.name(step.image)).collect();
        let mut may_change = vec![false; self.map.images.len()];
        let mut steps = 0;
        for (number, place) in self.map.images.iter().enumerate() {
            let name = self.name(number);
            if self.images.contains(&number) {
                may_change[number] = of_part.contains(name);
                steps += 1;
                continue;
            }
            let waits_for = place.parents.iter().filter(|parent| may_change[**parent]);
            let waits_for: Vec<_> = waits_for.map(|parent| self.name(*parent).clone()).collect();
            may_change[number] = !waits_for.is_empty();
            let predicted = predicted(history, name).filter(|_| may_change[number]);
            plan.beside.push((steps, Beside { name: name.clone(), waits_for, predicted }));
        }
    }
}
