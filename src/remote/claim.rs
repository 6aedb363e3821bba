//! For which commit a state was written, and whether that is later than ours.

use serde::{Deserialize, Serialize};

use crate::git;
use crate::remote::branch::Branch;

/// Which commit tags are moved for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    #[serde(rename = "org.opencontainers.image.revision", skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    #[serde(rename = "org.opencontainers.image.source", skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// When the commit was made, in seconds since the Unix epoch.
    #[serde(rename = "io.imgraph.committed", skip_serializing_if = "Option::is_none")]
    committed: Option<String>,
}

impl Claim {
    /// That of a work tree, whose repository is at `source`.
    pub(super) fn ours(branch: &Branch, source: Option<&String>) -> Self {
        Self {
            revision: branch.head.as_ref().map(|head| head.commit.clone()),
            source: source.cloned(),
            committed: branch.head.as_ref().map(|head| head.committed.to_string()),
        }
    }

    /// The commit, if it is later than that of a work tree. Of a commit that this clone does not have,
    /// the time tells: it came after the clone, or is of history that was thrown away.
    pub(super) fn ahead(&self, branch: &Branch, source: Option<&String>) -> Option<String> {
        let head = branch.head.as_ref().filter(|_| !branch.allows_older)?;
        let theirs = self.revision.as_ref().filter(|theirs| **theirs != head.commit)?;
        let is_later = match git::is_ancestor(&branch.directory, &head.commit, theirs) {
            Some(is_ancestor) => is_ancestor,
            None if git::is_parent(&branch.directory, theirs, &head.commit) => false,
            // Commits of another repository have nothing to do with ours.
            None if self.source.as_deref().map(place) != source.map(|it| place(it)) => return None,
            None => self.committed.as_ref()?.parse::<u64>().ok()? >= head.committed,
        };
        is_later.then(|| theirs.clone())
    }
}

/// What two addresses of one repository have in common: `git@host:a/b.git`, `https://host/a/b`.
fn place(address: &str) -> String {
    let (has_scheme, rest) = match address.split_once("://") {
        Some((_, rest)) => (true, rest),
        None => (false, address),
    };
    let (host, path) = match rest.split_once(if has_scheme { '/' } else { ':' }) {
        Some((host, path)) if !host.contains('/') => (host, path),
        _ => return rest.to_owned(),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    // A port says how it is reached.
    let host = host.split_once(':').map_or(host, |(host, _)| host);
    let path = path.trim_matches('/');
    format!("{}/{}", host.to_lowercase(), path.strip_suffix(".git").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn one_repository_has_many_addresses() {
        for address in [
            "https://host.example/a/b",
            "https://Host.example/a/b.git",
            "ssh://git@host.example:2222/a/b.git",
            "git@host.example:a/b.git",
            "host.example:a/b/",
        ] {
            assert_eq!(place(address), "host.example/a/b", "{address}");
        }
        assert_ne!(place("https://host.example/a/c"), "host.example/a/b");
        assert_eq!(place("/srv/git/a"), "/srv/git/a");
        assert_ne!(place("file:///srv/a"), place("file:///srv/b"));
    }
}
