//! The graph of the images: from references to edges, in an order in which parents come first.
//!
//! [`ImageGraph::resolve`] reports everything that is wrong and still returns a graph: an image with
//! an error is marked broken, so that the others can be listed, planned and built without it. It
//! reads no disk, and nothing here recurses: a chain of 10,000 images is as good as one of three.

pub mod select;
pub mod spec;

mod order;
mod provided;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::diagnostic::{Diagnostic, Place, Span};
use crate::dockerfile::reads::resolve;
use crate::dockerfile::{Dockerfile, Flavour, ImageUse, Reads, Request, UseKind};
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
    /// Reads every image's target and finds its edges. `parsed` has the Dockerfile of each spec.
    pub fn resolve(
        specs: Vec<ImageSpec>,
        parsed: &[&Dockerfile],
        setting: &Setting<'_>,
    ) -> (Self, Vec<Diagnostic>) {
        let mut problems = Vec::new();
        let provided = Provided::new(&specs, &mut problems);
        let mut images = Vec::with_capacity(specs.len());
        for (spec, dockerfile) in specs.into_iter().zip(parsed) {
            images.push(image(spec, dockerfile, setting, &mut problems));
        }
        inherit_onbuild(&mut images, parsed, setting, &provided, &mut problems);
        for id in ids(images.len()) {
            find_edges(id, &mut images, setting, &provided, &mut problems);
        }
        let graph = connect(&images);
        let sorted = order::sort(&graph);
        for cycle in &sorted.cycles {
            problems.push(cycle_problem(cycle, &images));
        }
        for id in sorted.cycles.into_iter().flatten() {
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

fn image(
    spec: ImageSpec,
    dockerfile: &Dockerfile,
    setting: &Setting<'_>,
    problems: &mut Vec<Diagnostic>,
) -> Image {
    let platform = spec.platform.clone().unwrap_or_else(|| setting.platform.clone());
    let mut image = Image {
        spec,
        platform,
        reads: Reads::default(),
        parents: Vec::new(),
        externals: Vec::new(),
        broken: false,
    };
    read(&mut image, dockerfile, setting, &|_| Vec::new(), problems);
    image
}

/// Reads the target of an image; what is wrong is reported at its Dockerfile.
fn read(
    image: &mut Image,
    dockerfile: &Dockerfile,
    setting: &Setting<'_>,
    onbuild: &dyn Fn(&ImageUse) -> Vec<String>,
    problems: &mut Vec<Diagnostic>,
) {
    let request = Request {
        target: image.spec.target.as_deref(),
        args: &image.spec.args,
        platform: &image.platform,
        build_platform: setting.platform,
        flavour: setting.flavour,
        onbuild,
    };
    let (reads, found) = resolve(dockerfile, &request);
    image.broken |= found.iter().any(Diagnostic::is_error);
    problems.extend(found.into_iter().map(|problem| problem.in_file(&image.spec.dockerfile)));
    image.reads = reads;
}

/// Reads the children of images with ONBUILD triggers again, parents first: the triggers run in the
/// child and may read more. Triggers never add a FROM, so the FROM edges alone give the order.
fn inherit_onbuild(
    images: &mut [Image],
    parsed: &[&Dockerfile],
    setting: &Setting<'_>,
    provided: &Provided,
    problems: &mut Vec<Diagnostic>,
) {
    if images.iter().all(|image| image.reads.onbuild.is_empty()) {
        return;
    }
    let base = |reads: &Reads| {
        let bases = reads.images.iter().filter(|used| used.kind == UseKind::From);
        bases.filter_map(|used| provided.image(&used.reference)).collect::<Vec<_>>()
    };
    let mut graph = DiGraph::<(), UseKind>::new();
    for _ in images.iter() {
        graph.add_node(());
    }
    for (child, image) in images.iter().enumerate() {
        for parent in base(&image.reads) {
            graph.add_edge(NodeIndex::new(parent.index()), NodeIndex::new(child), UseKind::From);
        }
    }
    for id in order::sort(&graph).order {
        let triggers: BTreeMap<String, Vec<String>> = {
            let reads = &images[id.index()].reads;
            let bases = reads.images.iter().filter(|used| used.kind == UseKind::From);
            let inherited = bases.filter_map(|used| {
                let parent = provided.image(&used.reference)?;
                let triggers = &images[parent.index()].reads.onbuild;
                (!triggers.is_empty()).then(|| (used.reference.clone(), triggers.clone()))
            });
            inherited.collect()
        };
        if !triggers.is_empty() {
            let onbuild =
                |used: &ImageUse| triggers.get(&used.reference).cloned().unwrap_or_default();
            let mut found = Vec::new();
            let image = &mut images[id.index()];
            read(image, parsed[id.index()], setting, &onbuild, &mut found);
            // The first reading has reported what is wrong with the file itself.
            found.retain(|problem| !problems.contains(problem));
            problems.extend(found);
        }
    }
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
        let meaning = provided.meaning(&used.reference, setting, image, &mut found, used.span);
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
    let message = format!("`{}` is wanted for {}, but `{name}` is built for {}", used.reference, used.platform, parent.platform);
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
        let message =
            format!("`{}` is an image of the workspace and also the name of a stage", edge.reference);
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
