//! `imgraph update`: looks up what images from outside are now, and pins them in `imgraph.lock`.
//!
//! Each reference is a matter of its own: one that cannot be looked up keeps its pin, and is an
//! error; the others move.

pub(crate) mod arguments;
mod file;
pub(crate) mod refresh;
mod report;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::cancel::Cancel;
use crate::cli::args::Update;
use crate::cli::at_once::at_once;
use crate::cli::failure::{Exit, Failure};
use crate::cli::registries;
use crate::cli::session::Session;
use crate::cli::settings::{Settings, write};
use crate::cli::update::resolve::{Answer, Question, resolve};
use crate::diagnostic::{Diagnostic, nearest};
use crate::graph::ImageGraph;
use crate::image::{ImageId, Platform};
use crate::lockfile::{LockFile, Locked};
use crate::reference::Reference;
use crate::registry::Registry;
use crate::registry::error::RegistryError;
use crate::signal::{raise_on_interrupt, received};

/// A reference that the workspace reads from outside.
#[derive(Clone, Debug, Default)]
struct Wanted {
    platforms: BTreeSet<Platform>,
    /// The images that read it, each with the platform that it wants.
    readers: BTreeSet<(ImageId, Platform)>,
}

/// What became of one reference.
struct Change {
    reference: Reference,
    old: Option<Locked>,
    kind: Kind,
    /// The images that read it.
    images: BTreeSet<ImageId>,
    /// Those of them that get another image than before.
    touched: BTreeSet<ImageId>,
}

enum Kind {
    /// Its pin stands.
    Stands,
    /// It was not pinned.
    New(Locked),
    /// Its pin is another one.
    Moved(Locked),
    /// Nothing reads it any more.
    Removed,
    /// There is no image for these platforms.
    Lacks(Vec<Platform>),
    /// It could not be looked up.
    Failed(RegistryError),
}

/// Runs the verb.
pub(crate) fn run(arguments: &Update, settings: &Settings) -> Result<u8, Failure> {
    let session = Session::open(settings)?;
    let graph = &session.loaded.graph;
    if session.loaded.problems.iter().any(Diagnostic::is_error) {
        let all = graph.iter().map(|(id, _)| id).collect();
        session.judge(&all, &[], settings)?;
    }
    let wanted = wanted(graph);
    let asked = asked(&wanted, &arguments.references)?;
    let old = session.loaded.workspace.pins();
    let cancel = Cancel::default();
    raise_on_interrupt(&cancel)
        .map_err(|error| Failure::new(Exit::BUG, format!("cannot listen for Ctrl-C: {error}")))?;
    let registry = registries::open(settings, &session.root, &session.state)?;
    let answers = look_up(&registry, (&wanted, &asked, old), &cancel);
    if cancel.is_raised() {
        let is_term = received() == Some(signal_hook::consts::SIGTERM);
        return Ok(if is_term { Exit::TERMINATED } else { Exit::INTERRUPTED });
    }
    let mut changes: Vec<Change> =
        answers.into_iter().map(|(key, answer)| change(key, answer, &wanted[key], old)).collect();
    if arguments.references.is_empty() {
        changes.extend(removed(old, |key| wanted.contains_key(key)));
    }
    let new = applied(old, &changes);
    let has_file = session.loaded.workspace.lock.is_some();
    let is_other = new != *old || !has_file && !wanted.is_empty();
    let writes = is_other && !arguments.dry_run && !settings.locked;
    if writes {
        file::write(&session.root, &new.text())?;
    }
    let report = report::Report { graph, changes: &changes, is_other, writes };
    let text = if arguments.json { report.json() } else { report.text(settings.style_out()) };
    write(&mut io::stdout(), &text);
    report.complain(settings);
    Ok(exit_code(&changes, is_other && settings.locked))
}

