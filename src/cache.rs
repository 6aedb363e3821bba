//! Where the steps of builds are kept for other machines, in the words of buildx:
//! `type=registry,ref=registry.example.com/cache`.
//!
//! Source: docker/buildx `docs/reference/buildx_build.md`, `--cache-from` and `--cache-to`. Which
//! attributes a type takes beyond those that it needs is the engine's business.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The types that a cache can be read from.
pub const READ: [&str; 5] = ["registry", "local", "gha", "s3", "azblob"];
/// The types that a cache can be written to.
pub const WRITTEN: [&str; 6] = ["registry", "local", "inline", "gha", "s3", "azblob"];

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// `registry`, `local`, `inline` ..
    pub kind: String,
    /// Everything else that is said of it, in order: `ref`, `mode`, `dest` ..
    pub attributes: Vec<(String, String)>,
}

/// Why a text is no cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// There is neither a reference nor a type.
    #[error("`{0}` has no type; write `type=registry,ref=..`, or a reference alone")]
    NoType(String),
    /// A part is not `name=value`.
    #[error("`{0}` is not `name=value`")]
    NoPair(String),
    /// The type is not one that can be used so.
    #[error("`{kind}` is not a type of cache here; it is one of {known}")]
    UnknownType {
        /// The type.
        kind: String,
        /// Those that can.
        known: String,
    },
    /// An attribute that the type needs is missing.
    #[error("a cache of type `{kind}` needs `{attribute}=`")]
    Missing {
        /// The type.
        kind: String,
        /// The attribute.
        attribute: &'static str,
    },
}

impl Cache {
    /// A cache to read from.
    pub fn to_read(text: &str) -> Result<Self, CacheError> {
        text.parse::<Self>()?.checked(&READ, "src")
    }

    /// A cache to write to.
    pub fn to_write(text: &str) -> Result<Self, CacheError> {
        text.parse::<Self>()?.checked(&WRITTEN, "dest")
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The same with directories that do not depend on where imgraph was started.
    #[must_use]
    pub fn below(mut self, root: &Path) -> Self {
        let is_local = self.kind == "local";
        let places = self.attributes.iter_mut().filter(|(name, _)| name == "src" || name == "dest");
        for (_, place) in places.filter(|_| is_local) {
            *place = root.join(&*place).to_string_lossy().into_owned();
        }
        self
    }

    fn checked(self, known: &[&str], place: &'static str) -> Result<Self, CacheError> {
        if !known.contains(&self.kind.as_str()) {
            return Err(CacheError::UnknownType { kind: self.kind, known: known.join(", ") });
        }
        let needed = match self.kind.as_str() {
            "registry" => Some("ref"),
            "local" => Some(place),
            _ => None,
        };
        match needed.filter(|name| self.get(name).is_none_or(str::is_empty)) {
            Some(attribute) => Err(CacheError::Missing { kind: self.kind, attribute }),
            None => Ok(self),
        }
    }
}

impl FromStr for Cache {
    type Err = CacheError;

    fn from_str(text: &str) -> Result<Self, CacheError> {
        if !text.is_empty() && !text.contains(['=', ',']) {
            let attributes = vec![("ref".to_owned(), text.to_owned())];
            return Ok(Self { kind: "registry".to_owned(), attributes });
        }
        let mut kind = None;
        let mut attributes = Vec::new();
        for part in text.split(',') {
            let no_pair = || CacheError::NoPair(part.to_owned());
            let (name, value) = part.split_once('=').ok_or_else(no_pair)?;
            match name.trim() {
                "type" => kind = Some(value.to_owned()),
                name => attributes.push((name.to_owned(), value.to_owned())),
            }
        }
        let kind = kind.ok_or_else(|| CacheError::NoType(text.to_owned()))?;
        Ok(Self { kind, attributes })
    }
}

impl fmt::Display for Cache {
    /// In full: a bare reference becomes `type=registry,ref=..`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "type={}", self.kind)?;
        for (name, value) in &self.attributes {
            write!(f, ",{name}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        Cache::to_read(text).map_or_else(|error| error.to_string(), |cache| cache.to_string())
    }

    fn written(text: &str) -> String {
        Cache::to_write(text).map_or_else(|error| error.to_string(), |cache| cache.to_string())
    }

    #[test]
    fn a_bare_reference_is_a_registry() {
        assert_eq!(read("r.example/a:cache"), "type=registry,ref=r.example/a:cache");
        assert_eq!(
            written("type=registry,ref=r.example/a,mode=max"),
            "type=registry,ref=r.example/a,mode=max"
        );
    }

    #[test]
    fn what_cannot_be_used_is_said_with_what_can() {
        assert_eq!(
            read("type=inline"),
            "`inline` is not a type of cache here; it is one of registry, local, gha, s3, azblob"
        );
        assert_eq!(written("type=inline"), "type=inline");
        assert_eq!(read("type=registry"), "a cache of type `registry` needs `ref=`");
        assert_eq!(read("type=local,dest=x"), "a cache of type `local` needs `src=`");
        assert_eq!(written("type=local,src=x"), "a cache of type `local` needs `dest=`");
        assert_eq!(
            read("ref=a"),
            "`ref=a` has no type; write `type=registry,ref=..`, or a reference alone"
        );
        assert_eq!(read("type=registry,a"), "`a` is not `name=value`");
        assert_eq!(read(""), "`` is not `name=value`");
    }

    #[test]
    fn directories_are_those_of_the_workspace() {
        let cache = Cache::to_write("type=local,dest=.cache/a,mode=max").unwrap();
        let placed = cache.below(Path::new("/w")).to_string();
        assert_eq!(placed, "type=local,dest=/w/.cache/a,mode=max");
        let elsewhere = Cache::to_read("type=local,src=/c").unwrap().below(Path::new("/w"));
        assert_eq!(elsewhere.to_string(), "type=local,src=/c");
        let registry = Cache::to_read("r.example/a").unwrap();
        assert_eq!(registry.clone().below(Path::new("/w")), registry);
    }
}
