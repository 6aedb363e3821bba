//! The words for people: reasons as fragments of a sentence, durations, sizes and counts.
//!
//! One fact is said in the same words wherever it appears. Nothing here knows colours or sinks.

use crate::digest::OciDigest;
use crate::fingerprint::reason::{PrepareCause, Reason};
use crate::published;
use crate::report::text::printable;

/// A reason as a fragment that fits after the name of the image and a colon.
pub fn reason(reason: &Reason) -> String {
    match reason {
        Reason::NeverBuilt => "never built here".to_owned(),
        Reason::FileChanged { path } => format!("{} changed", printable(path)),
        Reason::FileAdded { path } => format!("{} is new", printable(path)),
        Reason::FileRemoved { path } => format!("{} is gone", printable(path)),
        Reason::ModeChanged { path } => {
            format!("mode or attributes of {} changed", printable(path))
        }
        Reason::InstructionChanged { path, line } => {
            format!("{} line {line} changed", printable(file_name(path)))
        }
        Reason::ArgChanged { name } => format!("argument {} changed", printable(name)),
        Reason::OptionChanged { name } => format!("option {} changed", printable(name)),
        Reason::ParentChanged { image } => format!("{image} came out different"),
        Reason::ParentsChanged { reference } => {
            format!("{} is another image, new or gone", printable(reference))
        }
        Reason::ExternalMoved { reference, old, new } => {
            moved(&printable(reference), old.as_ref(), new.as_ref())
        }
        Reason::RemoteChanged { url } => format!("{} changed", printable(url)),
        Reason::SettingChanged { name } => format!("setting {} changed", printable(name)),
        Reason::PrepareNeeded { cause } => prepare(cause),
        Reason::OutputMissing => "its output is no longer in the store".to_owned(),
        Reason::OtherEngine { engine } if engine == published::CLASS => {
            "known from its registry only".to_owned()
        }
        Reason::OtherEngine { engine } => format!("last built with {}", printable(engine)),
        Reason::TooOld { age, max_age } => {
            format!("{} old, and its layer allows {}", days(*age), days(*max_age))
        }
        Reason::Forced => "forced".to_owned(),
        Reason::NotPushed => "not pushed yet".to_owned(),
    }
}

fn moved(reference: &str, old: Option<&OciDigest>, new: Option<&OciDigest>) -> String {
    match (old, new) {
        (Some(old), Some(new)) => {
            format!("{reference} moved from {} to {}", abbreviated(old), abbreviated(new))
        }
        (None, Some(new)) => format!("{reference} is now known as {}", abbreviated(new)),
        (_, None) => format!("{reference} has no known digest"),
    }
}

fn prepare(cause: &PrepareCause) -> String {
    match cause {
        PrepareCause::NeverRan => "its prepare command never ran here".to_owned(),
        PrepareCause::InputsChanged => "its prepare command or its inputs changed".to_owned(),
        PrepareCause::OutputMissing(path) => {
            format!("{}, which its prepare command makes, is missing", printable(path))
        }
        PrepareCause::Forced => "its prepare command is forced".to_owned(),
    }
}

/// The first reasons, and how many more there are: `a changed, b changed and 3 more`.
pub fn reasons(all: &[Reason], shown: usize) -> String {
    let text = all.iter().take(shown).map(reason).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(shown) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// A few names, and how many more there are: `a`, `a and b`, `a, b and 3 more`.
pub fn names<T: AsRef<str>>(all: &[T]) -> String {
    match all {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [one, two] => format!("{} and {}", one.as_ref(), two.as_ref()),
        [one, two, rest @ ..] => {
            format!("{}, {} and {} more", one.as_ref(), two.as_ref(), rest.len())
        }
    }
}

/// A duration of so many milliseconds: `940 ms`, `12.3 s`, `2m 14s`, `1h 02m`. Cut, not rounded, so
/// that it never shows sixty of anything.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..=59 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        _ => elapsed(milliseconds),
    }
}

/// A duration that is still growing, in whole seconds: `12s`, `2m 14s`, `1h 02m`.
pub fn elapsed(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// An age: `90 seconds`, `5 hours`, `8 days`. Cut to whole units, of which there are at least two.
pub fn days(milliseconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let seconds = milliseconds / 1000;
    let unit = UNITS.iter().find(|(length, _)| seconds >= 2 * length);
    unit.map_or_else(
        || count(usize::try_from(seconds).unwrap_or(usize::MAX), "second"),
        |(length, name)| count(usize::try_from(seconds / length).unwrap_or(usize::MAX), name),
    )
}

/// A predicted duration, no more exact than it can be: `~25s`, `~2m`, `~1h 10m`. Rounded up.
pub fn about(milliseconds: u64) -> String {
    let seconds = milliseconds.div_ceil(1000);
    let minutes = seconds.div_ceil(60);
    match seconds {
        0..=55 => format!("~{}s", seconds.div_ceil(5).max(1) * 5),
        56..=3540 => format!("~{minutes}m"),
        _ => format!("~{}h {:02}m", minutes.div_ceil(5) / 12, minutes.div_ceil(5) % 12 * 5),
    }
}

/// A size in bytes, in powers of ten as registries count: `182 MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut whole = bytes;
    let mut tenth = 0;
    let mut unit = "B";
    for larger in UNITS {
        if whole < 1000 {
            break;
        }
        tenth = whole % 1000 / 100;
        whole /= 1000;
        unit = larger;
    }
    if whole < 10 { format!("{whole}.{tenth} {unit}") } else { format!("{whole} {unit}") }
}

/// A number with its noun, which takes an s where there are not exactly one: `1 image`, `2 images`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// `is` or `are`, to follow [`count`].
pub const fn is_or_are(number: usize) -> &'static str {
    if number == 1 { "is" } else { "are" }
}

/// The first twelve digits of a digest, as docker and podman show them.
fn abbreviated(digest: &OciDigest) -> &str {
    let hex = digest.hex();
    hex.get(..12).unwrap_or(hex)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests;
