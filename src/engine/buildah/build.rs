//! One build, from the staged context to the image in the store.
#![expect(clippy::disallowed_methods, reason = "a build has files of its own")]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::{PoisonError, mpsc};
use std::time::Duration;

use crate::digest::OciDigest;
use crate::engine::buildah::arguments::{self, Scratch};
use crate::engine::buildah::isolation::Isolation;
use crate::engine::buildah::leftovers::{self, Marker};
use crate::engine::buildah::output::Output;
use crate::engine::buildah::store::Container;
use crate::engine::buildah::traffic::{Chores, Interrupted};
use crate::engine::buildah::{Buildah, failure, options, pins, pull};
use crate::engine::given::{Flags, Given};
use crate::engine::instructions::{self, Instruction};
use crate::engine::staging::{Staged, Transfer};
use crate::engine::{Built, CacheUse, Cancel, EngineError, Progress, Request};
use crate::process::{self, Exit};

/// The first version that reads here-documents.
const HEREDOCS: (u32, u32) = (1, 33);

/// A working container that stays unfinished for longer than this will stay so.
const MAKING: Duration = Duration::from_millis(200);

/// Builds, and leaves nothing behind but the image.
pub fn run(
    engine: &Buildah,
    request: &Request,
    cancel: &Cancel,
    progress: &mut dyn FnMut(Progress),
) -> Result<Built, EngineError> {
    let instructions = instructions::scan(&request.dockerfile);
    refuse_heredocs(engine, request, &instructions)?;
    let request = pins::without_collisions(request, &instructions)?;
    let request = &*without_stale_steps(request, &instructions);
    let given = Given::new(request, &engine.options.root, &engine.options.environment)?;
    let mut given = unquoted(given.flags())?;
    request.scratch.create()?;
    let options = options(engine, request, progress)?;
    pull::run(engine, request, cancel, progress)?;
    let locked = pull::locked(engine, request, cancel, progress)?;
    let contexts = pins::contexts(request, &instructions, &locked)?;
    if cancel.is_raised() {
        return Err(EngineError::Cancelled);
    }
    let staged = stage(request)?;
    let marker = Marker::new(&Scratch(request.scratch.path()).lock())?;
    given.secrets.push(marker.secret().into());
    let (arguments, hidden) = arguments::build(request, &options, &contexts, &given);
    let mut command = engine.program.command();
    command.args(arguments).envs(hidden).env("TMPDIR", Scratch(request.scratch.path()).temporary());

    engine.traffic.enter(leftovers::all(engine.store()?)?);
    let mut output = Output::new(&request.parents);
    let ended =
        process::run(command, &|| cancel.is_raised(), &mut |line| output.line(line, progress));
    let interrupted = match ended {
        Ok(Exit::Code(_)) => Interrupted::No,
        _ => Interrupted::Yes,
    };
    let swept = sweep(engine, &marker);
    let done = do_chores(engine, engine.traffic.leave(interrupted));
    drop(staged);
    match ended.map_err(|error| engine.program.not_run(&error))? {
        Exit::Code(0) => {}
        exit => {
            return Err(failure::classify(exit, &output, &instructions, request.scratch.path()));
        }
    }
    swept.and(done)?;
    let id = built_id(&Scratch(request.scratch.path()).id_file())?;
    Ok(Built {
        output: engine.output(&id, &request.references)?,
        steps: output.steps,
        cached_steps: output.cached_steps,
    })
}

/// Removes working containers, and what still runs in them.
pub fn remove_containers(engine: &Buildah, containers: &[Container]) -> Result<(), EngineError> {
    if containers.is_empty() {
        return Ok(());
    }
    leftovers::kill_inside(containers);
    let ids = containers.iter().map(|container| container.id.as_str());
    let arguments = ["rm"].into_iter().chain(ids);
    engine.program.answer(arguments).map(|_| ())
}

/// buildah splits `--secret` at commas and knows no quotes.
fn unquoted(given: Flags) -> Result<Flags, EngineError> {
    let is_quoted = |secret: &&OsString| secret.to_string_lossy().contains('"');
    match given.secrets.iter().find(is_quoted) {
        None => Ok(given),
        Some(secret) => Err(EngineError::Unsupported(format!(
            "buildah takes no secret with a comma or a quote in it: {}",
            secret.display()
        ))),
    }
}

/// buildah's cache does not look at what a RUN mounts: files of the context, another stage or another
/// image may have changed, and it takes the step of before (`imagebuildah/stage_executor.go`,
/// `intermediateImageExists`).
fn without_stale_steps<'a>(
    request: Cow<'a, Request>,
    instructions: &[Instruction],
) -> Cow<'a, Request> {
    if request.cache == CacheUse::Bypass || !instructions.iter().any(Instruction::mounts_content) {
        return request;
    }
    let request = request.into_owned();
    Cow::Owned(Request { cache: CacheUse::Bypass, cache_from: Vec::new(), ..request })
}

