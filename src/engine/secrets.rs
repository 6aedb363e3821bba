//! The secrets and agents that a build is given: where they are, and their values.
//!
//! One reading for all engines, by the rules of BuildKit (`secretsprovider/store.go`,
//! `sshprovider/agentprovider.go`), with two additions: paths are relative to the root of the
//! workspace, and a variable that is not set is an error, where BuildKit hands over an empty secret.
//! Of two texts with one id the last counts, as for buildx.
#![expect(clippy::disallowed_methods, reason = "reads files with secrets")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use crate::engine::EngineError;
use crate::secret::{Secret, SecretError, Source, Ssh};

/// A larger secret is refused, in bytes (`MaxSecretSize`).
pub const LARGEST: u64 = 500 * 1024;

/// The variable that names the socket of an agent.
const AGENT: &str = "SSH_AUTH_SOCK";

/// Where the secrets of a build are, by id. Everything was there when this was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Place>);

/// Where one secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In this variable.
    Environment(String),
    /// In this file; absolute if the workspace root is.
    File(PathBuf),
}

/// The value of a secret; `Debug` says nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Vec<u8>);

/// The agents of a build, by id.
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

/// Why a secret or an agent cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The text does not say where it is.
    #[error("`{text}` names no {what}: {why}")]
    Text {
        /// `secret` or `ssh agent`.
        what: &'static str,
        /// The text.
        text: String,
        /// Why not.
        why: SecretError,
    },
    /// The variable is not set.
    #[error("{what} `{id}` is to come from the variable {variable}, which is not set")]
    Unset {
        /// `secret` or `ssh agent`.
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
        /// `secret` or `ssh agent`.
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

impl From<SecretsError> for EngineError {
    fn from(error: SecretsError) -> Self {
        Self::Auth(error.to_string())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Value").finish_non_exhaustive()
    }
}

impl Value {
    /// The value. Whoever takes it does not print it.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl Secrets {
    /// Finds the secrets that texts of `--secret` name, in the workspace below `root`.
    pub fn find(
        texts: &[String],
        root: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, SecretsError> {
        let mut sources = BTreeMap::new();
        for text in texts {
            let why = |why| SecretsError::Text { what: "secret", text: text.clone(), why };
            let Secret { id, source } = text.parse().map_err(why)?;
            sources.insert(id, source);
        }
        let places = sources.into_iter().map(|(id, source)| {
            let place = place(&id, source, root, environment)?;
            Ok((id, place))
        });
        places.collect::<Result<_, _>>().map(Self)
    }

    /// Where each secret is, by id.
    pub fn places(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.0.iter().map(|(id, place)| (id.as_str(), place))
    }

    /// The value of a secret as it is now; `None` if the build is given none of this id.
    pub fn load(
        &self,
        id: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<Option<Value>, SecretsError> {
        let Some(place) = self.0.get(id) else { return Ok(None) };
        let bytes = match place {
            Place::Environment(variable) => environment
                .get(variable)
                .ok_or_else(|| unset("secret", id, variable))?
                .clone()
                .into(),
            Place::File(path) => read(id, path)?,
        };
        Ok(Some(Value(bytes)))
    }
}

/// Where a secret is. That it is there is said before a build rather than in the middle of it.
fn place(
    id: &str,
    source: Source,
    root: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<Place, SecretsError> {
    match source {
        Source::Environment(name) if environment.contains_key(&name) => {
            Ok(Place::Environment(name))
        }
        Source::Environment(name) => Err(unset("secret", id, &name)),
        Source::Either if environment.contains_key(id) => Ok(Place::Environment(id.to_owned())),
        Source::Either if !root.join(id).exists() => {
            Err(SecretsError::Nowhere { id: id.to_owned(), path: root.join(id) })
        }
        Source::Either => file(id, root.join(id)),
        Source::File(path) => file(id, root.join(path)),
    }
}

fn file(id: &str, path: PathBuf) -> Result<Place, SecretsError> {
    let file = fs::metadata(&path).map_err(|error| unread("secret", id, &path, error))?;
    match file.len() {
        _ if file.is_dir() => Err(unread("secret", id, &path, io::ErrorKind::IsADirectory.into())),
        size if size > LARGEST => Err(too_large(id, &path)),
        _ => Ok(Place::File(path)),
    }
}

fn read(id: &str, path: &Path) -> Result<Vec<u8>, SecretsError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unread("secret", id, path, error))?;
    let size = file.take(LARGEST + 1).read_to_end(&mut bytes);
    let size = size.map_err(|error| unread("secret", id, path, error))?;
    if size as u64 > LARGEST { Err(too_large(id, path)) } else { Ok(bytes) }
}

impl Agents {
    /// Finds the agents that texts of `--ssh` name, in the workspace below `root`.
    pub fn find(
        texts: &[String],
        root: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, SecretsError> {
        let mut all_paths = BTreeMap::new();
        for text in texts {
            let why = |why| SecretsError::Text { what: "ssh agent", text: text.clone(), why };
            let Ssh { id, paths } = text.parse().map_err(why)?;
            all_paths.insert(id, paths);
        }
        let usual = environment.get(AGENT).filter(|socket| !socket.is_empty());
        let agents = all_paths.into_iter().map(|(id, paths)| {
            let paths = match usual {
                Some(socket) if paths.is_empty() => vec![PathBuf::from(socket)],
                None if paths.is_empty() => return Err(unset("ssh agent", &id, AGENT)),
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
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let (socket, keys) = match self {
            Self::Socket(path) => (Some(path), [].as_slice()),
            Self::Keys(paths) => (None, paths.as_slice()),
        };
        socket.into_iter().chain(keys).map(PathBuf::as_path)
    }
}

fn agent(id: &str, mut paths: Vec<PathBuf>) -> Result<Agent, SecretsError> {
    let mut sockets = 0;
    for path in &paths {
        let file = fs::metadata(path).map_err(|error| unread("ssh agent", id, path, error))?;
        sockets += usize::from(file.file_type().is_socket());
    }
    match (sockets, paths.len()) {
        (0, _) => Ok(Agent::Keys(paths)),
        (1, 1) => Ok(Agent::Socket(paths.remove(0))),
        _ => Err(SecretsError::Mixed { id: id.to_owned() }),
    }
}

fn unset(what: &'static str, id: &str, variable: &str) -> SecretsError {
    SecretsError::Unset { what, id: id.to_owned(), variable: variable.to_owned() }
}

fn unread(what: &'static str, id: &str, path: &Path, source: io::Error) -> SecretsError {
    SecretsError::File { what, id: id.to_owned(), path: path.to_path_buf(), source }
}

fn too_large(id: &str, path: &Path) -> SecretsError {
    SecretsError::TooLarge { id: id.to_owned(), path: path.to_path_buf() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// A workspace with a secret in `token`.
    fn workspace() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("token"), "from a file").unwrap();
        root
    }

    fn said(root: &Path, texts: &[&str]) -> String {
        let error = Secrets::find(&owned(texts), root, &environment(&[])).unwrap_err();
        error.to_string().replace(&root.display().to_string(), "~")
    }

    #[test]
    fn values_come_from_variables_and_from_files_below_the_root() {
        let root = workspace();
        let environment = environment(&[("NPM", "from a variable"), ("bare", "called alike")]);
        let texts = owned(&["id=a,env=NPM", "id=b,src=token", "id=bare", "id=token"]);
        let secrets = Secrets::find(&texts, root.path(), &environment).unwrap();
        let value = |id: &str| {
            let value = secrets.load(id, &environment).unwrap();
            value.map(|value| String::from_utf8(value.reveal().to_vec()).unwrap())
        };
        assert_eq!(value("a").as_deref(), Some("from a variable"));
        assert_eq!(value("b").as_deref(), Some("from a file"));
        assert_eq!(value("bare").as_deref(), Some("called alike"));
        assert_eq!(value("token").as_deref(), Some("from a file"));
        assert_eq!(value("NPM"), None);
    }

    #[test]
    fn the_last_of_two_texts_with_one_id_counts() {
        let root = workspace();
        let texts = owned(&["id=a,src=gone", "id=a,src=token"]);
        let secrets = Secrets::find(&texts, root.path(), &environment(&[])).unwrap();
        let place = Place::File(root.path().join("token"));
        assert_eq!(secrets.places().collect::<Vec<_>>(), [("a", &place)]);
    }

    #[test]
    fn what_is_missing_is_named_with_its_id_and_its_place() {
        let root = workspace();
        assert_eq!(
            said(root.path(), &["id=npm,env=NPM_TOKEN"]),
            "secret `npm` is to come from the variable NPM_TOKEN, which is not set"
        );
        assert_eq!(
            said(root.path(), &["id=npm"]),
            "secret `npm` is nowhere: no variable is called so, and there is no ~/npm"
        );
        assert_eq!(
            said(root.path(), &["id=npm,src=x"]),
            "secret `npm` is to come from ~/x: No such file or directory (os error 2)"
        );
        assert_eq!(
            said(root.path(), &["id=npm,src=."]),
            "secret `npm` is to come from ~/.: is a directory"
        );
        assert_eq!(said(root.path(), &["npm"]), "`npm` names no secret: `npm` is not `key=value`");
    }

    #[test]
    fn a_secret_is_at_most_as_large_as_buildkit_takes_it() {
        let root = workspace();
        let file = File::create(root.path().join("large")).unwrap();
        file.set_len(LARGEST).unwrap();
        let texts = owned(&["id=l,src=large"]);
        let secrets = Secrets::find(&texts, root.path(), &environment(&[])).unwrap();
        assert!(secrets.load("l", &environment(&[])).is_ok());
        file.set_len(LARGEST + 1).unwrap();
        let late = secrets.load("l", &environment(&[])).unwrap_err().to_string();
        let early = said(root.path(), &["id=l,src=large"]);
        assert_eq!(early, "secret `l` in ~/large is larger than 500 KiB");
        assert_eq!(late.replace(&root.path().display().to_string(), "~"), early);
    }

    #[test]
    fn a_value_is_not_shown() {
        let environment = environment(&[("NPM", "hunter2")]);
        let secrets = Secrets::find(&owned(&["id=a,env=NPM"]), Path::new(""), &environment);
        let value = secrets.as_ref().unwrap().load("a", &environment);
        assert!(!format!("{secrets:?} {value:?}").contains("hunter2"));
    }

    #[test]
    fn an_agent_is_a_socket_or_keys() {
        let root = workspace();
        let socket = root.path().join("agent");
        let _listener = UnixListener::bind(&socket).unwrap();
        let environment = environment(&[(AGENT, socket.to_str().unwrap())]);
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
