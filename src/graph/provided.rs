//! The table of what the images of the workspace provide, and what a reference means in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Place, Span, nearest};
use crate::graph::spec::ImageSpec;
use crate::graph::{Image, Setting};
use crate::image::{ImageId, ImageName};
use crate::reference::Reference;

const PROVIDED_TWICE: &str = "IG015";
const NOT_A_REFERENCE: &str = "IG016";
const PINNED_RELEASE: &str = "IG024";
const FROZEN: &str = "IG025";
const NEAR_MISS: &str = "IG026";
const HIDDEN: &str = "IG027";
const WHICH_TAG: &str = "IG028";

/// What a reference means.
pub(crate) enum Meaning {
    /// An image of the workspace.
    Image(ImageId),
    /// An image from outside.
    External(Reference),
    /// Nothing: `scratch`, or an error that has been reported.
    Nothing,
}

/// Repository to tag to image.
pub(crate) struct Provided {
    repositories: BTreeMap<String, Repository>,
    /// Repositories as people write them, for suggestions.
    familiar: Vec<String>,
    names: Vec<ImageName>,
}

#[derive(Default)]
struct Repository {
    tags: BTreeMap<String, ImageId>,
    images: Vec<ImageId>,
}

impl Provided {
    /// Builds the table; two images under one reference are an error.
    pub(crate) fn new(images: &[Image], problems: &mut Vec<Diagnostic>) -> Self {
        let specs: Vec<&ImageSpec> = images.iter().map(|image| &image.spec).collect();
        let names = specs.iter().map(|spec| spec.name.clone()).collect();
        let mut table = Self { repositories: BTreeMap::new(), familiar: Vec::new(), names };
        for (index, spec) in specs.iter().enumerate() {
            let id = ImageId(u32::try_from(index).expect("fewer than 2^32 images"));
            let mut references = spec.references();
            if spec.tags.is_empty() {
                references.push(spec.repository.clone());
            }
            for reference in references {
                if let Err(problem) = table.add(&reference, id, &specs) {
                    let place = Place { path: Arc::clone(&spec.dockerfile), span: None };
                    problems.push(problem.at_place(place));
                }
            }
        }
        table.familiar = table.repositories.keys().map(|repository| familiar(repository)).collect();
        table
    }

    fn add(&mut self, text: &str, id: ImageId, specs: &[&ImageSpec]) -> Result<(), Diagnostic> {
        let Ok(reference) = Reference::parse(text) else {
            let message = format!("`{text}` cannot be the reference of an image");
            let help = "repositories are lower case; see `registry`, `repository` and `tags` of layers.toml";
            return Err(Diagnostic::error(NOT_A_REFERENCE, message).help(help));
        };
        let repository = self.repositories.entry(reference.repository()).or_default();
        if !repository.images.contains(&id) {
            repository.images.push(id);
        }
        let tag = reference.tag.unwrap_or_else(|| "latest".to_owned());
        match repository.tags.insert(tag, id) {
            Some(other) if other != id => {
                let (one, two) = (&specs[other.index()].name, &specs[id.index()].name);
                let message = format!("`{one}` and `{two}` both provide `{text}`");
                let help =
                    "give one of them another `repository`, `version` or `tags` in layers.toml";
                Err(Diagnostic::error(PROVIDED_TWICE, message).help(help))
            }
            _ => Ok(()),
        }
    }

    /// The image that a reference means, without a word about what is odd.
    pub(crate) fn image(&self, text: &str) -> Option<ImageId> {
        let reference = Reference::parse(text).ok()?;
        match self.look_up(&reference) {
            Found::Image(id) => Some(id),
            _ => None,
        }
    }

