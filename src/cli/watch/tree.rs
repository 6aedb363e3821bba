//! What a watch knows of the workspace between two runs, and how it learns what changed: what hints
//! name is read again, everything else is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use crate::cli::failure::Failure;
use crate::cli::selection::Selection;
use crate::cli::session::{Selected, Session};
use crate::cli::settings::Settings;
use crate::cli::watch::pass::last_run;
use crate::context::Entry;
use crate::diagnostic::{Diagnostic, Sources};
use crate::digest::{Digest, Hasher};
use crate::fingerprint;
use crate::fingerprint::reason::PrepareCause;
use crate::gather::inputs::{Disk, Gathered, Wide, gather};
use crate::gather::stat::{Keep, StatCache};
use crate::graph::{Edge, Image};
use crate::history::{History, Presence, Record};
use crate::image::{ImageId, ImageName};
use crate::watch::batch::Changes;
use crate::watch::places::Places;

/// The workspace as it was when it was last looked at.
pub(crate) struct Tree<'a> {
    settings: &'a Settings,
    selection: &'a Selection,
    /// Of what earlier runs have left, what tells how to read contexts.
    history: History,
    /// The last run that is known of: after one of somebody else the store may have changed.
    pub(crate) last_run: Option<String>,
    /// The last workspace that could be used.
    pub(crate) now: Arc<State>,
    /// The contexts, by image.
    pub(crate) entries: Vec<Option<Arc<[Entry]>>>,
    /// The images whose `prepare` has to run first, and why.
    pub(crate) prepare: BTreeMap<ImageId, PrepareCause>,
    /// What the `prepare` of each image that has one would be run with.
    pub(crate) prepare_keys: BTreeMap<ImageId, Digest>,
    /// What makes each image what it is, but for its parents.
    own: Vec<Option<Digest>>,
    /// What could not be read for images, by the file that it is about.
    unread: BTreeMap<Arc<str>, Vec<Diagnostic>>,
    /// What is wrong with the workspace, mistakes in Dockerfiles included.
    mistakes: Vec<Diagnostic>,
    /// Whether the workspace is what was last read, to the letter.
    is_as_read: bool,
    /// The texts that they are in.
    mistaken: Sources,
    /// The Dockerfiles that there are.
    dockerfiles: BTreeSet<Arc<str>>,
    /// The files that have mistakes.
    bad: BTreeSet<Arc<str>>,
    places: Places,
    /// The texts of Dockerfiles that were last without a mistake.
    good: BTreeMap<Arc<str>, Arc<[u8]>>,
}

/// One state of the workspace; it does not change while a run works with it.
pub(crate) struct State {
    /// The workspace, with the last good text of each Dockerfile that has mistakes. States of the
    /// same workspace share it.
    pub(crate) session: Arc<Session>,
    /// The images to keep up to date.
    pub(crate) selected: Selected,
    /// The images whose Dockerfiles have mistakes.
    pub(crate) broken: BTreeSet<ImageId>,
    /// What is known of files that have not moved.
    pub(crate) stat: StatCache,
    /// The images whose whole context counts.
    pub(crate) wide: Wide,
}

impl State {
    /// What reads the disk.
    pub(crate) fn disk(&self) -> Disk<'_> {
        self.session.disk_with(&self.stat, &self.wide)
    }

    /// The name of an image.
    pub(crate) fn name(&self, id: ImageId) -> &ImageName {
        self.session.loaded.graph.name(id)
    }
}

/// What came of looking again.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Whether everything was looked at.
    pub(crate) everything: bool,
    /// The images whose inputs are others than before.
    pub(crate) changed: BTreeSet<ImageName>,
    /// The images that have to be prepared first, as before, so that their files are not known: a run
    /// that has done so meanwhile knows more.
    pub(crate) unsure: BTreeSet<ImageName>,
    /// Whether other things are wrong than before.
    pub(crate) problems: bool,
}

