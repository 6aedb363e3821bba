//! The secrets and agents of a build, as a program is told of them.
//!
//! buildah reads `--secret` by rules of its own (`pkg/parse/parse.go`: no quotes, other keys, and a
//! variable called like the secret wins over the file that was named), and `--ssh default` behind
//! another agent means that agent once more. So a program gets every text in the one form that leaves
//! nothing open, and means what BuildKit would take it for; docker/buildx reads it the same.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use crate::engine::secrets::{Agents, Place, Secrets};
use crate::engine::{EngineError, Request};

/// The values of `--secret` and `--ssh`, and the variables that are read for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// `--secret`
    pub secrets: Vec<OsString>,
    /// `--ssh`
    pub agents: Vec<OsString>,
    /// Variables that must reach the program as they are.
    pub variables: BTreeSet<String>,
}

impl Given {
    /// Looks up what the request gives the build, in the workspace below `root`.
    pub fn new(
        request: &Request,
        root: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, EngineError> {
        let mut given = Self::default();
        for (id, place) in Secrets::find(&request.secrets, root, environment)?.places() {
            given.add_secret(id, place)?;
        }
        for (id, agent) in Agents::find(&request.ssh, root, environment)?.iter() {
            let mut text = OsString::from(id);
            for (number, path) in agent.paths().enumerate() {
                text.push(if number == 0 { "=" } else { "," });
                text.push(path);
            }
            given.agents.push(text);
        }
        Ok(given)
    }

    fn add_secret(&mut self, id: &str, place: &Place) -> Result<(), EngineError> {
        let (key, value) = match place {
            Place::Environment(variable) => ("env", OsString::from(variable)),
            Place::File(path) => ("type=file,src", path.into()),
        };
        let shown = value.to_string_lossy();
        if id.contains(',') || shown.contains(',') {
            let text = format!("no secret with a comma can be handed on: `{id}` from {shown}");
            return Err(EngineError::Unsupported(text));
        }
        if let Place::Environment(variable) = place {
            self.variables.insert(variable.clone());
        }
        let mut text = OsString::from(format!("id={id},{key}="));
        text.push(value);
        self.secrets.push(text);
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write secrets")]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::fixture::request;

    fn given(root: &Path, secrets: &[&str], ssh: &[&str]) -> Result<Given, EngineError> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let request = Request { secrets: owned(secrets), ssh: owned(ssh), ..request() };
        let variables = [("NPM", "hunter2"), ("SSH_AUTH_SOCK", "/dev/null")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Given::new(&request, root, &BTreeMap::from(variables))
    }

    #[test]
    fn a_program_is_told_where_a_secret_is_and_not_left_to_guess() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("token"), "").unwrap();
        let texts = [r#""id=a","src=token""#, "id=NPM", "id=c,type=env,source=NPM"];
        let given = given(root.path(), &texts, &[]).unwrap();
        let token = root.path().join("token");
        assert_eq!(
            given.secrets,
            ["id=NPM,env=NPM", &format!("id=a,type=file,src={}", token.display()), "id=c,env=NPM"]
        );
        assert_eq!(given.variables, BTreeSet::from(["NPM".to_owned()]));
    }

    #[test]
    fn an_agent_is_always_named_with_its_place() {
        let root = tempfile::tempdir().unwrap();
        for key in ["one", "two"] {
            fs::write(root.path().join(key), "").unwrap();
        }
        let given = given(root.path(), &[], &["git=one,two", "default"]).unwrap();
        let root = root.path().display();
        assert_eq!(given.agents, ["default=/dev/null", &format!("git={root}/one,{root}/two")]);
    }

    #[test]
    fn what_cannot_be_handed_on_or_nobody_has_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a,b"), "").unwrap();
        let error = given(root.path(), &[r#"id=x,"src=a,b""#], &[]).unwrap_err();
        assert!(matches!(error, EngineError::Unsupported(text) if text.contains("handed on: `x`")));
        let error = given(root.path(), &["id=x,env=GONE"], &[]).unwrap_err();
        assert!(matches!(error, EngineError::Auth(text) if text.contains("GONE")));
    }
}
