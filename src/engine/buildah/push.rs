//! Sending an image of the store to registries.
//!
//! Layers that a registry has are not sent again, so pushing twice costs a few questions.

use crate::digest::OciDigest;
use crate::engine::buildah::output::Output;
use crate::engine::buildah::{Buildah, failure};
use crate::engine::{Cancel, EngineError, Progress};
use crate::process::{self, Exit};
use crate::reference::{Reference, is_loopback};

/// Pushes an image under each of the references, in their order.
pub fn run(
    engine: &Buildah,
    id: &OciDigest,
    references: &[String],
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), EngineError> {
    for reference in references {
        one(engine, id, reference, cancel, progress)?;
    }
    Ok(())
}

fn one(
    engine: &Buildah,
    id: &OciDigest,
    reference: &str,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), EngineError> {
    let mut command = engine.program.command();
    command.arg("push").args(transfer_flags(reference));
    command.arg(id.hex()).arg(format!("docker://{reference}"));
    let mut output = Output::default();
    let exit =
        process::run(command, &|| cancel.is_raised(), &mut |line| output.line(line, progress));
    match exit.map_err(|error| engine.program.not_run(&error))? {
        Exit::Code(0) => Ok(()),
        exit => Err(failure::of_transfer(exit, &output)),
    }
}

/// The flags that pulling and pushing share. Whoever asks for it tries again, and says so. As for Docker,
/// a registry of this machine needs no certificate.
pub fn transfer_flags(reference: &str) -> impl Iterator<Item = &'static str> {
    let is_near = Reference::parse(reference).is_ok_and(|it| is_loopback(&it.domain));
    let lenient = is_near.then_some("--tls-verify=false");
    ["--retry=0"].into_iter().chain(lenient)
}
