//! What was typed, and nothing else. The comments are the manual.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cache::Cache;
pub use crate::cli::affected::arguments::{Affected, AffectedFormat};
pub use crate::cli::promote::arguments::Promote;
pub use crate::cli::remote::args::Sharing;
pub use crate::cli::report_file::ReportFile;
use crate::cli::selection::Selection;
pub use crate::cli::update::arguments::Update;
pub use crate::cli::watch::args::Watch;
use crate::image::Platform;
use crate::layers::options::{ENTITLEMENTS, NETWORKS, PROVENANCES, host};
use crate::remote::Caches;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Rebuild a tree of container images: only what is affected, parents first, siblings in parallel
///
/// imgraph finds the Dockerfiles below images/, reads from them which image builds on which, and
/// remembers by content what each build could read. What changed, and everything that depends on it,
/// is rebuilt; where a rebuilt parent comes out the same, its dependents are not.
#[derive(Debug, Parser)]
#[command(
    name = "imgraph",
    version,
    styles = STYLES,
    max_term_width = 100,
    propagate_version = true,
    infer_subcommands = true,
    after_help = EXIT_CODES
)]
pub struct Arguments {
    /// Act as if started in this directory
    #[arg(
        short = 'C',
        long = "directory",
        value_name = "DIR",
        global = true,
        env = "IMGRAPH_DIRECTORY"
    )]
    pub directory: Option<PathBuf>,
    /// The engine that builds [default: the first that is there]
    #[arg(long, value_enum, global = true, env = "IMGRAPH_ENGINE")]
    pub engine: Option<EngineName>,
    /// The builder of the engine, where it has several
    #[arg(long, value_name = "NAME", global = true, env = "IMGRAPH_BUILDER")]
    pub builder: Option<String>,
    /// Do not ask the engine whether recorded images are still in its store: take them to be there
    #[arg(long, global = true, value_parser = FalseyValueParser::new(), env = "IMGRAPH_OFFLINE")]
    pub offline: bool,
    /// What counts in every image beside its files
    #[command(flatten)]
    pub given: Given,
    /// When to use colours
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        global = true,
        default_value_t,
        env = "IMGRAPH_COLOR"
    )]
    pub color: When,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done, or nothing to do            69  engine, network or disk unavailable: a retry may help
  1  an image, or a look-up, failed    70  a bug in imgraph
  2  bad arguments or selector         75  another imgraph holds the lock, and --no-wait was given
  3  the workspace is not valid       130  interrupted (143: terminated), in order
  4  nothing matched, with --fail-if-no-match

