//! The context of each image of a selection, on all cores.
#![expect(clippy::disallowed_methods, reason = "this module reads ignore files")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::cancel::Cancel;
use crate::context::Entry;
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::dockerfile::{ContextRead, Flavour};
use crate::fingerprint::reason::PrepareCause;
use crate::gather::context::{self, Context, Ignored, Listing};
use crate::gather::prepare::{self, Place, PrepareError};
use crate::gather::root::{Look, Root};
use crate::gather::stat::StatCache;
use crate::gather::workspace::Workspace;
use crate::graph::{Image, ImageGraph};
use crate::history::{History, Prepared};
use crate::ignorefile::{self, Candidate, IgnoreFile, Reader};
use crate::image::{ImageId, ImageName};

/// The images whose whole context counts, because an engine read more of it than we know of.
#[derive(Debug, Default)]
pub struct Wide(Mutex<BTreeSet<ImageId>>);

impl Wide {
    /// Those that the history names, as long as their Dockerfiles are what they were.
    pub fn new(workspace: &Workspace, graph: &ImageGraph, history: &History) -> Self {
        let is_wide = |name: &ImageName, digest: &Digest| {
            let id = graph.find(name.as_str())?;
            let dockerfile = &workspace.texts[graph.image(id).spec.found];
            (Digest::of_content(dockerfile) == *digest).then_some(id)
        };
        let known = history.widened.iter();
        Self(Mutex::new(known.filter_map(|(name, digest)| is_wide(name, digest)).collect()))
    }

    /// Adds an image; `false` if it was there.
    pub fn add(&self, id: ImageId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }

    fn has(&self, id: ImageId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}

/// Reads the contexts of a workspace.
#[derive(Clone, Copy)]
pub struct Disk<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// Its images.
    pub graph: &'a ImageGraph,
    /// Whose rules for `.dockerignore`.
    pub flavour: Flavour,
    /// What is known of files that have not moved.
    pub stat: &'a StatCache,
    /// The images whose whole context counts.
    pub wide: &'a Wide,
}

/// What was read for a selection.
#[derive(Debug)]
pub struct Gathered {
    /// The context of each image, by number; `None` where it was not asked for, has to be prepared
    /// first, or could not be read.
    pub entries: Vec<Option<Vec<Entry>>>,
    /// The images whose `prepare` has to run first, and why.
    pub prepare: BTreeMap<ImageId, PrepareCause>,
    /// What the `prepare` of each image that has one would be run with.
    pub prepare_keys: BTreeMap<ImageId, Digest>,
    /// What could not be read.
    pub problems: Vec<Diagnostic>,
}

/// Reads the contexts of the given images.
pub fn gather(
    disk: &Disk<'_>,
    images: &BTreeSet<ImageId>,
    history: &History,
    forced: &BTreeSet<ImageId>,
) -> Gathered {
    let ids: Vec<ImageId> = images.iter().copied().collect();
    let read = |id: &ImageId| {
        let image = disk.graph.image(*id);
        if image.broken {
            return (*id, None, Read::Nothing);
        }
        let force = forced.contains(id);
        let state = match disk.prepare_state(image, history, force) {
            Err(problem) => return (*id, None, Read::Problems(vec![problem])),
            Ok(state) => state,
        };
        let key = state.as_ref().map(|state| state.key);
        let read = match state.and_then(|state| state.cause) {
            Some(cause) => Read::Prepare(cause),
            None => match disk.listing(*id) {
                Ok(listing) => Read::Listed(listing),
                Err(problems) => Read::Problems(problems),
            },
        };
        (*id, key, read)
    };
    let all: Vec<(ImageId, Option<Digest>, Read)> = ids.par_iter().map(read).collect();
    let mut gathered = Gathered {
        entries: vec![None; disk.graph.len()],
        prepare: BTreeMap::new(),
        prepare_keys: BTreeMap::new(),
        problems: Vec::new(),
    };
    for (id, key, read) in all {
        gathered.prepare_keys.extend(key.map(|key| (id, key)));
        match read {
            Read::Nothing => (),
            Read::Listed(listing) => {
                gathered.entries[id.index()] = Some(listing.entries);
                gathered.problems.extend(listing.notes);
            }
            Read::Prepare(cause) => {
                gathered.prepare.insert(id, cause);
            }
            Read::Problems(problems) => gathered.problems.extend(problems),
        }
    }
    gathered
}

enum Read {
    Nothing,
    Listed(Listing),
    Prepare(PrepareCause),
    Problems(Vec<Diagnostic>),
}

