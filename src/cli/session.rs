//! What most verbs begin with: the workspace around the working directory, loaded and selected.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::affected::{self, Affected};
use crate::cli::engines::{self, Choice};
use crate::cli::failure::{Exit, Failure};
use crate::cli::selection::Selection;
use crate::cli::settings::{Settings, write};
use crate::cli::settled::Answers;
use crate::cli::settled::part::Part;
use crate::cli::shards;
use crate::context::Entry;
use crate::diagnostic::Diagnostic;
use crate::digest::Digest;
use crate::engine::{Engine, EngineError};
use crate::fingerprint::reason::PrepareCause;
use crate::gather::STATE_DIR;
use crate::gather::inputs::{Disk, Gathered, Wide};
use crate::gather::stat::StatCache;
use crate::gather::workspace::{self, Workspace};
use crate::graph::External;
use crate::graph::select::select;
use crate::history::{History, Output, Presence, Record};
use crate::image::{ImageId, Platform};
use crate::load::{Loaded, resolve};
use crate::lockfile::{LOCK_FILE, LockFile};
use crate::plan::{self, Facts, Plan, Wanted};
use crate::published::Published;
use crate::reference::Reference;
use crate::report::diagnostics::{self, Look};

/// A workspace that a verb works on.
pub(crate) struct Session {
    /// Its root, absolute.
    pub(crate) root: PathBuf,
    /// Where imgraph remembers, absolute.
    pub(crate) state: PathBuf,
    /// The workspace with its graph.
    pub(crate) loaded: Loaded,
    /// What is known of its files, and what was looked at.
    pub(crate) stat: StatCache,
    /// The engine that would build.
    pub(crate) choice: Choice,
    /// What it has already been asked.
    pub(crate) answers: Answers,
    /// What registries have, where that counts.
    pub(crate) published: Option<Published>,
    /// What it is a part of; `None`: it is the whole workspace.
    pub(crate) part: Option<Part>,
    /// The engine, if it was opened to be asked.
    pub(crate) engine: Mutex<Option<Box<dyn Engine>>>,
    /// Whether recorded images are taken to be in its store.
    is_offline: bool,
}

/// Images to work on.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    /// Those that were asked for.
    pub(crate) asked: BTreeSet<ImageId>,
    /// The same with the ancestors that they need, unless those are left out on purpose.
    pub(crate) images: BTreeSet<ImageId>,
    /// The same with all ancestors: what has to be read.
    pub(crate) family: BTreeSet<ImageId>,
}

impl Session {
    /// Loads the workspace around the working directory. What is wrong with it is not said yet.
    pub(crate) fn open(settings: &Settings) -> Result<Self, Failure> {
        let root = settings.root()?;
        let choice = engines::choose(settings, &root)?;
        let stat = StatCache::load(&root.join(STATE_DIR));
        Self::with(&root, choice, stat, settings)
    }

    /// The same for who does not read contexts.
    pub(crate) fn without_contexts(settings: &Settings) -> Result<Self, Failure> {
        let root = settings.root()?;
        let choice = engines::choose(settings, &root)?;
        Self::with(&root, choice, StatCache::empty(), settings)
    }

    /// Loads the workspace at a root.
    pub(crate) fn with(
        root: &Path,
        choice: Choice,
        stat: StatCache,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let workspace = workspace::read(root, &stat)?;
        Ok(Self::of(workspace, choice, stat, settings))
    }

    /// Resolves a workspace that was read.
    pub(crate) fn of(
        mut workspace: Workspace,
        choice: Choice,
        stat: StatCache,
        settings: &Settings,
    ) -> Self {
        settings.overrule(&mut workspace.layers);
        let root = workspace.root.clone();
        Self {
            state: root.join(STATE_DIR),
            root,
            loaded: resolve(workspace, choice.flavour, &Platform::host()),
            stat,
            choice,
            answers: Answers::new(),
            published: None,
            part: None,
            engine: Mutex::default(),
            is_offline: settings.offline,
        }
    }

    /// Reads the workspace as it is now.
    pub(crate) fn read_again(
        &self,
        stat: &StatCache,
        settings: &Settings,
    ) -> Result<Workspace, Failure> {
        let mut workspace = workspace::read(&self.root, stat)?;
        settings.overrule(&mut workspace.layers);
        Ok(workspace)
    }

