//! A run that would find nothing to do, recognised without planning it.
//!
//! Whoever found nothing to do writes down what that rested on: the question (what was asked, of
//! which workspace, with which engine, by which program), the stat cache by its digest, which has
//! everything that was looked at on the disk, and the ledger. If all of it is as it was, only the
//! engine is left to be asked whether the outputs are still there. Then the answer is the same, and
//! no Dockerfile was parsed, no graph resolved and no key made.
//!
//! It only ever saves time: a file that is missing, torn, or about another question is none.
#![expect(clippy::disallowed_methods, reason = "this module keeps a file of its own")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::args::Rebuild;
use crate::cli::engines::Choice;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::cli::settings::Settings;
use crate::digest::{Digest, Hasher, OciDigest};
use crate::gather::STATE_DIR;
use crate::gather::root::{Identity, Look, Root};
use crate::gather::stat::{self, StatCache};
use crate::history::{History, Output, Presence};
use crate::image::ImageName;
use crate::ledger;
use crate::plan::{Decision, Plan};

const NAME: &str = "settled";
/// Raised when what is written down means something else.
const FORMAT: &str = "imgraph settled 1";

/// What a run that found nothing to do leaves for the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Settled {
    basis: Basis,
    /// The id of the last run, which the next one has to be behind.
    pub(crate) last_run: Option<String>,
    /// The images, parents first, with their outputs.
    images: Vec<(ImageName, OciDigest, Vec<String>)>,
    /// What was said of the workspace, as it was shown.
    pub(crate) said: String,
}

/// What an answer rests on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Basis {
    question: Digest,
    /// Of the file of the stat cache.
    seen: Digest,
    ledger: Identity,
}

/// What is asked, as one digest; `None` where the answer does not only depend on what is there.
pub(crate) fn question(
    arguments: &Rebuild,
    settings: &Settings,
    (root, choice): (&Path, &Choice),
) -> Option<Digest> {
    let is_narrowed = arguments.selection.since.is_some() || arguments.selection.affected;
    if arguments.force || arguments.full || arguments.rerun.is_some() || is_narrowed {
        return None;
    }
    let program = look(&std::env::current_exe().ok()?)?;
    let mut hasher = Hasher::new(FORMAT);
    hasher.text(&format!("{program:?}")).bytes(root.as_os_str().as_bytes());
    hasher.text(&format!("{:?}", choice.kind)).text(choice.class);
    hasher.text(&format!("{:?}", arguments.selection));
    hasher.number(u64::from(arguments.building.push));
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

/// What the last run left.
pub(crate) enum Found {
    /// Everything is as it was.
    Settled(Settled),
    /// It is not, but the engine has been asked.
    Answers(Answers),
    /// Nothing of use.
    Nothing,
}

impl Settled {
    /// What the last run left, if it was asked the same, and nothing that it saw has changed since,
    /// and what it found is still in the store.
    pub(crate) fn find(
        question: Digest,
        stat: &StatCache,
        root: &Path,
        (choice, settings): (&Choice, &Settings),
    ) -> Result<Found, Failure> {
        let state = root.join(STATE_DIR);
        let basis = || {
            let ledger = look(&ledger::file(&state))?;
            Some(Basis { question, seen: stat.digest()?, ledger })
        };
        let Some(settled) = Self::read(&state).filter(|it| Some(&it.basis) == basis().as_ref())
        else {
            return Ok(Found::Nothing);
        };
        if settings.offline {
            let is_as_it_was = stat.is_as_it_was(root);
            return Ok(if is_as_it_was { Found::Settled(settled) } else { Found::Nothing });
        }
        let (is_as_it_was, answers) = rayon::join(
            || stat.is_as_it_was(root),
            || settled.ask(choice, (root, &state), settings),
        );
        Ok(match (is_as_it_was, answers) {
            (true, answers) => {
                let answers = answers?;
                if answers.iter().all(|answer| *answer == Presence::Present) {
                    Found::Settled(settled)
                } else {
                    Found::Answers(settled.with(answers))
                }
            }
            (false, Ok(answers)) => Found::Answers(settled.with(answers)),
            // Whether the engine is needed at all, the plan will tell.
            (false, Err(_)) => Found::Nothing,
        })
    }

    /// The names of the images, parents first.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = ImageName> {
        self.images.iter().map(|(name, ..)| name.clone())
    }

    /// Asks the engine where the outputs are.
    fn ask(
        &self,
        choice: &Choice,
        (root, state): (&Path, &Path),
        settings: &Settings,
    ) -> Result<Vec<Presence>, Failure> {
        let engine = choice.open(root, state, settings)?;
        let output = |(_, id, references): &(_, OciDigest, Vec<String>)| Output {
            id: id.clone(),
            manifest: None,
            references: references.clone(),
            diff_ids: Vec::new(),
            size: 0,
        };
        let outputs: Vec<Output> = self.images.iter().map(output).collect();
        Ok(engine.present(&outputs.iter().collect::<Vec<_>>())?)
    }

    fn with(self, answers: Vec<Presence>) -> Answers {
        let outputs = self.images.into_iter().map(|(_, id, references)| (id, references));
        outputs.zip(answers).map(|((id, references), it)| (id, (references, it))).collect()
    }

    fn read(state: &Path) -> Option<Self> {
        let bytes = fs::read(state.join(NAME)).ok()?;
        let (body, digest) = bytes.split_last_chunk::<32>()?;
        let body = body.strip_prefix(FORMAT.as_bytes())?;
        if Digest::of_content(body).as_bytes() != digest {
            return None;
        }
        postcard::from_bytes(body).ok()
    }

    /// Writes down what a plan with nothing in it rested on. `seen` is the digest of what was looked
    /// at, and `said` what was said of it.
    pub(crate) fn write(
        session: &Session,
        (plan, history): (&Plan, &History),
        (question, seen): (Digest, Digest),
        said: String,
    ) -> Option<()> {
        let state = &session.state;
        let ledger = look(&ledger::file(state))?;
        if !session.stat.is_settled(Some(&ledger)) {
            return None;
        }
        let mut images = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            let name = session.loaded.graph.name(step.image);
            let record = history.records.get(name).filter(|_| step.decision == Decision::Fresh)?;
            let output = session.wanted_output(step.image, record);
            images.push((name.clone(), output.id, output.references));
        }
        let last_run = history.last_run.as_ref().map(|run| run.id.clone());
        let settled = Self { basis: Basis { question, seen, ledger }, last_run, images, said };
        let body = postcard::to_stdvec(&settled).ok()?;
        let mut bytes = FORMAT.as_bytes().to_vec();
        bytes.extend(&body);
        bytes.extend(Digest::of_content(&body).as_bytes());
        stat::replace(&state.join(NAME), &bytes).ok()
    }
}
