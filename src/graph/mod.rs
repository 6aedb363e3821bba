//! The graph of the images: from references to edges, in an order in which parents come first.
//!
//! [`ImageGraph::resolve`] reports everything that is wrong and still returns a graph: an image with
//! an error is marked broken, so that the others can be listed, planned and built without it. It
//! reads no disk, and nothing here recurses: a chain of 10,000 images is as good as one of three.

pub mod select;
pub mod spec;

#[cfg(test)]
pub(crate) mod fixture;
mod order;
mod provided;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::diagnostic::{Diagnostic, Place, Span};
use crate::dockerfile::{
    BaseConfig, Dockerfile, Flavour, ImageUse, Reads, Request, UseKind, resolve_with,
};
use crate::graph::provided::{Meaning, Provided};
use crate::graph::spec::ImageSpec;
use crate::image::{ImageId, ImageName, Platform};
use crate::layers::Layers;
use crate::reference::Reference;

/// A cycle of images.
pub const CYCLE: &str = "IG020";
/// A parent is handed to the engine under a name that is also the name of a stage.
pub const STAGE_COLLISION: &str = "IG023";

/// One image with what its Dockerfile reads.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it is called and how it is built.
    pub spec: ImageSpec,
    /// The platform it is built for.
    pub platform: Platform,
    /// What its target reads.
    pub reads: Reads,
    /// The images of the workspace that it reads, in the order of the Dockerfile, each reference and
    /// platform once.
    pub parents: Vec<Edge>,
    /// The images from outside that it reads, likewise.
    pub externals: Vec<External>,
    /// Whether it has errors: it cannot be planned, nor can what depends on it.
    pub broken: bool,
}

/// A dependency on another image of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The parent.
    pub parent: ImageId,
    /// The first instruction that makes it a parent.
    pub kind: UseKind,
    /// The reference, expanded, as the engine sees it.
    pub reference: String,
    /// Where it stands.
    pub span: Span,
}

/// A dependency on an image from outside the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The reference, expanded, as the engine sees it.
    pub reference: String,
    /// Normalised.
    pub normalised: Reference,
    /// The platform that it is wanted for.
    pub platform: Platform,
    /// The first instruction that reads it.
    pub kind: UseKind,
    /// Where it stands.
    pub span: Span,
}

/// The images of a workspace and their edges.
#[derive(Clone, Debug)]
pub struct ImageGraph {
    images: Vec<Image>,
    names: BTreeMap<ImageName, ImageId>,
    graph: DiGraph<(), UseKind>,
    order: Vec<ImageId>,
}

/// The Dockerfile of an image.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// What could be read of it.
    pub dockerfile: &'a Dockerfile,
    /// Whether it has errors.
    pub broken: bool,
}

/// An image whose Dockerfile was read alone, before anything is known of its parents.
#[derive(Clone, Debug)]
pub struct Draft {
    image: Image,
    found: Vec<Diagnostic>,
}

/// Reads the target of one image. Images do not know each other here: all may be read at once.
pub fn draft(spec: ImageSpec, source: Source<'_>, setting: &Setting<'_>) -> Draft {
    let mut image = unread(spec, source.broken, setting);
    let found = read(&mut image, source.dockerfile, setting, &BTreeMap::new());
    Draft { image, found }
}

/// What resolving depends on besides the texts.
pub struct Setting<'a> {
    /// `layers.toml`.
    pub layers: &'a Layers,
    /// Whose rules of expansion.
    pub flavour: Flavour,
    /// The platform of images that say none, and of the engine.
    pub platform: &'a Platform,
    /// Directories below the images directory that discovery left out, and why.
    pub hidden: &'a BTreeMap<String, String>,
}