    /// The same for a workspace that was read again, with the engine that was chosen then. Knows
    /// nothing of its files.
    pub(crate) fn again(&self, workspace: Workspace) -> Self {
        Self {
            root: self.root.clone(),
            state: self.state.clone(),
            loaded: resolve(workspace, self.choice.flavour, &Platform::host()),
            stat: StatCache::empty(),
            choice: self.choice.clone(),
            answers: Answers::new(),
            published: None,
            part: None,
            engine: Mutex::default(),
            is_offline: self.is_offline,
        }
    }

    /// The same with other texts of some Dockerfiles. Its problems are those that are new.
    pub(crate) fn with_texts(self, texts: BTreeMap<usize, Arc<[u8]>>) -> Self {
        let mut workspace = self.loaded.workspace;
        for (found, text) in texts {
            workspace.texts[found] = text;
        }
        let loaded = resolve(workspace, self.choice.flavour, &Platform::host());
        Self { loaded, ..self }
    }

    /// A workspace of one Dockerfile that lies anywhere. Nothing of it is remembered.
    pub(crate) fn lone(settings: &Settings, file: &Path) -> Result<Self, Failure> {
        let file = settings.directory.join(file);
        let workspace = workspace::lone(&file)?;
        let choice = engines::choose(settings, &workspace.root)?;
        // A state directory that does not exist is an empty one, and nothing is saved to it.
        let stat = StatCache::load(&workspace.root.join(STATE_DIR));
        Ok(Self::of(workspace, choice, stat, settings))
    }

    /// The images of a selection. Fails with exit code 4 if there is none and that is asked for.
    pub(crate) fn select(
        &self,
        selection: &Selection,
        settings: &Settings,
    ) -> Result<Selected, Failure> {
        let graph = &self.loaded.graph;
        let mut asked = select(graph, &self.loaded.workspace.layers, &selection.all())?;
        if let Some(revision) = affected::revision(selection, self, settings)? {
            let affected = Affected::since(&revision, self)?;
            asked.retain(|id| affected.images.contains_key(id));
        }
        if let Some(portion) = selection.shard {
            asked = shards::narrow(self, &asked, portion)?;
        }
        if asked.is_empty() && selection.fail_if_no_match {
            return Err(Failure::new(Exit::NO_MATCH, "no image is selected"));
        }
        let family = graph.with_ancestors(&asked);
        let images = if selection.only { asked.clone() } else { family.clone() };
        Ok(Selected { asked, images, family })
    }

    /// The same for a session that may be a part: then it has nothing but what was asked for.
    pub(crate) fn selected(
        &self,
        selection: &Selection,
        settings: &Settings,
    ) -> Result<Selected, Failure> {
        match &self.part {
            Some(_) => Ok(Part::selected(self)),
            None => self.select(selection, settings),
        }
    }

    /// Says what is wrong, and returns what was said. Fails if an error stands in the way of the given images: in
    /// `layers.toml`, or in a Dockerfile of one of them. Errors elsewhere do not.
    pub(crate) fn judge(
        &self,
        images: &BTreeSet<ImageId>,
        more: &[Diagnostic],
        settings: &Settings,
    ) -> Result<String, Failure> {
        let mut problems: Vec<Diagnostic> = self.loaded.problems.clone();
        problems.extend_from_slice(more);
        let mut said = self.part.as_ref().map_or_else(String::new, |it| it.settled.said.clone());
        said += &self.drawn(&problems, settings);
        write(&mut io::stderr(), &said);
        let files: BTreeSet<&str> =
            images.iter().map(|id| &*self.loaded.graph.image(*id).spec.dockerfile).collect();
        let all: BTreeSet<&str> =
            self.loaded.graph.iter().map(|(_, image)| &*image.spec.dockerfile).collect();
        let concerns = |problem: &&Diagnostic| match &problem.place {
            Some(place) => files.contains(&*place.path) || !all.contains(&*place.path),
            None => true,
        };
        let is_broken = images.iter().any(|id| self.loaded.graph.image(*id).broken);
        if is_broken || problems.iter().filter(concerns).any(Diagnostic::is_error) {
            return Err(Failure::said(Exit::WORKSPACE));
        }
        if settings.locked {
            self.check_lock(images)?;
        }
        Ok(said)
    }

