//! `imgraph rebuild`: brings the selected images up to date.
#![expect(
    clippy::disallowed_methods,
    reason = "removes what a run leaves, and appends a CI summary"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Mutex;

use crate::cancel::Cancel;
use crate::cli::args::{PlanFormat, Rebuild, RunName};
use crate::cli::carry::{greet, interrupted, make_room, open_ledger, options};
use crate::cli::engines::{self, Choice};
use crate::cli::failure::{Exit, Failure};
use crate::cli::plan::Preview;
use crate::cli::session::{Planned, Selected, Session, Wishes, plan, say_offline};
use crate::cli::settings::{self, Settings, write};
use crate::cli::settled::part::Reach;
use crate::cli::settled::{self, Found, Settled};
use crate::clock::{self, Timer};
use crate::digest::Digest;
use crate::event::{Event, Summary, What};
use crate::gather::inputs;
use crate::gather::stat::{Keep, StatCache};
use crate::history::{Ended, History};
use crate::image::ImageId;
use crate::ledger::{self, Holder, Ledger};
use crate::report::{Reporter, attended};
use crate::run::{self, Options, Run};
use crate::signal::raise_on_interrupt;

/// Runs the verb.
pub(crate) fn run(arguments: &Rebuild, settings: &Settings) -> Result<u8, Failure> {
    let timer = Timer::start();
    if let Some(format) = arguments.dry_run {
        let preview = Preview {
            selection: &arguments.selection,
            force: arguments.force,
            push: arguments.building.push,
            verbose: 0,
        };
        return preview.show(format == PlanFormat::Json, settings);
    }
    let root = settings.root()?;
    let choice = engines::choose(settings, &root)?;
    let question = Some((&arguments.selection, arguments.building.push))
        .filter(|_| !arguments.force && arguments.rerun.is_none())
        .and_then(|asked| settled::question(asked, settings, (&root, &choice)));
    let (stat, found) = Settled::find((question, Reach::Dependents), &root, (&choice, settings));
    // The process ends with this: giving back 10,000 images one by one takes longer than a no-op.
    let stat = ManuallyDrop::new(stat);
    let found = match found? {
        Found::Settled(settled) => {
            let settled = ManuallyDrop::new(settled);
            return Ok(exit_code(&still_settled(&settled, &choice, (arguments, settings), timer)));
        }
        found => found,
    };
    let stat = ManuallyDrop::into_inner(stat);
    let mut session = ManuallyDrop::new(found.open(&root, (choice, settings), stat)?);
    let mut selected = session.selected(&arguments.selection, settings)?;
    let cancel = Cancel::default();
    raise_on_interrupt(&cancel)
        .map_err(|error| Failure::new(Exit::BUG, format!("cannot listen for Ctrl-C: {error}")))?;
    let me = Holder::this_process("imgraph rebuild", clock::now());
    let mut say = |text: &str| write(&mut io::stderr(), text);
    let no_wait = arguments.no_wait;
    let mut ledger = open_ledger((&session.state, None), &me, no_wait, &cancel, &mut say)?;
    if session.part.as_ref().is_some_and(|part| !part.settled.is_last(&session.state)) {
        // Somebody else has built meanwhile: what is left out may be up to date no more.
        let stat = StatCache::load(&session.state);
        session = ManuallyDrop::new(Session::with(&root, session.choice.clone(), stat, settings)?);
        selected = session.select(&arguments.selection, settings)?;
    }
    let warnings = ledger.take_warnings();
    let question = question.filter(|_| warnings.is_empty());
    for warning in warnings {
        write(&mut io::stderr(), &format!("warning: {warning}\n"));
    }
    if arguments.rerun == Some(RunName::Last) {
        selected = unfinished(&session, ledger.history())?;
    }
    let asked =
        Asked { session: &session, selected: &selected, arguments, settings, timer, question };
    let outcome = rebuild(&asked, &mut ledger, &cancel)?;
    Ok(exit_code(&outcome))
}

/// What the last run did not bring to an end.
fn unfinished(session: &Session, history: &History) -> Result<Selected, Failure> {
    let Some(last) = &history.last_run else {
        return Err(
            Failure::new(Exit::USAGE, "there is no last run").help("`imgraph rebuild` makes one")
        );
    };
    let open = |ended: &Ended| matches!(ended, Ended::Failed | Ended::Blocked | Ended::NotReached);
    let names = last.ended.iter().filter(|(_, ended)| open(ended)).map(|(name, _)| name);
    let names = names.chain(&last.interrupted);
    let graph = &session.loaded.graph;
    let asked: BTreeSet<ImageId> = names.filter_map(|name| graph.find(name.as_str())).collect();
    let images = graph.with_ancestors(&asked);
    Ok(Selected { family: images.clone(), images, asked })
}

/// What was asked for, and since when.
struct Asked<'a> {
    session: &'a Session,
    selected: &'a Selected,
    arguments: &'a Rebuild,
    settings: &'a Settings,
    timer: Timer,
    /// What is asked, for the next run that is asked the same.
    question: Option<Digest>,
}

