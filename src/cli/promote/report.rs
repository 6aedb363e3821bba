//! What a promotion has moved, for people and for programs.

use std::fmt::Write as _;
use std::io;

use serde_json::{Value, json};

use crate::cli::promote::{End, Row};
use crate::cli::settings::{Settings, write};
use crate::digest::OciDigest;
use crate::graph::ImageGraph;
use crate::registry::copy::Copied;
use crate::registry::error::RegistryError;
use crate::report::sentence;
use crate::report::style::Tone;
use crate::report::text::width;
use crate::run::with_causes;

/// How many images a command that helps names.
const MOST_NAMED: usize = 5;
/// How much of a digest people compare.
const SHORT: usize = 12;

/// What there is to say.
pub(crate) struct Report<'a> {
    pub(super) graph: &'a ImageGraph,
    pub(super) rows: &'a [Row],
    /// Whether it was only looked at.
    pub(super) is_dry: bool,
    /// Whether a tag said what is taken.
    pub(super) is_by_tag: bool,
    /// Whether it was ended early.
    pub(super) is_interrupted: bool,
}

impl Report<'_> {
    /// For people.
    pub(crate) fn text(&self, settings: &Settings) -> String {
        let style = settings.style_out();
        let widest = self.rows.iter().map(|row| width(self.name(row))).max().unwrap_or(0);
        let mut text = String::new();
        for row in self.rows {
            let Some((word, tone)) = self.word(row) else { continue };
            let Ok(source) = &row.route.source else { continue };
            let name = self.name(row);
            let gap = " ".repeat(widest - width(name));
            let target = &row.route.target;
            let moved = match &row.end {
                End::Promoted(copied) => format!("  {}", moved(copied)),
                _ => String::new(),
            };
            let digest = row.digest.as_ref().map_or("", short);
            let word = style.paint(tone, format!("{word:9}"));
            let way =
                format!("{} -> {}:{}", source.familiar(), target.familiar(), row.lacking.join(","));
            writeln!(text, "{word}  {name}{gap}  {digest}  {way}{moved}").unwrap_or_default();
        }
        text + &self.totals()
    }

    fn name(&self, row: &Row) -> &str {
        self.graph.name(row.route.image).as_str()
    }

    /// What became of an image whose tags move; none where they stay.
    fn word(&self, row: &Row) -> Option<(&'static str, Tone)> {
        match &row.end {
            End::Promoted(_) => Some(("promoted", Tone::Good)),
            End::Open if self.is_dry && !self.is_interrupted => Some(("promote", Tone::Good)),
            End::Open | End::Unchanged | End::Unknown(_) | End::Failed(_) => None,
        }
    }

    fn totals(&self) -> String {
        let count =
            |is_it: fn(&End) -> bool| self.rows.iter().filter(|row| is_it(&row.end)).count();
        let unchanged = count(|end| matches!(end, End::Unchanged));
        if unchanged == self.rows.len() {
            let images = sentence::count(unchanged, "image");
            let verb = sentence::is_or_are(unchanged);
            return format!("nothing to do: {images} {verb} there under all tags\n");
        }
        let is_dry = self.is_dry && !self.is_interrupted;
        let open = if is_dry { "to promote" } else { "not moved" };
        let parts = [
            (count(|end| matches!(end, End::Promoted(_))), "promoted"),
            (count(|end| matches!(end, End::Open)), open),
            (unchanged, "unchanged"),
            (count(|end| matches!(end, End::Unknown(_) | End::Failed(_))), "failed"),
        ];
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        let parts: Vec<String> = parts.map(|(number, words)| format!("{number} {words}")).collect();
        format!("{}\n", parts.join(" · "))
    }

    /// Says what stood in the way, and what helps.
    pub(crate) fn complain(&self, settings: &Settings) {
        let error = settings.style_err().paint(Tone::Bad, "error");
        let mut text = String::new();
        let mut missing: Vec<&str> = Vec::new();
        for row in self.rows.iter().filter(|_| !self.is_interrupted) {
            let Some(why) = why(&row.end) else { continue };
            writeln!(text, "{error}: `{}`: {why}", self.name(row)).unwrap_or_default();
            if is_missing(&row.end) {
                missing.push(self.name(row));
            }
        }
        if !missing.is_empty() && !self.is_by_tag {
            let names = if missing.len() > MOST_NAMED { String::new() } else { missing.join(" ") };
            let command = format!("imgraph rebuild --push {names}");
            let help = "builds what is out of date, and pushes it";
            writeln!(text, "  help: `{}` {help}", command.trim_end()).unwrap_or_default();
        }
        write(&mut io::stderr(), &text);
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self.rows.iter().map(|row| self.row(row)).collect();
        let report = json!({ "version": 1, "dry_run": self.is_dry, "images": rows });
        format!("{report}\n")
    }

    fn row(&self, row: &Row) -> Value {
        let status = match &row.end {
            End::Promoted(_) => "promoted",
            End::Open => "open",
            End::Unchanged => "unchanged",
            End::Unknown(_) | End::Failed(_) => "failed",
        };
        let copied = match &row.end {
            End::Promoted(copied) => *copied,
            _ => Copied::default(),
        };
        json!({
            "image": self.name(row),
            "status": status,
            "source": row.route.source.as_ref().ok().map(ToString::to_string),
            "digest": row.digest,
            "target": row.route.target.to_string(),
            "tags": row.route.tags,
            "moved": row.lacking,
            "blobs": {
                "present": copied.present,
                "mounted": copied.mounted,
                "sent": copied.sent,
                "bytes": copied.bytes,
            },
            "error": why(&row.end),
        })
    }
}

fn why(end: &End) -> Option<String> {
    match end {
        End::Unknown(why) => Some(why.clone()),
        End::Failed(error) => Some(with_causes(error)),
        End::Open | End::Unchanged | End::Promoted(_) => None,
    }
}

/// Whether the image was never pushed as it is now.
fn is_missing(end: &End) -> bool {
    match end {
        End::Unknown(_) => true,
        End::Failed(error) => matches!(error, RegistryError::Missing { .. }),
        End::Open | End::Unchanged | End::Promoted(_) => false,
    }
}

fn short(digest: &OciDigest) -> &str {
    digest.hex().get(..SHORT).unwrap_or_default()
}

/// What has moved of the bytes of an image.
fn moved(copied: &Copied) -> String {
    let parts = [
        (copied.mounted > 0).then(|| format!("{} mounted", copied.mounted)),
        (copied.sent > 0)
            .then(|| format!("{} sent, {}", copied.sent, sentence::size(copied.bytes))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "no blobs moved".to_owned() } else { parts.join(", ") }
}
