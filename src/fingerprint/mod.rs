//! What makes an image out of date.
//!
//! # Four identities
//!
//! | identity | made of | known | used for |
//! | --- | --- | --- | --- |
//! | source key | the manifest, every parent given by its own source key | at once, offline | comparing revisions; the most that can be affected |
//! | build key | the manifest, every parent given by its content id | when the parents are known | deciding: same build key and output present = fresh |
//! | content id | the built image without times ([`crate::engine::content`]) | after a build | early cutoff |
//! | digests | what the engine calls the image | after a build | presence, tags |
//!
//! Nothing is decided by a time, and never by the digest of an attested index.
//!
//! # What counts
//!
//! | input | counts | as |
//! | --- | --- | --- |
//! | rules of this page ([`SCHEMA`]), flavour of expansion | yes | literally |
//! | platform, target | yes | literally |
//! | `# syntax=` frontend | yes | its reference |
//! | instructions of stages reachable from the target | yes | text after joining continuations and dropping comments |
//! | build arguments that are declared, or predefined and used | yes | name, digest of the value |
//! | parents: FROM, COPY --from, RUN --mount=from, inherited ONBUILD | yes | reference as expanded, platform, identity of the parent |
//! | images from outside | yes | reference, platform, digest where one is pinned, else the bare reference |
//! | what ADD fetches | yes | digest of the URL, `--checksum` |
//! | files that reachable COPY, ADD and bind mounts can read, after `.dockerignore` | yes | path, type, permission bits, size, link target, extended attributes, content |
//! | labels, epoch | yes | name, digest of the value |
//! | network of RUN, additional hosts, where they are set | yes | literally |
//! | secrets, ssh | ids, and whether they are given | literally |
//! | comments, blank lines, keyword case, unreachable stages | no | |
//! | files that nothing copies, the `.dockerignore` itself | no | |
//! | mtime, owner on disk, inode, absolute paths, host, user, locale | no | |
//! | imgraph's version | no | |
//! | caches, `--pull`, `--push`, attestations (sbom, provenance), what is allowed | no | |
//!
//! # One walk
//!
//! [`walk`] visits the leaves of an image's manifest in a fixed order. The keys hash the leaves, the
//! ledger keeps them, and [`difference`] compares two lists of them: the explanation cannot drift
//! from the key. To add an input: add a [`Leaf`], visit it here, give it a row in the table above and
//! in [`difference`], and raise [`SCHEMA`], unless it is visited only where it is set: then no key
//! changes of an image that does not have it.

pub mod difference;
pub mod leaf;
pub mod reason;

use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;

use crate::context::{Entry, EntryKind};
use crate::digest::{Digest, Hasher};
use crate::dockerfile::Flavour;
use crate::fingerprint::leaf::{Leaf, Node};
use crate::graph::{Edge, Image};
use crate::image::ImageName;
use crate::lockfile::LockFile;
use crate::secret::{Secret, Ssh};

/// The version of the rules of this page: part of every key.
pub const SCHEMA: u32 = 1;

/// What the keys of an image are made of, beside its parents.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The image.
    pub image: &'a Image,
    /// Everything of its context that its build may see, sorted by path.
    pub entries: &'a [Entry],
    /// Whose rules its Dockerfile was expanded by.
    pub flavour: Flavour,
    /// The time that its files get.
    pub epoch: u64,
    /// What external images are pinned to; empty without a lock file.
    pub pins: &'a LockFile,
}

/// The name and the identity of a parent.
pub type Parent<'a> = (&'a ImageName, Digest);

