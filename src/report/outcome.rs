//! How an image ended, in words that every sink shares.

use crate::event::{Built, Failure, What};
use crate::history::Ended;
use crate::image::ImageName;
use crate::report::sentence;
use crate::report::tally::{Quarantine, Tally};
use crate::report::text::{clean, printable};

/// The end of an image, for people.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The image.
    pub image: &'a ImageName,
    /// How it ended.
    pub ended: Ended,
    /// What there is to say beyond that: `1m 12s  (3 of 5 steps cached, 182 MB)`.
    pub words: String,
    /// What went wrong.
    pub failure: Option<&'a Failure>,
}

impl<'a> Outcome<'a> {
    /// The outcome that a `finished` event tells; `None` for all other events.
    pub fn of(what: &'a What, tally: &Tally) -> Option<Self> {
        let What::Finished { image, ended, duration, built, failure, blocked_by } = what else {
            return None;
        };
        let pushed = tally.pushed.get(image);
        let and_pushed = if pushed.is_some() { "; pushed" } else { "" };
        let words = match ended {
            Ended::Built => built_words(*duration, built.as_ref(), pushed.is_some()),
            Ended::CutOff => {
                let parents = tally.image(image).map_or(&[][..], |it| &it.waits_for);
                cut_off_words(parents, tally) + and_pushed
            }
            Ended::Restored => format!("an earlier build has the same inputs{and_pushed}"),
            Ended::Pushed => pushed.map_or_else(String::new, |it| sentence::names(it)),
            Ended::Failed => failed_words(*duration, failure.as_ref()),
            Ended::Blocked => blocked_words(blocked_by.as_ref(), tally),
            Ended::Quarantined => {
                tally.quarantined.get(image).map_or_else(String::new, quarantined_words)
            }
            Ended::NotReached => "the run ended before its turn".to_owned(),
        };
        let words = words + &stands_on(image, tally);
        Some(Self { image, ended: *ended, words, failure: failure.as_ref() })
    }
}

/// The word for an end.
pub const fn word(ended: Ended) -> &'static str {
    match ended {
        Ended::Built => "built",
        Ended::CutOff => "cut off",
        Ended::Restored => "restored",
        Ended::Pushed => "pushed",
        Ended::Failed => "failed",
        Ended::Blocked => "blocked",
        Ended::Quarantined => "quarantined",
        Ended::NotReached => "not reached",
    }
}

/// What failed, with its place, one line.
pub fn failed_words(duration: u64, failure: Option<&Failure>) -> String {
    let Some(failure) = failure else {
        return format!("after {}", sentence::duration(duration));
    };
    let place = match (&failure.path, failure.line) {
        (Some(path), Some(line)) => format!("{}:{line}: ", printable(path)),
        (Some(path), None) => format!("{}: ", printable(path)),
        (None, _) => String::new(),
    };
    let advice = if failure.transient { "; trying again may help" } else { "" };
    format!("{place}{}{advice}", clean(&failure.message))
}

/// Why an image is left alone, and what stands on what it was.
pub fn quarantined_words(quarantine: &Quarantine) -> String {
    let Quarantine { runs, age, dependents } = quarantine;
    let failed =
        format!("failed in {} with these inputs", sentence::count(*runs as usize, "full run"));
    let names: Vec<&str> = dependents.iter().map(ImageName::as_str).collect();
    let verb = if names.len() == 1 { "stands" } else { "stand" };
    let stands = match (age, names.is_empty()) {
        (None, _) => "no good output is left".to_owned(),
        (Some(age), true) => format!("its output of {} ago stands", sentence::days(*age)),
        (Some(age), false) => {
            let names = sentence::names(&names);
            format!("{names} {verb} on its output of {} ago", sentence::days(*age))
        }
    };
    format!("{failed}; {stands}")
}

fn built_words(duration: u64, built: Option<&Built>, pushed: bool) -> String {
    let duration = sentence::duration(duration);
    let Some(built) = built else { return duration };
    let mut facts = Vec::new();
    if built.cached_steps > 0 {
        let steps = sentence::count(built.steps as usize, "step");
        facts.push(format!("{} of {steps} cached", built.cached_steps));
    }
    facts.push(sentence::size(built.size));
    if built.unchanged {
        facts.push("came out the same".to_owned());
    }
    if pushed {
        facts.push("pushed".to_owned());
    }
    format!("{duration}  ({})", facts.join(", "))
}

/// That an image stands on what images in quarantine were, if it does.
fn stands_on(image: &ImageName, tally: &Tally) -> String {
    let below = tally.stands_on.get(image).into_iter().flatten();
    let names: Vec<&str> = below.map(ImageName::as_str).collect();
    match names[..] {
        [] => String::new(),
        _ => format!("; stands on the last good {}", sentence::names(&names)),
    }
}

/// One in quarantine did not come out at all.
fn cut_off_words(parents: &[ImageName], tally: &Tally) -> String {
    let parents = parents.iter().filter(|parent| !tally.quarantined.contains_key(*parent));
    let parents: Vec<_> = parents.map(ImageName::as_str).collect();
    match parents[..] {
        [] => "its inputs came out the same".to_owned(),
        _ => format!("{} came out the same", sentence::names(&parents)),
    }
}

fn blocked_words(by: Option<&ImageName>, tally: &Tally) -> String {
    match by {
        Some(ancestor) if tally.quarantined.contains_key(ancestor) => {
            format!("{ancestor} is in quarantine")
        }
        Some(ancestor) => format!("{ancestor} failed"),
        None => "an ancestor failed".to_owned(),
    }
}
