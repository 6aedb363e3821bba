//! What `imgraph update` says: a line for each reference, and the images that it touches.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};

use crate::cli::settings::{Settings, write};
use crate::cli::update::{Change, Kind};
use crate::digest::OciDigest;
use crate::graph::ImageGraph;
use crate::image::ImageId;
use crate::lockfile::{LOCK_FILE, Locked};
use crate::report::sentence;
use crate::report::style::{Style, Tone};

/// What there is to say.
pub(crate) struct Report<'a> {
    pub(super) graph: &'a ImageGraph,
    pub(super) changes: &'a [Change],
    /// Whether the file is another one than before, or would be.
    pub(super) is_other: bool,
    /// Whether it was written.
    pub(super) writes: bool,
}

impl Report<'_> {
    /// For people.
    pub(crate) fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for change in self.changes {
            let (word, tone) = word(&change.kind);
            let what = match (&change.kind, &change.old) {
                (Kind::Moved(new), Some(old)) => {
                    format!("{}{}", between(old, new), self.touches(change))
                }
                (Kind::New(new) | Kind::Moved(new), _) => {
                    format!("{}{}", short(&new.digest), self.touches(change))
                }
                (Kind::Removed, _) => "nothing reads it".to_owned(),
                (Kind::Stands | Kind::Lacks(_) | Kind::Failed(_), _) => continue,
            };
            let word = style.paint(tone, format!("{word:9}"));
            writeln!(text, "{word}{}  {what}", change.reference.familiar()).unwrap_or_default();
        }
        text + &self.totals()
    }

    fn totals(&self) -> String {
        let count = |word: &str| {
            let same = self.changes.iter().filter(|change| self::word(&change.kind).0 == word);
            same.count()
        };
        let words = ["moved", "new", "removed", "failed", "unchanged"];
        let parts: Vec<String> = words
            .iter()
            .filter(|word| count(word) > 0)
            .map(|word| format!("{} {word}", count(word)))
            .collect();
        let parts = if parts.is_empty() {
            "nothing is read from outside by a tag".to_owned()
        } else {
            parts.join(" · ")
        };
        let end = match (self.is_other, self.writes) {
            (true, true) => "",
            (true, false) => " (not written)",
            (false, _) => " (as it was)",
        };
        format!("{LOCK_FILE}: {parts}{end}\n")
    }

    /// Which images are rebuilt for it: those that read it, and how many stand on them.
    fn touches(&self, change: &Change) -> String {
        let names = self.names(&change.touched);
        if names.is_empty() {
            return String::new();
        }
        let beside = self.graph.with_descendants(&change.touched).len() - names.len();
        let on_them = match (beside, names.len()) {
            (0, _) => String::new(),
            (_, 1) => format!(", and {} on it", sentence::count(beside, "image")),
            (_, _) => format!(", and {} on them", sentence::count(beside, "image")),
        };
        format!("  {}{on_them}", sentence::names(&names))
    }

    fn names(&self, images: &BTreeSet<ImageId>) -> Vec<&str> {
        images.iter().map(|id| self.graph.name(*id).as_str()).collect()
    }

    /// Says which references could not be looked up, and who needs them.
    pub(crate) fn complain(&self, settings: &Settings) {
        let style = settings.style_err();
        for change in self.changes {
            let Some(why) = why(change) else { continue };
            let names = self.names(&change.images);
            let verb = if names.len() == 1 { "needs" } else { "need" };
            let stays = match &change.old {
                Some(old) => format!("; it stays pinned to {}", short(&old.digest)),
                None => String::new(),
            };
            let error = style.paint(Tone::Bad, "error");
            let text = format!(
                "{error}: {why}\n  help: {} {verb} `{}`{stays}\n",
                sentence::names(&names),
                change.reference.familiar()
            );
            write(&mut io::stderr(), &text);
        }
        if self.is_other && settings.locked {
            let error = style.paint(Tone::Bad, "error");
            let text = format!(
                "{error}: {LOCK_FILE} would change, and --locked forbids it\n  help: `imgraph update` writes it\n"
            );
            write(&mut io::stderr(), &text);
        }
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self.changes.iter().map(|change| self.row(change)).collect();
        let report = json!({ "version": 1, "written": self.writes, "externals": rows });
        format!("{report}\n")
    }

    fn row(&self, change: &Change) -> Value {
        let new = match &change.kind {
            Kind::New(new) | Kind::Moved(new) => Some(new),
            Kind::Stands | Kind::Lacks(_) | Kind::Failed(_) => change.old.as_ref(),
            Kind::Removed => None,
        };
        let touched = self.graph.with_descendants(&change.touched);
        json!({
            "reference": change.reference.to_string(),
            "status": word(&change.kind).0,
            "old": change.old.as_ref().map(|old| &old.digest),
            "new": new.map(|new| &new.digest),
            "error": why(change),
            "images": self.names(&change.images),
            "touched": self.names(&touched),
        })
    }
}

/// Why a reference has no new pin; none where it could be looked up.
pub(super) fn why(change: &Change) -> Option<String> {
    match &change.kind {
        Kind::Failed(error) => Some(crate::run::with_causes(error)),
        Kind::Lacks(platforms) => {
            let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            let reference = change.reference.familiar();
            Some(format!("{reference} has no image for {}", platforms.join(" and ")))
        }
        Kind::Stands | Kind::New(_) | Kind::Moved(_) | Kind::Removed => None,
    }
}

fn word(kind: &Kind) -> (&'static str, Tone) {
    match kind {
        Kind::Stands => ("unchanged", Tone::Faint),
        Kind::New(_) => ("new", Tone::Good),
        Kind::Moved(_) => ("moved", Tone::Warning),
        Kind::Removed => ("removed", Tone::Faint),
        Kind::Lacks(_) | Kind::Failed(_) => ("failed", Tone::Bad),
    }
}

/// From what to what. Where only a platform has come or gone the tag may point at the same.
fn between(old: &Locked, new: &Locked) -> String {
    if old.digest != new.digest {
        return format!("{} -> {}", short(&old.digest), short(&new.digest));
    }
    let platforms: Vec<String> = new.platforms.keys().map(ToString::to_string).collect();
    format!("{}, for {}", short(&new.digest), platforms.join(" and "))
}

fn short(digest: &OciDigest) -> &str {
    let hex = digest.hex();
    hex.get(..12).unwrap_or(hex)
}
