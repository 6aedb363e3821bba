//! What answers for the ssh keys that a build is given.
//!
//! Source: BuildKit's `session/sshforward/sshprovider/agentprovider.go`. Nothing is connected to and
//! no key is read here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::engine::given::GivenError;
use crate::secret::Ssh;

/// The variable that names the socket of an agent.
const VARIABLE: &str = "SSH_AUTH_SOCK";

/// How messages call one.
const WHAT: &str = "ssh agent";

/// The agents of a build, by id. Everything was there when this was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agents(BTreeMap<String, Agent>);

/// What answers for keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agent {
    /// The socket of an agent that runs.
    Socket(PathBuf),
    /// Files with private keys; what they hold was not looked at.
    Keys(Vec<PathBuf>),
}

impl Agents {
    /// Finds the agents that texts of `--ssh` name, in the workspace below `root`.
    pub fn find(
        texts: &[String],
        root: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, GivenError> {
        let mut all_paths = BTreeMap::new();
        for text in texts {
            let why = |why| GivenError::Text { what: WHAT, text: text.clone(), why };
            let Ssh { id, paths } = text.parse().map_err(why)?;
            all_paths.insert(id, paths);
        }
        let usual = environment.get(VARIABLE).filter(|socket| !socket.is_empty());
        let agents = all_paths.into_iter().map(|(id, paths)| {
            let paths = match usual {
                Some(socket) if paths.is_empty() => vec![PathBuf::from(socket)],
                None if paths.is_empty() => return Err(GivenError::unset(WHAT, &id, VARIABLE)),
                _ => paths.into_iter().map(|path| root.join(path)).collect(),
            };
            let agent = agent(&id, paths)?;
            Ok((id, agent))
        });
        agents.collect::<Result<_, _>>().map(Self)
    }

    /// The agent of this id.
    pub fn get(&self, id: &str) -> Option<&Agent> {
        self.0.get(id)
    }

    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Agent)> {
        self.0.iter().map(|(id, agent)| (id.as_str(), agent))
    }
}

impl Agent {
    /// The socket, or the files.
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Socket(path) => std::slice::from_ref(path),
            Self::Keys(paths) => paths,
        }
    }
}

fn agent(id: &str, mut paths: Vec<PathBuf>) -> Result<Agent, GivenError> {
    let mut sockets = 0;
    for path in &paths {
        let file = fs::metadata(path).map_err(|error| GivenError::file(WHAT, id, path, error))?;
        sockets += usize::from(file.file_type().is_socket());
    }
    match (sockets, paths.len()) {
        (0, _) => Ok(Agent::Keys(paths)),
        (1, 1) => Ok(Agent::Socket(paths.remove(0))),
        _ => Err(GivenError::Mixed { id: id.to_owned() }),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests write keys")]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn an_agent_is_a_socket_or_keys() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("token"), "").unwrap();
        let socket = root.path().join("agent");
        let _listener = UnixListener::bind(&socket).unwrap();
        let environment = environment(&[(VARIABLE, socket.to_str().unwrap())]);
        let texts = owned(&["default", "git=agent", "keys=token,token"]);
        let agents = Agents::find(&texts, root.path(), &environment).unwrap();
        assert_eq!(agents.get("default"), Some(&Agent::Socket(socket.clone())));
        assert_eq!(agents.get("git"), Some(&Agent::Socket(socket.clone())));
        let key = root.path().join("token");
        assert_eq!(agents.get("keys"), Some(&Agent::Keys(vec![key.clone(), key])));
        assert_eq!(agents.get("other"), None);
        for text in ["a=agent,agent", "a=agent,token"] {
            let error = Agents::find(&owned(&[text]), root.path(), &environment).unwrap_err();
            assert_eq!(
                error.to_string(),
                "ssh agent `a` is one socket, or files with keys, not both"
            );
        }
    }

    #[test]
    fn an_agent_that_is_not_there_is_said() {
        let said = |text: &str| {
            let root = Path::new("/nonexistent");
            Agents::find(&owned(&[text]), root, &environment(&[])).unwrap_err().to_string()
        };
        assert_eq!(
            said("default"),
            "ssh agent `default` is to come from the variable SSH_AUTH_SOCK, which is not set"
        );
        assert_eq!(
            said("git=key"),
            "ssh agent `git` is to come from /nonexistent/key: No such file or directory (os error 2)"
        );
    }
}
