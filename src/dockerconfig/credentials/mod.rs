//! What a registry is told: logins of docker's `config.json`, and of the helpers that it names.
//!
//! Sources: docker/cli `cli/config/configfile/file.go` and `cli/config/credentials`,
//! docker/docker-credential-helpers `client`, moby/buildkit `session/auth/authprovider`. A registry
//! has a helper of its own (`credHelpers`), or the one for all (`credsStore`), or a login in the
//! file; who has a helper is not looked up in the file. `DOCKER_AUTH_CONFIG` comes before all of
//! them.
//!
//! Helpers are asked each time. Tokens expire, so it is for the caller to know how long an answer
//! holds (BuildKit: a little less than five minutes). Nothing here is ever shown by `Debug`.
#![expect(clippy::disallowed_methods, reason = "credential helpers are programs")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fmt};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Serialize};

use crate::dockerconfig::ConfigError;
use crate::dockerconfig::file::{self, ConfigFile, Login, variable};
use crate::process::{self, Exit};

/// How long a helper may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Under which name Docker Hub's login is kept, since before registries had hosts.
const HUB: &str = "https://index.docker.io/v1/";

/// The hosts that mean Docker Hub.
const HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What a helper says where it has nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// The user's name that marks an identity token.
const TOKEN_USER: &str = "<token>";

/// The `X-Registry-Auth` of a request without credentials: `{}`. The Docker Engine wants one.
pub const ANONYMOUS: &str = "e30=";

/// The logins of a user.
#[derive(Clone)]
pub struct Credentials {
    file: String,
    config: ConfigFile,
    variable: BTreeMap<String, Login>,
    environment: BTreeMap<String, String>,
}

/// What one registry is told. Empty texts are left out.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// How docker calls the registry.
    #[serde(rename = "serveraddress")]
    pub server: String,
    /// Exchanged for access tokens, instead of a password.
    #[serde(rename = "identitytoken", skip_serializing_if = "Option::is_none")]
    pub identity_token: Option<String>,
    /// An access token, to be handed on as it is.
    #[serde(rename = "registrytoken", skip_serializing_if = "Option::is_none")]
    pub registry_token: Option<String>,
}

