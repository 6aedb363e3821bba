use super::*;
use crate::graph::fixture::Fixture;

const MINUTE: u64 = 60_000;
const ENOUGH: usize = 100;

/// Work as parents of each number, all smaller, and what each takes.
fn work(images: &[(&[usize], u64)]) -> Work {
    Work {
        ids: (0..images.len()).map(|number| ImageId(u32::try_from(number).unwrap())).collect(),
        weights: images.iter().map(|(_, weight)| *weight).collect(),
        parents: images.iter().map(|(parents, _)| parents.to_vec()).collect(),
    }
}

fn numbers(shard: &Shard) -> Vec<usize> {
    shard.images.iter().map(|id| id.index()).collect()
}

fn all(stages: &[Vec<Shard>]) -> Vec<Vec<Vec<usize>>> {
    stages.iter().map(|stage| stage.iter().map(numbers).collect()).collect()
}

#[test]
fn a_family_that_one_machine_can_take_stays_together() {
    let two = work(&[(&[], MINUTE), (&[], MINUTE), (&[0], MINUTE), (&[1], MINUTE)]);
    assert_eq!(all(&stages(&two, 2, ENOUGH)), [[[0, 2], [1, 3]]]);
    assert_eq!(all(&stages(&two, 1, ENOUGH)), [[[0, 1, 2, 3]]]);
    let chain = work(&[(&[], MINUTE), (&[0], MINUTE), (&[1], MINUTE)]);
    assert_eq!(all(&stages(&chain, 8, ENOUGH)), [[[0, 1, 2]]], "a second machine is of no use");
    assert_eq!(stages(&work(&[]), 3, ENOUGH), [[]; 0]);
}

#[test]
fn what_many_stand_on_comes_first_and_the_rest_is_spread_evenly() {
    let mut fan: Vec<(&[usize], u64)> = vec![(&[], MINUTE)];
    fan.resize(7, (&[0], 2 * MINUTE));
    let fan = work(&fan);
    let found = stages(&fan, 3, ENOUGH);
    assert_eq!(all(&found), [vec![vec![0]], vec![vec![1, 2], vec![3, 4], vec![5, 6]]]);
    assert!(found[1].iter().all(|shard| shard.predicted == 4 * MINUTE));
    assert_eq!(all(&stages(&fan, 3, 1)), [[[0, 1, 2, 3, 4, 5, 6]]], "there is one stage only");
    for shard in &found[1] {
        assert_eq!(needs(&fan, &found, shard), [(0, 0)].into());
    }
    assert_eq!(needs(&fan, &found, &found[0][0]), BTreeSet::new());
}

#[test]
fn what_stands_on_nothing_fills_the_stage_that_has_room() {
    let fan = |loner: u64| {
        let apps: [(&[usize], u64); 4] = [(&[0], 5 * MINUTE); 4];
        work(&[&[(&[][..], 9 * MINUTE), (&[], loner)][..], &apps].concat())
    };
    assert_eq!(
        all(&stages(&fan(8 * MINUTE), 2, 2)),
        [vec![vec![0], vec![1]], vec![vec![2, 3], vec![4, 5]]]
    );
    let found = stages(&fan(30 * MINUTE), 2, 2);
    assert_eq!(all(&found), [vec![vec![1], vec![0, 2, 3, 4, 5]]], "there is no room");
}

#[test]
fn a_stage_that_takes_longer_to_begin_than_it_saves_is_none() {
    let fan = work(&[(&[], 1_000), (&[0], 1_000), (&[0], 1_000), (&[0], 1_000)]);
    assert_eq!(all(&stages(&fan, 3, ENOUGH)), [[[0, 1, 2, 3]]]);
}

#[test]
fn images_that_share_parents_crosswise_fall_apart_without_them() {
    let ring = work(&[
        (&[], MINUTE),
        (&[], MINUTE),
        (&[], MINUTE),
        (&[0, 1], MINUTE),
        (&[1, 2], MINUTE),
        (&[2, 0], MINUTE),
    ]);
    assert_eq!(all(&stages(&ring, 3, ENOUGH)), [[[0], [1], [2]], [[3], [4], [5]]]);
}

