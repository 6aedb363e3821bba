//! An address, `scheme://user@host:port/path?query`, taken apart as Go's `net/url` does it.
//!
//! What a scheme means is not known here. The path of a socket is no part of a URL: docker and
//! BuildKit take what follows `unix://` as it is, and so do their readers.

/// The parts of an address, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// What is before the `@`; a password is refused, because a command line is no place for one.
    pub user: Option<String>,
    /// The host, without brackets; may be empty.
    pub host: String,
    /// The port.
    pub port: Option<u16>,
    /// From the first slash on.
    pub path: String,
    /// What follows the `?`, in order.
    pub query: Vec<(String, String)>,
}

impl Address {
    /// Takes apart what follows `scheme://`; the error says in half a sentence what is wrong.
    pub fn parse(rest: &str) -> Result<Self, String> {
        if rest.contains('#') {
            return Err("it has a fragment (`#`)".to_owned());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err("it has a password".to_owned());
        }
        let (host, port) = host_and_port(host)?;
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(&key.replace('+', " "))?, decoded(&value.replace('+', " "))?))
        });
        Ok(Self {
            user: user.filter(|user| !user.is_empty()).map(decoded).transpose()?,
            host: decoded(host)?,
            port,
            path: decoded(path)?,
            query: query.collect::<Result<_, String>>()?,
        })
    }

    /// The first value of a key of the query that is not empty.
    pub fn query(&self, key: &str) -> Option<&str> {
        let mut pairs = self.query.iter().filter(|(name, _)| name == key);
        pairs.next().map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The path, if it leads anywhere.
    pub fn path(&self) -> Option<&str> {
        Some(self.path.as_str()).filter(|path| !path.trim_matches('/').is_empty())
    }
}

/// An address as it may be said aloud: without a user's name and password, and without query.
pub fn shown(address: &str) -> String {
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), address),
    };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let slash = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    format!("{scheme}{host}{path}")
}

fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("a `[` is not closed")?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some("") => None,
        Some(port) if port.contains(':') => {
            return Err("an IPv6 address stands in brackets".to_owned());
        }
        Some(digits) => Some(digits.parse().map_err(|_| format!("`{digits}` is no port"))?),
        None => return Err(format!("`{port}` is no port")),
    };
    Ok((host, port))
}

/// Resolves `%2F`.
fn decoded(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` has a `%` that is no escape");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = tail else { return Err(wrong()) };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(wrong()) };
        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found() {
        let address = Address::parse("me%40home@host:22/run/a%20b?context=a%2Fb&namespace=n+m");
        let address = address.unwrap();
        assert_eq!(address.user.as_deref(), Some("me@home"));
        assert_eq!((address.host.as_str(), address.port), ("host", Some(22)));
        assert_eq!(address.path(), Some("/run/a b"));
        assert_eq!(address.query("context"), Some("a/b"));
        assert_eq!(address.query("namespace"), Some("n m"));
        assert_eq!(address.query("container"), None);
    }

    #[test]
    fn an_ipv6_host_stands_in_brackets() {
        let address = Address::parse("[::1]:2375").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", Some(2375)));
        assert_eq!(Address::parse("[fe80::1%25eth0]").unwrap().host, "fe80::1%eth0");
        assert!(Address::parse("::1:2375").unwrap_err().contains("brackets"));
        assert!(Address::parse("[::1").unwrap_err().contains("not closed"));
    }

    #[test]
    fn a_slash_alone_leads_nowhere() {
        assert_eq!(Address::parse("host/").unwrap().path(), None);
        assert_eq!(Address::parse("host:").unwrap().port, None);
    }

    #[test]
    fn what_is_no_address_is_said() {
        assert_eq!(Address::parse("host:ssh").unwrap_err(), "`ssh` is no port");
        assert_eq!(Address::parse("host:99999").unwrap_err(), "`99999` is no port");
        assert_eq!(Address::parse("ho%zzst").unwrap_err(), "`ho%zzst` has a `%` that is no escape");
        assert_eq!(Address::parse("host#x").unwrap_err(), "it has a fragment (`#`)");
    }

    #[test]
    fn a_password_is_refused_and_never_shown() {
        assert_eq!(Address::parse("me:hunter2@host").unwrap_err(), "it has a password");
        for address in ["ssh://me:hunter2@host/x", "me:hunter2@host/x"] {
            assert!(!shown(address).contains("hunter2"), "{address}");
        }
        assert_eq!(shown("ssh://me:hunter2@host/x?token=y"), "ssh://host/x");
        assert_eq!(shown("unix:///run/docker.sock"), "unix:///run/docker.sock");
    }
}
