//! From a directory to a resolved graph: the workspace is read, its Dockerfiles are parsed on all
//! cores, its images get their names and edges.

use rayon::prelude::*;

use crate::diagnostic::Diagnostic;
use crate::dockerfile::{self, Dockerfile, Flavour};
use crate::gather::GatherError;
use crate::gather::stat::StatCache;
use crate::gather::workspace::{self, Workspace};
use crate::graph::spec::specs;
use crate::graph::{Draft, ImageGraph, Setting, Source, draft};
use crate::image::Platform;
use crate::policy;

/// A workspace with its graph.
#[derive(Debug)]
pub struct Loaded {
    /// What the disk says.
    pub workspace: Workspace,
    /// The images.
    pub graph: ImageGraph,
    /// Everything that is wrong or odd.
    pub problems: Vec<Diagnostic>,
}

/// Loads the workspace at a root. `platform` is that of the engine, and of images that say none.
pub fn load(
    root: &std::path::Path,
    flavour: Flavour,
    platform: &Platform,
) -> Result<Loaded, GatherError> {
    Ok(resolve(workspace::read(root, &StatCache::empty())?, flavour, platform))
}

/// Parses and resolves a workspace that was read.
pub fn resolve(mut workspace: Workspace, flavour: Flavour, platform: &Platform) -> Loaded {
    let mut problems = std::mem::take(&mut workspace.problems);
    let (specs, found) = specs(&workspace.layers, &workspace.found);
    problems.extend(found);
    let parsed: Vec<(Dockerfile, Vec<Diagnostic>)> =
        workspace.texts.par_iter().map(|text| dockerfile::parse(text)).collect();
    for (index, (_, found)) in parsed.iter().enumerate() {
        let path = workspace.dockerfile_path(index).into();
        problems.extend(found.iter().map(|problem| problem.clone().in_file(&path)));
    }
    let source = |found: usize| {
        let (dockerfile, problems) = &parsed[found];
        Source { dockerfile, broken: problems.iter().any(Diagnostic::is_error) }
    };
    let sources: Vec<Source<'_>> = specs.iter().map(|spec| source(spec.found)).collect();
    let setting =
        Setting { layers: &workspace.layers, flavour, platform, hidden: &workspace.hidden };
    let drafts: Vec<Draft> = specs
        .into_par_iter()
        .zip(&sources)
        .map(|(spec, source)| draft(spec, *source, &setting))
        .collect();
    let (graph, found) = ImageGraph::resolve(drafts, &sources, &setting);
    problems.extend(found);
    problems.extend(policy::check(&graph, &workspace.layers, workspace.lock.as_ref()));
    Loaded { workspace, graph, problems }
}