impl<'a> Tree<'a> {
    /// Looks at everything for the first time.
    pub(crate) fn new(
        session: Session,
        settings: &'a Settings,
        selection: &'a Selection,
        history: History,
    ) -> Result<Self, Failure> {
        let selected = session.select(selection, settings)?;
        let (stat, wide) = (StatCache::empty(), Wide::default());
        let session = Arc::new(session);
        let now =
            State { session: Arc::clone(&session), selected, broken: BTreeSet::new(), stat, wide };
        let mut tree = Self {
            settings,
            selection,
            last_run: last_run(&history),
            history,
            now: Arc::new(now),
            entries: Vec::new(),
            prepare: BTreeMap::new(),
            prepare_keys: BTreeMap::new(),
            own: Vec::new(),
            unread: BTreeMap::new(),
            mistakes: Vec::new(),
            is_as_read: false,
            mistaken: Sources::default(),
            dockerfiles: BTreeSet::new(),
            bad: BTreeSet::new(),
            places: Places::default(),
            good: BTreeMap::new(),
        };
        tree.judge(&session);
        let broken = tree.broken_in(&session);
        let stat = StatCache::load(&session.state);
        tree.take_up(session, broken, stat)?;
        Ok(tree)
    }

    /// Learns what a run has left.
    pub(crate) fn learn(&mut self, history: &History) {
        self.last_run = last_run(history);
        self.history = History {
            prepared: history.prepared.clone(),
            widened: history.widened.clone(),
            ..History::default()
        };
    }

    /// Whether the workspace can be used at all, as far as its Dockerfiles go.
    pub(crate) fn is_usable(&self) -> bool {
        let dockerfiles = &self.dockerfiles;
        let is_of_one = |problem: &Diagnostic| {
            problem.place.as_ref().is_some_and(|place| dockerfiles.contains(&place.path))
        };
        self.mistakes.iter().filter(|problem| problem.is_error()).all(is_of_one)
    }

    /// Everything that is wrong.
    pub(crate) fn problems(&self) -> Vec<Diagnostic> {
        self.mistakes.iter().chain(self.unread.values().flatten()).cloned().collect()
    }

    /// The texts that problems point into.
    pub(crate) fn sources(&self, problems: &[Diagnostic]) -> Sources {
        let mut sources = self.now.session.loaded.workspace.sources(problems);
        sources.extend(self.mistaken.clone());
        sources
    }

    /// The directories that are worth a watch, if they may be others than when this was last asked.
    pub(crate) fn directories(&mut self) -> Option<BTreeSet<PathBuf>> {
        self.places.news()
    }

    /// The images that cannot be built as things are: their Dockerfiles have mistakes, or what they
    /// read is not there.
    pub(crate) fn unusable(&self) -> BTreeSet<ImageId> {
        let unread =
            |id: &&ImageId| self.entries[id.index()].is_none() && !self.prepare.contains_key(id);
        let family = &self.now.selected.family;
        family.iter().filter(unread).chain(&self.now.broken).copied().collect()
    }

    /// Looks where something may have changed.
    pub(crate) fn look(&mut self, changes: &Changes) -> Result<Seen, Failure> {
        let workspace = &self.now.session.loaded.workspace;
        let concerns_all = |path: &PathBuf| self.places.concerns_all(workspace, path);
        if changes.everything || changes.paths.iter().any(concerns_all) {
            return self.look_at_everything();
        }
        let readers = changes.paths.iter().flat_map(|path| self.places.readers(path));
        let family = &self.now.selected.family;
        let images: BTreeSet<ImageId> = readers.filter(|id| family.contains(id)).collect();
        Ok(self.look_at(&images))
    }

