//! What the last run left, when it found nothing to do: what it rested on, and what it came to.
//!
//! Whoever found nothing to do writes down what that rested on: the question (what was asked, of
//! which workspace, with which engine, by which program), the stat cache by its digest, which has
//! everything that was looked at on the disk, and the ledger. If all of it is as it was, only the
//! engine is left to be asked whether the outputs are still there. Then the answer is the same, and
//! no Dockerfile was parsed, no graph resolved and no key made.
//!
//! If only contents of files have changed, the images are the same, and only those can come out
//! different whose files they are, and what stands on them: [`map`] says which, and a plan of that
//! [`part`] is all that is left to be made. Whatever else has changed, everything is read again.
//!
//! It only ever saves time: a file that is missing, torn, or about another question is none.

mod file;
mod map;
pub(crate) mod part;

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::engines::Choice;
use crate::cli::failure::Failure;
use crate::cli::selection::Selection;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::cli::settled::map::Map;
use crate::cli::settled::part::{Part, Reach};
use crate::digest::{Digest, Hasher, OciDigest};
use crate::engine::Engine;
use crate::gather::STATE_DIR;
use crate::gather::root::{Identity, Look, Root};
use crate::gather::stat::{Changed, StatCache};
use crate::history::{History, Output, Presence};
use crate::image::ImageName;
use crate::ledger;
use crate::plan::{Decision, Plan};

/// What a run that found nothing to do leaves for the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settled {
    basis: Basis,
    /// The id of the last run, which the next one has to be behind.
    pub(crate) last_run: Option<String>,
    /// The images, parents first, with their outputs, as far as an engine is asked for them.
    images: Vec<(ImageName, Output)>,
    /// What was said of the workspace, as it was shown.
    pub(crate) said: String,
    /// The [`Map`] of these images, which most runs do not look into; empty where there is none.
    #[serde(skip)]
    map: Vec<u8>,
}

/// What an answer rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Basis {
    question: Digest,
    /// Of the file of the stat cache.
    seen: Digest,
    ledger: Identity,
}

/// What is asked, as one digest; `None` where the answer does not only depend on what is there.
pub(crate) fn question(
    (selection, push): (&Selection, bool),
    settings: &Settings,
    (root, choice): (&Path, &Choice),
) -> Option<Digest> {
    if selection.since.is_some() || selection.affected {
        return None;
    }
    let program = look(&std::env::current_exe().ok()?)?;
    let mut hasher = Hasher::new(file::FORMAT);
    hasher.text(&format!("{program:?}")).bytes(root.as_os_str().as_bytes());
    hasher.text(&format!("{:?}", choice.kind)).text(choice.class);
    hasher.text(&format!("{selection:?}"));
    hasher.number(u64::from(push));
    let Settings { platform, given, color_err, offline, locked, .. } = settings;
    hasher.text(&format!("{platform:?} {given:?} {color_err} {offline} {locked}"));
    Some(hasher.finish())
}

/// What identifies a file now.
fn look(file: &Path) -> Option<Identity> {
    let name = file.file_name()?.as_bytes();
    Root::open(file.parent()?).ok()?.look(name, Look::Target).ok()?
}

/// What an engine said of outputs, by their ids: under which references they were looked for, and
/// where they are.
pub(crate) type Answers = BTreeMap<OciDigest, (Vec<String>, Presence)>;

/// The engine, if there was one to be asked, and where it has the outputs.
type Asked = (Option<Box<dyn Engine>>, Vec<Presence>);

/// What the last run left.
pub(crate) enum Found {
    /// Everything is as it was.
    Settled(Settled),
    /// All but a part of it is; with the engine that was asked.
    Part(Part, Option<Box<dyn Engine>>),
    /// It is not, but the engine has been asked.
    Answers(Answers),
    /// Nothing of use.
    Nothing,
}

impl Found {
    /// The workspace as far as it has to be looked at.
    pub(crate) fn open(
        self,
        root: &Path,
        (choice, settings): (Choice, &Settings),
        stat: StatCache,
    ) -> Result<Session, Failure> {
        let stat = stat.begin(&root.join(STATE_DIR));
        let (answers, stat) = match self {
            Self::Part(part, engine) => {
                match part.load(root, (&choice, settings), (stat, engine)) {
                    Ok(session) => return Ok(session),
                    Err(stat) => (Answers::new(), stat),
                }
            }
            Self::Answers(answers) => (answers, stat),
            Self::Settled(_) | Self::Nothing => (Answers::new(), stat),
        };
        let mut session = Session::with(root, choice, stat, settings)?;
        session.answers = answers;
        Ok(session)
    }
}

