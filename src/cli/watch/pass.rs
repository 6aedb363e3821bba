//! One pass of a watch: what is not up to date is planned and built, as by `rebuild`.
//!
//! The lock is taken for as long as a pass takes, not for the whole watch: a `rebuild` elsewhere
//! waits for a run at most.
#![expect(clippy::disallowed_methods, reason = "removes what a run leaves")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use crate::cancel::Cancel;
use crate::cli::carry::{greet, make_room, open_ledger, options};
use crate::cli::failure::Failure;
use crate::cli::session::PresenceTable;
use crate::cli::settings::{self, Settings};
use crate::cli::watch::args::Watch;
use crate::cli::watch::tell::Teller;
use crate::cli::watch::tree::State;
use crate::clock;
use crate::context::Entry;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::event::What;
use crate::fingerprint::reason::{PrepareCause, Reason};
use crate::gather::stat::Keep;
use crate::history::{Ended, History, Presence, Record};
use crate::image::{ImageId, ImageName};
use crate::ledger::{Holder, Ledger, Resting};
use crate::plan::{self, Decision, Facts, Plan, Step, Wanted};
use crate::report::attended;
use crate::run::{self, Held, HeldPrepare, Mailbox, Options, Outcome, Run};

/// What failed, and is not to be tried again before something else is tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds {
    /// Builds, by the key that they failed with.
    pub(crate) builds: BTreeMap<ImageName, Held>,
    /// `prepare` commands, by the digest of what they were run with.
    pub(crate) prepares: BTreeMap<ImageName, HeldPrepare>,
}

/// All that a pass takes. It runs on a thread of its own, and the watch goes on meanwhile.
pub(crate) struct Pass<'a> {
    pub(crate) arguments: &'a Watch,
    pub(crate) settings: &'a Settings,
    pub(crate) state: &'a State,
    pub(crate) entries: Vec<Option<Arc<[Entry]>>>,
    pub(crate) prepare: BTreeMap<ImageId, PrepareCause>,
    /// What may be out of date; `None`: anything.
    pub(crate) doubtful: Option<&'a BTreeSet<ImageName>>,
    pub(crate) unusable: BTreeSet<ImageId>,
    pub(crate) holds: Holds,
    /// The last run that this watch knows of: after one of somebody else the store may have changed.
    pub(crate) last_run: Option<String>,
    pub(crate) is_first: bool,
    /// The ledger of the last pass.
    pub(crate) ledger: Option<Resting>,
    /// The engine of the last pass.
    pub(crate) engine: Option<Box<dyn Engine>>,
    pub(crate) teller: &'a Teller,
    pub(crate) cancel: &'a Cancel,
}

/// What there is to build, and what it takes.
struct Work<'a> {
    facts: Facts<'a>,
    plan: &'a Plan,
    entries: Vec<Option<Vec<Entry>>>,
    mailbox: Mailbox,
    held: &'a BTreeMap<ImageName, Held>,
}

/// What came of a pass.
#[derive(Default)]
pub(crate) struct Passed {
    /// The ledger, with what is known now.
    pub(crate) ledger: Option<Resting>,
    /// Whether anything was done.
    pub(crate) has_run: bool,
    /// What failed and is to be held.
    pub(crate) holds: Holds,
    /// The images that are not up to date.
    pub(crate) stale: BTreeSet<ImageName>,
    /// The images whose inputs the run itself may have changed: they were prepared, more of their
    /// contexts counts than before, or they never came to rest.
    pub(crate) touched: BTreeSet<ImageId>,
    is_engine_doubtful: bool,
    /// The engine, if it was there to the end.
    pub(crate) engine: Option<Box<dyn Engine>>,
}

/// What came of a run.
struct Carried {
    ends: BTreeMap<ImageName, Ended>,
    outcome: Outcome,
}

impl Passed {
    /// Learns from a run.
    fn take_in(&mut self, carried: Carried) {
        let Carried { ends, outcome } = carried;
        let is_bad = |ended| matches!(ended, Ended::Failed | Ended::Blocked | Ended::NotReached);
        let bad = ends.iter().filter(|(_, ended)| is_bad(**ended)).map(|(name, _)| name.clone());
        self.stale.extend(bad);
        self.holds.prepares.extend(outcome.unprepared);
        self.holds.builds.extend(outcome.failed);
        self.is_engine_doubtful = outcome.summary.transient > 0;
    }
}