    /// Reads the contexts of some images again.
    pub(crate) fn look_at(&mut self, images: &BTreeSet<ImageId>) -> Seen {
        let (now, none) = (Arc::clone(&self.now), BTreeSet::new());
        let disk = now.disk();
        let read = |id: &ImageId| {
            let gathered = gather(&disk, &BTreeSet::from([*id]), &self.history, &none);
            (*id, gathered)
        };
        let all: Vec<(ImageId, Gathered)> =
            images.iter().copied().collect::<Vec<_>>().par_iter().map(read).collect();
        let unread = self.unread.clone();
        let mut seen = Seen::default();
        for (id, mut gathered) in all {
            let entries: Option<Arc<[Entry]>> = gathered.entries[id.index()].take().map(Arc::from);
            let is_prepared_later = gathered.prepare.contains_key(&id);
            let is_other = entries != self.entries[id.index()];
            self.places.learn(&disk, id, entries.as_deref());
            self.entries[id.index()] = entries;
            self.prepare.remove(&id);
            self.prepare.extend(gathered.prepare);
            self.prepare_keys.remove(&id);
            self.prepare_keys.extend(gathered.prepare_keys);
            let own = self.own_of(id);
            if is_other || own != self.own[id.index()] {
                seen.changed.insert(now.name(id).clone());
            } else if is_prepared_later {
                seen.unsure.insert(now.name(id).clone());
            }
            self.own[id.index()] = own;
            let spec = &now.session.loaded.graph.image(id).spec;
            self.unread.retain(|path, _| *path != spec.dockerfile && **path != *spec.directory);
            self.add_unread(gathered.problems);
        }
        seen.problems = unread != self.unread;
        seen
    }

    /// Reads everything again.
    fn look_at_everything(&mut self) -> Result<Seen, Failure> {
        let before = self.problems();
        let (old, old_broken) = (Arc::clone(&self.now.session), self.now.broken.clone());
        let old_own = self.owns(&self.now);
        self.now.stat.save(&old.state, Keep::All).unwrap_or_default();
        if let Some(now) = Arc::get_mut(&mut self.now) {
            now.stat = StatCache::empty();
        }
        let stat = StatCache::load(&old.state);
        let read = old.read_again(&stat, self.settings)?;
        if self.is_as_read && read.is_like(&old.loaded.workspace) {
            drop(read);
            self.take_up(old, old_broken, stat)?;
        } else {
            let fresh = old.again(read);
            // As long as the workspace cannot be used, the last one holds.
            let (session, broken) = if self.judge(&fresh) {
                let session = self.mended(fresh);
                let broken = self.broken_in(&session);
                (Arc::new(session), broken)
            } else {
                (old, old_broken)
            };
            self.take_up(session, broken, stat)?;
        }
        let own = self.owns(&self.now);
        let names = old_own.keys().chain(own.keys());
        let changed = names.filter(|name| old_own.get(*name) != own.get(*name));
        let changed: BTreeSet<ImageName> = changed.cloned().collect();
        let unprepared = self.prepare.keys().map(|id| self.now.name(*id));
        Ok(Seen {
            everything: true,
            unsure: unprepared.filter(|name| !changed.contains(*name)).cloned().collect(),
            changed,
            problems: before != self.problems(),
        })
    }

    /// Reads all contexts.
    fn read_all(&mut self) {
        let now = Arc::clone(&self.now);
        let disk = now.disk();
        let family = &now.selected.family;
        let gathered = gather(&disk, family, &self.history, &BTreeSet::new());
        self.entries = gathered.entries.into_iter().map(|it| it.map(Arc::from)).collect();
        self.prepare = gathered.prepare;
        self.prepare_keys = gathered.prepare_keys;
        self.unread = BTreeMap::new();
        self.add_unread(gathered.problems);
        for id in family {
            self.places.learn(&disk, *id, self.entries[id.index()].as_deref());
        }
        let ids: Vec<ImageId> = now.session.loaded.graph.iter().map(|(id, _)| id).collect();
        let this: &Self = self;
        self.own = ids.par_iter().map(|id| this.own_of(*id)).collect();
    }

    /// Takes up a workspace, and reads all that is in it.
    fn take_up(
        &mut self,
        session: Arc<Session>,
        broken: BTreeSet<ImageId>,
        stat: StatCache,
    ) -> Result<(), Failure> {
        let selected = session.select(self.selection, self.settings)?;
        // What is known of the files so far is large, and of no use while they are read again.
        self.entries = Vec::new();
        self.places = Places::default();
        let wide = session.wide(&self.history);
        self.places = Places::new(&session.loaded.workspace);
        self.now = Arc::new(State { session, selected, broken, stat, wide });
        self.read_all();
        Ok(())
    }

