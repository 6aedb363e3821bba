//! Docker's `config.json`: the keys that say where the daemon is and how registries are logged into.
//!
//! Source: docker/cli `cli/config`. A file that is not there is an empty one; a file that cannot be
//! read is an error, where docker says a warning and goes on without it: builds that fail later for
//! want of a login are harder to understand.
#![expect(clippy::disallowed_methods, reason = "reads docker's configuration")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::dockerconfig::ConfigError;

/// What is read of `config.json`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFile {
    /// The context that is used where nothing else is said.
    pub current_context: Option<String>,
    /// Logins by registry.
    pub auths: Option<BTreeMap<String, Login>>,
    /// The helper that keeps all logins.
    pub creds_store: Option<String>,
    /// Helpers for single registries.
    pub cred_helpers: Option<BTreeMap<String, String>>,
}

/// A login as it is written; `Debug` says nothing of it.
#[derive(Clone, Default, Deserialize)]
pub struct Login {
    /// `user:password` in base64.
    pub auth: Option<String>,
    /// The user.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// Exchanged for access tokens.
    #[serde(rename = "identitytoken")]
    pub identity_token: Option<String>,
    /// Handed to the registry as it is.
    #[serde(rename = "registrytoken")]
    pub registry_token: Option<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Login").finish_non_exhaustive()
    }
}

/// The directory of docker's configuration: `DOCKER_CONFIG`, or `.docker` at home.
pub fn directory(environment: &BTreeMap<String, String>, home: &Path) -> PathBuf {
    variable(environment, "DOCKER_CONFIG").map_or_else(|| home.join(".docker"), PathBuf::from)
}

/// A variable that is set to something.
pub fn variable<'a>(environment: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

impl ConfigFile {
    /// Reads `config.json` in the directory of docker's configuration.
    pub fn load(directory: &Path) -> Result<Self, ConfigError> {
        Ok(read(&directory.join("config.json"))?.unwrap_or_default())
    }
}

/// Reads a file of JSON; `None` if there is none.
pub fn read<T: DeserializeOwned + Default>(path: &Path) -> Result<Option<T>, ConfigError> {
    match fs::read(path) {
        Ok(text) => parse(&path.display().to_string(), &text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::File { path: path.to_path_buf(), source }),
    }
}

/// Reads JSON; `file` is what an error calls it. An empty text is an empty object, as for docker.
pub fn parse<T: DeserializeOwned + Default>(file: &str, text: &[u8]) -> Result<T, ConfigError> {
    if text.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    // What serde says of a wrong value quotes it, and it may be a password.
    serde_json::from_slice(text).map_err(|error| ConfigError::Broken {
        file: file.to_owned(),
        line: error.line(),
        why: match error.classify() {
            serde_json::error::Category::Data => "a value of another type than docker writes",
            _ => "this is not JSON",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_empty_file_is_an_empty_one() {
        let home = tempfile::tempdir().unwrap();
        assert!(ConfigFile::load(home.path()).unwrap().auths.is_none());
        fs::write(home.path().join("config.json"), "\n").unwrap();
        assert!(ConfigFile::load(home.path()).unwrap().auths.is_none());
    }

    #[test]
    fn a_broken_file_is_named_with_its_line_and_without_its_values() {
        let broken = |text: &str| {
            let home = tempfile::tempdir().unwrap();
            fs::write(home.path().join("config.json"), text).unwrap();
            let text = ConfigFile::load(home.path()).unwrap_err().to_string();
            text.replace(&home.path().display().to_string(), "D")
        };
        assert_eq!(broken("{\n\"auths\": {\n"), "D/config.json:3: this is not JSON");
        assert_eq!(
            broken("{\n\"auths\": { \"x\": \"hunter2\" } }"),
            "D/config.json:2: a value of another type than docker writes"
        );
    }

    #[test]
    fn nothing_of_a_login_is_shown() {
        let text = br#"{ "auths": { "x": { "auth": "hunter2", "identitytoken": "hunter2" } } }"#;
        let file: ConfigFile = parse("x", text).unwrap();
        assert!(!format!("{file:?}").contains("hunter2"));
    }

    #[test]
    fn the_directory_can_be_moved() {
        let environment = BTreeMap::from([("DOCKER_CONFIG".to_owned(), "/etc/docker".to_owned())]);
        assert_eq!(directory(&environment, Path::new("/home/me")), Path::new("/etc/docker"));
        assert_eq!(
            directory(&BTreeMap::new(), Path::new("/home/me")),
            Path::new("/home/me/.docker")
        );
    }
}
