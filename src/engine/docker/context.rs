//! Docker's contexts: named places of a daemon, kept below the directory of its configuration.
//!
//! Source: docker/cli `cli/context/store`. A context is `contexts/meta/ID/meta.json`, its
//! certificates are in `contexts/tls/ID/docker/`. The id is a digest of the name, but the name is
//! also in the file, so it is looked up there.
#![expect(clippy::disallowed_methods, reason = "reads docker's contexts")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::diagnostic::nearest;
use crate::dockerconfig::{ConfigError, file};
use crate::tls::Tls;

/// The name that stands for no context at all.
pub const DEFAULT: &str = "default";

/// What a context says of docker's daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Where it is; `None`: where it always is.
    pub host: Option<String>,
    /// How a TCP connection to it is secured.
    pub tls: Option<Tls>,
}

/// `meta.json`
#[derive(Debug, Default, Deserialize)]
struct Meta {
    #[serde(rename = "Name", alias = "name", default)]
    name: String,
    #[serde(rename = "Endpoints", alias = "endpoints", default)]
    endpoints: BTreeMap<String, MetaEndpoint>,
}

#[derive(Debug, Default, Deserialize)]
struct MetaEndpoint {
    #[serde(rename = "Host", alias = "host")]
    host: Option<String>,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_verify: bool,
}

impl Context {
    /// Finds a context by its name in docker's configuration.
    pub fn find(directory: &Path, name: &str) -> Result<Self, ConfigError> {
        let contexts = directory.join("contexts");
        let mut others = Vec::new();
        let mut broken = None;
        for id in ids(&contexts.join("meta")) {
            match file::read::<Meta>(&contexts.join("meta").join(&id).join("meta.json")) {
                Ok(Some(meta)) if meta.name == name => {
                    return Self::new(&meta, &contexts.join("tls").join(&id).join("docker"));
                }
                Ok(meta) => others.extend(meta.map(|meta| meta.name)),
                Err(error) => broken = Some(error), // it may be another's
            }
        }
        others.sort();
        Err(broken.unwrap_or_else(|| unknown(name, &others)))
    }

    fn new(meta: &Meta, certificates: &Path) -> Result<Self, ConfigError> {
        let Some(endpoint) = meta.endpoints.get("docker") else {
            let why = "has no endpoint of docker".to_owned();
            return Err(ConfigError::Context { name: meta.name.clone(), why });
        };
        let host = endpoint.host.clone().filter(|host| !host.is_empty());
        let file = |name: &str| Some(certificates.join(name)).filter(|file| file.is_file());
        let tls = Tls {
            ca: file("ca.pem"),
            server_name: None,
            skip_verify: endpoint.skip_verify,
            ..Tls::with_pair(file("cert.pem"), file("key.pem"))
        };
        let is_plain = tls == Tls::default() && !certificates.is_dir();
        Ok(Self { host, tls: (!is_plain).then_some(tls) })
    }
}

/// The names of the directories of contexts, sorted; none where there is no store.
fn ids(meta: &Path) -> Vec<String> {
    let entries = fs::read_dir(meta).into_iter().flatten().filter_map(Result::ok);
    let mut ids: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    ids.sort();
    ids
}

fn unknown(name: &str, others: &[String]) -> ConfigError {
    let why = match (nearest(name, others.iter().map(String::as_str)), others) {
        (Some(meant), _) => format!("does not exist; did you mean `{meant}`?"),
        (None, []) => "does not exist; there are none but `default`".to_owned(),
        (None, _) => format!("does not exist; there are {}", others.join(", ")),
    };
    ConfigError::Context { name: name.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::docker::fixture::write_context as write;

    #[test]
    fn a_context_is_found_by_its_name() {
        let docker = tempfile::tempdir().unwrap();
        write(docker.path(), "other", r#"{"docker":{"Host":"unix:///other.sock"}}"#, &[]);
        write(docker.path(), "mine", r#"{"docker":{"Host":"unix:///mine.sock"}}"#, &[]);
        let found = Context::find(docker.path(), "mine").unwrap();
        assert_eq!(found, Context { host: Some("unix:///mine.sock".into()), tls: None });
    }

    #[test]
    fn certificates_and_a_skipped_check_make_it_tls() {
        let docker = tempfile::tempdir().unwrap();
        let host = r#"{"docker":{"Host":"tcp://host:2376","SkipTLSVerify":true}}"#;
        write(docker.path(), "all", host, &["ca.pem", "cert.pem", "key.pem"]);
        let tls = Context::find(docker.path(), "all").unwrap().tls.unwrap();
        assert!(tls.skip_verify);
        assert!(tls.ca.unwrap().ends_with("docker/ca.pem"));
        assert!(tls.cert.unwrap().ends_with("docker/cert.pem"));
        assert!(tls.key.unwrap().ends_with("docker/key.pem"));
        write(docker.path(), "unverified", host, &[]);
        let tls = Context::find(docker.path(), "unverified").unwrap().tls;
        assert_eq!(tls, Some(Tls { skip_verify: true, ..Tls::default() }));
    }

    #[test]
    fn a_context_that_cannot_be_used_is_said_with_what_helps() {
        let docker = tempfile::tempdir().unwrap();
        let said = |name: &str| Context::find(docker.path(), name).unwrap_err().to_string();
        assert_eq!(
            said("mine"),
            "the docker context `mine` does not exist; there are none but `default`"
        );
        write(docker.path(), "desktop-linux", "{}", &[]);
        assert_eq!(
            said("desktop-linus"),
            "the docker context `desktop-linus` does not exist; did you mean `desktop-linux`?"
        );
        assert_eq!(
            said("remote"),
            "the docker context `remote` does not exist; there are desktop-linux"
        );
        assert_eq!(
            said("desktop-linux"),
            "the docker context `desktop-linux` has no endpoint of docker"
        );
    }

    #[test]
    fn a_broken_file_is_an_error_only_for_who_may_mean_it() {
        let docker = tempfile::tempdir().unwrap();
        write(docker.path(), "mine", r#"{"docker":{}}"#, &[]);
        let broken = docker.path().join("contexts/meta/broken");
        fs::create_dir_all(&broken).unwrap();
        fs::write(broken.join("meta.json"), "{").unwrap();
        assert_eq!(Context::find(docker.path(), "mine").unwrap().host, None);
        let said = Context::find(docker.path(), "other").unwrap_err().to_string();
        assert!(said.ends_with("broken/meta.json:1: this is not JSON"), "{said}");
    }
}
