//! Graphs of public repositories: which Dockerfile builds on which, by BuildKit's reading and the
//! naming rule of the repository.
//!
//! The Dockerfiles of a repository are laid into a workspace without their contexts, beside a
//! `layers.toml` of a few lines: `<owner>+<repo>.toml` in this directory. Where there is none, the
//! golden's own sentence about names is used as far as [`naming`] understands it, and what is not
//! compared is said.

mod naming;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use imgraph::dockerfile::{Flavour, UseKind};
use imgraph::graph::ImageGraph;
use imgraph::image::ImageId;
use imgraph::load::load;
use serde_json::Value;
use tempfile::TempDir;

use self::naming::Naming;
use super::dockerfile::corpus;
use super::{Tally, aloud, bytes};

/// The Dockerfile of a parent and that of a child.
type Pair = (String, String);

/// What is known of the names of a repository.
enum Names {
    /// A `layers.toml` of ours: every edge must be found.
    Written(String),
    /// What the naming rule says: with exceptions that only people understand, some edges are not.
    Derived { layers: String, exceptions: bool },
}

#[test]
fn the_graphs_of_public_repositories_have_exactly_their_edges() {
    let Some(golden) = bytes("graphs.golden.json") else {
        return aloud("graphs  absent: nothing was compared");
    };
    let golden: BTreeMap<String, Value> = serde_json::from_slice(&golden).unwrap();
    let files = corpus();
    let mut tally = Tally::new("graphs");
    for (repository, row) in &golden {
        let prefix = format!("{repository}/");
        let own: BTreeMap<&str, &[u8]> = files
            .iter()
            .filter_map(|(path, text)| Some((path.strip_prefix(&prefix)?, text.as_slice())))
            .collect();
        let rule = row["naming_rule"].as_str().unwrap_or_default();
        match names(repository, rule) {
            _ if own.is_empty() => {
                aloud(&format!("graphs  {repository}: skipped, it is not in the corpus"));
            }
            Some(names) => compare(repository, row, (&own, &names), &mut tally),
            None => aloud(&format!(
                "graphs  {repository}: skipped, it has no layers.toml here and its names are told \
                 in prose: {rule}"
            )),
        }
    }
    tally.finish();
}

/// The names of a repository: by the file of its name beside this one, else by its naming rule.
fn names(repository: &str, rule: &str) -> Option<Names> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/conformance/graphs");
    if let Ok(layers) = fs::read_to_string(directory.join(format!("{repository}.toml"))) {
        return Some(Names::Written(layers));
    }
    let naming = Naming::parse(rule)?;
    Some(Names::Derived { layers: naming.layers(), exceptions: naming.exceptions })
}

fn compare(
    repository: &str,
    row: &Value,
    (files, names): (&BTreeMap<&str, &[u8]>, &Names),
    tally: &mut Tally,
) {
    let (layers, exceptions) = match names {
        Names::Written(layers) => (layers, false),
        Names::Derived { layers, exceptions } => (layers, *exceptions),
    };
    let workspace = lay(files, layers);
    let loaded = load(workspace.path(), Flavour::BuildKit, &"linux/amd64".parse().unwrap());
    let loaded = loaded.unwrap();
    let mut wrong = Vec::new();
    if matches!(names, Names::Written(_)) {
        let errors = loaded.problems.iter().filter(|problem| problem.is_error());
        wrong.extend(errors.map(|error| format!("{error:?}")));
    }
    let known = kinds(pairs(&row["edges"], 1).zip(words(&row["edges"])));
    let want: BTreeSet<Pair> = pairs(&row["edges_reachable"], 0).collect();
    let got = uses(&loaded.graph);
    for (pair, kinds) in &got {
        // `edges` also has what stages read that no target needs, so that fewer kinds may be found.
        match known.get(pair).filter(|_| want.contains(pair)) {
            Some(known) if kinds.is_subset(known) => (),
            known => wrong.push(format!("found {pair:?} by {kinds:?}, but it is by {known:?}")),
        }
    }
    let missing: Vec<&Pair> = want.iter().filter(|pair| !got.contains_key(*pair)).collect();
    if !exceptions {
        wrong.extend(missing.iter().map(|pair| format!("not found: {pair:?}")));
    }
    let how = match names {
        Names::Written(_) => String::new(),
        Names::Derived { exceptions: false, .. } => ", named by its naming rule".to_owned(),
        Names::Derived { exceptions: true, .. } => {
            format!(", {} skipped: its naming rule has exceptions in prose", missing.len())
        }
    };
    let (passed, failed) = (want.len() - missing.len(), wrong.len());
    aloud(&format!("graphs  {repository}: {passed} passed  {failed} failed{how}"));
    for _ in 0..passed {
        tally.pass();
    }
    for why in wrong {
        tally.fail(format!("{repository}: {why}"));
    }
}

/// A workspace of nothing but Dockerfiles.
fn lay(files: &BTreeMap<&str, &[u8]>, layers: &str) -> TempDir {
    let workspace = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = workspace.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::write(workspace.path().join("layers.toml"), layers).unwrap();
    workspace
}

/// What the images of the workspace read of each other, and how.
fn uses(graph: &ImageGraph) -> BTreeMap<Pair, BTreeSet<String>> {
    let file = |id: ImageId| graph.image(id).spec.dockerfile.to_string();
    kinds(graph.iter().flat_map(|(child, image)| {
        image.parents.iter().flat_map(move |edge| {
            let uses = image.reads.images.iter().filter(|used| used.reference == edge.reference);
            uses.map(move |used| ((file(edge.parent), file(child)), word(used.kind).to_owned()))
        })
    }))
}

fn kinds(edges: impl Iterator<Item = (Pair, String)>) -> BTreeMap<Pair, BTreeSet<String>> {
    let mut kinds: BTreeMap<Pair, BTreeSet<String>> = BTreeMap::new();
    for (pair, kind) in edges {
        kinds.entry(pair).or_default().insert(kind);
    }
    kinds
}

fn word(kind: UseKind) -> &'static str {
    match kind {
        UseKind::From => "FROM",
        UseKind::Copy => "COPY",
        UseKind::Mount => "MOUNT",
        UseKind::Onbuild => "ONBUILD",
    }
}

/// The parent and the child of each row, where the parent stands at a column.
fn pairs(rows: &Value, at: usize) -> impl Iterator<Item = Pair> {
    let text = |row: &Value, at: usize| row[at].as_str().unwrap().to_owned();
    rows.as_array().unwrap().iter().map(move |row| (text(row, at), text(row, at + 1)))
}

/// The first column.
fn words(rows: &Value) -> impl Iterator<Item = String> {
    rows.as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().to_owned())
}
