//! What `--secret` and `--ssh` take, and with them `secrets` and `ssh` of `layers.toml`.
//!
//! The rules are those of docker/buildx `util/buildflags/secrets.go` and `ssh.go`, and what is left
//! open there is read as BuildKit does (`session/secrets/secretsprovider`,
//! `session/sshforward/sshprovider`). No value is known here: a text names where one is.

use std::str::FromStr;

/// The id of an agent that is given none.
pub const DEFAULT_AGENT: &str = "default";

/// `--secret`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// What `RUN --mount=type=secret,id=..` calls it.
    pub id: String,
    /// Where its value is.
    pub source: Source,
}

/// Where the value of a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In this variable of the environment.
    Environment(String),
    /// In this file.
    File(String),
    /// In the variable that is called like the secret; in the file of this name if there is none.
    Either,
}

/// `--ssh`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// What `RUN --mount=type=ssh,id=..` calls it.
    pub id: String,
    /// The socket of an agent, or files with keys; empty: the agent of `SSH_AUTH_SOCK`.
    pub paths: Vec<String>,
}

/// Why a text names no secret and no agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is a row of CSV, and a wrong one.
    #[error("a quote is not closed, or stands in the middle")]
    Quote,
    /// A field has no `=`.
    #[error("`{0}` is not `key=value`")]
    NoPair(String),
    /// A field has a key that means nothing.
    #[error("`{0}` is none of its keys, which are id, env, src and type")]
    UnknownKey(String),
    /// `type` is neither `file` nor `env`.
    #[error("`type` must be `file` or `env`, not `{0}`")]
    UnknownType(String),
    /// There is no id.
    #[error("it has no `id`")]
    NoId,
    /// One of several paths is empty.
    #[error("one of its paths is empty")]
    NoPath,
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let (mut id, mut env, mut file, mut is_env) = <(String, String, String, bool)>::default();
        for field in fields(text).ok_or(SecretError::Quote)? {
            let (key, value) =
                field.split_once('=').ok_or_else(|| SecretError::NoPair(field.clone()))?;
            let value = value.to_owned();
            match key.to_lowercase().as_str() {
                "id" => id = value,
                "env" => env = value,
                "src" | "source" => file = value,
                "type" if value == "file" || value == "env" => is_env = value == "env",
                "type" => return Err(SecretError::UnknownType(value)),
                _ => return Err(SecretError::UnknownKey(key.to_owned())),
            }
        }
        if is_env && env.is_empty() {
            env = std::mem::take(&mut file);
        }
        let source = match (env.as_str(), file.as_str()) {
            ("", "") => Source::Either,
            ("", _) => Source::File(file),
            _ => Source::Environment(env), // also where a file is named
        };
        if id.is_empty() { Err(SecretError::NoId) } else { Ok(Self { id, source }) }
    }
}

impl FromStr for Ssh {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let id = if id.is_empty() { DEFAULT_AGENT } else { id };
        let paths: Vec<String> = match paths {
            // There is no shell here that would fill in the variable.
            "" | "$SSH_AUTH_SOCK" | "${SSH_AUTH_SOCK}" => Vec::new(),
            paths => paths.split(',').map(str::to_owned).collect(),
        };
        if paths.iter().any(String::is_empty) {
            return Err(SecretError::NoPath);
        }
        Ok(Self { id: id.to_owned(), paths })
    }
}

/// The fields of a row of CSV; `None` where its quotes are wrong.
fn fields(row: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = row;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted),
            None => plain_field(rest),
        }?;
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.is_empty().then_some(fields),
        }
    }
}

/// A field without quotes, and what follows it.
fn plain_field(text: &str) -> Option<(String, &str)> {
    let (field, after) = text.split_at(text.find(',').unwrap_or(text.len()));
    (!field.contains('"')).then(|| (field.to_owned(), after))
}

/// A field behind its first quote, and what follows its last; a quote in it is written twice.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => rest = more,
            None => return Some((field, after)),
        }
        field.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        let secret: Secret = text.parse().unwrap();
        assert_eq!(secret.id, "npm", "{text}");
        secret.source
    }

    #[test]
    fn a_secret_is_in_a_variable_or_in_a_file() {
        let variable = Source::Environment("NPM_TOKEN".into());
        for text in [
            "id=npm,env=NPM_TOKEN",
            "env=NPM_TOKEN,id=npm",
            "type=env,id=npm,env=NPM_TOKEN",
            "type=env,id=npm,src=NPM_TOKEN",
            "type=file,id=npm,src=x,env=NPM_TOKEN",
            "ID=npm,Env=NPM_TOKEN",
        ] {
            assert_eq!(source(text), variable, "{text}");
        }
        let file = Source::File("a/b=c".into());
        for text in ["id=npm,src=a/b=c", "id=npm,source=a/b=c", "type=file,id=npm,src=a/b=c"] {
            assert_eq!(source(text), file, "{text}");
        }
        for text in ["id=npm", "id=npm,type=env", "id=npm,type=file", "id=npm,env="] {
            assert_eq!(source(text), Source::Either, "{text}");
        }
    }

    #[test]
    fn quotes_keep_a_comma() {
        assert_eq!(source(r#"id=npm,"src=a, ""b"".txt""#), Source::File(r#"a, "b".txt"#.into()));
        assert_eq!(source(r#""id=npm""#), Source::Either);
    }

    #[test]
    fn what_names_no_secret_says_why() {
        let said = |text: &str| text.parse::<Secret>().unwrap_err().to_string();
        assert_eq!(said("NPM_TOKEN"), "`NPM_TOKEN` is not `key=value`");
        assert_eq!(said("id=npm,"), "`` is not `key=value`");
        assert_eq!(
            said("id=npm,value=x"),
            "`value` is none of its keys, which are id, env, src and type"
        );
        assert_eq!(said("id=npm,type=x"), "`type` must be `file` or `env`, not `x`");
        assert_eq!(said("env=X"), "it has no `id`");
        for text in [r#"id="npm""#, r#""id=npm"#, r#""id=npm"x,src=y"#] {
            assert_eq!(said(text), "a quote is not closed, or stands in the middle");
        }
    }

    #[test]
    fn an_agent_is_the_usual_one_or_a_socket_or_keys() {
        let ssh = |text: &str| {
            let ssh: Ssh = text.parse().unwrap();
            (ssh.id, ssh.paths)
        };
        for text in ["default", "", "default=", "default=$SSH_AUTH_SOCK", "=${SSH_AUTH_SOCK}"] {
            assert_eq!(ssh(text), ("default".to_owned(), Vec::new()), "{text}");
        }
        assert_eq!(ssh("git=/run/agent"), ("git".into(), vec!["/run/agent".into()]));
        assert_eq!(ssh("git=a=b,c"), ("git".into(), vec!["a=b".into(), "c".into()]));
        assert_eq!("git=a,".parse::<Ssh>(), Err(SecretError::NoPath));
    }
}
