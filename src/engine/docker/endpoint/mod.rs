//! A place to connect to, and where docker's daemon is.
//!
//! By the rules of the docker CLI (`cli/command/cli.go` `resolveContextName`, `opts/hosts.go`,
//! `cli/flags/options.go`): `DOCKER_HOST` wins over `DOCKER_CONTEXT`, which wins over the
//! `currentContext` of `config.json`. Added to them is one step at the end: where the usual socket
//! does not exist, that of a rootless daemon is taken if it does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::dockerconfig::ConfigError;
use crate::dockerconfig::file::{self, ConfigFile, variable};
use crate::engine::docker::address::Address;
use crate::engine::docker::context::{self, Context};
use crate::engine::docker::ssh::{self, words};
use crate::tls::Tls;

/// Where docker's daemon listens unless something else is said.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The port of docker's daemon (IANA), and the same with TLS.
const PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// The host of an address that names none.
const LOCAL: &str = "localhost";

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket of this machine.
    Unix(PathBuf),
    /// A port.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// How the connection is secured; `None`: not at all.
        tls: Option<Tls>,
    },
    /// A program, with its arguments, whose standard input and output are the connection.
    Command(Vec<String>),
}

/// Where a daemon is, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The place.
    pub endpoint: Endpoint,
    /// For people: `DOCKER_HOST`, or ``the docker context `desktop-linux` ``.
    pub why: String,
    /// Whether somebody said so; else it is only where docker's daemon usually is.
    pub is_named: bool,
}

impl fmt::Display for Endpoint {
    /// As an address is written, or as the command is typed.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } if host.contains(':') => {
                write!(formatter, "tcp://[{host}]:{port}")
            }
            Self::Tcp { host, port, .. } => write!(formatter, "tcp://{host}:{port}"),
            Self::Command(words) => formatter.write_str(&words.join(" ")),
        }
    }
}

/// Where docker's daemon is. `socket` is where it is if nothing says otherwise: [`DEFAULT_SOCKET`].
pub fn docker_endpoint(
    environment: &BTreeMap<String, String>,
    home: &Path,
    socket: &Path,
) -> Result<Found, ConfigError> {
    let directory = file::directory(environment, home);
    if let Some(host) = variable(environment, "DOCKER_HOST").map(str::trim) {
        if host.is_empty() {
            return usual(environment, &directory, socket);
        }
        let endpoint = host_endpoint(host, socket)?.secured(|| tls(environment, &directory))?;
        return Ok(Found { endpoint, why: "DOCKER_HOST".to_owned(), is_named: true });
    }
    let name = match variable(environment, "DOCKER_CONTEXT") {
        Some(name) => Some(name.to_owned()),
        None => ConfigFile::load(&directory)?.current_context.filter(|name| !name.is_empty()),
    };
    let Some(name) = name.filter(|name| name != context::DEFAULT) else {
        return usual(environment, &directory, socket);
    };
    let Context { host, tls } = Context::find(&directory, &name)?;
    let endpoint = match host {
        Some(host) => host_endpoint(&host, socket)?.secured(|| Ok(tls))?,
        None => Endpoint::Unix(socket.to_path_buf()),
    };
    Ok(Found { endpoint, why: format!("the docker context `{name}`"), is_named: true })
}

/// Where the daemon is if nobody says where.
fn usual(
    environment: &BTreeMap<String, String>,
    directory: &Path,
    socket: &Path,
) -> Result<Found, ConfigError> {
    if let Some(asking) = asks_for_tls(environment) {
        // As docker does: who asks for TLS does not mean the socket.
        let tls = tls(environment, directory)?;
        let endpoint = Endpoint::Tcp { host: LOCAL.to_owned(), port: TLS_PORT, tls };
        return Ok(Found { endpoint, why: asking.to_owned(), is_named: true });
    }
    let rootless = variable(environment, "XDG_RUNTIME_DIR")
        .map(|directory| Path::new(directory).join("docker.sock"))
        .filter(|rootless| !socket.exists() && rootless.exists());
    Ok(match rootless {
        Some(rootless) => {
            let (endpoint, why) = (Endpoint::Unix(rootless), "the rootless socket".to_owned());
            Found { endpoint, why, is_named: false }
        }
        None => Found {
            endpoint: Endpoint::Unix(socket.to_path_buf()),
            why: "the default socket".to_owned(),
            is_named: false,
        },
    })
}