    /// Fails if the lock file is not what it should be for the given images: what they read from
    /// outside is in it, and nothing is that nobody reads.
    fn check_lock(&self, images: &BTreeSet<ImageId>) -> Result<(), Failure> {
        let graph = &self.loaded.graph;
        let pins = self.loaded.workspace.pins();
        let by_tag = |id: &ImageId| {
            let externals = graph.image(*id).externals.iter();
            externals.filter(|external| external.normalised.digest.is_none())
        };
        let fail = |message: String| {
            let help = "`imgraph update` brings it up to date";
            Err(Failure::new(Exit::WORKSPACE, message).help(help))
        };
        for id in images {
            let is_missing = |external: &&External| {
                pins.digest(&external.normalised, &external.platform).is_none()
            };
            if let Some(External { reference, platform, .. }) = by_tag(id).find(is_missing) {
                let name = graph.name(*id);
                return fail(format!(
                    "{LOCK_FILE} has no `{reference}` for {platform}, which `{name}` reads"
                ));
            }
        }
        let all = graph.iter().flat_map(|(_, image)| &image.externals);
        let read: BTreeSet<Reference> =
            all.filter_map(|external| LockFile::key(&external.normalised)).collect();
        match pins.rows().find(|(reference, _)| !read.contains(*reference)) {
            Some((reference, _)) => {
                fail(format!("{LOCK_FILE} has `{}`, which no image reads", reference.familiar()))
            }
            None => Ok(()),
        }
    }

    /// Draws diagnostics, as they look on standard error.
    pub(crate) fn drawn(&self, problems: &[Diagnostic], settings: &Settings) -> String {
        let sources = self.loaded.workspace.sources(problems);
        let look = Look { style: settings.style_err(), ..Look::default() };
        diagnostics::draw(problems, &sources, look)
    }

    /// The engine: the one that was asked already, or another.
    pub(crate) fn open_engine(&self, settings: &Settings) -> Result<Box<dyn Engine>, Failure> {
        let asked = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        asked.map_or_else(|| self.choice.open(&self.root, &self.state, settings), Ok)
    }

    /// What reads the disk for this workspace.
    pub(crate) fn disk<'a>(&'a self, wide: &'a Wide) -> Disk<'a> {
        self.disk_with(&self.stat, wide)
    }

    /// The same with what somebody else knows of the files.
    pub(crate) fn disk_with<'a>(&'a self, stat: &'a StatCache, wide: &'a Wide) -> Disk<'a> {
        Disk {
            workspace: &self.loaded.workspace,
            graph: &self.loaded.graph,
            flavour: self.choice.flavour,
            stat,
            wide,
        }
    }

    /// The images whose whole context counts.
    pub(crate) fn wide(&self, history: &History) -> Wide {
        Wide::new(&self.loaded.workspace, &self.loaded.graph, history)
    }

    /// What decisions rest on.
    pub(crate) fn facts<'a>(
        &'a self,
        present: &'a dyn Fn(ImageId, &Record) -> Presence,
    ) -> Facts<'a> {
        Facts {
            graph: &self.loaded.graph,
            layers: &self.loaded.workspace.layers,
            engine: self.choice.class,
            flavour: self.choice.flavour,
            pins: self.loaded.workspace.pins(),
            present,
            published: self.published.as_ref(),
            aged_at: None,
        }
    }

    /// The output of a record with the references that users have given its image. The key tag is not
    /// among them: two images of one repository with equal inputs share it.
    pub(crate) fn wanted_output(&self, id: ImageId, record: &Record) -> Output {
        let references = self.loaded.graph.image(id).spec.references();
        Output { references, ..record.output.clone() }
    }

    /// Asks the engine once where the recorded outputs of the given images are.
    pub(crate) fn presence(
        &self,
        engine: &dyn Engine,
        history: &History,
        images: &BTreeSet<ImageId>,
    ) -> Result<PresenceTable, EngineError> {
        let graph = &self.loaded.graph;
        let recorded = images.iter().filter_map(|id| {
            let record = history.records.get(graph.name(*id))?;
            (record.engine == self.choice.class)
                .then(|| (*id, record.build_key, self.wanted_output(*id, record)))
        });
        let mut table = BTreeMap::new();
        let mut unasked: Vec<(ImageId, Digest, Output)> = Vec::new();
        for (id, key, output) in recorded {
            match self.answers.get(&output.id) {
                Some((references, presence)) if *references == output.references => {
                    table.insert((id, key), presence.clone());
                }
                _ => unasked.push((id, key, output)),
            }
        }
        let outputs: Vec<&Output> = unasked.iter().map(|(_, _, output)| output).collect();
        let answers = match (outputs.is_empty(), self.is_offline) {
            (true, _) => Vec::new(),
            (false, true) => vec![Presence::Present; outputs.len()],
            (false, false) => engine.present(&outputs)?,
        };
        let keys = unasked.iter().map(|(id, key, _)| (*id, *key));
        table.extend(keys.zip(answers));
        Ok(PresenceTable(table))
    }
}

