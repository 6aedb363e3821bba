//! A selection cut into parts for several machines.
//!
//! [`stages`] is for machines that can wait for one another: every image is in one shard, each parent
//! in an earlier stage or in the same shard, and the shards of a stage take nearly the same time.
//! [`split`] is for machines that begin at once: there a parent of several shards belongs to one of
//! them, and the others make do with what they find, or build it, too.
//!
//! Images that build on one another stay together, unless together they are more than one machine's
//! share: then the lowest of them go to a stage of their own, and what falls apart without them is
//! looked at again. Each further stage costs the time in which machines come up, so there are as few
//! as that time is worth. Within a stage the largest part goes first, to who has least to do, but what
//! stands on the same parents stays together as long as that makes no shard larger than the others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::graph::ImageGraph;
use crate::image::ImageId;

/// What a stage takes before anything is built, in milliseconds: machines come up, repositories are
/// cloned, parents are pulled.
const START: u64 = 30_000;
/// How large a piece may be, in quarters of a machine's share: large ones need few stages, small ones
/// can be spread evenly. Whichever comes out best is taken.
const SIZES: [u64; 6] = [8, 6, 5, 4, 2, 1];

/// What one machine builds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// Its images, parents first.
    pub images: Vec<ImageId>,
    /// What they take, one after the other, in milliseconds.
    pub predicted: u64,
}

/// Images that are to be built, each with what it waits for.
#[derive(Debug)]
pub struct Work {
    ids: Vec<ImageId>,
    weights: Vec<u64>,
    /// By number in this list: what an image stands on, directly or by images that are not here.
    parents: Vec<Vec<usize>>,
}

/// A part of the work, by number, ascending: parents first.
type Part = Vec<usize>;

/// What a shard has got so far.
#[derive(Clone, Debug, Default)]
struct Load {
    weight: u64,
    part: Part,
    /// What that stands on.
    parents: BTreeSet<usize>,
}

