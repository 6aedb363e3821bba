//! `layers.toml`: the order of the layers, the names of the images, and what a layer allows.
//!
//! Every key is optional. [`parse`] reports everything that is wrong at once, unknown keys with the
//! key that was probably meant. Nothing here knows which images exist: `graph` checks that.

mod builder;
pub mod options;
mod quantity;
mod read;
mod registry;
pub(crate) mod toml_reader;

use std::collections::BTreeMap;

use globset::GlobSet;

use crate::diagnostic::{Diagnostic, Span};
use crate::image::{ImageName, Platform};
pub use crate::layers::builder::Builder;
use crate::layers::options::Options;
pub use crate::layers::registry::RegistryTerms;

/// What `layers.toml` says; the default is what holds without one.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// `[workspace]`
    pub workspace: WorkspaceSettings,
    /// `[[layer]]`, in order. Empty: every directory below the images directory is its own layer and
    /// there is no order.
    pub layers: Vec<Layer>,
    /// `[image."name"]`
    pub images: BTreeMap<ImageName, ImageSettings>,
    /// `[[builder]]`, in order.
    pub builders: Vec<Builder>,
    /// `[[registry]]`, by host.
    pub registries: BTreeMap<String, RegistryTerms>,
    /// What the command line says instead: no part of the file.
    pub given: Options,
}

/// `[workspace]`
#[derive(Clone, Debug)]
pub struct WorkspaceSettings {
    /// The directory of the images, relative to the workspace root; `.` is the root itself.
    pub images: String,
    /// What is put in front of every repository, `registry.example.com/acme`.
    pub registry: Option<String>,
    /// The repository that has what is known of each branch, with its registry; `None`:
    /// `imgraph-state` below `registry`.
    pub state: Option<String>,
    /// How repositories (and tags) follow from paths; the first rule that matches.
    pub repository: Vec<NameRule>,
    /// Tags that every image gets beside its version.
    pub tags: Vec<String>,
    /// What discovery leaves out, as globs below the images directory.
    pub ignore: GlobSet,
    /// The names of files that are Dockerfiles, as globs; `None`: the usual ones.
    pub dockerfiles: Option<GlobSet>,
    /// Build arguments that every image gets.
    pub args: BTreeMap<String, String>,
    /// Labels that every image gets.
    pub labels: BTreeMap<String, String>,
    /// The platform of images that say none; `None`: that of the engine.
    pub platform: Option<Platform>,
    /// How images are built that say nothing themselves.
    pub options: Options,
    /// The engine; `None`: chosen.
    pub engine: Option<String>,
    /// The time that files of built images get, in seconds since the Unix epoch.
    pub epoch: u64,
}

/// One way in which names follow from paths.
#[derive(Clone, Debug)]
pub struct NameRule {
    /// Over the path of the Dockerfile below the images directory; `None` matches every path.
    pub pattern: Option<regex::Regex>,
    /// The repository: `{path}` `{dir}` `{parent}` `{name}` `{file}`, and `$1` or `${name}` for
    /// captures.
    pub repository: String,
    /// Tags in the same manner; empty: those of `[workspace] tags`.
    pub tags: Vec<String>,
}

/// `[[layer]]`
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// The directories below the images directory that belong to it.
    pub dirs: Vec<String>,
    /// The layers that its images may build on; `None`: itself and every layer above.
    pub from: Option<Vec<String>>,
    /// The external images that it may build on, as globs over normalised references; `None`: any.
    pub externals: Option<Externals>,
    /// What a rebuilt parent's sameness is measured by.
    pub cutoff: Cutoff,
    /// How old its images may become before `rebuild --full` builds them again, in milliseconds.
    pub max_age: Option<u64>,
    /// Who moves the pins of what its images read from outside.
    pub update: Update,
    /// How its images are built where they say nothing themselves.
    pub options: Options,
    /// What its images must keep to.
    pub rules: Rules,
    /// Where it is written.
    pub span: Span,
}

/// The externals that a layer allows.
#[derive(Clone, Debug)]
pub struct Externals {
    /// As written.
    pub patterns: Vec<String>,
    /// Over the normalised reference and over its familiar form.
    pub globs: GlobSet,
}

