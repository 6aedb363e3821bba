//! Selectors: which images are meant by what was typed.
//!
//! | selector | means |
//! | --- | --- |
//! | `java/jre` | the image |
//! | `apps/*`, `**/api` | every image whose name matches; `*` stays inside a directory |
//! | `./images/java/**` | every image whose directory matches, from the workspace root |
//! | `layer:base` | every image of a layer |
//! | `...X` | X and its dependents |
//! | `X...` | X and its dependencies |
//! | `...^X`, `X^...` | the same without X |
//! | `!X` | taken away from all that the others select |
//!
//! The syntax is pnpm's. Several selectors are a union; only `!`-selectors mean all but those.

use std::collections::BTreeSet;

use globset::GlobMatcher;

use crate::diagnostic::nearest;
use crate::graph::ImageGraph;
use crate::image::ImageId;
use crate::layers::Layers;

/// Why a selector selects nothing that can be meant.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No image, or layer, has this name.
    #[error("no {what} is called `{word}`{}", hint(nearest.as_deref()))]
    Unknown {
        /// `image` or `layer`.
        what: &'static str,
        /// What was typed.
        word: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A glob that is none.
    #[error("`{word}` is not a glob: {message}")]
    BadGlob {
        /// What was typed.
        word: String,
        /// What is wrong with it.
        message: String,
    },
    /// Nothing between the dots.
    #[error("`{0}` selects nothing: a name is missing")]
    Empty(String),
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// The images that a list of selectors means; an empty list means all.
pub fn select(
    graph: &ImageGraph,
    layers: &Layers,
    selectors: &[String],
) -> Result<BTreeSet<ImageId>, SelectError> {
    let mut chosen = BTreeSet::new();
    let mut dropped = BTreeSet::new();
    let mut only_dropped = true;
    for selector in selectors {
        if let Some(rest) = selector.strip_prefix('!') {
            dropped.extend(one(graph, layers, rest)?);
        } else {
            only_dropped = false;
            chosen.extend(one(graph, layers, selector)?);
        }
    }
    if only_dropped {
        chosen.extend(graph.iter().map(|(id, _)| id));
    }
    Ok(chosen.difference(&dropped).copied().collect())
}

fn one(
    graph: &ImageGraph,
    layers: &Layers,
    selector: &str,
) -> Result<BTreeSet<ImageId>, SelectError> {
    let (rest, dependents) = match selector.strip_prefix("...") {
        Some(rest) => (rest, true),
        None => (selector, false),
    };
    let (rest, dependencies) = match rest.strip_suffix("...") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let inner = rest.strip_prefix('^').filter(|_| dependents).unwrap_or(rest);
    let inner = inner.strip_suffix('^').filter(|_| dependencies).unwrap_or(inner);
    if inner.is_empty() {
        return Err(SelectError::Empty(selector.to_owned()));
    }
    let named = named(graph, layers, inner)?;
    let mut selected = named.clone();
    if dependents {
        selected.extend(graph.with_descendants(&named));
    }
    if dependencies {
        selected.extend(graph.with_ancestors(&named));
    }
    if inner.len() < rest.len() {
        selected.retain(|id| !named.contains(id));
    }
    Ok(selected)
}

fn named(
    graph: &ImageGraph,
    layers: &Layers,
    word: &str,
) -> Result<BTreeSet<ImageId>, SelectError> {
    if let Some(layer) = word.strip_prefix("layer:") {
        return of_layer(graph, layers, layer);
    }
    if let Some(path) = word.strip_prefix("./") {
        let path = path.trim_end_matches('/');
        let matcher = matcher(word, path)?;
        return non_empty(word, graph, |id| {
            let directory = &graph.image(id).spec.directory;
            matcher.is_match(directory) || directory == path
        });
    }
    if let Some(id) = graph.find(word) {
        return Ok(BTreeSet::from([id]));
    }
    if word.contains(['*', '?', '[', '{']) {
        let matcher = matcher(word, word)?;
        return non_empty(word, graph, |id| matcher.is_match(graph.name(id).as_str()));
    }
    Err(unknown(word, graph))
}

fn of_layer(
    graph: &ImageGraph,
    layers: &Layers,
    name: &str,
) -> Result<BTreeSet<ImageId>, SelectError> {
    let Some(row) = layers.layers.iter().position(|layer| layer.name == name) else {
        let names = layers.layers.iter().map(|layer| layer.name.as_str());
        let nearest = nearest(name, names).map(str::to_owned);
        return Err(SelectError::Unknown { what: "layer", word: name.to_owned(), nearest });
    };
    let images = graph.iter().filter(|(_, image)| image.spec.layer == Some(row));
    Ok(images.map(|(id, _)| id).collect())
}

fn matcher(word: &str, pattern: &str) -> Result<GlobMatcher, SelectError> {
    let glob = globset::GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| SelectError::BadGlob {
        word: word.to_owned(),
        message: error.kind().to_string(),
    })
}

fn non_empty(
    word: &str,
    graph: &ImageGraph,
    matches: impl Fn(ImageId) -> bool,
) -> Result<BTreeSet<ImageId>, SelectError> {
    let ids: BTreeSet<ImageId> = graph.iter().map(|(id, _)| id).filter(|id| matches(*id)).collect();
    if ids.is_empty() { Err(unknown(word, graph)) } else { Ok(ids) }
}

fn unknown(word: &str, graph: &ImageGraph) -> SelectError {
    let names = || graph.iter().map(|(_, image)| image.spec.name.as_str());
    let mut same_end = names().filter(|name| name.rsplit('/').next() == Some(word));
    let nearest = match (same_end.next(), same_end.next()) {
        (Some(only), None) => Some(only),
        _ => nearest(word, names()),
    };
    SelectError::Unknown {
        what: "image",
        word: word.to_owned(),
        nearest: nearest.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests;
