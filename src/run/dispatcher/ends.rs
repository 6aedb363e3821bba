//! How images end: recorded, pushed where that is wanted, and told.

use std::sync::Arc;

use crate::clock::now;
use crate::event::{self, Failure, What};
use crate::fingerprint::reason::Reason;
use crate::fingerprint::{self, leaf};
use crate::graph::Edge;
use crate::history::{Ended, Pushed, Record};
use crate::image::{ImageId, ImageName};
use crate::ledger::{self, LedgerError};
use crate::plan::{pushed_references, source_key};
use crate::run::dispatcher::{Dispatcher, Spawn};
use crate::run::job::{Log, Push};
use crate::run::summary::Finished;
use crate::run::work::{self, Done};

/// What is told of an image that ended.
#[derive(Default)]
pub(super) struct End {
    pub(super) built: Option<event::Built>,
    pub(super) failure: Option<Failure>,
    pub(super) blocked_by: Option<ImageName>,
}

impl<'a> Dispatcher<'a, '_> {
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
            engine: facts.engine.to_owned(),
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
        let Some(push) = self.to_push(id, ended) else { return self.end(id, ended, end) };
        if !self.logged.contains(&id) {
            self.started(id, vec![Reason::NotPushed]);
        }
        self.pushing.insert(id, (ended, end));
        let (shared, sender) = (self.shared, self.sender.clone());
        self.workers += 1;
        spawn(Box::new(move || work::push(shared, &push, &sender)));
        Ok(())
    }

    /// What there is to push of an image, if that is wanted. A forced image is pushed again, too.
    fn to_push(&self, id: ImageId, ended: Ended) -> Option<Push> {
        let record = self.current[id.index()].as_ref().filter(|_| self.run.options.push)?;
        let history = self.run.ledger.history();
        let unpushed = self.run.facts.unpushed(history, id, Some(record));
        let spec = &self.run.facts.graph.image(id).spec;
        let again = self.run.forced.contains(&id);
        let again = again.then(|| pushed_references(spec, &record.build_key));
        Some(Push {
            id,
            image: self.name(id),
            output: record.output.id.clone(),
            references: unpushed.or(again)?,
            tag: matches!(ended, Ended::CutOff | Ended::Pushed),
            log: Log::of(&self.run, id),
        })
    }

    pub(super) fn pushed(
        &mut self,
        id: ImageId,
        references: Vec<String>,
    ) -> Result<(), LedgerError> {
        let image = self.name(id);
        if let Some(record) = &self.current[id.index()] {
            let (output, references) = (record.output.id.clone(), references.clone());
            let pushed = Pushed { image: image.clone(), id: output, references };
            self.run.ledger.append([ledger::Entry::Pushed(pushed)])?;
        }
        (self.emit)(What::Pushed { image, references });
        match self.pushing.remove(&id) {
            Some((ended, end)) => self.end(id, ended, end),
            None => Ok(()),
        }
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
