//! The end of a run: a block of at most twelve lines, and the same as Markdown.

mod nightly;

use std::cmp::Reverse;

use crate::event::Summary;
use crate::image::ImageName;
use crate::report::outcome::failed_words;
use crate::report::sentence;
use crate::report::style::{Style, Tone};
use crate::report::tally::{Failed, Tally};
use crate::report::text::{clean, printable};

/// How many failures the block names. With all other lines it has twelve.
const FAILURES: usize = 5;

/// How many images of the critical path are named at its beginning, and at its end.
const PATH_ENDS: usize = 3;

/// How many images a table of the Markdown form has: a step summary is at most 1 MiB.
const ROWS: usize = 100;

/// The width of the labels.
const LABEL: usize = 16;

/// What runs again only what did not succeed.
const RERUN: &str = "imgraph rebuild --rerun last";

/// The block for the terminal and the log, with its line ends. Empty before the run ended.
pub fn block(tally: &Tally, style: Style) -> String {
    let Some(summary) = &tally.summary else { return String::new() };
    if summary.planned == 0 && !summary.interrupted {
        return nothing_to_do(summary) + "\n";
    }
    let mut lines = vec![totals_line(tally, summary, style)];
    let is_watch = tally.watch.is_some();
    if !is_watch {
        lines.extend(critical_path(summary).map(|path| label("critical path", &path)));
    }
    lines.extend(first_cause(summary).map(|cause| label("why", &cause)));
    let mut failed_label = "failed";
    for failed in tally.failures.iter().take(FAILURES) {
        lines.push(label(failed_label, &format!("{}  {}", failed.image, words(failed))));
        failed_label = "";
    }
    if tally.failures.len() > FAILURES {
        lines.push(label("", &format!("and {} more", tally.failures.len() - FAILURES)));
    }
    lines.extend(nightly::line(tally));
    if summary.replaced {
        lines.push(label("changed", "inputs changed meanwhile; what is left is planned again"));
    }
    if summary.interrupted {
        lines.push(label("interrupted", "what was built is kept; the next run goes on from there"));
    }
    let logs = summary.logs.as_ref().filter(|_| !is_watch || summary.failed > 0);
    lines.extend(logs.map(|logs| label("logs", &printable(logs))));
    if has_rest(summary) && !is_watch {
        lines.push(label("rerun", RERUN));
    }
    lines.join("\n") + "\n"
}

/// The text for `$GITHUB_STEP_SUMMARY` and the like. Empty before the run ended.
pub fn markdown(tally: &Tally) -> String {
    let Some(summary) = &tally.summary else { return String::new() };
    if summary.planned == 0 && !summary.interrupted {
        return format!("### imgraph: {}\n{}", nothing_to_do(summary), nightly::markdown(tally));
    }
    let totals: Vec<_> = totals(tally, summary).into_iter().map(|total| total.text).collect();
    let time = sentence::duration(summary.duration);
    let mut parts = vec![format!("### imgraph: {} in {time}\n\n", escaped(&totals.join(" · ")))];
    let fact = |name, value: String| format!("- **{name}**: {}\n", escaped(&value));
    parts.extend(critical_path(summary).map(|path| fact("critical path", path)));
    parts.extend(first_cause(summary).map(|cause| fact("why", cause)));
    parts.extend(has_rest(summary).then(|| format!("- **rerun**: `{RERUN}`\n")));
    parts.extend(tally.failures.iter().take(ROWS).map(failed_details));
    parts.push(more(tally.failures.len()));
    parts.push(nightly::markdown(tally));
    parts.push(built_table(&tally.built));
    parts.concat()
}

/// The same for a command that came to no end of its own.
pub fn failed_markdown(error: &str) -> String {
    format!("### imgraph: failed\n\n{}\n", escaped(&clean(error)))
}

/// A class of images, counted.
struct Total {
    tone: Option<Tone>,
    text: String,
}

/// Every selected image is in exactly one class after the first. Classes without an image are left
/// out, but `failed` is always there: it is what people look for.
fn totals(tally: &Tally, summary: &Summary) -> Vec<Total> {
    let class = |number: usize, tone, words: &str| {
        (number > 0).then(|| Total { tone: Some(tone), text: format!("{number} {words}") })
    };
    let unchanged: Vec<_> = tally.unchanged.iter().map(ImageName::as_str).collect();
    let cut_off = match unchanged[..] {
        [] => "cut off".to_owned(),
        _ => format!("cut off ({} came out the same)", sentence::names(&unchanged)),
    };
    let planned = Total { tone: None, text: format!("{} planned", summary.planned) };
    let failed = Total { tone: None, text: "0 failed".to_owned() };
    let classes = [
        Some(planned),
        class(summary.built, Tone::Good, "built"),
        class(summary.cut_off, Tone::Saved, &cut_off),
        class(summary.restored, Tone::Saved, "restored"),
        class(summary.pushed, Tone::Saved, "only pushed"),
        class(summary.failed, Tone::Bad, "failed").or(Some(failed)),
        class(summary.quarantined, Tone::Bad, "quarantined"),
        class(summary.blocked, Tone::Warning, "blocked"),
        class(summary.not_reached, Tone::Warning, "not reached"),
        class(summary.fresh, Tone::Faint, "up to date"),
    ];
    classes.into_iter().flatten().collect()
}

