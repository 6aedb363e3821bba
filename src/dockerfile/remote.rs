//! What a source of ADD is: a path, a URL, or a git repository.
//!
//! Follows BuildKit's `dfgitutil/git_ref.go`, `util/gitutil/git_url.go` and `util/sshutil`. It asks
//! nobody: `https://github.com/owner/name` without `.git` is a page, not a repository.

use std::collections::BTreeSet;

use crate::dockerfile::{location, value};

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A path of the context.
    Local,
    /// A file that is fetched by HTTP.
    Http,
    /// A git repository.
    Git(Box<GitSource>),
}

/// A git repository, and what of it is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// The address that git is given, without query and fragment.
    pub remote: String,
    /// The host, with its port if it has one.
    pub host: String,
    /// The path on the host.
    pub path: String,
    /// A branch, tag or commit; empty: the default branch.
    pub reference: String,
    /// A directory in the repository; empty: all of it.
    pub subdirectory: String,
    /// The commit that it must be.
    pub checksum: Option<String>,
    /// Whether `.git` is kept, if that is said.
    pub keep_git_dir: Option<bool>,
}

/// Why the address of a git repository cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// A key of the query has no value.
    #[error("`{0}` has no value")]
    NoValue(String),
    /// A key of the query is given twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A key of the query is not known.
    #[error("`{0}` is not known in the address of a repository")]
    UnknownKey(String),
    /// The value of a key is not valid.
    #[error("`{0}` has no such value")]
    Value(String),
    /// Two parts of the address name different things.
    #[error("the address names two different {0}")]
    Conflict(&'static str),
}

/// Tells what a source is; an address that is one of git, but a wrong one, is an error.
pub fn origin(source: &str) -> Result<Origin, GitError> {
    let http = ["http://", "https://"].iter().any(|scheme| source.starts_with(scheme));
    let otherwise = if http { Origin::Http } else { Origin::Local };
    if source.starts_with("./") || source.starts_with("../") {
        return Ok(otherwise);
    }
    // BuildKit reads `github.com/owner/name` as a repository only to find mistakes in it: in a
    // Dockerfile it is a path.
    if source.starts_with("github.com/") {
        if let Some(url) = Url::parse(&format!("https://{source}")) {
            url.into_source()?;
        }
        return Ok(Origin::Local);
    }
    let url = match source.split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => match Url::parse(source) {
            Some(url) if url.is_repository() => url,
            _ => return Ok(otherwise),
        },
        _ => match Url::parse_scp(source) {
            Some(url) => url,
            None => return Ok(otherwise),
        },
    };
    Ok(Origin::Git(Box::new(url.into_source()?)))
}

