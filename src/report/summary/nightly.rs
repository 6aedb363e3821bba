//! What a nightly has to say beside the builds: images in quarantine, and images from outside.

use crate::digest::OciDigest;
use crate::event::Pin;
use crate::image::ImageName;
use crate::report::outcome::quarantined_words;
use crate::report::sentence;
use crate::report::summary::{ROWS, escaped, label, more};
use crate::report::tally::{External, Tally};
use crate::report::text::clean;

/// One line about all of the quarantine.
pub(super) fn line(tally: &Tally) -> Option<String> {
    let mut all = tally.quarantined.iter();
    let (image, quarantine) = all.next()?;
    let more = match all.len() {
        0 => String::new(),
        more => format!("  (and {more} more)"),
    };
    Some(label("quarantined", &format!("{image}  {}{more}", quarantined_words(quarantine))))
}

/// All of it as Markdown; empty where there is nothing to say.
pub(super) fn markdown(tally: &Tally) -> String {
    quarantine(tally) + &externals(&tally.externals)
}

fn quarantine(tally: &Tally) -> String {
    if tally.quarantined.is_empty() {
        return String::new();
    }
    let row = |(image, it): (&ImageName, &crate::report::tally::Quarantine)| {
        let stand: Vec<String> = it.dependents.iter().map(|name| escaped(name.as_str())).collect();
        let words = escaped(&quarantined_words(it));
        format!("| {} | {words} | {} |\n", escaped(image.as_str()), stand.join(", "))
    };
    let rows: String = tally.quarantined.iter().take(ROWS).map(row).collect();
    let help = "Not tried again until their inputs change, or they are forced or named.";
    let head = "| quarantined | why | stand on its last good output |\n| --- | --- | --- |\n";
    format!("\n{head}{rows}{}\n{help}\n", more(tally.quarantined.len()))
}

fn externals(all: &[External]) -> String {
    if all.is_empty() {
        return String::new();
    }
    let rows: String = all.iter().take(ROWS).map(row).collect();
    let head = "| from outside | | rebuilt for it |\n| --- | --- | --- |\n";
    format!("\n{head}{rows}{}", more(all.len()))
}

fn row(external: &External) -> String {
    let (old, new) = (short(external.between.0.as_ref()), short(external.between.1.as_ref()));
    let what = match external.status {
        Pin::Moved => format!("moved from {old} to {new}"),
        Pin::New => format!("pinned to {new}"),
        Pin::Removed => "nothing reads it".to_owned(),
        Pin::Failed => format!(
            "not looked up: {}",
            clean(external.error.as_deref().unwrap_or("nobody knows why"))
        ),
    };
    let touched: Vec<&str> = external.touched.iter().map(ImageName::as_str).collect();
    format!(
        "| {} | {} | {} |\n",
        escaped(&external.reference),
        escaped(&what),
        escaped(&sentence::names(&touched))
    )
}

fn short(digest: Option<&OciDigest>) -> &str {
    let hex = digest.map_or("", OciDigest::hex);
    hex.get(..12).unwrap_or(hex)
}