#[test]
fn an_image_that_is_not_selected_still_leads_from_one_to_the_other() {
    let fixture = Fixture::new(
        "
        //- a/Dockerfile
        FROM scratch
        //- b/Dockerfile
        FROM a
        //- c/Dockerfile
        FROM b
        //- d/Dockerfile
        FROM b
        ",
    );
    let chosen = ["a", "c", "d"].map(|name| fixture.id(name)).into();
    let work = Work::new(&fixture.graph, &chosen, |_| 10 * MINUTE);
    let found = stages(&work, 2, ENOUGH);
    let names = |shard: &Shard| fixture.names(&shard.images).join(" ");
    let names: Vec<Vec<String>> =
        found.iter().map(|stage| stage.iter().map(names).collect()).collect();
    assert_eq!(names, [vec!["a"], vec!["c", "d"]]);
    assert_eq!(needs(&work, &found, &found[1][0]), [(0, 0)].into());
}

#[test]
fn those_who_begin_at_once_share_what_they_stand_on() {
    let mut fan: Vec<(&[usize], u64)> = vec![(&[], MINUTE)];
    fan.resize(7, (&[0], 2 * MINUTE));
    let parts: Vec<Vec<usize>> = split(&work(&fan), 3).iter().map(numbers).collect();
    assert_eq!(parts, [vec![0, 1, 2], vec![3, 4], vec![5, 6]]);
    let chain = work(&[(&[], MINUTE), (&[0], MINUTE)]);
    let parts: Vec<Vec<usize>> = split(&chain, 3).iter().map(numbers).collect();
    assert_eq!(parts, [vec![0, 1], vec![], vec![]]);
}

/// Numbers that look like chance, and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn work(&mut self) -> Work {
        let size = 1 + self.below(60);
        let (most, reach) = (1 + self.below(3), 1 + self.below(size));
        let images: Vec<(Vec<usize>, u64)> = (0..size)
            .map(|number| {
                let count = if number == 0 { 0 } else { self.below(most + 1) };
                let near = number.min(reach);
                let parent =
                    |dice: &mut Self| usize::try_from(number - 1 - dice.below(near)).unwrap();
                let parents: BTreeSet<usize> = (0..count).map(|_| parent(self)).collect();
                (parents.into_iter().collect(), MINUTE * (1 + self.below(30)))
            })
            .collect();
        let images: Vec<(&[usize], u64)> =
            images.iter().map(|(parents, weight)| (&**parents, *weight)).collect();
        work(&images)
    }
}

/// Every image once, and each parent before, or in the same shard.
fn check(work: &Work, stages: &[Vec<Shard>], shards: usize) {
    let mut done = BTreeSet::new();
    for stage in stages {
        assert!((1..=shards).contains(&stage.len()), "{stages:?}");
        let before = done.clone();
        for shard in stage {
            let mut here = before.clone();
            let mut sum = 0;
            for number in numbers(shard) {
                assert!(
                    work.parents[number].iter().all(|it| here.contains(it)),
                    "{work:?}: {stages:?}"
                );
                assert!(here.insert(number) && done.insert(number), "{number} is there twice");
                sum += work.weights[number];
            }
            assert_eq!(sum, shard.predicted);
        }
    }
    assert_eq!(done.len(), work.ids.len());
}

#[test]
fn every_image_is_in_one_shard_behind_its_parents_and_it_takes_not_much_longer_than_it_must() {
    let mut dice = Dice(7);
    // In hundredths of what it must take.
    let (mut worst, mut sum) = (0, 0);
    let rounds = 1_000_u64;
    for _ in 0..rounds {
        let work = dice.work();
        let shards = usize::try_from(1 + dice.below(8)).unwrap();
        let found = stages(&work, shards, ENOUGH);
        check(&work, &found, shards);
        let takes: u64 =
            found.iter().map(|stage| stage.iter().map(|it| it.predicted).max().unwrap()).sum();
        let everything = work.everything();
        let machines = u64::try_from(shards).unwrap();
        let must = work.longest(&everything).max(work.weight(&everything).div_ceil(machines));
        let ratio = takes * 100 / must;
        worst = worst.max(ratio);
        sum += ratio;
        for most in 1..3 {
            let few = stages(&work, shards, most);
            check(&work, &few, shards);
            assert!(few.len() <= most);
        }
        let parts = split(&work, shards);
        assert_eq!(parts.len(), shards);
        let count: usize = parts.iter().map(|part| part.images.len()).sum();
        let different: BTreeSet<usize> = parts.iter().flat_map(numbers).collect();
        assert_eq!((count, different.len()), (work.ids.len(), work.ids.len()));
    }
    let mean = sum / rounds;
    assert!(worst < 200 && mean < 120, "worst {worst}, mean {mean}");
}
