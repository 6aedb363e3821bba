//! `[[builder]]`: a `buildkitd` that builds.
//!
//! What an endpoint means is not known here (`engine::docker::buildkitd`), only what every endpoint
//! looks like.

use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Span};
use crate::layers::read::BAD_NAME;
use crate::layers::toml_reader::{TableReader, WRONG_VALUE};

const KEYS: &[&str] = &["name", "endpoint", "ca", "cert", "key", "server-name"];

/// `[[builder]]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Builder {
    /// Its name.
    pub name: String,
    /// Where it is, as `BUILDKIT_HOST` has it: `tcp://builder:1234`.
    pub endpoint: String,
    /// The authorities that its certificate must be of; like all files of it from the workspace root.
    pub ca: Option<String>,
    /// The certificate that it is shown. There is one exactly if there is a key.
    pub cert: Option<String>,
    /// The key of that certificate.
    pub key: Option<String>,
    /// The name in its certificate, if it is not that of the endpoint.
    pub server_name: Option<String>,
    /// Where the section is written.
    pub span: Span,
}

/// Reads all of them.
pub(crate) fn builders(top: &TableReader<'_>, problems: &mut Vec<Diagnostic>) -> Vec<Builder> {
    let rows = top.tables("builder", problems);
    let builders: Vec<Builder> = rows.into_iter().map(|row| builder(row, problems)).collect();
    for (row, builder) in builders.iter().enumerate() {
        check_tls(builder, problems);
        check_once(builder, &builders[..row], problems);
    }
    builders
}

fn builder(row: (&DeTable<'_>, Span), problems: &mut Vec<Diagnostic>) -> Builder {
    let reader = TableReader::new("[[builder]]", row, KEYS, problems);
    let mut text = |key: &str| reader.text(key, problems).map(|(text, _)| text);
    let builder = Builder {
        name: text("name").unwrap_or_default(),
        endpoint: text("endpoint").unwrap_or_default(),
        ca: text("ca"),
        cert: text("cert"),
        key: text("key"),
        server_name: text("server-name"),
        span: reader.span,
    };
    for (key, text) in [("name", &builder.name), ("endpoint", &builder.endpoint)] {
        if text.is_empty() {
            let message = format!("a [[builder]] needs {} `{key}`", article(key));
            problems.push(Diagnostic::error(WRONG_VALUE, message).at(reader.span));
        }
    }
    if !builder.endpoint.is_empty() && !builder.endpoint.contains("://") {
        let message = format!("`endpoint` of [[builder]] cannot be `{}`", builder.endpoint);
        let help = "write it as \"tcp://builder:1234\", \"unix:///run/buildkit/buildkitd.sock\" or \
                    \"docker-container://NAME\"";
        problems.push(Diagnostic::error(WRONG_VALUE, message).at(reader.span).help(help));
    }
    builder
}

fn article(key: &str) -> &'static str {
    if key.starts_with('e') { "an" } else { "a" }
}

/// Certificates belong to `tcp://`, and a certificate to a key.
fn check_tls(builder: &Builder, problems: &mut Vec<Diagnostic>) {
    let mut problem = |message: String| {
        problems.push(Diagnostic::error(WRONG_VALUE, message).at(builder.span));
    };
    if builder.cert.is_some() != builder.key.is_some() {
        problem(format!(
            "builder `{}` has one of `cert` and `key` without the other",
            builder.name
        ));
    }
    let files = [&builder.ca, &builder.cert, &builder.key, &builder.server_name];
    let is_secured = files.iter().any(|file| file.is_some());
    if is_secured && builder.endpoint.contains("://") && !builder.endpoint.starts_with("tcp://") {
        problem(format!(
            "builder `{}` has certificates, which only an endpoint of tcp:// can use",
            builder.name
        ));
    }
}

fn check_once(builder: &Builder, earlier: &[Builder], problems: &mut Vec<Diagnostic>) {
    let is_there = |same: &dyn Fn(&Builder) -> bool| earlier.iter().any(same);
    let message = if !builder.name.is_empty() && is_there(&|other| other.name == builder.name) {
        format!("there are two builders called `{}`", builder.name)
    } else if let Some(other) = earlier
        .iter()
        .find(|other| !builder.endpoint.is_empty() && other.endpoint == builder.endpoint)
    {
        format!("builder `{}` is at the same endpoint as `{}`", builder.name, other.name)
    } else {
        return;
    };
    problems.push(Diagnostic::error(BAD_NAME, message).at(builder.span));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::parse;

    fn messages(text: &str) -> Vec<String> {
        let (_, problems) = parse(text);
        assert!(problems.iter().all(|problem| problem.place.is_some()));
        let shown = |problem: Diagnostic| match problem.help {
            Some(help) => format!("{} ({help})", problem.message),
            None => problem.message,
        };
        problems.into_iter().map(shown).collect()
    }

    #[test]
    fn builders_are_read_in_order() {
        let (layers, problems) = parse(
            r#"
            [[builder]]
            name = "near"
            endpoint = "unix:///run/buildkit/buildkitd.sock"
            [[builder]]
            name = "far"
            endpoint = "tcp://far:1234"
            ca = "tls/ca.pem"
            cert = "tls/cert.pem"
            key = "/run/secrets/key.pem"
            server-name = "builder.example"
            "#,
        );
        assert_eq!(problems, []);
        assert_eq!(layers.builders[0].name, "near");
        let far = Builder {
            name: "far".into(),
            endpoint: "tcp://far:1234".into(),
            ca: Some("tls/ca.pem".into()),
            cert: Some("tls/cert.pem".into()),
            key: Some("/run/secrets/key.pem".into()),
            server_name: Some("builder.example".into()),
            span: layers.builders[1].span,
        };
        assert_eq!(layers.builders[1], far);
    }

    #[test]
    fn an_unknown_key_is_an_error_with_a_suggestion() {
        assert_eq!(
            messages("[[builder]]\nname = 'a'\nendpont = 'tcp://a:1'"),
            [
                "[[builder]] has no key `endpont` (did you mean `endpoint`?)",
                "a [[builder]] needs an `endpoint`",
            ]
        );
        assert_eq!(
            messages("[[bulder]]\nname = 'a'"),
            ["layers.toml has no key `bulder` (did you mean `builder`?)"]
        );
    }

    #[test]
    fn a_builder_has_a_name_and_an_endpoint_and_both_are_its_own() {
        assert_eq!(
            messages("[[builder]]\nendpoint = 'tcp://a:1'"),
            ["a [[builder]] needs a `name`"]
        );
        let messages = messages(
            "[[builder]]\nname='a'\nendpoint='tcp://a:1'\n\
             [[builder]]\nname='a'\nendpoint='tcp://b:1'\n\
             [[builder]]\nname='c'\nendpoint='tcp://a:1'\n\
             [[builder]]\nname='d'\nendpoint='d:1234'",
        );
        assert_eq!(
            messages[0].split(" (").next(),
            Some("`endpoint` of [[builder]] cannot be `d:1234`")
        );
        assert_eq!(
            messages[1..],
            ["there are two builders called `a`", "builder `c` is at the same endpoint as `a`",]
        );
    }

    #[test]
    fn certificates_fit_together_and_to_the_endpoint() {
        assert_eq!(
            messages(
                "[[builder]]\nname='a'\nendpoint='tcp://a:1'\ncert='c.pem'\n\
                 [[builder]]\nname='b'\nendpoint='unix:///b.sock'\nca='ca.pem'"
            ),
            [
                "builder `a` has one of `cert` and `key` without the other",
                "builder `b` has certificates, which only an endpoint of tcp:// can use",
            ]
        );
    }
}