impl Disk<'_> {
    /// The context of an image as it is now: everything that its build may see.
    pub fn entries(&self, id: ImageId) -> Result<Vec<Entry>, Vec<Diagnostic>> {
        Ok(self.listing(id)?.entries)
    }

    /// The same with what is worth knowing.
    fn listing(&self, id: ImageId) -> Result<Listing, Vec<Diagnostic>> {
        let image = self.graph.image(id);
        let reads = self.reads(id);
        if reads.is_empty() {
            return Ok(Listing { entries: Vec::new(), notes: Vec::new() });
        }
        let ignore = self.ignore_file(image)?;
        let directory = self.workspace.root.join(&image.spec.context);
        let context = self.context(image, &directory, &ignore);
        let in_file = |problems: Vec<Diagnostic>| {
            problems.into_iter().map(|it| it.in_file(&image.spec.dockerfile)).collect::<Vec<_>>()
        };
        let listing = context::entries(&context, &reads).map_err(in_file)?;
        Ok(Listing { notes: in_file(listing.notes), ..listing })
    }

    /// What an image reads of its context: what its Dockerfile says, or everything.
    pub fn reads(&self, id: ImageId) -> Cow<'_, [ContextRead]> {
        if self.wide.has(id) {
            return Cow::Owned(vec![ContextRead::everything()]);
        }
        Cow::Borrowed(&self.graph.image(id).reads.context)
    }

    /// What the ignore file of an image leaves out, and which line does.
    pub fn ignored(&self, id: ImageId) -> Result<(IgnoreFile, Vec<Ignored>), Vec<Diagnostic>> {
        let image = self.graph.image(id);
        let ignore = self.ignore_file(image)?;
        let directory = self.workspace.root.join(&image.spec.context);
        let ignored = context::ignored(&self.context(image, &directory, &ignore))?;
        Ok((ignore, ignored))
    }

    fn context<'c>(
        &'c self,
        image: &'c Image,
        directory: &'c Path,
        ignore: &'c IgnoreFile,
    ) -> Context<'c> {
        Context { directory, path: Path::new(&image.spec.context), ignore, cache: self.stat }
    }

    /// The bytes of an image's Dockerfile that were parsed.
    pub fn dockerfile(&self, id: ImageId) -> Arc<[u8]> {
        Arc::clone(&self.workspace.texts[self.graph.image(id).spec.found])
    }

    /// The ignore file that holds for an image.
    pub fn ignore_file(&self, image: &Image) -> Result<IgnoreFile, Vec<Diagnostic>> {
        let reader = match self.flavour {
            Flavour::BuildKit => Reader::BuildKit,
            Flavour::Buildah => Reader::Buildah,
        };
        let spec = &image.spec;
        let name = spec.dockerfile.rsplit('/').next().unwrap_or(&spec.dockerfile);
        let beside = &self.workspace.found[spec.found].ignore_files;
        for candidate in ignorefile::candidates(name, reader) {
            let (directory, name) = match &candidate {
                Candidate::BesideDockerfile(name) => (&spec.directory, name.as_str()),
                Candidate::ContextRoot(name) => (&spec.context, *name),
            };
            // What discovery has listed need not be asked for.
            if *directory == spec.directory && !beside.iter().any(|known| known == name) {
                continue;
            }
            let shown = join(directory, name);
            let root = Root::open(&self.workspace.root)
                .map_err(|error| vec![unreadable(directory, &error)])?;
            self.stat.observe(&root, shown.as_bytes(), Look::Target);
            let path = self.workspace.root.join(&shown);
            match fs::read(&path) {
                Ok(text) => {
                    let (ignore, problems) = IgnoreFile::parse(&shown, &text, reader);
                    if problems.iter().any(Diagnostic::is_error) {
                        return Err(problems);
                    }
                    return Ok(ignore);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => (),
                Err(error) => return Err(vec![unreadable(&shown, &error)]),
            }
        }
        Ok(IgnoreFile::absent())
    }

    /// What the `prepare` of an image would be run with, and why it has to; `None` where it has none.
    fn prepare_state(
        &self,
        image: &Image,
        history: &History,
        force: bool,
    ) -> Result<Option<prepare::State>, Diagnostic> {
        let Some(command) = &image.spec.prepare else { return Ok(None) };
        let place = self.prepare_place(image);
        let known = history.prepared.get(&image.spec.name);
        let state = prepare::state(&place, command, known);
        let state = state.map_err(|error| unreadable(&image.spec.directory, &error))?;
        let cause = if force { Some(PrepareCause::Forced) } else { state.cause };
        Ok(Some(prepare::State { cause, ..state }))
    }

    /// The digest of what the `prepare` of an image would be run with; `None` where it has none, or
    /// its inputs cannot be read.
    pub fn prepare_key(&self, id: ImageId) -> Option<Digest> {
        let image = self.graph.image(id);
        let command = image.spec.prepare.as_ref()?;
        Some(prepare::state(&self.prepare_place(image), command, None).ok()?.key)
    }

    /// The command that prepares an image; empty where there is none.
    pub fn prepare_command(&self, id: ImageId) -> &str {
        self.graph.image(id).spec.prepare.as_ref().map_or("", |prepare| &prepare.run)
    }

    /// Runs the `prepare` of an image; `begun` hears what it is run with.
    pub fn prepare(
        &self,
        id: ImageId,
        cancel: &Cancel,
        begun: &dyn Fn(Digest),
        line: &mut dyn FnMut(&str),
    ) -> Result<Prepared, PrepareError> {
        let image = self.graph.image(id);
        let spec = &image.spec;
        let command = spec.prepare.as_ref().expect("only images with a prepare are prepared");
        let place = self.prepare_place(image);
        let (key, duration) = prepare::run(&place, command, cancel, begun, line)?;
        Ok(Prepared { image: spec.name.clone(), key, duration })
    }

    fn prepare_place<'c>(&'c self, image: &'c Image) -> Place<'c> {
        Place {
            directory: self.workspace.root.join(&image.spec.directory),
            path: &image.spec.directory,
            stat: self.stat,
        }
    }
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn unreadable(path: &str, error: &dyn std::error::Error) -> Diagnostic {
    let mut message = error.to_string();
    if let Some(cause) = error.source() {
        message = format!("{message}: {cause}");
    }
    let place = crate::diagnostic::Place { path: Arc::from(path), span: None };
    Diagnostic::error("IG008", message).at_place(place)
}
