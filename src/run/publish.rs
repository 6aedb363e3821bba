//! How an image gets into its registry, and how it is found there.
//!
//! First the image under its key tag, then the note beside it, then the tags that people use: so a
//! key tag with a note is whole, and a tag never points at what nobody can find again.

use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::digest::OciDigest;
use crate::engine::{Cancel, EngineError, Progress};
use crate::event::Failure;
use crate::history::{Output, Record};
use crate::published;
use crate::registry::RegistryError;
use crate::remote::{Listener, Remote, Turn, is_denied};
use crate::run::job::{Job, Push};
use crate::run::work::{Failed, LogWriter, Message, Shared, is_transient, patiently, with_causes};

/// How often it is looked whether another runner has noted what it has pushed, and how long is waited
/// in between.
const PATIENCE: u32 = 6;
const WAIT: Duration = Duration::from_millis(500);

/// What is in a registry now.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The references that point at it.
    pub(crate) references: Vec<String>,
    /// What it is called by there, where that was asked.
    pub(crate) manifest: Option<OciDigest>,
    /// Whether these are all that were wanted.
    pub(crate) is_whole: bool,
    /// References that move in the end.
    pub(crate) held: Vec<String>,
    /// What another runner had made of the same key, which stands for the image now.
    pub(crate) taken: Option<Box<Record>>,
}

/// Looks for an earlier build of a key in its registry. Where that cannot be asked it is said, and
/// there is none: then the image is built.
pub(super) fn look_up(shared: Shared<'_>, job: &Job, writer: &mut LogWriter<'_>) -> Option<Record> {
    let remote = shared.remote.filter(|remote| remote.access().reads && job.adopts)?;
    if !crate::reference::names_a_registry(&job.key_reference) {
        return None;
    }
    let mut notes = Vec::new();
    let say = &mut |note| notes.push(note);
    let listener = Listener { cancel: shared.cancel, say };
    let found = remote.look_up(&job.key_reference, &job.key, listener);
    for note in notes {
        writer.progress(Progress::Warning(note));
    }
    match found {
        Ok(record) => record.filter(|record| record.platform == job.request.platform),
        Err(RegistryError::Cancelled) => None,
        Err(error) => {
            let text = format!("cannot look for an earlier build: {error}");
            // A repository that does not exist yet is denied by many registries.
            writer.progress(if is_denied(&error) {
                Progress::Log(text)
            } else {
                Progress::Warning(text)
            });
            None
        }
    }
}

/// Sends an image to its registry, or moves its tags there.
pub(super) fn push(shared: Shared<'_>, push: &Push, sender: &Sender<Message>) {
    let mut writer = LogWriter::new(&push.image, &push.log, sender);
    writer.progress(Progress::Step {
        number: 1,
        total: Some(1),
        text: format!("push {}", push.references.join(" ")),
        cached: false,
    });
    let sent = patiently(shared, &push.image, sender, || match shared.remote {
        Some(remote) => Sending { shared, push, remote, writer: &mut writer }.publish(),
        None => send(shared, push, &push.references, &mut writer).map(|()| Sent {
            references: push.references.clone(),
            manifest: None,
            is_whole: true,
            held: Vec::new(),
            taken: None,
        }),
    });
    let result = match sent {
        Ok(sent) => Ok(sent),
        Err(_) if shared.cancel.is_raised() => Err(Failed::Cancelled),
        Err(error) => {
            let message = format!("cannot push: {}", with_causes(&error));
            let transient = is_transient(&error);
            Err(Failed::Image(Failure { transient, ..writer.failure(message, &push.log) }))
        }
    };
    sender.send(Message::Pushed(push.id, result)).unwrap_or_default();
}

/// Has the engine send an image of its store.
fn send(
    shared: Shared<'_>,
    push: &Push,
    references: &[String],
    writer: &mut LogWriter<'_>,
) -> Result<(), EngineError> {
    let id = &push.record.output.id;
    if push.tag {
        shared.engine.tag(id, references)?;
    }
    shared.engine.push(id, references, shared.cancel, &mut |said| writer.progress(said))
}

/// An image on its way.
struct Sending<'a, 'w, 's> {
    shared: Shared<'a>,
    push: &'a Push,
    remote: &'a Remote,
    writer: &'w mut LogWriter<'s>,
}

