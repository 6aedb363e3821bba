//! What is typed behind `imgraph affected`.

use clap::{Args, ValueEnum};

use crate::cli::selection::Selection;

/// List the images that differ from another revision, and what depends on them
///
/// Compares the work tree with the commit at which this branch left the revision: that of `--since`,
/// else the one that the CI service names, else origin/HEAD. No engine and no earlier build is needed.
#[derive(Clone, Debug, Args)]
pub struct Affected {
    /// Which images
    #[command(flatten)]
    pub selection: Selection,
    /// How
    #[arg(long, value_enum, default_value_t)]
    pub format: AffectedFormat,
    /// As JSON: `--format json`
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Cut them into parts for so many machines at once, parents in earlier stages or in the same part
    /// [default for github and gitlab: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shards: Option<u16>,
    /// In at most so many stages [default for github: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub stages: Option<u16>,
    /// End with 1 if there is any
    #[arg(long)]
    pub exit_code: bool,
}

/// A form of what is affected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AffectedFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// Outputs of a GitHub job: a matrix for each stage
    Github,
    /// A child pipeline for GitLab
    Gitlab,
}
