//! Lines for pipes and CI: one for each event that is worth it, none is ever drawn over.
//!
//! Builds run side by side, so every line names its image. Logs of failed builds are shown whole
//! when the image ended. While nothing happens, a heartbeat tells that the job is alive.

use std::collections::{BTreeMap, VecDeque};

use crate::event::{Event, Failure, What};
use crate::history::Ended;
use crate::image::ImageName;
use crate::report::channel::Channel;
use crate::report::outcome::{Outcome, word};
use crate::report::style::{Style, Tone};
use crate::report::tally::Tally;
use crate::report::text::{clean, printable};
use crate::report::{Logs, Settings, Ui, board, lines, sentence, summary, watch};

/// The silence in milliseconds after which a heartbeat is due.
pub const HEARTBEAT: u64 = 60_000;

/// How many bytes of a running build's log are kept, in case it fails.
const KEPT: usize = 256 * 1024;

/// How many reasons of an image are named.
const REASONS: usize = 2;

/// The sink for pipes and CI.
#[derive(Debug)]
pub struct Plain {
    channel: Channel,
    settings: Settings,
    style: Style,
    last_said: Option<u64>,
    kept: BTreeMap<ImageName, Kept>,
    /// What was said of a watch: how many images, and how often everything is looked at.
    watching: Option<(usize, Option<u64>)>,
}

impl Plain {
    /// Writes to a channel.
    pub fn new(settings: Settings, channel: Channel) -> Self {
        let style = Style { color: settings.color };
        Self { channel, settings, style, last_said: None, kept: BTreeMap::new(), watching: None }
    }

    /// Writes what an event is worth. The tally has it already.
    pub fn event(&mut self, event: &Event, tally: &Tally) {
        let text = match self.settings.ui {
            Ui::Quiet => self.quiet(event, tally),
            Ui::Plain | Ui::Progress => self.text(event, tally),
        };
        self.say(event.time, &text);
        if tally.summary.is_some() {
            self.last_said = None;
        }
    }

    /// Tells that the run is alive, where nothing was said for [`HEARTBEAT`].
    pub fn tick(&mut self, now: u64, heartbeat: impl FnOnce() -> String) {
        let silent = self.last_said.is_some_and(|said| now.saturating_sub(said) >= HEARTBEAT);
        if silent && self.settings.ui != Ui::Quiet {
            let line = heartbeat() + "\n";
            self.say(now, &line);
        }
    }

    /// Says something that is no event.
    pub fn talk(&mut self, text: &str) {
        self.channel.write(text);
    }

    fn say(&mut self, time: u64, text: &str) {
        if !text.is_empty() {
            self.last_said = Some(time);
            self.channel.write(text);
        }
    }

    /// Only what went wrong.
    fn quiet(&mut self, event: &Event, tally: &Tally) -> String {
        match &event.what {
            What::Finished { ended: Ended::Failed | Ended::Quarantined, .. }
            | What::ExecFinished { stopped: false, code: None | Some(1..), .. }
            | What::Warning { .. }
            | What::Interrupted => self.text(event, tally),
            What::RunFinished { summary }
                if summary.failed + summary.quarantined > 0 || summary.interrupted =>
            {
                self.text(event, tally)
            }
            _ => String::new(),
        }
    }

    fn text(&mut self, event: &Event, tally: &Tally) -> String {
        match &event.what {
            What::RunStarted { .. } => self.head(event),
            What::Fresh { image } => self.detail(image, "up to date"),
            What::Planned { image, reasons, .. } if !reasons.is_empty() => {
                self.detail(image, &format!("planned: {}", sentence::reasons(reasons, usize::MAX)))
            }
            What::Planned { .. } => String::new(),
            What::Started { image, reasons, .. } => {
                let because = sentence::reasons(reasons, self.shown_reasons());
                let because = if because.is_empty() { because } else { format!(": {because}") };
                self.line(image, &format!("started{because}"))
            }
            What::Step { image, number, total, text, cached } => {
                let of = total.map(|total| format!("/{total}")).unwrap_or_default();
                let cached = if *cached { " cached" } else { "" };
                self.detail(image, &format!("step {number}{of}{cached}: {}", clean(text)))
            }
            What::Log { image, line } => self.log(image, line),
            What::Pushed { image, references } => {
                self.detail(image, &format!("pushed: {}", sentence::names(references)))
            }
            What::Finished { .. } => self.finished(event, tally),
            What::Warning { image, message } => self.warning(image.as_ref(), message),
            What::Interrupted => lines::interrupted(self.style) + "\n",
            What::RunFinished { .. } => summary::block(tally, self.style),
            what => self.watched(what),
        }
    }

