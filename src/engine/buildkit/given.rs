//! The secrets and agents of a build, as its session hands them out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::engine::secrets::{Agent, Agents, Secrets, SecretsError, Value};
use crate::engine::{EngineError, Request};

/// What a build is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    secrets: Secrets,
    agents: Agents,
    environment: Arc<BTreeMap<String, String>>,
}

impl Given {
    /// Looks up what the request gives the build, in the workspace below `root`.
    pub(crate) fn new(
        request: &Request,
        root: &Path,
        environment: &Arc<BTreeMap<String, String>>,
    ) -> Result<Self, EngineError> {
        let secrets = Secrets::find(&request.secrets, root, environment)?;
        let agents = Agents::find(&request.ssh, root, environment)?;
        for (id, agent) in agents.iter() {
            if let Agent::Keys(_) = agent {
                return Err(EngineError::Unsupported(format!(
                    "ssh agent `{id}` is given as key files; add them to an agent (`ssh-add`), and \
                     give its socket"
                )));
            }
        }
        Ok(Self { secrets, agents, environment: Arc::clone(environment) })
    }

    /// The value of a secret as it is now; `None` if there is none of this id.
    pub(crate) fn secret(&self, id: &str) -> Result<Option<Value>, SecretsError> {
        self.secrets.load(id, &self.environment)
    }

    /// The socket of an agent.
    pub(crate) fn agent(&self, id: &str) -> Option<&Path> {
        self.agents.get(id).and_then(|agent| agent.paths().next())
    }
}
