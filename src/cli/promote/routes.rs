//! Which image of which repository goes where: by the keys that the work tree calls for, or by a tag.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::cli::failure::{Exit, Failure};
use crate::cli::promote::arguments::Promote;
use crate::cli::session::{Planned, Selected, Session, Wishes, plan};
use crate::cli::settings::{Settings, write};
use crate::digest::Digest;
use crate::gather::inputs;
use crate::gather::stat::Keep;
use crate::graph::spec::ImageSpec;
use crate::history::{Presence, Record};
use crate::image::ImageId;
use crate::ledger;
use crate::plan::{Facts, Step, key_reference};
use crate::published::Published;
use crate::reference::{Reference, names_a_registry};
use crate::report::sentence;

/// The way of one image.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The image.
    pub(crate) image: ImageId,
    /// What is taken, by a tag; or why that is not known.
    pub(crate) source: Result<Reference, String>,
    /// The repository that gets it.
    pub(crate) target: Reference,
    /// The tags that are to point at it there, in this order.
    pub(crate) tags: Vec<String>,
}

/// The ways of the selected images, parents first.
pub(crate) fn routes(
    session: &Session,
    selected: &Selected,
    arguments: &Promote,
    settings: &Settings,
) -> Result<Vec<Route>, Failure> {
    let keys = match &arguments.from_tag {
        Some(_) => {
            session.judge(&selected.asked, &[], settings)?;
            BTreeMap::new()
        }
        None => keys(session, selected, settings)?,
    };
    let graph = &session.loaded.graph;
    let order = graph.order().iter().copied().filter(|id| selected.asked.contains(id));
    let routes = order.map(|id| {
        let key = keys.get(&id);
        route(session, id, key, arguments)
    });
    let routes: Vec<Route> = routes.collect::<Result<_, _>>()?;
    check_targets(&routes, session)?;
    Ok(routes)
}

fn route(
    session: &Session,
    image: ImageId,
    key: Option<&Result<Digest, String>>,
    arguments: &Promote,
) -> Result<Route, Failure> {
    let spec = &session.loaded.graph.image(image).spec;
    let registry = session.loaded.workspace.layers.workspace.registry.as_deref();
    let target = target(spec, registry, arguments.to.as_deref());
    let target = parsed(&target)?;
    let source = match (&arguments.from_tag, key) {
        (Some(tag), _) => Ok(parsed(&format!("{}:{tag}", spec.repository))?),
        (None, Some(Ok(key))) => Ok(parsed(&key_reference(&spec.repository, key))?),
        (None, Some(Err(why))) => Err(why.clone()),
        (None, None) => Err("it was not planned".to_owned()),
    };
    let mut tags = arguments.tags.clone();
    if tags.is_empty() {
        tags.clone_from(&spec.tags);
        // What the next stage, or another machine, looks for.
        let key_tag = source.as_ref().ok().and_then(|source| source.tag.clone());
        tags.extend(key_tag.filter(|_| arguments.from_tag.is_none()));
    }
    Ok(Route { image, source, target, tags })
}

/// The repository that an image gets: its own, with something else in place of its registry.
fn target(spec: &ImageSpec, registry: Option<&str>, to: Option<&str>) -> String {
    let own = &*spec.repository;
    let Some(to) = to else { return own.to_owned() };
    let below = registry.and_then(|registry| own.strip_prefix(registry)?.strip_prefix('/'));
    let path = below.unwrap_or_else(|| match own.split_once('/') {
        Some((_, path)) if names_a_registry(own) => path,
        _ => own,
    });
    format!("{to}/{path}")
}

fn parsed(text: &str) -> Result<Reference, Failure> {
    Reference::parse(text)
        .map_err(|error| Failure::new(Exit::WORKSPACE, format!("`{text}`: {error}")))
}

/// Fails if two images would get one tag.
fn check_targets(routes: &[Route], session: &Session) -> Result<(), Failure> {
    let mut owners: BTreeMap<String, ImageId> = BTreeMap::new();
    for route in routes {
        let key_tag = route.source.as_ref().ok().and_then(|source| source.tag.as_ref());
        // Two images of one repository with equal inputs share their key tag.
        for tag in route.tags.iter().filter(|tag| Some(*tag) != key_tag) {
            let reference = format!("{}:{tag}", route.target.familiar());
            if let Some(other) = owners.insert(reference.clone(), route.image) {
                let name = |id| session.loaded.graph.name(id);
                let message = format!(
                    "`{}` and `{}` would both become {reference}",
                    name(other),
                    name(route.image)
                );
                return Err(Failure::new(Exit::USAGE, message)
                    .help("leave out `--tag`, or promote one after the other under other tags"));
            }
        }
    }
    Ok(())
}

/// The build keys that the work tree calls for, or why one is not known. What is recorded is taken to
/// be there: no engine is asked.
fn keys(
    session: &Session,
    selected: &Selected,
    settings: &Settings,
) -> Result<BTreeMap<ImageId, Result<Digest, String>>, Failure> {
    let (mut history, warnings) = ledger::read(&session.state)?;
    session.published.iter().for_each(|published| published.tell(&mut history));
    for warning in warnings {
        write(&mut io::stderr(), &format!("warning: {warning}\n"));
    }
    let wide = session.wide(&history);
    let disk = session.disk(&wide);
    let gathered = inputs::gather(&disk, &selected.family, &history, &BTreeSet::new());
    session.judge(&selected.family, &gathered.problems, settings)?;
    let present = |_, _: &Record| Presence::Present;
    let recorded = Published::recorded(&history);
    let asked = session.published.as_ref().filter(|published| !published.is_empty());
    let published = Some(asked.unwrap_or(&recorded));
    let facts = Facts { published, ..session.facts(&present) };
    let Planned { plan, .. } =
        plan((session, &facts), &history, gathered, &selected.family, Wishes::nothing());
    session.stat.save(&session.state, Keep::All).unwrap_or_default();
    let steps = plan.steps.iter().filter(|step| selected.asked.contains(&step.image));
    Ok(steps.map(|step| (step.image, step.key.ok_or_else(|| why(session, step)))).collect())
}

/// Why the build key of an image is not known.
fn why(session: &Session, step: &Step) -> String {
    if !step.reasons.is_empty() {
        return format!("it is out of date: {}", sentence::reasons(&step.reasons, 1));
    }
    let graph = &session.loaded.graph;
    let names: Vec<&str> = step.waits_for.iter().map(|id| graph.name(*id).as_str()).collect();
    let verb = sentence::is_or_are(names.len());
    format!("it stands on {}, which {verb} out of date", sentence::names(&names))
}
