//! Large and deep workspaces: no recursion over the graph, no work that grows with its paths.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use imgraph::diagnostic::Diagnostic;
use imgraph::digest::Digest;
use imgraph::dockerfile::{self, Flavour};
use imgraph::graph::select::select;
use imgraph::graph::spec::{Found, specs};
use imgraph::graph::{ImageGraph, Setting, Source, draft};
use imgraph::history::{History, Output, Presence, Record};
use imgraph::image::{ImageId, Platform};
use imgraph::layers::Layers;
use imgraph::lockfile::LockFile;
use imgraph::plan::{Decision, Facts, Plan, Wanted, plan};
use imgraph::schedule::Schedule;

use crate::support::{Workspace, text};

/// What a thread of an engine's callback might have; the main thread has eight megabytes.
const SMALL_STACK: usize = 256 * 1024;

/// The graph of images whose Dockerfiles are given by name.
fn graph(images: &[(String, String)]) -> (ImageGraph, Vec<Diagnostic>) {
    let layers = Layers::default();
    let found = |(name, _): &(String, String)| Found {
        path: Arc::from(format!("{name}/Dockerfile")),
        version: None,
        ignore_files: Vec::new(),
        aliases: Vec::new(),
    };
    let found: Vec<Found> = images.iter().map(found).collect();
    let (specs, problems) = specs(&layers, &found);
    assert_eq!(problems, []);
    let parsed: Vec<_> =
        images.iter().map(|(_, text)| dockerfile::parse(text.as_bytes()).0).collect();
    let source = |found: usize| Source { dockerfile: &parsed[found], broken: false };
    let sources: Vec<Source<'_>> = specs.iter().map(|spec| source(spec.found)).collect();
    let (platform, hidden) = (Platform::host(), BTreeMap::new());
    let flavour = Flavour::BuildKit;
    let setting = Setting { layers: &layers, flavour, platform: &platform, hidden: &hidden };
    let drafts = specs.into_iter().zip(&sources);
    let drafts = drafts.map(|(spec, source)| draft(spec, *source, &setting)).collect();
    ImageGraph::resolve(drafts, &sources, &setting)
}

fn name(number: usize) -> String {
    format!("i{number:05}")
}

/// Each image is FROM the one before.
fn chain(length: usize) -> Vec<(String, String)> {
    let from = |number: usize| match number {
        0 => "FROM scratch\n".to_owned(),
        _ => format!("FROM {}\n", name(number - 1)),
    };
    (0..length).map(|number| (name(number), from(number))).collect()
}

/// All images but the first are FROM the first.
fn fan(width: usize) -> Vec<(String, String)> {
    let from = |number: usize| match number {
        0 => "FROM scratch\n".to_owned(),
        _ => format!("FROM {}\nLABEL is={number}\n", name(0)),
    };
    (0..width).map(|number| (name(number), from(number))).collect()
}

/// Two images a level, each on both of the level above: 2^levels paths.
fn ladder(levels: usize) -> Vec<(String, String)> {
    let image = |number: usize| match number {
        0 | 1 => format!("FROM scratch\nLABEL is={number}\n"),
        _ => {
            let above = number / 2 * 2 - 2;
            let (left, right) = (name(above), name(above + 1));
            format!("FROM {left}\nCOPY --from={right} / /\nLABEL is={number}\n")
        }
    };
    (0..2 * levels).map(|number| (name(number), image(number))).collect()
}

/// Plans every image and counts how often the engine is asked for an output.
fn planned(graph: &ImageGraph, history: &History) -> (Plan, usize) {
    let asked = AtomicUsize::new(0);
    let present = |_: ImageId, _: &Record| {
        asked.fetch_add(1, Ordering::Relaxed);
        Presence::Present
    };
    let (layers, pins) = (Layers::default(), LockFile::default());
    let (engine, flavour) = ("simulate", Flavour::BuildKit);
    let facts = Facts {
        graph,
        layers: &layers,
        engine,
        flavour,
        pins: &pins,
        present: &present,
        published: None,
        aged_at: None,
    };
    let images: BTreeSet<ImageId> = graph.iter().map(|(id, _)| id).collect();
    let (forced, prepare) = (BTreeSet::new(), BTreeMap::new());
    let wanted = Wanted { images: &images, forced: &forced, prepare: &prepare, push: false };
    let plan = plan(&facts, history, &vec![Some(Vec::new()); graph.len()], &wanted);
    (plan, asked.into_inner())
}

/// A history in which every image was built with the key that it has now.
fn everything_built(graph: &ImageGraph) -> History {
    let mut history = History::default();
    loop {
        // Each round knows the keys of the images whose parents were known in the round before; a
        // record that is wrong on purpose would make the plan ask for a rebuild.
        let (plan, _) = planned(graph, &history);
        let known: Vec<_> = plan.work().filter_map(|step| Some((step.image, step.key?))).collect();
        if known.is_empty() {
            return history;
        }
        for (id, key) in known {
            history.add_record(Arc::new(record(graph, id, key)));
        }
    }
}