/// An old buildah takes `RUN <<EOF` for a command and the lines below it for instructions.
fn refuse_heredocs(
    engine: &Buildah,
    request: &Request,
    instructions: &[Instruction],
) -> Result<(), EngineError> {
    let Some(first) = instructions.iter().find(|instruction| instruction.has_heredoc) else {
        return Ok(());
    };
    let version = engine.version()?;
    if numbers(version).is_none_or(|numbers| numbers >= HEREDOCS) {
        return Ok(());
    }
    Err(EngineError::Unsupported(format!(
        "{}:{}: buildah {version} does not read here-documents; buildah {}.{} does",
        request.dockerfile_path.display(),
        first.line,
        HEREDOCS.0,
        HEREDOCS.1
    )))
}

/// Major and minor number of a version.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The flags that depend on the machine and on what buildah can; the rest is said.
fn options(
    engine: &Buildah,
    request: &Request,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<String>, EngineError> {
    let isolation = isolation(engine, request.scratch.path())?;
    let network = options::network(isolation, request.network.as_deref())?;
    let (mut flags, left_out) = options::caches(request);
    for sentence in left_out {
        engine.warned.once(&sentence, progress);
    }
    flags.extend(network.into_iter().map(str::to_owned));
    Ok(flags)
}

/// How this machine can isolate, found out by the first build.
fn isolation(engine: &Buildah, scratch: &Path) -> Result<Isolation, EngineError> {
    let mut known = engine.isolation.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(isolation) = *known {
        return Ok(isolation);
    }
    let found = Isolation::probe(&engine.program, &engine.options.environment, scratch)?;
    *known = Some(found);
    Ok(found)
}

/// Writes everything that the build reads into its own directory.
fn stage(request: &Request) -> Result<Staged, EngineError> {
    let scratch = Scratch(request.scratch.path());
    write(&scratch.dockerfile(), &request.dockerfile)?;
    write(&scratch.ignore_file(), b"")?;
    let temporary = scratch.temporary();
    fs::create_dir_all(&temporary).map_err(|source| EngineError::File {
        action: "create",
        path: temporary,
        source,
    })?;
    let mounts = request.dockerfile.windows(7).any(|word| word.eq_ignore_ascii_case(b"--mount"));
    let transfer = if mounts { Transfer::Copy } else { Transfer::Link };
    Staged::new(&request.context, &request.files, scratch.context(), transfer)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    fs::write(path, bytes).map_err(|source| EngineError::File {
        action: "write",
        path: path.to_path_buf(),
        source,
    })
}

/// Removes the working containers that the build left: all of them if it was stopped, some if it
/// failed.
fn sweep(engine: &Buildah, marker: &Marker) -> Result<(), EngineError> {
    remove_containers(engine, &leftovers::of_build(engine.store()?, marker)?)
}

/// What the last of the running builds does.
fn do_chores(engine: &Buildah, chores: Chores) -> Result<(), EngineError> {
    for id in chores.doomed {
        engine.remove_unreferenced(&id)?;
    }
    chores.before.map_or(Ok(()), |before| sweep_unfinished(engine, &before))
}

fn sweep_unfinished(engine: &Buildah, before: &BTreeSet<String>) -> Result<(), EngineError> {
    let store = engine.store()?;
    let suspects = leftovers::unfinished(store, before)?;
    if suspects.is_empty() {
        return Ok(());
    }
    let (_never, nothing) = mpsc::channel::<()>();
    nothing.recv_timeout(MAKING).ok(); // another process may be making one of them
    let mut still = leftovers::unfinished(store, before)?;
    still.retain(|container| suspects.contains(container));
    remove_containers(engine, &still)
}

fn built_id(file: &Path) -> Result<OciDigest, EngineError> {
    let text = fs::read_to_string(file).map_err(|source| EngineError::File {
        action: "read",
        path: file.to_path_buf(),
        source,
    })?;
    let text = text.trim();
    let id = if text.contains(':') { text.to_owned() } else { format!("sha256:{text}") };
    id.parse().map_err(|_| EngineError::Unavailable(format!("buildah calls the image `{text}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(numbers("1.28.2"), Some((1, 28)));
        assert_eq!(numbers("1.9.0"), Some((1, 9)));
        assert!(numbers("1.9.0") < Some(HEREDOCS));
        assert_eq!(numbers("1.40.0-dev"), Some((1, 40)));
        assert_eq!(numbers("unknown"), None);
    }

    #[test]
    fn a_secret_that_buildah_would_take_apart_is_refused() {
        let given =
            |secret: &str| unquoted(Flags { secrets: vec![secret.into()], ..Flags::default() });
        assert!(given("id=x,type=file,src=/a").is_ok());
        let error = given(r#"id=x,type=file,"src=/a,b""#).unwrap_err();
        assert!(matches!(error, EngineError::Unsupported(text) if text.contains("/a,b")));
    }
}