impl Work {
    /// These images of a graph, with what each takes.
    pub fn new(
        graph: &ImageGraph,
        images: &BTreeSet<ImageId>,
        predicted: impl Fn(ImageId) -> u64,
    ) -> Self {
        let ids: Vec<ImageId> =
            graph.order().iter().copied().filter(|id| images.contains(id)).collect();
        let numbers: BTreeMap<ImageId, usize> =
            ids.iter().enumerate().map(|(number, id)| (*id, number)).collect();
        // The nearest that are here, of each image of the graph.
        let mut nearest: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); graph.len()];
        for id in graph.order() {
            let parents = graph.parents(*id).into_iter();
            nearest[id.index()] = parents
                .flat_map(|parent| match numbers.get(&parent) {
                    Some(number) => BTreeSet::from([*number]),
                    None => nearest[parent.index()].clone(),
                })
                .collect();
        }
        // Those of a cycle, which nobody can build, are in no order.
        let above = |(number, id): (usize, &ImageId)| {
            nearest[id.index()].range(..number).copied().collect()
        };
        let parents = ids.iter().enumerate().map(above).collect();
        let weights = ids.iter().map(|id| predicted(*id)).collect();
        Self { ids, weights, parents }
    }

    fn everything(&self) -> Part {
        (0..self.ids.len()).collect()
    }

    fn weight(&self, part: &[usize]) -> u64 {
        part.iter().fold(0, |sum, number| sum.saturating_add(self.weights[*number]))
    }

    /// The longest chain of a part.
    fn longest(&self, part: &[usize]) -> u64 {
        let mut chains: BTreeMap<usize, u64> = BTreeMap::new();
        for number in part {
            let below = self.parents[*number].iter().filter_map(|parent| chains.get(parent)).max();
            let chain = below.copied().unwrap_or(0).saturating_add(self.weights[*number]);
            chains.insert(*number, chain);
        }
        chains.into_values().max().unwrap_or(0)
    }

    /// What of a part hangs together, each piece for itself.
    fn pieces(&self, part: &[usize]) -> Vec<Part> {
        let mut leaders: BTreeMap<usize, usize> = part.iter().map(|it| (*it, *it)).collect();
        for number in part {
            for parent in self.parents[*number].iter().filter(|it| part.binary_search(it).is_ok()) {
                let (one, two) = (leader(&mut leaders, *number), leader(&mut leaders, *parent));
                leaders.insert(one.max(two), one.min(two));
            }
        }
        let mut pieces: BTreeMap<usize, Part> = BTreeMap::new();
        for number in part {
            pieces.entry(leader(&mut leaders, *number)).or_default().push(*number);
        }
        pieces.into_values().collect()
    }

    /// Cuts a part: what has to come first, and the pieces that then go their own ways. A piece is no
    /// larger than the limit, or a chain, which no second machine makes faster.
    fn cut(&self, part: &[usize], limit: u64) -> (Part, Vec<Part>) {
        let (mut trunk, mut whole) = (Part::new(), Vec::new());
        let mut open = self.pieces(part);
        while let Some(piece) = open.pop() {
            let weight = self.weight(&piece);
            if weight <= limit || self.longest(&piece) == weight {
                whole.push(piece);
                continue;
            }
            let is_root = |number: &usize| {
                self.parents[*number].iter().all(|parent| piece.binary_search(parent).is_err())
            };
            let (roots, rest): (Part, Part) = piece.iter().partition(|number| is_root(number));
            trunk.extend(roots);
            open.extend(self.pieces(&rest));
        }
        trunk.sort_unstable();
        (trunk, whole)
    }

    /// Spreads pieces over so many shards; those that get nothing are left out. The largest go first,
    /// each to who has a piece on the same parents and room for one more, else to who has least to do.
    fn pack(&self, mut pieces: Vec<Part>, shards: usize) -> Vec<Part> {
        pieces.sort_by_key(|piece| (Reverse(self.weight(piece)), piece.first().copied()));
        let mut packed: Vec<Load> = vec![Load::default(); shards.min(pieces.len())];
        let sum = pieces.iter().fold(0_u64, |sum, it| sum.saturating_add(self.weight(it)));
        let fair = sum.div_ceil(u64::try_from(packed.len().max(1)).unwrap_or(u64::MAX));
        for piece in pieces {
            let weight = self.weight(&piece);
            let parents: BTreeSet<usize> =
                piece.iter().flat_map(|it| &self.parents[*it]).copied().collect();
            let has_room = |load: &Load| load.weight.saturating_add(weight) <= fair;
            let is_near = |load: &Load| parents.iter().any(|it| load.parents.contains(it));
            let near = packed.iter().position(|load| has_room(load) && is_near(load));
            let least = || (0..packed.len()).min_by_key(|at| packed[*at].weight);
            if let Some(at) = near.or_else(least) {
                let load = &mut packed[at];
                load.weight = load.weight.saturating_add(weight);
                load.part.extend(piece);
                load.parents.extend(parents);
            }
        }
        let parts = packed.into_iter().map(|Load { mut part, .. }| {
            part.sort_unstable();
            part
        });
        parts.collect()
    }

    /// So many quarters of the share of one machine, and no less than the largest image.
    fn limit(&self, part: &[usize], shards: usize, quarters: u64) -> u64 {
        let machines = u64::try_from(shards).unwrap_or(u64::MAX).max(1);
        let share = self.weight(part).div_ceil(machines);
        let largest = part.iter().map(|number| self.weights[*number]).max();
        (share.saturating_mul(quarters) / 4).max(largest.unwrap_or(0))
    }

    /// Gives each image of a trunk to one of the parts that need it anyway.
    fn with_trunk(&self, trunk: Part, mut parts: Vec<Part>) -> Vec<Part> {
        // From the top: what stands on it has been given away.
        for number in trunk.into_iter().rev() {
            let needs = |part: &Part| part.iter().any(|it| self.parents[*it].contains(&number));
            let needy = (0..parts.len()).filter(|at| needs(&parts[*at]));
            if let Some(at) = needy.min_by_key(|at| self.weight(&parts[*at])) {
                parts[at].push(number);
            }
        }
        for part in &mut parts {
            part.sort_unstable();
        }
        parts
    }

    /// One stage, two stages and so on with pieces of a size, the last stage first, and what each
    /// takes. What stands on nothing comes as late as it can, or as early.
    fn ways(
        &self,
        (shards, most): (usize, usize),
        (quarters, is_early): (u64, bool),
    ) -> Vec<(u64, Vec<Vec<Part>>)> {
        let (mut ways, mut part) = (Vec::new(), self.everything());
        let (mut cuts, mut later): (Vec<Vec<Part>>, u64) = (Vec::new(), 0);
        loop {
            let first = self.pack(self.pieces(&part), shards);
            let cost = later.saturating_add(START).saturating_add(self.heaviest(&first));
            ways.push((cost, [&cuts[..], &[first]].concat()));
            let (mut trunk, mut rest) = self.cut(&part, self.limit(&part, shards, quarters));
            if trunk.is_empty() || ways.len() == most {
                return ways;
            }
            if is_early {
                let free = rest.extract_if(.., |piece| self.is_free(piece, &trunk));
                let free: Vec<usize> = free.flatten().collect();
                trunk.extend(free);
                trunk.sort_unstable();
            }
            let rest = self.pack(rest, shards);
            later = later.saturating_add(START).saturating_add(self.heaviest(&rest));
            cuts.push(rest);
            part = trunk;
        }
    }

    /// Whether a piece stands on nothing of a trunk.
    fn is_free(&self, piece: &[usize], trunk: &[usize]) -> bool {
        let mut parents = piece.iter().flat_map(|number| &self.parents[*number]);
        parents.all(|parent| trunk.binary_search(parent).is_err())
    }

    fn heaviest(&self, parts: &[Part]) -> u64 {
        parts.iter().map(|part| self.weight(part)).max().unwrap_or(0)
    }

    fn shard(&self, part: &[usize]) -> Shard {
        let images = part.iter().map(|number| self.ids[*number]).collect();
        Shard { images, predicted: self.weight(part) }
    }

    /// A part with all that it stands on.
    fn with_ancestors(&self, part: &[usize]) -> Part {
        let mut found: BTreeSet<usize> = part.iter().copied().collect();
        let mut open = part.to_vec();
        while let Some(number) = open.pop() {
            open.extend(self.parents[number].iter().filter(|parent| found.insert(**parent)));
        }
        found.into_iter().collect()
    }
}

