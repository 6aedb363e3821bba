//! `imgraph plan`: what a rebuild would do, and why. Starts nothing, writes nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::mem::ManuallyDrop;

use serde_json::json;

use crate::cancel::Cancel;
use crate::cli::failure::{Exit, Failure};
use crate::cli::nightly::prepared_again;
use crate::cli::remote::{self, Shared};
use crate::cli::selection::Selection;
use crate::cli::session::{Planned, PresenceTable, Selected, Session, Wishes, plan, say_offline};
use crate::cli::settings::{Settings, write};
use crate::cli::settled::part::Reach;
use crate::cli::settled::{self, Found, Settled};
use crate::cli::{args, engines};
use crate::clock::now;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::gather::inputs;
use crate::gather::stat::Keep;
use crate::history::{History, Presence, Record};
use crate::image::{ImageId, ImageName};
use crate::ledger::{self, Partial, Warning};
use crate::plan::{Decision, Facts, Plan, Row, Step, source_keys};
use crate::published::Published;
use crate::report::sentence;
use crate::report::style::Tone;

/// Runs the verb.
pub(crate) fn run(arguments: &args::Plan, settings: &Settings) -> Result<u8, Failure> {
    let preview = Preview {
        selection: &arguments.selection,
        force: arguments.force,
        sharing: remote::Asked {
            caches: arguments.cache,
            push: arguments.push,
            branch: None,
            allow_older: false,
        },
        full: false,
        verbose: arguments.verbose,
    };
    preview.show(arguments.json, settings)
}

/// A plan that is only looked at.
pub(crate) struct Preview<'a> {
    pub(crate) selection: &'a Selection,
    pub(crate) force: bool,
    pub(crate) sharing: remote::Asked<'a>,
    /// Whether it is that of a nightly.
    pub(crate) full: bool,
    pub(crate) verbose: u8,
}

impl Preview<'_> {
    /// Prints the plan.
    pub(crate) fn show(&self, as_json: bool, settings: &Settings) -> Result<u8, Failure> {
        if !self.show_as_far(Reach::Own, as_json, settings)? {
            self.show_as_far(Reach::Dependents, as_json, settings)?;
        }
        Ok(Exit::OK)
    }

    /// Prints the plan, unless it takes more of the workspace than this.
    fn show_as_far(
        &self,
        reach: Reach,
        as_json: bool,
        settings: &Settings,
    ) -> Result<bool, Failure> {
        let root = settings.root()?;
        let choice = engines::choose(settings, &root)?;
        // What was up to date has no line then, and need not be looked at.
        // What is in a registry can be another thing each time, and ages change by themselves.
        let is_local = !self.full && !self.sharing.access(&choice, &root).reads;
        let question = Some((self.selection, self.sharing.push))
            .filter(|_| is_local && !self.force && !as_json && self.verbose == 0)
            .and_then(|asked| settled::question(asked, settings, (&root, &choice)));
        let (stat, found) = Settled::find((question, reach), &root, (&choice, settings));
        // The process ends with this: giving back 10,000 images one by one takes longer than the plan.
        let stat = ManuallyDrop::new(stat);
        let found = match found.unwrap_or(Found::Nothing) {
            Found::Settled(settled) => {
                show_settled(&ManuallyDrop::new(settled), settings);
                return Ok(true);
            }
            found => found,
        };
        let stat = ManuallyDrop::into_inner(stat);
        let mut session = ManuallyDrop::new(found.open(&root, (choice, settings), stat)?);
        let selected = session.selected(self.selection, settings)?;
        let forced = if self.force { selected.asked.clone() } else { BTreeSet::new() };
        let push = self.sharing.push;
        if push {
            session.check_registries(&selected.images)?;
        }
        Shared::open(&mut session, self.sharing, settings, &Cancel::default())?;
        let aged_at = self.full.then(now);
        let wishes = Wishes { forced: &forced, push, believes: false, aged_at };
        let Some(look) = Look::as_far(&session, settings, &selected, wishes)? else {
            return Ok(false);
        };
        let look = ManuallyDrop::new(look);
        let text =
            if as_json { look.json(&session) } else { look.text(&session, settings, self.verbose) };
        write(&mut io::stdout(), &text);
        Ok(true)
    }
}

/// Says that there is nothing to do.
fn show_settled(settled: &Settled, settings: &Settings) {
    say_offline(settings);
    write(&mut io::stderr(), &settled.said);
    write(&mut io::stdout(), &nothing_to_do(settled.names().len()));
}

fn nothing_to_do(images: usize) -> String {
    format!("nothing to do: {} up to date\n", sentence::count(images, "image"))
}

