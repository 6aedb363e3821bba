//! Graphs from one text, for tests; no disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity, Sources};
use crate::dockerfile::{self, Flavour};
use crate::graph::spec::{Found, specs};
use crate::graph::{Edge, Image, ImageGraph, Setting, Source, draft};
use crate::image::{ImageId, Platform};
use crate::layers::{self, Layers};

/// A workspace of which only the Dockerfiles and `layers.toml` exist.
pub(crate) struct Fixture {
    pub(crate) layers: Layers,
    pub(crate) graph: ImageGraph,
    pub(crate) problems: Vec<Diagnostic>,
    sources: Sources,
}

impl Fixture {
    /// Reads a text in which a line `//- path` begins each file: `layers.toml`, or a Dockerfile by
    /// its path below the images directory. The indentation of the text is taken away.
    pub(crate) fn new(text: &str) -> Self {
        Self::with_hidden(text, &BTreeMap::new())
    }

    /// The same where discovery left directories out.
    pub(crate) fn with_hidden(text: &str, hidden: &BTreeMap<String, String>) -> Self {
        let text: String =
            text.lines().flat_map(|line| [line.trim_start_matches(' '), "\n"]).collect();
        let mut files = BTreeMap::new();
        for part in text.split("//- ").skip(1) {
            let (path, content) = part.split_once('\n').unwrap_or((part, ""));
            files.insert(path.to_owned(), content.to_owned());
        }
        let (layers, problems) = layers::parse(&files.remove("layers.toml").unwrap_or_default());
        assert_eq!(problems, []);
        let found = |path: &String| Found {
            path: Arc::from(path.as_str()),
            version: None,
            ignore_files: Vec::new(),
            aliases: Vec::new(),
        };
        let found: Vec<Found> = files.keys().map(found).collect();
        let (specs, mut problems) = specs(&layers, &found);
        let mut sources = Sources::default();
        let mut parsed = Vec::new();
        for (path, text) in &files {
            let path: Arc<str> = Arc::from(format!("images/{path}"));
            let (dockerfile, found) = dockerfile::parse(text.as_bytes());
            let broken = found.iter().any(Diagnostic::is_error);
            problems.extend(found.into_iter().map(|problem| problem.in_file(&path)));
            sources.insert(path, Arc::from(text.as_str()));
            parsed.push((dockerfile, broken));
        }
        let source = |index: usize| {
            let (dockerfile, broken) = &parsed[index];
            Source { dockerfile, broken: *broken }
        };
        let of_specs: Vec<Source<'_>> = specs.iter().map(|spec| source(spec.found)).collect();
        let platform: Platform = "linux/amd64".parse().unwrap();
        let setting =
            Setting { layers: &layers, flavour: Flavour::BuildKit, platform: &platform, hidden };
        let drafts = specs.into_iter().zip(&of_specs);
        let drafts = drafts.map(|(spec, source)| draft(spec, *source, &setting)).collect();
        let (graph, found) = ImageGraph::resolve(drafts, &of_specs, &setting);
        problems.extend(found);
        Self { layers, graph, problems, sources }
    }

    /// The number of an image.
    pub(crate) fn id(&self, name: &str) -> ImageId {
        self.graph.find(name).unwrap_or_else(|| panic!("no image {name}"))
    }

    /// An image.
    pub(crate) fn image(&self, name: &str) -> &Image {
        self.graph.image(self.id(name))
    }

    /// The names of images.
    pub(crate) fn names<'a>(&'a self, ids: impl IntoIterator<Item = &'a ImageId>) -> Vec<&'a str> {
        ids.into_iter().map(|id| self.graph.name(*id).as_str()).collect()
    }

    /// What an image reads: `from base`, `copy tools as acme/tools:1`, `mount !golang:1.24` for an
    /// image from outside.
    pub(crate) fn reads(&self, name: &str) -> Vec<String> {
        let image = self.image(name);
        let parent = |edge: &Edge| {
            let parent = self.graph.name(edge.parent).as_str();
            let kind = format!("{:?}", edge.kind).to_lowercase();
            if edge.reference == parent {
                format!("{kind} {parent}")
            } else {
                format!("{kind} {parent} as {}", edge.reference)
            }
        };
        let parents = image.parents.iter().map(parent);
        let externals = image.externals.iter();
        let externals =
            externals.map(|it| format!("{:?} !{}", it.kind, it.reference).to_lowercase());
        parents.chain(externals).collect()
    }

    /// Everything that is wrong: `error images/a/Dockerfile:1:1 message; help`.
    pub(crate) fn said(&self) -> Vec<String> {
        let said = |problem: &Diagnostic| {
            let severity = match problem.severity {
                Severity::Note => "note",
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            let place = problem.place.as_ref();
            let place = place.map_or_else(String::new, |place| self.sources.locate(place));
            let help = problem.help.as_deref().unwrap_or("");
            format!("{severity} {place} {}; {help}", problem.message)
        };
        self.problems.iter().map(said).collect()
    }
}
