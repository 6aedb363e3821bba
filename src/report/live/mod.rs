//! The terminal: permanent lines for what ended, above a board of what runs.
//!
//! indicatif draws the board over itself ten times a second, on a thread of its own that sleeps in
//! between. Permanent lines are written past it, with real line ends, so that scrollback and copied
//! text are what was written. The cursor is never hidden and the screen never switched, so that
//! there is nothing to restore, however the process ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fmt, io, iter};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::clock;
use crate::event::{Event, What};
use crate::history::Ended;
use crate::report::board::{Size, View, board};
use crate::report::channel::Channel;
use crate::report::outcome::{Outcome, word};
use crate::report::style::{Style, Tone};
use crate::report::tally::Tally;
use crate::report::text::clean;
use crate::report::{Logs, Run, Settings, lines, lock, sentence, summary, watch};

/// The time between two drawings of the board.
const INTERVAL: Duration = Duration::from_millis(100);

/// A terminal to draw on.
pub struct Terminal {
    target: ProgressDrawTarget,
    size: Arc<dyn Fn() -> Size + Send + Sync>,
    clock: fn() -> u64,
    /// The time between two drawings; `None` draws with events only.
    interval: Option<Duration>,
}

impl Terminal {
    /// Stderr, if it is a terminal that can be drawn on.
    pub fn stderr() -> Option<Self> {
        let target = ProgressDrawTarget::stderr();
        if target.is_hidden() {
            return None;
        }
        let size = Arc::new(stderr_size);
        Some(Self { target, size, clock: clock::now, interval: Some(INTERVAL) })
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("size", &(self.size)()).finish_non_exhaustive()
    }
}

/// Asked anew with every drawing: terminals are resized. One that does not tell is taken for small.
fn stderr_size() -> Size {
    let told = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let told = told.filter(|size| size.ws_row > 0 && size.ws_col > 0);
    told.map_or(Size { rows: 24, columns: 80 }, |size| Size {
        rows: usize::from(size.ws_row),
        columns: usize::from(size.ws_col),
    })
}

/// The sink for terminals.
#[derive(Debug)]
pub struct Live {
    settings: Settings,
    style: Style,
    channel: Channel,
    bar: ProgressBar,
    run: Arc<Mutex<Run>>,
    /// The time between two drawings while a run is on.
    interval: Option<Duration>,
}

impl Live {
    /// Draws the board of a run on a terminal, and writes permanent lines to a channel that ends at
    /// the same terminal.
    pub fn new(
        settings: Settings,
        channel: Channel,
        terminal: Terminal,
        run: Arc<Mutex<Run>>,
    ) -> Self {
        let style = Style { color: settings.color };
        let Terminal { target, size, clock, interval } = terminal;
        let bar = ProgressBar::with_draw_target(None, target);
        let drawn = Arc::clone(&run);
        let frame = Arc::new(AtomicU64::new(0));
        let draw = move |_: &ProgressState, text: &mut dyn fmt::Write| {
            let run = lock(&drawn);
            let now = clock();
            let remaining = run.remaining(now);
            let frame = frame.fetch_add(1, Ordering::Relaxed);
            let view = View { size: size(), now, remaining, frame, style };
            // Writing to a string cannot fail.
            text.write_str(&board(&run.tally, &view).join("\n")).ok();
        };
        let template = ProgressStyle::with_template("{board}").expect("the template is valid");
        bar.set_style(template.with_key("board", draw));
        if let Some(interval) = interval {
            bar.enable_steady_tick(interval);
        }
        Self { settings, style, channel, bar, run, interval }
    }

    /// Shows an event that the run has counted already.
    pub fn event(&mut self, event: &Event) {
        // The guard must be gone before indicatif draws: drawing locks the run again.
        let (text, is_watch) = {
            let run = lock(&self.run);
            (self.text(&event.what, &run.tally), run.tally.watch.is_some())
        };
        let is_last = matches!(event.what, What::RunFinished { .. }) && !is_watch;
        if is_last {
            self.bar.finish_and_clear();
        }
        if is_watch {
            self.draw_for(&event.what);
        }
        if text.is_empty() {
            return;
        }
        let channel = &mut self.channel;
        if is_last {
            channel.write(&text);
        } else {
            self.bar.suspend(|| channel.write(&text));
        }
    }

