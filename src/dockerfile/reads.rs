//! What building one target of a Dockerfile can read: other images, the context, the network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::{Dockerfile, Flavour};
use crate::image::Platform;

/// What the reading depends on besides the text.
pub struct Request<'a> {
    /// The stage to build; `None` is the last one.
    pub target: Option<&'a str>,
    /// Build arguments given from outside (`--build-arg`).
    pub args: &'a BTreeMap<String, String>,
    /// The platform to build for.
    pub platform: &'a Platform,
    /// The platform that the engine runs on.
    pub build_platform: &'a Platform,
    /// Whose rules.
    pub flavour: Flavour,
    /// The ONBUILD triggers of a base image, one instruction each, as its config has them
    /// (`COPY . /app`); asked for every reachable FROM that is not a stage.
    pub onbuild: &'a dyn Fn(&ImageUse) -> Vec<String>,
}

/// What building one target can read.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    /// The frontend image of `# syntax=` or BUILDKIT_SYNTAX, as written.
    pub frontend: Option<String>,
    /// Every instruction of every reachable stage, in order, in canonical form.
    pub steps: Vec<Step>,
    /// The build arguments that have an effect: declared (or predefined and used) in a reachable
    /// stage or in the global scope of a reachable FROM, with the value they get.
    pub args: BTreeMap<String, String>,
    /// Build arguments given from outside that nothing declares.
    pub unused_args: Vec<String>,
    /// Every image read, in order of appearance; the same image twice is listed twice.
    pub images: Vec<ImageUse>,
    /// What is read from the build context.
    pub context: Vec<ContextRead>,
    /// What ADD fetches: URLs and git repositories, expanded.
    pub remotes: Vec<Remote>,
    /// The ids of secrets and ssh sockets that RUN mounts (`secret npm`, `ssh default`).
    pub secrets: Vec<String>,
    /// The ONBUILD triggers that the built image will have, one instruction each.
    pub onbuild: Vec<String>,
    /// The names of all stages, reachable or not, lower case: a parent must never be handed to an
    /// engine under one of these names, it would replace the stage.
    pub stage_names: Vec<String>,
    /// The user that the built image runs as, if the Dockerfile says so (last USER of the chain of
    /// stages the target is FROM).
    pub user: Option<String>,
}

/// An instruction of a reachable stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The instruction after joining continuations and dropping comments: command in upper case,
    /// flags, arguments, heredocs. RUN text is byte-exact.
    pub text: String,
    /// Its first line, from 1. Not part of any key.
    pub line: u32,
}

/// Why an image is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UseKind {
    /// `FROM image`
    From,
    /// `COPY --from=image`
    Copy,
    /// `RUN --mount=from=image`, bind or cache.
    Mount,
    /// COPY --from or RUN --mount of an inherited ONBUILD.
    Onbuild,
}

/// An image that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// Why.
    pub kind: UseKind,
    /// The reference as the engine will see it: variables expanded, not normalised.
    pub reference: String,
    /// The platform it is wanted for.
    pub platform: Platform,
    /// The instruction, or the word, that names it.
    pub span: Span,
}

/// Something fetched from the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The URL or git reference, expanded.
    pub url: String,
    /// `--checksum`, if given.
    pub checksum: Option<String>,
    /// The instruction.
    pub span: Span,
}

/// The instruction that reads a part of the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextKind {
    /// COPY
    Copy,
    /// ADD
    Add,
    /// `RUN --mount=type=bind`
    Mount,
}

/// One source of one instruction that reads the build context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextRead {
    /// The instruction.
    pub kind: ContextKind,
    /// The path below the context root, cleaned, beginning with `/`; `/` is the whole context.
    /// For COPY and ADD it may hold wildcards of Go's `filepath.Match` (`* ? [ ] \`).
    pub source: String,
    /// Patterns (`--parents`) below `source`, with the syntax of `.dockerignore`; empty: everything.
    pub include: Vec<String>,
    /// Patterns (`--exclude`) below `source` that are left out.
    pub exclude: Vec<String>,
    /// Paths that must exist (literal sources of `--parents`).
    pub require: Vec<String>,
    /// The instruction.
    pub span: Span,
}

/// Reads one target.
pub fn resolve(_dockerfile: &Dockerfile, _request: &Request<'_>) -> (Reads, Vec<Diagnostic>) {
    todo!()
}
