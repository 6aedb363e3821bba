//! What `rebuild --full` does first: moves the pins of what the selected images read from outside.
//!
//! A reference that an image of a layer with `update = "manual"` reads stays as it is: a pin is there
//! once, and who wants none of their images to move is asked first. Without a lock file there is
//! nothing to move.

use std::collections::BTreeSet;
use std::io;

use crate::cancel::Cancel;
use crate::cli::carry::interrupted;
use crate::cli::failure::{Exit, Failure};
use crate::cli::registries;
use crate::cli::selection::Selection;
use crate::cli::session::Session;
use crate::cli::settings::{Settings, write};
use crate::cli::update::report::{Report, why};
use crate::cli::update::{
    Change, Kind, applied, change, exit_code, file, look_up, removed, wanted,
};
use crate::diagnostic::Diagnostic;
use crate::event::{Pin, What};
use crate::graph::ImageGraph;
use crate::image::{ImageId, ImageName};
use crate::layers::{Layers, Update};
use crate::lockfile::LOCK_FILE;
use crate::reference::Reference;

/// What came of it.
#[derive(Debug)]
pub(crate) struct Refreshed {
    /// What is not as it was, to be told when the run has begun.
    pub(crate) news: Vec<What>,
    /// The exit code of `imgraph update`.
    pub(crate) exit: u8,
    /// Whether there is a lock file.
    pub(crate) has_file: bool,
}

/// Moves the pins, and says which on standard error; who wants it quiet hears of trouble only.
pub(crate) fn refresh(
    (selection, quiet): (&Selection, bool),
    settings: &Settings,
    cancel: &Cancel,
) -> Result<Refreshed, Failure> {
    let say = |text: &str| write(&mut io::stderr(), if quiet { "" } else { text });
    let session = Session::without_contexts(settings)?;
    let graph = &session.loaded.graph;
    let selected = session.select(selection, settings)?;
    let has_file = session.loaded.workspace.lock.is_some();
    let untouched = Refreshed { news: Vec::new(), exit: Exit::OK, has_file };
    if !has_file || settings.locked {
        say(&why_not(has_file, graph));
        return Ok(untouched);
    }
    if session.loaded.problems.iter().any(Diagnostic::is_error) {
        // What a broken Dockerfile reads is not known, and what is wrong is said by the run.
        say(&format!("{LOCK_FILE} stays as it is: the workspace has errors\n"));
        return Ok(untouched);
    }
    let layers = &session.loaded.workspace.layers;
    let mut wanted = wanted(graph);
    let all: BTreeSet<Reference> = wanted.keys().cloned().collect();
    wanted.retain(|_, it| {
        let mut readers = it.readers.iter().map(|(id, _)| *id);
        let is_manual = readers.clone().any(|id| is_manual(graph, layers, id));
        !is_manual && readers.any(|id| selected.images.contains(&id))
    });
    let old = session.loaded.workspace.pins();
    let registry = registries::open(settings, &session.root, &session.state)?;
    let asked: Vec<&Reference> = wanted.keys().collect();
    let answers = look_up(&registry, (&wanted, &asked, old), cancel);
    if cancel.is_raised() {
        return Err(Failure::said(interrupted()));
    }
    let mut changes: Vec<Change> =
        answers.into_iter().map(|(key, answer)| change(key, answer, &wanted[key], old)).collect();
    if selected.asked.len() == graph.len() {
        changes.extend(removed(old, |key| all.contains(key)));
    }
    let new = applied(old, &changes);
    let is_other = new != *old;
    if is_other {
        file::write(&session.root, &new.text())?;
    }
    let report = Report { graph, changes: &changes, is_other, writes: is_other };
    say(&report.text(settings.style_err()));
    report.complain(settings);
    let news = changes.iter().filter_map(|change| event(graph, change)).collect();
    Ok(Refreshed { news, exit: exit_code(&changes, false), has_file })
}

/// Why no pin moves.
fn why_not(has_file: bool, graph: &ImageGraph) -> String {
    match has_file {
        true => format!("{LOCK_FILE} stays as it is: --locked\n"),
        false if wanted(graph).is_empty() => String::new(),
        false => format!(
            "there is no {LOCK_FILE}: what a tag means is asked when an image is built, and one that moves \
             rebuilds nothing; `imgraph update` writes it\n"
        ),
    }
}

fn is_manual(graph: &ImageGraph, layers: &Layers, id: ImageId) -> bool {
    let layer = graph.image(id).spec.layer.map(|row| &layers.layers[row]);
    layer.is_some_and(|layer| layer.update == Update::Manual)
}

/// What is told of a pin that is not as it was.
fn event(graph: &ImageGraph, change: &Change) -> Option<What> {
    let (status, new) = match &change.kind {
        Kind::Stands => return None,
        Kind::New(new) => (Pin::New, Some(new)),
        Kind::Moved(new) => (Pin::Moved, Some(new)),
        Kind::Removed => (Pin::Removed, None),
        Kind::Lacks(_) | Kind::Failed(_) => (Pin::Failed, None),
    };
    let names = |images: &BTreeSet<ImageId>| -> Vec<ImageName> {
        images.iter().map(|id| graph.name(*id).clone()).collect()
    };
    Some(What::External {
        reference: change.reference.to_string(),
        status,
        old: change.old.as_ref().map(|old| old.digest.clone()),
        new: new.map(|new| new.digest.clone()),
        error: why(change),
        transient: matches!(&change.kind, Kind::Failed(error) if error.is_transient()),
        images: names(&change.images),
        touched: names(&graph.with_descendants(&change.touched)),
    })
}
