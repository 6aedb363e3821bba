//! The secrets and agents that a build is given: one reading for all engines.
//!
//! Texts mean what docker would take them for, with two additions: paths are relative to the root of
//! the workspace, and what is not there is an error before the build. Of two texts with one id the
//! last counts, as for buildx.
//!
//! The program of an engine is not handed the texts as they were written. buildah has rules of its own
//! (`pkg/parse/parse.go`: no quotes, other keys, a variable called like the secret wins over the file
//! that was named, and `--ssh default` behind another agent means that agent once more). [`Flags`] are
//! in the one form that leaves nothing open.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::engine::agents::Agents;
use crate::engine::secrets::{LARGEST, Place, Secrets};
use crate::engine::{EngineError, Request};
use crate::secret::SecretError;

/// What a build is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// For `RUN --mount=type=secret`.
    pub secrets: Secrets,
    /// For `RUN --mount=type=ssh`.
    pub agents: Agents,
}

/// The same for the command line of a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Values of `--secret`. One with a comma in it is quoted.
    pub secrets: Vec<OsString>,
    /// Values of `--ssh`.
    pub agents: Vec<OsString>,
    /// Variables that must reach the program as they are.
    pub variables: BTreeSet<String>,
}

/// Why a secret or an agent cannot be had. `what` is `secret` or `ssh agent`.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// The text does not say where it is.
    #[error("`{text}` names no {what}: {why}")]
    Text {
        /// What it should name.
        what: &'static str,
        /// The text.
        text: String,
        /// Why not.
        why: SecretError,
    },
    /// The variable is not set.
    #[error("{what} `{id}` is to come from the variable {variable}, which is not set")]
    Unset {
        /// What is missing.
        what: &'static str,
        /// Its id.
        id: String,
        /// The variable.
        variable: String,
    },
    /// Neither the variable nor the file of its name is there.
    #[error("secret `{id}` is nowhere: no variable is called so, and there is no {}", path.display())]
    Nowhere {
        /// Its id.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("{what} `{id}` is to come from {}: {source}", path.display())]
    File {
        /// What is missing.
        what: &'static str,
        /// Its id.
        id: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is larger than [`LARGEST`].
    #[error("secret `{id}` in {} is larger than {} KiB", path.display(), LARGEST / 1024)]
    TooLarge {
        /// Its id.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// A socket and something else.
    #[error("ssh agent `{id}` is one socket, or files with keys, not both")]
    Mixed {
        /// Its id.
        id: String,
    },
}

impl GivenError {
    pub(crate) fn unset(what: &'static str, id: &str, variable: &str) -> Self {
        Self::Unset { what, id: id.to_owned(), variable: variable.to_owned() }
    }

    pub(crate) fn file(what: &'static str, id: &str, path: &Path, source: io::Error) -> Self {
        Self::File { what, id: id.to_owned(), path: path.to_path_buf(), source }
    }
}

impl From<GivenError> for EngineError {
    fn from(error: GivenError) -> Self {
        Self::Auth(error.to_string())
    }
}

impl Given {
    /// Looks up what a request gives its build, in the workspace below `root`.
    pub fn new(
        request: &Request,
        root: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, GivenError> {
        Ok(Self {
            secrets: Secrets::find(&request.secrets, root, environment)?,
            agents: Agents::find(&request.ssh, root, environment)?,
        })
    }

    /// For the command line of a program that finds `--secret` and `--ssh` in its own environment.
    pub fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        for (id, place) in self.secrets.iter() {
            let mut fields = vec![OsString::from(format!("id={id}"))];
            match place {
                Place::Environment { variable, .. } => {
                    fields.push(format!("env={variable}").into());
                    flags.variables.insert(variable.clone());
                }
                Place::File(path) => {
                    fields.push("type=file".into());
                    fields.push(joined(["src".as_ref(), path.as_os_str()], "="));
                }
            }
            flags.secrets.push(joined(fields.into_iter().map(quoted), ","));
        }
        for (id, agent) in self.agents.iter() {
            let paths = joined(agent.paths(), ",");
            flags.agents.push(joined([id.as_ref(), paths.as_os_str()], "="));
        }
        flags
    }
}

/// A field of CSV.
fn quoted(field: OsString) -> OsString {
    match field.to_str() {
        Some(text) if text.contains([',', '"']) => {
            format!("\"{}\"", text.replace('"', "\"\"")).into()
        }
        _ => field,
    }
}

fn joined<T: AsRef<OsStr>>(parts: impl IntoIterator<Item = T>, by: &str) -> OsString {
    let mut joined = OsString::new();
    for (number, part) in parts.into_iter().enumerate() {
        if number > 0 {
            joined.push(by);
        }
        joined.push(part);
    }
    joined
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write secrets")]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::fixture::request;

    fn flags(root: &Path, secrets: &[&str], ssh: &[&str]) -> Flags {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let request = Request { secrets: owned(secrets), ssh: owned(ssh), ..request() };
        let variables = [("NPM", "hunter2"), ("SSH_AUTH_SOCK", "/dev/null")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Given::new(&request, root, &BTreeMap::from(variables)).unwrap().flags()
    }

    #[test]
    fn a_program_is_told_where_a_secret_is_and_not_left_to_guess() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("token"), "").unwrap();
        let texts = [r#""id=a","src=token""#, "id=NPM", "id=c,type=env,source=NPM"];
        let flags = flags(root.path(), &texts, &[]);
        let token = root.path().join("token");
        assert_eq!(
            flags.secrets,
            ["id=NPM,env=NPM", &format!("id=a,type=file,src={}", token.display()), "id=c,env=NPM"]
        );
        assert_eq!(flags.variables, BTreeSet::from(["NPM".to_owned()]));
        assert!(!format!("{flags:?}").contains("hunter2"));
    }

    #[test]
    fn a_comma_and_a_quote_are_quoted() {
        let root = tempfile::tempdir().unwrap();
        let text = r#"id=x,"src=a,""b""""#;
        fs::write(root.path().join(r#"a,"b""#), "").unwrap();
        let flags = flags(root.path(), &[text], &[]);
        let root = root.path().display();
        assert_eq!(flags.secrets, [&*format!(r#"id=x,type=file,"src={root}/a,""b""""#)]);
    }

    #[test]
    fn an_agent_is_always_named_with_its_place() {
        let root = tempfile::tempdir().unwrap();
        for key in ["one", "two"] {
            fs::write(root.path().join(key), "").unwrap();
        }
        let flags = flags(root.path(), &[], &["git=one,two", "default"]);
        let root = root.path().display();
        assert_eq!(flags.agents, ["default=/dev/null", &format!("git={root}/one,{root}/two")]);
    }

    #[test]
    fn what_is_not_there_is_a_matter_of_permission() {
        let request = Request { secrets: vec!["id=x,env=GONE".into()], ..request() };
        let error = Given::new(&request, Path::new(""), &BTreeMap::new()).unwrap_err();
        assert!(
            matches!(EngineError::from(error), EngineError::Auth(text) if text.contains("GONE"))
        );
    }
}