/// An engine, and what it said in the beginning.
type Answers = (Box<dyn Engine>, PresenceTable);

/// What is known without doing anything.
pub(crate) struct Look {
    pub(crate) history: History,
    pub(crate) plan: Plan,
    pub(crate) entries: Vec<Option<Vec<crate::context::Entry>>>,
    /// The engine and its answers; `None` where it did not answer.
    answers: Option<Answers>,
    /// What the ledger knows of registries, where that counts.
    published: Option<Published>,
}

/// What decisions rest on; `published` stands in for what registries were asked.
fn facts<'a>(
    session: &'a Session,
    present: &'a dyn Fn(ImageId, &Record) -> Presence,
    published: Option<&'a Published>,
) -> Facts<'a> {
    let facts = session.facts(present);
    Facts { published: published.or(facts.published), ..facts }
}

impl Look {
    /// Plans the given images without taking the lock. Where the engine does not answer, recorded
    /// outputs are taken to be there, and that is said.
    pub(crate) fn at(
        session: &Session,
        settings: &Settings,
        selected: &Selected,
        wishes: Wishes<'_>,
    ) -> Result<Self, Failure> {
        let look = Self::as_far(session, settings, selected, wishes)?;
        Ok(look.expect("only a part falls short"))
    }

    /// The same for a session that may be a part; `None`, with nothing said, where that falls short.
    fn as_far(
        session: &Session,
        settings: &Settings,
        selected: &Selected,
        wishes: Wishes<'_>,
    ) -> Result<Option<Self>, Failure> {
        let (mut history, unread, warnings) = read_ledger(session)?;
        session.published.iter().for_each(|published| published.tell(&mut history));
        for warning in warnings {
            write(&mut io::stderr(), &format!("warning: {warning}\n"));
        }
        let wide = session.wide(&history);
        let disk = session.disk(&wide);
        let prepared = prepared_again(session, &history, (selected, wishes.forced, wishes.aged_at));
        let (mut gathered, presence) = rayon::join(
            || inputs::gather(&disk, &selected.family, &history, &prepared),
            || present(session, settings, &history, &selected.family),
        );
        let (answers, silence) = match presence {
            Ok(answers) => (answers, None),
            Err(failure) => (None, Some(failure)),
        };
        let problems = std::mem::take(&mut gathered.problems);
        let present = |id, record: &Record| answered(session, answers.as_ref(), id, record);
        let published = wishes.believes.then(|| Published::recorded(&history));
        let facts = facts(session, &present, published.as_ref());
        let facts = Facts { aged_at: wishes.aged_at, ..facts };
        let mut planned = plan((session, &facts), &history, gathered, &selected.images, wishes);
        if planned.plan.has_sought(&unread) {
            // What another image was once: rare enough for reading everything.
            history = ledger::read(&session.state)?.0;
            planned.plan = planned.again((session, &facts), &history, &selected.images, wishes);
        }
        if session.part.as_ref().is_some_and(|part| part.falls_short(&planned.plan)) {
            return Ok(None);
        }
        if !history.records.is_empty() {
            say_offline(settings);
        }
        session.judge(&selected.images, &problems, settings)?;
        if let Some(Failure { message, .. }) = silence {
            let help = "recorded outputs are taken to be there";
            write(&mut io::stderr(), &format!("warning: {message}; {help}\n"));
        }
        session.check_left_out(selected, &history, &facts)?;
        if session.part.is_none() {
            // A cache that cannot be written costs time, nothing else. That of a whole that was
            // settled stays, so that the next look is at a part as well.
            session.stat.save(&session.state, Keep::All).unwrap_or_default();
        }
        let Planned { plan, entries, .. } = planned;
        Ok(Some(Self { history, plan, entries, answers, published }))
    }

