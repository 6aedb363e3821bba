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
use std::sync::{Mutex, PoisonError};

use crate::cancel::Cancel;
use crate::cli::args::{PlanFormat, Rebuild, RunName};
use crate::cli::carry::{self, greet, interrupted, make_room, open_ledger, options};
use crate::cli::engines::{self, Choice};
use crate::cli::failure::{Exit, Failure};
use crate::cli::nightly::{self, Nightly, prepared_again};
use crate::cli::plan::Preview;
use crate::cli::remote::{self, Shared};
use crate::cli::report_file::Reports;
use crate::cli::session::{Planned, Selected, Session, Wishes, plan, say_offline};
use crate::cli::settings::{self, Settings, write};
use crate::cli::settled::part::Reach;
use crate::cli::settled::{self, Found, Settled};
use crate::clock::{self, Timer};
use crate::digest::Digest;
use crate::engine::{Engine, EngineError};
use crate::event::{Event, Summary, What};
use crate::gather::inputs::{self, Gathered};
use crate::gather::stat::{Keep, StatCache};
use crate::history::{Ended, History};
use crate::image::ImageId;
use crate::ledger::{self, Holder, Ledger};
use crate::plan::{Facts, Plan};
use crate::report::{Reporter, attended};
use crate::run::{self, Options, Run};
use crate::signal::raise_on_interrupt;

/// Runs the verb.
pub(crate) fn run(arguments: &Rebuild, settings: &Settings) -> Result<u8, Failure> {
    let timer = Timer::start();
    if let Some(format) = arguments.dry_run {
        let preview = Preview {
            selection: &arguments.selection,
            force: forces(arguments),
            sharing: sharing(arguments),
            full: arguments.full,
            verbose: 0,
        };
        return preview.show(format == PlanFormat::Json, settings);
    }
    let reports = Reports::new(&arguments.report, &settings.directory)?;
    let outcome = carry_out(arguments, settings, (timer, &reports));
    let written = reports.write(&outcome);
    match (outcome, written) {
        (Ok(Exit::OK), Err(unwritten)) => Err(unwritten),
        (outcome, Err(unwritten)) => {
            write(&mut io::stderr(), &format!("warning: {}\n", unwritten.message));
            outcome
        }
        (outcome, Ok(())) => outcome,
    }
}

/// Whether the selected images are built whatever their keys say.
fn forces(arguments: &Rebuild) -> bool {
    arguments.force || arguments.full && arguments.building.no_cache
}

fn listen(cancel: &Cancel) -> Result<(), Failure> {
    raise_on_interrupt(cancel)
        .map_err(|error| Failure::new(Exit::BUG, format!("cannot listen for Ctrl-C: {error}")))
}

fn carry_out(
    arguments: &Rebuild,
    settings: &Settings,
    (timer, reports): (Timer, &Reports),
) -> Result<u8, Failure> {
    let cancel = Cancel::default();
    let mut nightly = None;
    if arguments.full {
        listen(&cancel)?;
        nightly = Some(Nightly::begin(arguments, settings, &cancel)?);
    }
    let root = settings.root()?;
    let choice = engines::choose(settings, &root)?;
    let asked = sharing(arguments);
    // What is in a registry can be another thing each time, and ages change by themselves.
    let is_local = !arguments.full && !asked.access(&choice, &root).reads;
    let question = Some((&arguments.selection, arguments.building.push))
        .filter(|_| is_local && !arguments.force && arguments.rerun.is_none())
        .and_then(|asked| settled::question(asked, settings, (&root, &choice)));
    let (stat, found) = Settled::find((question, Reach::Dependents), &root, (&choice, settings));
    // The process ends with this: giving back 10,000 images one by one takes longer than a no-op.
    let stat = ManuallyDrop::new(stat);
    let found = match found? {
        Found::Settled(settled) => {
            let settled = ManuallyDrop::new(settled);
            let asked = (arguments, settings);
            return Ok(exit_code(&still_settled(&settled, &choice, asked, (timer, reports))));
        }
        found => found,
    };
    let stat = ManuallyDrop::into_inner(stat);
    let mut session = ManuallyDrop::new(found.open(&root, (choice, settings), stat)?);
    let mut selected = session.selected(&arguments.selection, settings)?;
    if nightly.is_none() {
        listen(&cancel)?;
    }
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
    if arguments.building.push {
        session.check_registries(&selected.images)?;
    }
    let shared = Shared::open(&mut session, asked, settings, &cancel)?;
    if arguments.sharing.atomic && shared.is_none() {
        let message = "`--atomic` takes registries that are read or written";
        return Err(Failure::new(Exit::USAGE, message).help("--cache local:rw,registry:rw"));
    }
    Shared::import(&session, &mut ledger)?;
    let asked = Asked {
        session: &session,
        selected: &selected,
        shared: shared.as_ref(),
        arguments,
        settings,
        timer,
        question,
        reports,
        nightly: nightly.as_ref(),
    };
    let exit = exit_code(&rebuild(&asked, &mut ledger, &cancel)?);
    Ok(nightly.map_or(exit, |nightly| nightly.exit(exit)))
}

