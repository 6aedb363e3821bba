//! What only a watch tells, as lines.

use crate::event::What;
use crate::image::ImageName;
use crate::report::lines::LOG_MARK;
use crate::report::sentence;
use crate::report::style::{Style, Tone};
use crate::report::text::{clean, printable};

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
        What::ExecFinished { image, code: Some(0), .. } if is_verbose => {
            about(image, "exec: done")
        }
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

fn idle(stale: &[ImageName]) -> String {
    if stale.is_empty() {
        return "up to date, waiting for changes".to_owned();
    }
    format!("waiting for changes; not up to date: {}", names(stale))
}

fn names(images: &[ImageName]) -> String {
    sentence::names(&images.iter().map(ImageName::as_str).collect::<Vec<_>>())
}
