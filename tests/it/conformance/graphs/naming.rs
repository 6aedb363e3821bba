//! Naming rules as the goldens tell them, `<os>/<suite>[/<variant>] = image:<suite>[-<variant>]`, made
//! into a `layers.toml`.
//!
//! What stands in brackets may be absent. What follows in parentheses or behind a semicolon is said
//! to people: it may be an exception, so not every edge can be expected then.

use std::fmt::Write;

/// A naming rule that is understood.
pub(super) struct Naming {
    /// A path and the reference that it gets.
    rows: Vec<(String, String)>,
    /// Whether more is said than what was understood.
    pub(super) exceptions: bool,
}

impl Naming {
    /// `None` where the rule is not `path = reference` of letters and `<places>`.
    pub(super) fn parse(rule: &str) -> Option<Self> {
        let end = rule.find([';', '(']).unwrap_or(rule.len());
        let (path, reference) = rule[..end].split_once(" = ")?;
        let reference = reference.trim().trim_start_matches("bare ");
        let path = path.trim();
        if !is_plain(path, "<>/._-") || !is_plain(reference, "<>[]/:._-") {
            return None;
        }
        let mut rows = vec![(path.to_owned(), reference.replace(['[', ']'], ""))];
        if let Some((before, rest)) = reference.split_once('[') {
            let (absent, after) = rest.split_once(']')?;
            let place = &absent[absent.find('<')?..=absent.find('>')?];
            rows.push((path.replace(&format!("/{place}"), ""), format!("{before}{after}")));
        }
        Some(Self { rows, exceptions: end < rule.len() })
    }

    /// The `layers.toml` that says the same.
    pub(super) fn layers(&self) -> String {
        let mut text = "[workspace]\nimages = '.'\nrepository = [\n".to_owned();
        let mut files = vec!["Dockerfile".to_owned(), "*.Dockerfile".to_owned()];
        for (path, reference) in &self.rows {
            let last = path.rsplit('/').next().unwrap_or(path);
            let any_file = if last.contains("Dockerfile") { "" } else { "/[^/]+" };
            if any_file.is_empty() {
                files.push(places(last, |_| "*".to_owned()));
            }
            let pattern = places(&path.replace('.', "[.]"), |name| format!("(?<{name}>[^/]+)"));
            let (repository, tag) = match reference.rsplit_once(':') {
                Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
                _ => (reference.as_str(), None),
            };
            let filled = |text: &str| places(text, |name| format!("${{{name}}}"));
            let tags = tag.map(|tag| format!(", tags = ['{}']", filled(tag))).unwrap_or_default();
            let repository = filled(repository);
            writeln!(
                text,
                "  {{ match = '{pattern}{any_file}', repository = '{repository}'{tags} }},"
            )
            .unwrap();
        }
        // Whatever has no name by the rule is no parent by the rule.
        text.push_str("  { repository = 'unnamed.invalid/{path}' },\n]\n");
        writeln!(text, "dockerfiles = {files:?}").unwrap();
        text
    }
}

fn is_plain(text: &str, signs: &str) -> bool {
    text.chars().all(|sign| sign.is_ascii_alphanumeric() || signs.contains(sign))
}

/// The text with every `<name>` replaced.
fn places(text: &str, replaced: impl Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        let Some((name, after)) = after.split_once('>') else { break };
        out.push_str(before);
        out.push_str(&replaced(name));
        rest = after;
    }
    out + rest
}

#[test]
fn a_rule_of_paths_and_references_becomes_rules_of_layers_toml() {
    let naming = Naming::parse("<os>/<suite>/<variant> = deps:<suite>[-<variant>]").unwrap();
    assert!(!naming.exceptions);
    let expected = "[workspace]\nimages = '.'\nrepository = [\n  \
        { match = '(?<os>[^/]+)/(?<suite>[^/]+)/(?<variant>[^/]+)/[^/]+', repository = 'deps', \
        tags = ['${suite}-${variant}'] },\n  \
        { match = '(?<os>[^/]+)/(?<suite>[^/]+)/[^/]+', repository = 'deps', tags = ['${suite}'] },\n  \
        { repository = 'unnamed.invalid/{path}' },\n]\n\
        dockerfiles = [\"Dockerfile\", \"*.Dockerfile\"]\n";
    assert_eq!(naming.layers(), expected);
}

#[test]
fn what_is_told_in_prose_is_not_taken_for_a_rule() {
    assert!(Naming::parse("manifest.json platforms[].dockerfile -> tags").is_none());
    assert!(Naming::parse("images/<n> = ${REPO:-acme}/<n>").is_none());
    assert!(Naming::parse("<rt>/{run,build} = acme:<rt>").is_none());
    assert!(Naming::parse("<dir>/Dockerfile = acme/<dir>; base = Dockerfile").unwrap().exceptions);
}
