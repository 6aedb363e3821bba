//! What is typed behind `imgraph promote`.

use clap::Args;

use crate::cli::selection::Selection;
use crate::reference::{Reference, names_a_registry};

/// Point tags of another repository at images that are pushed
///
/// Takes what the repository of each selected image has under the tag of its current build key, and
/// points the same tags at it in the target: within one registry by mounting, no bytes moved. No
/// engine is asked, and nothing is moved if one of the images is missing.
#[derive(Debug, Args)]
pub struct Promote {
    /// Which images
    #[command(flatten)]
    pub selection: Selection,
    /// Where to: what stands in place of the workspace's registry [default: the same repositories]
    #[arg(
        long,
        value_name = "REGISTRY/PREFIX",
        value_parser = prefix,
        required_unless_present = "tags",
        env = "IMGRAPH_PROMOTE_TO"
    )]
    pub to: Option<String>,
    /// A tag to point at it, instead of those of the image
    #[arg(long = "tag", value_name = "TAG", value_parser = tag)]
    pub tags: Vec<String>,
    /// Take what this tag points at, whatever the work tree says
    #[arg(long, value_name = "TAG", value_parser = tag)]
    pub from_tag: Option<String>,
    /// Only show what would be moved
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What repositories begin with.
fn prefix(text: &str) -> Result<String, String> {
    let text = text.trim_end_matches('/');
    let below = format!("{text}/x");
    if text.split_once('/').is_some_and(|(_, path)| path.contains([':', '@'])) {
        return Err("it takes no tag and no digest; `--tag` gives tags".to_owned());
    }
    Reference::parse(&below).map_err(|error| error.to_string())?;
    if !names_a_registry(&below) {
        let help = "it names no registry: write docker.io/NAME for Docker Hub";
        return Err(help.to_owned());
    }
    Ok(text.to_owned())
}

fn tag(text: &str) -> Result<String, String> {
    let any = Reference::parse("x").and_then(|any| any.with_tag(text));
    any.map(|_| text.to_owned()).map_err(|error| error.to_string())
}
