//! `prepare`: a command that makes context files before they are fingerprinted.
//!
//! It runs only when its command or a declared input changed, or a declared output is missing. What
//! it makes is an input like any other file, so that the same bytes rebuild nothing. Its key is
//! recorded when it has succeeded; whoever edits an output by hand gets what he made.
#![expect(clippy::disallowed_methods, reason = "lists the inputs of a command, and runs it")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::cancel::Cancel;
use crate::clock::Timer;
use crate::digest::{Digest, Hasher};
use crate::fingerprint::reason::PrepareCause;
use crate::gather::root::{Kind, Look, Root};
use crate::gather::stat::{Known, StatCache};
use crate::gather::{GatherError, STATE_DIR, hash};
use crate::history::Prepared;
use crate::layers::Prepare;
use crate::process::{self, Exit, ProcessError};

/// Whether a `prepare` has to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The digest of its command and its inputs as they are now.
    pub key: Digest,
    /// Why it has to run; `None`: its outputs are up to date.
    pub cause: Option<PrepareCause>,
}

/// Why a `prepare` failed.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The shell could not be started.
    #[error("prepare")]
    Start(#[from] ProcessError),
    /// Its inputs could not be read.
    #[error("prepare")]
    Inputs(#[from] GatherError),
    /// The command ended with another exit code than 0.
    #[error("prepare `{command}` ended with exit code {code}")]
    Code {
        /// The command.
        command: String,
        /// The exit code.
        code: i32,
    },
    /// The command was killed.
    #[error("prepare `{command}` was ended by signal {signal}")]
    Signal {
        /// The command.
        command: String,
        /// The signal.
        signal: i32,
    },
    /// It ended well, but a declared output does not exist.
    #[error("prepare `{command}` did not make `{output}`")]
    NoOutput {
        /// The command.
        command: String,
        /// The pattern that matches nothing.
        output: String,
    },
    /// Its inputs changed while it ran.
    #[error("the inputs of prepare `{command}` changed while it ran; run again")]
    Moved {
        /// The command.
        command: String,
    },
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl PrepareError {
    /// Whether its inputs changed while it ran.
    pub fn is_moved(&self) -> bool {
        matches!(self, Self::Moved { .. })
    }

    /// Whether it was stopped on purpose.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

/// Where a `prepare` runs.
pub struct Place<'a> {
    /// The image's directory, absolute.
    pub directory: PathBuf,
    /// The same relative to the workspace root: the key of the stat cache.
    pub path: &'a str,
    /// What is known of its files.
    pub stat: &'a StatCache,
}

impl Place<'_> {
    /// Notes what a path of the image's directory is: what has to be prepared rests on it.
    fn observe(&self, root: &Root, path: &Path, look: Look) {
        let full = Path::new(self.path).join(path);
        let full = full.as_os_str().as_bytes();
        match root.look(path.as_os_str().as_bytes(), look) {
            Ok(identity) => self.stat.note(full, look, identity),
            Err(_) => self.stat.give_up(full),
        }
    }
}

/// Whether the `prepare` of an image has to run; `known` is the last run that succeeded.
pub fn state(
    place: &Place<'_>,
    command: &Prepare,
    known: Option<&Prepared>,
) -> Result<State, GatherError> {
    let key = key(place, command)?;
    let cause = match known {
        None => Some(PrepareCause::NeverRan),
        Some(known) if known.key != key => Some(PrepareCause::InputsChanged),
        Some(_) => missing_output(place, command)?.map(PrepareCause::OutputMissing),
    };
    Ok(State { key, cause })
}

/// Runs a `prepare`; returns its key, which `begun` hears first, and how long it took, in
/// milliseconds.
pub fn run(
    place: &Place<'_>,
    command: &Prepare,
    cancel: &Cancel,
    begun: &dyn Fn(Digest),
    line: &mut dyn FnMut(&str),
) -> Result<(Digest, u64), PrepareError> {
    let directory = &place.directory;
    let before = key(place, command)?;
    begun(before);
    let timer = Timer::start();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(&command.run).current_dir(directory);
    let text = || command.run.clone();
    match process::run(shell, &|| cancel.is_raised(), line)? {
        Exit::Code(0) => (),
        Exit::Code(code) => return Err(PrepareError::Code { command: text(), code }),
        Exit::Signal(signal) => return Err(PrepareError::Signal { command: text(), signal }),
        Exit::Stopped => return Err(PrepareError::Cancelled),
    }
    if let Some(output) = missing_output(place, command)? {
        return Err(PrepareError::NoOutput { command: text(), output });
    }
    if key(place, command)? != before {
        return Err(PrepareError::Moved { command: text() });
    }
    Ok((before, timer.elapsed()))
}

/// The digest of the command, its patterns, and what the inputs hold: paths, the right to execute,
/// content.
fn key(place: &Place<'_>, command: &Prepare) -> Result<Digest, GatherError> {
    let mut hasher = Hasher::new("imgraph prepare");
    hasher.text(&command.run);
    for patterns in [&command.inputs, &command.outputs] {
        hasher.number(patterns.len() as u64);
        for pattern in patterns {
            hasher.text(pattern);
        }
    }
    for pattern in &command.inputs {
        if matching(place, std::slice::from_ref(pattern))?.is_empty() {
            let why = io::Error::new(
                io::ErrorKind::NotFound,
                "no file matches this input of `prepare`; the files of a directory are `dir/**`",
            );
            return Err(GatherError::new("find", format!("{}/{pattern}", place.path), why));
        }
    }
    let outputs = set(&command.outputs);
    let failed = |error| GatherError::new("open", &place.directory, error);
    let root = Root::open(&place.directory).map_err(failed)?;
    for path in matching(place, &command.inputs)? {
        // An output inside an input pattern would make the key move with every run.
        if !outputs.is_match(&path) {
            let bytes = path.as_os_str().as_bytes();
            let full = || place.directory.join(&path);
            let (mode, content) = input(place, &root, bytes)
                .map_err(|error| GatherError::new("read", full(), error))?;
            hasher.bytes(bytes).number(u64::from(mode & 0o111 != 0)).digest(&content);
        }
    }
    Ok(hasher.finish())
}

/// The mode and the digest of an input, from the stat cache if it is as it was.
fn input(place: &Place<'_>, root: &Root, path: &[u8]) -> io::Result<(u32, Digest)> {
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    };
    let below: Vec<u8> = match (place.path.is_empty(), directory.is_empty()) {
        (true, _) => directory.to_vec(),
        (false, true) => place.path.as_bytes().to_vec(),
        (false, false) => [place.path.as_bytes(), b"/", directory].concat(),
    };
    let known = place.stat.directory(&below);
    let status = root.status(path)?;
    if status.kind == Kind::File
        && let Some(known) = known.look_up(name, &status.identity)
    {
        return Ok((status.identity.mode, known.content));
    }
    if status.kind == Kind::File {
        let read = hash::file(root, path).map_err(io::Error::other)?;
        let fresh = Known { content: read.digest, xattrs: read.xattrs };
        known.remember(name, read.status.identity, fresh);
        return Ok((read.status.identity.mode, read.digest));
    }
    // A link to a file: what it leads to counts.
    place.observe(root, Path::new(OsStr::from_bytes(path)), Look::Target);
    let full = place.directory.join(OsStr::from_bytes(path));
    let mode = fs::metadata(&full)?.permissions().mode();
    Ok((mode, Digest::of_content(&fs::read(&full)?)))
}

