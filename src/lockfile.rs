//! `imgraph.lock`: what images from outside are pinned to, by reference and platform.
//!
//! One row for each reference that the workspace reads from outside by a tag. A row says what the tag
//! pointed at when it was looked up, and which image that is on each platform that is wanted: builds
//! and keys take the latter, so that a tag that moves for other platforms only rebuilds nothing.
//! Nothing here knows registries, or which references there are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Span};
use crate::digest::OciDigest;
use crate::image::Platform;
use crate::layers::toml_reader::{TableReader, WRONG_VALUE};
use crate::reference::Reference;

/// The file, at the root of the workspace.
pub const LOCK_FILE: &str = "imgraph.lock";
/// The text is not TOML.
const NOT_TOML: &str = "IG001";
/// The form of the file that is written.
const VERSION: u64 = 1;
/// What stands above the rows.
const HEAD: &str = "\
# What images from outside are pinned to. Written by `imgraph update`; belongs into version control.
version = 1
";

/// The pins of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockFile {
    rows: BTreeMap<Reference, Locked>,
}

/// What one reference is pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// What the tag pointed at: an index, or the one image that there is.
    pub digest: OciDigest,
    /// The image for each platform.
    pub platforms: BTreeMap<Platform, OciDigest>,
}

impl LockFile {
    /// Pins nothing.
    pub const fn new() -> Self {
        Self { rows: BTreeMap::new() }
    }

    /// What stands for a reference: its tag in full. None for one that has a digest: it is pinned as it
    /// is.
    pub fn key(reference: &Reference) -> Option<Reference> {
        let tag = reference.tag_or_latest().filter(|_| reference.digest.is_none())?;
        Some(Reference { tag: Some(tag.to_owned()), ..reference.clone() })
    }

    /// The row of a reference.
    pub fn row(&self, reference: &Reference) -> Option<&Locked> {
        if reference.tag.is_some() {
            return self.rows.get(reference);
        }
        self.rows.get(&Self::key(reference)?)
    }

    /// The image that stands for a reference on a platform.
    pub fn digest(&self, reference: &Reference, platform: &Platform) -> Option<&OciDigest> {
        self.row(reference)?.platforms.get(platform)
    }

    /// All rows, sorted.
    pub fn rows(&self) -> impl Iterator<Item = (&Reference, &Locked)> {
        self.rows.iter()
    }

    /// Pins a reference; one with a digest is left as it is.
    pub fn insert(&mut self, reference: &Reference, locked: Locked) {
        if let Some(key) = Self::key(reference) {
            self.rows.insert(key, locked);
        }
    }

    /// Removes the rows that are not wanted any more.
    pub fn retain(&mut self, is_wanted: impl Fn(&Reference) -> bool) {
        self.rows.retain(|reference, _| is_wanted(reference));
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (reference, Locked { digest, platforms }) in &self.rows {
            let rows =
                format!("\n[[external]]\nreference = \"{reference}\"\ndigest = \"{digest}\"\n");
            text += &rows;
            text += "[external.platforms]\n";
            for (platform, digest) in platforms {
                writeln!(text, "\"{platform}\" = \"{digest}\"").unwrap_or_default();
            }
        }
        text
    }

    /// Reads the text of a file. The diagnostics have spans but no path.
    pub fn parse(text: &str) -> (Self, Vec<Diagnostic>) {
        let mut problems = Vec::new();
        let root = match DeTable::parse(text) {
            Ok(root) => root,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let message = error.message().to_owned();
                return (Self::default(), vec![Diagnostic::error(NOT_TOML, message).at(span)]);
            }
        };
        let top = (root.get_ref(), Span::default());
        let top = TableReader::new(LOCK_FILE, top, &["version", "external"], &mut problems);
        if top.number("version", &mut problems) != Some(VERSION) && problems.is_empty() {
            let message = format!("`version` of {LOCK_FILE} is not {VERSION}");
            let help = "`imgraph update` of the imgraph that wrote it reads it";
            problems.push(Diagnostic::error(WRONG_VALUE, message).at(Span::default()).help(help));
        }
        let mut lock = Self::default();
        for row in top.tables("external", &mut problems) {
            if let Some((reference, locked)) = read_row(row, &mut problems) {
                lock.insert(&reference, locked);
            }
        }
        (lock, problems)
    }
}

