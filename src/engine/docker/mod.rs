//! What Docker brings along: where daemons are, which credentials registries get, and the API of its
//! engine.
//!
//! Where and who follow the docker CLI, so that what works with `docker build` works without being
//! said again. The environment is handed in, never read. Knows nothing of builds.
//!
//! | file | knows |
//! |---|---|
//! | [`endpoint`] | a place to connect to, and where docker's daemon is |
//! | [`buildkitd`] | the addresses of a `buildkitd` (`BUILDKIT_HOST`, `[[builder]]`) |
//! | [`address`], [`ssh`] | how an address is taken apart; a daemon behind ssh |
//! | [`config`], [`context`] | docker's `config.json`; its contexts |
//! | [`credentials`] | what a registry is told |
//! | [`stream`], `tls` | bytes to and from an endpoint; whom to trust there |
//! | [`api`] | the Docker Engine API: the image store, and the upgrades to gRPC |

pub mod address;
pub mod api;
pub mod buildkitd;
pub mod config;
pub mod context;
pub mod credentials;
pub mod endpoint;
#[cfg(test)]
mod fixture;
pub mod ssh;
pub mod stream;
mod tls;

use std::io;
use std::path::PathBuf;

/// Why a configuration cannot be followed. Never says a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what docker writes.
    #[error("{file}:{line}: {why}")]
    Broken {
        /// Which; `DOCKER_AUTH_CONFIG` for the variable.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The address of a daemon cannot be used.
    #[error("`{address}` is no address to connect to: {why}")]
    Address {
        /// The address without what may be secret in it.
        address: String,
        /// Why not.
        why: String,
    },
    /// A docker context cannot be used.
    #[error("the docker context `{name}` {why}")]
    Context {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// A file that TLS needs is not there.
    #[error("there is no {}, which {variable} asks for", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// The variable that turned TLS on.
        variable: &'static str,
    },
    /// Credentials that are written in a file are not in docker's form.
    #[error("the credentials for `{registry}` in {file} are not readable")]
    Credentials {
        /// Where they are written.
        file: String,
        /// Whose they are.
        registry: String,
    },
    /// A credential helper did not answer.
    #[error("`{program}` gives no credentials for `{registry}`: {why}")]
    Helper {
        /// The helper.
        program: String,
        /// The registry that it was asked for.
        registry: String,
        /// Why not.
        why: String,
    },
}

impl ConfigError {
    /// An address that cannot be used. Only its harmless part is kept.
    pub(crate) fn address(address: &str, why: impl Into<String>) -> Self {
        Self::Address { address: address::shown(address), why: why.into() }
    }
}
