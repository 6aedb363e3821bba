//! What stands in the way of a run before it begins: parents that are left out and that nothing stands
//! for, and images that have nowhere to go.

use std::collections::BTreeSet;

use crate::cli::failure::{Exit, Failure};
use crate::cli::session::{Selected, Session};
use crate::history::{History, Presence};
use crate::image::ImageId;
use crate::plan::{self, Facts};
use crate::published;
use crate::reference::names_a_registry;
use crate::report::sentence;

impl Session {
    /// Fails if a parent that `--only` leaves out was never built here: nothing could stand for it.
    pub(crate) fn check_left_out(
        &self,
        selected: &Selected,
        history: &History,
        facts: &Facts<'_>,
    ) -> Result<(), Failure> {
        let graph = &self.loaded.graph;
        for id in &selected.images {
            let parents = graph.parents(*id).into_iter();
            for parent in parents.filter(|parent| !selected.images.contains(parent)) {
                let record = history.records.get(graph.name(parent));
                let record = record.filter(|record| {
                    facts.counts(record) && record.platform == graph.image(parent).platform
                });
                if record.is_none_or(|it| facts.presence(parent, it) == Presence::Missing) {
                    let (child, parent) = (graph.name(*id), graph.name(parent));
                    let message = format!("`{child}` needs `{parent}`, which is not in the store");
                    return Err(Failure::new(Exit::USAGE, message)
                        .help("leave out `--only`, and it is built first"));
                }
            }
        }
        Ok(())
    }

    /// Fails if a parent that `--only` leaves out is not in its registry as it is here: what is pushed
    /// would stand on what nobody else has.
    pub(crate) fn check_left_out_pushed(
        &self,
        selected: &Selected,
        history: &History,
    ) -> Result<(), Failure> {
        let graph = &self.loaded.graph;
        let is_pushed = |parent: ImageId| {
            let repository = &graph.image(parent).spec.repository;
            let Some(record) = history.records.get(graph.name(parent)) else { return true };
            let key_tag = [plan::key_reference(repository, &record.build_key)];
            record.engine == published::CLASS
                || !names_a_registry(repository)
                || history.is_pushed(&record.image, &record.output.id, &key_tag)
        };
        for id in &selected.images {
            let mut left_out = graph.parents(*id).into_iter();
            let is_unpushed = |it: &ImageId| !selected.images.contains(it) && !is_pushed(*it);
            if let Some(parent) = left_out.find(is_unpushed) {
                let (child, parent) = (graph.name(*id), graph.name(parent));
                let message =
                    format!("`{child}` needs `{parent}`, which is not pushed as it is here");
                return Err(Failure::new(Exit::USAGE, message)
                    .help("leave out `--only`, and it is pushed first"));
            }
        }
        Ok(())
    }

    /// Fails if an image could not be pushed: nothing says where to.
    pub(crate) fn check_registries(&self, images: &BTreeSet<ImageId>) -> Result<(), Failure> {
        let specs = images.iter().map(|id| &self.loaded.graph.image(*id).spec);
        let homeless = specs.filter(|spec| !names_a_registry(&spec.repository));
        let names: Vec<&str> = homeless.map(|spec| spec.name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let verb = if names.len() == 1 { "has" } else { "have" };
        let message = format!("{} {verb} no registry to be pushed to", sentence::names(&names));
        let help = "set [workspace] registry in layers.toml, for example \
                    registry = \"registry.example.com/acme\"";
        Err(Failure::new(Exit::WORKSPACE, message).help(help))
    }
}