fn read_row(
    row: (&DeTable<'_>, Span),
    problems: &mut Vec<Diagnostic>,
) -> Option<(Reference, Locked)> {
    let keys = ["reference", "digest", "platforms"];
    let reader = TableReader::new("[[external]]", row, &keys, problems);
    let mut wrong = |what: &str, text: &str, span: Span| {
        let message = format!("`{what}` of [[external]] cannot be `{text}`");
        problems.push(Diagnostic::error(WRONG_VALUE, message).at(span));
    };
    let mut text = |key: &str| match reader.value(key).map(|value| (value.get_ref(), value.span()))
    {
        Some((DeValue::String(text), span)) => Some((text.to_string(), Span::from(span))),
        Some((_, span)) => {
            wrong(key, "anything but a text", span.into());
            None
        }
        None => {
            wrong(key, "left out", reader.span);
            None
        }
    };
    let (reference, digest) = (text("reference"), text("digest"));
    let (Some((reference, at)), Some((digest, digest_at))) = (reference, digest) else {
        return None;
    };
    let Some(reference) = Reference::parse(&reference).ok().as_ref().and_then(LockFile::key) else {
        wrong("reference", &reference, at);
        return None;
    };
    let Ok(digest) = digest.parse::<OciDigest>() else {
        wrong("digest", &digest, digest_at);
        return None;
    };
    let mut platforms = BTreeMap::new();
    let table = reader.value("platforms").map(toml::Spanned::get_ref);
    let rows = table.and_then(DeValue::as_table).into_iter().flat_map(DeTable::iter);
    for (platform, image) in rows {
        let named: &str = platform.get_ref();
        let image_text = image.get_ref().as_str().unwrap_or("anything but a text");
        match (named.parse::<Platform>(), image_text.parse::<OciDigest>()) {
            (Ok(platform), Ok(image)) => {
                platforms.insert(platform, image);
            }
            (Err(_), _) => wrong("platforms", named, platform.span().into()),
            (_, Err(_)) => wrong("platforms", image_text, image.span().into()),
        }
    }
    Some((reference, Locked { digest, platforms }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(digit: char) -> OciDigest {
        format!("sha256:{}", digit.to_string().repeat(64)).parse().unwrap()
    }

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    fn sample() -> LockFile {
        let mut lock = LockFile::default();
        for (name, index) in [("debian:12", 'a'), ("alpine", 'b'), ("r.example/x:1", 'c')] {
            let platforms = ["linux/arm64", "linux/amd64"].into_iter().zip(['1', '2']);
            let platforms =
                platforms.map(|(platform, it)| (platform.parse().unwrap(), digest(it))).collect();
            lock.insert(&reference(name), Locked { digest: digest(index), platforms });
        }
        lock
    }

    #[test]
    fn what_is_written_is_sorted_and_read_again() {
        let text = sample().text();
        let (again, problems) = LockFile::parse(&text);
        assert_eq!((again, problems), (sample(), Vec::new()));
        let references: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("reference = ")).collect();
        assert_eq!(
            references,
            [
                "\"docker.io/library/alpine:latest\"",
                "\"docker.io/library/debian:12\"",
                "\"r.example/x:1\""
            ]
        );
        assert!(text.contains("[external.platforms]\n\"linux/amd64\" = \"sha256:2"), "{text}");
        assert_eq!(LockFile::parse(&LockFile::default().text()), Default::default());
    }

    #[test]
    fn a_reference_is_found_however_it_is_written() {
        let lock = sample();
        let amd64 = "linux/amd64".parse().unwrap();
        for text in ["alpine", "alpine:latest", "docker.io/library/alpine", "library/alpine:latest"]
        {
            assert_eq!(lock.digest(&reference(text), &amd64), Some(&digest('2')), "{text}");
        }
        for text in ["alpine:3", "debian", &format!("debian:12@{}", digest('f'))] {
            assert_eq!(lock.digest(&reference(text), &amd64), None, "{text}");
        }
        assert_eq!(lock.digest(&reference("alpine"), &"linux/386".parse().unwrap()), None);
    }

    #[test]
    fn what_is_no_lock_file_is_said_with_its_place() {
        for (text, said) in [
            ("version = 2\n", "`version` of imgraph.lock is not 1"),
            ("version = 1\nrows = 1\n", "imgraph.lock"),
            ("version = 1\n[[external]]\n", "`reference` of [[external]] cannot be `left out`"),
            (
                "version = 1\n[[external]]\nreference = 'UP'\ndigest = 'x'\n",
                "`reference` of [[external]] cannot be `UP`",
            ),
            (
                "version = 1\n[[external]]\nreference = 'a'\ndigest = 'x'\n",
                "`digest` of [[external]] cannot be `x`",
            ),
            ("version = [", ""),
        ] {
            let (_, problems) = LockFile::parse(text);
            assert!(problems.iter().any(Diagnostic::is_error), "{text}");
            assert!(problems.iter().any(|it| it.message.contains(said)), "{text}: {problems:?}");
        }
    }
}
