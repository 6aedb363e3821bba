//! How images are built beside what their Dockerfiles say: the keys that `[workspace]`, `[[layer]]`,
//! `[image.".."]` and the command line share.

use crate::cache::{Cache, CacheError};
use crate::diagnostic::{Diagnostic, Span};
use crate::layers::read::{check_places, word};
use crate::layers::toml_reader::{TableReader, WRONG_VALUE};

/// The keys.
pub(crate) const OPTION_KEYS: &[&str] =
    &["network", "hosts", "cache-from", "cache-to", "sbom", "provenance", "allow"];
/// The networks that RUN can have.
pub const NETWORKS: [&str; 3] = ["default", "none", "host"];
/// How much of how an image was built can be attached to it.
pub const PROVENANCES: [&str; 3] = ["off", "min", "max"];

/// What a RUN can be allowed that it may not do else.
pub const ENTITLEMENTS: [&str; 2] = ["network.host", "security.insecure"];

/// What a cache can name of the image.
const PLACES: [&str; 6] = ["repository", "path", "dir", "parent", "name", "file"];

/// What one of the four places says; `None` is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The network of RUN, one of [`NETWORKS`].
    pub network: Option<String>,
    /// Names that RUN finds an address for, `name:ip`. Those of all places add up.
    pub hosts: Vec<String>,
    /// Caches of steps to read, as buildx takes them, with the places of a repository in them.
    pub cache_from: Option<Vec<String>>,
    /// Caches of steps to write, likewise.
    pub cache_to: Option<Vec<String>>,
    /// Whether a list of what is in the image is attached to it.
    pub sbom: Option<bool>,
    /// One of [`PROVENANCES`].
    pub provenance: Option<String>,
    /// What RUN is allowed, of [`ENTITLEMENTS`].
    pub allow: Option<Vec<String>>,
}

impl Options {
    /// These, and where they say nothing, those of a place further out.
    #[must_use]
    pub fn or(&self, outer: &Self) -> Self {
        let mut hosts = outer.hosts.clone();
        hosts.extend(self.hosts.iter().filter(|host| !outer.hosts.contains(host)).cloned());
        Self {
            network: self.network.clone().or_else(|| outer.network.clone()),
            hosts,
            cache_from: self.cache_from.clone().or_else(|| outer.cache_from.clone()),
            cache_to: self.cache_to.clone().or_else(|| outer.cache_to.clone()),
            sbom: self.sbom.or(outer.sbom),
            provenance: self.provenance.clone().or_else(|| outer.provenance.clone()),
            allow: self.allow.clone().or_else(|| outer.allow.clone()),
        }
    }
}

/// A name and its address as every engine takes them, `name:ip`.
pub fn host(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not a name and its address such as `db:10.0.0.7`");
    let (name, address) = text.split_once(['=', ':']).ok_or_else(wrong)?;
    let address = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(bracketed) => bracketed,
        None => address,
    };
    let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
    let is_address = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
    if is_name && is_address { Ok(format!("{name}:{address}")) } else { Err(wrong()) }
}

/// Reads the keys of one table.
pub(crate) fn read(reader: &TableReader<'_>, problems: &mut Vec<Diagnostic>) -> Options {
    let one_of = |key: &str, words: &[&str], problems: &mut Vec<Diagnostic>| {
        let words: Vec<(&str, String)> =
            words.iter().map(|word| (*word, (*word).to_owned())).collect();
        word(reader, key, &words, problems)
    };
    Options {
        network: one_of("network", &NETWORKS, problems),
        hosts: hosts(reader, problems),
        cache_from: caches(reader, "cache-from", Cache::to_read, problems),
        cache_to: caches(reader, "cache-to", Cache::to_write, problems),
        sbom: reader.boolean("sbom", problems),
        provenance: one_of("provenance", &PROVENANCES, problems),
        allow: allowed(reader, problems),
    }
}

fn allowed(reader: &TableReader<'_>, problems: &mut Vec<Diagnostic>) -> Option<Vec<String>> {
    let texts = reader.texts("allow", problems)?;
    let mut read = |(text, span): (String, Span)| {
        if ENTITLEMENTS.contains(&&*text) {
            return Some(text);
        }
        let known = ENTITLEMENTS.join(", ");
        let message = format!("`allow` cannot have `{text}` (it takes {known})");
        problems.push(wrong(message, span));
        None
    };
    Some(texts.into_iter().filter_map(&mut read).collect())
}

fn hosts(reader: &TableReader<'_>, problems: &mut Vec<Diagnostic>) -> Vec<String> {
    let texts = reader.texts("hosts", problems).unwrap_or_default();
    let mut read = |(text, span): (String, Span)| {
        host(&text).map_err(|message| problems.push(wrong(message, span))).ok()
    };
    texts.into_iter().filter_map(&mut read).collect()
}

fn caches(
    reader: &TableReader<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<Cache, CacheError>,
    problems: &mut Vec<Diagnostic>,
) -> Option<Vec<String>> {
    let texts = reader.texts(key, problems)?;
    let mut read = |(text, span): (String, Span)| match parse(&text) {
        Ok(cache) => {
            check_places(&text, &PLACES, span, problems);
            Some(cache.to_string())
        }
        Err(error) => {
            problems.push(wrong(format!("`{key}`: {error}"), span));
            None
        }
    };
    Some(texts.into_iter().filter_map(&mut read).collect())
}

fn wrong(message: String, span: Span) -> Diagnostic {
    Diagnostic::error(WRONG_VALUE, message).at(span)
}
