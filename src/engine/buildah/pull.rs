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

/// Brings what the lock file pins into the store, where it is not there already, and returns the ids:
/// a row for each of the request's. A build is then given it like a parent, whatever its tag points at.
pub fn locked(
    engine: &Buildah,
    request: &Request,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<String>, EngineError> {
    let mut pulled = engine.locked.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ids = Vec::new();
    for locked in &request.locked {
        if let Some(id) = pulled.get(&locked.pinned) {
            ids.push(id.clone());
            continue;
        }
        let Some(platform) = &locked.platform else {
            let text = format!(
                "{}: buildah cannot pin `{}` for several platforms at once",
                request.dockerfile_path.display(),
                locked.reference
            );
            return Err(EngineError::Unsupported(text));
        };
        let mut command = engine.program.command();
        command.args(["pull", "--quiet", "--policy=missing"]);
        command.args(transfer_flags(&locked.pinned)).arg(format!("--platform={platform}"));
        command.arg(&locked.pinned);
        let (mut output, mut id) = (Output::default(), String::new());
        let exit = process::run(command, &|| cancel.is_raised(), &mut |line| {
            // Its only line on standard output is the id.
            if is_id(line) { line.clone_into(&mut id) } else { output.line(line, progress) }
        });
        match exit.map_err(|error| engine.program.not_run(&error))? {
            Exit::Code(0) if !id.is_empty() => {}
            Exit::Code(0) => {
                let text = format!("`buildah pull {}` names no image", locked.pinned);
                return Err(EngineError::Unavailable(text));
            }
            exit => return Err(failure::of_transfer(exit, &output)),
        }
        pulled.insert(locked.pinned.clone(), id.clone());
        ids.push(id);
    }
    Ok(ids)
}

fn is_id(line: &str) -> bool {
    line.len() == 64 && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The images that are read and that nothing is known to stand for.
fn externals(request: &Request) -> Vec<ImageUse> {
    let mut images = pins::images(request);
    images.retain(|image| image.reference != "scratch" && !request.pins(&image.reference));
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
