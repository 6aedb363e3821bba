use std::collections::BTreeSet;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::graph::fixture::Fixture;

/// A graph of images that are called by their numbers; each row has the parents of one image, all
/// with smaller numbers.
fn graph(parents: &[Vec<usize>]) -> ImageGraph {
    let mut text = String::new();
    for (image, parents) in parents.iter().enumerate() {
        write!(text, "//- {}/Dockerfile\nFROM scratch\n", name(image)).unwrap();
        for parent in parents {
            writeln!(text, "COPY --from={} / /", name(*parent)).unwrap();
        }
    }
    Fixture::new(&text).graph
}

fn name(image: usize) -> String {
    format!("i{image:03}")
}

fn id(image: usize) -> ImageId {
    ImageId(u32::try_from(image).unwrap())
}

fn numbers(ids: &[ImageId]) -> Vec<usize> {
    ids.iter().map(|id| id.index()).collect()
}

/// A schedule of all images, each as long as it says.
fn schedule(parents: &[Vec<usize>], costs: &[u64]) -> Schedule {
    let work: Vec<(ImageId, u64)> = (0..parents.len()).map(id).zip(costs.iter().copied()).collect();
    Schedule::new(&graph(parents), &work)
}

#[test]
fn an_image_starts_when_all_its_parents_have_ended_well() {
    let mut schedule = schedule(&[vec![], vec![], vec![0, 1]], &[1, 1, 1]);
    assert_eq!(schedule.state(id(2)), State::Waiting { parents: 2 });
    assert_eq!(schedule.start(), Some(id(0)));
    assert_eq!(schedule.start(), Some(id(1)));
    assert_eq!(schedule.start(), None);
    schedule.done(id(0));
    assert_eq!((schedule.start(), schedule.state(id(2))), (None, State::Waiting { parents: 1 }));
    schedule.done(id(1));
    assert_eq!(schedule.start(), Some(id(2)));
    schedule.done(id(2));
    assert_eq!(schedule.open(), 0);
}

#[test]
fn the_head_of_the_longest_remaining_path_goes_first() {
    let parents = [vec![], vec![], vec![1], vec![]];
    let mut schedule = schedule(&parents, &[30, 10, 25, 31]);
    assert_eq!(schedule.remaining(id(1)), 35);
    assert_eq!(schedule.start(), Some(id(1)), "35 to go");
    assert_eq!(schedule.start(), Some(id(3)), "31 to go");
    assert_eq!(schedule.start(), Some(id(0)), "30 to go");
}

#[test]
fn where_nothing_else_decides_the_smaller_number_goes_first() {
    let mut schedule = schedule(&[vec![], vec![], vec![]], &[5, 5, 5]);
    assert_eq!([schedule.start(), schedule.start()], [Some(id(0)), Some(id(1))]);
}

#[test]
fn a_failure_blocks_descendants_only_and_parents_first() {
    let parents = [vec![], vec![], vec![0], vec![2, 1], vec![1]];
    let mut schedule = schedule(&parents, &[1; 5]);
    assert_eq!(schedule.start(), Some(id(0)));
    assert_eq!(numbers(&schedule.failed(id(0))), [2, 3]);
    assert_eq!(schedule.state(id(3)), State::Blocked { by: id(0) });
    assert_eq!(schedule.start(), Some(id(1)));
    schedule.done(id(1));
    assert_eq!(schedule.state(id(3)), State::Blocked { by: id(0) }, "blocked stays blocked");
    assert_eq!(schedule.start(), Some(id(4)));
    schedule.done(id(4));
    assert_eq!(schedule.open(), 0);
}

#[test]
fn parents_that_are_not_part_of_the_run_are_not_waited_for() {
    let graph = graph(&[vec![], vec![0], vec![1]]);
    let mut schedule = Schedule::new(&graph, &[(id(2), 1)]);
    assert_eq!(schedule.state(id(0)), State::Absent);
    assert_eq!(schedule.start(), Some(id(2)));
}

#[test]
fn an_end_before_time_leaves_what_runs_and_drops_the_rest() {
    let mut schedule = schedule(&[vec![], vec![], vec![0]], &[1; 3]);
    assert_eq!(schedule.start(), Some(id(0)));
    assert_eq!(numbers(&schedule.abandon()), [1, 2]);
    assert_eq!((schedule.open(), schedule.start()), (1, None));
    schedule.give_up(id(0));
    assert_eq!(schedule.open(), 0);
    schedule.give_up(id(0));
    assert_eq!(schedule.open(), 0, "it was given up already");
}

/// A graph, which of its images take part, which of them fail, how long they take, and in which
/// order things happen.
#[derive(Clone, Debug)]
struct World {
    parents: Vec<Vec<usize>>,
    takes_part: Vec<bool>,
    fails: Vec<bool>,
    costs: Vec<u64>,
    slots: usize,
    /// Which of the running images ends next.
    ends: Vec<Index>,
}

fn worlds() -> impl Strategy<Value = World> {
    (1..14_usize).prop_flat_map(|count| {
        let edges =
            proptest::collection::vec(proptest::collection::vec(any::<bool>(), count), count);
        let mostly = proptest::collection::vec(proptest::bool::weighted(0.9), count);
        let rarely = proptest::collection::vec(proptest::bool::weighted(0.15), count);
        let costs = proptest::collection::vec(0..100_u64, count);
        let ends = proptest::collection::vec(any::<Index>(), count);
        (edges, mostly, rarely, costs, 1..5_usize, ends).prop_map(
            |(edges, takes_part, fails, costs, slots, ends)| {
                let above = |(image, row): (usize, &Vec<bool>)| {
                    (0..image).filter(|parent| row[*parent]).collect()
                };
                let parents = edges.iter().enumerate().map(above).collect();
                World { parents, takes_part, fails, costs, slots, ends }
            },
        )
    })
}