/// Says that the engine is not asked.
pub(crate) fn say_offline(settings: &Settings) {
    if settings.offline {
        write(&mut io::stderr(), "offline: recorded images are taken to be in the store\n");
    }
}

/// The answers of an engine, by image and build key.
#[derive(Clone, Debug)]
pub(crate) struct PresenceTable(BTreeMap<(ImageId, Digest), Presence>);

impl PresenceTable {
    /// Where the output of a record is. What was not asked in the beginning is asked now; an engine
    /// that does not answer, or is not asked, has nothing.
    pub(crate) fn of(
        &self,
        session: &Session,
        engine: &dyn Engine,
        id: ImageId,
        record: &Record,
    ) -> Presence {
        if let Some(answer) = self.0.get(&(id, record.build_key)) {
            return answer.clone();
        }
        if session.is_offline {
            return Presence::Missing;
        }
        let output = session.wanted_output(id, record);
        let answers = engine.present(&[&output]).ok();
        answers.and_then(|mut answers| answers.pop()).unwrap_or(Presence::Missing)
    }
}

/// What was gathered, and the plan that follows from it.
pub(crate) struct Planned {
    /// The plan.
    pub(crate) plan: Plan,
    /// The contexts, by image.
    pub(crate) entries: Vec<Option<Vec<Entry>>>,
    /// What has to be prepared first.
    prepare: BTreeMap<ImageId, PrepareCause>,
}

impl Planned {
    /// The plan for facts that are others now.
    pub(crate) fn again(
        &self,
        (session, facts): (&Session, &Facts<'_>),
        history: &History,
        images: &BTreeSet<ImageId>,
        Wishes { forced, push, .. }: Wishes<'_>,
    ) -> Plan {
        let wanted = Wanted { images, forced, prepare: &self.prepare, push };
        let mut plan = plan::plan(facts, history, &self.entries, &wanted);
        if let Some(part) = &session.part {
            part.complete(&mut plan, facts.graph, history);
        }
        plan
    }
}

/// What is wanted beside what is stale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes<'a> {
    /// Images to build whatever their keys say.
    pub(crate) forced: &'a BTreeSet<ImageId>,
    /// Whether images shall be in their registries.
    pub(crate) push: bool,
    /// Whether what the ledger knows of registries counts, though they are not asked.
    pub(crate) believes: bool,
    /// When it is looked whether images are too old, if that matters.
    pub(crate) aged_at: Option<u64>,
}

impl Wishes<'_> {
    /// None.
    pub(crate) fn nothing() -> Self {
        const NONE: &BTreeSet<ImageId> = &BTreeSet::new();
        Self { forced: NONE, push: false, believes: true, aged_at: None }
    }
}

/// Plans the given images.
pub(crate) fn plan(
    (session, facts): (&Session, &Facts<'_>),
    history: &History,
    gathered: Gathered,
    images: &BTreeSet<ImageId>,
    wishes: Wishes<'_>,
) -> Planned {
    let Gathered { entries, prepare, .. } = gathered;
    let mut planned = Planned { plan: Plan::default(), entries, prepare };
    planned.plan = planned.again((session, facts), history, images, wishes);
    planned
}
