//! Parents, pinned: what `--build-context` is told so that buildah uses exactly the image that this
//! run says, wherever the tags point.
//!
//! buildah looks a FROM up as it is *written*, before variables are expanded and with its quotes,
//! but a `COPY --from` and a `RUN --mount=from` after expansion (`imagebuildah/executor.go`,
//! `stage_executor.go`, `additionalBuildContexts`). So a parent is pinned under both spellings.

use crate::dockerfile::reads::ImageUse;
use crate::dockerfile::{self, Flavour, UseKind, reads};
use crate::engine::instructions::{Instruction, names_a_stage};
use crate::engine::{EngineError, Request};
use crate::image::Platform;

/// The values of `--build-context`, one for each spelling of each parent.
///
/// Errors: [`EngineError::Unsupported`] where a pin would silently replace a stage of the
/// Dockerfile, or cannot be written.
pub fn contexts(
    request: &Request,
    instructions: &[Instruction],
) -> Result<Vec<String>, EngineError> {
    let mut contexts = Vec::new();
    for (spelling, parent) in spellings(request, instructions) {
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
        let id = request.parents[parent].id.hex();
        contexts.push(format!("{spelling}=container-image://{id}"));
    }
    Ok(contexts)
}

/// The spellings of the parents, with the parent's place in the request.
fn spellings(request: &Request, instructions: &[Instruction]) -> Vec<(String, usize)> {
    let references = request.parents.iter().zip(0..);
    let mut found: Vec<(String, usize)> =
        references.map(|(parent, at)| (parent.reference.clone(), at)).collect();
    let written = instructions.iter().filter_map(Instruction::base);
    if request.parents.is_empty() || !written.clone().any(is_expanded) {
        return found;
    }
    for (word, reference) in expanded_bases(request) {
        let meant = request.parents.iter().position(|parent| parent.reference == reference);
        if let Some(parent) = meant
            && is_expanded(&word)
            && written.clone().any(|base| base == word)
            && !found.iter().any(|(spelling, _)| *spelling == word)
        {
            found.push((word, parent));
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
    let (dockerfile, _) = dockerfile::parse(&request.dockerfile);
    let question = reads::Request {
        target: request.target.as_deref(),
        args: &request.args,
        platform: &request.platform,
        build_platform: &Platform::host(),
        flavour: Flavour::Buildah,
        onbuild: &|_| Vec::new(),
    };
    reads::resolve(&dockerfile, &question).0.images
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

    #[test]
    fn the_written_base_is_found_in_either_span() {
        assert_eq!(written_base("FROM --platform=$P ${A} AS x").as_deref(), Some("${A}"));
        assert_eq!(written_base("${A}").as_deref(), Some("${A}"));
        assert_eq!(written_base(" "), None);
    }
}
