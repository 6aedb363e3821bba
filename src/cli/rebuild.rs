//! `imgraph rebuild`: brings the selected images up to date.
#![expect(
    clippy::disallowed_methods,
    reason = "makes the folders of a run, and appends a CI summary"
)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;

use crate::cancel::Cancel;
use crate::cli::args::{PlanFormat, Rebuild, RunName};
use crate::cli::engines::{self, Choice};
use crate::cli::failure::{Exit, Failure};
use crate::cli::plan::Preview;
use crate::cli::session::{Planned, STATE_DIR, Selected, Session, Wishes, plan, say_offline};
use crate::cli::settings::{self, Settings, write};
use crate::cli::settled::{self, Settled};
use crate::clock::{self, Timer};
use crate::digest::Digest;
use crate::engine::Engine;
use crate::event::{Event, Summary, What};
use crate::gather::inputs;
use crate::gather::stat::{Keep, StatCache};
use crate::history::{Ended, History};
use crate::image::ImageId;
use crate::ledger::{self, Holder, Ledger, LedgerError, Lock};
use crate::report::{Reporter, attended};
use crate::run::{self, Options, Run};
use crate::signal::{raise_on_interrupt, received};

/// How many runs keep their folder of logs.
const KEPT_RUNS: usize = 30;

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
    let stat = ManuallyDrop::new(StatCache::load(&root.join(STATE_DIR)));
    let question = settled::question(arguments, settings, (&root, &choice));
    if let Some(question) = question {
        let state = root.join(STATE_DIR);
        let found = Settled::find(question, &stat, (&root, &state), &choice, settings);
        if let Some(settled) = found.map(ManuallyDrop::new) {
            return Ok(exit_code(&still_settled(&settled, &choice, (arguments, settings), timer)));
        }
    }
    // The process ends with this: giving back 10,000 images one by one takes longer than a no-op.
    let stat = ManuallyDrop::into_inner(stat);
    let session = ManuallyDrop::new(Session::with(root, choice, stat, settings)?);
    let mut selected = session.select(&arguments.selection)?;
    let cancel = Cancel::default();
    raise_on_interrupt(&cancel)
        .map_err(|error| Failure::new(Exit::BUG, format!("cannot listen for Ctrl-C: {error}")))?;
    let mut ledger = open_ledger(&session, arguments, &cancel)?;
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

fn open_ledger(session: &Session, arguments: &Rebuild, cancel: &Cancel) -> Result<Ledger, Failure> {
    let me = Holder::this_process("imgraph rebuild", clock::now());
    if arguments.no_wait {
        return Ok(Ledger::open(&session.state, &me, Lock::NoWait)?);
    }
    let mut said = false;
    let mut wait = |holder: Option<&Holder>| {
        if !said {
            let who = holder.map_or("another imgraph".to_owned(), |it| it.describe(clock::now()));
            write(&mut io::stderr(), &format!("waiting for {who} ...\n"));
            said = true;
        }
        if cancel.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    match Ledger::open(&session.state, &me, Lock::Wait(&mut wait)) {
        Err(LedgerError::Cancelled) => Err(Failure::said(interrupted())),
        opened => Ok(opened?),
    }
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
    let engine = session.choice.open(&session.root, &session.state, settings)?;
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
    let presence = presence?;
    let present = |id, record: &_| presence.of(session, &*engine, id, record);
    session.check_left_out(selected, &history, &present)?;
    let facts = session.facts(&present);
    let wishes = Wishes { forced: &forced, push };
    let Planned { plan, entries } = plan(&facts, &history, gathered, &selected.images, wishes);

    let id = ledger.next_run_id(clock::now());
    let logs = session.state.join("runs").join(&id);
    let options = Options {
        logs_shown: format!("{STATE_DIR}/runs/{id}"),
        scratch: session.state.join("tmp").join(&id),
        jobs: settings::jobs(arguments.jobs),
        failure_limit: failure_limit(arguments),
        pull: arguments.building.pull,
        push,
        timer,
        engine_note: session.choice.note.clone(),
        logs,
        run: id,
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
        engine: &*engine,
        disk: &disk,
        ledger,
        options,
    };
    let tell = &mut |what: What| {
        let event = Event { time: clock::now(), what };
        reporter.lock().unwrap_or_else(std::sync::PoisonError::into_inner).event(&event);
    };
    let summary = attended(&reporter, || run::run(work, cancel, tell));
    fs::remove_dir_all(scratch).unwrap_or_default();
    let is_settled =
        plan.work().next().is_none() && selected.asked.len() == session.loaded.graph.len();
    match session.stat.save(&session.state, if is_settled { Keep::Seen } else { Keep::All }) {
        Ok(Some(seen)) if is_settled => {
            // One that cannot be written costs the next run some time.
            question
                .and_then(|asked| Settled::write(session, (&plan, &history), (asked, seen), said));
        }
        Ok(_) => {}
        Err(error) => warn(&error),
    }
    let summary = summary?;
    if let Ok(reporter) = reporter.into_inner() {
        append_summary(&reporter, settings);
    }
    Ok(summary)
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

/// An engine that is not there is said before anything is begun, and what a killed run left in it is
/// cleared away.
fn greet(engine: &dyn Engine) -> Result<(), Failure> {
    engine.capabilities()?;
    engine.recover()?;
    Ok(())
}

fn failure_limit(arguments: &Rebuild) -> Option<usize> {
    match arguments.keep_going {
        _ if arguments.fail_fast => Some(1),
        Some(0) | None => None,
        limit => limit,
    }
}

/// Makes the folders of a run and removes those of runs long gone, and what a killed run left.
fn make_room(session: &Session, options: &Options) -> Result<(), Failure> {
    let failed = |path: &Path, error: &io::Error| {
        let message = format!("cannot create {}: {error}", path.display());
        Failure::new(Exit::UNAVAILABLE, message)
    };
    // The lock is held: whatever is in here belongs to nobody who lives.
    fs::remove_dir_all(session.state.join("tmp")).unwrap_or_default();
    for path in [&options.logs, &options.scratch] {
        fs::create_dir_all(path).map_err(|error| failed(path, &error))?;
    }
    let runs = session.state.join("runs");
    let listed = fs::read_dir(&runs).map_err(|error| failed(&runs, &error))?;
    let mut old: Vec<_> = listed.filter_map(Result::ok).map(|entry| entry.path()).collect();
    old.sort_unstable();
    let excess = old.len().saturating_sub(KEPT_RUNS);
    for path in &old[..excess] {
        fs::remove_dir_all(path).unwrap_or_default();
    }
    Ok(())
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

/// The exit code of what a signal ended in order.
fn interrupted() -> u8 {
    match received() {
        Some(signal_hook::consts::SIGTERM) => Exit::TERMINATED,
        _ => Exit::INTERRUPTED,
    }
}