Selectors: NAME, globs (apps/*), ./images/java/**, layer:NAME, ...X (X and its dependents),
  X... (X and its dependencies), ...^X and X^... (without X), !X (not X)";

/// An engine that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// The first that is there
    Auto,
    /// The buildah program
    Buildah,
    /// BuildKit: the one in a Docker Engine, or a buildkitd
    Buildkit,
    /// The buildx plugin of docker, for builders that only it reaches
    Buildx,
    /// No engine: scripted by simulate.toml, for trying things out
    Simulate,
}

/// What enters the keys of images, and so holds for every verb. In the environment, `;` stands
/// between several.
#[derive(Clone, Debug, Default, Args)]
pub struct Given {
    /// The platform of the images whose section names none [default: that of the engine]
    #[arg(long, value_name = "PLATFORM", global = true, env = "IMGRAPH_PLATFORM")]
    pub platform: Option<Platform>,
    /// The network of RUN, for all images
    #[arg(long, value_name = "MODE", value_parser = NETWORKS, global = true, env = "IMGRAPH_NETWORK")]
    pub network: Option<String>,
    /// A name that RUN finds an address for, beside those of layers.toml
    #[arg(long, value_name = "NAME:IP", value_parser = host, value_delimiter = ';', global = true, env = "IMGRAPH_ADD_HOST")]
    pub add_host: Vec<String>,
    /// Fail if imgraph.lock lacks an image from outside, has one too many, or would change
    #[arg(long, value_parser = FalseyValueParser::new(), global = true, env = "IMGRAPH_LOCKED")]
    pub locked: bool,
}

/// When to do something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Where a person is likely to look
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Bring images up to date: what changed, and everything that depends on it
    #[command(visible_alias = "build")]
    Rebuild(Rebuild),
    /// Pin images from outside in imgraph.lock to what their tags point at now
    Update(Update),
    /// Point tags of another repository at images that are pushed, without moving their bytes
    Promote(Promote),
    /// Build again whenever a file is saved, until told to end
    Watch(Watch),
    /// Show what a rebuild would do, and why
    Plan(Plan),
    /// Say why an image is out of date, or why it is not
    Why(Why),
    /// List exactly what enters the key of an image
    Inputs(Inputs),
    /// List the images that differ from another revision, and what depends on them
    Affected(Affected),
    /// List the images
    Ls(Ls),
    /// Show the graph
    Graph(Graph),
    /// Find everything that is wrong with the workspace, without an engine
    Check(Check),
    /// Write a layers.toml for the images that are found
    Init(Init),
    /// Look for what is missing on this machine
    Doctor(Doctor),
    /// Print a script that completes commands in a shell
    Completions(Completions),
}

/// Bring images up to date
///
/// Rebuilds the selected images whose inputs changed, with the stale ancestors that they need.
/// Without a selector that is every image whose key differs from the recorded one, plus all its
/// transitive dependents, with early cutoff.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed")]
pub struct Rebuild {
    /// Which images
    #[command(flatten)]
    pub selection: Selection,
    /// All images that changed and all their dependents: what happens anyway without a selector
    #[arg(long)]
    pub changed: bool,
    /// The nightly (docs/nightly.md): moves the pins of imgraph.lock first, builds again what is older
    /// than its layer's max-age, and leaves alone what keeps failing; with --no-cache everything
    #[arg(long, conflicts_with_all = ["rerun", "since", "affected"])]
    pub full: bool,
    /// Only show what would be done, as text or as JSON
    #[arg(short = 'n', long, value_enum, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub dry_run: Option<PlanFormat>,
    /// Build the selected images whatever their keys say
    #[arg(short, long)]
    pub force: bool,
    /// How images are built, and where they go
    #[command(flatten)]
    pub building: Building,
    /// What is taken from registries and left there
    #[command(flatten)]
    pub sharing: Sharing,
    /// Only what the last run did not finish: failed, blocked and not reached images
    #[arg(long, value_enum, value_name = "RUN", conflicts_with_all = ["selectors", "dry_run", "shard"])]
    pub rerun: Option<RunName>,
    /// How many builds run at once: a number, or a share of the cores such as 50%
    #[arg(short, long, value_name = "N", env = "IMGRAPH_JOBS")]
    pub jobs: Option<Jobs>,
    /// Start nothing more after so many failures [default: never stop; what depends on a failure is
    /// always left out]
    #[arg(short, long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub keep_going: Option<usize>,
    /// Start nothing more after the first failure
    #[arg(long, conflicts_with = "keep_going")]
    pub fail_fast: bool,
    /// How often a build or a push is tried again when the engine or the network fails, after 1, 4, 16
    /// and then 60 seconds [default: 2, with --full 4]
    #[arg(long, value_name = "N", env = "IMGRAPH_RETRIES")]
    pub retries: Option<u32>,
    /// Also write the end of the run into a file: .md, .json, or .xml (test results); markdown=FILE, json=FILE
    /// and junit=FILE say it for other names
    #[arg(long, value_name = "FILE", env = "IMGRAPH_REPORT", value_delimiter = ';')]
    pub report: Vec<ReportFile>,
    /// How the run is shown
    #[command(flatten)]
    pub output: Output,
    /// Do not wait for another imgraph: fail with exit code 75
    #[arg(long)]
    pub no_wait: bool,
}

/// How images are built, and where they go. Nothing of it enters a key.
#[derive(Clone, Debug, Default, Args)]
pub struct Building {
    /// Let the engine run every step of the selected images again, of those that are built
    #[arg(long, value_parser = FalseyValueParser::new(), env = "IMGRAPH_NO_CACHE")]
    pub no_cache: bool,
    /// Ask registries for images from outside again, although the store has them
    #[arg(long, value_parser = FalseyValueParser::new(), env = "IMGRAPH_PULL")]
    pub pull: bool,
    /// Push what is not pushed yet: images that are built, and those that are up to date
    #[arg(long, value_parser = FalseyValueParser::new(), env = "IMGRAPH_PUSH")]
    pub push: bool,
    /// A cache of steps to read: a reference, or `type=registry,ref=..` and the like
    #[arg(long, value_name = "CACHE", value_parser = cache_to_read, value_delimiter = ';', env = "IMGRAPH_CACHE_FROM")]
    pub cache_from: Vec<String>,
    /// A cache of steps to write
    #[arg(long, value_name = "CACHE", value_parser = cache_to_write, value_delimiter = ';', env = "IMGRAPH_CACHE_TO")]
    pub cache_to: Vec<String>,
    /// Attach a list of what is in the image
    #[arg(long, value_name = "YES", num_args = 0..=1, require_equals = true, default_missing_value = "true", env = "IMGRAPH_SBOM")]
    pub sbom: Option<bool>,
    /// Attach how the image was built
    #[arg(long, value_name = "MODE", value_parser = PROVENANCES, env = "IMGRAPH_PROVENANCE")]
    pub provenance: Option<String>,
    /// What RUN may do that not every RUN may, as `--network=host` and `--security=insecure`
    #[arg(long, value_name = "WHAT", value_parser = ENTITLEMENTS, value_delimiter = ';', env = "IMGRAPH_ALLOW")]
    pub allow: Vec<String>,
}

fn cache_to_read(text: &str) -> Result<String, String> {
    Cache::to_read(text).map(|cache| cache.to_string()).map_err(|error| error.to_string())
}

fn cache_to_write(text: &str) -> Result<String, String> {
    Cache::to_write(text).map(|cache| cache.to_string()).map_err(|error| error.to_string())
}

/// How a run is shown.
#[derive(Clone, Debug, Args)]
pub struct Output {
    /// Live lines, line by line, or failures only
    #[arg(long, value_enum, default_value_t, env = "IMGRAPH_UI")]
    pub ui: UiName,
    /// Which logs of builds are shown; all are kept in files
    #[arg(long, value_enum, default_value_t, env = "IMGRAPH_LOGS")]
    pub logs: LogsName,
    /// Print events as NDJSON on standard output (docs/events.md)
    #[arg(long)]
    pub json: bool,
    /// Say less: only what went wrong
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: steps, all reasons, fresh images
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// A form of a run on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum UiName {
    /// Live lines on a terminal, line by line elsewhere
    #[default]
    Auto,
    /// Live lines
    Progress,
    /// Line by line
    Plain,
    /// Failures only
    Quiet,
}

/// Which logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogsName {
    /// All, as they come
    All,
    /// Those of failed builds
    #[default]
    Failed,
    /// None
    None,
}

/// A form of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// A run that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunName {
    /// The last one
    Last,
}

/// How many builds run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobs {
    /// So many.
    Number(usize),
    /// So many hundredths of the cores.
    Percent(usize),
}

impl std::str::FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "a number of builds such as 4, or a share of the cores such as 50%".to_owned();
        let (digits, percent) = match text.strip_suffix('%') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        match (digits.parse::<usize>(), percent) {
            (Ok(number), false) if number > 0 => Ok(Self::Number(number)),
            (Ok(number), true) if number > 0 => Ok(Self::Percent(number)),
            _ => Err(wrong()),
        }
    }
}

/// Show what a rebuild would do, and why
#[derive(Debug, Args)]
pub struct Plan {
    /// Which images
    #[command(flatten)]
    pub selection: Selection,
    /// As if the selected images were forced
    #[arg(short, long)]
    pub force: bool,
    /// As if images were pushed
    #[arg(long, value_parser = FalseyValueParser::new(), env = "IMGRAPH_PUSH")]
    pub push: bool,
    /// Where earlier builds are looked for [default: as `rebuild`]
    #[arg(long, value_name = "PLACES", env = "IMGRAPH_CACHE")]
    pub cache: Option<Caches>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// List the fresh images, too
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Say why an image is out of date, or why it is not
#[derive(Debug, Args)]
pub struct Why {
    /// The image
    pub image: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// List exactly what enters the key of an image
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed")]
pub struct Inputs {
    /// The image
    #[arg(required_unless_present = "dockerfile")]
    pub image: Option<String>,
    /// A lone Dockerfile outside of a workspace; its directory is the context
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    pub dockerfile: Option<PathBuf>,
    /// Print only the paths of files, each followed by a NUL byte
    #[arg(short = '0', long)]
    pub null: bool,
    /// Print the digest of each input
    #[arg(long)]
    pub hash: bool,
    /// List what `.dockerignore` leaves out, with the line that does
    #[arg(long)]
    pub ignored: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// List the images
#[derive(Debug, Args)]
pub struct Ls {
    /// Which images
    #[command(flatten)]
    pub selection: Selection,
    /// Say whether each is up to date
    #[arg(long)]
    pub status: bool,
    /// Only the names, one a line
    #[arg(short = '1', long)]
    pub names: bool,
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Show the graph
#[derive(Debug, Args)]
pub struct Graph {
    /// Which images
    #[command(flatten)]
    pub selection: Selection,
    /// How
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,
}

/// A form of a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// A tree, for people
    #[default]
    Text,
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
    /// For programs
    Json,
}

/// Find everything that is wrong with the workspace
#[derive(Debug, Args)]
pub struct Check {
    /// How
    #[arg(long, value_enum, default_value_t)]
    pub format: PlanFormat,
}

/// Write a layers.toml for the images that are found
#[derive(Debug, Args)]
pub struct Init {
    /// Replace a layers.toml that is there
    #[arg(long)]
    pub force: bool,
}

/// Look for what is missing on this machine
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print one JSON array
    #[arg(long)]
    pub json: bool,
}

/// Print a script that completes commands in a shell
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}