/// What the last run did not bring to an end.
fn unfinished(session: &Session, history: &History) -> Result<Selected, Failure> {
    let Some(last) = &history.last_run else {
        return Err(
            Failure::new(Exit::USAGE, "there is no last run").help("`imgraph rebuild` makes one")
        );
    };
    let open = |ended: &Ended| {
        matches!(ended, Ended::Failed | Ended::Quarantined | Ended::Blocked | Ended::NotReached)
    };
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
    shared: Option<&'a Shared>,
    arguments: &'a Rebuild,
    settings: &'a Settings,
    timer: Timer,
    /// What is asked, for the next run that is asked the same.
    question: Option<Digest>,
    reports: &'a Reports,
    nightly: Option<&'a Nightly>,
}

/// Tells of a run that finds everything as the last one left it.
fn still_settled(
    settled: &Settled,
    choice: &Choice,
    (arguments, settings): (&Rebuild, &Settings),
    (timer, reports): (Timer, &Reports),
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
    let tell = &mut |what: What| {
        let event = Event { time: clock::now(), what };
        reports.event(&event);
        reporter.event(&event);
    };
    let summary = run::nothing_to_do(settled.names(), started, tell);
    append_summary(&reporter, settings);
    summary
}

fn rebuild(asked: &Asked<'_>, ledger: &mut Ledger, cancel: &Cancel) -> Result<Summary, Failure> {
    let Asked { session, selected, shared, arguments, settings, question, nightly, .. } = *asked;
    let push = arguments.building.push;
    let engine = session.open_engine(settings)?;
    say_offline(settings);
    let forced = if forces(arguments) { selected.asked.clone() } else { BTreeSet::new() };
    let uncached =
        if arguments.building.no_cache { selected.asked.clone() } else { BTreeSet::new() };
    let history = ledger.history().clone();
    let aged_at = nightly.map(|nightly| nightly.now);
    let prepared = prepared_again(session, &history, (selected, &forced, aged_at));
    let wide = session.wide(&history);
    let disk = session.disk(&wide);
    // The store is asked while the disk is read.
    let (gathered, presence) = rayon::join(
        || inputs::gather(&disk, &selected.family, &history, &prepared),
        || session.presence(&*engine, &history, &selected.family),
    );
    let said = session.judge(&selected.images, &gathered.problems, settings)?;
    let said = (said, gathered.problems.is_empty());
    let presence = presence?;
    let present = |id, record: &_| presence.of(session, &*engine, id, record);
    let facts = Facts { aged_at, ..session.facts(&present) };
    session.check_left_out(selected, &history, &facts)?;
    if push {
        session.check_left_out_pushed(selected, &history)?;
    }
    let wishes = Wishes { forced: &forced, push, believes: false, aged_at };
    let Planned { plan, entries, .. } =
        surely_planned(asked, &facts, (&history, gathered), wishes, cancel)?;

    Shared::learn(&plan, ledger)?;
    let options = options_of(asked, ledger);
    if plan.work().next().is_some() {
        begin(asked, &plan, (&options, &*engine), cancel)?;
    }
    let scratch = options.scratch.clone();
    let reporter = Mutex::new(reporter(arguments, settings));
    let quarantine =
        nightly.map_or_else(BTreeMap::new, |_| Nightly::quarantine(&history, arguments));
    let work = Run {
        facts,
        plan: &plan,
        entries,
        forced: &forced,
        uncached: &uncached,
        held: &BTreeMap::new(),
        quarantine: &quarantine,
        engine: &*engine,
        disk: &disk,
        remote: shared.map(|shared| &shared.remote),
        ledger: &mut *ledger,
        options,
    };
    let tell = &mut |what: What| show(asked, &reporter, what);
    let (_, mailbox) = run::steering();
    let outcome = attended(&reporter, || run::run(work, mailbox, cancel, tell));
    if let (Some(shared), Ok(outcome)) = (shared, &outcome) {
        shared.leave(session, outcome);
    }
    fs::remove_dir_all(scratch).unwrap_or_default();
    if let (Some(nightly), Ok(outcome)) = (nightly, &outcome) {
        nightly.remember(ledger, &outcome.failed);
    }
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
    let outcome = outcome?;
    let summary = outcome.summary;
    if let Ok(reporter) = reporter.into_inner() {
        append_summary(&reporter, settings);
    }
    outcome.astray.as_ref().map_or(Ok(summary), |error| Err(tags_stay(error)))
}

