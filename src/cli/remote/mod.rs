//! What registries have to do with a run: what others built is found there, and what is built here is
//! left for them.

pub(crate) mod args;
mod branch;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::cancel::Cancel;
use crate::cli::at_once::at_once;
use crate::cli::engines::{Choice, Kind};
use crate::cli::failure::{Exit, Failure};
use crate::cli::registries;
use crate::cli::session::Session;
use crate::cli::settings::{Settings, write};
use crate::clock::now;
use crate::digest::OciDigest;
use crate::engine::simulate::Simulate;
use crate::history::Record;
use crate::image::{ImageId, ImageName};
use crate::ledger::{Entry, Ledger};
use crate::plan::{Decision, Plan, key_reference};
use crate::published::{self, Published, Wanted};
use crate::registry::RegistryError;
use crate::remote::branch::{Found, News};
use crate::remote::{Access, Caches, Listener, Remote, is_denied};
use crate::run::{Outcome, with_causes};

/// How long what nothing in this work tree is called by stays in a state, in milliseconds: other
/// work trees may push there, too.
const KEPT: u64 = 30 * 24 * 3600 * 1000;

/// What is typed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) caches: Option<Caches>,
    pub(crate) push: bool,
    pub(crate) branch: Option<&'a str>,
    pub(crate) allow_older: bool,
}

/// Registries, and what was found there in the beginning.
pub(crate) struct Shared {
    pub(crate) remote: Remote,
}

impl Asked<'_> {
    /// As if images were pushed, but nothing is written.
    pub(crate) fn reading() -> Self {
        let registry = Access { reads: true, writes: false };
        Self { caches: Some(Caches { registry }), push: true, branch: None, allow_older: false }
    }

    /// What of registries counts in the workspace at a root. The simulated engine pushes nothing that
    /// others could find, unless its script says so.
    pub(crate) fn access(self, choice: &Choice, root: &Path) -> Access {
        let is_real = !matches!(choice.kind, Kind::Simulate) || Simulate::is_real(root);
        let usual = self.push && is_real;
        self.caches.map_or(Access { reads: usual, writes: usual }, |caches| Access {
            writes: caches.registry.writes && self.push,
            ..caches.registry
        })
    }
}

impl Shared {
    /// Asks what the registry knows of the branch; `None` where registries do not count. The session
    /// decides with it from now on.
    pub(crate) fn open(
        session: &mut Session,
        asked: Asked<'_>,
        settings: &Settings,
        cancel: &Cancel,
    ) -> Result<Option<Self>, Failure> {
        let access = asked.access(&session.choice, &session.root);
        if !access.reads && !access.writes {
            return Ok(None);
        }
        let registry = registries::open(settings, &session.root, &session.state)?;
        let branch = branch::find(session, settings, (asked.branch, asked.allow_older))?;
        if asked.push && access.writes && branch.as_ref().is_some_and(|it| it.own.is_none()) {
            warn(
                "nothing says which branch this is: what is pushed is not written into a state, and \
                 tags move whoever has moved them; `--branch` says it",
            );
        }
        let head = branch.as_ref().and_then(|branch| branch.head.as_ref());
        let source = head.and_then(|head| head.source.clone());
        let scratch = session.state.join("sending");
        let remote = Remote::new(registry, access, (source, branch), scratch);
        let found = if access.reads { state(&remote, cancel)? } else { Found::default() };
        if access.reads {
            let Found { state, open, .. } = found;
            let wanted = match (asked.push, remote.has_state()) {
                (false, _) => Wanted::Anywhere,
                (true, false) => Wanted::Pushed,
                (true, true) => Wanted::Noted,
            };
            let published = Published::new((state, &open), wanted);
            session.published = Some(published);
        }
        Ok(Some(Self { remote }))
    }

