//! Which engine builds, and what it is called in records.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::cli::args::EngineName;
use crate::cli::failure::{Exit, Failure};
use crate::cli::settings::Settings;
use crate::dockerfile::Flavour;
use crate::engine::Engine;
use crate::engine::buildah::{self, Buildah};
use crate::engine::buildkit::{self, BuildKit, Target};
use crate::engine::docker::ConfigError;
use crate::engine::docker::buildkitd::buildkit_endpoint;
use crate::engine::docker::credentials::Credentials;
use crate::engine::docker::endpoint::{DEFAULT_SOCKET, docker_endpoint};
use crate::engine::simulate::{self, Simulate};
use crate::run::with_causes;

/// An engine that was chosen, before anything is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Which.
    pub(crate) name: EngineName,
    /// Its class in records.
    pub(crate) class: &'static str,
    /// Whose rules Dockerfiles are expanded by.
    pub(crate) flavour: Flavour,
    /// Which, and why, for people.
    pub(crate) note: String,
}

/// Chooses an engine: what was asked for, else what `layers.toml` names, else the first that is there.
pub(crate) fn choose(settings: &Settings, configured: Option<&str>) -> Result<Choice, Failure> {
    let asked = match (settings.engine, configured) {
        (Some(EngineName::Auto) | None, None | Some("auto")) => None,
        (Some(name), _) if name != EngineName::Auto => Some((name, "asked for")),
        (_, Some("buildah")) => Some((EngineName::Buildah, "named in layers.toml")),
        (_, Some("buildkit")) => Some((EngineName::Buildkit, "named in layers.toml")),
        (_, Some("simulate")) => Some((EngineName::Simulate, "named in layers.toml")),
        (_, Some(other)) => {
            let message = format!("layers.toml names an engine `{other}` that is not known");
            return Err(
                Failure::new(Exit::WORKSPACE, message).help("it is one of auto, buildah, simulate")
            );
        }
        (_, None) => None,
    };
    Ok(match asked {
        Some((EngineName::Simulate, why)) => Choice {
            name: EngineName::Simulate,
            class: simulate::CLASS,
            flavour: Flavour::BuildKit,
            note: format!("simulate ({why})"),
        },
        Some((EngineName::Buildkit, why)) => Choice {
            name: EngineName::Buildkit,
            class: buildkit_class(&settings.environment),
            flavour: Flavour::BuildKit,
            note: format!("buildkit ({why})"),
        },
        Some((_, why)) => by_buildah(why),
        None if settings.finds("buildah") => by_buildah("found on the PATH"),
        None => by_buildah("no engine was found"),
    })
}

fn buildkit_class(environment: &BTreeMap<String, String>) -> &'static str {
    if environment.contains_key("BUILDKIT_HOST") { buildkit::LAYOUT } else { buildkit::DOCKER }
}

fn buildkit_engine(
    root: &Path,
    state: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<Box<dyn Engine>, Failure> {
    let failed = |error: ConfigError| Failure::new(Exit::UNAVAILABLE, with_causes(&error));
    let home = PathBuf::from(environment.get("HOME").map_or("/", String::as_str));
    let target = match environment.get("BUILDKIT_HOST") {
        Some(host) => Target::Buildkitd {
            endpoint: buildkit_endpoint(host, None).map_err(failed)?,
            layout: state.join("oci"),
        },
        None => {
            let found = docker_endpoint(environment, &home, Path::new(DEFAULT_SOCKET));
            Target::Docker(found.map_err(failed)?.endpoint)
        }
    };
    Ok(Box::new(BuildKit::new(buildkit::Options {
        target,
        credentials: Credentials::load(environment, &home).map_err(failed)?,
        environment: environment.clone(),
        root: root.to_owned(),
    })?))
}

fn by_buildah(why: &str) -> Choice {
    Choice {
        name: EngineName::Buildah,
        class: buildah::CLASS,
        flavour: Flavour::Buildah,
        note: format!("buildah ({why})"),
    }
}

impl Choice {
    /// Opens the engine for a workspace.
    pub(crate) fn open(
        &self,
        root: &Path,
        state: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Box<dyn Engine>, Failure> {
        Ok(match self.name {
            EngineName::Simulate => Box::new(Simulate::open(root, state)?),
            EngineName::Buildkit => buildkit_engine(root, state, environment)?,
            EngineName::Auto | EngineName::Buildah => {
                let environment = environment.clone();
                Box::new(Buildah::new(buildah::Options { environment, ..Default::default() }))
            }
        })
    }
}
