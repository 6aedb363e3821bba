//! What a terminal shows while a run goes on: a line for each running image and one for the whole,
//! composed as text. Knows no terminal, only its size.

use crate::image::ImageName;
use crate::report::style::{Style, Tone};
use crate::report::tally::{Image, State, Tally};
use crate::report::text::{clean, cut, width};
use crate::report::{sentence, watch};

/// The pictures of the spinner, one after the other.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// How many columns the bar takes, without its brackets.
const BAR: usize = 20;

/// The columns below which the bar is left out.
const NARROW: usize = 60;

/// A size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

/// What the board is drawn from besides the tally.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The size of the terminal.
    pub size: Size,
    /// Milliseconds since the Unix epoch.
    pub now: u64,
    /// Milliseconds to the end, where they can be predicted.
    pub remaining: Option<u64>,
    /// Counts up with every drawing.
    pub frame: u64,
    /// Colours.
    pub style: Style,
}

/// A running image.
#[derive(Debug)]
pub struct Running<'a> {
    /// The image.
    pub name: &'a ImageName,
    /// The step it is in; empty before the first.
    pub step: &'a str,
    /// How long it runs: `12s`.
    pub elapsed: String,
}

/// The running images, the longest running first.
pub fn running(tally: &Tally, now: u64) -> Vec<Running<'_>> {
    let images = tally.running.iter().map(|number| &tally.images[*number]);
    let running = images.filter_map(|image| match &image.state {
        State::Running { since, step } => Some(Running {
            name: &image.name,
            step,
            elapsed: sentence::elapsed(now.saturating_sub(*since)),
        }),
        State::Waiting | State::Done => None,
    });
    running.collect()
}

/// The board: no line is wider than the terminal, and together they leave its top line free.
/// Before anything is planned and after the end it is empty, or says how a watch stands.
pub fn board(tally: &Tally, view: &View) -> Vec<String> {
    if tally.images.is_empty() || tally.summary.is_some() {
        let watch = tally.watch.as_ref().filter(|_| view.size.rows > 2);
        return watch.map_or_else(Vec::new, |it| watch::block(it, view.size.columns, view.style));
    }
    let running = running(tally, view.now);
    let room = view.size.rows.saturating_sub(2);
    let shown = if running.len() <= room { running.len() } else { room.saturating_sub(1) };
    let mut lines: Vec<_> = running[..shown].iter().map(|image| image_line(image, view)).collect();
    if shown < running.len() && room > 0 {
        lines.push(cut(&format!("  and {} more", running.len() - shown), view.size.columns));
    }
    lines.push(status_line(tally, view));
    lines
}

/// `⠋ java/jre [3/5] RUN apt-get install ..  12s`: of all its parts, the step is cut first.
fn image_line(image: &Running<'_>, view: &View) -> String {
    let columns = view.size.columns;
    let frame = usize::try_from(view.frame).unwrap_or(0) % SPINNER.len();
    let spinner = SPINNER[frame];
    let fixed = width(spinner) + 1 + width(image.name.as_str()) + 2 + image.elapsed.len();
    let Some(room) = columns.checked_sub(fixed) else {
        return cut(&format!("{spinner} {} {}", image.name, image.elapsed), columns);
    };
    let step = cut(&clean(image.step), room.saturating_sub(1));
    let gap = if step.is_empty() { "" } else { " " };
    let name = view.style.paint(Tone::Strong, image.name.as_str());
    let elapsed = view.style.paint(Tone::Faint, image.elapsed.as_str());
    format!("{spinner} {name}{gap}{step}  {elapsed}")
}

/// `[=====>>-----      ] 12/92 done  3 running  ~2m left`.
fn status_line(tally: &Tally, view: &View) -> String {
    let mut facts = vec![format!("{}/{} done", tally.done, tally.images.len())];
    if !tally.running.is_empty() {
        facts.push(format!("{} running", tally.running.len()));
    }
    if !tally.failures.is_empty() {
        facts.push(format!("{} failed", tally.failures.len()));
    }
    let left = view.remaining.filter(|left| *left > 0);
    if tally.interrupted {
        facts.push("stopping".to_owned());
    } else if let Some(left) = left {
        facts.push(format!("{} left", sentence::about(left)));
    }
    let facts = facts.join("  ");
    if view.size.columns < NARROW {
        return cut(&facts, view.size.columns);
    }
    let facts = cut(&facts, view.size.columns - BAR - 3);
    if tally.failures.is_empty() {
        return format!("[{}] {facts}", bar(tally));
    }
    format!("[{}] {}", bar(tally), view.style.paint(Tone::Bad, facts))
}

/// Done `=`, running `>`, will be built `-`, may be cut off ` `: the only honest picture of a run
/// that may end early.
fn bar(tally: &Tally) -> String {
    let waiting = |image: &&Image| image.state == State::Waiting;
    let waiting: Vec<_> = tally.images.iter().filter(waiting).collect();
    let certain = waiting.iter().filter(|image| image.certain).count();
    let all = tally.images.len();
    let mut bar = String::with_capacity(BAR);
    let mut counted = 0;
    for (sign, count) in [
        ('=', tally.done),
        ('>', tally.running.len()),
        ('-', certain),
        (' ', waiting.len() - certain),
    ] {
        counted += count;
        let end = counted * BAR / all;
        bar.extend(std::iter::repeat_n(sign, end.saturating_sub(bar.len())));
    }
    bar
}

#[cfg(test)]
mod tests;
