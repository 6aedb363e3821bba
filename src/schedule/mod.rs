//! Which image may start next: the state of every image of a run, without threads or clocks.
//!
//! An image is ready when all its parents have ended well; of the ready ones the head of the longest
//! remaining path goes first, by the durations that were recorded. One failing image blocks its
//! descendants only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::graph::ImageGraph;
use crate::image::ImageId;

/// The state of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not part of the run.
    Absent,
    /// Some parents have not ended.
    Waiting {
        /// How many.
        parents: u32,
    },
    /// All parents ended well; it may start.
    Ready,
    /// It was started.
    Running,
    /// It ended well.
    Done,
    /// It failed.
    Failed,
    /// An ancestor failed: it will not start.
    Blocked {
        /// The ancestor.
        by: ImageId,
    },
}

/// The state of all images of a run.
#[derive(Clone, Debug)]
pub struct Schedule {
    states: Vec<State>,
    children: Vec<Vec<ImageId>>,
    /// The longest path from each image to a leaf, itself included, in milliseconds.
    remaining: Vec<u64>,
    ready: BinaryHeap<(u64, Reverse<ImageId>)>,
    open: usize,
}

impl Schedule {
    /// Starts with the images of a run and their predicted durations in milliseconds, parents first.
    pub fn new(graph: &ImageGraph, work: &[(ImageId, u64)]) -> Self {
        let count = graph.len();
        let mut schedule = Self {
            states: vec![State::Absent; count],
            children: vec![Vec::new(); count],
            remaining: vec![0; count],
            ready: BinaryHeap::new(),
            open: work.len(),
        };
        for (id, _) in work {
            schedule.states[id.index()] = State::Ready;
        }
        for (id, _) in work {
            let is_here = |parent: &ImageId| schedule.states[parent.index()] != State::Absent;
            let parents: Vec<ImageId> = graph.parents(*id).into_iter().filter(is_here).collect();
            for parent in &parents {
                schedule.children[parent.index()].push(*id);
            }
            if let Some(parents) = u32::try_from(parents.len()).ok().filter(|count| *count > 0) {
                schedule.states[id.index()] = State::Waiting { parents };
            }
        }
        for (id, cost) in work.iter().rev() {
            let below = schedule.children[id.index()].iter();
            let longest = below.map(|child| schedule.remaining[child.index()]).max().unwrap_or(0);
            schedule.remaining[id.index()] = longest + cost;
        }
        for (id, _) in work {
            if schedule.states[id.index()] == State::Ready {
                schedule.ready.push((schedule.remaining[id.index()], Reverse(*id)));
            }
        }
        schedule
    }

    /// The state of an image.
    pub fn state(&self, id: ImageId) -> State {
        self.states[id.index()]
    }

    /// The longest path from an image to the end of the run, itself included, in milliseconds.
    pub fn remaining(&self, id: ImageId) -> u64 {
        self.remaining[id.index()]
    }

    /// How many images have not ended: waiting, ready or running.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Starts the most urgent ready image, if there is one.
    pub fn start(&mut self) -> Option<ImageId> {
        let (_, Reverse(id)) = self.ready.pop()?;
        self.states[id.index()] = State::Running;
        Some(id)
    }

    /// A running image ended well; its children may become ready.
    pub fn done(&mut self, id: ImageId) {
        self.end(id, State::Done);
        for child in self.children[id.index()].clone() {
            match self.states[child.index()] {
                State::Waiting { parents: 1 } => {
                    self.states[child.index()] = State::Ready;
                    self.ready.push((self.remaining[child.index()], Reverse(child)));
                }
                State::Waiting { parents } => {
                    self.states[child.index()] = State::Waiting { parents: parents - 1 };
                }
                // Another parent failed, or the run was told to start nothing more.
                State::Blocked { .. } | State::Absent => (),
                State::Ready | State::Running | State::Done | State::Failed => {
                    unreachable!("a child waits for its parent")
                }
            }
        }
    }

    /// A running image failed. Returns its descendants, which will not start, parents first.
    pub fn failed(&mut self, id: ImageId) -> Vec<ImageId> {
        self.end(id, State::Failed);
        let mut blocked = Vec::new();
        let mut todo = std::collections::VecDeque::from(self.children[id.index()].clone());
        while let Some(child) = todo.pop_front() {
            if let State::Waiting { .. } = self.states[child.index()] {
                self.states[child.index()] = State::Blocked { by: id };
                self.open -= 1;
                blocked.push(child);
                todo.extend(&self.children[child.index()]);
            }
        }
        blocked
    }

    /// A running image was stopped before it ended; it counts as if it had never been started. Does
    /// nothing to an image that is not running.
    pub fn give_up(&mut self, id: ImageId) {
        if self.states[id.index()] == State::Running {
            self.end(id, State::Absent);
        }
    }

    /// Images that have not started and now never will, because the run ends early.
    pub fn abandon(&mut self) -> Vec<ImageId> {
        self.ready.clear();
        let left = |(index, state): (usize, &State)| {
            let id = ImageId(u32::try_from(index).expect("fewer than 2^32 images"));
            matches!(state, State::Waiting { .. } | State::Ready).then_some(id)
        };
        let left: Vec<ImageId> = self.states.iter().enumerate().filter_map(left).collect();
        for id in &left {
            self.states[id.index()] = State::Absent;
            self.open -= 1;
        }
        left
    }

    fn end(&mut self, id: ImageId, state: State) {
        debug_assert_eq!(self.states[id.index()], State::Running, "only a running image can end");
        self.states[id.index()] = state;
        self.open -= 1;
    }
}

#[cfg(test)]
mod tests;