    /// Tells the ledger of the images that it knows nothing of.
    pub(crate) fn import(session: &Session, ledger: &mut Ledger) -> Result<(), Failure> {
        let Some(published) = &session.published else { return Ok(()) };
        let unknown = published.unknown_to(ledger.history());
        let graph = &session.loaded.graph;
        let ours = unknown.into_iter().filter(|it| graph.find(it.image.as_str()).is_some());
        let entries: Vec<Entry> = ours
            .flat_map(|record| {
                let (image, millis) = (record.image.clone(), record.duration);
                [Entry::Recorded(record), Entry::Duration { image, millis }]
            })
            .collect();
        if !entries.is_empty() {
            ledger.append(entries)?;
        }
        Ok(())
    }

    /// Tells the ledger what stands in a registry for an image that it knows from there: other verbs
    /// decide by the ledger alone. What was built here it does not forget, because it may be in the
    /// store under the tags of the image.
    pub(crate) fn learn(plan: &Plan, ledger: &mut Ledger) -> Result<(), Failure> {
        let history = ledger.history();
        let fresh = plan.steps.iter().filter(|step| step.decision == Decision::Fresh);
        let standing = fresh.filter_map(|step| step.record.as_ref());
        let news = standing.filter(|it| {
            let known = history.records.get(&it.image);
            let is_ours = known.is_some_and(|known| known.engine != published::CLASS);
            it.engine == published::CLASS && !is_ours && known != Some(*it)
        });
        let entries: Vec<Entry> = news.map(|it| Entry::Recorded(Arc::clone(it))).collect();
        if !entries.is_empty() {
            ledger.append(entries)?;
        }
        Ok(())
    }

    /// Looks whether the registry still has what images to build stand on, and what is to be tagged
    /// again. Says whether it has lost any: then the plan is another one.
    pub(crate) fn has_lost(
        &self,
        session: &Session,
        plan: &Plan,
        cancel: &Cancel,
    ) -> Result<bool, Failure> {
        let Some(published) = &session.published else { return Ok(false) };
        let graph = &session.loaded.graph;
        let records: BTreeMap<ImageId, &Arc<Record>> = plan
            .steps
            .iter()
            .filter(|step| matches!(step.decision, Decision::Fresh | Decision::Restore))
            .filter_map(|step| Some((step.image, step.record.as_ref()?)))
            .filter(|(_, record)| record.engine == published::CLASS)
            .collect();
        let builds = plan.steps.iter().filter(|step| {
            matches!(step.decision, Decision::Rebuild | Decision::Pending | Decision::Restore)
        });
        let restored = plan.steps.iter().filter(|step| step.decision == Decision::Restore);
        let needed: BTreeSet<ImageId> = builds
            .flat_map(|step| graph.parents(step.image))
            .chain(restored.map(|step| step.image))
            .collect();
        let needed: Vec<(String, OciDigest)> = needed
            .iter()
            .filter_map(|id| {
                let manifest = records.get(id)?.output.manifest.clone()?;
                Some((graph.image(*id).spec.repository.clone(), manifest))
            })
            .collect();
        let there = at_once(&needed, |(repository, manifest), say| {
            self.remote.has(repository, manifest, Listener { cancel, say })
        });
        let mut has_lost = false;
        for ((repository, manifest), there) in needed.iter().zip(there) {
            if !there? {
                warn(&format!("{repository}@{manifest} is not in its registry any more"));
                published.lose(manifest);
                has_lost = true;
            }
        }
        Ok(has_lost)
    }

    /// Looks at every tag of the images that are up to date: somebody else may have moved one, or
    /// removed an image. Those are pushed again.
    pub(crate) fn look_at_tags(
        &self,
        session: &Session,
        plan: &Plan,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let Some(published) = session.published.as_ref().filter(|it| it.pushes()) else {
            return Ok(());
        };
        let graph = &session.loaded.graph;
        let fresh = plan.steps.iter().filter(|step| step.decision == Decision::Fresh);
        let fresh: BTreeSet<&ImageName> = fresh.map(|step| graph.name(step.image)).collect();
        let records: Vec<&Arc<Record>> =
            published.settled().filter(|record| fresh.contains(&record.image)).collect();
        let asked: Vec<(&Record, &String)> = records
            .iter()
            .flat_map(|record| record.output.references.iter().map(|it| (&***record, it)))
            .collect();
        let digests = at_once(&asked, |(_, reference), say| {
            self.remote.digest_of(reference, Listener { cancel, say })
        });
        for ((record, reference), digest) in asked.iter().zip(digests) {
            match digest {
                Ok(digest) if record.output.manifest.as_ref() == Some(&digest) => (),
                Err(error) if !error.is_missing() => return Err(error.into()),
                _ => {
                    warn(&format!("{reference} is not what was pushed last"));
                    published.doubt(&record.image);
                }
            }
        }
        Ok(())
    }

