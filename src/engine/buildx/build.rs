//! One build, from the staged context to the image in the daemon's store.
#![expect(clippy::disallowed_methods, reason = "a build has files of its own")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::digest::OciDigest;
use crate::engine::buildkit::pins::{self, Pins};
use crate::engine::buildx::arguments::{self, Scratch, is_apart};
use crate::engine::buildx::builder::Builder;
use crate::engine::buildx::output::Output;
use crate::engine::buildx::{Buildx, failure, handover, registry};
use crate::engine::given::Given;
use crate::engine::staging::{Staged, Transfer};
use crate::engine::{Built, Cancel, EngineError, Parent, Progress, Request, epoch};
use crate::process::{self, Exit};

/// Patterns that leave nothing out. An empty file would count as none.
const NO_PATTERNS: &[u8] = b"# what is ignored was decided already\n";

/// What buildx calls the digest of the image that it made.
const DIGEST: &str = "containerimage.digest";

/// Builds. What buildx started ends with it: the builder stops what its client gave up.
pub fn run(
    engine: &Buildx,
    request: &Request,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<Built, EngineError> {
    let builder = engine.builder()?;
    let options = &engine.options;
    let given = Given::new(request, &options.root, &options.environment)?.flags();
    warn(engine, builder, request, progress);
    request.scratch.create()?;
    let pins = pins(engine, builder, request, cancel)?;
    pull(engine, builder, request, cancel)?;
    let staged = stage(request, &pins)?;
    let name = options.builder.as_deref();
    let (arguments, hidden) = arguments::build(request, builder, name, &pins.contexts, &given);
    let mut command = engine.program.command();
    command.args(arguments).envs(hidden).env("BUILDX_METADATA_PROVENANCE", "disabled");
    // buildx makes a build argument of the variable, where there is none.
    command.env_remove(epoch::ARGUMENT);

    let mut output = Output::new(&request.parents);
    let ended =
        process::run(command, &|| cancel.is_raised(), &mut |line| output.line(line, progress));
    output.finish(progress);
    drop(staged);
    match ended.map_err(|error| engine.program.not_run(&error))? {
        Exit::Code(0) => {}
        exit => return Err(failure::classify(exit, &output, &request.dockerfile)),
    }
    let name = match request.references.first() {
        Some(reference) => reference.clone(),
        None => made(&Scratch(request.scratch.path()).metadata())?.to_string(),
    };
    Ok(Built {
        output: engine.output(&name, &request.references)?,
        steps: output.tracker.steps(),
        cached_steps: output.tracker.cached_steps(),
    })
}

/// Says what was asked for and cannot be had.
fn warn(engine: &Buildx, builder: &Builder, request: &Request, progress: &mut dyn FnMut(Progress)) {
    if (request.sbom || request.provenance.is_some()) && !builder.has_attestations {
        let text = "no SBOM and no provenance is attached: it takes a builder in a Docker with \
            containerd's store";
        engine.warned.once(text, progress);
    }
    if request.cache_to.iter().any(|cache| is_apart(cache)) && !builder.has_caches {
        let text = "caches are not written: it takes a Docker with containerd's store, or another \
            builder";
        engine.warned.once(text, progress);
    }
}

/// Pins the parents: in the daemon's store under their key tags, for other builders handed over.
fn pins(
    engine: &Buildx,
    builder: &Builder,
    request: &Request,
    cancel: &Cancel,
) -> Result<Pins, EngineError> {
    let mut locations = BTreeMap::new();
    for (number, parent) in request.parents.iter().enumerate() {
        if cancel.is_raised() {
            return Err(EngineError::Cancelled);
        }
        let location = if builder.is_daemon() {
            format!("docker-image://{}", parent.pinned)
        } else {
            let path = Scratch(request.scratch.path()).parent(number);
            handover::context(&engine.program, parent, &path, cancel)?
        };
        locations.insert(parent.reference.as_str(), location);
    }
    let locate = |parent: &Parent| locations[parent.reference.as_str()].clone();
    Pins::new(request, builder.has_contexts, &locate)
}

/// Pulls what comes from outside, where BuildKit cannot be told to without pulling parents too.
fn pull(
    engine: &Buildx,
    builder: &Builder,
    request: &Request,
    cancel: &Cancel,
) -> Result<(), EngineError> {
    if !request.pull || arguments::may_pull_all(request, builder) {
        return Ok(());
    }
    for reference in pins::externals(request) {
        let mut command = engine.program.command();
        command.args(["image", "pull", "--quiet", "--platform"]);
        command.arg(request.platform.to_string()).arg(&reference);
        registry::run(&engine.program, command, &format!("pull {reference}"), cancel, &mut |_| {})?;
    }
    Ok(())
}

/// Writes everything that the build reads into its own directory.
fn stage(request: &Request, pins: &Pins) -> Result<Staged, EngineError> {
    let scratch = Scratch(request.scratch.path());
    write(&scratch.dockerfile(), &pins.dockerfile)?;
    write(&scratch.ignore_file(), NO_PATTERNS)?;
    let context = scratch.context(request);
    Staged::new(&request.context, &request.files, context, Transfer::Stamp(request.epoch))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    fs::write(path, bytes).map_err(|source| EngineError::File {
        action: "write",
        path: path.to_path_buf(),
        source,
    })
}

/// The digest of the image, of one that has no reference.
fn made(metadata: &Path) -> Result<OciDigest, EngineError> {
    let bytes = fs::read(metadata).map_err(|source| EngineError::File {
        action: "read",
        path: metadata.to_path_buf(),
        source,
    })?;
    let fields: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&bytes).unwrap_or_default();
    let digest = fields.get(DIGEST).and_then(|digest| digest.as_str()?.parse().ok());
    digest.ok_or_else(|| EngineError::Unavailable("buildx does not say what it made".into()))
}
