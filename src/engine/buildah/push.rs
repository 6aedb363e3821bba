//! Sending an image of the store to registries.
//!
//! Layers that a registry has are not sent again, so pushing twice costs a few questions.

use std::net::IpAddr;

use crate::digest::OciDigest;
use crate::engine::buildah::output::Output;
use crate::engine::buildah::{Buildah, failure};
use crate::engine::{Cancel, EngineError, Progress};
use crate::process::{self, Exit};
use crate::reference::Reference;

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
    let lenient = is_loopback(reference).then_some("--tls-verify=false");
    ["--retry=0"].into_iter().chain(lenient)
}

/// Whether the registry is on this machine.
fn is_loopback(reference: &str) -> bool {
    let Ok(reference) = Reference::parse(reference) else { return false };
    let host = match reference.domain.rsplit_once(':') {
        Some((host, _port)) => host,
        None => &reference.domain,
    };
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_of_this_machine_needs_no_certificate() {
        for (reference, expected) in [
            ("127.0.0.1:5000/a", true),
            ("127.8.0.1:5000/a:1", true),
            ("localhost:5000/a", true),
            ("localhost/a", true),
            ("[::1]:5000/a", true),
            ("registry.example.com/a", false),
            ("localhost.example.com/a", false),
            ("10.0.0.7:5000/a", false),
            ("acme/a", false),
        ] {
            assert_eq!(is_loopback(reference), expected, "{reference}");
        }
    }
}
