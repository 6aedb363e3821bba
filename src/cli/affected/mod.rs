//! `imgraph affected`, and what `--since` and `--affected` select: the images that differ from another
//! revision, by what git knows.
#![expect(
    clippy::disallowed_methods,
    reason = "reads the event of a CI service, and resolves links"
)]

pub(crate) mod arguments;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::{fs, io};

use globset::GlobSet;
use serde_json::{Value, json};

use crate::affected::{Changes, Inputs, Why, affected};
use crate::cli::args::{self, AffectedFormat};
use crate::cli::failure::{Exit, Failure};
use crate::cli::selection::Selection;
use crate::cli::session::Session;
use crate::cli::settings::{Settings, write};
use crate::cli::shards::{self, Matrix};
use crate::gather::inputs::{self, Disk};
use crate::gather::prepare;
use crate::git::{self, GitError};
use crate::graph::Image;
use crate::ignorefile::{Candidate, IgnoreFile, Reader, candidates};
use crate::image::ImageId;
use crate::ledger;
use crate::report::style::{Style, Tone};
use crate::report::text::width;

/// The default branch of a remote.
const REMOTE_HEAD: &str = "origin/HEAD";

/// Runs the verb. With `--exit-code`: 1 if there is any.
pub(crate) fn run(arguments: &args::Affected, settings: &Settings) -> Result<u8, Failure> {
    let session = Session::open(settings)?;
    let selection =
        Selection { affected: arguments.selection.since.is_none(), ..arguments.selection.clone() };
    let everything = Selection { since: None, affected: false, shard: None, ..selection.clone() };
    let selected = session.select(&everything, settings)?;
    let revision = revision(&selection, &session, settings)?.unwrap_or_default();
    let affected = Affected::since(&revision, &session)?;
    let asked = selected.asked.iter().copied();
    let mut asked: BTreeSet<ImageId> =
        asked.filter(|id| affected.images.contains_key(id)).collect();
    if let Some(portion) = selection.shard {
        asked = shards::narrow(&session, &asked, portion)?;
    }
    let order = session.loaded.graph.order().iter().filter(|id| asked.contains(id));
    let rows: Vec<(ImageId, &Why)> =
        order.filter_map(|id| Some((*id, affected.images.get(id)?))).collect();
    let format = if arguments.json { AffectedFormat::Json } else { arguments.format };
    let matrix = Matrix::new(&session, &asked, (arguments.shards, arguments.stages, format))?;
    let text = match (format, matrix) {
        (AffectedFormat::Json, matrix) => affected.json(&rows, &session, matrix.as_ref())?,
        (AffectedFormat::Github, Some(matrix)) => matrix.github(),
        (AffectedFormat::Gitlab, Some(matrix)) => matrix.gitlab(),
        (_, Some(matrix)) => matrix.text(settings.style_out()),
        (_, None) => text(&rows, &session, settings.style_out()),
    };
    write(&mut io::stdout(), &text);
    let has_any = arguments.exit_code && !rows.is_empty();
    Ok(if has_any { Exit::IMAGE_FAILED } else { Exit::OK })
}

/// The revision that a selection is narrowed by.
pub(crate) fn revision(
    selection: &Selection,
    session: &Session,
    settings: &Settings,
) -> Result<Option<String>, Failure> {
    if selection.since.is_some() || !selection.affected {
        return Ok(selection.since.clone());
    }
    let named = named_by_ci(&settings.environment);
    if named.is_some() {
        return Ok(named);
    }
    match git::changes_since(&session.root, REMOTE_HEAD) {
        Err(GitError::NoRevision { .. }) => {
            let message = "nothing says which revision to compare with";
            Err(Failure::new(Exit::USAGE, message)
                .help("`--since main`, or `git remote set-head origin --auto`"))
        }
        _ => Ok(Some(REMOTE_HEAD.to_owned())),
    }
}

/// What a CI service calls the base of what is built.
fn named_by_ci(environment: &BTreeMap<String, String>) -> Option<String> {
    let get = |name: &str| environment.get(name).map(String::as_str).filter(|it| is_revision(it));
    // https://docs.github.com/actions/reference/workflows-and-actions/variables
    if let Some(branch) = get("GITHUB_BASE_REF") {
        return Some(format!("origin/{branch}"));
    }
    if let Some(event) = get("GITHUB_EVENT_PATH") {
        let event: Value = serde_json::from_slice(&fs::read(event).ok()?).ok()?;
        return event["before"].as_str().filter(|it| is_revision(it)).map(str::to_owned);
    }
    // https://docs.gitlab.com/ci/variables/predefined_variables/
    let commit = get("CI_MERGE_REQUEST_DIFF_BASE_SHA").or_else(|| get("CI_COMMIT_BEFORE_SHA"));
    commit.map(str::to_owned).or_else(|| Some(format!("origin/{}", get("CI_DEFAULT_BRANCH")?)))
}

/// A commit of zeros stands for none.
fn is_revision(text: &str) -> bool {
    text.bytes().any(|byte| byte != b'0')
}

