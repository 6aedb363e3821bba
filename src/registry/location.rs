//! Places of the web that a registry leads to: `Location` of redirects and uploads, `Link` of pages.
//!
//! Source: RFC 3986, as far as registries use it.

use std::fmt::Write as _;

use hyper::Uri;

use crate::registry::host::Origin;

/// A place of the web.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) origin: Origin,
    /// With its query.
    pub(crate) path: String,
}

impl Location {
    /// What a `Location` header means that came from here.
    pub(crate) fn resolve(&self, text: &str) -> Option<Self> {
        let text = text.split('#').next().unwrap_or(text);
        if let Some(path) = text.strip_prefix('/')
            && !path.starts_with('/')
        {
            return Some(Self { origin: self.origin.clone(), path: text.to_owned() });
        }
        if !text.contains("://") {
            if text.is_empty() || text.starts_with("//") {
                return None;
            }
            let (directory, _) = self.path.split('?').next()?.rsplit_once('/')?;
            let path = format!("{directory}/{text}");
            return Some(Self { origin: self.origin.clone(), path });
        }
        let url: Uri = text.parse().ok()?;
        let mut origin = Origin::of(&url)?;
        // A registry behind a proxy that speaks TLS for it does not know that it is.
        let is_default = url.port().is_none() || origin.port == self.origin.port;
        if self.origin.tls && !origin.tls && origin.host == self.origin.host && is_default {
            origin = self.origin.clone();
        }
        let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Self { origin, path })
    }

    /// The same with one more parameter.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        write!(self.path, "{name}={value}").unwrap_or_default();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(origin: &str, path: &str) -> Location {
        Location { origin: Origin::of(&origin.parse().unwrap()).unwrap(), path: path.to_owned() }
    }

    #[test]
    fn a_location_is_followed_from_where_it_came() {
        let at = location("https://r.example", "/v2/a/blobs/uploads/");
        for (text, origin, path) in [
            (
                "/v2/a/blobs/uploads/1?_state=x",
                "https://r.example",
                "/v2/a/blobs/uploads/1?_state=x",
            ),
            ("1?_state=x", "https://r.example", "/v2/a/blobs/uploads/1?_state=x"),
            ("https://s.example/b?sig=%2F", "https://s.example", "/b?sig=%2F"),
            ("https://s.example", "https://s.example", "/"),
            ("http://r.example/x", "https://r.example", "/x"),
            ("http://r.example:443/x#y", "https://r.example", "/x"),
            ("http://r.example:81/x", "http://r.example:81", "/x"),
            ("http://s.example/x", "http://s.example", "/x"),
        ] {
            let led = at.resolve(text).unwrap();
            assert_eq!((&*led.origin.to_string(), &*led.path), (origin, path), "{text}");
        }
        for nowhere in ["", "//s.example/x", "ftp://s.example/x"] {
            assert_eq!(at.resolve(nowhere), None, "{nowhere}");
        }
    }
}