/// Shards for machines that wait for one another, so many at once in at most so many stages.
pub fn stages(work: &Work, shards: usize, most: usize) -> Vec<Vec<Shard>> {
    let ways = SIZES.into_iter().flat_map(|size| [(size, false), (size, true)]);
    let all = ways.flat_map(|way| work.ways((shards, most), way));
    // Of those that cost the same the first, which has fewer stages.
    let best = all.min_by_key(|(cost, _)| *cost);
    let stages = best.map(|(_, stages)| stages).unwrap_or_default();
    let shards = |stage: &Vec<Part>| stage.iter().map(|part| work.shard(part)).collect::<Vec<_>>();
    stages.iter().rev().map(shards).filter(|stage| !stage.is_empty()).collect()
}

/// Shards for machines that begin at once: exactly so many, the last ones may be empty.
pub fn split(work: &Work, shards: usize) -> Vec<Shard> {
    let all = work.everything();
    let takes = |parts: &[Part]| {
        parts.iter().map(|part| work.weight(&work.with_ancestors(part))).max().unwrap_or(0)
    };
    let whole = work.pack(work.pieces(&all), shards);
    let cuts = SIZES.map(|quarters| work.cut(&all, work.limit(&all, shards, quarters)));
    let cuts =
        cuts.into_iter().map(|(trunk, rest)| work.with_trunk(trunk, work.pack(rest, shards)));
    let best = std::iter::once(whole).chain(cuts).min_by_key(|parts| takes(parts));
    let mut parts = best.unwrap_or_default();
    parts.resize(shards, Part::new());
    parts.iter().map(|part| work.shard(part)).collect()
}

/// Which shards of earlier stages a shard stands on, as stage and place.
pub fn needs(work: &Work, stages: &[Vec<Shard>], shard: &Shard) -> BTreeSet<(usize, usize)> {
    let mut homes: BTreeMap<ImageId, (usize, usize)> = BTreeMap::new();
    for (stage, shards) in stages.iter().enumerate() {
        for (place, shard) in shards.iter().enumerate() {
            homes.extend(shard.images.iter().map(|id| (*id, (stage, place))));
        }
    }
    let own: BTreeSet<ImageId> = shard.images.iter().copied().collect();
    let numbers = (0..work.ids.len()).filter(|number| own.contains(&work.ids[*number]));
    let parents = numbers.flat_map(|number| &work.parents[number]);
    let parents = parents.map(|parent| work.ids[*parent]).filter(|id| !own.contains(id));
    parents.filter_map(|id| homes.get(&id).copied()).collect()
}

fn leader(leaders: &mut BTreeMap<usize, usize>, number: usize) -> usize {
    let mut at = number;
    while let Some(above) = leaders.get(&at).copied().filter(|above| *above != at) {
        at = above;
    }
    leaders.insert(number, at);
    at
}

#[cfg(test)]
mod tests;
