//! What building one target of a Dockerfile can read: other images, the context, the network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Span};
use crate::dockerfile::expand::{Shell, Variables};
use crate::dockerfile::globals::{self, Globals};
use crate::dockerfile::problem::Problems;
use crate::dockerfile::stages::{Scene, Stages};
use crate::dockerfile::walk::{self, Walked};
use crate::dockerfile::{Dockerfile, Flavour, epoch};
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
    /// The frontend image of `# syntax=` or `BUILDKIT_SYNTAX`, as written.
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
    /// The image below the chain of stages that the target is FROM, as expanded; `None` is `scratch`.
    pub base: Option<String>,
    /// The working directory of the built image, where it is known.
    pub directory: Option<String>,
    /// Whether the configuration of what the target stands on is known, down to `scratch`.
    pub base_is_known: bool,
    /// The variables that the configuration of the built image will have, where they are known: what
    /// [`BaseConfig::env`] of an image built on it has to be.
    pub env: Vec<(String, String)>,
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
    /// Whether archives are unpacked: what ADD does, unless told otherwise.
    pub unpack: bool,
    /// The instruction.
    pub span: Span,
}

impl ContextRead {
    /// Everything, whichever instruction it is that reads it.
    pub fn everything() -> Self {
        Self {
            kind: ContextKind::Copy,
            source: "/".to_owned(),
            include: Vec::new(),
            exclude: Vec::new(),
            require: Vec::new(),
            unpack: false,
            span: Span::default(),
        }
    }
}

/// The configuration of a base image, as far as it bears on what is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseConfig {
    /// The variables of `Env`.
    pub env: Vec<(String, String)>,
    /// `WorkingDir`; empty is the root, `None` is not known.
    pub working_dir: Option<String>,
    /// Whether that is all: else the image stands on one of which nothing is known.
    pub is_whole: bool,
}

impl BaseConfig {
    /// The configuration of `scratch`.
    pub fn empty() -> Self {
        Self { env: Vec::new(), working_dir: Some(String::new()), is_whole: true }
    }
}

/// Reads one target, of whose base images nothing is known but the triggers.
pub fn resolve(dockerfile: &Dockerfile, request: &Request<'_>) -> (Reads, Vec<Diagnostic>) {
    resolve_with(dockerfile, request, &|_| None)
}

/// Reads one target. `base` gives the configuration of a base image where it is known: a variable
/// that it sets may choose what is read.
pub fn resolve_with(
    dockerfile: &Dockerfile,
    request: &Request<'_>,
    base: &dyn Fn(&ImageUse) -> Option<BaseConfig>,
) -> (Reads, Vec<Diagnostic>) {
    let mut problems = Problems::default();
    epoch::check_directive(dockerfile, &mut problems);
    let globals = Globals::new(dockerfile, request, &mut problems);
    let shell = Shell::new(dockerfile.directives.escape());
    let scene = Scene { dockerfile, request, globals, shell };
    epoch::check(&scene, &mut problems);
    let mut stages = Stages::new(&scene, &mut problems);
    stages.check_circles(&mut problems);
    let target = stages.target(request.target, &mut problems);
    let Some(target) = target else {
        stages.check_references(&mut problems);
        return (Reads::default(), problems.into_diagnostics());
    };
    let reachable = stages.reach(target, request, &mut problems);
    stages.check_references(&mut problems);
    let walked = walk::walk(&scene, &stages, &reachable, base, &mut problems);
    let reads = Gathering { scene: &scene, stages: &stages, target, walked }.reads();
    (reads, problems.into_diagnostics())
}

/// Puts together what the stages read, of those whose files get into the target.
struct Gathering<'a> {
    scene: &'a Scene<'a>,
    stages: &'a Stages<'a>,
    target: usize,
    walked: Vec<Option<Walked>>,
}

