//! References to images: `registry/repository:tag@digest`, normalised as distribution/reference does.
//!
//! The rules are those of distribution/reference `normalize.go` (`ParseNormalizedNamed`,
//! `FamiliarString`, `TagNameOnly`), `regexp.go` and, for digests, opencontainers/go-digest
//! `algorithm.go`. Nothing here knows whether such an image exists, or who provides it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::digest::OciDigest;

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const LONGEST_PATH: usize = 255;
const LONGEST_TAG: usize = 128;

/// A normalised reference: `debian` is `docker.io/library/debian`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The registry: `docker.io`, `localhost:5000`. Empty where the first part looks like a
    /// registry but cannot be one (`my_host.example/app`), as in distribution/reference.
    pub domain: String,
    /// The repository in it: `library/debian`.
    pub path: String,
    /// The tag as written, without the default `latest`.
    pub tag: Option<String>,
    /// The digest.
    pub digest: Option<OciDigest>,
}

impl Reference {
    /// Parses and normalises (distribution/reference `ParseNormalizedNamed`).
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            return Err(ReferenceError::Identifier(text.to_owned()));
        }
        let (domain, rest) = split_domain(text);
        let remote = rest.split(':').next().unwrap_or_default();
        if remote.chars().any(|c| !c.to_lowercase().eq([c])) {
            return Err(ReferenceError::UpperCase(remote.to_owned()));
        }
        let (head, digest) = match rest.split_once('@') {
            Some((head, digest)) => (head, Some(digest)),
            None => (&*rest, None),
        };
        let (path, tag) = split_tag(head);
        let (domain, path) = check_name(domain, path)?;
        let tag = tag.map(check_tag).transpose()?;
        if path.len() > LONGEST_PATH {
            return Err(ReferenceError::TooLong(path));
        }
        let digest = digest.map(check_digest).transpose()?;
        Ok(Self { domain, path, tag, digest })
    }

    /// The repository without tag and digest: `docker.io/library/debian`.
    pub fn repository(&self) -> String {
        join(&self.domain, &self.path)
    }

    /// As people write it: `debian:12`, without `docker.io/library/` (reference `FamiliarString`).
    ///
    /// For showing: `docker.io/quay.io/app` becomes `quay.io/app`, which is read as another image.
    pub fn familiar(&self) -> String {
        self.suffixed(&self.familiar_repository())
    }

    /// The repository as people write it: `debian`, without tag and digest.
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// The tag that is meant: the one written, `latest` where there is neither tag nor digest, and
    /// none where only a digest is given (reference `TagNameOnly`).
    pub fn tag_or_latest(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some(DEFAULT_TAG),
            (None, Some(_)) => None,
        }
    }

    /// The same repository with another tag and without a digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        let tag = Some(check_tag(tag)?);
        Ok(Self { domain: self.domain.clone(), path: self.path.clone(), tag, digest: None })
    }

    fn suffixed(&self, name: &str) -> String {
        let mut text = name.to_owned();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    /// In full, without adding a tag: `docker.io/library/debian:12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.suffixed(&self.repository()))
    }
}

/// Why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// There is no name before the tag or the digest.
    #[error("invalid reference format: the name is empty")]
    Empty,
    /// The name of a repository has capital letters.
    #[error("invalid reference format: the repository name `{0}` must be in lower case")]
    UpperCase(String),
    /// A part of the name is empty or has a character that is not allowed there.
    #[error(
        "invalid reference format: `{0}` cannot be a part of a name; use lower-case letters and \
         digits, joined by `.`, `_`, `__` or `-`"
    )]
    Name(String),
    /// The first part of the name is neither a host nor the first part of a path.
    #[error("invalid reference format: `{0}` cannot be a registry; write host or host:port")]
    Domain(String),
    /// The tag is empty, too long, or has a character that is not allowed there.
    #[error(
        "invalid reference format: `{0}` cannot be a tag; use at most 128 letters, digits, `_`, \
         `.` and `-`, beginning with none of the last two"
    )]
    Tag(String),
    /// The text behind `@` is not a digest.
    #[error("invalid reference format: `{0}` is not a digest; write sha256: and 64 digits 0-9a-f")]
    Digest(String),
    /// The digest's algorithm is unknown.
    #[error("unsupported digest algorithm `{0}`; known are sha256, sha384 and sha512")]
    DigestAlgorithm(String),
    /// The digest has too few or too many digits for its algorithm.
    #[error("`{digest}` has {found} digits where its algorithm has {wanted}")]
    DigestLength {
        /// The digest.
        digest: String,
        /// Its digits.
        found: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// The text is an image id, which cannot be told from a name of 64 hexadecimal digits.
    #[error("`{0}` cannot be the name of a repository: 64 hexadecimal digits are an image id")]
    Identifier(String),
    /// The path has more than 255 characters.
    #[error("the repository name `{0}` has more than 255 characters")]
    TooLong(String),
}