/// The images that differ from a revision.
pub(crate) struct Affected {
    base: String,
    /// Each with the first reason.
    pub(crate) images: BTreeMap<ImageId, Why>,
}

impl Affected {
    /// Asks git, and reads what the images are made of.
    pub(crate) fn since(revision: &str, session: &Session) -> Result<Self, Failure> {
        let changes = git::changes_since(&session.root, revision)?;
        let images = images(session, &changes)?;
        Ok(Self { base: changes.base, images })
    }

    fn json(
        &self,
        rows: &[(ImageId, &Why)],
        session: &Session,
        matrix: Option<&Matrix<'_>>,
    ) -> Result<String, Failure> {
        let graph = &session.loaded.graph;
        let (history, _) = ledger::read(&session.state)?;
        let path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let object = |(id, why): &(ImageId, &Why)| {
            let why = match why {
                Why::Path(it) => json!({ "path": path(it) }),
                Why::Unknown(it) => json!({ "ignored": path(it) }),
                Why::Parent(parent) => json!({ "parent": graph.name(*parent) }),
            };
            let name = graph.name(*id);
            json!({ "image": name, "why": why, "predicted": history.durations.get(name) })
        };
        let images: Vec<Value> = rows.iter().map(object).collect();
        let stages = matrix.map(Matrix::json);
        Ok(format!("{}\n", json!({ "base": self.base, "images": images, "stages": stages })))
    }
}

fn images(session: &Session, changes: &Changes) -> Result<BTreeMap<ImageId, Why>, Failure> {
    let graph = &session.loaded.graph;
    let (history, _) = ledger::read(&session.state)?;
    let wide = session.wide(&history);
    let disk = session.disk(&wide);
    let all: BTreeSet<ImageId> = graph.order().iter().copied().collect();
    let gathered = inputs::gather(&disk, &all, &history, &BTreeSet::new());
    let known: Vec<Known> = graph.iter().map(|(_, image)| Known::new(&disk, image)).collect();
    Ok(affected(graph, changes, |id| {
        let known = &known[id.index()];
        Inputs {
            context: known.context.clone(),
            entries: gathered.entries[id.index()].as_deref(),
            reads: &graph.image(id).reads.context,
            ignored: &known.ignored.patterns,
            rules: known.rules.clone(),
            made: known.made.clone(),
        }
    }))
}

/// What has to be looked up of an image.
struct Known {
    context: Vec<u8>,
    ignored: IgnoreFile,
    rules: Vec<Vec<u8>>,
    made: GlobSet,
}

impl Known {
    fn new(disk: &Disk<'_>, image: &Image) -> Self {
        let spec = &image.spec;
        let name = spec.dockerfile.rsplit('/').next().unwrap_or(&spec.dockerfile);
        // Of another engine's ignore file it is not known that it would not be read.
        let readers = [Reader::BuildKit, Reader::Buildah];
        let candidates = readers.iter().flat_map(|reader| candidates(name, *reader));
        let mut rules: Vec<Vec<u8>> = candidates
            .map(|candidate| match candidate {
                Candidate::BesideDockerfile(name) => Path::new(&spec.directory).join(name),
                Candidate::ContextRoot(name) => Path::new(&spec.context).join(name),
            })
            .map(|path| path.as_os_str().as_bytes().to_vec())
            .collect();
        rules.push(Path::new(&spec.directory).join("VERSION").as_os_str().as_bytes().to_vec());
        let ignored = disk.ignore_file(image).unwrap_or_else(|_| IgnoreFile::absent());
        let outputs = spec.prepare.as_ref().map_or(&[][..], |prepare| &prepare.outputs);
        let context = real(&disk.workspace.root, &spec.context);
        Self { context, ignored, rules, made: prepare::set(outputs) }
    }
}

/// A directory as git calls it: without links on the way.
fn real(root: &Path, directory: &str) -> Vec<u8> {
    let resolved = || {
        let (root, full) =
            (fs::canonicalize(root).ok()?, fs::canonicalize(root.join(directory)).ok()?);
        Some(full.strip_prefix(root).ok()?.as_os_str().as_bytes().to_vec())
    };
    resolved().unwrap_or_else(|| directory.as_bytes().to_vec())
}

fn text(rows: &[(ImageId, &Why)], session: &Session, style: Style) -> String {
    let graph = &session.loaded.graph;
    let names: Vec<&str> = rows.iter().map(|(id, _)| graph.name(*id).as_str()).collect();
    let widest = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let mut text = String::new();
    for (name, (_, why)) in names.into_iter().zip(rows) {
        let path = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let why = match why {
            Why::Path(it) => format!("{} changed", path(it)),
            Why::Unknown(it) => format!("reads {}, which git ignores", path(it)),
            Why::Parent(parent) => format!("depends on {}", graph.name(*parent)),
        };
        let gap = " ".repeat(widest - width(name));
        writeln!(text, "{name}{gap}  {}", style.paint(Tone::Faint, why)).unwrap_or_default();
    }
    text
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        let failure = Self::new(Exit::USAGE, crate::run::with_causes(&error));
        match error.help() {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}