fn totals_line(tally: &Tally, summary: &Summary, style: Style) -> String {
    let paint = |total: Total| match total.tone {
        Some(tone) => style.paint(tone, total.text).into_owned(),
        None => total.text,
    };
    let totals: Vec<_> = totals(tally, summary).into_iter().map(paint).collect();
    format!("{}   {}", totals.join(" · "), sentence::duration(summary.duration))
}

fn nothing_to_do(summary: &Summary) -> String {
    let time = sentence::duration(summary.duration);
    if summary.selected == 0 {
        return format!("nothing to do: no image is selected  {time}");
    }
    let images = sentence::count(summary.selected, "image");
    format!("nothing to do: {images} {} up to date  {time}", sentence::is_or_are(summary.selected))
}

fn label(name: &str, value: &str) -> String {
    format!("{name:LABEL$}{value}")
}

/// `1m 58s  base 41.0 s → java/jre 52.0 s  (no schedule beats 1m 58s, 88 % efficient)`.
fn critical_path(summary: &Summary) -> Option<String> {
    let path = &summary.critical_path;
    if path.is_empty() {
        return None;
    }
    let total: u64 = path.iter().fold(0, |sum, (_, duration)| sum.saturating_add(*duration));
    let named =
        |(image, duration): &(ImageName, u64)| format!("{image} {}", sentence::duration(*duration));
    let mut images: Vec<_> = path.iter().map(named).collect();
    if images.len() > 2 * PATH_ENDS {
        let between = PATH_ENDS..images.len() - PATH_ENDS;
        let left_out = format!("{} more", between.len());
        images.splice(between, [left_out]);
    }
    let bound = sentence::duration(summary.lower_bound);
    let efficiency = match summary.lower_bound.saturating_mul(100).checked_div(summary.duration) {
        Some(percent) => format!(", {} % efficient", percent.min(100)),
        None => String::new(),
    };
    let chain = images.join(" → ");
    Some(format!("{}  {chain}  (lower bound {bound}{efficiency})", sentence::duration(total)))
}

fn first_cause(summary: &Summary) -> Option<String> {
    let (image, reason) = summary.first_cause.as_ref()?;
    Some(format!("{image}: {}", sentence::reason(reason)))
}

fn has_rest(summary: &Summary) -> bool {
    summary.failed + summary.quarantined + summary.blocked + summary.not_reached > 0
}

fn words(failed: &Failed) -> String {
    failed_words(failed.duration, failed.failure.as_ref())
}

fn failed_details(failed: &Failed) -> String {
    let title = html(&format!("{}: {}", failed.image, words(failed)));
    let failure = failed.failure.as_ref();
    let lines = failure.map_or(&[][..], |failure| &failure.tail);
    let lines: Vec<_> = lines.iter().map(|line| clean(line)).collect();
    let lines = lines.join("\n");
    let fence = "`".repeat(3.max(longest_run_of_backticks(&lines) + 1));
    let tail = format!("{fence}text\n{lines}\n{fence}\n\n");
    let tail = if lines.is_empty() { String::new() } else { tail };
    let log = failure.and_then(|failure| failure.log.as_deref());
    let log = log.map(|path| format!("log: {}\n\n", escaped(&printable(path))));
    let log = log.unwrap_or_default();
    format!("\n<details open><summary>failed {title}</summary>\n\n{tail}{log}</details>\n")
}

/// The slowest first: that is where time can be won.
fn built_table(built: &[(ImageName, u64)]) -> String {
    if built.is_empty() {
        return String::new();
    }
    let mut slowest: Vec<_> = built.iter().collect();
    slowest.sort_by_key(|(image, duration)| (Reverse(*duration), image));
    let row = |(image, duration): &(ImageName, u64)| {
        format!("| {} | {} |\n", escaped(image.as_str()), sentence::duration(*duration))
    };
    let rows: Vec<_> = slowest.into_iter().take(ROWS).map(row).collect();
    format!("\n| built | time |\n| --- | ---: |\n{}{}", rows.concat(), more(built.len()))
}

fn more(length: usize) -> String {
    match length.saturating_sub(ROWS) {
        0 => String::new(),
        left_out => format!("\nand {left_out} more\n"),
    }
}

fn longest_run_of_backticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Text that Markdown shows as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_[]<>|#&~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Text that HTML shows as it is.
fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
