//! Parents, pinned: named contexts, by which BuildKit takes exactly the image that this run says for
//! a reference, wherever its tag points.
//!
//! A name is compared in its familiar form without `:latest`, after expansion, for every FROM,
//! `COPY --from` and mount, and before that for the stages of the Dockerfile themselves, which it
//! would silently replace. Source: moby/buildkit `frontend/dockerui/config.go` (`NamedContext`),
//! `frontend/dockerfile/dockerfile2llb/convert.go`.

use crate::engine::instructions::{Instruction, names_a_stage};
use crate::engine::{EngineError, Parent, Request};
use crate::reference::Reference;

/// The names of the contexts, one for each parent.
pub fn names<'a>(
    request: &'a Request,
    instructions: &[Instruction],
) -> Result<Vec<(String, &'a Parent)>, EngineError> {
    let name = |parent: &'a Parent| {
        let name = name(&parent.reference)?;
        if names_a_stage(&name, instructions) {
            return Err(EngineError::Unsupported(format!(
                "`{name}` is an image of this workspace and also a stage of {}: BuildKit cannot tell \
                 them apart; rename the stage",
                request.dockerfile_path.display()
            )));
        }
        Ok((name, parent))
    };
    request.parents.iter().map(name).collect()
}

fn name(reference: &str) -> Result<String, EngineError> {
    let parsed = Reference::parse(reference)
        .map_err(|error| EngineError::Unsupported(format!("cannot pin `{reference}`: {error}")))?;
    let familiar = parsed.familiar();
    Ok(familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_familiar_and_without_latest() {
        for (reference, expected) in [
            ("docker.io/library/base", "base"),
            ("base:latest", "base"),
            ("acme/base:1", "acme/base:1"),
            ("localhost:5000/base", "localhost:5000/base"),
        ] {
            assert_eq!(name(reference).unwrap(), expected);
        }
        assert!(name("acme/B").is_err());
    }
}
