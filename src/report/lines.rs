//! Lines that read the same on a terminal and in the log of a CI job.

use crate::event::{Failure, What};
use crate::image::ImageName;
use crate::report::sentence;
use crate::report::style::{Style, Tone};
use crate::report::text::{clean, printable};

/// What stands before a line that a build printed, so that it cannot be taken for one of ours, nor
/// for a command to the CI service.
pub const LOG_MARK: &str = "  | ";

/// What is planned; `None` where nothing is, because then the end says it all.
pub fn head(what: &What) -> Option<String> {
    let What::RunStarted { engine, selected, planned, jobs, predicted, .. } = what else {
        return None;
    };
    if *planned == 0 {
        return None;
    }
    let all = sentence::count(*selected, "image");
    let images = if planned == selected { all } else { format!("{planned} of {all}") };
    let time = predicted.map(|time| format!(", {}", sentence::about(time))).unwrap_or_default();
    Some(format!("{images} planned, {jobs} at a time, with {}{time}", printable(engine)))
}

/// Something the user should know.
pub fn warning(image: Option<&ImageName>, message: &str, style: Style) -> String {
    let word = style.paint(Tone::Warning, "warning");
    let about = image.map(|image| format!("{image}: ")).unwrap_or_default();
    format!("{word}: {about}{}", clean(message))
}

/// That the run is being ended.
pub fn interrupted(style: Style) -> String {
    let word = style.paint(Tone::Warning, "interrupted");
    format!("{word}: stopping what runs; what was built is kept")
}

/// The last lines of a failed build's log, as a text.
pub fn tail(failure: &Failure) -> String {
    log(failure.tail.iter().map(String::as_str))
}

/// Lines that a build printed, marked, as a text.
pub fn log<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for line in lines {
        text.extend([LOG_MARK, &clean(line), "\n"]);
    }
    text
}

/// Where the whole log of a failed build is.
pub fn log_file(failure: &Failure) -> Option<String> {
    failure.log.as_deref().map(|path| format!("full log: {}", printable(path)))
}
