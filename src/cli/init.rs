//! `imgraph init`: a layers.toml for the images that are found. Never replaces one unasked.
#![expect(clippy::disallowed_methods, reason = "writes layers.toml")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};

use crate::cli::args::Init;
use crate::cli::failure::{Exit, Failure};
use crate::cli::settings::{Settings, write};
use crate::dockerfile::Flavour;
use crate::gather::workspace::{IMAGES_DIR, LAYERS_FILE};
use crate::graph::ImageGraph;
use crate::image::Platform;
use crate::load::load;
use crate::report::sentence;

/// Runs the verb.
pub(crate) fn run(arguments: &Init, settings: &Settings) -> Result<u8, Failure> {
    let root = settings.root().unwrap_or_else(|_| settings.directory.clone());
    let path = root.join(LAYERS_FILE);
    if path.exists() && !arguments.force {
        let message = format!("{} is there already", path.display());
        return Err(Failure::new(Exit::USAGE, message).help("`imgraph init --force` replaces it"));
    }
    if !root.join(IMAGES_DIR).is_dir() {
        let message = format!("there is no directory {}", root.join(IMAGES_DIR).display());
        let help = "put a Dockerfile into images/<layer>/<name>/ and try again";
        return Err(Failure::new(Exit::WORKSPACE, message).help(help));
    }
    let graph = load(&root, Flavour::BuildKit, &Platform::host())?.graph;
    let failed = |error: io::Error| {
        let message = format!("cannot write {}: {error}", path.display());
        Failure::new(Exit::UNAVAILABLE, message)
    };
    let (layers, dropped) = order(&graph);
    let text = text(&graph, &layers);
    // Written in one piece: a file that is half there would be an error at the next start.
    let mut file = if arguments.force {
        File::create(&path).map_err(failed)?
    } else {
        File::create_new(&path).map_err(failed)?
    };
    file.write_all(text.as_bytes()).map_err(failed)?;
    let mut report = format!(
        "wrote {} with {} and {}\n",
        path.display(),
        sentence::count(layers.len(), "layer"),
        sentence::count(graph.len(), "image")
    );
    if dropped {
        report.push_str(
            "the directories build on one another in a circle: `imgraph check` shows where\n",
        );
    }
    report.push_str("next: imgraph check, then imgraph plan\n");
    write(&mut io::stdout(), &report);
    Ok(Exit::OK)
}

/// The top directories in an order in which each builds only on those above it, each with those that
/// it builds on; and whether no such order exists.
fn order(graph: &ImageGraph) -> (Vec<(String, BTreeSet<String>)>, bool) {
    let top = |name: &str| name.split('/').next().unwrap_or(name).to_owned();
    let mut needs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, image) in graph.iter() {
        let own = top(image.spec.name.as_str());
        let above = image.parents.iter().map(|edge| top(graph.name(edge.parent).as_str()));
        let above: Vec<String> = above.filter(|name| *name != own).collect();
        needs.entry(own).or_default().extend(above);
    }
    let mut layers = Vec::new();
    let mut done: BTreeSet<String> = BTreeSet::new();
    while !needs.is_empty() {
        let ready = needs.iter().find(|(_, above)| above.is_subset(&done)).map(|it| it.0.clone());
        let is_circle = ready.is_none();
        let Some(next) = ready.or_else(|| needs.keys().next().cloned()) else { break };
        let above = needs.remove(&next).unwrap_or_default();
        done.insert(next.clone());
        layers.push((next, above));
        if is_circle {
            layers.extend(needs);
            return (layers, true);
        }
    }
    (layers, false)
}

fn text(graph: &ImageGraph, layers: &[(String, BTreeSet<String>)]) -> String {
    let mut text = String::from(
        "# The layers of this workspace, in order: a layer builds only on layers above it.\n\n\
         [workspace]\n\
         # What is put in front of every repository, for example \"registry.example.com/acme\".\n\
         # registry = \"\"\n",
    );
    for (layer, above) in layers {
        let quoted: Vec<String> = above.iter().map(|name| format!("{name:?}")).collect();
        writeln!(text, "\n[[layer]]\nname = {layer:?}\ndirs = [{layer:?}]").unwrap_or_default();
        writeln!(text, "from = [{}]", quoted.join(", ")).unwrap_or_default();
        let externals: BTreeSet<String> = graph
            .iter()
            .filter(|(_, image)| image.spec.name.as_str().split('/').next() == Some(layer))
            .flat_map(|(_, image)| image.externals.iter().map(|it| it.normalised.to_string()))
            .collect();
        let externals: Vec<String> = externals.iter().map(|name| format!("{name:?}")).collect();
        writeln!(text, "externals = [{}]", externals.join(", ")).unwrap_or_default();
    }
    text
}