/// Tells of a run that finds everything as the last one left it.
fn still_settled(
    settled: &Settled,
    choice: &Choice,
    (arguments, settings): (&Rebuild, &Settings),
    timer: Timer,
) -> Summary {
    say_offline(settings);
    write(&mut io::stderr(), &settled.said);
    let run = ledger::run_id_after(settled.last_run.as_deref(), clock::now());
    let started = run::Started {
        run,
        engine_note: choice.note.clone(),
        jobs: settings::jobs(arguments.jobs),
        timer,
    };
    let mut reporter = reporter(arguments, settings);
    let tell = &mut |what: What| reporter.event(&Event { time: clock::now(), what });
    let summary = run::nothing_to_do(settled.names(), started, tell);
    append_summary(&reporter, settings);
    summary
}

fn rebuild(asked: &Asked<'_>, ledger: &mut Ledger, cancel: &Cancel) -> Result<Summary, Failure> {
    let Asked { session, selected, arguments, settings, timer, question } = *asked;
    let push = arguments.building.push;
    if push {
        session.check_registries(&selected.images)?;
    }
    let engine = session.open_engine(settings)?;
    say_offline(settings);
    let forced = if arguments.force { selected.asked.clone() } else { BTreeSet::new() };
    let uncached =
        if arguments.building.no_cache { selected.asked.clone() } else { BTreeSet::new() };
    let history = ledger.history().clone();
    let wide = session.wide(&history);
    let disk = session.disk(&wide);
    // The store is asked while the disk is read.
    let (gathered, presence) = rayon::join(
        || inputs::gather(&disk, &selected.family, &history, &forced),
        || session.presence(&*engine, &history, &selected.family),
    );
    let said = session.judge(&selected.images, &gathered.problems, settings)?;
    let said = (said, gathered.problems.is_empty());
    let presence = presence?;
    let present = |id, record: &_| presence.of(session, &*engine, id, record);
    session.check_left_out(selected, &history, &present)?;
    let facts = session.facts(&present);
    let wishes = Wishes { forced: &forced, push };
    let Planned { plan, entries } =
        plan((session, &facts), &history, gathered, &selected.images, wishes);

    let options = Options {
        jobs: settings::jobs(arguments.jobs),
        failure_limit: failure_limit(arguments),
        pull: arguments.building.pull,
        push,
        timer,
        ..options(session, ledger)
    };
    if plan.work().next().is_some() {
        make_room(session, &options)?;
        greet(&*engine)?;
    }
    let scratch = options.scratch.clone();
    let reporter = Mutex::new(reporter(arguments, settings));
    let work = Run {
        facts,
        plan: &plan,
        entries,
        forced: &forced,
        uncached: &uncached,
        held: &BTreeMap::new(),
        engine: &*engine,
        disk: &disk,
        ledger,
        options,
    };
    let tell = &mut |what: What| {
        let event = Event { time: clock::now(), what };
        reporter.lock().unwrap_or_else(std::sync::PoisonError::into_inner).event(&event);
    };
    let (_, mailbox) = run::steering();
    let outcome = attended(&reporter, || run::run(work, mailbox, cancel, tell));
    fs::remove_dir_all(scratch).unwrap_or_default();
    let is_settled =
        plan.work().next().is_none() && selected.asked.len() == session.loaded.graph.len();
    // A part has looked at nothing but its own.
    let keep = if is_settled && session.part.is_none() { Keep::Seen } else { Keep::All };
    match session.stat.save(&session.state, keep) {
        Ok(Some(seen)) if is_settled => {
            // One that cannot be written costs the next run some time.
            question
                .and_then(|asked| Settled::write(session, (&plan, &history), (asked, seen), said));
        }
        Ok(_) if is_settled && arguments.output.verbose > 0 => say_unsettled(session),
        Ok(_) => {}
        Err(error) => warn(&error),
    }
    let summary = outcome?.summary;
    if let Ok(reporter) = reporter.into_inner() {
        append_summary(&reporter, settings);
    }
    Ok(summary)
}

/// Says why the next run will plan although there is nothing to do.
fn say_unsettled(session: &Session) {
    if let Some(path) = session.stat.unsettled() {
        let path = String::from_utf8_lossy(path);
        let text = format!(
            "the next run plans again: {path} was changed a moment ago, or cannot be read\n"
        );
        write(&mut io::stderr(), &text);
    }
}

fn reporter(arguments: &Rebuild, settings: &Settings) -> Reporter {
    let (report, outputs) = settings.report(&arguments.output);
    Reporter::new(report, outputs)
}

/// Leaves a summary where the CI service looks for one.
fn append_summary(reporter: &Reporter, settings: &Settings) {
    if let Some(path) = &settings.step_summary {
        append(path, &reporter.markdown());
    }
}

fn warn(error: &dyn std::error::Error) {
    write(&mut io::stderr(), &format!("warning: {}\n", run::with_causes(error)));
}

fn failure_limit(arguments: &Rebuild) -> Option<usize> {
    match arguments.keep_going {
        _ if arguments.fail_fast => Some(1),
        Some(0) | None => None,
        limit => limit,
    }
}

fn append(path: &Path, text: &str) {
    let file = File::options().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).unwrap_or_default();
}

fn exit_code(summary: &Summary) -> u8 {
    match (summary.interrupted, summary.failed, summary.transient) {
        (true, ..) => interrupted(),
        (_, 0, _) => Exit::OK,
        (_, _, 0) => Exit::IMAGE_FAILED,
        _ => Exit::UNAVAILABLE,
    }
}
