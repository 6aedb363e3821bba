//! One build, from the staged context to the image in the daemon's store.
#![expect(clippy::disallowed_methods, reason = "a build has files of its own")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::digest::OciDigest;
use crate::engine::buildx::arguments::{self, Scratch};
use crate::engine::buildx::builder::Builder;
use crate::engine::buildx::output::Output;
use crate::engine::buildx::{Buildx, failure, handover, pins};
use crate::engine::given::Given;
use crate::engine::instructions::{self, Instruction};
use crate::engine::staging::{Staged, Transfer};
use crate::engine::{Built, Cancel, EngineError, Progress, Request};
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
    let instructions = instructions::scan(&request.dockerfile);
    let options = &engine.options;
    let given = Given::new(request, &options.root, &options.environment)?.flags();
    let builder = engine.builder()?;
    let contexts = contexts(engine, builder, request, &instructions, cancel)?;
    let staged = stage(request)?;
    let name = options.builder.as_deref();
    let (arguments, hidden) = arguments::build(request, builder, name, &contexts, &given);
    let mut command = engine.program.command();
    command.args(arguments).envs(hidden).env("BUILDX_METADATA_PROVENANCE", "disabled");

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
        None => made(&Scratch(&request.scratch).metadata())?.to_string(),
    };
    Ok(Built {
        output: engine.output(&name, &request.references)?,
        steps: output.tracker.steps(),
        cached_steps: output.tracker.cached_steps(),
    })
}

/// The values of `--build-context`, one for each parent.
fn contexts(
    engine: &Buildx,
    builder: &Builder,
    request: &Request,
    instructions: &[Instruction],
    cancel: &Cancel,
) -> Result<Vec<String>, EngineError> {
    let mut contexts = Vec::new();
    for (number, (name, parent)) in pins::names(request, instructions)?.into_iter().enumerate() {
        if cancel.is_raised() {
            return Err(EngineError::Cancelled);
        }
        let image = if builder.is_daemon() {
            format!("docker-image://{}", parent.pinned)
        } else {
            let path = Scratch(&request.scratch).parent(number);
            handover::context(&engine.program, parent, &path)?
        };
        contexts.push(format!("{name}={image}"));
    }
    Ok(contexts)
}

/// Writes everything that the build reads into its own directory.
fn stage(request: &Request) -> Result<Staged, EngineError> {
    let scratch = Scratch(&request.scratch);
    write(&scratch.dockerfile(), &request.dockerfile)?;
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