    /// Learns what is wrong with a workspace that was just read, and which of its Dockerfiles are
    /// good. Says whether it can be used: whether only Dockerfiles have mistakes.
    fn judge(&mut self, session: &Session) -> bool {
        let workspace = &session.loaded.workspace;
        self.mistakes.clone_from(&session.loaded.problems);
        self.mistaken = workspace.sources(&self.mistakes);
        let paths = 0..workspace.found.len();
        let paths: Vec<Arc<str>> =
            paths.map(|found| Arc::from(workspace.dockerfile_path(found))).collect();
        self.dockerfiles = paths.iter().cloned().collect();
        let errors = self.mistakes.iter().filter(|problem| problem.is_error());
        let places = errors.filter_map(|problem| problem.place.as_ref());
        self.bad = places.map(|place| Arc::clone(&place.path)).collect();
        self.is_as_read = self.is_usable() && self.bad.is_empty();
        if !self.is_usable() {
            return false;
        }
        for (path, text) in paths.into_iter().zip(&workspace.texts) {
            if !self.bad.contains(&path) {
                self.good.insert(path, Arc::clone(text));
            }
        }
        true
    }

    /// Takes the last good text of each Dockerfile that has mistakes now, so that the others can go
    /// on.
    fn mended(&self, session: Session) -> Session {
        let workspace = &session.loaded.workspace;
        let mut known = BTreeMap::new();
        for found in 0..workspace.found.len() {
            let path = workspace.dockerfile_path(found);
            if let (true, Some(text)) = (self.bad.contains(&*path), self.good.get(&*path)) {
                known.insert(found, Arc::clone(text));
            }
        }
        if known.is_empty() { session } else { session.with_texts(known) }
    }

    /// The images that are not what their Dockerfiles say now, or cannot be told at all.
    fn broken_in(&self, session: &Session) -> BTreeSet<ImageId> {
        let images = session.loaded.graph.iter();
        let is_broken = |image: &Image| image.broken || self.bad.contains(&*image.spec.dockerfile);
        images.filter(|(_, image)| is_broken(image)).map(|(id, _)| id).collect()
    }

    fn add_unread(&mut self, problems: Vec<Diagnostic>) {
        for problem in problems {
            let path = problem.place.as_ref().map_or_else(|| Arc::from(""), |it| it.path.clone());
            self.unread.entry(path).or_default().push(problem);
        }
    }

    /// What makes each image what it is, and whether its Dockerfile has mistakes, by name. `state` is
    /// the one that the rest was read in.
    fn owns(&self, state: &State) -> BTreeMap<ImageName, (Option<Digest>, bool)> {
        let own = |id: &ImageId| {
            let own = self.own.get(id.index()).copied()?;
            Some((state.name(*id).clone(), (own, state.broken.contains(id))))
        };
        state.selected.family.iter().filter_map(own).collect()
    }

    /// The key of an image as if its parents were always the same; where it has to be prepared first,
    /// what that is done with stands for its files.
    fn own_of(&self, id: ImageId) -> Option<Digest> {
        let session = &self.now.session;
        let unprepared = self.prepare.get(&id).and_then(|_| self.prepare_keys.get(&id));
        let entries: &[Entry] = match &self.entries[id.index()] {
            Some(entries) => entries,
            None => unprepared.map(|_| &[])?,
        };
        let present = |_: ImageId, _: &Record| Presence::Missing;
        let facts = session.facts(&present);
        let graph = &session.loaded.graph;
        let parent = |edge: &Edge| {
            let name = graph.name(edge.parent);
            (name, Hasher::new("any build of").text(name.as_str()).finish())
        };
        let own = fingerprint::key(&facts.inputs(id, entries), &parent);
        Some(match unprepared {
            Some(key) => Hasher::new("not prepared").digest(&own).digest(key).finish(),
            None => own,
        })
    }
}