/// Visits every leaf of an image's manifest, always in the same order.
pub fn walk<'a>(
    inputs: &Inputs<'a>,
    parent: &dyn Fn(&Edge) -> Parent<'a>,
    visit: &mut dyn FnMut(Leaf<'a>),
) {
    let image = inputs.image;
    let setting = |name: &'static str, value: Cow<'a, str>| Leaf::Setting {
        name: Cow::Borrowed(name),
        value,
    };
    visit(setting("rules", Cow::Owned(SCHEMA.to_string())));
    visit(setting("flavour", Cow::Borrowed(flavour(inputs.flavour))));
    visit(setting("platform", Cow::Owned(image.platform.to_string())));
    visit(setting("target", Cow::Borrowed(image.spec.target.as_deref().unwrap_or(""))));
    visit(setting("frontend", Cow::Borrowed(image.reads.frontend.as_deref().unwrap_or(""))));
    for step in &image.reads.steps {
        visit(Leaf::Instruction {
            line: step.line,
            text: Digest::of_content(step.text.as_bytes()),
        });
    }
    for (name, value) in &image.reads.args {
        visit(Leaf::Arg { name: name.into(), value: Digest::of_content(value.as_bytes()) });
    }
    for edge in &image.parents {
        let (name, identity) = parent(edge);
        visit(Leaf::Parent {
            reference: Cow::Owned(edge.reference.clone()),
            image: Cow::Borrowed(name.as_str()),
            identity,
        });
    }
    for external in &image.externals {
        visit(Leaf::External {
            reference: Cow::Borrowed(&external.reference),
            platform: Cow::Owned(external.platform.to_string()),
            digest: inputs.pins.digest(&external.normalised, &external.platform).cloned(),
        });
    }
    for remote in &image.reads.remotes {
        visit(Leaf::Remote {
            shown: Cow::Owned(shown(&remote.url)),
            url: Digest::of_content(remote.url.as_bytes()),
            checksum: Cow::Borrowed(remote.checksum.as_deref().unwrap_or("")),
        });
    }
    for (name, value) in &image.spec.labels {
        visit(Leaf::Label { name: name.into(), value: Digest::of_content(value.as_bytes()) });
    }
    visit(setting("epoch", Cow::Owned(inputs.epoch.to_string())));
    let options = &image.spec.options;
    if let Some(network) = &options.network {
        visit(setting("network", Cow::Borrowed(network)));
    }
    if !options.hosts.is_empty() {
        visit(setting("hosts", Cow::Owned(options.hosts.join(" "))));
    }
    for id in &image.reads.secrets {
        visit(Leaf::Secret { id: id.into(), given: is_given(image, id) });
    }
    for entry in inputs.entries {
        visit(file(entry));
    }
}

/// Whether a secret (`secret npm`) or an agent (`ssh default`) is among those that an image is given.
fn is_given(image: &Image, mounted: &str) -> bool {
    let Some((kind, id)) = mounted.split_once(' ') else { return false };
    let names = |given: &String| match kind {
        "ssh" => given.parse::<Ssh>().is_ok_and(|ssh| ssh.id == id),
        _ => given.parse::<Secret>().is_ok_and(|secret| secret.id == id),
    };
    let given = if kind == "ssh" { &image.spec.ssh } else { &image.spec.secrets };
    given.iter().any(names)
}

/// A URL without what may be secret in it: the user's name and password, and the query.
fn shown(url: &str) -> String {
    let plain = url.split('?').next().unwrap_or(url);
    let Some((scheme, rest)) = plain.split_once("://") else { return plain.to_owned() };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}/{path}")
}

fn flavour(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::BuildKit => "buildkit",
        Flavour::Buildah => "buildah",
    }
}

fn file(entry: &Entry) -> Leaf<'_> {
    let node = match &entry.kind {
        EntryKind::Directory => Node::Directory,
        EntryKind::File { size, content } => Node::File { size: *size, content: *content },
        EntryKind::Symlink(target) => {
            Node::Symlink { target: Cow::Borrowed(target.as_os_str().as_bytes()) }
        }
    };
    Leaf::File {
        path: Cow::Borrowed(entry.path.as_os_str().as_bytes()),
        node,
        mode: entry.mode,
        xattrs: entry.xattrs,
    }
}

/// The key of an image whose parents have the given identities.
pub fn key<'a>(inputs: &Inputs<'a>, parent: &dyn Fn(&Edge) -> Parent<'a>) -> Digest {
    let mut hasher = Hasher::new("imgraph key");
    walk(inputs, parent, &mut |leaf| leaf.add_to(&mut hasher));
    hasher.finish()
}

/// The leaves of an image whose parents have the given identities.
pub fn leaves<'a>(inputs: &Inputs<'a>, parent: &dyn Fn(&Edge) -> Parent<'a>) -> Vec<Leaf<'a>> {
    let mut leaves = Vec::new();
    walk(inputs, parent, &mut |leaf| leaves.push(leaf));
    leaves
}

#[cfg(test)]
mod tests;
