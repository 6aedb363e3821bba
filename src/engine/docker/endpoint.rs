//! Where a daemon is.

use std::path::PathBuf;

/// Where a daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket.
    Unix(PathBuf),
    /// A port.
    Tcp {
        /// Host.
        host: String,
        /// Port.
        port: u16,
        /// TLS.
        tls: Option<Tls>,
    },
    /// A program.
    Command(Vec<String>),
}

/// TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// CA.
    pub ca: Option<PathBuf>,
    /// Cert.
    pub cert: Option<PathBuf>,
    /// Key.
    pub key: Option<PathBuf>,
    /// Name.
    pub server_name: Option<String>,
    /// Skip.
    pub skip_verify: bool,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
            Self::Command(words) => f.write_str(&words.join(" ")),
        }
    }
}