    /// Does something with the facts that the plan rests on.
    pub(crate) fn with_facts<T>(&self, session: &Session, work: impl FnOnce(&Facts<'_>) -> T) -> T {
        let present = |id, record: &Record| answered(session, self.answers.as_ref(), id, record);
        work(&facts(session, &present, self.published.as_ref()))
    }

    fn text(&self, session: &Session, settings: &Settings, verbose: u8) -> String {
        let style = settings.style_out();
        let graph = &session.loaded.graph;
        let mut text = String::new();
        let shown = if verbose == 0 { 3 } else { usize::MAX };
        for row in self.plan.rows() {
            let (decision, name, predicted) = match row {
                Row::Step(step) => (step.decision, graph.name(step.image), step.predicted),
                Row::Beside(beside) => (beside.decision(), &beside.name, beside.predicted),
            };
            if decision == Decision::Fresh && verbose == 0 {
                continue;
            }
            let why = match row {
                Row::Step(step) => why(session, step, shown),
                Row::Beside(beside) => waits(beside.waits_for.iter()),
            };
            let (word, tone) = word(decision);
            let time =
                predicted.map_or_else(String::new, |it| format!("  {}", sentence::about(it)));
            let word = style.paint(tone, format!("{word:9}"));
            writeln!(text, "{word}{name}{time}{}{why}", if why.is_empty() { "" } else { "  " })
                .unwrap_or_default();
        }
        text + &self.totals()
    }

    fn totals(&self) -> String {
        let decision = |row: Row<'_>| match row {
            Row::Step(step) => step.decision,
            Row::Beside(beside) => beside.decision(),
        };
        let count = |wanted| self.plan.rows().filter(|row| decision(*row) == wanted).count();
        if self.plan.work().next().is_none() {
            return nothing_to_do(self.plan.len());
        }
        let parts = [
            (count(Decision::Rebuild), "to rebuild"),
            (count(Decision::Restore), "to restore"),
            (count(Decision::Push), "only to push"),
            (count(Decision::Pending), "to decide when their parents are built"),
            (count(Decision::Fresh), "up to date"),
        ];
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        let parts: Vec<String> = parts.map(|(number, words)| format!("{number} {words}")).collect();
        format!("{}\n", parts.join(" · "))
    }

    fn json(&self, session: &Session) -> String {
        let graph = &session.loaded.graph;
        let source = self.with_facts(session, |facts| source_keys(facts, &self.entries));
        let name = |id: &ImageId| graph.name(*id).to_string();
        let step = |step: &Step| {
            json!({
                "image": name(&step.image),
                "decision": word(step.decision).0,
                "reasons": step.reasons,
                "waits_for": step.waits_for.iter().map(name).collect::<Vec<_>>(),
                "build_key": step.key.map(|key| key.to_string()),
                "source_key": source[step.image.index()].map(|key| key.to_string()),
                "references": graph.image(step.image).spec.references(),
                "predicted": step.predicted,
            })
        };
        let steps: Vec<_> = self.plan.steps.iter().map(step).collect();
        let plan = json!({ "version": 1, "engine": session.choice.class, "steps": steps });
        format!("{plan}\n")
    }
}

/// Reads the ledger; for a part of a workspace only the records of its images, with the build keys
/// of all others.
fn read_ledger(session: &Session) -> Result<(History, Vec<Digest>, Vec<Warning>), Failure> {
    if session.part.is_none() {
        let (history, warnings) = ledger::read(&session.state)?;
        return Ok((history, Vec::new(), warnings));
    }
    let names: BTreeSet<&str> =
        session.loaded.graph.iter().map(|(_, image)| image.spec.name.as_str()).collect();
    let (partial, warnings) = ledger::skim(&session.state, &|image| names.contains(image))?;
    let Partial { history, unread } = partial;
    Ok((history, unread, warnings))
}

/// Where the output of a record is. Without an engine, what is recorded is taken to be there.
fn answered(
    session: &Session,
    answers: Option<&Answers>,
    id: ImageId,
    record: &Record,
) -> Presence {
    answers.map_or(Presence::Present, |(engine, table)| table.of(session, &**engine, id, record))
}

fn present(
    session: &Session,
    settings: &Settings,
    history: &History,
    images: &BTreeSet<ImageId>,
) -> Result<Option<Answers>, Failure> {
    if history.records.is_empty() {
        return Ok(None);
    }
    let engine = session.open_engine(settings)?;
    let table = session.presence(&*engine, history, images)?;
    Ok(Some((engine, table)))
}
/// A decision as people are told of it.
pub(crate) fn word(decision: Decision) -> (&'static str, Tone) {
    match decision {
        Decision::Fresh => ("fresh", Tone::Faint),
        Decision::Push => ("push", Tone::Saved),
        Decision::Restore => ("restore", Tone::Saved),
        Decision::Rebuild => ("rebuild", Tone::Good),
        Decision::Pending => ("pending", Tone::Warning),
    }
}

/// Why, on one line.
pub(crate) fn why(session: &Session, step: &Step, shown: usize) -> String {
    let graph = &session.loaded.graph;
    if step.reasons.is_empty() {
        waits(step.waits_for.iter().map(|id| graph.name(*id)))
    } else {
        sentence::reasons(&step.reasons, shown)
    }
}

/// What an image waits for; nothing, if it does not.
fn waits<'a>(parents: impl Iterator<Item = &'a ImageName>) -> String {
    let names: Vec<&str> = parents.map(ImageName::as_str).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("if {} came out different", sentence::names(&names))
}