    /// What only a watch tells.
    fn watched(&mut self, what: &What) -> String {
        let is_verbose = self.settings.verbosity > 0;
        // How many directories there are is worth a word once.
        if let What::Watching { images, polling, .. } = what
            && self.watching.replace((*images, *polling)) == Some((*images, *polling))
        {
            return String::new();
        }
        watch::line(what, is_verbose, self.style).map(|line| line + "\n").unwrap_or_default()
    }

    /// The first line; even where there is none, the silence begins here.
    fn head(&mut self, event: &Event) -> String {
        self.last_said = Some(event.time);
        lines::head(&event.what).map(|line| line + "\n").unwrap_or_default()
    }

    fn line(&self, image: &ImageName, words: &str) -> String {
        format!("{} {words}\n", self.style.paint(Tone::Strong, format!("[{image}]")))
    }

    /// A line for those who want to know more.
    fn detail(&self, image: &ImageName, words: &str) -> String {
        if self.settings.verbosity == 0 { String::new() } else { self.line(image, words) }
    }

    fn shown_reasons(&self) -> usize {
        if self.settings.verbosity == 0 { REASONS } else { usize::MAX }
    }

    fn log(&mut self, image: &ImageName, line: &str) -> String {
        match (self.settings.logs, self.settings.ci) {
            (Logs::All, _) => format!("[{image}]{}{}\n", lines::LOG_MARK, clean(line)),
            // The disk of a CI job is gone when somebody comes to look: its text has to have all.
            (Logs::Failed, Some(_)) => {
                self.kept.entry(image.clone()).or_default().push(line);
                String::new()
            }
            (Logs::Failed | Logs::None, _) => String::new(),
        }
    }

    fn warning(&self, image: Option<&ImageName>, message: &str) -> String {
        let plain = lines::warning(image, message, Style::default());
        let annotation = self.settings.ci.and_then(|ci| ci.annotate_warning(&plain));
        annotation.unwrap_or_else(|| lines::warning(image, message, self.style) + "\n")
    }

    fn finished(&mut self, event: &Event, tally: &Tally) -> String {
        let Some(outcome) = Outcome::of(&event.what, tally) else { return String::new() };
        let kept = self.kept.remove(outcome.image).unwrap_or_default();
        if outcome.ended == Ended::NotReached {
            return self.detail(outcome.image, word(outcome.ended));
        }
        let painted = self.style.paint(Tone::of(outcome.ended), word(outcome.ended));
        let mut text = self.line(outcome.image, &format!("{painted}: {}", outcome.words));
        if let Some(failure) = outcome.failure {
            text += &self.failed_log(outcome.image, failure, &kept, event.time);
            let path = failure.log.as_deref().map(printable);
            let log_file = path.map(|path| self.line(outcome.image, &format!("log: {path}")));
            text += &log_file.unwrap_or_default();
            let ci = self.settings.ci;
            let annotation = ci.and_then(|ci| ci.annotate_failure(outcome.image, failure));
            text += &annotation.unwrap_or_default();
        }
        text
    }

    /// In CI the whole log in a group, as far as it was kept; elsewhere its end.
    fn failed_log(&self, image: &ImageName, failure: &Failure, kept: &Kept, time: u64) -> String {
        if self.settings.logs != Logs::Failed {
            return String::new();
        }
        let shown = if kept.is_empty() { lines::tail(failure) } else { kept.text() };
        let Some(ci) = self.settings.ci.filter(|_| !shown.is_empty()) else { return shown };
        let title = format!("log of {image}");
        ci.open_group(image, &title, time) + &shown + &ci.close_group(image, time)
    }
}

/// What a heartbeat says: how far the run is, what runs, and how long it will take.
pub fn heartbeat(tally: &Tally, remaining: Option<u64>, now: u64) -> String {
    let running = board::running(tally, now);
    let shown: Vec<_> = running.iter().map(|it| format!("{} {}", it.name, it.elapsed)).collect();
    let running = match shown[..] {
        [] => String::new(),
        _ => format!(", {} running: {}", shown.len(), sentence::names(&shown)),
    };
    let left = remaining.filter(|left| *left > 0);
    let left = left.map(|left| format!(", {} left", sentence::about(left))).unwrap_or_default();
    format!("{}/{} done{running}{left}", tally.done, tally.images.len())
}

/// The end of a log that is being written.
#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: usize,
}

impl Kept {
    fn push(&mut self, line: &str) {
        self.bytes += line.len() + 1;
        self.lines.push_back(line.to_owned());
        while self.bytes > KEPT && self.lines.len() > 1 {
            let oldest = self.lines.pop_front().unwrap_or_default();
            self.bytes -= oldest.len() + 1;
            self.dropped += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn text(&self) -> String {
        let dropped = match self.dropped {
            0 => String::new(),
            lines => format!("  ({} before)\n", sentence::count(lines, "line")),
        };
        dropped + &lines::log(self.lines.iter().map(String::as_str))
    }
}