/// What there is to do before the first build.
fn begin(
    asked: &Asked<'_>,
    plan: &Plan,
    (options, engine): (&Options, &dyn Engine),
    cancel: &Cancel,
) -> Result<(), Failure> {
    make_room(asked.session, options)?;
    greet(engine)?;
    asked.shared.map_or(Ok(()), |shared| shared.claim(asked.session, plan, cancel))
}

fn tags_stay(error: &EngineError) -> Failure {
    let exit = match error {
        EngineError::Cancelled => return Failure::said(interrupted()),
        EngineError::Unavailable(_) => Exit::UNAVAILABLE,
        _ => Exit::IMAGE_FAILED,
    };
    let why = run::with_causes(error);
    Failure::new(exit, format!("the tags stay where they were: {why}"))
}

/// The plan, which rests on nothing that a registry has lost, and pushes nothing that it has.
fn surely_planned(
    asked: &Asked<'_>,
    facts: &Facts<'_>,
    (history, gathered): (&History, Gathered),
    wishes: Wishes<'_>,
    cancel: &Cancel,
) -> Result<Planned, Failure> {
    let images = &asked.selected.images;
    let session = asked.session;
    let mut planned = plan((session, facts), history, gathered, images, wishes);
    if let Some(shared) = asked.shared {
        if asked.nightly.is_some() {
            shared.look_at_tags(session, &planned.plan, cancel)?;
            planned.plan = planned.again((session, facts), history, images, wishes);
        }
        while shared.has_found(session, &planned.plan, cancel)?
            || shared.has_lost(session, &planned.plan, cancel)?
        {
            planned.plan = planned.again((session, facts), history, images, wishes);
        }
    }
    Ok(planned)
}

/// How the run goes about its plan.
fn options_of(asked: &Asked<'_>, ledger: &Ledger) -> Options {
    let Asked { session, arguments, timer, nightly, .. } = *asked;
    let usual = if arguments.full { nightly::RETRIES } else { carry::RETRIES };
    Options {
        jobs: settings::jobs(arguments.jobs),
        failure_limit: failure_limit(arguments),
        retries: arguments.retries.unwrap_or(usual),
        pull: arguments.building.pull || nightly.is_some_and(Nightly::pulls),
        push: arguments.building.push,
        atomic: arguments.sharing.atomic,
        timer,
        ..options(session, ledger)
    }
}

/// Shows an event, and behind the first what became of pins before the run began.
fn show(asked: &Asked<'_>, reporter: &Mutex<Reporter>, what: What) {
    let news = match what {
        What::RunStarted { .. } => asked.nightly.map_or(&[][..], Nightly::news),
        _ => &[],
    };
    let time = clock::now();
    let mut reporter = reporter.lock().unwrap_or_else(PoisonError::into_inner);
    for what in std::iter::once(what).chain(news.iter().cloned()) {
        let event = Event { time, what };
        asked.reports.event(&event);
        reporter.event(&event);
    }
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

fn sharing(arguments: &Rebuild) -> remote::Asked<'_> {
    remote::Asked {
        caches: arguments.sharing.cache,
        push: arguments.building.push,
        branch: arguments.sharing.branch.as_deref(),
        allow_older: arguments.sharing.allow_older,
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
    match (summary.interrupted, summary.failed + summary.quarantined, summary.transient) {
        (true, ..) => interrupted(),
        (_, 0, _) => Exit::OK,
        (_, _, 0) => Exit::IMAGE_FAILED,
        _ => Exit::UNAVAILABLE,
    }
}