/// Whether a reference says which registry it belongs to, instead of meaning Docker Hub, or the
/// machine, by saying nothing.
pub fn names_a_registry(reference: &str) -> bool {
    reference.split_once('/').is_some_and(|(first, _)| is_host(first))
}

/// Whether a host, which may have a port, is this machine by its name or address.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && !name.ends_with(':') => name,
        _ => host,
    };
    let address = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>();
    name == "localhost"
        || address(name).or_else(|_| address(host)).is_ok_and(|address| address.is_loopback())
}

/// Splits off the registry: the first part is one if it looks like a host (reference
/// `splitDockerDomain`).
fn split_domain(text: &str) -> (&str, String) {
    let (domain, rest) = match text.split_once('/') {
        Some((LEGACY_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((part, rest)) if is_host(part) => (part, rest),
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !rest.contains('/') {
        (domain, format!("{OFFICIAL_PREFIX}{rest}"))
    } else {
        (domain, rest.to_owned())
    }
}

fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.chars().any(char::is_uppercase)
}

/// Splits off the tag. A colon before the last slash is not a tag's.
fn split_tag(head: &str) -> (&str, Option<&str>) {
    let last_part = head.rfind('/').map_or(0, |slash| slash + 1);
    match head[last_part..].find(':') {
        Some(colon) => (&head[..last_part + colon], Some(&head[last_part + colon + 1..])),
        None => (head, None),
    }
}

/// Checks registry and path. Where the registry is none, but could be the first part of a path, it
/// becomes that: the one regular expression of distribution/reference reads it so.
fn check_name(domain: &str, path: &str) -> Result<(String, String), ReferenceError> {
    if path.is_empty() || path == OFFICIAL_PREFIX {
        return Err(ReferenceError::Empty);
    }
    if let Some(part) = path.split('/').find(|part| !is_path_part(part)) {
        return Err(ReferenceError::Name(part.to_owned()));
    }
    if is_domain(domain) {
        return Ok((domain.to_owned(), path.to_owned()));
    }
    if is_path_part(domain) {
        return Ok((String::new(), join(domain, path)));
    }
    if is_path_part(&domain.to_ascii_lowercase()) {
        return Err(ReferenceError::UpperCase(domain.to_owned()));
    }
    Err(ReferenceError::Domain(domain.to_owned()))
}

fn check_tag(tag: &str) -> Result<String, ReferenceError> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = tag.bytes().next().is_some_and(is_word);
    let goes_on_well = tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-');
    if starts_well && goes_on_well && tag.len() <= LONGEST_TAG {
        Ok(tag.to_owned())
    } else {
        Err(ReferenceError::Tag(tag.to_owned()))
    }
}

fn check_digest(text: &str) -> Result<OciDigest, ReferenceError> {
    let wrong = || ReferenceError::Digest(text.to_owned());
    let (algorithm, hex) = text.split_once(':').ok_or_else(wrong)?;
    // `DigestPat` is tried before the algorithm is looked at, so a short or odd text is no digest.
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !algorithm.split(['-', '_', '+', '.']).all(is_name)
        || hex.len() < 32
        || !hex.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Err(wrong());
    }
    let wanted = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(ReferenceError::DigestAlgorithm(algorithm.to_owned())),
    };
    if hex.len() != wanted {
        let digest = text.to_owned();
        return Err(ReferenceError::DigestLength { digest, found: hex.len(), wanted });
    }
    text.parse().map_err(|_| wrong())
}

/// `domain` of `regexp.go`: host names, IPv4 and `[IPv6]`, each with an optional port.
fn is_domain(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').map(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some(Some((address, port))) => (Err(address), port),
        Some(None) => return false,
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (Ok(host), port)
        }
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let host_is_good = match host {
        Ok(name) => name.split('.').all(is_label),
        Err(address) => {
            !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
        }
    };
    let is_port = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    host_is_good && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// `pathComponent` of `regexp.go`: alphanumerics joined by `.`, `_`, `__` or any number of `-`.
