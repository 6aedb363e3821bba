//! Which images a verb is about, as it is typed.

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
    /// Without the stale ancestors that the selection needs
    #[arg(long)]
    pub only: bool,
    /// Fail with exit code 4 if nothing is selected
    #[arg(long)]
    pub fail_if_no_match: bool,
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
