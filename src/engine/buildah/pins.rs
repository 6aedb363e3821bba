//! Parents and images from outside, pinned: what `--build-context` is told so that buildah uses
//! exactly the image that this run, or the lock file, says, wherever the tags point.
//!
//! buildah looks a FROM up as it is *written*, before variables are expanded and with its quotes,
//! but a `COPY --from` and a `RUN --mount=from` after expansion (`imagebuildah/executor.go`,
//! `stage_executor.go`, `additionalBuildContexts`). So a parent is pinned under both spellings.

use std::borrow::Cow;

use crate::dockerfile::reads::{ImageUse, Reads};
use crate::dockerfile::{self, Flavour, UseKind, reads};
use crate::engine::buildkit::pins::edit;
use crate::engine::instructions::{Instruction, names_a_stage};
use crate::engine::{EngineError, Locked, Request};
use crate::image::Platform;

/// The values of `--build-context`, one for each spelling of each parent and of each image from
/// outside that is pinned; `locked` has the ids of those.
///
/// Errors: [`EngineError::Unsupported`] where a pin would silently replace a stage of the
/// Dockerfile, or cannot be written.
pub fn contexts(
    request: &Request,
    instructions: &[Instruction],
    locked: &[String],
) -> Result<Vec<String>, EngineError> {
    let parents = request.parents.iter().map(|it| (it.reference.as_str(), it.id.hex()));
    let outside = request.locked.iter().zip(locked).map(|(it, id)| (it.reference.as_str(), &**id));
    let pinned: Vec<(&str, &str)> = parents.chain(outside).collect();
    let mut contexts = Vec::new();
    for (spelling, row) in spellings(request, &pinned, instructions) {
        if names_a_stage(&spelling, instructions) {
            let text = format!(
                "`{spelling}` is an image of this workspace and also a stage of {}: buildah cannot \
                 tell them apart; rename the stage",
                request.dockerfile_path.display()
            );
            return Err(EngineError::Unsupported(text));
        }
        if spelling.contains('=') {
            let text = format!("buildah cannot pin `FROM {spelling}`; give the value with ARG");
            return Err(EngineError::Unsupported(text));
        }
        contexts.push(format!("{spelling}=container-image://{}", pinned[row].1));
    }
    Ok(contexts)
}

/// The request with images from outside by their digests where they are called like a stage: a pin
/// would replace the stage. The Dockerfile on the disk is not touched.
pub fn without_collisions<'a>(
    request: &'a Request,
    instructions: &[Instruction],
) -> Result<Cow<'a, Request>, EngineError> {
    let (named, others): (Vec<_>, Vec<_>) = request
        .locked
        .iter()
        .cloned()
        .partition(|locked| names_a_stage(&locked.reference, instructions));
    if named.is_empty() {
        return Ok(Cow::Borrowed(request));
    }
    let pins: Vec<(&str, &str)> =
        named.iter().map(|locked| (&*locked.reference, &*locked.pinned)).collect();
    let why = "buildah cannot pin it there";
    let dockerfile = edit(request, &read(request), &pins, why)?;
    // What is written now is pinned by what it is.
    let written =
        named.iter().map(|locked| Locked { reference: locked.pinned.clone(), ..locked.clone() });
    let locked = others.into_iter().chain(written).collect();
    Ok(Cow::Owned(Request { dockerfile, locked, ..request.clone() }))
}

/// The spellings of what is pinned, with its row.
fn spellings(
    request: &Request,
    pinned: &[(&str, &str)],
    instructions: &[Instruction],
) -> Vec<(String, usize)> {
    let references = pinned.iter().zip(0..);
    let mut found: Vec<(String, usize)> =
        references.map(|((reference, _), at)| ((*reference).to_owned(), at)).collect();
    let written = instructions.iter().filter_map(Instruction::base);
    if pinned.is_empty() || !written.clone().any(is_expanded) {
        return found;
    }
    for (word, reference) in expanded_bases(request) {
        let meant = pinned.iter().position(|(pinned, _)| *pinned == reference);
        if let Some(row) = meant
            && is_expanded(&word)
            && written.clone().any(|base| base == word)
            && !found.iter().any(|(spelling, _)| *spelling == word)
        {
            found.push((word, row));
        }
    }
    found
}

/// Whether a word is not what it stands for.
fn is_expanded(word: &str) -> bool {
    word.contains(['$', '"', '\'', '\\', '`'])
}

/// The images that the Dockerfile reads.
pub fn images(request: &Request) -> Vec<ImageUse> {
    read(request).images
}

/// Our own reading of the Dockerfile.
fn read(request: &Request) -> Reads {
    let (dockerfile, _) = dockerfile::parse(&request.dockerfile);
    let question = reads::Request {
        target: request.target.as_deref(),
        args: &request.args,
        platform: &request.platform,
        build_platform: &Platform::host(),
        flavour: Flavour::Buildah,
        onbuild: &|_| Vec::new(),
    };
    reads::resolve(&dockerfile, &question).0
}

/// What every FROM names: as written, and after expansion.
fn expanded_bases(request: &Request) -> Vec<(String, String)> {
    let bases = images(request).into_iter().filter(|image| image.kind == UseKind::From);
    bases
        .filter_map(|image| {
            let text = request.dockerfile.get(image.span.range())?;
            Some((written_base(&String::from_utf8_lossy(text))?, image.reference))
        })
        .collect()
}

/// The word, of a span that is the word or its whole FROM.
fn written_base(span: &str) -> Option<String> {
    let mut words = span.split_whitespace();
    let first = words.next()?;
    if !first.eq_ignore_ascii_case("from") {
        return Some(first.to_owned());
    }
    words.find(|word| !word.starts_with("--")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::request;
    use crate::engine::instructions::scan;

    #[test]
    fn what_is_called_like_a_stage_is_written_by_its_digest() {
        let digest = "sha256:".to_owned() + &"1".repeat(64);
        let locked = |reference: &str| Locked {
            reference: reference.to_owned(),
            pinned: format!("docker.io/library/{reference}@{digest}"),
            platform: None,
        };
        let request = Request {
            dockerfile: b"FROM alpine\nFROM busybox AS busybox\nFROM busybox\n".to_vec(),
            locked: vec![locked("busybox"), locked("alpine")],
            ..request()
        };
        let instructions = scan(&request.dockerfile);
        let without = without_collisions(&request, &instructions).unwrap();
        let pinned = format!("docker.io/library/busybox@{digest}");
        assert_eq!(
            String::from_utf8_lossy(&without.dockerfile),
            format!("FROM alpine\nFROM {pinned} AS busybox\nFROM busybox\n")
        );
        let ids = ["a".to_owned(), "b".to_owned()];
        assert_eq!(
            contexts(&without, &instructions, &ids).unwrap(),
            ["alpine=container-image://a".to_owned(), format!("{pinned}=container-image://b")]
        );
    }

    #[test]
    fn the_written_base_is_found_in_either_span() {
        assert_eq!(written_base("FROM --platform=$P ${A} AS x").as_deref(), Some("${A}"));
        assert_eq!(written_base("${A}").as_deref(), Some("${A}"));
        assert_eq!(written_base(" "), None);
    }
}