/// Looks references up, several at once.
fn look_up<'a>(
    registry: &Registry,
    (wanted, asked, old): (&BTreeMap<Reference, Wanted>, &[&'a Reference], &LockFile),
    cancel: &Cancel,
) -> Vec<(&'a Reference, Result<Answer, RegistryError>)> {
    let answers = at_once(asked, |reference, say| {
        let (platforms, old) = (&wanted[*reference].platforms, old.row(reference));
        resolve(registry, &Question { reference, platforms, old }, cancel, say)
    });
    asked.iter().copied().zip(answers).collect()
}

/// What the workspace reads from outside by a tag.
fn wanted(graph: &ImageGraph) -> BTreeMap<Reference, Wanted> {
    let mut wanted: BTreeMap<Reference, Wanted> = BTreeMap::new();
    for (id, image) in graph.iter() {
        for external in &image.externals {
            let Some(key) = LockFile::key(&external.normalised) else { continue };
            let wanted = wanted.entry(key).or_default();
            wanted.platforms.insert(external.platform.clone());
            wanted.readers.insert((id, external.platform.clone()));
        }
    }
    wanted
}

/// The references that were asked for: all, or those that are named, with a tag or by repository.
fn asked<'a>(
    wanted: &'a BTreeMap<Reference, Wanted>,
    named: &[String],
) -> Result<Vec<&'a Reference>, Failure> {
    if named.is_empty() {
        return Ok(wanted.keys().collect());
    }
    let mut asked = BTreeSet::new();
    for text in named {
        let parsed = Reference::parse(text)
            .map_err(|error| Failure::new(Exit::USAGE, format!("`{text}`: {error}")))?;
        let is_named = |key: &&Reference| match &parsed.tag {
            Some(_) => **key == parsed,
            None => key.repository() == parsed.repository(),
        };
        let found: Vec<&Reference> = wanted.keys().filter(is_named).collect();
        if found.is_empty() {
            let message = format!("no image of the workspace reads `{text}` from outside");
            let known: Vec<String> = wanted.keys().map(Reference::familiar).collect();
            let failure = Failure::new(Exit::USAGE, message);
            return Err(match nearest(text, known.iter().map(String::as_str)) {
                Some(near) => failure.help(format!("did you mean `{near}`?")),
                None => failure,
            });
        }
        asked.extend(found);
    }
    Ok(asked.into_iter().collect())
}

fn change(
    reference: &Reference,
    answer: Result<Answer, RegistryError>,
    wanted: &Wanted,
    old: &LockFile,
) -> Change {
    let old = old.row(reference).cloned();
    let kind = match (answer, &old) {
        (Ok(Answer::Stands), _) => Kind::Stands,
        (Ok(Answer::Is(new)), None) => Kind::New(new),
        (Ok(Answer::Is(new)), Some(_)) => Kind::Moved(new),
        (Ok(Answer::Lacks(platforms)), _) => Kind::Lacks(platforms),
        (Err(error), _) => Kind::Failed(error),
    };
    let new = match &kind {
        Kind::New(new) | Kind::Moved(new) => Some(new),
        _ => None,
    };
    let is_other = |platform: &Platform| {
        let before = old.as_ref().and_then(|old| old.platforms.get(platform));
        new.is_some_and(|new| new.platforms.get(platform) != before)
    };
    let touched = wanted.readers.iter().filter(|(_, platform)| is_other(platform));
    let touched = touched.map(|(id, _)| *id).collect();
    let images = wanted.readers.iter().map(|(id, _)| *id).collect();
    Change { reference: reference.clone(), old, kind, images, touched }
}

/// The rows that nothing reads.
fn removed(old: &LockFile, is_read: impl Fn(&Reference) -> bool) -> impl Iterator<Item = Change> {
    let gone = old.rows().filter(move |(key, _)| !is_read(key));
    gone.map(|(key, row)| Change {
        reference: key.clone(),
        old: Some(row.clone()),
        kind: Kind::Removed,
        images: BTreeSet::new(),
        touched: BTreeSet::new(),
    })
}

/// The lock file with these changes.
fn applied(old: &LockFile, changes: &[Change]) -> LockFile {
    let mut new = old.clone();
    for change in changes {
        if let Kind::New(locked) | Kind::Moved(locked) = &change.kind {
            new.insert(&change.reference, locked.clone());
        }
    }
    let is_removed = |reference: &Reference| {
        let mut removed = changes.iter().filter(|change| matches!(change.kind, Kind::Removed));
        removed.any(|change| change.reference == *reference)
    };
    new.retain(|reference| !is_removed(reference));
    new
}

fn exit_code(changes: &[Change], is_stale: bool) -> u8 {
    let is_transient =
        |change: &Change| matches!(&change.kind, Kind::Failed(error) if error.is_transient());
    let is_failure = |change: &Change| matches!(change.kind, Kind::Failed(_) | Kind::Lacks(_));
    if changes.iter().any(is_transient) {
        Exit::UNAVAILABLE
    } else if changes.iter().any(is_failure) {
        Exit::IMAGE_FAILED
    } else if is_stale {
        Exit::WORKSPACE
    } else {
        Exit::OK
    }
}
