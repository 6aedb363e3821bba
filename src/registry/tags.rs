//! The tags of a repository, page by page.
//!
//! Source: OCI distribution-spec, "Listing Tags"; RFC 8288 for `Link`.

use std::collections::BTreeSet;

use hyper::Method;
use serde::Deserialize;

use crate::registry::body::Payload;
use crate::registry::call::{Ask, Repository, To};
use crate::registry::error::RegistryError;

/// How many tags are asked for at once.
const PAGE: usize = 1000;
/// No page weighs more.
const LARGEST_PAGE: usize = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Page {
    /// `null` where there are none.
    tags: Option<Vec<String>>,
}

impl Repository {
    /// All tags, sorted.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let mut tags = BTreeSet::new();
        let mut ask = Ask {
            method: Method::GET,
            to: To::Below(format!("tags/list?n={PAGE}")),
            headers: Vec::new(),
            payload: Payload::Nothing,
            scope: self.reading(),
            what: format!("repository {}", self.path),
        };
        loop {
            let page = self.patiently(async || {
                let answered = self.attempt(&ask).await?;
                let link = answered.incomplete.header("link").and_then(next);
                let next = link.and_then(|link| answered.from.resolve(link));
                let read = self.client.wire.read(answered.incomplete, LARGEST_PAGE).await;
                let bytes = read.map_err(|error| self.host.place.trouble(error))?;
                let page: Page = serde_json::from_slice(&bytes)
                    .map_err(|_| self.wrong("a list of tags", "what comes is none".to_owned()))?;
                Ok((page.tags.unwrap_or_default(), next))
            });
            let (page, next) = page.await?;
            let before = tags.len();
            tags.extend(page);
            match next {
                // A registry that says the same page again would keep us for ever.
                Some(next) if tags.len() > before => ask.to = To::Led(next),
                _ => return Ok(tags.into_iter().collect()),
            }
        }
    }
}

/// The address of the next page: `<...>; rel="next"`.
fn next(link: &str) -> Option<&str> {
    let (target, rest) = link.split_once('>')?;
    let is_next = rest.split(';').any(|it| matches!(it.trim(), r#"rel="next""# | "rel=next"));
    if is_next { target.trim().strip_prefix('<') } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_where_the_header_says() {
        assert_eq!(
            next(r#"</v2/a/tags/list?n=2&last=b>; rel="next""#),
            Some("/v2/a/tags/list?n=2&last=b")
        );
        assert_eq!(next("<x>; type=y; rel=next"), Some("x"));
        assert_eq!(next(r#"<x>; rel="prev""#), None);
        assert_eq!(next("x"), None);
    }
}
