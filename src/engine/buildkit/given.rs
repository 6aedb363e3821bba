//! The secrets and agents of a build, as its session hands them out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::engine::agents::Agent;
use crate::engine::given::{self, GivenError};
use crate::engine::secrets::Value;
use crate::engine::{EngineError, Request};

/// What a build is given. Its agents are sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(given::Given);

impl Given {
    /// Looks up what the request gives the build, in the workspace below `root`.
    pub(crate) fn new(
        request: &Request,
        root: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, EngineError> {
        let given = given::Given::new(request, root, environment)?;
        for (id, agent) in given.agents.iter() {
            if let Agent::Keys(_) = agent {
                return Err(EngineError::Unsupported(format!(
                    "ssh agent `{id}` is given as key files; add them to an agent (`ssh-add`), and \
                     give its socket"
                )));
            }
        }
        Ok(Self(given))
    }

    /// The value of a secret as it is now; `None` if there is none of this id.
    pub(crate) fn secret(&self, id: &str) -> Result<Option<Value>, GivenError> {
        self.0.secrets.load(id)
    }

    /// The socket of an agent.
    pub(crate) fn agent(&self, id: &str) -> Option<&Path> {
        let paths = self.0.agents.get(id)?.paths();
        paths.first().map(PathBuf::as_path)
    }
}
