//! How registries are asked: with docker's logins and certificates, on the terms of `layers.toml`.

use std::path::{Path, PathBuf};

use crate::cli::engines::home;
use crate::cli::failure::Failure;
use crate::cli::settings::Settings;
use crate::dockerconfig::credentials::Credentials;
use crate::dockerconfig::file;
use crate::gather::workspace;
use crate::registry::{Options, Registry};

/// Where documents that never change are kept, below the state directory.
const CACHE: &str = "registry";
/// Where the machine has certificates of registries, for docker and for podman and buildah.
const CERTIFICATES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// Registries, for the workspace in `root`.
pub(crate) fn open(settings: &Settings, root: &Path, state: &Path) -> Result<Registry, Failure> {
    let environment = &settings.environment;
    let home = home(environment);
    let own = file::directory(environment, &home).join("certs.d");
    Ok(Registry::new(Options {
        credentials: Credentials::load(environment, &home)?,
        environment: environment.clone(),
        terms: workspace::configured(root).registries,
        certificates: [own].into_iter().chain(CERTIFICATES.map(PathBuf::from)).collect(),
        cache: Some(state.join(CACHE)),
    }))
}
