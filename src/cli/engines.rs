//! Which engine builds, and what it is called in records.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::EngineName;
use crate::cli::failure::{Exit, Failure};
use crate::cli::registries;
use crate::cli::settings::Settings;
use crate::dockerconfig::ConfigError;
use crate::dockerconfig::credentials::Credentials;
use crate::dockerfile::Flavour;
use crate::engine::Engine;
use crate::engine::buildah::{self, Buildah};
use crate::engine::buildkit::{self, BuildKit, Target};
use crate::engine::buildx::{self, Buildx};
use crate::engine::docker::buildkitd::{builder_endpoint, buildkit_endpoint};
use crate::engine::docker::endpoint::{self, Endpoint, Found, docker_endpoint};
use crate::engine::simulate::{self, Simulate};
use crate::gather::workspace;
use crate::layers::Builder;

/// Where a `buildkitd` is, as `buildctl` has it.
const BUILDKIT_HOST: &str = "BUILDKIT_HOST";
/// The image layout of builds that a `buildkitd` makes, below the state directory.
const LAYOUT: &str = "oci";

/// An engine that was chosen, before anything is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Which, and where it is.
    pub(crate) kind: Kind,
    /// Its class in records.
    pub(crate) class: &'static str,
    /// Whose rules Dockerfiles are expanded by.
    pub(crate) flavour: Flavour,
    /// Which, and why, for people.
    pub(crate) note: String,
}

/// An engine, and where it is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Buildah,
    Docker(Endpoint),
    Buildkitd(Endpoint),
    Buildx,
    Simulate,
}

impl Kind {
    /// Its name for people.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Buildah => "buildah",
            Self::Docker(_) => "docker",
            Self::Buildkitd(_) => "buildkitd",
            Self::Buildx => "buildx",
            Self::Simulate => "simulate",
        }
    }
}

/// Chooses an engine: what was asked for, else what `layers.toml` names, else the first that is
/// there. `root` is the workspace's.
pub(crate) fn choose(settings: &Settings, root: &Path) -> Result<Choice, Failure> {
    let layers = workspace::configured(root);
    let search = Search { settings, root, builders: &layers.builders };
    let (name, why) = match (settings.engine, layers.workspace.engine.as_deref()) {
        (Some(name), _) if name != EngineName::Auto => (name, "asked for"),
        (_, Some(name)) => (named(name)?, "named in layers.toml"),
        _ => (EngineName::Auto, ""),
    };
    match name {
        EngineName::Auto => search.first(),
        EngineName::Buildah => Ok(by_buildah(why)),
        EngineName::Buildkit => search.buildkit(),
        EngineName::Buildx => Ok(by_buildx(why)),
        EngineName::Simulate => Ok(Choice {
            kind: Kind::Simulate,
            class: simulate::CLASS,
            flavour: Flavour::BuildKit,
            note: format!("simulate ({why})"),
        }),
    }
}

fn named(name: &str) -> Result<EngineName, Failure> {
    Ok(match name {
        "auto" => EngineName::Auto,
        "buildah" => EngineName::Buildah,
        "buildkit" => EngineName::Buildkit,
        "buildx" => EngineName::Buildx,
        "simulate" => EngineName::Simulate,
        other => {
            let message = format!("layers.toml names an engine `{other}` that is not known");
            let help = "it is one of auto, buildkit, buildah, buildx, simulate";
            return Err(Failure::new(Exit::WORKSPACE, message).help(help));
        }
    })
}

/// Looks for engines.
pub(crate) struct Search<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) root: &'a Path,
    pub(crate) builders: &'a [Builder],
}