impl World {
    fn images(&self) -> impl Iterator<Item = usize> {
        (0..self.parents.len()).filter(|image| self.takes_part[*image])
    }

    /// The parents of an image that take part.
    fn parents(&self, image: usize) -> impl Iterator<Item = usize> {
        self.parents[image].iter().copied().filter(|parent| self.takes_part[*parent])
    }

    /// What has to come of every image, found by the definition: an image is blocked if a parent
    /// failed or is blocked.
    fn ends(&self) -> Vec<Option<&'static str>> {
        let mut ends: Vec<Option<&'static str>> = vec![None; self.parents.len()];
        for image in self.images() {
            let is_good = |parent: usize| ends[parent] == Some("done");
            ends[image] = Some(match self.parents(image).all(is_good) {
                false => "blocked",
                true if self.fails[image] => "failed",
                true => "done",
            });
        }
        ends
    }

    /// The most urgent of the images that could start, by the definition.
    fn most_urgent(&self, ready: &BTreeSet<usize>) -> Option<usize> {
        let mut remaining = vec![0; self.parents.len()];
        for image in self.images().collect::<Vec<_>>().into_iter().rev() {
            remaining[image] += self.costs[image];
            for parent in self.parents(image) {
                remaining[parent] = remaining[parent].max(remaining[image]);
            }
        }
        ready.iter().copied().max_by_key(|image| (remaining[*image], Reverse(*image)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Every image once, never before its parents, the most urgent first; blocked are exactly the
    /// descendants of failures; whenever nothing runs and nothing can start, all is over.
    #[test]
    fn a_run_does_what_the_definitions_say(world in worlds()) {
        let graph = graph(&world.parents);
        let work: Vec<(ImageId, u64)> =
            world.images().map(|image| (id(image), world.costs[image])).collect();
        let mut schedule = Schedule::new(&graph, &work);
        let mut ended: Vec<Option<&'static str>> = vec![None; world.parents.len()];
        let mut running: Vec<usize> = Vec::new();
        let mut started: BTreeSet<usize> = BTreeSet::new();
        let mut ends = world.ends.iter().cycle();
        loop {
            while running.len() < world.slots {
                let can_start = |image: &usize| {
                    !started.contains(image)
                        && ended[*image].is_none()
                        && world.parents(*image).all(|parent| ended[parent] == Some("done"))
                };
                let ready: BTreeSet<usize> = world.images().filter(can_start).collect();
                let wanted = world.most_urgent(&ready);
                prop_assert_eq!(schedule.start(), wanted.map(id), "no lost wake-up, no wrong one");
                let Some(image) = wanted else { break };
                prop_assert!(started.insert(image), "every image once");
                prop_assert_eq!(schedule.state(id(image)), State::Running);
                running.push(image);
            }
            if running.is_empty() {
                break;
            }
            let image = running.remove(ends.next().unwrap().index(running.len()));
            if world.fails[image] {
                ended[image] = Some("failed");
                for blocked in schedule.failed(id(image)) {
                    prop_assert_eq!(ended[blocked.index()], None, "blocked once");
                    prop_assert_eq!(schedule.state(blocked), State::Blocked { by: id(image) });
                    ended[blocked.index()] = Some("blocked");
                }
            } else {
                ended[image] = Some("done");
                schedule.done(id(image));
            }
            let left = world.images().filter(|image| ended[*image].is_none()).count();
            prop_assert_eq!(schedule.open(), left);
        }
        prop_assert_eq!(ended, world.ends());
        prop_assert_eq!(schedule.open(), 0);
    }

    /// Whenever a run is ended early, every image has exactly one end.
    #[test]
    fn an_early_end_accounts_for_every_image(world in worlds(), steps in 0..20_usize) {
        let graph = graph(&world.parents);
        let work: Vec<(ImageId, u64)> =
            world.images().map(|image| (id(image), world.costs[image])).collect();
        let mut schedule = Schedule::new(&graph, &work);
        let mut ended: BTreeSet<usize> = BTreeSet::new();
        let mut running: Vec<usize> = Vec::new();
        for _ in 0..steps {
            match schedule.start() {
                Some(image) if running.len() < world.slots => running.push(image.index()),
                Some(image) => {
                    schedule.done(image);
                    ended.insert(image.index());
                }
                None => {
                    let Some(image) = running.pop() else { break };
                    ended.insert(image);
                    if world.fails[image] {
                        ended.extend(numbers(&schedule.failed(id(image))));
                    } else {
                        schedule.done(id(image));
                    }
                }
            }
        }
        for left in schedule.abandon() {
            prop_assert!(ended.insert(left.index()), "an end once");
            prop_assert_eq!(schedule.state(left), State::Absent);
        }
        prop_assert_eq!(schedule.start(), None);
        prop_assert_eq!(schedule.open(), running.len());
        for image in running {
            schedule.give_up(id(image));
            prop_assert!(ended.insert(image), "an end once");
        }
        prop_assert_eq!(schedule.open(), 0);
        prop_assert_eq!(ended, world.images().collect());
    }
}
