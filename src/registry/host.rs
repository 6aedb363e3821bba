//! Where a registry is, and on which terms it is spoken to.
//!
//! Sources: docker's documentation of `certs.d` and of insecure registries (moby
//! `registry/config.go`, `registry/registry.go`). A registry is spoken to by TLS. One of this
//! machine, and one that somebody calls insecure, needs no certificate that we trust, and where it
//! does not speak TLS at all it is spoken to in the clear; unless `certs.d` has authorities for it.
#![expect(clippy::disallowed_methods, reason = "looks for certificates in certs.d")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, fs};

use crate::layers::RegistryTerms;
use crate::reference::{Reference, is_loopback};
use crate::tls::Tls;

/// How long a registry may be silent.
const PATIENCE: Duration = Duration::from_mins(1);
/// Where Docker Hub's registry is (distribution/reference has another name for it).
const HUB: &str = "registry-1.docker.io";
/// The ports of HTTPS and HTTP.
const PORT: u16 = 443;
const CLEAR_PORT: u16 = 80;

/// Whom a connection is to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// Whether by TLS.
    pub(crate) tls: bool,
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// The origin of an absolute URL of HTTP; `None` if it is none.
    pub(crate) fn of(url: &hyper::Uri) -> Option<Self> {
        let tls = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = url.host()?.trim_matches(['[', ']']).to_ascii_lowercase();
        let port = url.port_u16().unwrap_or(if tls { PORT } else { CLEAR_PORT });
        Some(Self { tls, host, port })
    }

    /// Host and port, as a `Host` header has them.
    pub(crate) fn authority(&self) -> String {
        let host = &self.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        match (self.tls, self.port) {
            (true, PORT) | (false, CLEAR_PORT) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Whether it is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl fmt::Display for Origin {
    /// As a URL begins.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.authority())
    }
}

/// A registry, by what references call it.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// As references have it: `docker.io`, `localhost:5000`.
    pub(crate) name: String,
    host: String,
    port: Option<u16>,
    /// Whether it may be spoken to without a certificate, and without TLS.
    pub(crate) is_lenient: bool,
    /// How long it may be silent.
    pub(crate) patience: Duration,
}

impl Place {
    /// The origin with TLS, or without.
    pub(crate) fn origin(&self, tls: bool) -> Origin {
        let port = self.port.unwrap_or(if tls { PORT } else { CLEAR_PORT });
        Origin { tls, host: self.host.clone(), port }
    }
}

/// What holds for registries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    /// What `layers.toml` says, by host.
    pub(crate) said: BTreeMap<String, RegistryTerms>,
    /// The directories of docker's `certs.d`.
    pub(crate) certificates: Vec<PathBuf>,
}

impl Terms {
    /// Whom to trust at an origin that a registry is at, or has led us to.
    pub(crate) fn tls(&self, place: &Place, origin: &Origin) -> Tls {
        let is_home = place.origin(origin.tls) == *origin;
        let name = if is_home { place.name.clone() } else { origin.authority() };
        Tls { skip_verify: self.is_lenient(&name), ..self.trust(&name) }
    }

    /// Whether a host needs no certificate that we trust.
    fn is_lenient(&self, name: &str) -> bool {
        let is_insecure = self.said.get(name).is_some_and(|terms| terms.insecure);
        (is_insecure || is_loopback(name)) && self.trust(name).more.is_empty()
    }

    /// The registry of a reference.
    pub(crate) fn place(&self, reference: &Reference) -> Place {
        let name = reference.domain.clone();
        let (host, port) = split(&name);
        let said = self.said.get(&name);
        Place {
            is_lenient: self.is_lenient(&name),
            host: if name == "docker.io" { HUB.to_owned() } else { host.to_ascii_lowercase() },
            port,
            patience: said.and_then(|terms| terms.timeout).unwrap_or(PATIENCE),
            name,
        }
    }

    /// Whom to trust at a host, and what to show there: the first `certs.d/HOST` that there is.
    fn trust(&self, host: &str) -> Tls {
        let directories = self.certificates.iter().map(|certs| certs.join(host));
        let Some(directory) = directories.into_iter().find(|directory| directory.is_dir()) else {
            return Tls::default();
        };
        let listed = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        let mut files: Vec<PathBuf> = listed.map(|entry| entry.path()).collect();
        files.sort_unstable();
        let with = |extension: &str| -> Vec<PathBuf> {
            let is_it = |path: &&PathBuf| path.extension().is_some_and(|it| it == extension);
            files.iter().filter(is_it).cloned().collect()
        };
        // `client.cert` goes with `client.key`; a `.crt` is an authority.
        let cert = with("cert").into_iter().find(|cert| cert.with_extension("key").is_file());
        let key = cert.as_ref().map(|cert| cert.with_extension("key"));
        Tls { more: with("crt"), ..Tls::with_pair(cert, key) }
    }
}

/// Host and port of what a reference calls a registry.
fn split(name: &str) -> (String, Option<u16>) {
    let (host, port) = match name.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (name, None),
    };
    (host.trim_matches(['[', ']']).to_owned(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(terms: &Terms, reference: &str) -> Place {
        terms.place(&Reference::parse(reference).unwrap())
    }

    fn origin(reference: &str) -> String {
        let place = place(&Terms::default(), reference);
        place.origin(!place.is_lenient).to_string()
    }

    #[test]
    fn a_registry_is_spoken_to_by_tls_unless_it_is_on_this_machine() {
        for (reference, expected) in [
            ("debian", "https://registry-1.docker.io"),
            ("r.example/a", "https://r.example"),
            ("R.example:5000/a", "https://r.example:5000"),
            ("r.example:443/a", "https://r.example"),
            ("localhost/a", "http://localhost"),
            ("127.0.0.1:5000/a", "http://127.0.0.1:5000"),
            ("[::1]:5000/a", "http://[::1]:5000"),
            ("[2001:db8::1]/a", "https://[2001:db8::1]"),
        ] {
            assert_eq!(origin(reference), expected);
        }
    }

    #[test]
    fn certificates_make_a_registry_of_this_machine_one_that_is_checked() {
        let certs = tempfile::tempdir().unwrap();
        let directory = certs.path().join("localhost:5000");
        fs::create_dir(&directory).unwrap();
        for file in ["ca.crt", "client.cert", "client.key", "other.cert", "notes"] {
            fs::write(directory.join(file), "").unwrap();
        }
        let terms = Terms {
            certificates: vec![certs.path().join("x"), certs.path().into()],
            ..Terms::default()
        };
        assert!(!place(&terms, "localhost:5000/a").is_lenient);
        assert!(place(&terms, "localhost:5001/a").is_lenient);
        let trust = terms.trust("localhost:5000");
        assert_eq!(trust.more, [directory.join("ca.crt")]);
        assert_eq!(trust.key, Some(directory.join("client.key")));
        assert_eq!(terms.trust("localhost:5001"), Tls::default());
    }

    #[test]
    fn a_url_has_an_origin_of_which_the_case_does_not_count() {
        let of = |url: &str| Origin::of(&url.parse().unwrap()).map(|origin| origin.to_string());
        assert_eq!(of("https://R.example:443/x?y"), Some("https://r.example".to_owned()));
        assert_eq!(of("http://[::1]:80/"), Some("http://[::1]".to_owned()));
        assert_eq!(of("ftp://r.example/"), None);
        assert_eq!(of("/v2/"), None);
    }
}