fn is_path_part(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.copied().is_some_and(is_word);
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) {
        return false;
    }
    let mut separators = bytes.split(|byte| is_word(*byte)).filter(|run| !run.is_empty());
    separators.all(|run| matches!(run, b"." | b"_" | b"__") || run.iter().all(|b| *b == b'-'))
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn join(domain: &str, path: &str) -> String {
    if domain.is_empty() { path.to_owned() } else { format!("{domain}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        Reference::parse(text).unwrap().to_string()
    }

    #[test]
    fn short_names_are_of_docker_hub() {
        // normalize.go: splitDockerDomain
        assert_eq!(full("debian"), "docker.io/library/debian");
        assert_eq!(full("acme/app:1"), "docker.io/acme/app:1");
        assert_eq!(full("index.docker.io/debian"), "docker.io/library/debian");
        assert_eq!(full("docker.io/debian"), "docker.io/library/debian");
    }

    #[test]
    fn a_registry_is_named_or_not() {
        for (reference, expected) in [
            ("r.example/a/b:1", true),
            ("localhost:5000/a", true),
            ("localhost/a", true),
            ("docker.io/acme/a", true),
            ("acme/a:1", false),
            ("a:1.2", false),
            ("a", false),
        ] {
            assert_eq!(names_a_registry(reference), expected, "{reference}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_name_and_addresses() {
        for (host, expected) in [
            ("127.0.0.1:5000", true),
            ("127.8.0.1", true),
            ("localhost:5000", true),
            ("localhost", true),
            ("[::1]:5000", true),
            ("::1", true),
            ("registry.example.com", false),
            ("localhost.example.com", false),
            ("10.0.0.7:5000", false),
            ("docker.io", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }

    #[test]
    fn a_first_part_that_looks_like_a_host_is_the_registry() {
        // normalize.go: a dot, a colon, a capital letter or `localhost`
        assert_eq!(Reference::parse("localhost/app").unwrap().domain, "localhost");
        assert_eq!(Reference::parse("host:5000/app").unwrap().domain, "host:5000");
        assert_eq!(Reference::parse("HOST/app").unwrap().domain, "HOST");
        assert_eq!(Reference::parse("[::1]:5000/app").unwrap().domain, "[::1]:5000");
        assert_eq!(Reference::parse("host:5000").unwrap().path, "library/host");
    }

    #[test]
    fn a_host_with_an_underscore_is_part_of_the_path() {
        // regexp.go: the optional domain does not match, the path components do
        let odd = Reference::parse("my_host.example/app").unwrap();
        assert_eq!((odd.domain.as_str(), odd.path.as_str()), ("", "my_host.example/app"));
        assert_eq!(odd.repository(), "my_host.example/app");
    }

    #[test]
    fn people_do_not_write_docker_io() {
        // normalize.go: familiarizeName
        for (text, familiar) in [
            ("docker.io/library/debian:12", "debian:12"),
            ("docker.io/acme/app", "acme/app"),
            ("docker.io/library/a/b", "library/a/b"),
            ("quay.io/library/debian", "quay.io/library/debian"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().familiar(), familiar);
        }
    }

    #[test]
    fn latest_is_meant_where_nothing_else_is_said() {
        // normalize.go: TagNameOnly
        let hex = "0".repeat(64);
        let tag = |text: &str| Reference::parse(text).unwrap().tag_or_latest().map(str::to_owned);
        assert_eq!(tag("debian").as_deref(), Some("latest"));
        assert_eq!(tag("debian:12").as_deref(), Some("12"));
        assert_eq!(tag(&format!("debian@sha256:{hex}")), None);
    }

    #[test]
    fn a_tag_can_be_set_on_a_pinned_reference() {
        let pinned = Reference::parse(&format!("debian:12@sha256:{}", "0".repeat(64))).unwrap();
        assert_eq!(pinned.with_tag("13").unwrap().familiar(), "debian:13");
        assert_eq!(pinned.with_tag("-"), Err(ReferenceError::Tag("-".into())));
    }

    #[test]
    fn the_error_names_the_part_that_is_wrong() {
        let why = |text: &str| Reference::parse(text).unwrap_err();
        assert_eq!(why(""), ReferenceError::Empty);
        assert_eq!(why(":tag"), ReferenceError::Empty);
        assert_eq!(why("acme/App"), ReferenceError::UpperCase("acme/App".into()));
        assert_eq!(why("acme/a..b"), ReferenceError::Name("a..b".into()));
        assert_eq!(why("host:http/a"), ReferenceError::Domain("host:http".into()));
        assert_eq!(why("a:b:c"), ReferenceError::Tag("b:c".into()));
        assert_eq!(why("a@sha256:0"), ReferenceError::Digest("sha256:0".into()));
        assert_eq!(why(&"a".repeat(64)), ReferenceError::Identifier("a".repeat(64)));
        let path = format!("acme/{}", "a".repeat(251));
        assert_eq!(why(&path), ReferenceError::TooLong(path));
    }

    #[test]
    fn digests_have_the_length_of_their_algorithm() {
        // go-digest algorithm.go: Validate
        let why = |text: String| Reference::parse(&text).unwrap_err();
        let zeros = "0".repeat(64);
        let wanted = ReferenceError::DigestLength {
            digest: format!("sha512:{zeros}"),
            found: 64,
            wanted: 128,
        };
        assert_eq!(why(format!("a@sha512:{zeros}")), wanted);
        assert_eq!(why(format!("a@md5:{zeros}")), ReferenceError::DigestAlgorithm("md5".into()));
        let capital = format!("sha256:{}", "A".repeat(64));
        assert_eq!(why(format!("a@{capital}")), ReferenceError::Digest(capital));
    }
}
