//! What a layer allows: the order of layers, images from outside, users.
//!
//! Judges the graph and what the Dockerfiles say; `run` judges the size of what was built.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Place, Severity, Span};
use crate::graph::{External, Image, ImageGraph};
use crate::image::ImageId;
use crate::layers::{Layer, Layers, RuleLevel};
use crate::lockfile::{LOCK_FILE, LockFile};
use crate::reference::Reference;

const LAYER_ORDER: &str = "IG030";
const NO_LAYER: &str = "IG031";
const EXTERNAL: &str = "IG032";
const UNPINNED: &str = "IG033";
const LATEST: &str = "IG034";
const ROOT_USER: &str = "IG035";
const UNLOCKED: &str = "IG036";

/// Judges every image.
pub fn check(graph: &ImageGraph, layers: &Layers, lock: Option<&LockFile>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for (id, image) in graph.iter() {
        let mut found = Vec::new();
        found.extend(image.externals.iter().filter_map(latest));
        if let Some(lock) = lock {
            found.extend(image.externals.iter().filter_map(|used| unlocked(used, lock)));
        }
        match image.spec.layer {
            Some(row) => {
                let layer = &layers.layers[row];
                found.extend(layer_order(graph, layers, image, row));
                found.extend(image.externals.iter().filter_map(|used| external(used, layer)));
                found.extend(image.externals.iter().filter_map(|used| unpinned(used, layer, lock)));
                found.extend(root_user(graph, id, layer));
            }
            None if !layers.layers.is_empty() => found.push(no_layer(image)),
            None => (),
        }
        let path = &image.spec.dockerfile;
        problems.extend(found.into_iter().map(|problem| problem.in_file(path)));
    }
    problems
}

fn layer_order(graph: &ImageGraph, layers: &Layers, image: &Image, row: usize) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for edge in &image.parents {
        let parent = graph.image(edge.parent);
        let Some(above) = parent.spec.layer else { continue };
        if layers.allows(row, above) {
            continue;
        }
        let (here, there) = (&layers.layers[row].name, &layers.layers[above].name);
        let message =
            format!("layer `{here}` may not build on layer `{there}` (`{}`)", parent.spec.name);
        let help = if above > row {
            format!(
                "`{there}` stands below `{here}` in layers.toml: move the image, or what it needs"
            )
        } else {
            format!("add \"{there}\" to `from` of layer `{here}` in layers.toml if that is meant")
        };
        let rule = Place { path: Arc::from("layers.toml"), span: Some(layers.layers[row].span) };
        problems.push(
            Diagnostic::error(LAYER_ORDER, message).at(edge.span).help(help).and(rule, "the layer"),
        );
    }
    problems
}

fn no_layer(image: &Image) -> Diagnostic {
    Diagnostic::warning(NO_LAYER, format!("`{}` belongs to no layer", image.spec.name))
        .help("add its directory to `dirs` of a [[layer]] in layers.toml")
}

fn external(used: &External, layer: &Layer) -> Option<Diagnostic> {
    let externals = layer.externals.as_ref()?;
    let is_listed = |text: &str| externals.globs.is_match(text);
    let familiar = used.normalised.familiar();
    // Else `docker.io/quay.io/app` would pass as `quay.io/app`, which is another image.
    let is_its_own = || Reference::parse(&familiar).as_ref() == Ok(&used.normalised);
    if is_listed(&used.normalised.to_string()) || is_listed(&familiar) && is_its_own() {
        return None;
    }
    let message = format!("layer `{}` may not build on `{}`", layer.name, used.reference);
    let help = if externals.patterns.is_empty() {
        "its `externals` in layers.toml allow no image from outside".to_owned()
    } else {
        format!("its `externals` in layers.toml allow {}", externals.patterns.join(", "))
    };
    Some(Diagnostic::error(EXTERNAL, message).at(used.span).help(help))
}

fn unpinned(used: &External, layer: &Layer, lock: Option<&LockFile>) -> Option<Diagnostic> {
    let level = layer.rules.pinned?;
    let is_in_lock = lock.is_some_and(|lock| is_locked(used, lock));
    if used.normalised.digest.is_some() || is_in_lock {
        return None;
    }
    let message = format!("`{}` has no digest: it may be another image tomorrow", used.reference);
    let mut problem = Diagnostic::error(UNPINNED, message).at(used.span);
    if level == RuleLevel::Warning {
        problem.severity = Severity::Warning;
    }
    let help = format!("write {}@sha256:.., or have `imgraph update` pin it", used.reference);
    Some(problem.help(help))
}

fn is_locked(used: &External, lock: &LockFile) -> bool {
    lock.digest(&used.normalised, &used.platform).is_some()
}

/// What a lock file does not pin although there is one.
fn unlocked(used: &External, lock: &LockFile) -> Option<Diagnostic> {
    if used.normalised.digest.is_some() || is_locked(used, lock) {
        return None;
    }
    let message = format!("{LOCK_FILE} has no `{}` for {}", used.reference, used.platform);
    let help = format!("`imgraph update {}` pins it", used.reference);
    Some(Diagnostic::warning(UNLOCKED, message).at(used.span).help(help))
}

fn latest(used: &External) -> Option<Diagnostic> {
    let tag = used.normalised.tag.as_deref().unwrap_or("latest");
    (tag == "latest" && used.normalised.digest.is_none()).then(|| {
        let message = format!("`{}` follows `latest`", used.reference);
        Diagnostic::warning(LATEST, message).at(used.span).help("name a version")
    })
}

/// A user is inherited along FROM: the first image of the chain that names one decides.
fn root_user(graph: &ImageGraph, id: ImageId, layer: &Layer) -> Option<Diagnostic> {
    if !layer.rules.non_root {
        return None;
    }
    let mut image = graph.image(id);
    let mut steps = graph.len();
    let user = loop {
        if let Some(user) = &image.reads.user {
            break Some(user.as_str());
        }
        let base = image.reads.base.as_deref();
        let parent = base.and_then(|base| image.parents.iter().find(|edge| edge.reference == base));
        match parent {
            Some(edge) if steps > 0 => image = graph.image(edge.parent),
            _ => break None,
        }
        steps -= 1;
    };
    let name = user.map(|user| user.split(':').next().unwrap_or(user));
    let message = match name {
        Some("root" | "0" | "") => "the image runs as root",
        Some(_) => return None,
        None => "no USER is set: the image runs as whatever its base does, root most often",
    };
    let help = format!("layer `{}` asks for a user other than root: end with USER", layer.name);
    Some(Diagnostic::error(ROOT_USER, message).at(Span::default()).help(help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::UseKind;
    use crate::layers;

    #[test]
    fn an_image_of_the_hub_does_not_pass_as_one_of_the_registry_it_is_named_after() {
        // reference `FamiliarString`: docker.io/quay.io/app is shown as quay.io/app
        let text = "[[layer]]\nname = 'a'\ndirs = ['a']\nexternals = ['quay.io/**', 'acme/**']";
        let (layers, problems) = layers::parse(text);
        assert_eq!(problems, []);
        let is_allowed = |reference: &str| {
            let used = External {
                reference: reference.to_owned(),
                normalised: reference.parse().unwrap(),
                platform: "linux/amd64".parse().unwrap(),
                kind: UseKind::From,
                span: Span::default(),
            };
            external(&used, &layers.layers[0]).is_none()
        };
        assert!(is_allowed("quay.io/app:1") && is_allowed("docker.io/acme/app:1"));
        assert!(!is_allowed("docker.io/quay.io/app:1"));
    }
}