    /// What a reference means; what is odd about it is reported.
    pub(crate) fn meaning(
        &self,
        (text, span): (&str, Span),
        (image, setting): (&Image, &Setting<'_>),
        problems: &mut Vec<Diagnostic>,
    ) -> Meaning {
        if text == "scratch" {
            return Meaning::Nothing;
        }
        let Ok(reference) = Reference::parse(text) else {
            let message = format!("`{text}` is not a reference to an image");
            problems.push(Diagnostic::error(NOT_A_REFERENCE, message).at(span));
            return Meaning::Nothing;
        };
        match self.look_up(&reference) {
            Found::Image(id) => return Meaning::Image(id),
            Found::Frozen(id) => {
                let name = &self.names[id.index()];
                let message =
                    format!("`{text}` is `{name}` frozen at a digest: it is not rebuilt with it");
                problems.push(
                    Diagnostic::note(FROZEN, message)
                        .at(span)
                        .help("drop the digest to follow the workspace"),
                );
            }
            Found::OtherTag(id) => {
                let name = &self.names[id.index()];
                let message =
                    format!("`{text}` is a published release of `{name}`, not the one built here");
                problems.push(
                    Diagnostic::note(PINNED_RELEASE, message)
                        .at(span)
                        .help("use a tag that the workspace provides to follow it"),
                );
            }
            Found::Ambiguous(tags) => {
                let message = format!("several images provide `{}`", reference.familiar());
                let help = format!("name one of its tags: {}", tags.join(", "));
                problems.push(Diagnostic::error(WHICH_TAG, message).at(span).help(help));
                return Meaning::Nothing;
            }
            Found::Nothing => {
                if let Some(problem) = self.unknown(text, &reference, setting, image) {
                    let is_error = problem.is_error();
                    problems.push(problem.at(span));
                    if is_error {
                        return Meaning::Nothing;
                    }
                }
            }
        }
        Meaning::External(reference)
    }

    fn look_up(&self, reference: &Reference) -> Found {
        let Some(repository) = self.repositories.get(&reference.repository()) else {
            return Found::Nothing;
        };
        let Some(first) = repository.images.first() else { return Found::Nothing };
        if reference.digest.is_some() {
            return Found::Frozen(*first);
        }
        let tag = reference.tag.as_deref().unwrap_or("latest");
        match repository.tags.get(tag) {
            Some(id) => Found::Image(*id),
            None if tag == "latest" && repository.images.len() == 1 => Found::Image(*first),
            None if tag == "latest" => Found::Ambiguous(repository.tags.keys().cloned().collect()),
            None => Found::OtherTag(*first),
        }
    }

    /// Something to say of a reference that nothing provides.
    fn unknown(
        &self,
        text: &str,
        reference: &Reference,
        setting: &Setting<'_>,
        image: &Image,
    ) -> Option<Diagnostic> {
        let repository = familiar(&reference.repository());
        let registry = setting.layers.workspace.registry.as_deref();
        let inside = registry.and_then(|registry| {
            repository.strip_prefix(registry).and_then(|rest| rest.strip_prefix('/'))
        });
        // With a registry, a reference without it cannot be an image of this workspace.
        let path = if registry.is_some() { inside } else { Some(repository.as_str()) };
        let is_hidden = |dir: &str| path.is_some_and(|path| is_inside(path, dir));
        if let Some((dir, why)) = setting.hidden.iter().find(|(dir, _)| is_hidden(dir)) {
            let message =
                format!("`{text}` is an image of this workspace that is left out ({why})");
            let help = format!("take `{dir}` out of what is ignored, or build from another image");
            return Some(Diagnostic::error(HIDDEN, message).help(help));
        }
        let others = self.familiar.iter().map(String::as_str);
        let near = nearest(&repository, others).filter(|near| plausible(&repository, near));
        let own = familiar_of(&image.spec.repository);
        match (near, inside) {
            (Some(near), _) if Some(near) != own.as_deref() => {
                let message = format!("no image of the workspace provides `{text}`");
                let help = format!("did you mean `{near}`? it is taken for an image from outside");
                Some(Diagnostic::warning(NEAR_MISS, message).help(help))
            }
            (_, Some(_)) => {
                let message = format!("no image of the workspace provides `{text}`");
                let help = "it has the workspace's registry in front, and is taken for an image from outside";
                Some(Diagnostic::warning(NEAR_MISS, message).help(help))
            }
            _ => None,
        }
    }
}

enum Found {
    Image(ImageId),
    Frozen(ImageId),
    OtherTag(ImageId),
    Ambiguous(Vec<String>),
    Nothing,
}

fn familiar(repository: &str) -> String {
    familiar_of(repository).unwrap_or_else(|| repository.to_owned())
}

fn familiar_of(repository: &str) -> Option<String> {
    let mut reference = Reference::parse(repository).ok()?;
    reference.tag = None;
    Some(reference.familiar())
}

fn is_inside(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Short names lie near each other by chance: `redis` is not meant for `redir`.
fn plausible(written: &str, near: &str) -> bool {
    let distance = strsim::osa_distance(written, near);
    distance <= 1 && near.len() >= 6 || distance <= 2 && near.len() >= 10
}
