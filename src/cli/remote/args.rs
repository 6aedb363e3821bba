//! What is typed of registries as a place for earlier builds.

use clap::Args;
use clap::builder::FalseyValueParser;

use crate::remote::Caches;

/// What is taken from registries and left there.
#[derive(Clone, Debug, Default, Args)]
pub struct Sharing {
    /// Where earlier builds are looked for and noted: `local:rw`, and `registry:` with r, w or rw
    /// [default: local:rw, and with --push registry:rw]
    #[arg(long, value_name = "PLACES", env = "IMGRAPH_CACHE")]
    pub cache: Option<Caches>,
    /// The branch whose state is read and written [default: what the CI service or git says]
    #[arg(long, value_name = "NAME", env = "IMGRAPH_BRANCH")]
    pub branch: Option<String>,
    /// Move the tags of all images in the end, or none
    #[arg(long, requires = "push", value_parser = FalseyValueParser::new(), env = "IMGRAPH_ATOMIC")]
    pub atomic: bool,
    /// Move tags although a run of a later commit has moved them
    #[arg(long, requires = "push", value_parser = FalseyValueParser::new(), env = "IMGRAPH_ALLOW_OLDER")]
    pub allow_older: bool,
}
