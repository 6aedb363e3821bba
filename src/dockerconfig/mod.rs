//! Docker's configuration: `config.json`, and the credentials that it leads to.
//!
//! Engines and registries read the same one, so that whoever has logged in with docker need not do
//! so again. The environment is handed in, never read. Knows neither daemons nor registries.
//!
//! | file | knows |
//! |---|---|
//! | [`file`] | what is written in `config.json` |
//! | [`credentials`] | what a registry is told |

pub mod credentials;
pub mod file;

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
