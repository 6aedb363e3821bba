//! How images end: recorded, pushed where that is wanted, and told.

use std::sync::Arc;

use crate::clock::{Timer, now};
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::event::{self, Failure, What};
use crate::fingerprint::reason::Reason;
use crate::fingerprint::{self, leaf};
use crate::graph::Edge;
use crate::history::{Ended, Output, Pushed, Record};
use crate::image::{ImageId, ImageName};
use crate::ledger::{self, LedgerError};
use crate::plan::{key_reference, pushed_references, source_key};
use crate::published;
use crate::run::dispatcher::{Dispatcher, Spawn};
use crate::run::job::{self, Log, Push};
use crate::run::publish::{self, Sent};
use crate::run::summary::Finished;
use crate::run::together::{self, Held, Together};
use crate::run::work::{self, Done};

/// What is told of an image that ended.
#[derive(Default)]
pub(super) struct End {
    pub(super) built: Option<event::Built>,
    pub(super) failure: Option<Failure>,
    pub(super) blocked_by: Option<ImageName>,
}

impl<'a> Dispatcher<'a, '_> {
    pub(super) fn cut_off(
        &mut self,
        id: ImageId,
        record: Arc<Record>,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        self.current[id.index()] = Some(record);
        self.stand(id, Ended::CutOff, End::default(), spawn)
    }

    pub(super) fn restore(
        &mut self,
        id: ImageId,
        record: &Record,
        key: Digest,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        if let Some(failure) = self.too_large(id, record) {
            return self.fail(id, failure);
        }
        if record.engine == published::CLASS && record.leaves.is_empty() {
            self.begun.entry(id).or_insert_with(|| (Timer::start(), 0));
            return self.adopted(id, record.clone(), spawn);
        }
        let known = record.output.references.clone();
        let references = job::references(&self.run, id, &key);
        let record = Arc::new(Record {
            image: self.name(id),
            output: Output { references, ..record.output.clone() },
            ..record.clone()
        });
        self.begun.entry(id).or_insert_with(|| (Timer::start(), 0));
        if record.engine == published::CLASS {
            // There is nothing to do in the store.
            let output = Output { references: known, ..record.output.clone() };
            self.current[id.index()] = Some(Arc::new(Record { output, ..(*record).clone() }));
            return self.restored(id, spawn);
        }
        self.current[id.index()] = Some(Arc::clone(&record));
        let (shared, sender) = (self.shared, self.sender.clone());
        self.workers += 1;
        spawn(Box::new(move || work::restore(shared, id, &record.output, &sender)));
        Ok(())
    }

    /// That what would stand for an image is more than its layer allows.
    fn too_large(&self, id: ImageId, record: &Record) -> Option<Failure> {
        let (limit, layer) = job::size_limit(&self.run, id)?;
        let size = record.output.size;
        let failure = || work::passing(&work::too_large(size, limit, &layer));
        (size > limit).then(|| Failure { transient: false, ..failure() })
    }

    pub(super) fn built(
        &mut self,
        id: ImageId,
        done: Done,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        let facts = self.run.facts;
        let image = facts.graph.image(id);
        let entries = self.run.entries[id.index()].take().unwrap_or_default();
        // Parents may have been prepared, or may have moved, since the plan was made.
        self.source_keys[id.index()] = source_key(&facts, id, &entries, &self.source_keys);
        let inputs = facts.inputs(id, &entries);
        let parent = |edge: &Edge| self.parent_identity(edge);
        let record = Arc::new(Record {
            image: image.spec.name.clone(),
            platform: image.platform.clone(),
            engine: done.class,
            source_key: self.source_keys[id.index()],
            build_key: fingerprint::key(&inputs, &parent),
            content: done.content,
            output: done.output,
            finished: now(),
            duration: done.duration,
            leaves: leaf::encode(&fingerprint::leaves(&inputs, &parent)),
        });
        // Where the engine had every step in its cache, the duration says nothing of the next build.
        let name = record.image.clone();
        let mut news = if done.steps > 0 && done.cached_steps == done.steps {
            let ended = ledger::Entry::Ended { image: name, ended: Ended::Built };
            vec![ledger::Entry::Recorded(Arc::clone(&record)), ended]
        } else {
            vec![ledger::Entry::Built(Arc::clone(&record))]
        };
        news.extend(self.aged(id, &record, done.cached_steps));
        if !done.layers.is_empty() {
            news.push(ledger::Entry::Layers(done.layers));
        }
        self.run.ledger.append(news)?;
        let built = event::Built {
            references: record.output.references.clone(),
            id: record.output.id.to_string(),
            content: record.content.to_string(),
            unchanged: done.unchanged,
            size: record.output.size,
            cached_steps: done.cached_steps,
            steps: done.steps,
        };
        self.current[id.index()] = Some(record);
        self.stand(id, Ended::Built, End { built: Some(built), ..End::default() }, spawn)
    }

    /// Its registry has what the same key came out as before.
    pub(super) fn adopted(
        &mut self,
        id: ImageId,
        record: Record,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        if let Some(failure) = self.too_large(id, &record) {
            return self.fail(id, failure);
        }
        let facts = self.run.facts;
        let entries = self.run.entries[id.index()].take().unwrap_or_default();
        self.source_keys[id.index()] = source_key(&facts, id, &entries, &self.source_keys);
        let inputs = facts.inputs(id, &entries);
        let parent = |edge: &Edge| self.parent_identity(edge);
        let leaves = leaf::encode(&fingerprint::leaves(&inputs, &parent));
        let (image, source_key) = (self.name(id), self.source_keys[id.index()]);
        self.current[id.index()] = Some(Arc::new(Record { image, source_key, leaves, ..record }));
        self.restored(id, spawn)
    }

    pub(super) fn restored(
        &mut self,
        id: ImageId,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        let Some(record) = self.current[id.index()].clone() else { return Ok(()) };
        self.run.ledger.append([ledger::Entry::Recorded(Arc::clone(&record))])?;
        let built = event::Built {
            references: record.output.references.clone(),
            id: record.output.id.to_string(),
            content: record.content.to_string(),
            unchanged: false,
            size: record.output.size,
            cached_steps: 0,
            steps: 0,
        };
        self.stand(id, Ended::Restored, End { built: Some(built), ..End::default() }, spawn)
    }

    /// The image is as it shall be in the store: it ends so, unless it has to be pushed first.
    pub(super) fn stand(
        &mut self,
        id: ImageId,
        ended: Ended,
        end: End,
        spawn: Spawn<'_, 'a>,
    ) -> Result<(), LedgerError> {
        let Some(push) = self.to_push(id, ended) else {
            self.renew_published(id, ended);
            return self.end(id, ended, end);
        };
        if !self.logged.contains(&id) {
            self.started(id, vec![Reason::NotPushed]);
        }
        self.pushing.insert(id, (ended, end));
        self.unsettled.insert(self.name(id));
        let (shared, sender) = (self.shared, self.sender.clone());
        self.workers += 1;
        spawn(Box::new(move || publish::push(shared, &push, &sender)));
        Ok(())
    }

    /// What was built again and came out the same is as young in its registry as here.
    fn renew_published(&mut self, id: ImageId, ended: Ended) {
        let record = self.current[id.index()].as_ref().filter(|_| ended == Ended::Built);
        let Some(record) = record.filter(|_| self.run.options.push) else { return };
        let spec = &self.run.facts.graph.image(id).spec;
        let key_tag = key_reference(&spec.repository, &record.build_key);
        let published = self.run.facts.published;
        let there = published.and_then(|published| published.find(&spec.name, &key_tag));
        if let Some(there) = there {
            let (finished, duration) = (self.oldest_step(record), record.duration);
            let renewed = Record { finished, duration, ..(*there).clone() };
            self.published.insert(renewed.image.clone(), Arc::new(renewed));
        }
    }

    /// What is pushed is as old as its oldest step: other machines do not know which came from a cache.
    fn oldest_step(&self, record: &Record) -> u64 {
        self.run.ledger.history().oldest_step(record)
    }

    /// What there is to push of an image, if that is wanted. A forced image is pushed again, too.
    fn to_push(&self, id: ImageId, ended: Ended) -> Option<Push> {
        let record = self.current[id.index()].as_ref().filter(|_| self.run.options.push)?;
        let history = self.run.ledger.history();
        let unpushed = self.run.facts.unpushed(history, id, Some(record));
        let spec = &self.run.facts.graph.image(id).spec;
        let is_forced = self.run.forced.contains(&id);
        let again = is_forced.then(|| pushed_references(spec, &record.build_key));
        Some(Push {
            id,
            image: self.name(id),
            references: unpushed.or(again)?,
            home: (spec.repository.clone(), key_reference(&spec.repository, &record.build_key)),
            adopts: !is_forced
                && ![&self.uncached, self.run.uncached].iter().any(|it| it.contains(&id)),
            holds: self.run.options.atomic,
            base: job::base(&self.run, (&self.current, &self.published), id),
            record: Arc::new(Record { finished: self.oldest_step(record), ..(**record).clone() }),
            tag: matches!(ended, Ended::CutOff | Ended::Pushed),
            log: Log::of(&self.run, id),
        })
    }

    pub(super) fn pushed(&mut self, id: ImageId, sent: Sent) -> Result<(), LedgerError> {
        let image = self.name(id);
        if let Some(mut record) = self.current[id.index()].clone() {
            if let Some(there) = &sent.taken {
                let (engine, output) = (published::CLASS.to_owned(), there.output.clone());
                let (content, finished) = (there.content, there.finished);
                record =
                    Arc::new(Record { engine, content, output, finished, ..(*record).clone() });
            }
            self.remember_push(id, &record, &sent)?;
            self.unsettled.remove(&image);
            self.hold(id, &record, &sent);
        }
        (self.emit)(What::Pushed { image, references: sent.references });
        match self.pushing.remove(&id) {
            Some((ended, end)) => self.end(id, ended, end),
            None => Ok(()),
        }
    }

    /// Keeps the tags that wait for the end of the run.
    fn hold(&mut self, id: ImageId, record: &Record, sent: &Sent) {
        let Some(manifest) = sent.manifest.clone().filter(|_| !sent.held.is_empty()) else {
            return;
        };
        let spec = &self.run.facts.graph.image(id).spec;
        self.held.push(Held {
            id,
            image: record.image.clone(),
            repository: spec.repository.clone(),
            manifest,
            tags: sent.held.clone(),
        });
    }

    /// Moves the tags of all images in the end, unless something has gone wrong; why that could not
    /// be done.
    pub(super) fn move_together(&mut self) -> Result<Option<EngineError>, LedgerError> {
        let held = std::mem::take(&mut self.held);
        let Some(remote) = self.shared.remote.filter(|_| !held.is_empty()) else { return Ok(None) };
        let is_bad =
            |it: &Finished| matches!(it.ended, Ended::Failed | Ended::Blocked | Ended::NotReached);
        if self.finished.iter().any(is_bad) {
            self.warn("no tag has moved: not all images are there".to_owned());
            return Ok(None);
        }
        let mut notes = Vec::new();
        let say = &mut |note| notes.push(note);
        let together = together::move_all(remote, &held, (self.shared.cancel, say));
        for note in notes {
            self.warn(note);
        }
        match together {
            Together::Stay => {
                self.warn("no tag has moved: a later run moves them".to_owned());
                Ok(None)
            }
            Together::Failed(error, astray) => {
                self.unsettled.extend(astray);
                Ok(Some(error))
            }
            Together::Moved => {
                for held in held {
                    let Some(record) = self.current[held.id.index()].clone() else { continue };
                    let spec = &self.run.facts.graph.image(held.id).spec;
                    let references = pushed_references(spec, &record.build_key);
                    let manifest = Some(held.manifest);
                    let sent = Sent {
                        references,
                        manifest,
                        is_whole: true,
                        held: Vec::new(),
                        taken: None,
                    };
                    self.remember_push(held.id, &record, &sent)?;
                    (self.emit)(What::Pushed { image: held.image, references: held.tags });
                }
                Ok(None)
            }
        }
    }

    fn warn(&mut self, message: String) {
        (self.emit)(What::Warning { image: None, message });
    }

    fn remember_push(
        &mut self,
        id: ImageId,
        record: &Arc<Record>,
        sent: &Sent,
    ) -> Result<(), LedgerError> {
        let image = self.name(id);
        let is_remote = record.engine == published::CLASS;
        if let Some(manifest) = &sent.manifest {
            let spec = &self.run.facts.graph.image(id).spec;
            let mut references = pushed_references(spec, &record.build_key);
            references.retain(|it| {
                sent.references.contains(it) || is_remote && record.output.references.contains(it)
            });
            let manifest = Some(manifest.clone());
            let output = Output { manifest, references, ..record.output.clone() };
            let engine = published::CLASS.to_owned();
            let finished = self.oldest_step(record);
            let there = Arc::new(Record { engine, output, finished, ..(**record).clone() });
            if is_remote {
                self.current[id.index()] = Some(Arc::clone(&there));
                self.run.ledger.append([ledger::Entry::Recorded(Arc::clone(&there))])?;
            }
            if sent.is_whole {
                self.published.insert(image.clone(), there);
            }
        }
        if !is_remote {
            let (output, references) = (record.output.id.clone(), sent.references.clone());
            let pushed = Pushed { image, id: output, references };
            self.run.ledger.append([ledger::Entry::Pushed(pushed)])?;
        }
        Ok(())
    }

    pub(super) fn fail(&mut self, id: ImageId, failure: Failure) -> Result<(), LedgerError> {
        self.end(id, Ended::Failed, End { failure: Some(failure), ..End::default() })
    }

    /// The one place where an image ends: schedule, ledger and report hear of it.
    pub(super) fn end(&mut self, id: ImageId, ended: Ended, end: End) -> Result<(), LedgerError> {
        let image = self.name(id);
        let duration = self.begun.get(&id).map_or(0, |(timer, _)| timer.elapsed());
        let transient = end.failure.as_ref().is_some_and(|failure| failure.transient);
        self.finished.push(Finished { id, ended, duration, transient });
        if ended != Ended::Built {
            self.run.ledger.append([ledger::Entry::Ended { image: image.clone(), ended }])?;
        }
        (self.emit)(What::Finished {
            image: image.clone(),
            ended,
            duration,
            built: end.built,
            failure: end.failure,
            blocked_by: end.blocked_by,
        });
        match ended {
            Ended::Built | Ended::CutOff | Ended::Restored | Ended::Pushed => {
                self.schedule.done(id);
            }
            Ended::Failed => self.block(id, &image)?,
            Ended::Quarantined if self.current[id.index()].is_some() => self.schedule.done(id),
            Ended::Quarantined => self.block(id, &image)?,
            Ended::NotReached => self.schedule.give_up(id),
            Ended::Blocked => (),
        }
        Ok(())
    }

    /// Ends what stands on an image that has no output.
    fn block(&mut self, id: ImageId, image: &ImageName) -> Result<(), LedgerError> {
        for blocked in self.schedule.failed(id) {
            let blocked_by = Some(image.clone());
            self.end(blocked, Ended::Blocked, End { blocked_by, ..End::default() })?;
        }
        Ok(())
    }
}
