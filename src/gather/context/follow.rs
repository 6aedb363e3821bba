//! Links that lead to a source: followed by hand, as if the root of the context were `/`.
//!
//! The rules are those of moby/buildkit `cache/contenthash/path.go` (`rootPath`) and `checksum.go`
//! (`getFollowLinks`): `..` above the root stays there, an absolute text begins at the root, and
//! what is not there is stepped over as a name, since `..` may lead back from it.

use std::io;

use crate::gather::context::problem::{self, Missing, Problems};
use crate::gather::context::tree::{self, Detail, Found, Tree};
use crate::gather::context::{join, split};
use crate::gather::root::{Kind, Status};
use crate::gopath;
use crate::ignorefile::Verdict;

/// How many links are followed for one source (moby/buildkit `path.go`, `maxSymlinkLimit`).
const MOST_LINKS: usize = 255;

/// The end of a source, and the links on the way.
pub(super) struct Followed {
    pub(super) path: Vec<u8>,
    /// What is there; `None` for the root.
    pub(super) status: Option<Status>,
    pub(super) links: Vec<Found>,
}

impl<'a> Tree<'a> {
    /// Follows every link of a path, as if the root were `/` (moby/buildkit `path.go`, `rootPath`).
    pub(super) fn follow(
        &self,
        source: &[u8],
        problems: &mut Problems<'_>,
    ) -> Result<Followed, Missing<'a>> {
        let mut links: Vec<Found> = Vec::new();
        let mut path = Vec::new();
        let mut status = None;
        let mut rest: Vec<Vec<u8>> =
            source.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect();
        while let Some(part) = rest.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => path.truncate(split(&path).0.len()),
                name => path = join(&path, name),
            }
            status = self.status(&path, problems)?;
            let Some(found) = status.filter(|status| status.kind == Kind::Symlink) else {
                continue;
            };
            if let Verdict::Matched(rule) = self.verdict(&path) {
                return Err(Missing::LeftOut(rule));
            }
            if links.len() == MOST_LINKS {
                return Err(Missing::Endless);
            }
            let link = self.link(&path, found, problems)?;
            if let Detail::Symlink { text, .. } = &link.detail {
                rest.extend(text.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                let stays = if text.starts_with(b"/") { 0 } else { split(&path).0.len() };
                path.truncate(stays);
            }
            links.push(link);
        }
        if status.is_none() && !path.is_empty() {
            return Err(self.absent(&path, links.pop()));
        }
        Ok(Followed { status: status.filter(|_| !path.is_empty()), path, links })
    }

    /// What a path is; what is not there is no error, since `..` may still lead back.
    fn status(
        &self,
        path: &[u8],
        problems: &mut Problems<'_>,
    ) -> Result<Option<Status>, Missing<'a>> {
        match self.root.status(path) {
            Ok(status) => {
                self.note_kind(path, Some(status));
                Ok(Some(status))
            }
            Err(error) if is_absence(&error) => {
                self.note_kind(path, None);
                Ok(None)
            }
            Err(error) => {
                problems.unreadable(path, &error);
                Err(Missing::Unreadable)
            }
        }
    }

    fn link(
        &self,
        path: &[u8],
        status: Status,
        problems: &mut Problems<'_>,
    ) -> Result<Found, Missing<'a>> {
        match tree::link(self.root, path) {
            Ok(detail) => Ok(Found { path: path.to_vec(), status, detail }),
            Err(error) => {
                problems.unreadable(path, &error);
                Err(Missing::Unreadable)
            }
        }
    }

    fn absent(&self, path: &[u8], last_link: Option<Found>) -> Missing<'a> {
        if let Some(Found { path: link, detail: Detail::Symlink { text, .. }, .. }) = last_link {
            let above = if text.starts_with(b"/") { b"" } else { split(&link).0 };
            let target = gopath::clean(&[b"/", above, b"/", &text].concat());
            if self.root.status(&target[1..]).is_err() {
                return Missing::Dangling { link, text };
            }
        }
        // The first name that is not there, and its neighbours.
        let (mut directory, mut name) = split(path);
        while !directory.is_empty() && self.root.status(directory).is_err() {
            (directory, name) = split(directory);
        }
        let Ok(folder) = self.root.list(directory) else { return Missing::Absent { near: None } };
        let names = folder.children.iter().map(|(name, _)| &**name);
        let is_seen = |name: &&[u8]| !self.verdict(&join(directory, name)).is_matched();
        let names: Vec<&[u8]> = names.filter(is_seen).collect();
        Missing::Absent { near: problem::near(directory, name, &names) }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