/// The variable that turns TLS on; only the first of them has the server's certificate checked.
fn asks_for_tls(environment: &BTreeMap<String, String>) -> Option<&'static str> {
    let is_set = |name: &&str| variable(environment, name).is_some();
    ["DOCKER_TLS_VERIFY", "DOCKER_TLS"].into_iter().find(is_set)
}

/// What the environment says of TLS.
fn tls(
    environment: &BTreeMap<String, String>,
    directory: &Path,
) -> Result<Option<Tls>, ConfigError> {
    let Some(asking) = asks_for_tls(environment) else { return Ok(None) };
    let certificates = variable(environment, "DOCKER_CERT_PATH").map_or(directory, Path::new);
    let file = |name: &str| Some(certificates.join(name)).filter(|file| file.exists());
    let Some(ca) = file("ca.pem") else {
        let path = certificates.join("ca.pem");
        return Err(ConfigError::NoCertificate { path, variable: asking });
    };
    let skip_verify = asking == "DOCKER_TLS";
    let pair = Tls::with_pair(file("cert.pem"), file("key.pem"));
    Ok(Some(Tls { ca: Some(ca), skip_verify, ..pair }))
}

/// The daemon at an address, without TLS yet.
fn host_endpoint(text: &str, socket: &Path) -> Result<Endpoint, ConfigError> {
    let fail = |why: String| ConfigError::address(text, why);
    // An address without a scheme is one of TCP (`parseDockerDaemonHost`).
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match scheme {
        "unix" if rest.is_empty() => Ok(Endpoint::Unix(socket.to_path_buf())),
        "unix" => Ok(Endpoint::Unix(rest.into())),
        "tcp" => tcp(rest, Some(PORT)).map_err(fail),
        "ssh" => docker_over_ssh(rest).map_err(fail),
        "fd" => Err(fail("`fd://` is for the daemon itself".to_owned())),
        "npipe" => Err(fail("`npipe://` is a pipe of Windows".to_owned())),
        _ => Err(fail("it begins neither with unix://, tcp:// nor ssh://".to_owned())),
    }
}

/// A port of a host. Without a `usual` port one must be named.
pub(crate) fn tcp(rest: &str, usual: Option<u16>) -> Result<Endpoint, String> {
    let address = Address::parse(rest)?;
    if address.path().is_some() || !address.query.is_empty() {
        return Err("more than a host and a port is not supported".to_owned());
    }
    let port = address.port.or(usual).ok_or("it names no port")?;
    let host = if address.host.is_empty() { LOCAL.to_owned() } else { address.host };
    Ok(Endpoint::Tcp { host, port, tls: None })
}

/// `docker system dial-stdio` on the other side (docker/cli `cli/connhelper/connhelper.go`).
fn docker_over_ssh(rest: &str) -> Result<Endpoint, String> {
    let address = Address::parse(rest)?;
    let mut remote = words(&["docker"]);
    remote.extend(address.path().map(|path| format!("--host=unix://{path}")));
    remote.extend(words(&["system", "dial-stdio"]));
    ssh::command(&address, &remote).map(Endpoint::Command)
}

impl Endpoint {
    /// The same place, by TLS if it is a port.
    fn secured(
        mut self,
        by: impl FnOnce() -> Result<Option<Tls>, ConfigError>,
    ) -> Result<Self, ConfigError> {
        if let Self::Tcp { tls, .. } = &mut self {
            *tls = by()?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
