//! `WWW-Authenticate`: what a registry wants to be shown.
//!
//! Source: RFC 9110, section 11; distribution `docs/spec/auth/token.md`. A header has one challenge
//! or several, each a scheme with parameters whose values may be quoted.

use std::collections::BTreeMap;

/// What a registry wants to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password.
    Basic,
    /// A token that somebody else gives.
    Bearer {
        /// Who gives it: a URL.
        realm: String,
        /// For whom.
        service: Option<String>,
        /// What it has to allow, as the registry says.
        scope: Option<String>,
    },
}

/// The challenge to answer, among those of all headers: a token before a password.
pub(crate) fn best<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Challenge> {
    let challenges: Vec<Challenge> = headers.into_iter().flat_map(parse).collect();
    let bearer = challenges.iter().find(|it| matches!(it, Challenge::Bearer { .. }));
    bearer.or(challenges.first()).cloned()
}

fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for item in split(header) {
        let item = item.trim();
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        // A scheme stands before its first parameter: `Bearer realm="..."`.
        let (scheme, name) = match name.trim().split_once(char::is_whitespace) {
            Some((scheme, name)) => (Some(scheme), name),
            None if item.contains('=') => (None, name),
            None => (Some(name), ""),
        };
        if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) {
            challenges.push((scheme.to_ascii_lowercase(), BTreeMap::new()));
        }
        if let Some((_, parameters)) = challenges.last_mut() {
            parameters.insert(name.trim().to_ascii_lowercase(), unquoted(value.trim()));
        }
    }
    let known = challenges.into_iter().filter_map(|(scheme, mut parameters)| match &*scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope").filter(|scope| !scope.is_empty()),
        }),
        _ => None,
    });
    known.collect()
}

/// Splits at commas that are not in quotes: a scope has some.
fn split(header: &str) -> Vec<&str> {
    let (mut items, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in header.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                items.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&header[start..]);
    items
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                Some(bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )),
            ),
            ("bearer  Realm=https://a/t", Some(bearer("https://a/t", None, None))),
            (r#"Bearer realm="https://a/t", scope="""#, Some(bearer("https://a/t", None, None))),
            (r#"Bearer realm="a\"b\\c""#, Some(bearer(r#"a"b\c"#, None, None))),
            (r#"Basic realm="x, y""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            (
                r#"Basic realm="x", Bearer realm="https://a/t""#,
                Some(bearer("https://a/t", None, None)),
            ),
            (r#"Negotiate, Basic realm="x""#, Some(Challenge::Basic)),
            ("Bearer", None),
            ("Digest realm=\"x\"", None),
            ("", None),
        ] {
            assert_eq!(best([header]), expected, "{header}");
        }
        assert_eq!(best(["Negotiate", "Basic"]), Some(Challenge::Basic));
        assert_eq!(best([]), None);
    }
}
