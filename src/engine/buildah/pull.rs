//! Asking registries again for images from outside that the store has.
//!
//! `buildah build --pull=always` refuses parents that are pinned by their ids, so the images from
//! outside are pulled before the build. Each is pulled once by an engine: all builds of a run see the
//! same.

use std::sync::PoisonError;

use crate::dockerfile::reads::ImageUse;
use crate::engine::buildah::output::Output;
use crate::engine::buildah::push::transfer_flags;
use crate::engine::buildah::{Buildah, failure, pins};
use crate::engine::{Cancel, EngineError, Progress, Request};
use crate::process::{self, Exit};

/// Pulls what a build reads from outside, if that is asked for.
pub fn run(
    engine: &Buildah,
    request: &Request,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), EngineError> {
    if !request.pull {
        return Ok(());
    }
    let mut pulled = engine.pulled.lock().unwrap_or_else(PoisonError::into_inner);
    for image in externals(request) {
        let key = (image.reference.clone(), image.platform.to_string());
        if !pulled.contains(&key) {
            one(engine, request, &image, cancel, progress)?;
            pulled.insert(key);
        }
    }
    Ok(())
}

/// The images that are read and that no parent stands for.
fn externals(request: &Request) -> Vec<ImageUse> {
    let mut images = pins::images(request);
    images.retain(|image| {
        let is_parent =
            |reference: &str| request.parents.iter().any(|parent| parent.reference == reference);
        image.reference != "scratch" && !is_parent(&image.reference)
    });
    images
}

fn one(
    engine: &Buildah,
    request: &Request,
    image: &ImageUse,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), EngineError> {
    let mut command = engine.program.command();
    command.args(["pull", "--policy=always"]).args(transfer_flags(&image.reference));
    command.arg(format!("--platform={}", image.platform)).arg(&image.reference);
    let mut output = Output::default();
    let exit =
        process::run(command, &|| cancel.is_raised(), &mut |line| output.line(line, progress));
    let error = match exit.map_err(|error| engine.program.not_run(&error))? {
        Exit::Code(0) => return Ok(()),
        exit => failure::of_transfer(exit, &output),
    };
    Err(match error {
        // What the registry does not have is the Dockerfile's to mend.
        EngineError::Unsupported(message) => {
            EngineError::Step { message, line: line(request, image), exit_code: None }
        }
        error => error,
    })
}

/// The line of the instruction that reads an image.
fn line(request: &Request, image: &ImageUse) -> Option<u32> {
    let before = request.dockerfile.get(..image.span.range().start)?;
    let line = before.split(|byte| *byte == b'\n').count();
    u32::try_from(line).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Parent;
    use crate::engine::fixture::request;

    #[test]
    fn what_no_parent_stands_for_comes_from_outside() {
        let dockerfile = "ARG BASE=debian:12\nFROM ${BASE} AS one\nFROM acme/base\n\
            COPY --from=one /a /\nCOPY --from=busybox /b /\nFROM scratch AS last\nCOPY --from=1 / /\n";
        let parent = Parent {
            reference: "acme/base".into(),
            id: format!("sha256:{}", "1".repeat(64)).parse().unwrap(),
            pinned: "acme/base:ig-1".into(),
        };
        let request = Request { dockerfile: dockerfile.into(), parents: vec![parent], ..request() };
        let found = externals(&request);
        assert_eq!(found.iter().map(|image| line(&request, image)).max(), Some(Some(5)));
        let mut found: Vec<&str> = found.iter().map(|image| image.reference.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, ["busybox", "debian:12"]);
    }
}