/// Whether a checksum of a file is one (`digest.Parse`): sha256, sha384 or sha512, in lower case.
pub(crate) fn is_checksum(text: &str) -> bool {
    let Some((algorithm, digits)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    let hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    digits.len() == length && digits.bytes().all(hexadecimal)
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An address in its parts, as far as they matter here.
struct Url {
    scheme: String,
    remote: String,
    host: String,
    path: String,
    query: Vec<(String, String)>,
    fragment: String,
}

impl Url {
    /// Go's `url.Parse`, of an address with a scheme.
    fn parse(text: &str) -> Option<Self> {
        if text.chars().any(|c| c.is_ascii_control()) {
            return None;
        }
        let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = before.split_once('?').unwrap_or((before, ""));
        let (scheme, rest) = remote.split_once("://")?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let (_, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        if !is_host(host) {
            return None;
        }
        Some(Self {
            scheme: scheme.to_ascii_lowercase(),
            remote: remote.to_owned(),
            host: host.to_owned(),
            path: unescaped(path, Plus::Literal)?,
            // What cannot be read of a query is passed over.
            query: pairs(query).into_iter().flatten().collect(),
            fragment: unescaped(fragment, Plus::Literal)?,
        })
    }

    /// `user@host:path?query#fragment`
    fn parse_scp(text: &str) -> Option<Self> {
        let (user, rest) = text.split_once('@')?;
        let (host, rest) = rest.split_once(':')?;
        let word = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if !word(user, "-_") || !word(host, "-.") || rest.contains('\n') {
            return None;
        }
        let end = rest.find(['?', '#']).unwrap_or(rest.len());
        let (path, options) = rest.split_at(end);
        let (query, fragment) = options.split_once('#').unwrap_or((options, ""));
        let query: Option<Vec<_>> = pairs(query.trim_start_matches('?')).into_iter().collect();
        Some(Self {
            scheme: "ssh".to_owned(),
            remote: format!("{user}@{host}:{path}"),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query?,
            fragment: fragment.to_owned(),
        })
    }

    fn is_repository(&self) -> bool {
        match self.scheme.as_str() {
            "git" | "ssh" => true,
            "http" | "https" => self.path.strip_suffix(".git").is_some(),
            _ => false,
        }
    }

    fn into_source(self) -> Result<GitSource, GitError> {
        let (reference, subdirectory) = match self.fragment.split_once(':') {
            Some((reference, directory)) => (reference, directory),
            None => (self.fragment.as_str(), ""),
        };
        let mut source = GitSource {
            remote: self.remote,
            host: self.host,
            path: location::join("", &self.path),
            reference: reference.to_owned(),
            subdirectory: location::join("", subdirectory)[1..].to_owned(),
            checksum: None,
            keep_git_dir: None,
        };
        source.read_query(&self.query)?;
        Ok(source)
    }
}

impl GitSource {
    fn read_query(&mut self, query: &[(String, String)]) -> Result<(), GitError> {
        let (mut tag, mut branch) = ("", "");
        let mut seen = BTreeSet::new();
        for (key, text) in query {
            if !seen.insert(key) {
                return Err(GitError::Twice(key.clone()));
            }
            let is_switch =
                ["keep-git-dir", "submodules", "fetch-by-commit"].contains(&key.as_str());
            if text.is_empty() && !is_switch {
                return Err(GitError::NoValue(key.clone()));
            }
            let wrong = || GitError::Value(key.clone());
            match key.as_str() {
                "ref" => agree(&mut self.reference, text, "references")?,
                "tag" => tag = text,
                "branch" => branch = text,
                "subdir" => agree(&mut self.subdirectory, text, "directories")?,
                "checksum" | "commit" => self.checksum = Some(text.clone()),
                "mtime" if !["checkout", "commit"].contains(&text.as_str()) => return Err(wrong()),
                "mtime" => {}
                _ if is_switch => {
                    let on = if text.is_empty() { Some(true) } else { value::truth(text) };
                    let on = on.ok_or_else(wrong)?;
                    if key == "keep-git-dir" {
                        self.keep_git_dir = Some(on);
                    }
                }
                _ => return Err(GitError::UnknownKey(key.clone())),
            }
        }
        self.read_tag_or_branch(tag, branch)
    }

    fn read_tag_or_branch(&mut self, tag: &str, branch: &str) -> Result<(), GitError> {
        let full = |prefix: &str, name: &str| {
            if name.starts_with(prefix) { name.to_owned() } else { format!("{prefix}{name}") }
        };
        if !tag.is_empty() && !branch.is_empty() {
            return Err(GitError::Conflict("references"));
        }
        if !tag.is_empty() {
            agree(&mut self.reference, &full("refs/tags/", tag), "references")?;
        }
        if !branch.is_empty() {
            agree(&mut self.reference, &full("refs/heads/", branch), "references")?;
        }
        Ok(())
    }
}

/// Sets what is not set yet, or is the same.
fn agree(slot: &mut String, text: &str, what: &'static str) -> Result<(), GitError> {
    if !slot.is_empty() && slot != text {
        return Err(GitError::Conflict(what));
    }
    text.clone_into(slot);
    Ok(())
}

/// Whether a host, with or without a port, is one.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').unwrap_or(("", "x")),
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let odd = |c: char| c.is_whitespace() || "<>\"{}|\\^`".contains(c);
    (port.is_empty() || port.starts_with(':'))
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !name.contains(odd)
}

/// The pairs of a query; one that cannot be read is `None`.
fn pairs(query: &str) -> Vec<Option<(String, String)>> {
    let read = |pair: &str| {
        let (key, text) = pair.split_once('=').unwrap_or((pair, ""));
        let key = unescaped(key, Plus::Blank)?;
        (!pair.contains(';')).then_some((key, unescaped(text, Plus::Blank)?))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(read).collect()
}

/// What `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Literal,
    Blank,
}

/// A text without its `%xx`; `None` if one is not well formed.
fn unescaped(text: &str, plus: Plus) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                bytes.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' if plus == Plus::Blank => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