impl Search<'_> {
    /// The first that is there: a builder that somebody named, Docker where it answers, buildah.
    fn first(&self) -> Result<Choice, Failure> {
        if let Some(builder) = self.builder()? {
            return Ok(builder);
        }
        let has_buildah = self.settings.finds("buildah");
        let docker = match self.docker() {
            Ok(docker) => docker,
            // Somebody said where it is: buildah instead would be a surprise.
            Err(error) if self.names_docker() => return Err(error),
            Err(error) if has_buildah => {
                return Ok(by_buildah(&format!(
                    "found on the PATH; not Docker: {}",
                    error.message
                )));
            }
            Err(error) => return Err(error),
        };
        Ok(match answers(&docker.endpoint) {
            Ok(()) => by_docker(docker),
            // Somebody said where it is: buildah instead would be a surprise.
            Err(_) if docker.is_named => by_docker(docker),
            Err(Trouble::Refused(why)) if has_buildah => {
                by_buildah(&format!("found on the PATH; not Docker: {why}"))
            }
            Err(Trouble::Absent) if has_buildah => by_buildah("found on the PATH"),
            // It tells what is missing.
            Err(Trouble::Refused(_)) => by_docker(docker),
            Err(Trouble::Absent) => by_buildah("no engine was found"),
        })
    }

    /// Whether the environment says where Docker is: docker's config may be years old.
    fn names_docker(&self) -> bool {
        let is_set = |name| self.settings.environment.get(name).is_some_and(|it| !it.is_empty());
        ["DOCKER_HOST", "DOCKER_CONTEXT"].into_iter().any(is_set)
    }

    /// BuildKit: a builder that somebody named, else Docker's.
    fn buildkit(&self) -> Result<Choice, Failure> {
        Ok(match self.builder()? {
            Some(builder) => builder,
            None => by_docker(self.docker()?),
        })
    }

    /// The `buildkitd` that was asked for: `--builder`, `BUILDKIT_HOST`, the first `[[builder]]`.
    pub(crate) fn builder(&self) -> Result<Option<Choice>, Failure> {
        let host = self.settings.environment.get(BUILDKIT_HOST).filter(|host| !host.is_empty());
        let (endpoint, why) = match (&self.settings.builder, host) {
            (Some(name), _) => {
                let builder = self.builders.iter().find(|builder| builder.name == *name);
                let builder = builder.ok_or_else(|| no_builder(name, self.builders))?;
                (builder_endpoint(builder, self.root), format!("builder `{name}`"))
            }
            (None, Some(host)) => (buildkit_endpoint(host, None), BUILDKIT_HOST.to_owned()),
            (None, None) => match self.builders.first() {
                Some(builder) => (
                    builder_endpoint(builder, self.root),
                    format!("builder `{}` of layers.toml", builder.name),
                ),
                None => return Ok(None),
            },
        };
        Ok(Some(Choice {
            kind: Kind::Buildkitd(endpoint?),
            class: buildkit::LAYOUT,
            flavour: Flavour::BuildKit,
            note: format!("buildkitd ({why})"),
        }))
    }

    /// Where Docker is, if it is anywhere.
    pub(crate) fn docker(&self) -> Result<Found, Failure> {
        let environment = &self.settings.environment;
        let socket = Path::new(endpoint::DEFAULT_SOCKET);
        Ok(docker_endpoint(environment, &home(environment), socket)?)
    }
}

fn no_builder(name: &str, builders: &[Builder]) -> Failure {
    let failure = Failure::new(Exit::USAGE, format!("there is no builder `{name}`"));
    let names: Vec<&str> = builders.iter().map(|builder| builder.name.as_str()).collect();
    if names.is_empty() {
        return failure.help("name it in a [[builder]] of layers.toml");
    }
    failure.help(format!("layers.toml has {}", names.join(", ")))
}

/// Why a daemon is not used.
pub(crate) enum Trouble {
    /// Nothing is there.
    Absent,
    /// Something is, and does not let us in.
    Refused(String),
}

/// Whether somebody listens at a socket of this machine; of other places that is not asked.
pub(crate) fn answers(endpoint: &Endpoint) -> Result<(), Trouble> {
    let Endpoint::Unix(path) = endpoint else { return Ok(()) };
    match UnixStream::connect(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Trouble::Absent),
        Err(error) => Err(Trouble::Refused(format!("{}: {error}", path.display()))),
    }
}

pub(crate) fn by_docker(docker: Found) -> Choice {
    Choice {
        kind: Kind::Docker(docker.endpoint),
        class: buildkit::DOCKER,
        flavour: Flavour::BuildKit,
        note: format!("Docker ({})", docker.why),
    }
}

pub(crate) fn by_buildah(why: &str) -> Choice {
    Choice {
        kind: Kind::Buildah,
        class: buildah::CLASS,
        flavour: Flavour::Buildah,
        note: format!("buildah ({why})"),
    }
}

pub(crate) fn by_buildx(why: &str) -> Choice {
    Choice {
        kind: Kind::Buildx,
        class: buildx::CLASS,
        flavour: Flavour::BuildKit,
        note: format!("buildx ({why})"),
    }
}

/// The home directory; where there is none, docker's config is not found there.
pub(crate) fn home(environment: &BTreeMap<String, String>) -> PathBuf {
    environment.get("HOME").map(PathBuf::from).unwrap_or_default()
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::USAGE, crate::run::with_causes(&error))
    }
}

impl Choice {
    /// Opens the engine for a workspace.
    pub(crate) fn open(
        &self,
        root: &Path,
        state: &Path,
        settings: &Settings,
    ) -> Result<Box<dyn Engine>, Failure> {
        let environment = settings.environment.clone();
        let target = match &self.kind {
            Kind::Simulate => {
                let is_real = Simulate::is_real(root);
                let registry = is_real.then(|| registries::open(settings, root, state));
                return Ok(Box::new(Simulate::open(root, state, registry.transpose()?)?));
            }
            Kind::Buildah => {
                let root = root.to_owned();
                let options = buildah::Options { root, environment, ..Default::default() };
                return Ok(Box::new(Buildah::new(options)));
            }
            Kind::Buildx => {
                let (root, builder) = (root.to_owned(), settings.builder.clone());
                let options = buildx::Options { builder, root, environment, ..Default::default() };
                return Ok(Box::new(Buildx::new(options)));
            }
            Kind::Docker(endpoint) => Target::Docker(endpoint.clone()),
            Kind::Buildkitd(endpoint) => {
                Target::Buildkitd { endpoint: endpoint.clone(), layout: state.join(LAYOUT) }
            }
        };
        let credentials = Credentials::load(&environment, &home(&environment))?;
        let registry = Arc::new(registries::open(settings, root, state)?);
        let root = root.to_owned();
        let options = buildkit::Options { target, credentials, registry, environment, root };
        Ok(Box::new(BuildKit::new(options)?))
    }
}
