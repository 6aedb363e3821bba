//! `imgraph promote`: what is pushed gets the same tags in other repositories, or others in the same.
//!
//! All images are looked up before anything moves. Then they go in the order of the graph, so that
//! nothing stands in the target before what it stands on.

pub(crate) mod arguments;
mod report;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::cancel::Cancel;
use crate::cli::args::Promote;
use crate::cli::at_once::at_once;
use crate::cli::carry::interrupted;
use crate::cli::failure::{Exit, Failure};
use crate::cli::promote::report::Report;
use crate::cli::promote::routes::{Route, routes};
use crate::cli::registries;
use crate::cli::remote::{Asked, Shared};
use crate::cli::session::Session;
use crate::cli::settings::{Settings, write};
use crate::digest::OciDigest;
use crate::graph::ImageGraph;
use crate::image::ImageId;
use crate::reference::Reference;
use crate::registry::copy::{self, Copied};
use crate::registry::error::RegistryError;
use crate::registry::{Registry, Watch};
use crate::signal::raise_on_interrupt;

/// One image, and what is known and done of it.
struct Row {
    route: Route,
    /// What its source is.
    digest: Option<OciDigest>,
    /// The tags that do not point at it yet.
    lacking: Vec<String>,
    end: End,
}

/// How far an image has come.
enum End {
    /// It was looked up.
    Open,
    /// Everything was there.
    Unchanged,
    /// Its tags point at it now.
    Promoted(Copied),
    /// Nobody knows what would be taken.
    Unknown(String),
    /// A registry did not do it.
    Failed(RegistryError),
}

/// Runs the verb.
pub(crate) fn run(arguments: &Promote, settings: &Settings) -> Result<u8, Failure> {
    let mut session = Session::open(settings)?;
    let selected = session.select(&arguments.selection, settings)?;
    session.check_registries(&selected.asked)?;
    let cancel = Cancel::default();
    raise_on_interrupt(&cancel)
        .map_err(|error| Failure::new(Exit::BUG, format!("cannot listen for Ctrl-C: {error}")))?;
    if arguments.from_tag.is_none() {
        // What is pushed decides, which may be another build than the one that is here.
        Shared::open(&mut session, Asked::reading(), settings, &cancel)?;
    }
    let routes = routes(&session, &selected, arguments, settings)?;
    let registry = registries::open(settings, &session.root, &session.state)?;
    let promotion = Promotion { session: &session, registry: &registry, cancel: &cancel };
    let mut rows = promotion.look_up(routes);
    let is_refused = rows.iter().any(Row::has_failed);
    if !is_refused && !arguments.dry_run && !cancel.is_raised() {
        promotion.carry_out(&mut rows);
    }
    let report = Report {
        graph: &session.loaded.graph,
        rows: &rows,
        is_dry: arguments.dry_run,
        is_by_tag: arguments.from_tag.is_some(),
        is_interrupted: cancel.is_raised(),
    };
    let text = if arguments.json { report.json() } else { report.text(settings) };
    write(&mut io::stdout(), &text);
    report.complain(settings);
    Ok(if cancel.is_raised() { interrupted() } else { exit_code(&rows) })
}

/// What a promotion works with.
struct Promotion<'a> {
    session: &'a Session,
    registry: &'a Registry,
    cancel: &'a Cancel,
}

impl Promotion<'_> {
    /// Looks every source and every target tag up.
    fn look_up(&self, routes: Vec<Route>) -> Vec<Row> {
        let found = at_once(&routes, |route, say| self.look_at(route, say));
        let row = |(route, found): (Route, Result<(OciDigest, Vec<String>), End>)| match found {
            Ok((digest, lacking)) => {
                let end = if lacking.is_empty() { End::Unchanged } else { End::Open };
                Row { route, digest: Some(digest), lacking, end }
            }
            Err(end) => Row { route, digest: None, lacking: Vec::new(), end },
        };
        routes.into_iter().zip(found).map(row).collect()
    }

    fn look_at(
        &self,
        route: &Route,
        say: &mut dyn FnMut(String),
    ) -> Result<(OciDigest, Vec<String>), End> {
        let cancel = self.cancel;
        let source = route.source.as_ref().map_err(|why| End::Unknown(why.clone()))?;
        let found = self.registry.find(source, Watch { cancel, say: &mut *say });
        let digest = found.map_err(End::of)?.digest;
        let tags = (&*route.tags, &digest);
        let lacking = self.registry.lacking(&route.target, tags, Watch { cancel, say });
        Ok((digest.clone(), lacking.map_err(End::of)?))
    }

    /// Moves what has to be moved, parents before what stands on them; nothing on what has failed.
    fn carry_out(&self, rows: &mut [Row]) {
        let graph = &self.session.loaded.graph;
        let mut failed = BTreeSet::new();
        for level in levels(graph, rows) {
            let held = graph.with_descendants(&failed);
            let open: Vec<usize> = level
                .into_iter()
                .filter(|at| matches!(rows[*at].end, End::Open))
                .filter(|at| !held.contains(&rows[*at].route.image))
                .collect();
            let ends = at_once(&open, |at, say| self.copy(&rows[*at], say));
            for (at, end) in open.into_iter().zip(ends) {
                let row = &mut rows[at];
                row.end = match end {
                    Ok(copied) => End::Promoted(copied),
                    Err(error) => End::of(error),
                };
                if row.has_failed() {
                    failed.insert(row.route.image);
                }
            }
            if self.cancel.is_raised() {
                return;
            }
        }
    }

    fn copy(&self, row: &Row, say: &mut dyn FnMut(String)) -> Result<Copied, RegistryError> {
        let Ok(source) = &row.route.source else { return Ok(Copied::default()) };
        let from = Reference { tag: None, digest: row.digest.clone(), ..source.clone() };
        let route = copy::Route {
            from: &from,
            to: &row.route.target,
            tags: &row.lacking,
            scratch: &self.session.state,
        };
        self.registry.copy(&route, Watch { cancel: self.cancel, say })
    }
}

impl End {
    /// What an error means. An image whose turn was cut short has not failed.
    fn of(error: RegistryError) -> Self {
        match error {
            RegistryError::Cancelled => Self::Open,
            error => Self::Failed(error),
        }
    }
}

impl Row {
    fn has_failed(&self) -> bool {
        matches!(self.end, End::Unknown(_) | End::Failed(_))
    }
}

/// The rows by how many rows' images stand below theirs: each level needs those before it only.
fn levels(graph: &ImageGraph, rows: &[Row]) -> Vec<Vec<usize>> {
    let mut depth = vec![0; graph.len()];
    let mut levels: Vec<Vec<usize>> = Vec::new();
    let places: BTreeMap<ImageId, usize> =
        rows.iter().enumerate().map(|(at, row)| (row.route.image, at)).collect();
    for id in graph.order() {
        let below = graph.parents(*id).into_iter().map(|parent| depth[parent.index()]).max();
        depth[id.index()] = below.unwrap_or(0);
        if let Some(at) = places.get(id) {
            let level = depth[id.index()];
            if levels.len() == level {
                levels.push(Vec::new());
            }
            levels[level].push(*at);
            depth[id.index()] += 1;
        }
    }
    levels
}

fn exit_code(rows: &[Row]) -> u8 {
    let is_transient = |row: &Row| match &row.end {
        End::Failed(RegistryError::File { .. }) => true,
        End::Failed(error) => error.is_transient(),
        _ => false,
    };
    if rows.iter().any(is_transient) {
        Exit::UNAVAILABLE
    } else if rows.iter().any(Row::has_failed) {
        Exit::IMAGE_FAILED
    } else {
        Exit::OK
    }
}
