//! `imgraph graph`: the graph as text, for Graphviz, for Markdown, as JSON. Needs no other program.
//!
//! FROM is a solid line, COPY --from a dashed one, RUN --mount a dotted one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};

use crate::cli::args::{Graph, GraphFormat};
use crate::cli::failure::{Exit, Failure};
use crate::cli::session::Session;
use crate::cli::settings::{Settings, write};
use crate::dockerfile::UseKind;
use crate::graph::ImageGraph;
use crate::image::ImageId;

/// Runs the verb.
pub(crate) fn run(arguments: &Graph, settings: &Settings) -> Result<u8, Failure> {
    let session = Session::without_contexts(settings)?;
    let selected = session.select(&arguments.selection, settings)?;
    session.judge(&BTreeSet::new(), &[], settings)?;
    let picture =
        Picture { session: &session, graph: &session.loaded.graph, images: &selected.images };
    let text = match arguments.format {
        GraphFormat::Text => picture.text(),
        GraphFormat::Dot => picture.dot(),
        GraphFormat::Mermaid => picture.mermaid(),
        GraphFormat::Json => picture.json(),
    };
    write(&mut io::stdout(), &text);
    Ok(Exit::OK)
}

struct Picture<'a> {
    session: &'a Session,
    graph: &'a ImageGraph,
    images: &'a BTreeSet<ImageId>,
}

impl Picture<'_> {
    /// A tree from the images without parents; a second appearance is marked and not repeated.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut drawn: BTreeSet<ImageId> = BTreeSet::new();
        let roots = self.ordered().filter(|id| self.parents(*id).is_empty());
        // Each entry: the image, its prefix, and whether it is the last of its siblings.
        let mut todo: Vec<(ImageId, String, Option<bool>)> =
            roots.map(|id| (id, String::new(), None)).collect();
        todo.reverse();
        while let Some((id, prefix, last)) = todo.pop() {
            let branch = match last {
                None => "",
                Some(true) => "└── ",
                Some(false) => "├── ",
            };
            let again = !drawn.insert(id);
            let children = self.children(id);
            let mark = if again && !children.is_empty() { "  (see above)" } else { "" };
            let externals = self.externals(id);
            let from = if again || externals.is_empty() {
                String::new()
            } else {
                format!("  <- {externals}")
            };
            writeln!(text, "{prefix}{branch}{}{from}{mark}", self.graph.name(id))
                .unwrap_or_default();
            if again {
                continue;
            }
            let below = match last {
                None => prefix,
                Some(true) => format!("{prefix}    "),
                Some(false) => format!("{prefix}│   "),
            };
            let count = children.len();
            let rows = children.into_iter().enumerate().rev();
            todo.extend(rows.map(|(row, child)| (child, below.clone(), Some(row + 1 == count))));
        }
        text
    }

    fn dot(&self) -> String {
        let quoted =
            |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut text = String::from("digraph images {\n  rankdir=LR;\n  node [shape=box];\n");
        for (row, (layer, images)) in self.by_layer().into_iter().enumerate() {
            writeln!(text, "  subgraph cluster_{row} {{\n    label={};", quoted(&layer))
                .unwrap_or_default();
            for id in images {
                writeln!(text, "    {};", quoted(self.graph.name(id).as_str())).unwrap_or_default();
            }
            text.push_str("  }\n");
        }
        for (parent, child, kind) in self.edges() {
            let style = match kind {
                UseKind::From => "",
                UseKind::Copy | UseKind::Onbuild => " [style=dashed]",
                UseKind::Mount => " [style=dotted]",
            };
            let (parent, child) = (self.graph.name(parent), self.graph.name(child));
            writeln!(text, "  {} -> {}{style};", quoted(parent.as_str()), quoted(child.as_str()))
                .unwrap_or_default();
        }
        text.push_str("}\n");
        text
    }

    fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        for (row, (layer, images)) in self.by_layer().into_iter().enumerate() {
            let layer = if layer.is_empty() { "no layer" } else { &layer };
            writeln!(text, "  subgraph layer{row}[\"{layer}\"]").unwrap_or_default();
            for id in images {
                writeln!(text, "    i{}[\"{}\"]", id.0, self.graph.name(id)).unwrap_or_default();
            }
            text.push_str("  end\n");
        }
        for (parent, child, kind) in self.edges() {
            let arrow = match kind {
                UseKind::From => "-->",
                UseKind::Copy | UseKind::Onbuild => "-. copy .->",
                UseKind::Mount => "-. mount .->",
            };
            writeln!(text, "  i{} {arrow} i{}", parent.0, child.0).unwrap_or_default();
        }
        text
    }

    fn json(&self) -> String {
        let layers = &self.session.loaded.workspace.layers.layers;
        let image = |id: &ImageId| {
            let image = self.graph.image(*id);
            json!({
                "image": image.spec.name,
                "layer": image.spec.layer.map(|row| &layers[row].name),
                "dockerfile": &*image.spec.dockerfile,
                "references": image.spec.references(),
                "externals": image.externals.iter().map(|it| &it.reference).collect::<Vec<_>>(),
            })
        };
        let edge = |(parent, child, kind): (ImageId, ImageId, UseKind)| json!({ "parent": self.graph.name(parent), "child": self.graph.name(child), "kind": kind });
        let images: Vec<Value> = self.images.iter().map(image).collect();
        let edges: Vec<Value> = self.edges().into_iter().map(edge).collect();
        format!("{}\n", json!({ "version": 1, "images": images, "edges": edges }))
    }

    fn ordered(&self) -> impl Iterator<Item = ImageId> {
        self.graph.order().iter().copied().filter(|id| self.images.contains(id))
    }

    fn children(&self, id: ImageId) -> Vec<ImageId> {
        let children = self.graph.children(id).into_iter();
        children.filter(|child| self.images.contains(child)).collect()
    }

    fn parents(&self, id: ImageId) -> Vec<ImageId> {
        let parents = self.graph.parents(id).into_iter();
        parents.filter(|parent| self.images.contains(parent)).collect()
    }

    fn externals(&self, id: ImageId) -> String {
        let externals = self.graph.image(id).externals.iter();
        externals.map(|it| it.reference.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Every edge between two images of the picture, each pair and kind once.
    fn edges(&self) -> Vec<(ImageId, ImageId, UseKind)> {
        let mut edges = BTreeSet::new();
        for child in self.images {
            for edge in &self.graph.image(*child).parents {
                if self.images.contains(&edge.parent) {
                    edges.insert((edge.parent, *child, edge.kind));
                }
            }
        }
        edges.into_iter().collect()
    }

    fn by_layer(&self) -> Vec<(String, Vec<ImageId>)> {
        let mut rows: BTreeMap<Option<usize>, Vec<ImageId>> = BTreeMap::new();
        for id in self.images {
            rows.entry(self.graph.image(*id).spec.layer).or_default().push(*id);
        }
        let layers = &self.session.loaded.workspace.layers.layers;
        let name = |row: Option<usize>| row.map_or(String::new(), |row| layers[row].name.clone());
        rows.into_iter().map(|(row, images)| (name(row), images)).collect()
    }
}