/// The first output pattern that matches nothing.
fn missing_output(place: &Place<'_>, command: &Prepare) -> Result<Option<String>, GatherError> {
    for pattern in &command.outputs {
        if matching(place, std::slice::from_ref(pattern))?.is_empty() {
            return Ok(Some(pattern.clone()));
        }
    }
    Ok(None)
}

/// The files below a directory that match a pattern, sorted, relative to it. Links to files count,
/// links to directories are not followed.
fn matching(place: &Place<'_>, patterns: &[String]) -> Result<BTreeSet<PathBuf>, GatherError> {
    let directory = &place.directory;
    let root = Root::open(directory).map_err(|error| GatherError::new("open", directory, error))?;
    let mut found = BTreeSet::new();
    let is_glob = |pattern: &&String| pattern.contains(['*', '?', '[', '{']);
    let plain = patterns.iter().filter(|pattern| !is_glob(pattern));
    for path in plain.map(|pattern| plain_path(pattern)) {
        place.observe(&root, &path, Look::TargetKind);
        if directory.join(&path).is_file() {
            found.insert(path);
        }
    }
    let globs: Vec<String> = patterns.iter().filter(is_glob).cloned().collect();
    if globs.is_empty() {
        return Ok(found);
    }
    let globs = set(&globs);
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        let here = directory.join(&dir);
        place.observe(&root, &dir, Look::Target);
        let failed = |error| GatherError::new("list", &here, error);
        for entry in fs::read_dir(&here).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = dir.join(entry.file_name());
            if place.path.is_empty() && path == Path::new(STATE_DIR) {
                continue; // it changes with every run
            }
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                todo.push(path);
                continue;
            }
            if kind.is_symlink() {
                place.observe(&root, &path, Look::TargetKind);
            }
            if globs.is_match(&path) && entry.path().is_file() {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

fn plain_path(pattern: &str) -> PathBuf {
    PathBuf::from(pattern.trim_start_matches("./"))
}

/// What matches one of the patterns of a `prepare`, relative to the image's directory. They were
/// checked when `layers.toml` was read; one that still fails matches nothing.
pub fn set(patterns: &[String]) -> GlobSet {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.trim_start_matches("./");
        if let Ok(glob) = GlobBuilder::new(pattern).literal_separator(true).build() {
            builder.add(glob);
        }
    }
    builder.build().unwrap_or_else(|_| GlobSet::empty())
}
