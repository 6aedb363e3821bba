//! `imgraph plan`: what a rebuild would do, and why. Starts nothing, writes nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::mem::ManuallyDrop;

use serde_json::json;

use crate::cancel::Cancel;
use crate::cli::args;
use crate::cli::failure::{Exit, Failure};
use crate::cli::nightly::prepared_again;
use crate::cli::remote::{self, Shared};
use crate::cli::selection::Selection;
use crate::cli::session::{PresenceTable, Selected, Session, Wishes, plan, say_offline};
use crate::cli::settings::{Settings, write};
use crate::clock::now;
use crate::engine::Engine;
use crate::gather::inputs;
use crate::gather::stat::Keep;
use crate::history::{History, Presence, Record};
use crate::image::ImageId;
use crate::ledger;
use crate::plan::{Decision, Facts, Plan, Step, source_keys};
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
    pub(crate) sharing: remote::Asked,
    /// Whether it is that of a nightly.
    pub(crate) full: bool,
    pub(crate) verbose: u8,
}

impl Preview<'_> {
    /// Prints the plan.
    pub(crate) fn show(&self, as_json: bool, settings: &Settings) -> Result<u8, Failure> {
        // The process ends with this: giving back 10,000 images one by one takes longer than the plan.
        let mut session = ManuallyDrop::new(Session::open(settings)?);
        let selected = session.select(self.selection, settings)?;
        let forced = if self.force { selected.asked.clone() } else { BTreeSet::new() };
        let push = self.sharing.push;
        if push {
            session.check_registries(&selected.images)?;
        }
        Shared::open(&mut session, self.sharing, settings, &Cancel::default())?;
        let aged_at = self.full.then(now);
        let wishes = Wishes { forced: &forced, push, believes: false, aged_at };
        let look = ManuallyDrop::new(Look::at(&session, settings, &selected, wishes)?);
        let text =
            if as_json { look.json(&session) } else { look.text(&session, settings, self.verbose) };
        write(&mut io::stdout(), &text);
        Ok(Exit::OK)
    }
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
        let (mut history, warnings) = ledger::read(&session.state)?;
        let published = session.published.as_ref();
        let unknown = published.map(|published| published.unknown_to(&history));
        for record in unknown.into_iter().flatten() {
            history.durations.entry(record.image.clone()).or_insert(record.duration);
            history.add_record(record);
        }
        for warning in warnings {
            write(&mut io::stderr(), &format!("warning: {warning}\n"));
        }
        let wide = session.wide(&history);
        let disk = session.disk(&wide);
        let prepared = prepared_again(session, &history, (selected, wishes.forced, wishes.aged_at));
        let (gathered, presence) = rayon::join(
            || inputs::gather(&disk, &selected.family, &history, &prepared),
            || present(session, settings, &history, &selected.family),
        );
        session.judge(&selected.images, &gathered.problems, settings)?;
        let answers = presence.unwrap_or_else(|failure| {
            let message = "recorded outputs are taken to be there";
            write(&mut io::stderr(), &format!("warning: {}; {message}\n", failure.message));
            None
        });
        let present = |id, record: &Record| answered(session, answers.as_ref(), id, record);
        let published = wishes.believes.then(|| Published::recorded(&history));
        let facts = facts(session, &present, published.as_ref());
        let facts = Facts { aged_at: wishes.aged_at, ..facts };
        session.check_left_out(selected, &history, &facts)?;
        let planned = plan(&facts, &history, gathered, &selected.images, wishes);
        // A cache that cannot be written costs time, nothing else.
        session.stat.save(&session.state, Keep::All).unwrap_or_default();
        Ok(Self { plan: planned.plan, entries: planned.entries, history, answers, published })
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
        for step in &self.plan.steps {
            if step.decision == Decision::Fresh && verbose == 0 {
                continue;
            }
            let (word, tone) = word(step.decision);
            let name = graph.name(step.image);
            let time =
                step.predicted.map_or_else(String::new, |it| format!("  {}", sentence::about(it)));
            let why = why(session, step, if verbose == 0 { 3 } else { usize::MAX });
            let word = style.paint(tone, format!("{word:9}"));
            writeln!(text, "{word}{name}{time}{}{why}", if why.is_empty() { "" } else { "  " })
                .unwrap_or_default();
        }
        text + &self.totals()
    }

    fn totals(&self) -> String {
        let count = |decision| self.plan.steps.iter().filter(|it| it.decision == decision).count();
        let all = self.plan.steps.len();
        if self.plan.work().next().is_none() {
            return format!("nothing to do: {} up to date\n", sentence::count(all, "image"));
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
    say_offline(settings);
    let engine = session.choice.open(&session.root, &session.state, settings)?;
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
    let waits = || {
        let names: Vec<&str> = step.waits_for.iter().map(|id| graph.name(*id).as_str()).collect();
        format!("if {} came out different", sentence::names(&names))
    };
    match (step.reasons.is_empty(), step.waits_for.is_empty()) {
        (false, _) => sentence::reasons(&step.reasons, shown),
        (true, false) => waits(),
        (true, true) => String::new(),
    }
}