/// What stops a cascade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cutoff {
    /// Equal content id.
    #[default]
    Content,
    /// Equal id in the engine's store.
    Digest,
    /// Equal build key: whatever is built from other inputs counts as changed.
    Inputs,
}

/// Who moves the pins of what images read from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update {
    /// `rebuild --full`, and whoever types `imgraph update`.
    #[default]
    Auto,
    /// Only who types `imgraph update`.
    Manual,
}

/// What the images of a layer must keep to.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// `user = "non-root"`: the image must not run as root.
    pub non_root: bool,
    /// `max-size`, in bytes of all layers.
    pub max_size: Option<u64>,
    /// `pinned`: what to say of an external without digest; `None`: nothing.
    pub pinned: Option<RuleLevel>,
}

/// How much a broken rule weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleLevel {
    /// Said.
    Warning,
    /// Stops a rebuild.
    Error,
}

/// `[image."name"]`
#[derive(Clone, Debug, Default)]
pub struct ImageSettings {
    /// The Dockerfile of this name only serves other sections: it is no image by itself.
    pub skip: bool,
    /// The Dockerfile, relative to the images directory; `None`: found by the name.
    pub dockerfile: Option<String>,
    /// The context, relative to the directory of the Dockerfile; `//` begins at the workspace root.
    pub context: Option<String>,
    /// The stage to build.
    pub target: Option<String>,
    /// The repository, instead of the one that the rules give.
    pub repository: Option<String>,
    /// The version, instead of the one in a `VERSION` file.
    pub version: Option<String>,
    /// Tags, instead of those of the rules.
    pub tags: Option<Vec<String>>,
    /// More references under which others know it.
    pub aliases: Vec<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The platforms to build for.
    pub platforms: Vec<Platform>,
    /// Secrets as `--secret` takes them.
    pub secrets: Vec<String>,
    /// SSH agents as `--ssh` takes them.
    pub ssh: Vec<String>,
    /// How it is built.
    pub options: Options,
    /// The command that makes context files.
    pub prepare: Option<Prepare>,
    /// Where the section is written.
    pub span: Span,
}

/// A command that makes context files before they are fingerprinted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// Run by `sh -c` in the image's directory.
    pub run: String,
    /// What it reads, as globs below the image's directory.
    pub inputs: Vec<String>,
    /// What it makes, likewise.
    pub outputs: Vec<String>,
    /// Where it is written.
    pub span: Span,
}

impl Default for WorkspaceSettings {
    fn default() -> Self {
        Self {
            images: "images".to_owned(),
            registry: None,
            state: None,
            repository: vec![NameRule {
                pattern: None,
                repository: "{path}".to_owned(),
                tags: Vec::new(),
            }],
            tags: vec!["latest".to_owned()],
            ignore: GlobSet::empty(),
            dockerfiles: None,
            args: BTreeMap::new(),
            labels: BTreeMap::new(),
            platform: None,
            options: Options::default(),
            engine: None,
            epoch: 0,
        }
    }
}

impl Layers {
    /// The row of the table whose directory holds an image: the longest directory wins.
    pub fn layer_of(&self, image: &ImageName) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        for (row, layer) in self.layers.iter().enumerate() {
            for dir in &layer.dirs {
                let inside = image.as_str() == dir
                    || dir == "."
                    || image.as_str().strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
                if inside && best.is_none_or(|(length, _)| dir.len() > length) {
                    best = Some((dir.len(), row));
                }
            }
        }
        best.map(|(_, row)| row)
    }

    /// How an image is built: what the command line says, else its own section, its layer, the
    /// workspace.
    pub fn options_of(&self, own: &Options, layer: Option<usize>) -> Options {
        let layer = layer.map(|row| &self.layers[row].options);
        let inner = self.given.or(own);
        layer.map_or_else(|| inner.clone(), |layer| inner.or(layer)).or(&self.workspace.options)
    }

    /// Whether images of one layer may build on images of another (both rows of the table).
    pub fn allows(&self, child: usize, parent: usize) -> bool {
        match &self.layers[child].from {
            Some(from) => child == parent || from.contains(&self.layers[parent].name),
            None => parent <= child,
        }
    }
}

/// Reads the text of a `layers.toml`. The diagnostics have spans but no path.
pub fn parse(text: &str) -> (Layers, Vec<Diagnostic>) {
    read::layers(text)
}

#[cfg(test)]
mod tests;
