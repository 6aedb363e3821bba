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
    /// Cycles, each in the direction parent to child, none sharing an image with another.
    pub(crate) cycles: Vec<Vec<ImageId>>,
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
    let left: BTreeSet<NodeIndex> =
        graph.node_indices().filter(|node| waiting[node.index()] > 0).collect();
    order.extend(left.iter().copied().map(image_id));
    Sorted { order, cycles: cycles(graph, &left) }
}

/// Walks from child to parent among the images that could not be ordered: each has a parent there,
/// so that every walk ends in a cycle.
fn cycles<E>(graph: &DiGraph<(), E>, left: &BTreeSet<NodeIndex>) -> Vec<Vec<ImageId>> {
    let mut cycles = Vec::new();
    let mut seen = BTreeSet::new();
    for start in left {
        let mut walk = Vec::new();
        let mut on_walk = BTreeSet::new();
        let mut node = *start;
        while !seen.contains(&node) && on_walk.insert(node) {
            walk.push(node);
            let parents = graph.neighbors_directed(node, Direction::Incoming);
            let Some(parent) = parents.filter(|parent| left.contains(parent)).min() else { break };
            node = parent;
        }
        if let Some(first) = walk.iter().position(|step| *step == node)
            && !seen.contains(&node)
        {
            let mut cycle: Vec<ImageId> =
                walk[first..].iter().rev().copied().map(image_id).collect();
            let smallest = (0..cycle.len()).min_by_key(|index| cycle[*index]).unwrap_or(0);
            cycle.rotate_left(smallest);
            cycles.push(cycle);
        }
        seen.extend(walk);
    }
    cycles
}