impl Pass<'_> {
    /// Plans, and builds what there is to build.
    pub(crate) fn run(mut self, mailbox: Mailbox) -> Result<Passed, Failure> {
        let mut ledger = self.open_ledger()?;
        let engine = self.engine(ledger.history())?;
        let (state, session) = (self.state, &*self.state.session);
        let (scope, presence) = self.scope(ledger.history(), &*engine)?;
        let present = |id, record: &_| presence.of(session, &*engine, id, record);
        let leaves_out = state.selected.images != state.selected.family;
        if self.is_first && leaves_out && self.unusable.is_empty() {
            let facts = session.facts(&present);
            session.check_left_out(&state.selected, ledger.history(), &facts)?;
        }
        let facts = session.facts(&present);
        let images = self.buildable(&scope, ledger.history(), &present);
        let none = BTreeSet::new();
        let push = self.arguments.building.push;
        let wanted = Wanted { images: &images, forced: &none, prepare: &self.prepare, push };
        let entries = self.entries_of(&scope);
        let mut plan = plan::plan(&facts, ledger.history(), &entries, &wanted);
        let keys = self.prepare_keys(&scope);
        let held = hold_back(&mut plan, state, &self.holds, &keys);
        let stale = scope.difference(&images).chain(&held);
        let stale = stale.map(|id| state.name(*id).clone()).collect();
        let touched = self.prepare.keys().copied().filter(|id| scope.contains(id)).collect();
        let holds = std::mem::take(&mut self.holds);
        let widened = ledger.history().widened.clone();
        let has_run = plan.work().next().is_some();
        let mut passed = Passed { has_run, holds, stale, touched, ..Passed::default() };
        if has_run {
            let work = Work { facts, plan: &plan, entries, mailbox, held: &passed.holds.builds };
            let carried = self.carry_out(work, &*engine, &mut ledger)?;
            passed.take_in(carried);
        }
        let history = ledger.history();
        let new = history.widened.keys().filter(|name| !widened.contains_key(*name));
        let graph = &session.loaded.graph;
        let touched = new.cloned().chain(passed.holds.restless());
        let touched: Vec<ImageId> = touched.filter_map(|name| graph.find(name.as_str())).collect();
        passed.touched.extend(touched);
        passed.engine = Some(engine).filter(|_| !passed.is_engine_doubtful);
        passed.ledger = Some(ledger.rest());
        Ok(passed)
    }

    fn open_ledger(&mut self) -> Result<Ledger, Failure> {
        let me = Holder::this_process("imgraph watch", clock::now());
        let mut say = |text: &str| self.teller.talk(text);
        let state = &self.state.session.state;
        let resting = self.ledger.take();
        let mut ledger = open_ledger((state, resting), &me, false, self.cancel, &mut say)?;
        for warning in ledger.take_warnings() {
            self.teller.talk(&format!("warning: {warning}\n"));
        }
        Ok(ledger)
    }

    /// The images to plan for, and what the store has of them and of what they need. Where nothing
    /// but this watch has done anything since the last pass, that is what may be out of date, with
    /// all that stands on it: everything else is known to be as it shall be.
    fn scope(
        &self,
        history: &History,
        engine: &dyn Engine,
    ) -> Result<(BTreeSet<ImageId>, PresenceTable), Failure> {
        let State { session, selected, .. } = self.state;
        let graph = &session.loaded.graph;
        let doubtful = self.doubtful.filter(|_| last_run(history) == self.last_run);
        if let Some(names) = doubtful {
            let ids = names.iter().filter_map(|name| graph.find(name.as_str())).collect();
            let mut scope = graph.with_descendants(&ids);
            scope.retain(|id| selected.images.contains(id));
            let family = graph.with_ancestors(&scope);
            let presence = session.presence(engine, history, &family)?;
            let is_there = |id: &ImageId| {
                let record = history.records.get(graph.name(*id));
                record.is_none_or(|it| presence.of(session, engine, *id, it) == Presence::Present)
            };
            if family.difference(&scope).all(is_there) {
                return Ok((scope, presence));
            }
        }
        let presence = session.presence(engine, history, &selected.family)?;
        Ok((selected.images.clone(), presence))
    }

    /// The contexts of some images, and of what they need.
    fn entries_of(&self, scope: &BTreeSet<ImageId>) -> Vec<Option<Vec<Entry>>> {
        let family = self.state.session.loaded.graph.with_ancestors(scope);
        let mut entries = vec![None; self.entries.len()];
        for id in family {
            entries[id.index()] = self.entries[id.index()].as_ref().map(|entries| entries.to_vec());
        }
        entries
    }

    /// The engine: the one of the last pass, unless somebody else has built since then.
    fn engine(&mut self, history: &History) -> Result<Box<dyn Engine>, Failure> {
        let kept = self.engine.take().filter(|_| last_run(history) == self.last_run);
        let session = &self.state.session;
        match kept {
            Some(engine) => Ok(engine),
            None => session.choice.open(&session.root, &session.state, self.settings),
        }
    }

    /// Builds what is planned.
    fn carry_out(
        &self,
        work: Work<'_>,
        engine: &dyn Engine,
        ledger: &mut Ledger,
    ) -> Result<Carried, Failure> {
        let Work { facts, plan, entries, mailbox, held } = work;
        let (state, session) = (self.state, &*self.state.session);
        let options = self.options(ledger);
        make_room(session, &options)?;
        if self.is_first {
            greet(engine)?;
        }
        let scratch = options.scratch.clone();
        let none = BTreeSet::new();
        let is_uncached = self.arguments.building.no_cache;
        let work = Run {
            facts,
            plan,
            entries,
            forced: &none,
            uncached: if is_uncached { &state.selected.asked } else { &none },
            held,
            quarantine: &BTreeMap::new(),
            engine,
            remote: None,
            disk: &state.disk(),
            ledger,
            options,
        };
        let mut ends: BTreeMap<ImageName, Ended> = BTreeMap::new();
        let mut tell = |what: What| {
            if let What::Finished { image, ended, .. } = &what {
                ends.insert(image.clone(), *ended);
            }
            self.teller.tell(what);
        };
        let reporter = self.teller.reporter();
        let outcome = attended(reporter, || run::run(work, mailbox, self.cancel, &mut tell));
        fs::remove_dir_all(scratch).unwrap_or_default();
        state.stat.save(&session.state, Keep::All).unwrap_or_default();
        Ok(Carried { ends, outcome: outcome? })
    }

    fn options(&self, ledger: &Ledger) -> Options {
        let Watch { building, jobs, .. } = self.arguments;
        Options {
            jobs: settings::jobs(*jobs),
            pull: building.pull,
            push: building.push,
            ..options(&self.state.session, ledger)
        }
    }

    /// The images that can be built as things are: a parent that cannot stands as it was
    /// last built.
    fn buildable(
        &self,
        scope: &BTreeSet<ImageId>,
        history: &History,
        present: &dyn Fn(ImageId, &Record) -> Presence,
    ) -> BTreeSet<ImageId> {
        let session = &self.state.session;
        let graph = &session.loaded.graph;
        let stands = |id: ImageId| {
            history.records.get(graph.name(id)).is_some_and(|record| {
                record.engine == session.choice.class
                    && record.platform == graph.image(id).platform
                    && present(id, record) != Presence::Missing
            })
        };
        let mut buildable = BTreeSet::new();
        for id in graph.order().iter().filter(|id| scope.contains(id)) {
            let has_parents = graph
                .parents(*id)
                .into_iter()
                .all(|parent| buildable.contains(&parent) || stands(parent));
            if has_parents && !self.unusable.contains(id) {
                buildable.insert(*id);
            }
        }
        buildable
    }

    /// What the `prepare` commands that have to run would be run with.
    fn prepare_keys(&self, scope: &BTreeSet<ImageId>) -> BTreeMap<ImageName, Digest> {
        let disk = self.state.disk();
        let key = |id: &ImageId| Some((self.state.name(*id).clone(), disk.prepare_key(*id)?));
        self.prepare.keys().filter(|id| scope.contains(id)).filter_map(key).collect()
    }
}