fn record(graph: &ImageGraph, id: ImageId, key: Digest) -> Record {
    let image = graph.image(id);
    Record {
        image: image.spec.name.clone(),
        platform: image.platform.clone(),
        engine: "simulate".to_owned(),
        source_key: None,
        build_key: key,
        content: key,
        output: Output {
            id: format!("sha256:{key}").parse().unwrap(),
            manifest: None,
            references: image.spec.references(),
            diff_ids: Vec::new(),
            size: 0,
        },
        finished: 0,
        duration: 1,
        leaves: Vec::new(),
    }
}

/// Runs a schedule to its end, and returns the order in which images were started.
fn scheduled(graph: &ImageGraph) -> Vec<ImageId> {
    let work: Vec<(ImageId, u64)> = graph.order().iter().map(|id| (*id, 1)).collect();
    let mut schedule = Schedule::new(graph, &work);
    let mut order = Vec::new();
    while let Some(id) = schedule.start() {
        order.push(id);
        schedule.done(id);
    }
    assert_eq!(schedule.open(), 0);
    order
}

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(SMALL_STACK).spawn(work).unwrap().join().unwrap();
}

#[test]
fn a_chain_of_ten_thousand_images_needs_no_deep_stack() {
    on_a_small_stack(|| {
        let (graph, problems) = graph(&chain(10_000));
        assert_eq!(problems, []);
        let (plan, _) = planned(&graph, &History::default());
        assert_eq!(plan.steps.len(), 10_000);
        assert!(plan.steps.iter().all(|step| step.decision == Decision::Rebuild));
        assert!(scheduled(&graph).is_sorted());
        let all = |selector: &str| {
            select(&graph, &Layers::default(), &[selector.to_owned()]).unwrap().len()
        };
        assert_eq!(all("...i00000"), 10_000);
        assert_eq!(all("i09999..."), 10_000);
        let mut schedule = Schedule::new(&graph, &whole(&graph));
        let first = schedule.start().unwrap();
        assert_eq!(schedule.failed(first).len(), 9_999);
        assert_eq!(schedule.open(), 0);
    });
}

fn whole(graph: &ImageGraph) -> Vec<(ImageId, u64)> {
    graph.order().iter().map(|id| (*id, 1)).collect()
}

#[test]
fn a_cycle_of_ten_thousand_images_needs_no_deep_stack() {
    on_a_small_stack(|| {
        let mut images = chain(10_000);
        images[0].1 = format!("FROM {}\n", name(9_999));
        let (graph, problems) = graph(&images);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.starts_with("the images form a cycle: i00000 -> i00001 -> "));
        assert!(graph.iter().all(|(_, image)| image.broken));
    });
}

/// `quality.md`: 2^60 paths, and still linear.
#[test]
fn a_ladder_of_sixty_diamonds_is_walked_by_its_images_and_not_by_its_paths() {
    on_a_small_stack(|| {
        let (graph, problems) = graph(&ladder(60));
        assert_eq!(problems, []);
        let (plan, _) = planned(&graph, &History::default());
        assert_eq!(plan.steps.len(), 120);
        assert_eq!(scheduled(&graph).len(), 120);
        let top = BTreeSet::from([graph.find("i00000").unwrap()]);
        assert_eq!(graph.with_descendants(&top).len(), 119);
    });
}

#[test]
fn an_engine_is_asked_once_for_each_image_that_is_up_to_date() {
    for images in [fan(500), ladder(60), chain(60)] {
        let (graph, _) = graph(&images);
        let history = everything_built(&graph);
        let (plan, asked) = planned(&graph, &history);
        assert!(plan.steps.iter().all(|step| step.decision == Decision::Fresh));
        assert_eq!(asked, images.len());
    }
}

/// Writes images to the disk and plans them with the real program.
fn decisions(images: &[(String, String)]) -> BTreeMap<String, usize> {
    let mut fixture = String::new();
    for (name, text) in images {
        write!(fixture, "//- images/{name}/Dockerfile\n{text}").unwrap();
    }
    let tree = Workspace::new(&fixture);
    let plan = tree.imgraph("plan --json").exits(0).says("").json();
    let mut decisions = BTreeMap::new();
    for step in plan["steps"].as_array().unwrap() {
        *decisions.entry(text(&step["decision"]).to_owned()).or_default() += 1;
    }
    decisions
}

#[test]
fn two_thousand_images_in_a_row_or_side_by_side_are_planned() {
    let all = BTreeMap::from([("rebuild".to_owned(), 2_000)]);
    assert_eq!(decisions(&chain(2_000)), all);
    assert_eq!(decisions(&fan(2_000)), all);
}

#[test]
fn a_ladder_is_planned_built_and_drawn_by_the_program() {
    let mut fixture = String::new();
    for (name, text) in ladder(60) {
        write!(fixture, "//- images/{name}/Dockerfile\n{text}").unwrap();
    }
    let tree = Workspace::new(&fixture);
    tree.imgraph("rebuild --jobs=2").exits(0).mentions("120 planned · 120 built · 0 failed");
    tree.rebuild("").exits(0).mentions("nothing to do: 120 images are up to date");
    tree.write("images/i00000/Dockerfile", "FROM scratch\nLABEL is=new\n");
    for verb in ["plan", "why i00119", "graph", "graph --format dot", "graph --format mermaid"] {
        let lines = tree.imgraph(verb).exits(0).stdout.lines().count();
        assert!(lines < 2_000, "{verb} has {lines} lines");
    }
}
