//! The totals of a run: what was done, and how near to the best possible it was done.

use crate::event::Summary;
use crate::graph::ImageGraph;
use crate::history::Ended;
use crate::image::{ImageId, ImageName};
use crate::plan::Decision;
use crate::run::Run;

/// How an image ended, and how long it took in milliseconds.
pub(crate) struct Finished {
    pub(crate) id: ImageId,
    pub(crate) ended: Ended,
    pub(crate) duration: u64,
    /// Whether it failed in a way that trying again may mend.
    pub(crate) transient: bool,
}

/// Adds up a run that took `duration` milliseconds, as one that nobody interrupted and that has no
/// logs.
pub(crate) fn summary(run: &Run<'_>, finished: &[Finished], duration: u64) -> Summary {
    let plan = run.plan;
    let graph = run.facts.graph;
    let count = |wanted: Ended| finished.iter().filter(|end| end.ended == wanted).count();
    let planned = plan.work().count();
    let critical_path = critical_path(graph, finished);
    let longest: u64 = critical_path.iter().map(|(_, duration)| duration).sum();
    let work: u64 = finished.iter().map(|end| end.duration).sum();
    let mut causes = plan.steps.iter().filter(|step| step.decision != Decision::Fresh);
    let first_cause = causes.find_map(|step| {
        let reason = step.reasons.first()?;
        Some((graph.name(step.image).clone(), reason.clone()))
    });
    Summary {
        selected: plan.len(),
        fresh: plan.len() - planned,
        planned,
        built: count(Ended::Built),
        cut_off: count(Ended::CutOff),
        restored: count(Ended::Restored),
        pushed: count(Ended::Pushed),
        failed: count(Ended::Failed),
        quarantined: count(Ended::Quarantined),
        blocked: count(Ended::Blocked),
        not_reached: count(Ended::NotReached),
        transient: finished.iter().filter(|end| end.transient).count(),
        duration,
        critical_path,
        lower_bound: longest.max(work / run.options.jobs as u64),
        first_cause,
        logs: None,
        interrupted: false,
        replaced: false,
    }
}

/// The chain of images, parent to child, whose durations add up to most.
fn critical_path(graph: &ImageGraph, finished: &[Finished]) -> Vec<(ImageName, u64)> {
    let mut own: Vec<Option<u64>> = vec![None; graph.len()];
    for end in finished {
        own[end.id.index()] = Some(end.duration);
    }
    let mut best: Vec<(u64, Option<ImageId>)> = vec![(0, None); graph.len()];
    let mut last: Option<ImageId> = None;
    for id in graph.order().iter().copied() {
        let Some(duration) = own[id.index()] else { continue };
        let parents = graph.parents(id).into_iter().filter(|parent| own[parent.index()].is_some());
        let before = parents.max_by_key(|parent| best[parent.index()].0);
        let sum = duration + before.map_or(0, |parent| best[parent.index()].0);
        best[id.index()] = (sum, before);
        if last.is_none_or(|last| sum > best[last.index()].0) {
            last = Some(id);
        }
    }
    let mut path = Vec::new();
    while let Some(id) = last {
        let duration = own[id.index()].unwrap_or(0);
        if duration > 0 {
            path.push((graph.name(id).clone(), duration));
        }
        last = best[id.index()].1;
    }
    path.reverse();
    path
}
