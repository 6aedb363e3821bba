//! How long the rest of a run will take, from the predicted durations of its images.

use std::collections::BTreeMap;

use crate::image::ImageName;
use crate::report::tally::{Image, State, Tally};

/// The longest chain that begins with each image of a tally. It depends on the plan only, so that
/// it is computed once and asked many times a second.
#[derive(Debug, Default)]
pub struct Forecast {
    /// For each image its own predicted duration and that of the longest chain of dependents.
    chains: Vec<u64>,
}

impl Forecast {
    /// Follows a tally: computes the chains anew where it has other images than before.
    pub fn follow(&mut self, tally: &Tally) {
        if self.chains.len() != tally.images.len() {
            self.chains = chains(&tally.images);
        }
    }

    /// Milliseconds to the end at a time: no less than the longest chain that is left, and no less
    /// than the work that is left over all jobs. Images that may be cut off are counted as if they
    /// were not. `None` where the history cannot predict every image that is left.
    pub fn remaining(&self, tally: &Tally, now: u64) -> Option<u64> {
        if self.chains.len() != tally.images.len() {
            return None;
        }
        let mut work: u64 = 0;
        let mut longest = 0;
        for (image, chain) in tally.images.iter().zip(&self.chains) {
            let gone = match image.state {
                State::Waiting => 0,
                State::Running { since, .. } => now.saturating_sub(since),
                State::Done => continue,
            };
            let predicted = image.predicted?;
            let gone = gone.min(predicted);
            work = work.saturating_add(predicted - gone);
            longest = longest.max(chain - gone);
        }
        let jobs = u64::try_from(tally.jobs.max(1)).unwrap_or(u64::MAX);
        Some(longest.max(work / jobs))
    }
}

/// Children first, without recursion: an image is computed when all its dependents are.
fn chains(images: &[Image]) -> Vec<u64> {
    let numbers: BTreeMap<&ImageName, usize> =
        images.iter().enumerate().map(|(number, image)| (&image.name, number)).collect();
    let parents = |number: usize| {
        images[number].waits_for.iter().filter_map(|name| numbers.get(name).copied())
    };
    let mut dependents = vec![0_usize; images.len()];
    for parent in (0..images.len()).flat_map(parents) {
        dependents[parent] += 1;
    }
    let mut chains: Vec<u64> = images.iter().map(|image| image.predicted.unwrap_or(0)).collect();
    let mut ready: Vec<usize> = (0..images.len()).filter(|it| dependents[*it] == 0).collect();
    let mut below = vec![0_u64; images.len()];
    while let Some(number) = ready.pop() {
        chains[number] = chains[number].saturating_add(below[number]);
        for parent in parents(number) {
            below[parent] = below[parent].max(chains[number]);
            dependents[parent] -= 1;
            if dependents[parent] == 0 {
                ready.push(parent);
            }
        }
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, What};

    fn name(text: &str) -> ImageName {
        text.parse().unwrap()
    }

    fn planned(image: &str, waits_for: &[&str], predicted: Option<u64>) -> What {
        What::Planned {
            image: name(image),
            reasons: Vec::new(),
            waits_for: waits_for.iter().map(|parent| name(parent)).collect(),
            predicted,
        }
    }

    fn started(image: &str) -> What {
        What::Started {
            image: name(image),
            reasons: Vec::new(),
            log: String::new(),
            predicted: None,
        }
    }

    fn tally(events: Vec<What>) -> (Tally, Forecast) {
        let mut tally = Tally::default();
        tally.jobs = 2;
        for what in events {
            tally.observe(&Event { time: 1_000, what });
        }
        let mut forecast = Forecast::default();
        forecast.follow(&tally);
        (tally, forecast)
    }

    #[test]
    fn the_longest_chain_that_is_left_decides() {
        let (tally, forecast) = tally(vec![
            planned("c", &["b", "a"], Some(30)),
            planned("a", &[], Some(10)),
            planned("b", &["a"], Some(20)),
            planned("d", &[], Some(5)),
            started("a"),
        ]);
        assert_eq!(forecast.remaining(&tally, 1_000), Some(60));
        assert_eq!(forecast.remaining(&tally, 1_004), Some(56));
        assert_eq!(forecast.remaining(&tally, 9_000), Some(50), "late, but still to be followed");
    }

    #[test]
    fn much_work_for_few_jobs_decides() {
        let wide = ["a", "b", "c", "d"].map(|image| planned(image, &[], Some(10))).to_vec();
        let (tally, forecast) = tally(wide);
        assert_eq!(forecast.remaining(&tally, 1_000), Some(20));
    }

    #[test]
    fn nothing_is_said_where_the_history_is_silent() {
        let (tally, forecast) =
            tally(vec![planned("a", &[], Some(10)), planned("b", &["a"], None)]);
        assert_eq!(forecast.remaining(&tally, 1_000), None);
    }

    #[test]
    fn a_long_chain_needs_no_stack() {
        let names: Vec<String> = (0..10_000).map(|number| format!("i{number}")).collect();
        let mut events = vec![planned(&names[0], &[], Some(1))];
        events.extend(names.windows(2).map(|pair| planned(&pair[1], &[&pair[0]], Some(1))));
        let (tally, forecast) = tally(events);
        assert_eq!(forecast.remaining(&tally, 1_000), Some(10_000));
    }
}
