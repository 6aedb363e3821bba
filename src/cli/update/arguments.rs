//! What is typed behind `imgraph update`.

use clap::Args;

/// Pin images from outside in imgraph.lock
///
/// Asks the registries what the tags point at that Dockerfiles read from outside, and writes it down
/// for every platform that is wanted. Builds take exactly that, until the next update.
#[derive(Debug, Args)]
pub struct Update {
    /// References, or repositories with all their tags; none: all
    #[arg(value_name = "REF")]
    pub references: Vec<String>,
    /// Only show what would change
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
