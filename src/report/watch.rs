//! What only a watch tells: lines, and the block that a terminal shows while nothing is built.

use crate::event::{Summary, What};
use crate::image::ImageName;
use crate::report::lines::LOG_MARK;
use crate::report::sentence;
use crate::report::style::{Style, Tone};
use crate::report::tally::Watched;
use crate::report::text::{clean, cut, printable};

/// The keys, on one line.
const KEYS: &str = "p pause  r rebuild  f failed  Enter status  q quit  ? help";

/// How a watch stands: what it waits for, what the last run came to, and which keys there are.
pub fn block(watch: &Watched, columns: usize, style: Style) -> Vec<String> {
    let (tone, state) = match (watch.paused, watch.stale.as_slice()) {
        (true, _) => (Tone::Warning, "paused".to_owned()),
        (false, []) if !watch.is_settled => (Tone::Faint, "looking".to_owned()),
        (false, []) => (Tone::Good, "up to date".to_owned()),
        (false, stale) => (Tone::Bad, format!("not up to date: {}", names(stale))),
    };
    let state = cut(&state, columns);
    let room = columns.saturating_sub(state.chars().count());
    let last = watch.last.as_ref().map(|last| format!("  last: {}", result(last)));
    let last = cut(&last.unwrap_or_default(), room);
    vec![
        style.paint(tone, state).into_owned() + &last,
        style.paint(Tone::Faint, cut(&status(watch), columns)).into_owned(),
        style.paint(Tone::Faint, cut(KEYS, columns)).into_owned(),
    ]
}

/// `watching 8 images in 14 directories`.
pub fn status(watch: &Watched) -> String {
    watching(watch.images, watch.directories, watch.polling)
}

/// `2 built, 1 failed in 8.0 s`.
fn result(summary: &Summary) -> String {
    let classes = [
        (summary.built, "built"),
        (summary.cut_off, "cut off"),
        (summary.restored, "restored"),
        (summary.failed, "failed"),
        (summary.blocked, "blocked"),
        (summary.not_reached, "not reached"),
    ];
    let classes = classes.into_iter().filter(|(count, _)| *count > 0);
    let classes: Vec<String> = classes.map(|(count, word)| format!("{count} {word}")).collect();
    format!("{} in {}", classes.join(", "), sentence::duration(summary.duration))
}

/// An event of a watch as one line, where it is worth one. Empty for events of runs.
pub fn line(what: &What, is_verbose: bool, style: Style) -> Option<String> {
    let about = |image: &ImageName, words: &str| {
        format!("{} {words}", style.paint(Tone::Strong, format!("[{image}]")))
    };
    Some(match what {
        What::Watching { images, directories, polling, .. } => {
            watching(*images, *directories, *polling)
        }
        What::Rescanned { everything, changed, duration, .. } if is_verbose => {
            let what = if *everything { "everything" } else { "what changed" };
            let changed = match changed[..] {
                [] => "nothing is different".to_owned(),
                _ => format!("{} changed", names(changed)),
            };
            format!("looked again at {what}: {changed}  {}", sentence::duration(*duration))
        }
        What::Outdated { image, again: true } => {
            about(image, "outdated: its inputs changed; building it again")
        }
        What::Outdated { image, again: false } => about(image, "outdated: its inputs changed"),
        What::ExecStarted { image, command } if is_verbose => {
            about(image, &format!("exec: {}", printable(command)))
        }
        What::ExecLog { image, line } => format!("[{image}] exec{LOG_MARK}{}", clean(line)),
        What::ExecFinished { image, stopped: true, .. } if is_verbose => {
            about(image, "exec: stopped")
        }
        What::ExecFinished { image, code: Some(0), .. } if is_verbose => about(image, "exec: done"),
        What::ExecFinished { image, code, stopped: false } if *code != Some(0) => {
            let how = match code {
                Some(code) => format!("ended with exit code {code}"),
                None => "was ended by a signal, or could not be started".to_owned(),
            };
            about(image, &style.paint(Tone::Bad, format!("exec: the command {how}")))
        }
        What::Paused => "paused: changes wait".to_owned(),
        What::Resumed => "watching again".to_owned(),
        What::Idle { stale } => idle(stale),
        _ => return None,
    })
}

/// `watching 8 images in 14 directories`.
pub fn watching(images: usize, directories: usize, polling: Option<u64>) -> String {
    let images = sentence::count(images, "image");
    match polling {
        Some(every) => {
            format!("watching {images} by looking every {}", sentence::duration(every))
        }
        None if directories == 1 => format!("watching {images} in 1 directory"),
        None => format!("watching {images} in {directories} directories"),
    }
}

/// What is not up to date while a watch waits.
pub fn idle(stale: &[ImageName]) -> String {
    if stale.is_empty() {
        return "up to date, waiting for changes".to_owned();
    }
    format!("waiting for changes; not up to date: {}", names(stale))
}

fn names(images: &[ImageName]) -> String {
    sentence::names(&images.iter().map(ImageName::as_str).collect::<Vec<_>>())
}