    /// Draws ten times a second while a run of a watch is on, and only what changed while none is:
    /// a watch that waits takes no time of the processor.
    fn draw_for(&self, what: &What) {
        match what {
            What::RunStarted { .. } => {
                if let Some(interval) = self.interval {
                    self.bar.enable_steady_tick(interval);
                }
            }
            What::RunFinished { .. } => {
                self.bar.disable_steady_tick();
                self.bar.force_draw();
            }
            What::Watching { .. } if lock(&self.run).tally.jobs == 0 => {
                self.bar.disable_steady_tick();
                self.bar.force_draw();
            }
            What::Watching { .. } | What::Paused | What::Resumed | What::Idle { .. } => {
                self.bar.force_draw();
            }
            _ => (),
        }
    }

    /// Takes the board away.
    pub fn close(&self) {
        self.bar.finish_and_clear();
    }

    /// Draws the board anew: the terminal has another size.
    pub fn resized(&self) {
        self.bar.force_draw();
    }

    /// Says something above the board.
    pub fn talk(&mut self, text: &str) {
        let channel = &mut self.channel;
        self.bar.suspend(|| channel.write(text));
    }

    fn text(&self, what: &What, tally: &Tally) -> String {
        let is_verbose = self.settings.verbosity > 0;
        let lines: Vec<String> = match what {
            What::RunStarted { .. } if tally.watch.is_some() && !is_verbose => Vec::new(),
            What::RunStarted { .. } => lines::head(what).into_iter().collect(),
            // The board says so.
            What::Watching { .. } | What::Idle { .. } | What::Paused | What::Resumed => Vec::new(),
            What::Fresh { image } if is_verbose => {
                vec![format!("{} {image}", self.style.paint(Tone::Faint, "up to date"))]
            }
            What::Started { image, reasons, .. } if is_verbose => {
                vec![format!("started {image}  {}", sentence::reasons(reasons, usize::MAX))]
            }
            What::Pushed { image, references } if is_verbose => {
                vec![format!("pushed {image}  {}", sentence::names(references))]
            }
            What::Log { image, line } if self.settings.logs == Logs::All => {
                vec![format!("{image}{}{}", lines::LOG_MARK, clean(line))]
            }
            What::Finished { ended: Ended::NotReached, .. } if !is_verbose => Vec::new(),
            What::Finished { .. } => self.finished(what, tally),
            What::Warning { image, message } => {
                vec![lines::warning(image.as_ref(), message, self.style)]
            }
            What::Interrupted => vec![lines::interrupted(self.style)],
            What::RunFinished { .. } => return summary::block(tally, self.style),
            What::Fresh { .. }
            | What::Planned { .. }
            | What::Started { .. }
            | What::Step { .. }
            | What::Pushed { .. }
            | What::Log { .. } => Vec::new(),
            what => watch::line(what, is_verbose, self.style).into_iter().collect(),
        };
        lines.into_iter().map(|line| line + "\n").collect()
    }

    fn finished(&self, what: &What, tally: &Tally) -> Vec<String> {
        let Some(outcome) = Outcome::of(what, tally) else { return Vec::new() };
        let word = self.style.paint(Tone::of(outcome.ended), word(outcome.ended));
        let first = format!("{word} {}  {}", outcome.image, outcome.words);
        let Some(failure) = outcome.failure else { return vec![first] };
        let tail = match self.settings.logs {
            Logs::Failed => lines::tail(failure).trim_end_matches('\n').to_owned(),
            Logs::All | Logs::None => String::new(),
        };
        let tail = (!tail.is_empty()).then_some(tail);
        iter::once(first).chain(tail).chain(lines::log_file(failure)).collect()
    }
}

impl Drop for Live {
    /// A run that ended without its last event leaves no board behind.
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