impl Gathering<'_> {
    fn reads(mut self) -> Reads {
        let Request { args, .. } = *self.scene.request;
        let Dockerfile { syntax, directives, stages, .. } = self.scene.dockerfile;
        let mut reads = Reads {
            frontend: args.get("BUILDKIT_SYNTAX").or(syntax.as_ref()).cloned(),
            stage_names: stages.iter().filter_map(|stage| stage.name.clone()).collect(),
            onbuild: self.stages.own_triggers(self.target),
            unused_args: self.unused_args(),
            base: self.base(),
            ..Reads::default()
        };
        // The same words mean something else with another escape character.
        if let Some(word) = directives.escape_word().filter(|word| word.text != "\\") {
            reads.steps.push(Step { text: format!("# escape={}", word.text), line: 1 });
        }
        let used = self.used();
        reads.args = self.args(&used);
        for (index, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            let Some(walked) = self.walked[index].take() else { continue };
            reads.steps.extend(walked.steps);
            reads.images.extend(walked.images);
            reads.context.extend(walked.context);
            reads.remotes.extend(walked.remotes);
            for secret in walked.secrets {
                if !reads.secrets.contains(&secret) {
                    reads.secrets.push(secret);
                }
            }
            if index == self.target {
                reads.user = walked.user;
                reads.directory = walked.directory;
                reads.base_is_known = walked.base_is_known;
                reads.env = walked.environment.into_config();
            }
        }
        reads
    }

    /// What the stages from the target down stand on.
    fn base(&self) -> Option<String> {
        let states = &self.stages.states;
        let mut state = &states[self.target];
        // A stage is only ever FROM one above it, so this ends.
        while let Some(below) = state.base {
            state = &states[below];
        }
        (state.reference != "scratch").then(|| state.reference.clone())
    }

    /// Which states get into the target, by FROM, COPY or a mount. A stage may be reachable and not
    /// be among them: one that only `--mount=type=tmpfs,from=..` names.
    fn used(&self) -> Vec<bool> {
        let mut used = vec![false; self.walked.len()];
        let mut open = vec![self.target];
        while let Some(index) = open.pop() {
            if !std::mem::replace(&mut used[index], true) {
                open.extend(self.walked[index].iter().flat_map(|walked| &walked.uses));
            }
        }
        used
    }

    /// The arguments that have an effect. Where stages disagree about one, the value that is not in
    /// their text counts: the others follow from it and from the steps.
    fn args(&self, used: &[bool]) -> BTreeMap<String, String> {
        let walked: Vec<_> = self.used_stages(used).collect();
        let mut args = BTreeMap::new();
        for stage in &walked {
            args.extend(stage.given.clone());
        }
        for (index, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            let names = self.stages.states[index].matched.iter().cloned().collect();
            self.scene.globals.add_used(names, &mut args);
        }
        for stage in &walked {
            for (name, value) in &stage.defaults {
                args.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        for (name, value) in self.scene.request.args {
            if globals::acts_undeclared(name) {
                args.insert(name.clone(), value.clone());
            }
        }
        let epoch = self.scene.globals.value(globals::EPOCH).filter(|epoch| !epoch.is_empty());
        if let Some(epoch) = epoch {
            args.insert(globals::EPOCH.to_owned(), epoch.to_owned());
        }
        args
    }

    fn used_stages(&self, used: &[bool]) -> impl Iterator<Item = &Walked> {
        self.walked
            .iter()
            .zip(used)
            .filter(|(_, used)| **used)
            .filter_map(|(stage, _)| stage.as_ref())
    }

    /// The arguments given from outside that nothing in the file declares, reachable or not.
    fn unused_args(&self) -> Vec<String> {
        let is_used = |name: &str| {
            let globals = &self.scene.globals;
            let inherited = |stage: &Walked| stage.declared.contains(name);
            globals.declares(name)
                || globals.is_built_in(name)
                || self.walked.iter().flatten().any(inherited)
                || self.stages.declares(name)
        };
        let names = self.scene.request.args.keys();
        names.filter(|name| !is_used(name)).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
