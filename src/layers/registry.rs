//! `[[registry]]`: on which terms a registry is spoken to.
//!
//! Who is let in is docker's configuration and not this file.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Span};
use crate::layers::quantity;
use crate::layers::read::BAD_NAME;
use crate::layers::toml_reader::{TableReader, WRONG_VALUE};
use crate::reference::Reference;

/// The keys.
pub(crate) const REGISTRY_KEYS: &[&str] = &["host", "insecure", "timeout"];

/// `[[registry]]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryTerms {
    /// Whether it needs no certificate that we trust, and no TLS.
    pub insecure: bool,
    /// How long it may be silent; `None`: a minute.
    pub timeout: Option<Duration>,
}

/// Reads all of them, by host.
pub(crate) fn registries(
    top: &TableReader<'_>,
    problems: &mut Vec<Diagnostic>,
) -> BTreeMap<String, RegistryTerms> {
    let mut all = BTreeMap::new();
    for row in top.tables("registry", problems) {
        let span = row.1;
        let Some((host, terms)) = registry(row, problems) else { continue };
        if all.insert(host.clone(), terms).is_some() {
            let message = format!("there are two sections for the registry `{host}`");
            problems.push(Diagnostic::error(BAD_NAME, message).at(span));
        }
    }
    all
}

fn registry(
    row: (&DeTable<'_>, Span),
    problems: &mut Vec<Diagnostic>,
) -> Option<(String, RegistryTerms)> {
    let reader = TableReader::new("[[registry]]", row, REGISTRY_KEYS, problems);
    let insecure = reader.boolean("insecure", problems).unwrap_or(false);
    let timeout = reader.text("timeout", problems).and_then(|(text, span)| {
        let read = quantity::duration(&text).filter(|duration| !duration.is_zero());
        if read.is_none() {
            let message = format!("`timeout` of [[registry]] cannot be `{text}`");
            let help = "write it as \"30s\", \"500ms\" or \"2m\"";
            problems.push(Diagnostic::error(WRONG_VALUE, message).at(span).help(help));
        }
        read
    });
    let Some((host, span)) = reader.text("host", problems) else {
        let message = "a [[registry]] needs a `host`";
        problems.push(Diagnostic::error(WRONG_VALUE, message).at(reader.span));
        return None;
    };
    // As references have it, so that it is found again by theirs.
    let named = Reference::parse(&format!("{host}/x")).ok();
    if named.is_none_or(|reference| reference.domain != host) {
        let message = format!("`host` of [[registry]] cannot be `{host}`");
        let help = "write it as references have it: \"registry.example.com\" or \"10.0.0.7:5000\"";
        problems.push(Diagnostic::error(WRONG_VALUE, message).at(span).help(help));
        return None;
    }
    Some((host, RegistryTerms { insecure, timeout }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::parse;

    fn messages(text: &str) -> Vec<String> {
        let (_, problems) = parse(text);
        assert!(problems.iter().all(|problem| problem.place.is_some()));
        problems.into_iter().map(|problem| problem.message).collect()
    }

    #[test]
    fn registries_are_read_by_host() {
        let (layers, problems) = parse(
            r#"
            [[registry]]
            host = "10.0.0.7:5000"
            insecure = true
            [[registry]]
            host = "r.example"
            timeout = "90s"
            "#,
        );
        assert_eq!(problems, []);
        let insecure = &layers.registries["10.0.0.7:5000"];
        assert_eq!((insecure.insecure, insecure.timeout), (true, None));
        assert_eq!(layers.registries["r.example"].timeout, Some(Duration::from_secs(90)));
    }

    #[test]
    fn what_is_no_registry_is_said() {
        assert_eq!(messages("[[registry]]\n"), ["a [[registry]] needs a `host`"]);
        for host in ["acme", "https://r.example", "r.example/acme", "index.docker.io", ""] {
            let text = format!("[[registry]]\nhost = '{host}'\n");
            let said = format!("`host` of [[registry]] cannot be `{host}`");
            assert_eq!(messages(&text), [said], "{host}");
        }
        for timeout in ["", "0s", "5", "1w"] {
            let text = format!("[[registry]]\nhost = 'r.example'\ntimeout = '{timeout}'\n");
            let said = format!("`timeout` of [[registry]] cannot be `{timeout}`");
            assert_eq!(messages(&text), [said], "{timeout}");
        }
        let twice = "[[registry]]\nhost = 'r.example'\n[[registry]]\nhost = 'r.example'\n";
        assert_eq!(messages(twice), ["there are two sections for the registry `r.example`"]);
    }
}