impl ImageGraph {
    /// Finds the edges of every image. `parsed` has the Dockerfile of each draft, and what is wrong
    /// with its text has been reported.
    pub fn resolve(
        drafts: Vec<Draft>,
        parsed: &[Source<'_>],
        setting: &Setting<'_>,
    ) -> (Self, Vec<Diagnostic>) {
        let mut problems = Vec::new();
        let (mut images, mut found): (Vec<Image>, Vec<Vec<Diagnostic>>) =
            drafts.into_iter().map(|draft| (draft.image, draft.found)).unzip();
        let provided = Provided::new(&images, &mut problems);
        inherit(&mut images, &mut found, parsed, setting, &provided);
        for (image, found) in images.iter_mut().zip(found) {
            image.broken |= found.iter().any(Diagnostic::is_error);
            problems.extend(found.into_iter().map(|it| it.in_file(&image.spec.dockerfile)));
        }
        for id in ids(images.len()) {
            find_edges(id, &mut images, setting, &provided, &mut problems);
        }
        let graph = connect(&images);
        let sorted = order::sort(&graph);
        for cycle in &sorted.cycles {
            problems.push(cycle_problem(cycle, &images));
        }
        for id in sorted.stuck {
            images[id.index()].broken = true;
        }
        let names = ids(images.len()).map(|id| (images[id.index()].spec.name.clone(), id));
        (Self { names: names.collect(), images, graph, order: sorted.order }, problems)
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// An image.
    pub fn image(&self, id: ImageId) -> &Image {
        &self.images[id.index()]
    }

    /// The name of an image.
    pub fn name(&self, id: ImageId) -> &ImageName {
        &self.images[id.index()].spec.name
    }

    /// All images with their numbers, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (ImageId, &Image)> {
        ids(self.len()).zip(&self.images)
    }

    /// The image of a name.
    pub fn find(&self, name: &str) -> Option<ImageId> {
        let name: ImageName = name.parse().ok()?;
        self.names.get(&name).copied()
    }

    /// All images, parents before children, and by name where the graph leaves a choice. Images of a
    /// cycle, and what depends on them, come last.
    pub fn order(&self) -> &[ImageId] {
        &self.order
    }

    /// The images that read an image directly, each once, sorted by name.
    pub fn children(&self, id: ImageId) -> Vec<ImageId> {
        self.neighbours(id, Direction::Outgoing)
    }

    /// The images of the workspace that an image reads directly, each once, sorted by name.
    pub fn parents(&self, id: ImageId) -> Vec<ImageId> {
        self.neighbours(id, Direction::Incoming)
    }

    /// The given images and all that they need.
    pub fn with_ancestors(&self, images: &BTreeSet<ImageId>) -> BTreeSet<ImageId> {
        self.closure(images, Direction::Incoming)
    }

    /// The given images and all that depend on them.
    pub fn with_descendants(&self, images: &BTreeSet<ImageId>) -> BTreeSet<ImageId> {
        self.closure(images, Direction::Outgoing)
    }

    fn neighbours(&self, id: ImageId, direction: Direction) -> Vec<ImageId> {
        let around = self.graph.neighbors_directed(NodeIndex::new(id.index()), direction);
        let mut around: Vec<ImageId> = around.map(image_id).collect();
        around.sort_unstable();
        around.dedup();
        around
    }

    fn closure(&self, images: &BTreeSet<ImageId>, direction: Direction) -> BTreeSet<ImageId> {
        let mut reached = images.clone();
        let mut todo: Vec<ImageId> = images.iter().copied().collect();
        while let Some(id) = todo.pop() {
            let around = self.graph.neighbors_directed(NodeIndex::new(id.index()), direction);
            todo.extend(around.map(image_id).filter(|next| reached.insert(*next)));
        }
        reached
    }
}

/// Every number below `count`.
fn ids(count: usize) -> impl Iterator<Item = ImageId> {
    (0..u32::try_from(count).expect("fewer than 2^32 images")).map(ImageId)
}

fn image_id(node: NodeIndex) -> ImageId {
    ImageId(u32::try_from(node.index()).expect("fewer than 2^32 images"))
}

fn unread(spec: ImageSpec, broken: bool, setting: &Setting<'_>) -> Image {
    let platform = spec.platform.clone().unwrap_or_else(|| setting.platform.clone());
    let reads = Reads::default();
    Image { spec, platform, reads, parents: Vec::new(), externals: Vec::new(), broken }
}

/// What an image hands down to those that are FROM it.
#[derive(Clone, Debug, Default)]
struct Legacy {
    onbuild: Vec<String>,
    config: BaseConfig,
}

/// Reads the target of an image and returns what is wrong. `bases` has what its bases hand down, by
/// reference.
fn read(
    image: &mut Image,
    dockerfile: &Dockerfile,
    setting: &Setting<'_>,
    bases: &BTreeMap<String, Legacy>,
) -> Vec<Diagnostic> {
    let base = |used: &ImageUse| bases.get(&used.reference);
    let request = Request {
        target: image.spec.target.as_deref(),
        args: &image.spec.args,
        platform: &image.platform,
        build_platform: setting.platform,
        flavour: setting.flavour,
        onbuild: &|used| base(used).map(|base| base.onbuild.clone()).unwrap_or_default(),
    };
    let (reads, found) =
        resolve_with(dockerfile, &request, &|used| base(used).map(|base| base.config.clone()));
    image.reads = reads;
    found
}

/// Reads the images on images of the workspace again, parents first: their bases may set variables
/// that choose what is read, and ONBUILD triggers that read more. Neither adds a FROM, so the FROM
/// edges of the first reading give the order. What the first reading found wrong is forgotten: it
/// may have missed a variable.
fn inherit(
    images: &mut [Image],
    found: &mut [Vec<Diagnostic>],
    parsed: &[Source<'_>],
    setting: &Setting<'_>,
    provided: &Provided,
) {
    let mut graph = DiGraph::<(), UseKind>::new();
    for _ in images.iter() {
        graph.add_node(());
    }
    for (child, image) in images.iter().enumerate() {
        for (_, parent) in bases(&image.reads, provided) {
            graph.add_edge(NodeIndex::new(parent.index()), NodeIndex::new(child), UseKind::From);
        }
    }
    for id in order::sort(&graph).order {
        let legacies: BTreeMap<String, Legacy> = bases(&images[id.index()].reads, provided)
            .map(|(reference, parent)| {
                (reference.to_owned(), legacy(&images[parent.index()].reads))
            })
            .filter(|(_, legacy)| !legacy.onbuild.is_empty() || !legacy.config.env.is_empty())
            .collect();
        if !legacies.is_empty() {
            let dockerfile = parsed[id.index()].dockerfile;
            found[id.index()] = read(&mut images[id.index()], dockerfile, setting, &legacies);
        }
    }
}

/// The images of the workspace that stages are FROM.
fn bases<'a>(reads: &'a Reads, provided: &'a Provided) -> impl Iterator<Item = (&'a str, ImageId)> {
    let bases = reads.images.iter().filter(|used| used.kind == UseKind::From);
    bases.filter_map(|used| Some((used.reference.as_str(), provided.image(&used.reference)?)))
}

fn legacy(reads: &Reads) -> Legacy {
    let config = BaseConfig {
        env: reads.env.clone(),
        working_dir: reads.directory.clone(),
        is_whole: reads.base_is_known,
    };
    Legacy { onbuild: reads.onbuild.clone(), config }
}

/// Sorts what an image reads into parents and externals.
fn find_edges(
    id: ImageId,
    images: &mut [Image],
    setting: &Setting<'_>,
    provided: &Provided,
    problems: &mut Vec<Diagnostic>,
) {
    let mut parents: Vec<Edge> = Vec::new();
    let mut externals: Vec<External> = Vec::new();
    let mut found = Vec::new();
    let image = &images[id.index()];
    for used in &image.reads.images {
        let meaning = provided.meaning((&used.reference, used.span), (image, setting), &mut found);
        match meaning {
            Meaning::Image(parent) => {
                if used.platform != images[parent.index()].platform {
                    found.push(other_platform(used, &images[parent.index()]));
                }
                if parents.iter().all(|edge| edge.reference != used.reference) {
                    parents.push(Edge {
                        parent,
                        kind: used.kind,
                        reference: used.reference.clone(),
                        span: used.span,
                    });
                }
            }
            Meaning::External(normalised) => {
                let known = |external: &External| {
                    external.normalised == normalised && external.platform == used.platform
                };
                if !externals.iter().any(known) {
                    externals.push(External {
                        reference: used.reference.clone(),
                        normalised,
                        platform: used.platform.clone(),
                        kind: used.kind,
                        span: used.span,
                    });
                }
            }
            Meaning::Nothing => (),
        }
    }
    found.extend(stage_collisions(&image.reads, &parents));
    let image = &mut images[id.index()];
    image.broken |= found.iter().any(Diagnostic::is_error);
    image.parents = parents;
    image.externals = externals;
    problems.extend(found.into_iter().map(|problem| problem.in_file(&image.spec.dockerfile)));
}

fn other_platform(used: &ImageUse, parent: &Image) -> Diagnostic {
    let name = &parent.spec.name;
    let message = format!(
        "`{}` is wanted for {}, but `{name}` is built for {}",
        used.reference, used.platform, parent.platform
    );
    let help = format!(
        "give `{name}` a second section in layers.toml with platforms = [\"{}\"]",
        used.platform
    );
    Diagnostic::error("IG022", message).at(used.span).help(help)
}

/// An engine is given a parent under the name that the Dockerfile uses; a stage of that name would
/// silently be replaced by it (moby/buildkit `dockerfile2llb/convert.go`, named contexts).
fn stage_collisions(reads: &Reads, parents: &[Edge]) -> Vec<Diagnostic> {
    let collides = |edge: &&Edge| {
        let plain = edge.reference.strip_suffix(":latest").unwrap_or(&edge.reference);
        reads.stage_names.iter().any(|stage| *stage == plain.to_lowercase())
    };
    let problem = |edge: &Edge| {
        let message = format!(
            "`{}` is an image of the workspace and also the name of a stage",
            edge.reference
        );
        Diagnostic::error(STAGE_COLLISION, message)
            .at(edge.span)
            .help("rename the stage: an engine would take the image for both")
    };
    parents.iter().filter(collides).map(problem).collect()
}

fn connect(images: &[Image]) -> DiGraph<(), UseKind> {
    let edges: usize = images.iter().map(|image| image.parents.len()).sum();
    let mut graph = DiGraph::with_capacity(images.len(), edges);
    for _ in images {
        graph.add_node(());
    }
    for (child, image) in images.iter().enumerate() {
        for edge in &image.parents {
            let parent = NodeIndex::new(edge.parent.index());
            graph.add_edge(parent, NodeIndex::new(child), edge.kind);
        }
    }
    graph
}

fn cycle_problem(cycle: &[ImageId], images: &[Image]) -> Diagnostic {
    let name = |id: &ImageId| images[id.index()].spec.name.as_str();
    let mut path: Vec<&str> = cycle.iter().map(name).collect();
    path.extend(cycle.first().map(name));
    let message = format!("the images form a cycle: {}", path.join(" -> "));
    let mut problem = Diagnostic::error(CYCLE, message)
        .help("an arrow leads from a parent to an image that reads it; take one of them out");
    for (child, parent) in cycle.iter().skip(1).chain(cycle.first()).zip(cycle) {
        let image = &images[child.index()];
        let Some(edge) = image.parents.iter().find(|edge| edge.parent == *parent) else { continue };
        let place = Place { path: Arc::clone(&image.spec.dockerfile), span: Some(edge.span) };
        if problem.place.is_none() {
            problem = problem.at_place(place);
        } else {
            problem = problem.and(place, format!("`{}` reads `{}`", name(child), name(parent)));
        }
    }
    problem
}

#[cfg(test)]
mod tests;