/// Takes what failed as it is now out of a plan, with all that stands on it. Returns what was taken.
fn hold_back(
    plan: &mut Plan,
    state: &State,
    holds: &Holds,
    prepare_keys: &BTreeMap<ImageName, Digest>,
) -> BTreeSet<ImageId> {
    let graph = &state.session.loaded.graph;
    let needs_prepare = |reason: &Reason| matches!(reason, Reason::PrepareNeeded { .. });
    let is_held = |step: &Step| {
        let name = graph.name(step.image);
        if step.reasons.iter().any(needs_prepare) {
            let held = holds.prepares.get(name).map(|held| held.key);
            return held.is_some() && held == prepare_keys.get(name).copied();
        }
        let held = holds.builds.get(name).map(|held| held.key);
        step.decision == Decision::Rebuild && held.is_some() && held == step.key
    };
    let mut held = BTreeSet::new();
    for step in &plan.steps {
        if is_held(step) || graph.parents(step.image).iter().any(|parent| held.contains(parent)) {
            held.insert(step.image);
        }
    }
    plan.steps.retain(|step| !held.contains(&step.image));
    held
}

/// Nothing is held any more.
impl Holds {
    /// The images that were given up because their files changed whenever they were prepared or
    /// built.
    pub(crate) fn restless(&self) -> BTreeSet<ImageName> {
        let builds = self.builds.iter().filter(|(_, held)| held.restless).map(|(name, _)| name);
        let prepares = self.prepares.iter().filter(|(_, held)| held.restless);
        builds.chain(prepares.map(|(name, _)| name)).cloned().collect()
    }

    /// These may be tried again.
    pub(crate) fn let_go_of_restless(&mut self) {
        self.builds.retain(|_, held| !held.restless);
        self.prepares.retain(|_, held| !held.restless);
    }

    /// Everything that failed may be tried again.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The id of the last run that a history knows of.
pub(crate) fn last_run(history: &History) -> Option<String> {
    history.last_run.as_ref().map(|run| run.id.clone())
}