impl Settled {
    /// What the last run left, if it was asked the same: how much of what it saw has changed since,
    /// and whether what it found is still in the store. With it comes what is known of files; who
    /// goes on to look at them begins a scan.
    pub(crate) fn find(
        asked: (Option<Digest>, Reach),
        root: &Path,
        by: (&Choice, &Settings),
    ) -> (StatCache, Result<Found, Failure>) {
        // Handed over once: what is joined inside goes from worker to worker.
        rayon::scope(|_| Self::find_by_workers(asked, root, by))
    }

    fn find_by_workers(
        (question, reach): (Option<Digest>, Reach),
        root: &Path,
        (choice, settings): (&Choice, &Settings),
    ) -> (StatCache, Result<Found, Failure>) {
        let state = root.join(STATE_DIR);
        let (stat, settled) =
            rayon::join(|| StatCache::read(&state), || Self::read(question, &state));
        let Some(settled) = settled else { return (stat, Ok(Found::Nothing)) };
        let is_that = stat.digest() == Some(settled.basis.seen);
        let look = || if is_that { stat.changed(root) } else { Changed::More };
        let ask = || settled.ask(choice, (root, &state), settings);
        let (changed, answers) = rayon::join(look, ask);
        let found = match (changed, answers) {
            (changed, Ok(asked)) => Ok(settled.found((changed, reach), asked, settings)),
            (Changed::Nothing, Err(failure)) => Err(failure),
            // Whether the engine is needed at all, the plan will tell.
            (_, Err(_)) => Ok(Found::Nothing),
        };
        (stat, found)
    }

    /// What was written down of this question, if nothing has been done since.
    fn read(question: Option<Digest>, state: &Path) -> Option<Self> {
        let question = question?;
        let settled = file::read(state)?;
        (settled.basis.question == question && settled.is_last(state)).then_some(settled)
    }

    /// Whether nothing has been recorded since.
    pub(crate) fn is_last(&self, state: &Path) -> bool {
        look(&ledger::file(state)) == Some(self.basis.ledger)
    }

    fn found(
        self,
        (changed, reach): (Changed, Reach),
        (engine, answers): Asked,
        settings: &Settings,
    ) -> Found {
        let is_there = answers.iter().all(|answer| *answer == Presence::Present);
        match changed {
            Changed::Nothing if is_there => {
                // The process ends with this.
                let _ = ManuallyDrop::new(engine);
                Found::Settled(self)
            }
            // Whether all of a lock file is needed, only the whole tells.
            Changed::Files(files) if is_there && !settings.locked => {
                match Part::of(self, &files, reach) {
                    Ok(part) => Found::Part(part, engine),
                    Err(settled) => Found::Answers(settled.with(answers)),
                }
            }
            _ => Found::Answers(self.with(answers)),
        }
    }

    /// The names of the images, parents first.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = ImageName> {
        self.images.iter().map(|(name, ..)| name.clone())
    }

    /// Asks the engine where the outputs are; offline, they are taken to be there.
    fn ask(
        &self,
        choice: &Choice,
        (root, state): (&Path, &Path),
        settings: &Settings,
    ) -> Result<Asked, Failure> {
        if settings.offline {
            return Ok((None, vec![Presence::Present; self.images.len()]));
        }
        let engine = choice.open(root, state, settings)?;
        let outputs: Vec<&Output> = self.images.iter().map(|(_, output)| output).collect();
        let answers = engine.present(&outputs)?;
        Ok((Some(engine), answers))
    }

    fn with(self, answers: Vec<Presence>) -> Answers {
        let outputs = self.images.into_iter().map(|(_, output)| output);
        outputs.zip(answers).map(|(output, it)| (output.id, (output.references, it))).collect()
    }

    /// Writes down what a plan with nothing in it rested on. `seen` is the digest of what was looked
    /// at, `said` what was said of the workspace, and `is_quiet` whether nothing of that was about
    /// files of contexts.
    pub(crate) fn write(
        session: &Session,
        (plan, history): (&Plan, &History),
        (question, seen): (Digest, Digest),
        (said, is_quiet): (String, bool),
    ) -> Option<()> {
        let state = &session.state;
        let ledger = look(&ledger::file(state))?;
        if !session.stat.is_settled(Some(&ledger)) {
            return None;
        }
        let basis = Basis { question, seen, ledger };
        if let Some(part) = session.part.as_ref().filter(|_| is_quiet) {
            return file::write(state, &Self { basis, ..part.settled.clone() });
        }
        let mut images = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let name = session.loaded.graph.name(step.image);
            let record = history.records.get(name).filter(|_| step.decision == Decision::Fresh)?;
            let output = session.wanted_output(step.image, record);
            let output = Output { manifest: None, diff_ids: Vec::new(), size: 0, ..output };
            images.push((name.clone(), output));
        }
        let last_run = history.last_run.as_ref().map(|run| run.id.clone());
        // What is said of files is said by who reads them: then all are read.
        let map = if is_quiet { Map::new(session, plan).encode()? } else { Vec::new() };
        file::write(state, &Self { basis, last_run, images, said, map })
    }
}