    /// Looks whether the registry has another build already of what would be pushed from the store: a
    /// key tag never moves. Says whether it has any: then the plan is another one.
    pub(crate) fn has_found(
        &self,
        session: &Session,
        plan: &Plan,
        cancel: &Cancel,
    ) -> Result<bool, Failure> {
        let Some(published) = session.published.as_ref().filter(|it| it.pushes()) else {
            return Ok(false);
        };
        let graph = &session.loaded.graph;
        let steps = plan.steps.iter();
        let steps =
            steps.filter(|step| matches!(step.decision, Decision::Push | Decision::Restore));
        let stored: Vec<(String, &Arc<Record>)> = steps
            .filter_map(|step| Some((step.image, step.record.as_ref()?)))
            .filter(|(_, record)| record.engine != published::CLASS)
            .map(|(id, it)| (key_reference(&graph.image(id).spec.repository, &it.build_key), it))
            .collect();
        let there = at_once(&stored, |(reference, record), say| {
            self.remote.look_up(reference, &record.build_key, Listener { cancel, say })
        });
        let mut has_found = false;
        for ((reference, record), there) in stored.iter().zip(there) {
            let there = match there {
                // Many registries deny what does not exist.
                Err(error) if is_denied(&error) => None,
                there => there?,
            };
            // What was sent from here is sent again.
            if let Some(there) = there.filter(|it| it.output.id != record.output.id) {
                has_found |= published.gain(reference, there);
            }
        }
        Ok(has_found)
    }

    /// Says for which commit tags will be moved, and of which images.
    pub(crate) fn claim(
        &self,
        session: &Session,
        plan: &Plan,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let say = &mut |note: String| warn(&note);
        let names = plan.work().map(|step| session.loaded.graph.name(step.image).clone());
        match self.remote.claim(&names.collect(), Listener { cancel, say }) {
            Err(error) if is_denied(&error) => {
                warn(&format!("the state of the branch cannot be written: {error}"));
                Ok(())
            }
            claimed => Ok(claimed?),
        }
    }

    /// Writes the state of the branch after a run. What cannot be written costs others some
    /// questions: it is said, and no failure.
    pub(crate) fn leave(&self, session: &Session, outcome: &Outcome) {
        // The run may have been interrupted; what it did shall be known all the same.
        let cancel = &Cancel::default();
        let say = &mut |note: String| warn(&note);
        let known = |image: &ImageName| session.loaded.graph.find(image.as_str()).is_some();
        let oldest = now().saturating_sub(KEPT);
        let news = News { records: &outcome.published, unsettled: &outcome.unsettled };
        let written = self.remote.write_state(&news, (&known, oldest), Listener { cancel, say });
        if let Err(error) = written {
            warn(&format!("the state of the branch cannot be written: {error}"));
        }
    }
}

/// The state of the branch. A registry that denies it may only lack it: that is said, and every
/// image is looked for by its key.
fn state(remote: &Remote, cancel: &Cancel) -> Result<Found, Failure> {
    let say = &mut |note: String| warn(&note);
    match remote.state(Listener { cancel, say }) {
        Err(error) if is_denied(&error) => {
            warn(&format!("the state of the branch cannot be read: {error}"));
            Ok(Found::default())
        }
        found => Ok(found?),
    }
}

fn warn(text: &str) {
    write(&mut io::stderr(), &format!("warning: {text}\n"));
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let exit = match &error {
            RegistryError::Cancelled => return Self::said(crate::cli::carry::interrupted()),
            error if error.is_transient() => Exit::UNAVAILABLE,
            _ => Exit::IMAGE_FAILED,
        };
        Self::new(exit, with_causes(&error))
    }
}
