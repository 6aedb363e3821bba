//! Which images a verb is about, as it is typed.

use std::fmt;
use std::str::FromStr;

use clap::Args;

/// Which images.
#[derive(Clone, Debug, Default, Args)]
pub struct Selection {
    /// Images; none: all
    #[arg(value_name = "SELECTOR")]
    pub selectors: Vec<String>,
    /// More selectors
    #[arg(short = 'F', long = "filter", value_name = "SELECTOR")]
    pub filters: Vec<String>,
    /// An image and everything that depends on it
    #[arg(long, value_name = "IMAGE")]
    pub dependents_of: Vec<String>,
    /// An image and everything that it needs
    #[arg(long, value_name = "IMAGE")]
    pub dependencies_of: Vec<String>,
    /// Not these
    #[arg(long, value_name = "SELECTOR")]
    pub exclude: Vec<String>,
    /// Of these only what differs from where this branch left a revision, and what depends on it
    #[arg(long, value_name = "REVISION", conflicts_with = "affected")]
    pub since: Option<String>,
    /// The same for the revision that the CI service names, or origin/HEAD
    #[arg(long)]
    pub affected: bool,
    /// Of these only the Kth of N parts that take nearly the same time
    #[arg(long, value_name = "K/N")]
    pub shard: Option<Portion>,
    /// Without the stale ancestors that the selection needs
    #[arg(long)]
    pub only: bool,
    /// Fail with exit code 4 if nothing is selected
    #[arg(long)]
    pub fail_if_no_match: bool,
}

/// One of several parts of a selection: `2/5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Which, from 1 on.
    pub number: usize,
    /// Of how many.
    pub of: usize,
}

/// The most parts that a selection has.
const MOST: usize = 1000;

impl FromStr for Portion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, of)| {
            Some(Self { number: number.trim().parse().ok()?, of: of.trim().parse().ok()? })
        });
        let is_one = |it: &Self| (1..=it.of).contains(&it.number) && it.of <= MOST;
        let wrong = || format!("one of at most {MOST} parts, such as 2/5, the first is 1/5");
        parsed.filter(is_one).ok_or_else(wrong)
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl Selection {
    /// All of it as selectors.
    pub fn all(&self) -> Vec<String> {
        let mut all: Vec<String> = self.selectors.iter().chain(&self.filters).cloned().collect();
        all.extend(self.dependents_of.iter().map(|name| format!("...{name}")));
        all.extend(self.dependencies_of.iter().map(|name| format!("{name}...")));
        all.extend(self.exclude.iter().map(|name| format!("!{name}")));
        all
    }
}