/// What a helper prints.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(rename = "Username", alias = "username", default)]
    username: String,
    #[serde(rename = "Secret", alias = "secret", default)]
    secret: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credentials").field("file", &self.file).finish_non_exhaustive()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credential").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads docker's configuration. Asks no helper yet.
    pub fn load(environment: &BTreeMap<String, String>, home: &Path) -> Result<Self, ConfigError> {
        let directory = file::directory(environment, home);
        let text = variable(environment, "DOCKER_AUTH_CONFIG").unwrap_or_default();
        let variable: ConfigFile = file::parse("DOCKER_AUTH_CONFIG", text.as_bytes())?;
        Ok(Self {
            file: directory.join("config.json").display().to_string(),
            config: ConfigFile::load(&directory)?,
            variable: variable.auths.unwrap_or_default(),
            environment: environment.clone(),
        })
    }

    /// What the registry at a host (with its port, if it has one) is told; `None`: nothing.
    pub fn for_host(&self, host: &str) -> Result<Option<Credential>, ConfigError> {
        let key = if HUB_HOSTS.contains(&host) { HUB } else { host };
        if let Some(login) = self.variable.get(key) {
            return credential(login, key, "DOCKER_AUTH_CONFIG");
        }
        let written = self.written(key);
        let Some(helper) = self.helper(key) else {
            return written.map_or(Ok(None), |login| credential(login, key, &self.file));
        };
        let mut credential = self.ask(helper, key)?.unwrap_or_default();
        credential.registry_token = written.and_then(|login| filled(login.registry_token.clone()));
        Ok(credential.or_none(key))
    }

    fn helper(&self, key: &str) -> Option<&str> {
        let own = self.config.cred_helpers.as_ref().and_then(|helpers| helpers.get(key));
        own.or(self.config.creds_store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The login in the file. Keys of old are URLs, and some have a path.
    fn written(&self, key: &str) -> Option<&Login> {
        let logins = self.config.auths.as_ref()?;
        let is_same = |other: &str| match host(other) {
            other if key == HUB => HUB_HOSTS.contains(&other),
            other => other == key,
        };
        let similar = || logins.iter().find(|(other, _)| is_same(other)).map(|(_, login)| login);
        logins.get(key).or_else(similar)
    }

    fn ask(&self, helper: &str, key: &str) -> Result<Option<Credential>, ConfigError> {
        let program = format!("docker-credential-{helper}");
        let fail = |why: String| ConfigError::Helper {
            program: program.clone(),
            registry: key.to_owned(),
            why,
        };
        let path = self.find(&program).ok_or_else(|| fail("it is not on the PATH".to_owned()))?;
        let mut command = Command::new(path);
        command.arg("get").env_clear().envs(&self.environment);
        let (exit, output, error) = process::ask(command, key, LIMIT)
            .map_err(|error| fail(format!("it cannot be run: {}", error.source)))?;
        let said = String::from_utf8_lossy(&output);
        match exit {
            Exit::Code(0) => {}
            Exit::Code(_) if said.trim() == NOT_FOUND => return Ok(None),
            Exit::Stopped => {
                return Err(fail(format!("no answer within {} seconds", LIMIT.as_secs())));
            }
            _ => return Err(fail(words(&[&said, &error]))),
        }
        let answer: Answer = serde_json::from_slice(&output)
            .map_err(|_| fail("its answer is not what a helper answers".to_owned()))?;
        Ok(Some(Credential::from(answer)))
    }

    /// A program on the `PATH` of the environment that was handed in.
    fn find(&self, program: &str) -> Option<PathBuf> {
        let path = variable(&self.environment, "PATH")?;
        env::split_paths(path).map(|dir| dir.join(program)).find(|file| file.is_file())
    }
}

impl Credential {
    /// User and secret as BuildKit's `CredentialsResponse` has them: an identity token has no user.
    pub fn user_and_secret(&self) -> (&str, &str) {
        match &self.identity_token {
            Some(token) => ("", token),
            None => (text(self.username.as_ref()), text(self.password.as_ref())),
        }
    }

    /// The `X-Registry-Auth` of a request to the Docker Engine: this as JSON, in base64 for URLs.
    pub fn header(&self) -> String {
        serde_json::to_vec(self).map_or(ANONYMOUS.to_owned(), |json| URL_SAFE.encode(json))
    }

    /// This for the registry `key`, if it says anything.
    fn or_none(self, key: &str) -> Option<Self> {
        (self != Self::default()).then(|| Self { server: key.to_owned(), ..self })
    }
}

impl From<Answer> for Credential {
    fn from(answer: Answer) -> Self {
        let secret = filled(Some(answer.secret));
        if answer.username == TOKEN_USER {
            return Self { identity_token: secret, ..Self::default() };
        }
        Self { username: filled(Some(answer.username)), password: secret, ..Self::default() }
    }
}

fn credential(login: &Login, key: &str, file: &str) -> Result<Option<Credential>, ConfigError> {
    let (username, password) = match login.auth.as_deref().filter(|auth| !auth.is_empty()) {
        Some(auth) => {
            let (user, password) = decoded(auth).ok_or_else(|| ConfigError::Credentials {
                file: file.to_owned(),
                registry: key.to_owned(),
            })?;
            (Some(user), Some(password))
        }
        None => (login.username.clone(), login.password.clone()),
    };
    let credential = Credential {
        username: filled(username),
        password: filled(password),
        server: String::new(),
        identity_token: filled(login.identity_token.clone()),
        registry_token: filled(login.registry_token.clone()),
    };
    Ok(credential.or_none(key))
}

/// `user:password` in base64 (`decodeAuth`).
fn decoded(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':').filter(|(user, _)| !user.is_empty())?;
    Some((user.to_owned(), password.trim_matches('\0').to_owned()))
}

fn text(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The host, with its port, that a key is for (`ConvertToHostname`).
fn host(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// What a program said, in one line.
fn words(texts: &[&str]) -> String {
    let words: Vec<&str> = texts.iter().flat_map(|text| text.split_whitespace()).collect();
    if words.is_empty() { "it failed without a word".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests;
