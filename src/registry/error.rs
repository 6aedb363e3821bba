//! Why a registry did not do what it was asked.
//!
//! What it refuses, what it does not have and what it cannot say now are three different things, and
//! whoever decides on an answer must be able to tell them apart: a registry that is not there has
//! lost no image.

use std::io;

use serde::Deserialize;

use crate::dockerconfig::ConfigError;

/// How much of what a registry says is shown.
const LONGEST_WORDS: usize = 300;

/// Why a registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It does not let us: 401 or 403. Trying again is of no use.
    #[error("{registry} does not let us {action}: {why}; {help}")]
    Auth {
        /// Which registry.
        registry: String,
        /// What was tried: `push to acme/base`.
        action: String,
        /// Its answer.
        why: String,
        /// What may help.
        help: String,
    },
    /// It does not have it: 404.
    #[error("{registry} has no {what}")]
    Missing {
        /// Which registry.
        registry: String,
        /// What it does not have: `manifest acme/base:1`.
        what: String,
    },
    /// It cannot be reached, has no time (429), or is out of order (5xx), and was asked again.
    #[error("{registry} is not available: {why}")]
    Unavailable {
        /// Which registry.
        registry: String,
        /// What happened.
        why: String,
    },
    /// What it sends is not what it was asked for: another digest, another type, cut short. It was
    /// asked again.
    #[error("{registry} does not send {what}: {why}")]
    Wrong {
        /// Which registry.
        registry: String,
        /// What it was asked for.
        what: String,
        /// What it sends.
        why: String,
    },
    /// It says no for another reason.
    #[error("{registry} refuses {what}: {why}")]
    Refused {
        /// Which registry.
        registry: String,
        /// What it was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// Its answer.
        why: String,
    },
    /// Its certificate is of nobody whom we trust. Trying again is of no use.
    #[error("{registry} is not trusted: {why}; {help}")]
    Untrusted {
        /// Which registry.
        registry: String,
        /// What is wrong with its certificate.
        why: String,
        /// What may help.
        help: String,
    },
    /// Docker's configuration, or a credential helper, gives no answer.
    #[error(transparent)]
    Credentials(#[from] ConfigError),
    /// A file of this machine cannot be read or written.
    #[error("cannot {action}")]
    File {
        /// What was tried, with the file.
        action: String,
        /// Why not.
        source: io::Error,
    },
    /// The reference names nothing that can be asked for.
    #[error("`{reference}`: {why}")]
    Reference {
        /// As it was given.
        reference: String,
        /// What is wrong with it.
        why: String,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
}

impl RegistryError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Wrong { .. })
    }

    /// Whether the registry says that it does not have what it was asked for.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

/// Why one attempt came to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Trying again may help; after so many seconds, if the registry says so.
    Passing(RegistryError, Option<u64>),
    /// It does not.
    Final(RegistryError),
}

impl Trouble {
    /// What is told if nobody tries again.
    pub(crate) fn into_error(self) -> RegistryError {
        match self {
            Self::Passing(error, _) | Self::Final(error) => error,
        }
    }
}

impl From<RegistryError> for Trouble {
    /// By what the error is.
    fn from(error: RegistryError) -> Self {
        if error.is_transient() { Self::Passing(error, None) } else { Self::Final(error) }
    }
}

/// The errors that a registry sends (distribution-spec, "Error Codes").
#[derive(Deserialize)]
struct Said {
    errors: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What an answer that is none says, for people: its status, and the registry's own words.
pub(crate) fn words(status: u16, body: &[u8]) -> String {
    let said: Result<Said, _> = serde_json::from_slice(body);
    let first = said.ok().and_then(|said| said.errors.into_iter().next());
    let text = match first {
        Some(One { code, message }) if message.is_empty() => code,
        Some(One { code, message }) if code.is_empty() => message,
        Some(One { code, message }) => format!("{code}: {message}"),
        // A page for browsers helps nobody.
        None if body.trim_ascii_start().starts_with(b"<") => String::new(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let text = one_line(&text);
    let reason = hyper::StatusCode::from_u16(status).ok();
    let reason = reason.and_then(|status| status.canonical_reason()).unwrap_or_default();
    match (text.is_empty(), reason.is_empty()) {
        (true, true) => status.to_string(),
        (true, false) => format!("{status} {reason}"),
        (false, _) => format!("{status} {text}"),
    }
}

/// The words of a registry, harmless for a terminal and not without end.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|it| !it.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(LONGEST_WORDS) {
        Some((end, _)) => format!("{} ..", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_quoted_in_one_harmless_line() {
        for (status, body, said) in [
            (403, r#"{"errors":[{"code":"DENIED","message":"not\n you"}]}"#, "403 DENIED: not you"),
            (401, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#, "401 UNAUTHORIZED"),
            (500, r#"{"errors":[]}"#, r#"500 {"errors":[]}"#),
            (502, "<html>bad</html>", "502 Bad Gateway"),
            (404, "404 page not found\n", "404 404 page not found"),
            (418, "\u{1b}[31mred", "418 [31mred"),
            (599, "", "599"),
        ] {
            assert_eq!(words(status, body.as_bytes()), said);
        }
        assert_eq!(one_line(&"x".repeat(1000)).len(), LONGEST_WORDS + 3);
    }
}
