//! The builder that buildx uses, and the daemon that images come to: asked, because either ignores
//! some of what it does not know in silence, and refuses the rest.

use serde::Deserialize;

use crate::engine::EngineError;
use crate::engine::program::Program;
use crate::image::Platform;

/// What a daemon with containerd's store calls its driver.
const CONTAINERD: &str = "io.containerd.snapshotter.v1";

/// The first Docker whose BuildKit has named contexts.
const CONTEXTS_SINCE: u32 = 23;

/// What is known of a builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builder {
    /// How buildx drives it: `docker`, `docker-container`, `kubernetes`, `remote`, `cloud`.
    pub driver: String,
    /// The platform that it runs builds on, if it says so.
    pub platform: Option<Platform>,
    /// Whether parents can be named contexts.
    pub has_contexts: bool,
    /// Whether images can have attestations.
    pub has_attestations: bool,
    /// Whether caches can be written other than into the image.
    pub has_caches: bool,
}

impl Builder {
    /// Asks for the builder with this name, or the one in use.
    pub fn inspect(program: &Program, name: Option<&str>) -> Result<Self, EngineError> {
        let answer = program.answer(["buildx", "inspect"].into_iter().chain(name))?;
        let (driver, platform) =
            parse(&String::from_utf8_lossy(&answer)).map_err(EngineError::Unavailable)?;
        let daemon = Daemon::ask(program)?;
        let is_daemon = driver == DAEMON;
        Ok(Self {
            driver,
            platform,
            has_contexts: !is_daemon || daemon.major() >= CONTEXTS_SINCE,
            has_attestations: is_daemon && daemon.has_containerd_store(),
            has_caches: !is_daemon || daemon.has_containerd_store(),
        })
    }

    /// Whether it is the daemon itself, which reads the images of its store.
    pub fn is_daemon(&self) -> bool {
        self.driver == DAEMON
    }

    /// What it cannot do, for people.
    pub fn lacks(&self) -> Vec<&'static str> {
        let all = [
            (self.has_contexts, "build triggers that name other images (Docker 28 can)"),
            (self.has_attestations, "attach an SBOM or provenance (the containerd store can)"),
            (self.has_caches, "write caches but inline (the containerd store can)"),
        ];
        all.into_iter().filter(|(can, _)| !can).map(|(_, what)| what).collect()
    }
}

/// The driver of the builder in the daemon.
const DAEMON: &str = "docker";

/// Driver and platform, out of `docker buildx inspect`; else what it says is wrong.
fn parse(text: &str) -> Result<(String, Option<Platform>), String> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        line.map(str::trim).filter(|value| !value.is_empty())
    };
    let Some(driver) = field("Driver:") else {
        return Err(field("Error:").unwrap_or("buildx has no builder").to_owned());
    };
    let first = field("Platforms:").and_then(|platforms| platforms.split(',').next());
    let platform = first.and_then(|platform| platform.trim_end_matches('*').parse().ok());
    Ok((driver.to_owned(), platform))
}

/// What `docker info` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Daemon {
    #[serde(default)]
    server_version: String,
    #[serde(default)]
    driver_status: Vec<(String, String)>,
    /// Why it does not say more.
    #[serde(default)]
    server_errors: Vec<String>,
}

impl Daemon {
    fn ask(program: &Program) -> Result<Self, EngineError> {
        let answer = program.answer(["info", "--format", "{{json .}}"])?;
        let daemon: Self = serde_json::from_slice(&answer).map_err(|error| {
            EngineError::Unavailable(format!("cannot read what `docker info` prints: {error}"))
        })?;
        match daemon.server_errors.into_iter().next() {
            Some(error) => Err(EngineError::Unavailable(error)),
            None => Ok(Self { server_errors: Vec::new(), ..daemon }),
        }
    }

    fn major(&self) -> u32 {
        self.server_version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
    }

    fn has_containerd_store(&self) -> bool {
        self.driver_status.iter().any(|(_, value)| value == CONTAINERD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn driver_and_platform_are_read() {
        let text = "Name:          default\nDriver:        docker\nLast Activity: 2026-11-28\n\n\
            Nodes:\nName:             default\nEndpoint:         default\nStatus:           running\n\
            BuildKit version: v0.0.0+unknown\nPlatforms:        linux/amd64, linux/amd64/v2\n";
        let platform = "linux/amd64".parse().unwrap();
        assert_eq!(parse(text).unwrap(), ("docker".to_owned(), Some(platform)));
    }

    #[test]
    fn a_builder_that_is_not_there_is_said_with_its_error() {
        let error =
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?";
        let text = format!("Name:          default\nDriver:        \nError:         {error}\n");
        assert_eq!(parse(&text).unwrap_err(), error);
    }

    #[test]
    fn a_daemon_is_known_by_its_version_and_its_store() {
        let daemon = |text| serde_json::from_str::<Daemon>(text).unwrap();
        let old = daemon(r#"{"ServerVersion":"20.10.24+dfsg1","DriverStatus":[["A","true"]]}"#);
        assert_eq!((old.major(), old.has_containerd_store()), (20, false));
        let status = format!(r#"{{"DriverStatus":[["driver-type","{CONTAINERD}"]]}}"#);
        assert!(daemon(&status).has_containerd_store());
    }
}
