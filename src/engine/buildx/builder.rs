//! The builder that buildx uses, out of `docker buildx inspect`.

use crate::engine::EngineError;
use crate::engine::program::Program;
use crate::image::Platform;

/// What is known of a builder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builder {
    /// How buildx drives it: `docker`, `docker-container`, `kubernetes`, `remote`, `cloud`.
    pub driver: String,
    /// The platform that it runs builds on, if it says so.
    pub platform: Option<Platform>,
}

impl Builder {
    /// Asks for the builder with this name, or the one in use.
    pub fn inspect(program: &Program, name: Option<&str>) -> Result<Self, EngineError> {
        let answer = program.answer(["buildx", "inspect"].into_iter().chain(name))?;
        Self::parse(&String::from_utf8_lossy(&answer)).map_err(EngineError::Unavailable)
    }

    /// Whether its images are in the image store of the Docker daemon, which it reads as well.
    pub fn is_daemon(&self) -> bool {
        self.driver == "docker"
    }

    fn parse(text: &str) -> Result<Self, String> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
            line.map(str::trim).filter(|value| !value.is_empty())
        };
        let Some(driver) = field("Driver:") else {
            return Err(field("Error:").unwrap_or("buildx has no builder").to_owned());
        };
        let first = field("Platforms:").and_then(|platforms| platforms.split(',').next());
        let platform = first.and_then(|platform| platform.trim_end_matches('*').parse().ok());
        Ok(Self { driver: driver.to_owned(), platform })
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
        let builder = Builder::parse(text).unwrap();
        assert_eq!(builder.platform, Some("linux/amd64".parse().unwrap()));
        assert!(builder.is_daemon());
    }

    #[test]
    fn a_builder_that_is_not_there_is_said_with_its_error() {
        let error =
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?";
        let text = format!("Name:          default\nDriver:        \nError:         {error}\n");
        assert_eq!(Builder::parse(&text).unwrap_err(), error);
    }
}
