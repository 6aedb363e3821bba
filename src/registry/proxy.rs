//! Proxies: the way to a registry by TLS, where the environment names one.
//!
//! By the rules that Go's programs follow (golang.org/x/net `http/httpproxy/proxy.go`), as docker,
//! buildah and skopeo do: `HTTPS_PROXY`, `NO_PROXY` and the same in lower case; this machine is
//! always reached directly. What is spoken to in the clear is, too: such a registry is near.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::registry::host::Origin;

/// No head of a proxy's answer is longer.
const LONGEST_HEAD: usize = 16 * 1024;

/// What the environment says of proxies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    proxy: Option<Proxy>,
    /// Where none is used, in lower case.
    exceptions: Vec<String>,
}

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What it is shown.
    authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    /// Without what may be secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl Proxies {
    /// Reads the environment. What is no address of a proxy is none.
    pub(crate) fn new(environment: &BTreeMap<String, String>) -> Self {
        let variable = |name: &str| {
            let named = [name.to_owned(), name.to_lowercase()];
            named.iter().find_map(|name| environment.get(name).filter(|value| !value.is_empty()))
        };
        let exceptions = variable("NO_PROXY").map(String::as_str).unwrap_or_default();
        Self {
            proxy: variable("HTTPS_PROXY").and_then(|address| Proxy::parse(address)),
            exceptions: exceptions
                .split(',')
                .map(|exception| exception.trim().to_ascii_lowercase())
                .filter(|exception| !exception.is_empty())
                .collect(),
        }
    }

    /// The proxy to an origin.
    pub(crate) fn to(&self, origin: &Origin) -> Option<&Proxy> {
        let is_direct = !origin.tls
            || origin.is_loopback()
            || self.exceptions.iter().any(|exception| excepts(exception, origin));
        self.proxy.as_ref().filter(|_| !is_direct)
    }
}

/// Whether an entry of `NO_PROXY` means an origin: `*`, a host with its subdomains, `.domain`, an
/// address or a network, with a port or without.
fn excepts(exception: &str, origin: &Origin) -> bool {
    if exception == "*" {
        return true;
    }
    let address = origin.host.parse::<IpAddr>();
    if let (Some((network, bits)), Ok(address)) = (exception.split_once('/'), address) {
        let bits = bits.parse::<u32>();
        return network
            .parse()
            .is_ok_and(|network| is_in(address, network, bits.unwrap_or(u32::MAX)));
    }
    let (name, port) = match exception.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (exception, None),
    };
    if port.is_some_and(|port| port.parse() != Ok(origin.port)) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    let domain = name.strip_prefix("*.").or(name.strip_prefix('.'));
    let is_below =
        |domain: &str| origin.host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    match domain {
        Some(domain) => is_below(domain),
        None => origin.host == name || is_below(name),
    }
}

fn is_in(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (address, network, all) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits()), u128::from(network.to_bits()), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let Some(rest) = u32::checked_sub(all, bits) else { return false };
    // A shift by all bits is none to Rust.
    address.checked_shr(rest).unwrap_or(0) == network.checked_shr(rest).unwrap_or(0)
}

impl Proxy {
    /// `http://user:password@proxy:3128`, or without the scheme.
    fn parse(address: &str) -> Option<Self> {
        let address =
            if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let url: Uri = address.trim_end_matches('/').parse().ok()?;
        let authority = url.authority()?.as_str();
        let login = authority.rsplit_once('@').map(|(login, _)| login);
        Some(Self {
            host: url.host()?.trim_matches(['[', ']']).to_owned(),
            port: url.port_u16().unwrap_or(80),
            authorization: login
                .map(|login| format!("Basic {}", STANDARD.encode(unescaped(login)))),
        })
        .filter(|_| url.scheme_str() == Some("http"))
    }

    /// Has the proxy connect to an origin: what is then written goes there.
    pub(crate) async fn tunnel(&self, origin: &Origin) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((&*self.host, self.port)).await?;
        let host = &origin.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let target = format!("{host}:{}", origin.port);
        let shown = self.authorization.as_ref();
        let shown = shown.map_or_else(String::new, |it| format!("Proxy-Authorization: {it}\r\n"));
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{shown}\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        // Byte by byte: what comes behind the head is the other side's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == LONGEST_HEAD {
                return Err(io::Error::other("the proxy does not come to an end"));
            }
            answer.push(stream.read_u8().await?);
        }
        let answer = String::from_utf8_lossy(&answer);
        let mut words = answer.lines().next().unwrap_or_default().splitn(2, ' ').skip(1);
        let status = words.next().unwrap_or_default();
        if status.starts_with("200") {
            return Ok(stream);
        }
        Err(io::Error::other(format!("the proxy {self:?} answers {status}")))
    }
}

/// A text of a URL, with its `%40` as they are meant.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = behind.get(..2).filter(|_| first == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(first));
        rest = if hex.is_some() { &behind[2..] } else { behind };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(pairs: &[(&str, &str)]) -> Proxies {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Proxies::new(&pairs.collect())
    }

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_proxy_is_the_way_unless_it_is_excepted() {
        let all =
            "sub.example, .dot.example,port.example:5000,10.0.0.0/8,192.0.2.7,[2001:db8::1]:443";
        let proxies = proxies(&[("HTTPS_PROXY", "http://proxy:3128"), ("no_proxy", all)]);
        for (url, expected) in [
            ("https://r.example", true),
            ("https://sub.example", false),
            ("https://a.sub.example", false),
            ("https://asub.example", true),
            ("https://dot.example", true),
            ("https://a.dot.example", false),
            ("https://port.example", true),
            ("https://port.example:5000", false),
            ("https://10.1.2.3", false),
            ("https://11.1.2.3", true),
            ("https://192.0.2.7:5000", false),
            ("https://[2001:db8::1]", false),
            ("https://localhost:5000", false),
            ("https://127.0.0.1", false),
            ("http://r.example", false),
        ] {
            assert_eq!(proxies.to(&origin(url)).is_some(), expected, "{url}");
        }
        let direct = self::proxies(&[("HTTPS_PROXY", "proxy"), ("NO_PROXY", "*")]);
        assert_eq!(direct.to(&origin("https://r.example")), None);
    }

    #[test]
    fn a_proxy_is_written_in_several_ways() {
        let of =
            |address: &str| Proxy::parse(address).map(|it| (it.host, it.port, it.authorization));
        assert_eq!(of("proxy:3128"), Some(("proxy".into(), 3128, None)));
        assert_eq!(of("http://proxy/"), Some(("proxy".into(), 80, None)));
        let login = Some("Basic bWU6cEBzcw==".to_owned()); // me:p@ss
        assert_eq!(of("http://me:p%40ss@proxy:1"), Some(("proxy".into(), 1, login)));
        assert_eq!(of("socks5://proxy:1"), None);
    }
}
