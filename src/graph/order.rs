//! An order in which parents come first, or the cycles that forbid one.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::graph::image_id;
use crate::image::ImageId;

/// The outcome of sorting.
pub(crate) struct Sorted {
    /// Every image; those of a cycle, and what depends on them, at the end.
    pub(crate) order: Vec<ImageId>,
    /// Cycles, each in the direction parent to child, one for each group of images that reach one
    /// another.
    pub(crate) cycles: Vec<Vec<ImageId>>,
    /// The images of cycles and what depends on them: none of them can ever start.
    pub(crate) stuck: Vec<ImageId>,
}

/// Kahn's algorithm; the smallest number first where there is a choice.
pub(crate) fn sort<E>(graph: &DiGraph<(), E>) -> Sorted {
    let count = graph.node_count();
    let mut waiting: Vec<usize> = graph
        .node_indices()
        .map(|node| graph.neighbors_directed(node, Direction::Incoming).count())
        .collect();
    let ready = graph.node_indices().filter(|node| waiting[node.index()] == 0);
    let mut ready: BinaryHeap<Reverse<NodeIndex>> = ready.map(Reverse).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(Reverse(node)) = ready.pop() {
        order.push(image_id(node));
        for child in graph.neighbors_directed(node, Direction::Outgoing) {
            waiting[child.index()] -= 1;
            if waiting[child.index()] == 0 {
                ready.push(Reverse(child));
            }
        }
    }
    let left: Vec<NodeIndex> =
        graph.node_indices().filter(|node| waiting[node.index()] > 0).collect();
    let stuck: Vec<ImageId> = left.into_iter().map(image_id).collect();
    order.extend(&stuck);
    let cycles = if stuck.is_empty() { Vec::new() } else { cycles(graph) };
    Sorted { order, cycles, stuck }
}

/// One cycle of each group of images that reach one another, by the smallest number.
fn cycles<E>(graph: &DiGraph<(), E>) -> Vec<Vec<ImageId>> {
    let groups = petgraph::algo::kosaraju_scc(graph).into_iter();
    let groups = groups.map(|group| group.into_iter().collect::<BTreeSet<NodeIndex>>());
    let mut cycles: Vec<Vec<ImageId>> = groups.filter_map(|group| cycle(graph, &group)).collect();
    cycles.sort_unstable();
    cycles
}

/// Walks from child to parent within a group: every image of a group of several has a parent in it,
/// so that the walk ends in a cycle.
fn cycle<E>(graph: &DiGraph<(), E>, group: &BTreeSet<NodeIndex>) -> Option<Vec<ImageId>> {
    let mut walk = Vec::new();
    let mut on_walk = BTreeSet::new();
    let mut node = *group.first()?;
    while on_walk.insert(node) {
        walk.push(node);
        let parents = graph.neighbors_directed(node, Direction::Incoming);
        node = parents.filter(|parent| group.contains(parent)).min()?;
    }
    let first = walk.iter().position(|step| *step == node)?;
    let mut cycle: Vec<ImageId> = walk[first..].iter().rev().copied().map(image_id).collect();
    let smallest = (0..cycle.len()).min_by_key(|index| cycle[*index])?;
    cycle.rotate_left(smallest);
    Some(cycle)
}