impl Sending<'_, '_, '_> {
    fn publish(&mut self) -> Result<Sent, EngineError> {
        let Push { record, references, home: (repository, key_reference), .. } = self.push;
        let is_new = references.contains(key_reference);
        let mut taken = None;
        let manifest = match &record.output.manifest {
            Some(manifest) if record.engine == published::CLASS => {
                if is_new {
                    let from = (&**repository, manifest);
                    let key_tag = std::slice::from_ref(key_reference);
                    self.ask(|remote, listener| remote.point(from, key_tag, listener))?;
                    self.note(manifest)?;
                }
                manifest.clone()
            }
            _ => {
                let (manifest, there) = self.send()?;
                taken = there.map(Box::new);
                manifest
            }
        };
        let source = (repository.as_str(), &manifest);
        let mut sent: Vec<String> = is_new.then(|| key_reference.clone()).into_iter().collect();
        let tags: Vec<String> =
            references.iter().filter(|reference| *reference != key_reference).cloned().collect();
        if self.push.holds && !tags.is_empty() {
            let manifest = Some(manifest);
            return Ok(Sent { references: sent, manifest, is_whole: false, held: tags, taken });
        }
        let tags_move = tags.is_empty() || self.may_move(&tags)?;
        if tags_move {
            self.ask(|remote, listener| remote.point(source, &tags, listener))?;
            sent.splice(0..0, tags);
        }
        let manifest = Some(manifest);
        Ok(Sent { references: sent, manifest, is_whole: tags_move, held: Vec::new(), taken })
    }

    /// Has the engine send what is in its store under the key tag, and notes it; what the registry
    /// calls it. Where another runner has been quicker with the same key, what that made is taken.
    fn send(&mut self) -> Result<(OciDigest, Option<Record>), EngineError> {
        let Push { record, home: (repository, key_reference), .. } = self.push;
        if let Some(there) = self.quicker()? {
            return Ok(there);
        }
        send(self.shared, self.push, std::slice::from_ref(key_reference), self.writer)?;
        let there = self.ask(|remote, listener| remote.digest_of(key_reference, listener))?;
        let output = &record.output;
        if self.ask(|remote, listener| remote.is_of((repository, &there), output, listener))? {
            self.note(&there)?;
            return Ok((there, None));
        }
        // Somebody pushed between these two questions, and is about to note it. What is there is not
        // known as long as that has not been done, and then nothing is said of it.
        for _ in 0..PATIENCE {
            if let Some(there) = self.quicker()? {
                return Ok(there);
            }
            if self.shared.cancel.wait(WAIT) {
                return Err(EngineError::Cancelled);
            }
        }
        Ok((there, None))
    }

    /// What another runner has made of the key since it was looked for.
    fn quicker(&mut self) -> Result<Option<(OciDigest, Option<Record>)>, EngineError> {
        let Push { record, home: (_, key_reference), adopts, .. } = self.push;
        if !adopts || !self.remote.access().reads {
            return Ok(None);
        }
        let key = &record.build_key;
        let there = match self.ask(|remote, it| remote.look_up(key_reference, key, it)) {
            // Many registries deny what does not exist.
            Err(EngineError::Auth(_)) => None,
            there => there?,
        };
        let there =
            there.filter(|it| it.output.id != record.output.id && it.platform == record.platform);
        Ok(there.and_then(|there| Some((there.output.manifest.clone()?, Some(there)))))
    }

    fn note(&mut self, manifest: &OciDigest) -> Result<(), EngineError> {
        if !self.remote.access().writes {
            return Ok(());
        }
        let Push { record, home: (repository, key_reference), .. } = self.push;
        let base = self.base();
        let output = Output { manifest: Some(manifest.clone()), ..record.output.clone() };
        let record = Record { output, ..(**record).clone() };
        let at = (repository.as_str(), key_reference.as_str());
        self.ask(|remote, listener| remote.note(&record, at, base, listener))
    }

    /// What the image begins with. A digest that cannot be had is left out.
    fn base(&mut self) -> Option<(String, Option<OciDigest>)> {
        let base = self.push.base.as_ref()?;
        let digest = base.digest.clone().or_else(|| {
            let key_reference = base.key_reference.as_ref()?;
            self.ask(|remote, listener| remote.digest_of(key_reference, listener)).ok()
        });
        Some((base.name.clone(), digest))
    }

    /// Whether tags may move: they stay where a later commit, or a later run, puts them.
    fn may_move(&mut self, tags: &[String]) -> Result<bool, EngineError> {
        let image = &self.push.image;
        let turn = self.ask(|remote, mut listener| remote.turn(image, &mut listener))?;
        let tags: Vec<&str> = tags.iter().filter_map(|it| Some(it.rsplit_once(':')?.1)).collect();
        let tags = tags.join(", ");
        match turn {
            Turn::Ours => return Ok(true),
            Turn::Later(commit) => self.writer.progress(Progress::Warning(format!(
                "the branch has moved on to {commit:.12}: tag {tags} stays; `--allow-older` moves it"
            ))),
            Turn::Others => self.writer.progress(Progress::Log(format!(
                "a run that began later pushes it, too: it moves tag {tags}"
            ))),
        }
        Ok(false)
    }

    /// Asks a registry; what it has to say meanwhile is a warning.
    fn ask<T>(
        &mut self,
        ask: impl FnOnce(&Remote, Listener<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, EngineError> {
        let cancel: &Cancel = self.shared.cancel;
        let say = &mut |note| self.writer.progress(Progress::Warning(note));
        Ok(ask(self.remote, Listener { cancel, say })?)
    }
}
